//! Checks, and how they are said.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use crate::operator::table::plain;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub subject: String,
    pub name: String,
    pub found: String,
    pub wanted: String,
    pub weight: Weight,
    /// What to change; empty where all is well.
    pub fix: String,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    Sound,
    /// It works, and something is at risk or unusual.
    Doubtful,
    /// A process refuses to start on it, or cannot work.
    Wrong,
}

impl Check {
    pub fn sound(subject: impl Into<String>, name: impl Into<String>, found: impl Into<String>) -> Self {
        let found = found.into();
        let (subject, name, wanted) = (subject.into(), name.into(), found.clone());
        Self { subject, name, found, wanted, weight: Weight::Sound, fix: String::new() }
    }

    /// Sound instead of `weight` where `is_sound`: there is nothing to fix then.
    pub fn judged(
        (subject, name): (impl Into<String>, impl Into<String>),
        (found, wanted): (impl Into<String>, impl Into<String>),
        is_sound: bool,
        weight: Weight,
        fix: impl Into<String>,
    ) -> Self {
        let (weight, fix) = if is_sound { (Weight::Sound, String::new()) } else { (weight, fix.into()) };
        let (subject, name, found) = (subject.into(), name.into(), found.into());
        Self { subject, name, found, wanted: wanted.into(), weight, fix }
    }
}

/// The two stores' findings say the same in types of their own: neither knows the other.
macro_rules! from_finding {
    ($($store:ident),*) => {$(
        impl From<$store::Finding> for Check {
            fn from(finding: $store::Finding) -> Self {
                let weight = match finding.weight {
                    $store::Weight::Sound => Weight::Sound,
                    $store::Weight::Doubtful => Weight::Doubtful,
                    $store::Weight::Wrong => Weight::Wrong,
                };
                let $store::Finding { subject, name, found, wanted, fix, .. } = finding;
                Self { subject, name, found, wanted, weight, fix }
            }
        }
    )*};
}
from_finding!(kith_log, kith_tables);

/// Everything that was looked at.
#[derive(Debug, Serialize)]
pub struct Report {
    pub checks: Vec<Check>,
}

impl Report {
    pub fn wrong(&self) -> usize {
        self.count(Weight::Wrong)
    }

    fn count(&self, weight: Weight) -> usize {
        self.checks.iter().filter(|check| check.weight == weight).count()
    }

    pub fn document(&self) -> serde_json::Result<Value> {
        let mut document = serde_json::to_value(self)?;
        document["doubtful"] = self.count(Weight::Doubtful).into();
        document["wrong"] = self.wrong().into();
        Ok(document)
    }

    /// What is sound about one subject is one line; all else has a line of its own.
    pub fn text(&self) -> String {
        let mut subjects: Vec<&str> = Vec::new();
        for check in &self.checks {
            if !subjects.contains(&&*check.subject) {
                subjects.push(&check.subject);
            }
        }
        let mut text = String::new();
        for subject in subjects {
            self.say(subject, &mut text);
        }
        let (all, doubtful, wrong) = (self.checks.len(), self.count(Weight::Doubtful), self.wrong());
        // Writing to a string does not fail.
        let _ = writeln!(text, "{all} checks: {wrong} wrong, {doubtful} doubtful");
        text
    }

    fn say(&self, subject: &str, text: &mut String) {
        let of_subject = || self.checks.iter().filter(|check| check.subject == subject);
        let sound = of_subject().filter(|check| check.weight == Weight::Sound);
        let sound: Vec<String> = sound.map(|check| format!("{} {}", check.name, check.found)).collect();
        if !sound.is_empty() {
            let _ = writeln!(text, "✔ {}: {}", plain(subject), plain(&sound.join(", ")));
        }
        for check in of_subject() {
            let sign = match check.weight {
                Weight::Sound => continue,
                Weight::Doubtful => '!',
                Weight::Wrong => '✘',
            };
            let Check { name, found, wanted, fix, .. } = check;
            let line = format!("{subject}: {name} {found}, wanted {wanted} → {fix}");
            let _ = writeln!(text, "{sign} {}", plain(&line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let judged = |name: &str, is_sound, weight| {
            Check::judged(("topic", name), ("1", "2"), is_sound, weight, format!("set {name} to 2"))
        };
        let checks = vec![
            Check::sound("settings", "profile", "development"),
            judged("a", true, Weight::Wrong),
            judged("b", false, Weight::Wrong),
            judged("c", false, Weight::Doubtful),
            judged("d", true, Weight::Wrong),
        ];
        Report { checks }
    }

    #[test]
    fn what_is_sound_is_short_and_what_is_not_says_what_to_do() {
        let expected = "✔ settings: profile development\n\
                        ✔ topic: a 1, d 1\n\
                        ✘ topic: b 1, wanted 2 → set b to 2\n\
                        ! topic: c 1, wanted 2 → set c to 2\n\
                        5 checks: 1 wrong, 1 doubtful\n";
        assert_eq!(report().text(), expected);
    }

    #[test]
    fn the_document_has_every_check() {
        let document = report().document().unwrap();
        assert_eq!((&document["wrong"], &document["doubtful"]), (&1.into(), &1.into()));
        assert_eq!(document["checks"].as_array().unwrap().len(), 5);
        assert_eq!(document["checks"][2]["weight"], "wrong");
    }
}
