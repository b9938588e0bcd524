//! The part of a link that names a server.

use std::net::Ipv4Addr;

use unicode_security::{MixedScript, RestrictionLevel, RestrictionLevelDetection, skeleton};
use url::{Host, Url};

use super::scheme::starts_with_scheme;
use crate::character::{is_latin_letter, is_middle_dot, is_of_word, is_written_without_spaces, without_keycap};

/// The longest name of a host, in characters (RFC 1035, section 2.3.4).
const HOST_CHARS_MAX: usize = 253;
/// The longest part between dots, in characters of its ASCII form.
const LABEL_CHARS_MAX: usize = 63;

/// How long the host and the port at the start of `rest` are, in bytes. `None` if they cannot be: the name has no dot,
/// a part of it mixes scripts as look-alikes do, the address or the port is out of range. A user name is not taken,
/// since in `https://a.org@b.org` it looks like the host.
pub(super) fn len(rest: &str) -> Option<usize> {
    let host = if rest.starts_with('[') { address_len(rest)? } else { name_len(rest)? };
    let end = host + port_len(&rest[host..]);
    can_be(&rest[..host], &rest[..end]).then_some(end)
}

/// An address of IPv6 in its brackets.
fn address_len(rest: &str) -> Option<usize> {
    let end = 1 + rest[1..].find(|c: char| !c.is_ascii_hexdigit() && !matches!(c, ':' | '.'))?;
    rest[end..].starts_with(']').then_some(end + 1)
}

fn name_len(rest: &str) -> Option<usize> {
    let mut chars = 0;
    let mut end = rest.len();
    for (at, c) in rest.char_indices() {
        if !is_of_name(c) || starts_with_scheme(&rest[at..]) {
            end = at;
            break;
        }
        chars += 1;
        if chars > HOST_CHARS_MAX {
            return None;
        }
    }
    let name = trimmed(&rest[..without_keycap(rest, end)]);
    Some(trimmed(without_glued_word(name)).len())
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || !c.is_ascii() && is_of_word(c) && !is_middle_dot(c)
}

fn trimmed(name: &str) -> &str {
    name.trim_end_matches(['.', '-', '_'])
}

/// Text of a script without spaces may follow a name with none between. No top-level domain mixes such a script with
/// another, so that in the last part a change from one to the other is the end of the name.
fn without_glued_word(name: &str) -> &str {
    let last = name.rfind('.').map_or(0, |dot| dot + 1);
    let mut chars = name[last..].char_indices();
    let Some((_, first)) = chars.next() else { return name };
    let is_spaceless = is_written_without_spaces(first);
    let end = chars.find(|&(_, c)| is_written_without_spaces(c) != is_spaceless);
    end.map_or(name, |(at, _)| &name[..last + at])
}

fn port_len(rest: &str) -> usize {
    let Some(digits) = rest.strip_prefix(':') else { return 0 };
    match digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()) {
        0 => 0,
        len => len + 1,
    }
}

fn can_be(host: &str, authority: &str) -> bool {
    let Ok(url) = Url::parse(&format!("https://{authority}")) else { return false };
    match url.host() {
        Some(Host::Domain(name)) => is_name(name),
        // The standard reads `1.2` as 1.0.0.2, and other forms, which nobody means.
        Some(Host::Ipv4(_)) => host.parse::<Ipv4Addr>().is_ok(),
        Some(Host::Ipv6(_)) => true,
        None => false,
    }
}

/// A name that DNS can have (RFC 1123), by its ASCII form, and that shows whose it is. One without a dot means another
/// server to each reader.
fn is_name(name: &str) -> bool {
    let is_label =
        |label: &str| (1..=LABEL_CHARS_MAX).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    name.len() <= HOST_CHARS_MAX && name.contains('.') && name.split('.').all(is_label) && !is_look_alike(name)
}

fn is_look_alike(ascii: &str) -> bool {
    let (name, _) = idna::domain_to_unicode(ascii);
    let is_under_ascii = name.rsplit('.').next().is_some_and(|last| last.is_ascii());
    name.split('.').filter(|label| !label.is_ascii()).any(|label| {
        let mixes_scripts =
            !label.is_single_script() && !label.check_restriction_level(RestrictionLevel::HighlyRestrictive);
        let reads_as_latin = || !label.chars().any(is_latin_letter) && skeleton(label).all(|c| c.is_ascii());
        mixes_scripts || is_under_ascii && reads_as_latin()
    })
}
