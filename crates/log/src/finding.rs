use std::fmt;

/// One thing that was looked at, and whether it is as the log needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whose setting it is: a topic, a broker.
    pub subject: String,
    pub name: String,
    pub found: String,
    pub wanted: String,
    pub weight: Weight,
    /// What an operator can do about it; empty where all is well.
    pub fix: String,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    Sound,
    /// It works, and something is at risk or unusual.
    Doubtful,
    /// A process refuses to start on it, or cannot work.
    Wrong,
}

impl Finding {
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
        Self::judged(subject, name, (found, wanted), if is_so { Weight::Sound } else { otherwise }, fix)
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
