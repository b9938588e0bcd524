//! The settings of rates and of sign-up.

use serde::Deserialize;

use crate::rate::Rate;

/// `auto`, `off`, or `POINTS_PER_HOUR:BURST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum RateSetting {
    Auto,
    Set(Rate),
}

/// Who may have accounts made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SignUp {
    /// As the profile has it.
    Auto,
    /// Anybody, so many from one address.
    Open,
    /// Calling services with the right to.
    ByService,
    Closed,
}

impl TryFrom<String> for SignUp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known =
            [("auto", Self::Auto), ("open", Self::Open), ("by-service", Self::ByService), ("closed", Self::Closed)];
        super::values::one_of(&text, &known)
    }
}

impl RateSetting {
    /// `default`: what `auto` stands for.
    pub fn or(self, default: Rate) -> Rate {
        match self {
            Self::Auto => default,
            Self::Set(rate) => rate,
        }
    }
}

impl TryFrom<String> for RateSetting {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|points| (1..=1_000_000_000_u64).contains(points));
        let wrong = || format!("`{text}` is not `auto`, `off` or POINTS_PER_HOUR:BURST, such as 5000:1000");
        match &*text {
            "auto" => return Ok(Self::Auto),
            "off" => return Ok(Self::Set(Rate::UNLIMITED)),
            _ => {}
        }
        let (points_per_hour, burst) = text.split_once(':').ok_or_else(wrong)?;
        let (points_per_hour, burst) = number(points_per_hour).zip(number(burst)).ok_or_else(wrong)?;
        Ok(Self::Set(Rate { points_per_hour, burst }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_auto_off_or_points_an_hour_and_a_burst() {
        let rate = |text: &str| RateSetting::try_from(text.to_owned());
        assert_eq!(rate("auto"), Ok(RateSetting::Auto));
        assert_eq!(rate("off"), Ok(RateSetting::Set(Rate::UNLIMITED)));
        assert_eq!(rate("5000:1000"), Ok(RateSetting::Set(Rate { points_per_hour: 5_000, burst: 1_000 })));
        for bad in ["", "on", "5000", "5000:0", "0:1", "5000:1000:1", "-1:1", "1000000001:1"] {
            assert!(rate(bad).unwrap_err().contains("POINTS_PER_HOUR:BURST"), "{bad}");
        }
    }
}
