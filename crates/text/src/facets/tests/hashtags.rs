use super::*;

#[test]
fn hashtags_are_words_of_any_script() {
    let text = "#rust #2024election #हिन्दी #日本語, #a_b. #É";
    assert_eq!(meanings(text), ["#rust", "#2024election", "#हिन्दी", "#日本語", "#a_b", "#é"]);
    let too_long = format!("#{}", "a".repeat(HASHTAG_CHARS_MAX + 1));
    let too_long_folded = format!("#{}", "ß".repeat(HASHTAG_CHARS_MAX / 2 + 1));
    finds_nothing(&["#", "#1", "#_", "#12_3", "##a", "a#b", "&#x27;", "#a#b", "# a", &too_long, &too_long_folded]);
    let longest = format!("#{}", "ß".repeat(HASHTAG_CHARS_MAX / 2));
    assert_eq!(found(&longest), [(&*longest, format!("#{}", "s".repeat(HASHTAG_CHARS_MAX)))]);
}

#[test]
fn what_stands_around_a_tag() {
    covers(&[
        ("(#one/#two)", &["#one", "#two"]),
        ("#one/#two/#three", &["#one", "#two", "#three"]),
        ("#one&#two", &["#one", "#two"]),
        ("#one&#xbox", &["#one", "#xbox"]),
        ("#one,#two;#three|#four", &["#one", "#two", "#three", "#four"]),
        ("#one\u{30FB}#two", &["#one", "#two"]),
        ("#one\u{B7}#two", &["#one", "#two"]),
        ("#one\u{FF5E}#two", &["#one", "#two"]),
        ("#one\u{200B}#two", &["#one", "#two"]),
        ("\u{300C}#one\u{300D}#two", &["#one", "#two"]),
        ("\u{FF03}\u{65E5}\u{672C}\u{8A9E}", &["\u{FF03}\u{65E5}\u{672C}\u{8A9E}"]),
        ("\u{FE5F}tag", &["\u{FE5F}tag"]),
        ("❤\u{FE0F}#love", &["#love"]),
        ("👨\u{200D}👩\u{200D}👧#love", &["#love"]),
        ("👍🏽#love", &["#love"]),
        ("🇩🇪#love", &["#love"]),
        ("🏴\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}#love", &["#love"]),
        ("1\u{FE0F}\u{20E3}#love", &["#love"]),
        ("1\u{20E3}#love", &["#love"]),
        ("ℹ\u{FE0F}#love", &["#love"]),
        ("©\u{FE0F}#love", &["#love"]),
        ("#love❤\u{FE0F}", &["#love"]),
        ("#day1\u{FE0F}\u{20E3}", &["#day"]),
        ("#rust's", &["#rust"]),
        ("#rust\u{2019}s", &["#rust"]),
        ("#rust-lang", &["#rust"]),
        ("#tag~", &["#tag"]),
    ]);
    finds_nothing(&[
        "&#39;",
        "&#x27;",
        "&#X2f;",
        "example.org/#top",
        "/#top",
        "#one#two",
        "\u{FF03}one\u{FF03}two",
        "#\u{FF03}one",
        "x\u{301}#love",
        "日本#語",
        "#\u{FE0F}\u{20E3}tag",
        "#\u{301}tag",
    ]);
}

#[test]
fn what_is_not_seen_is_no_part_of_a_tag() {
    covers(&[
        ("#tag\u{200C}", &["#tag"]),
        ("#tag\u{200D} x", &["#tag"]),
        ("#tag\u{FE0F}", &["#tag"]),
        ("#tag\u{E0100}", &["#tag"]),
        ("#tag\u{AD}", &["#tag"]),
        ("#tag\u{2060}", &["#tag"]),
        ("#tag\u{2069}", &["#tag"]),
        ("#tag\u{3164}", &["#tag"]),
        ("#葛\u{E0100}", &["#葛"]),
    ]);
    finds_nothing(&[
        "#\u{3164}",
        "#\u{FFA0}",
        "#\u{115F}\u{1160}",
        "#\u{200C}",
        "#\u{FE0F}",
        "#\u{3164}tag",
        "#\u{200D}\u{200D}",
    ]);
}

#[test]
fn what_joins_letters_inside_a_word_continues_a_tag() {
    let whole = [
        "#\u{30C8}\u{30ED}\u{30D4}\u{30AB}\u{30EB}\u{FF5E}\u{30B8}\u{30E5}",
        "#\u{30C8}\u{30ED}\u{30D4}\u{30AB}\u{30EB}\u{301C}\u{30B8}\u{30E5}",
        "#レオナルド\u{30FB}ダ\u{30FB}ヴィンチ",
        "#ｷｬﾗ\u{FF65}ﾒﾙ",
        "#ゲーム\u{30A0}名",
        "#コーヒー",
        "#人々",
        "#\u{5E6}\u{5D4}\u{5F4}\u{5DC}",
        "#\u{5D2}\u{5F3}\u{5D5}\u{5E8}",
        "#\u{5EA}\u{5DC}\u{5BE}\u{5D0}\u{5D1}\u{5D9}\u{5D1}",
        "#\u{5E9}\u{5C1}\u{5B8}\u{5DC}\u{5D5}\u{5B9}\u{5DD}",
        "#\u{F56}\u{F7C}\u{F51}\u{F0B}\u{F66}",
        "#\u{E01}\u{E33}\u{E25}\u{E31}\u{E07}",
        "#\u{E17}\u{E35}\u{E48}",
        "#\u{939}\u{93F}\u{928}\u{94D}\u{926}\u{940}",
        "#\u{645}\u{6CC}\u{200C}\u{62E}\u{648}\u{627}\u{647}\u{645}",
        "#\u{DC1}\u{DCA}\u{200D}\u{DBB}\u{DD3}",
        "#\u{531}\u{562}\u{58A}\u{563}",
        "#Paral\u{B7}lel",
        "#한국어",
        "#x\u{301}y",
    ];
    for text in whole {
        covers(&[(text, &[text])]);
    }
    covers(&[
        ("#བོད\u{F0B}", &["#བོད"]),
        ("#צה\u{5F4}", &["#צה"]),
        ("#ト\u{FF5E}", &["#ト"]),
        ("#ト\u{FF5E}\u{FF5E}ロ", &["#ト"]),
        ("#rust\u{FF5E}go", &["#rust"]),
        ("#rust\u{5F4}go", &["#rust"]),
        ("#\u{FF5E}ト", &[]),
    ]);
}

#[test]
fn one_tag_is_written_in_many_ways() {
    let ways: [&[&str]; 9] = [
        &["synth", "SYNTH", "\u{FF53}\u{FF59}\u{FF4E}\u{FF54}\u{FF48}", "\u{1D42C}ynth", "syn\u{200D}th"],
        &["strasse", "Stra\u{DF}e", "STRASSE", "STRA\u{1E9E}E", "\u{17F}trasse"],
        &["istanbul", "\u{130}stanbul", "Istanbul", "i\u{307}stanbul"],
        &[
            "\u{3C3}\u{3BF}\u{3C6}\u{3CC}\u{3C3}",
            "\u{3C3}\u{3BF}\u{3C6}\u{3CC}\u{3C2}",
            "\u{3A3}\u{39F}\u{3A6}\u{38C}\u{3A3}",
        ],
        &["caf\u{E9}", "cafe\u{301}", "CAF\u{C9}"],
        &["ト~ロ", "ト\u{FF5E}ロ", "ト\u{301C}ロ", "ﾄ\u{FF5E}ﾛ"],
        &["ガ\u{30FB}ト", "ｶ\u{FF9E}\u{FF65}ﾄ"],
        &["葛城", "葛\u{E0100}城"],
        &["ffi", "\u{FB03}", "FFI"],
    ];
    for way in ways {
        for written in way {
            assert_eq!(tag(written).as_deref(), Some(way[0]), "{}", written.escape_unicode());
        }
    }
    assert_ne!(tag("ıstanbul"), tag("istanbul"), "the dotless letter is another one");
    for none in ["", "1", "#a", "a b", "a-", "\u{200C}a", "a\u{200C}", "a\u{30FB}"] {
        assert_eq!(tag(none), None, "{none:?}");
    }
    assert_eq!(found("#\u{FF33}YNTH"), [("#\u{FF33}YNTH", "#synth".to_owned())], "the text is kept as written");
}
