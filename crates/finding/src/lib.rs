//! What a look at a server, a folder or a setting found, and what an operator can do about it.

use std::fmt;

use serde::Serialize;

/// One thing that was looked at, and whether it is as the suite needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whose setting it is: a topic, a keyspace, a server, a folder.
    pub subject: String,
    pub name: String,
    pub found: String,
    pub wanted: String,
    pub weight: Weight,
    /// What an operator can do about it; empty where all is well.
    pub fix: String,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    Sound,
    /// It works, and something is at risk or unusual.
    Doubtful,
    /// A process refuses to start on it, or cannot work.
    Wrong,
}

impl Finding {
    /// As it should be.
    pub fn sound(subject: impl Into<String>, name: impl Into<String>, found: impl Into<String>) -> Self {
        let found = found.into();
        Self::judged(subject, name, (found.clone(), found), Weight::Sound, "")
    }

    /// Sound if `found` is `wanted`, else of the weight given.
    pub fn compared(
        subject: impl Into<String>,
        name: impl Into<String>,
        (found, wanted): (impl fmt::Display, impl fmt::Display),
        otherwise: Weight,
        fix: impl Into<String>,
    ) -> Self {
        let (found, wanted) = (found.to_string(), wanted.to_string());
        let is_so = found == wanted;
        Self::checked(subject, name, (found, wanted), is_so, otherwise, fix)
    }

    /// Sound where `is_sound`, else of the weight given.
    pub fn checked(
        subject: impl Into<String>,
        name: impl Into<String>,
        found_and_wanted: (impl fmt::Display, impl fmt::Display),
        is_sound: bool,
        otherwise: Weight,
        fix: impl Into<String>,
    ) -> Self {
        let weight = if is_sound { Weight::Sound } else { otherwise };
        Self::judged(subject, name, found_and_wanted, weight, fix)
    }

    /// Of this weight; where it is sound there is nothing to fix.
    pub fn judged(
        subject: impl Into<String>,
        name: impl Into<String>,
        (found, wanted): (impl fmt::Display, impl fmt::Display),
        weight: Weight,
        fix: impl Into<String>,
    ) -> Self {
        let fix = if weight == Weight::Sound { String::new() } else { fix.into() };
        let (found, wanted) = (found.to_string(), wanted.to_string());
        Self { subject: subject.into(), name: name.into(), found, wanted, weight, fix }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, name, found, wanted, .. } = self;
        write!(f, "{subject}: {name} is {found}, not {wanted}")
    }
}
