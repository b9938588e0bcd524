//! What is the same but for how it is written: upper and lower case, full and half width, what is not seen.

use icu_casemap::CaseMapper;
use unicode_normalization::UnicodeNormalization;

use crate::character::is_invisible;

/// NFKC and default case folding, without what is not seen: Unicode's caseless match of compatible characters (D146).
///
/// Beyond that, İ folds to `i` without a dot. And the wave dash becomes `~`, as NFKC makes of the full-width tilde: they
/// are one character of Shift JIS, which systems convert in two ways.
pub(crate) fn fold(text: &str) -> String {
    let decomposed: String = text.nfd().collect();
    let folded = once_folded(&decomposed);
    once_folded(&folded)
}

fn once_folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in CaseMapper::new().fold_string(text).chars() {
        match c {
            '\u{307}' if folded.ends_with('i') => {}
            '\u{301C}' => folded.push('~'),
            _ if is_invisible(c) => {}
            _ => folded.push(c),
        }
    }
    folded.nfkc().collect()
}
