//! Addresses of web pages that stand alone, not in a text.

/// What may follow the host name besides letters and digits (RFC 3986): nothing that ends an attribute or a tag of HTML.
const MARKS: &str = "-._~:/?#@!$&'()*+,;=%";

/// Whether this is `http://` or `https://`, a host name of lower-case ASCII with a dot, and perhaps a path, a query and a fragment. Other
/// scripts are written as browsers send them: `xn--`, `%`.
pub fn is_web_address(written: &str) -> bool {
    let Some(rest) = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://")) else { return false };
    let (host, more) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    is_host_name(host) && more.chars().all(|c| c.is_ascii_alphanumeric() || MARKS.contains(c))
}

/// Labels of letters, digits and hyphens; the last one begins with a letter, so that no number is taken for a name.
fn is_host_name(host: &str) -> bool {
    let Some((labels, last)) = host.rsplit_once('.') else { return false };
    let is_of_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| !label.is_empty() && !label.starts_with('-') && label.bytes().all(is_of_label);
    last.starts_with(|c: char| c.is_ascii_lowercase()) && is_label(last) && labels.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_pages_are_taken() {
        for address in [
            "http://kith.example",
            "https://kith.example/",
            "https://a-1.b.kith.example/a/b?c=d&e#(f)",
            "https://xn--bcher-kva.example?q=%C3%A9",
            "https://1st.example#top",
        ] {
            assert!(is_web_address(address), "{address}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for other in [
            "",
            "kith.example",
            "www.kith.example",
            "https://",
            "https://localhost/",
            "https://10.0.0.1/",
            "https://kith..example/",
            "https://.example/",
            "https://-kith.example/",
            "https://KITH.example/",
            "https://me@kith.example/",
            "https://kith.example:8443/",
            "https://kith.example/a b",
            "https://kith.example/\"><script>",
            "https://kith.example/\\evil.example",
            "https://kith.example/é",
            "https://kith.example\\@evil.example",
            "javascript:alert(1)",
            "see https://kith.example",
        ] {
            assert!(!is_web_address(other), "{other}");
        }
    }
}
