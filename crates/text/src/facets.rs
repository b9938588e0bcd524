//! What in a text means more than its letters: mentions, hashtags, links.

mod authority;
mod hashtag;
mod link;
mod mention;
mod scheme;

use std::ops::Range;

use kith_proto::posts::v1::Facet;
use kith_proto::posts::v1::facet::Feature;
use unicode_segmentation::UnicodeSegmentation;

use crate::character;

pub use hashtag::tag;

/// Facets of one text; what comes after stays text.
pub const FACETS_PER_TEXT: usize = 100;
/// The longest tag, in characters, as written and as normalised; a longer one is no tag.
pub const HASHTAG_CHARS_MAX: usize = 100;

/// The facets of `text`, in order, not overlapping, at most [`FACETS_PER_TEXT`]; where two could stand, the link does.
/// Ranges are of `text` as it is given, which is to be a normalised one. Mentions name a handle, and no account yet.
pub fn find(text: &str) -> Vec<Facet> {
    let mut facets = Vec::new();
    let mut at = 0;
    for link in link::find(text) {
        in_plain_text(text, at..link.range.start, &mut facets);
        at = link.range.end;
        push(&mut facets, link.range, Feature::Link(link.feature));
    }
    in_plain_text(text, at..text.len(), &mut facets);
    facets.truncate(FACETS_PER_TEXT);
    facets
}

/// Mentions and hashtags in a stretch between links.
fn in_plain_text(text: &str, stretch: Range<usize>, facets: &mut Vec<Facet>) {
    let mut end_of_last = stretch.start;
    while facets.len() < FACETS_PER_TEXT
        && let Some(offset) = text[end_of_last..stretch.end].find(is_sign)
    {
        let start = end_of_last + offset;
        let within = &text[..stretch.end];
        let found = match within[start..].chars().next() {
            Some(sign) if is_at_sign(sign) => {
                mention::at(within, start).map(|(end, mention)| (end, Feature::Mention(mention)))
            }
            Some(_) => hashtag::at(within, start).map(|(end, hashtag)| (end, Feature::Hashtag(hashtag))),
            None => None,
        };
        match found {
            Some((end, feature)) => {
                push(facets, start..end, feature);
                end_of_last = end;
            }
            None => end_of_last = text.ceil_char_boundary(start + 1),
        }
    }
}

fn is_sign(c: char) -> bool {
    is_at_sign(c) || is_number_sign(c)
}

/// Also the full-width and the small one.
fn is_at_sign(c: char) -> bool {
    matches!(c, '@' | '\u{FF20}' | '\u{FE6B}')
}

/// Also the full-width and the small one.
fn is_number_sign(c: char) -> bool {
    matches!(c, '#' | '\u{FF03}' | '\u{FE5F}')
}

/// The letter, digit or connecting punctuation of a word that goes up to the end of `before`, without the marks on it.
/// An emoji is no part of a word, with whatever marks and selectors it is written.
fn end_of_word(before: &str) -> Option<char> {
    let cluster = before.graphemes(true).next_back()?;
    cluster.chars().next().filter(|&base| character::is_of_word(base) && !is_emoji(cluster))
}

/// Whether a grapheme that begins with a letter or digit is an emoji: `1` in a keycap, or ℹ with a selector.
fn is_emoji(cluster: &str) -> bool {
    cluster.starts_with(character::can_be_emoji) && cluster.contains(['\u{FE0F}', '\u{20E3}'])
}

/// Whether `before` ends in a slash of a path, as in `example.org/@ada` and `/@ada`. The slash in `@ada/@bob` and in
/// `w/@bob` stands between two words: up to the last space or sign there is no dot, colon or other slash.
fn ends_in_path(before: &str) -> bool {
    let Some(before) = before.strip_suffix('/') else { return false };
    let last = before.chars().rev().find(|&c| c.is_whitespace() || is_sign(c) || matches!(c, '.' | '/' | ':' | '\\'));
    let is_first = before.is_empty() || before.ends_with(char::is_whitespace);
    is_first || last.is_some_and(|c| matches!(c, '.' | '/' | ':' | '\\'))
}

fn push(facets: &mut Vec<Facet>, range: Range<usize>, feature: Feature) {
    if let (Ok(start_byte), Ok(end_byte)) = (u32::try_from(range.start), u32::try_from(range.end)) {
        facets.push(Facet { start_byte, end_byte, feature: Some(feature) });
    }
}

#[cfg(test)]
mod tests;
