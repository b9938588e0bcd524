//! Texts: parsed once at the edge, then trusted. The rules are those of `kith_text`.

use kith_text::TextError;

use crate::Failure;
use crate::limits::{MEDIA_ID_CHARS, TextLimit};

/// As [`kith_text::parse_text`]. `field` is the request's field, for the violation.
pub fn parse_text(field: &str, text: &str, limit: TextLimit) -> Result<String, Failure> {
    kith_text::parse_text(text, limit).map_err(|error| refused(field, error))
}

/// As [`kith_text::parse_text_or_empty`]. `field` is the request's field, for the violation.
pub fn parse_text_or_empty(field: &str, text: &str, limit: TextLimit) -> Result<String, Failure> {
    kith_text::parse_text_or_empty(text, limit).map_err(|error| refused(field, error))
}

/// As [`kith_text::parse_name`]. `field` is the request's field, for the violation.
pub fn parse_name(field: &str, name: &str, limit: TextLimit) -> Result<String, Failure> {
    kith_text::parse_name(name, limit).map_err(|error| refused(field, error))
}

/// The tag that `#written` names, as [`kith_text::facets::tag`]. `field` is the request's field, for the violation.
pub fn parse_tag(field: &str, written: &str) -> Result<String, Failure> {
    kith_text::facets::tag(written).ok_or_else(|| Failure::field_invalid(field, "is no hashtag without its sign"))
}

/// An id of the media service, which Kith does not know: 1 to [`MEDIA_ID_CHARS`] characters. `field` is the request's field, for the
/// violation.
pub fn parse_media_id(field: &str, id: String) -> Result<String, Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._~-".contains(c);
    // Whoever puts it into a path must not meet `..`.
    let begins_well = id.starts_with(|c: char| c.is_ascii_alphanumeric());
    if id.len() <= MEDIA_ID_CHARS && begins_well && id.chars().all(fits) {
        return Ok(id);
    }
    Err(Failure::field_invalid(
        field,
        "is not 1 to 128 characters of A-Z, a-z, 0-9, `.`, `_`, `~`, `-`, the first a letter or a digit",
    ))
}

fn refused(field: &str, error: TextError) -> Failure {
    match error {
        TextError::Empty => Failure::text_empty(field),
        TextError::TooLong { has, limit, unit } => Failure::text_too_long(field, has, limit, unit),
        TextError::Control | TextError::ControlInName | TextError::DirectionOpen => {
            Failure::field_invalid(field, &error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: TextLimit = TextLimit { graphemes: 5, bytes: 30 };

    #[test]
    fn what_is_refused_names_its_field_and_reason() {
        let long = "x".repeat(6);
        for (parsed, reason, message) in [
            (parse_text("f", " ", LIMIT), "TEXT_EMPTY", "f is empty"),
            (parse_text("f", &long, LIMIT), "TEXT_TOO_LONG", "f has 6 graphemes, the limit is 5"),
            (
                parse_text_or_empty("f", "\u{202E}", LIMIT),
                "FIELD_INVALID",
                "f has a control character other than newline and tab, or overrides direction",
            ),
            (parse_name("f", "\u{1b}", LIMIT), "FIELD_INVALID", "f has a control character, or overrides direction"),
            (
                parse_name("f", "\u{2067}a", LIMIT),
                "FIELD_INVALID",
                "f opens a direction of text that it does not close, or closes one that it did not open",
            ),
        ] {
            let failure = parsed.unwrap_err();
            assert_eq!((failure.reason_name(), failure.message()), (reason, message));
            assert_eq!(failure.field_violations()[0].field, "f");
        }
    }

    #[test]
    fn what_is_taken_is_normalised() {
        assert_eq!(parse_text("f", "a\r\nb", LIMIT), Ok("a\nb".to_owned()));
        assert_eq!(parse_text_or_empty("f", " ", LIMIT), Ok(String::new()));
        assert_eq!(parse_name("f", " a\r\nb", LIMIT), Ok("a b".to_owned()));
    }

    #[test]
    fn a_tag_is_one_whole_hashtag_without_its_sign() {
        assert_eq!(parse_tag("f", "Straße"), Ok("strasse".to_owned()));
        for bad in ["", "#rust", "two words", "42", &"a".repeat(101)] {
            let failure = parse_tag("f", bad).unwrap_err();
            assert_eq!((failure.reason_name(), &*failure.field_violations()[0].field), ("FIELD_INVALID", "f"), "{bad}");
        }
    }
}
