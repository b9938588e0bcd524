//! `@handle`.

use kith_proto::posts::v1::facet::Mention;

use super::{end_of_word, ends_in_path, is_at_sign};
use crate::character::{is_invisible, is_latin_letter, is_mark, without_keycap};
use crate::handle::{is_handle, is_handle_char};

/// The mention whose sign is at `start`, and where it ends: not in an e-mail address, not in a longer word, not
/// `@name@server`, not in a path.
pub(super) fn at(text: &str, start: usize) -> Option<(usize, Mention)> {
    let before = &text[..start];
    if before.ends_with(is_at_sign) || ends_in_path(before) || end_of_word(before).is_some_and(is_of_latin_word) {
        return None;
    }
    let name = start + text[start..].chars().next()?.len_utf8();
    let end = text[name..].find(|c| !is_handle_char(c)).map_or(text.len(), |len| name + len);
    let end = without_keycap(text, end);
    let handle = text[name..end].to_ascii_lowercase();
    if goes_on(&text[end..]) || !is_handle(&handle) {
        return None;
    }
    Some((end, Mention { account_id: String::new(), handle }))
}

/// Scripts without spaces may go on right behind a handle; an accented Latin letter is part of a longer word.
fn goes_on(rest: &str) -> bool {
    rest.starts_with(|c| is_at_sign(c) || is_latin_letter(c) || is_mark(c) && !is_invisible(c) && c != '\u{20E3}')
}

fn is_of_latin_word(c: char) -> bool {
    is_handle_char(c) || is_latin_letter(c)
}
