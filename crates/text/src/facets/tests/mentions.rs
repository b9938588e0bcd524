use super::*;

#[test]
fn mentions_are_whole_handles() {
    let text = "@ada. (@bob) \"@eve\" @ada's 你好@eve你好 @a_b @ada\n@bob";
    assert_eq!(meanings(text), ["@ada", "@bob", "@eve", "@ada", "@eve", "@a_b", "@ada", "@bob"]);
    let too_long = format!("@{}", "a".repeat(HANDLE_CHARS_MAX + 1));
    finds_nothing(&["@", "@@ada", "@ab", "ada@example.org", "@ada@example.org", "@adaé", "/@ada", &too_long]);
}

#[test]
fn signs_of_other_widths_and_what_stands_around() {
    covers(&[
        ("\u{FF20}bob", &["\u{FF20}bob"]),
        ("\u{FE6B}bob", &["\u{FE6B}bob"]),
        ("\u{FF20}Bob\u{3001}\u{FF20}ada", &["\u{FF20}Bob", "\u{FF20}ada"]),
        ("@alice/@bob", &["@alice", "@bob"]),
        ("@alice/@bob/@eve", &["@alice", "@bob", "@eve"]),
        ("#one/@bob", &["#one", "@bob"]),
        ("lunch w/@bob", &["@bob"]),
        ("@alice\u{FF0F}@bob", &["@alice", "@bob"]),
        ("❤\u{FE0F}@bob", &["@bob"]),
        ("1\u{FE0F}\u{20E3}@bob", &["@bob"]),
        ("😀@bob", &["@bob"]),
        ("@bob1\u{FE0F}\u{20E3}", &["@bob"]),
        ("@bob1\u{20E3}", &["@bob"]),
        ("@bob😀", &["@bob"]),
        ("@bob❤\u{FE0F}", &["@bob"]),
        ("\u{2067}@bob\u{2069}", &["@bob"]),
        ("a\u{200B}@bob", &["@bob"]),
        ("@bob\u{200B}@ada", &["@bob", "@ada"]),
        ("@bob\u{FE0F}", &["@bob"]),
        ("@bobさん", &["@bob"]),
        ("日本@bob", &["@bob"]),
    ]);
    finds_nothing(&[
        "example.org/@ada",
        "example.org/x/@ada",
        "see /@ada",
        "\u{FF20}ada\u{FF20}example.org",
        "\u{FF20}@ada",
        "jose\u{301}@adalovelace",
        "josé@ada",
        "x\u{301}@ada",
        "@adax\u{301}",
        "@\u{FF42}\u{FF4F}\u{FF42}",
        "@ada\u{FF41}",
        "_@ada",
    ]);
}
