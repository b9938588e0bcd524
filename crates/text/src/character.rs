//! Classes of characters, by the properties that Unicode gives them.

use icu_properties::props::{
    Alphabetic, DefaultIgnorableCodePoint, Emoji, GeneralCategory, GeneralCategoryGroup, LineBreak, Script, WhiteSpace,
    XidContinue,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// What is not drawn by itself: joiners, selectors, marks of direction, fillers, soft hyphens.
pub(crate) fn is_invisible(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

pub(crate) fn is_mark(c: char) -> bool {
    GeneralCategoryGroup::Mark.contains(CodePointMapData::<GeneralCategory>::new().get(c))
}

/// White space, and the characters that are drawn as a blank of a letter's width.
pub(crate) fn is_space(c: char) -> bool {
    CodePointSetData::new::<WhiteSpace>().contains(c) || matches!(c, '\u{2800}' | '\u{3164}' | '\u{FFA0}')
}

/// What shows nothing by itself: spaces, marks (which need a letter to stand on), and what is not drawn.
pub(crate) fn is_blank(c: char) -> bool {
    is_space(c) || is_mark(c) || is_invisible(c)
}

/// What a word can consist of: letters, marks, digits, and connecting punctuation such as `_` (UAX #31).
pub(crate) fn is_of_word(c: char) -> bool {
    CodePointSetData::new::<XidContinue>().contains(c) && !is_invisible(c) && !is_middle_dot(c)
}

/// UAX #31 lets identifiers go on with these. In texts they separate words as often as they join letters.
pub(crate) fn is_middle_dot(c: char) -> bool {
    matches!(c, '\u{B7}' | '\u{387}' | '\u{30FB}' | '\u{FF65}')
}

pub(crate) fn is_letter(c: char) -> bool {
    CodePointSetData::new::<Alphabetic>().contains(c) && !is_mark(c) && !is_invisible(c)
}

pub(crate) fn is_latin_letter(c: char) -> bool {
    is_letter(c) && script(c) == Script::Latin
}

/// Whether a selector or a keycap makes an emoji of it: digits, © and ℹ among others.
pub(crate) fn can_be_emoji(c: char) -> bool {
    CodePointSetData::new::<Emoji>().contains(c)
}

pub(crate) fn script(c: char) -> Script {
    CodePointMapData::<Script>::new().get(c)
}

/// Characters of scripts that are written without spaces, such as Chinese, Japanese and Thai. Unicode tells them by how
/// lines break: between any two, or where a dictionary says. Hangul is among them, since its particles follow a foreign
/// word with no space; full-width forms of other letters are, and emoji.
pub(crate) fn is_written_without_spaces(c: char) -> bool {
    const AKSARAS: [LineBreak; 5] = [
        LineBreak::Aksara,
        LineBreak::AksaraPrebase,
        LineBreak::AksaraStart,
        LineBreak::ViramaFinal,
        LineBreak::Virama,
    ];
    let class = line_break(c);
    is_east_asian_class(class)
        || AKSARAS.contains(&class)
        || matches!(class, LineBreak::ComplexContext | LineBreak::EBase | LineBreak::EModifier)
}

/// A letter of Chinese, Japanese or Korean. Full-width forms of ASCII are none: they are written in Latin words too.
pub(crate) fn is_east_asian_letter(c: char) -> bool {
    is_east_asian_class(line_break(c)) && is_letter(c) && !matches!(c, '\u{FF01}'..='\u{FF5E}')
}

/// Where `text[..end]` ends in the digit of a keycap emoji, whose other parts follow: the end without that digit.
pub(crate) fn without_keycap(text: &str, end: usize) -> usize {
    let rest = &text[end..];
    let is_keycap = rest.strip_prefix('\u{FE0F}').unwrap_or(rest).starts_with('\u{20E3}');
    if is_keycap && text[..end].ends_with(|c: char| c.is_ascii_digit()) { end - 1 } else { end }
}

fn line_break(c: char) -> LineBreak {
    CodePointMapData::<LineBreak>::new().get(c)
}

fn is_east_asian_class(class: LineBreak) -> bool {
    const JAMO: [LineBreak; 5] = [LineBreak::H2, LineBreak::H3, LineBreak::JL, LineBreak::JV, LineBreak::JT];
    JAMO.contains(&class)
        || matches!(class, LineBreak::Ideographic | LineBreak::ConditionalJapaneseStarter | LineBreak::Nonstarter)
}
