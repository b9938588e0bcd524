//! `https://…`, `http://…`, `www.…`.

use std::ops::Range;

use kith_proto::posts::v1::facet::Link;
use url::{Position, Url};

use super::scheme::{scheme_len, starts_with, starts_with_scheme};
use super::{FACETS_PER_TEXT, authority};
use crate::character::{is_middle_dot, is_of_word, is_written_without_spaces, without_keycap};

/// Punctuation of the text that a link stands in, when it is last in the link.
const TRAILING: [char; 15] =
    ['.', ',', ':', ';', '!', '?', '\'', '*', '|', '^', '#', '\u{B7}', '\u{2010}', '\u{2011}', '\u{2013}'];

pub(super) struct Found {
    pub range: Range<usize>,
    pub feature: Link,
}

/// Links with the scheme `http` or `https`, or that start with `www.` and are taken as `https`.
pub(super) fn find(text: &str) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut at = 0;
    let mut end_of_last = 0;
    while found.len() < FACETS_PER_TEXT
        && let Some(offset) = text[at..].find(['h', 'H', 'w', 'W'])
    {
        let start = at + offset;
        match link_at(text, start, end_of_last) {
            Some(link) => {
                at = link.range.end;
                end_of_last = at;
                found.push(link);
            }
            None => at = start + 1,
        }
    }
    found
}

/// The link that starts at `start`. What is before `end_of_last` is another link, with which it makes no word.
fn link_at(text: &str, start: usize, end_of_last: usize) -> Option<Found> {
    let before = text[end_of_last..start].chars().next_back();
    let scheme = scheme_len(&text[start..]);
    let begins = match scheme {
        Some(_) => !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '+'),
        None => starts_with(&text[start..], "www.") && !before.is_some_and(is_in_address),
    };
    if !begins {
        return None;
    }
    let host = start + scheme.unwrap_or(0);
    let authority_end = host + authority::len(&text[host..])?;
    // `www.` alone does not make a name of what has no other dot.
    if scheme.is_none() && text[host..authority_end].matches('.').count() < 2 {
        return None;
    }
    let tail = tail(&text[authority_end..], before);
    let end = authority_end + tail.len();
    let uri = uri(scheme.is_some(), &text[start..end], tail)?;
    Some(Found { range: start..end, feature: Link { uri } })
}

/// What can stand before `www.` inside of a longer address or word.
fn is_in_address(c: char) -> bool {
    matches!(c, '@' | '.' | '-' | '/' | '\\') || is_of_word(c) && !is_written_without_spaces(c)
}

/// Path, query and fragment at the start of `rest`, with brackets in pairs only.
fn tail(rest: &str, before: Option<char>) -> &str {
    if !rest.starts_with(['/', '?', '#']) {
        return "";
    }
    let mut open: Vec<(usize, char)> = Vec::new();
    let mut end = rest.len();
    for (at, c) in rest.char_indices() {
        let ends = match c {
            '(' | '[' | '{' => {
                open.push((at, c));
                false
            }
            ')' | ']' | '}' => open.pop_if(|(_, opener)| closer(*opener) == Some(c)).is_none(),
            '\'' => before == Some('\''),
            ',' | ';' | '|' => starts_with_scheme(&rest[at + 1..]) || starts_with(&rest[at + 1..], "www."),
            '.' | '!' => starts_with_scheme(&rest[at + 1..]),
            _ => !is_of_tail(c),
        };
        if ends {
            end = without_keycap(rest, at);
            break;
        }
    }
    let end = open.first().map_or(end, |(at, _)| *at);
    let is_trailing = |c: char| TRAILING.contains(&c) || matches!(c, '_' | '~') && before == Some(c);
    let tail = rest[..end].trim_end_matches(is_trailing);
    let of_another = tail.strip_suffix("'s").or(tail.strip_suffix("'S"));
    of_another.map_or(tail, |tail| tail.trim_end_matches(is_trailing))
}

fn closer(opener: char) -> Option<char> {
    match opener {
        '(' => Some(')'),
        '[' => Some(']'),
        '{' => Some('}'),
        _ => None,
    }
}

/// Of ASCII what browsers take as it is, without quotes and angle brackets. Of the rest what words consist of in scripts
/// that are written with spaces.
fn is_of_tail(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        '/' | '?' | '#' | '=' | '&' | '%' | '-' | '_' | '~' | '+' | '*' | '$' | '@' | ':' | '^' => true,
        '\0'..='\u{7F}' => false,
        '\u{2010}' | '\u{2011}' | '\u{2013}' => true,
        _ => (is_of_word(c) || is_middle_dot(c)) && !is_written_without_spaces(c),
    }
}

/// As written if that is ASCII; if not, as browsers send it: the host in its ASCII form, the rest percent-encoded.
fn uri(has_scheme: bool, written: &str, tail: &str) -> Option<String> {
    let uri = if has_scheme { written.to_owned() } else { format!("https://{written}") };
    if uri.is_ascii() {
        return Some(uri);
    }
    let url = Url::parse(&uri).ok()?;
    // The standard puts a slash where no path is written.
    let from = if tail.starts_with('/') { Position::BeforePath } else { Position::AfterPath };
    Some(format!("{}{}", &url[..Position::AfterPort], &url[from..]))
}
