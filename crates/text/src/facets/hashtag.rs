//! `#tag`.

use icu_properties::props::Script;
use kith_proto::posts::v1::facet::Hashtag;
use unicode_segmentation::UnicodeSegmentation;

use super::{HASHTAG_CHARS_MAX, end_of_word, ends_in_path, is_emoji, is_number_sign};
use crate::character::{is_east_asian_letter, is_invisible, is_letter, is_mark, is_of_word, script};
use crate::folding::fold;

/// The tag that `#written` names, normalised; `None` if that is not one hashtag as a whole. What is normalised already
/// stays as it is.
pub fn tag(written: &str) -> Option<String> {
    normalised(written).filter(|_| body_len(written) == written.len())
}

/// The hashtag whose sign is at `start`, and where it ends: not in a word, not in a path, not in an escape of HTML.
pub(super) fn at(text: &str, start: usize) -> Option<(usize, Hashtag)> {
    let before = &text[..start];
    if before.ends_with(is_number_sign) || end_of_word(before).is_some() || ends_in_path(before) {
        return None;
    }
    let body = start + text[start..].chars().next()?.len_utf8();
    let len = body_len(&text[body..]);
    let (written, after) = text[body..].split_at(len);
    if after.starts_with(is_number_sign) || before.ends_with('&') && is_html_escape(written) {
        return None;
    }
    normalised(written).map(|tag| (body + len, Hashtag { tag }))
}

/// How far a tag goes on at the start of `rest`, in bytes: over what Unicode lets a word go on with (UAX #31), and what
/// joins letters inside a word of its script; not over an emoji, nor what is not seen at its end.
fn body_len(rest: &str) -> usize {
    let mut last_base = None;
    let mut joiner = None;
    let mut len = 0;
    for (at, cluster) in rest.grapheme_indices(true) {
        let Some(base) = cluster.chars().next() else { break };
        let is_in_word = is_of_word(base) && !is_emoji(cluster) && (last_base.is_some() || !is_mark(base));
        if is_in_word && joiner.is_none_or(|joiner| joins(joiner, last_base, base)) {
            len = at + cluster.trim_end_matches(is_invisible).len();
            (last_base, joiner) = (Some(base), None);
        } else if joiner.is_none() && joins_words(base) {
            joiner = Some(base);
        } else {
            break;
        }
    }
    len
}

/// Whether it may join letters. `~` is what the wave dash and the full-width tilde are normalised to.
fn joins_words(c: char) -> bool {
    matches!(c, '~' | '\u{301C}' | '\u{FF5E}' | '\u{30FB}' | '\u{FF65}' | '\u{30A0}' | '\u{B7}' | '\u{387}')
        || joiner_script(c).is_some()
}

/// The script in whose words a character joins letters.
fn joiner_script(c: char) -> Option<Script> {
    match c {
        '\u{58A}' => Some(Script::Armenian),
        '\u{5BE}' | '\u{5F3}' | '\u{5F4}' => Some(Script::Hebrew),
        '\u{F0B}' | '\u{F0C}' => Some(Script::Tibetan),
        '\u{180A}' => Some(Script::Mongolian),
        _ => None,
    }
}

/// Whether `joiner` joins the two.
fn joins(joiner: char, before: Option<char>, after: char) -> bool {
    let both = |is_of_script: &dyn Fn(char) -> bool| before.is_some_and(is_of_script) && is_of_script(after);
    match (joiner, joiner_script(joiner)) {
        (_, Some(of)) => both(&|c| script(c) == of),
        ('\u{B7}' | '\u{387}', _) => both(&is_letter),
        _ => both(&is_east_asian_letter),
    }
}

/// With at least one letter to see, and not too long.
fn normalised(written: &str) -> Option<String> {
    let fits = |tag: &str| tag.chars().count() <= HASHTAG_CHARS_MAX;
    let tag = fits(written).then(|| fold(written))?;
    (fits(&tag) && tag.chars().any(is_letter) && !tag.starts_with(is_mark)).then_some(tag)
}

/// `&#39;` and `&#x27;` are escaped characters; digits alone are no tag anyway.
fn is_html_escape(written: &str) -> bool {
    let code = written.strip_prefix(['x', 'X']);
    code.is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit()))
}
