//! Checks, and their output.

use std::fmt::Write;

use kith_finding::{Finding, Weight};
use serde::Serialize;
use serde_json::Value;

use crate::operator::table::plain;

/// All checks.
#[derive(Debug, Serialize)]
pub struct Report {
    pub checks: Vec<Finding>,
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
        document["sound"] = self.count(Weight::Sound).into();
        document["doubtful"] = self.count(Weight::Doubtful).into();
        document["wrong"] = self.wrong().into();
        Ok(document)
    }

    /// All sound checks of one subject share one line; every other check has a separate line.
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
        let sound_lines = text.lines().filter(|line| line.starts_with('✔')).count();
        let [sound, doubtful, wrong] =
            [Weight::Sound, Weight::Doubtful, Weight::Wrong].map(|weight| self.count(weight));
        let all = self.checks.len();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{all} checks: {sound} sound (in {sound_lines} lines ✔), {doubtful} doubtful (!), {wrong} wrong (✘)"
        );
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
            let Finding { name, found, wanted, fix, .. } = check;
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
            Finding::checked("topic", name, ("1", "2"), is_sound, weight, format!("set {name} to 2"))
        };
        let checks = vec![
            Finding::sound("settings", "profile", "development"),
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
                        5 checks: 3 sound (in 2 lines ✔), 1 doubtful (!), 1 wrong (✘)\n";
        assert_eq!(report().text(), expected);
    }

    #[test]
    fn the_document_has_every_check() {
        let document = report().document().unwrap();
        assert_eq!([&document["sound"], &document["doubtful"], &document["wrong"]], [&3, &1, &1]);
        assert_eq!(document["checks"].as_array().unwrap().len(), 5);
        assert_eq!(document["checks"][2]["weight"], "wrong");
    }
}
