use crate::errors::v1::Reason;

/// `google.rpc.ErrorInfo.domain` of every error of the suite.
pub const ERROR_DOMAIN: &str = "kith";

impl Reason {
    /// As `google.rpc.ErrorInfo.reason` has it: `TEXT_EMPTY`, without the prefix that an enum's value needs.
    pub fn as_error_info(self) -> &'static str {
        let name = self.as_str_name();
        name.strip_prefix("REASON_").unwrap_or(name)
    }

    /// The reason that `google.rpc.ErrorInfo.reason` names, if this release knows it.
    pub fn from_error_info(reason: &str) -> Option<Self> {
        Self::from_str_name(&format!("REASON_{reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_and_is_as_error_info_wants_it() {
        let reasons: Vec<_> = (1..).map_while(|number| Reason::try_from(number).ok()).collect();
        assert!(reasons.len() > 20);
        for reason in reasons {
            let text = reason.as_error_info();
            assert!(text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') && text.len() <= 63, "{text}");
            assert_eq!(Reason::from_error_info(text), Some(reason));
        }
        assert_eq!(Reason::TextEmpty.as_error_info(), "TEXT_EMPTY");
        assert_eq!(Reason::from_error_info("REASON_TEXT_EMPTY"), None);
    }
}
