//! What in a text means more than its letters: mentions, hashtags, links. Pure.

use std::ops::Range;

use kith_proto::posts::v1::Facet;
use kith_proto::posts::v1::facet::{Feature, Hashtag, Link, Mention};
use kith_service::limits::{HANDLE_CHARS_MAX, HANDLE_CHARS_MIN};
use linkify::{LinkFinder, LinkKind};
use unicode_ident::is_xid_continue;

/// Facets of one text; what comes after stays text.
pub const FACETS_PER_TEXT: usize = 100;
/// The longest tag, in characters; a longer one is no tag.
pub const HASHTAG_CHARS_MAX: usize = 100;

/// The facets of `text`, in order, not overlapping, at most [`FACETS_PER_TEXT`]; where two could stand, the link does.
/// Mentions name a handle, and no account yet.
pub fn find(text: &str) -> Vec<Facet> {
    let mut facets = Vec::new();
    let mut at = 0;
    for link in links(text) {
        in_plain_text(text, at..link.range.start, &mut facets);
        at = link.range.end;
        push(&mut facets, link.range, Feature::Link(Link { uri: link.uri }));
    }
    in_plain_text(text, at..text.len(), &mut facets);
    facets.truncate(FACETS_PER_TEXT);
    facets
}

struct FoundLink {
    range: Range<usize>,
    uri: String,
}

/// Links with the scheme `http` or `https`, or that start with `www.` and are taken as `https`.
fn links(text: &str) -> impl Iterator<Item = FoundLink> {
    let mut finder = LinkFinder::new();
    finder.kinds(&[LinkKind::Url]).url_must_have_scheme(false);
    let found: Vec<_> = finder.links(text).map(|link| (link.start()..link.end(), link.as_str())).collect();
    found.into_iter().filter_map(|(range, link)| {
        let starts_with =
            |prefix: &str| link.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        let behind_word = text[..range.start].chars().next_back().is_some_and(|c| c == '@' || is_xid_continue(c));
        if starts_with("https://") || starts_with("http://") {
            Some(FoundLink { range, uri: link.to_owned() })
        } else if starts_with("www.") && !behind_word {
            Some(FoundLink { range, uri: format!("https://{link}") })
        } else {
            None
        }
    })
}

/// Mentions and hashtags in a stretch between links.
fn in_plain_text(text: &str, stretch: Range<usize>, facets: &mut Vec<Facet>) {
    let mut before = text[..stretch.start].chars().next_back();
    let mut end_of_last = stretch.start;
    for (offset, c) in text[stretch.clone()].char_indices() {
        let start = stretch.start + offset;
        let within_last = start < end_of_last;
        let found = match c {
            _ if within_last || facets.len() >= FACETS_PER_TEXT => None,
            '@' => mention(&text[start..stretch.end], before),
            '#' => hashtag(&text[start..stretch.end], before),
            _ => None,
        };
        if let Some((len, feature)) = found {
            end_of_last = start + len;
            push(facets, start..end_of_last, feature);
        }
        before = Some(c);
    }
}

/// `@handle` at the start of `rest`: not in an e-mail address, not in a longer word, not `@name@server`.
fn mention(rest: &str, before: Option<char>) -> Option<(usize, Feature)> {
    if before.is_some_and(|c| is_handle_char(c) || matches!(c, '@' | '/')) {
        return None;
    }
    let name = &rest[1..];
    let len = name.find(|c| !is_handle_char(c)).unwrap_or(name.len());
    // Scripts without spaces may go on right behind a handle; an accented Latin letter is part of a longer word.
    let goes_on = name[len..].starts_with(|c| matches!(c, '@' | '\u{c0}'..='\u{24f}'));
    if goes_on || !(HANDLE_CHARS_MIN..=HANDLE_CHARS_MAX).contains(&len) {
        return None;
    }
    let handle = name[..len].to_ascii_lowercase();
    Some((1 + len, Feature::Mention(Mention { account_id: String::new(), handle })))
}

fn is_handle_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `#tag` at the start of `rest`: what Unicode lets a word go on with (UAX #31), with at least one letter in it.
fn hashtag(rest: &str, before: Option<char>) -> Option<(usize, Feature)> {
    // `&#39;` is an escaped character, and `/#top` a place in a page.
    if before.is_some_and(|c| is_xid_continue(c) || matches!(c, '#' | '&' | '/')) {
        return None;
    }
    let name = &rest[1..];
    let len = name.find(|c: char| !is_xid_continue(c)).unwrap_or(name.len());
    let (tag, after) = name.split_at(len);
    let is_tag = tag.chars().any(char::is_alphabetic) && tag.chars().count() <= HASHTAG_CHARS_MAX;
    if !is_tag || after.starts_with('#') {
        return None;
    }
    Some((1 + len, Feature::Hashtag(Hashtag { tag: tag.to_lowercase() })))
}

fn push(facets: &mut Vec<Facet>, range: Range<usize>, feature: Feature) {
    if let (Ok(start_byte), Ok(end_byte)) = (u32::try_from(range.start), u32::try_from(range.end)) {
        facets.push(Facet { start_byte, end_byte, feature: Some(feature) });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each facet as the text it covers and what it means.
    fn found(text: &str) -> Vec<(&str, String)> {
        let meaning = |facet: &Facet| match facet.feature.clone().unwrap() {
            Feature::Mention(mention) => format!("@{}", mention.handle),
            Feature::Hashtag(hashtag) => format!("#{}", hashtag.tag),
            Feature::Link(link) => link.uri,
        };
        find(text).iter().map(|f| (&text[f.start_byte as usize..f.end_byte as usize], meaning(f))).collect()
    }

    fn meanings(text: &str) -> Vec<String> {
        found(text).into_iter().map(|(_, meaning)| meaning).collect()
    }

    #[test]
    fn given_a_text_with_all_kinds_then_each_is_found_in_its_place() {
        let text = "Héllo @Ada_1, see https://example.org/a?b=c#d (#Übung) or www.example.org!";
        let expected = [
            ("@Ada_1", "@ada_1"),
            ("https://example.org/a?b=c#d", "https://example.org/a?b=c#d"),
            ("#Übung", "#übung"),
            ("www.example.org", "https://www.example.org"),
        ];
        assert_eq!(found(text), expected.map(|(text, meaning)| (text, meaning.to_owned())));
    }

    #[test]
    fn mentions_are_whole_handles() {
        let text = "@ada. (@bob) \"@eve\" @ada's 你好@eve你好 @a_b @ada\n@bob";
        assert_eq!(meanings(text), ["@ada", "@bob", "@eve", "@ada", "@eve", "@a_b", "@ada", "@bob"]);
        let too_long = format!("@{}", "a".repeat(HANDLE_CHARS_MAX + 1));
        for none in ["@", "@@ada", "@ab", "ada@example.org", "@ada@example.org", "@adaé", "/@ada", &too_long] {
            assert!(found(none).is_empty(), "{none}: {:?}", found(none));
        }
    }

    #[test]
    fn hashtags_are_words_of_any_script() {
        let text = "#rust #2024election #हिन्दी #日本語, #a_b. #É";
        assert_eq!(meanings(text), ["#rust", "#2024election", "#हिन्दी", "#日本語", "#a_b", "#é"]);
        let too_long = format!("#{}", "a".repeat(HASHTAG_CHARS_MAX + 1));
        for none in ["#", "#1", "#_", "#12_3", "##a", "a#b", "&#x27;", "#a#b", "# a", &too_long] {
            assert!(found(none).is_empty(), "{none}: {:?}", found(none));
        }
    }

    #[test]
    fn links_win_and_other_schemes_are_text() {
        assert_eq!(meanings("http://example.org/@ada/#tag"), ["http://example.org/@ada/#tag"]);
        assert_eq!(meanings("HTTPS://EXAMPLE.ORG"), ["HTTPS://EXAMPLE.ORG"]);
        for none in ["ftp://example.org", "mailto:ada@example.org", "example.org", "javascript:alert(1)", "http://"] {
            assert!(found(none).is_empty(), "{none}: {:?}", found(none));
        }
    }

    #[test]
    fn there_are_no_more_than_the_limit() {
        assert_eq!(find(&"#a ".repeat(FACETS_PER_TEXT + 5)).len(), FACETS_PER_TEXT);
        assert_eq!(find(&"http://example.org/ ".repeat(FACETS_PER_TEXT + 5)).len(), FACETS_PER_TEXT);
    }

    fn hostile_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "\\PC{0,6}",
            "[@#/:.&?=_ -]{1,4}",
            "@[a-zA-Z0-9_]{1,32}",
            "#\\w{1,12}",
            Just("https://".to_owned()),
            Just("www.".to_owned()),
            Just("example.org".to_owned()),
            Just("\u{200d}\u{301}👨‍👩‍👧".to_owned()),
        ];
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn facets_are_in_order_disjoint_and_on_characters(text in prop_oneof![any::<String>(), hostile_text()]) {
            let facets = find(&text);
            let mut at = 0;
            for facet in &facets {
                let (start, end) = (facet.start_byte as usize, facet.end_byte as usize);
                prop_assert!(at <= start && start < end && end <= text.len());
                prop_assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
                at = end;
            }
            prop_assert!(facets.len() <= FACETS_PER_TEXT);
        }
    }
}
