//! How a link begins.

pub(super) fn starts_with_scheme(text: &str) -> bool {
    scheme_len(text).is_some()
}

/// Of the scheme that the text starts with, bytes.
pub(super) fn scheme_len(text: &str) -> Option<usize> {
    ["https://", "http://"].into_iter().find(|scheme| starts_with(text, scheme)).map(str::len)
}

pub(super) fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
