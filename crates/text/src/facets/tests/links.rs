use super::*;

#[test]
fn links_win_and_other_schemes_are_text() {
    assert_eq!(meanings("http://example.org/@ada/#tag"), ["http://example.org/@ada/#tag"]);
    assert_eq!(meanings("HTTPS://EXAMPLE.ORG"), ["HTTPS://EXAMPLE.ORG"]);
    finds_nothing(&[
        "ftp://example.org",
        "ftp://www.example.org",
        "mailto:ada@example.org",
        "example.org",
        "javascript:alert(1)",
        "http://",
        "www.",
        "www.example",
        "git+https://example.org",
        "xhttps://example.org",
        "ada@www.example.org",
        "my.www.example.org",
    ]);
}

#[test]
fn where_a_link_ends() {
    covers(&[
        ("https://x.org/a\u{3002}", &["https://x.org/a"]),
        ("https://x.org/a\u{FF01}\u{FF1F}", &["https://x.org/a"]),
        ("https://x.org/a\u{FF0C}b", &["https://x.org/a"]),
        ("\u{300C}https://x.org/a\u{300D}\u{3067}", &["https://x.org/a"]),
        ("\u{FF08}https://x.org/a\u{FF09}", &["https://x.org/a"]),
        ("\u{201C}https://x.org/a\u{201D}", &["https://x.org/a"]),
        ("\u{201E}https://x.org/a\u{201C}", &["https://x.org/a"]),
        ("\u{AB}https://x.org/a\u{BB}", &["https://x.org/a"]),
        ("https://x.org\u{2019}s", &["https://x.org"]),
        ("https://x.org's", &["https://x.org"]),
        ("https://x.org/a's", &["https://x.org/a"]),
        ("https://x.org/Bob's_Burgers", &["https://x.org/Bob's_Burgers"]),
        ("'https://x.org/a','https://y.org/b'", &["https://x.org/a", "https://y.org/b"]),
        ("\"https://x.org/a\",\"https://y.org/b\"", &["https://x.org/a", "https://y.org/b"]),
        ("<https://x.org/a>", &["https://x.org/a"]),
        ("`https://x.org/a`", &["https://x.org/a"]),
        ("**https://x.org/a**", &["https://x.org/a"]),
        ("_https://x.org/a_", &["https://x.org/a"]),
        ("https://x.org/a_", &["https://x.org/a_"]),
        ("|https://x.org/a|b|", &["https://x.org/a|b"]),
        ("https://x.org\u{3000}text", &["https://x.org"]),
        ("https://x.org\u{A0}text", &["https://x.org"]),
        ("https://x.org\u{2028}text", &["https://x.org"]),
        ("https://x.org/a\u{200B}b", &["https://x.org/a"]),
        ("https://x.org/a\u{AD}b", &["https://x.org/a"]),
        ("https://x.org/a\u{FEFF}", &["https://x.org/a"]),
        ("https://x.org/a\u{3164}", &["https://x.org/a"]),
        ("https://x.org/a\nb", &["https://x.org/a"]),
        ("https://x.org/a\\n", &["https://x.org/a"]),
        ("\u{2066}https://x.org/a\u{2069}", &["https://x.org/a"]),
        ("\u{2068}https://x.org\u{2069}", &["https://x.org"]),
        ("https://x.org/a\u{2026}", &["https://x.org/a"]),
        ("https://x.org\u{2026}", &["https://x.org"]),
        ("https://x.org/a...", &["https://x.org/a"]),
        ("https://x.org.", &["https://x.org"]),
        ("https://x.org:", &["https://x.org"]),
        ("https://x.org?", &["https://x.org"]),
        ("https://x.org/?!", &["https://x.org/"]),
        ("https://x.org/?a|b", &["https://x.org/?a|b"]),
        ("https://x.org/?a[]=1&b={c}", &["https://x.org/?a[]=1&b={c}"]),
        ("https://x.org#h", &["https://x.org#h"]),
        ("https://x.org?q=1#h", &["https://x.org?q=1#h"]),
        ("https://x.org/a\u{2014}and", &["https://x.org/a"]),
        ("https://x.org/1\u{2013}2\u{2013}", &["https://x.org/1\u{2013}2"]),
        ("https://x.org@bob", &["https://x.org"]),
    ]);
}

#[test]
fn words_and_emoji_right_behind() {
    covers(&[
        ("https://x.org\u{65E5}\u{672C}\u{8A9E}", &["https://x.org"]),
        ("https://x.org\u{3092}見て", &["https://x.org"]),
        ("https://x.org\u{C740}", &["https://x.org"]),
        ("https://x.org\u{E14}\u{E39}", &["https://x.org"]),
        ("https://x.org😀", &["https://x.org"]),
        ("https://x.org❤\u{FE0F}", &["https://x.org"]),
        ("https://x.org/\u{65E5}\u{672C}", &["https://x.org/"]),
        ("https://x.org/a\u{3092}", &["https://x.org/a"]),
        ("https://x.org/a\u{B97C} b", &["https://x.org/a"]),
        ("https://x.org/a😀", &["https://x.org/a"]),
        ("https://x.org/a1\u{FE0F}\u{20E3}", &["https://x.org/a"]),
        ("https://x.org\u{30FB}https://y.org", &["https://x.org", "https://y.org"]),
        ("https://x.org/a\u{FF1A}\u{FF11}", &["https://x.org/a"]),
        ("www.x.org\u{3092}", &["www.x.org"]),
        ("見てwww.x.org", &["www.x.org"]),
        ("見てhttps://x.org", &["https://x.org"]),
        ("https://x.org/caf\u{E9}", &["https://x.org/caf\u{E9}"]),
        ("https://x.org/\u{43F}\u{440}\u{438}", &["https://x.org/\u{43F}\u{440}\u{438}"]),
        (
            "https://x.org/\u{645}\u{631}\u{62D}\u{628}\u{627}\u{60C}",
            &["https://x.org/\u{645}\u{631}\u{62D}\u{628}\u{627}"],
        ),
        (
            "https://x.org/\u{939}\u{93F}\u{928}\u{94D}\u{926}\u{940}\u{964}",
            &["https://x.org/\u{939}\u{93F}\u{928}\u{94D}\u{926}\u{940}"],
        ),
        ("https://x.org/%E6%97%A5", &["https://x.org/%E6%97%A5"]),
    ]);
}

#[test]
fn links_beside_links() {
    covers(&[
        ("see out.https://x.org", &["https://x.org"]),
        ("see:https://x.org", &["https://x.org"]),
        ("https://x.org,https://y.org", &["https://x.org", "https://y.org"]),
        ("https://x.org/a,https://y.org/b", &["https://x.org/a", "https://y.org/b"]),
        ("https://x.org/a;http://y.org/b|www.z.org", &["https://x.org/a", "http://y.org/b", "www.z.org"]),
        ("https://x.org/a.https://y.org", &["https://x.org/a", "https://y.org"]),
        ("https://x.orghttps://y.org", &["https://x.org", "https://y.org"]),
        ("https://https://x.org", &["https://x.org"]),
        ("https://x.org/https://y.org", &["https://x.org/https://y.org"]),
        ("https://x.org/?u=https://y.org", &["https://x.org/?u=https://y.org"]),
        ("https://x.org/a,b", &["https://x.org/a,b"]),
        ("\u{300C}www.x.org\u{300D}", &["www.x.org"]),
        ("(www.x.org)", &["www.x.org"]),
        ("WWW.X.ORG", &["WWW.X.ORG"]),
        ("https://www.x.org", &["https://www.x.org"]),
    ]);
}

#[test]
fn brackets_stand_in_pairs() {
    covers(&[
        ("https://x.org/a_(b)", &["https://x.org/a_(b)"]),
        ("(https://x.org/a_(b))", &["https://x.org/a_(b)"]),
        ("(https://x.org)", &["https://x.org"]),
        ("[x](https://x.org/a)", &["https://x.org/a"]),
        ("[https://x.org](https://y.org)", &["https://x.org", "https://y.org"]),
        ("https://x.org/a(b", &["https://x.org/a"]),
        ("https://x.org/a(日本)", &["https://x.org/a"]),
        ("https://x.org/a(b]", &["https://x.org/a"]),
        ("https://x.org/a(b).", &["https://x.org/a(b)"]),
        ("https://x.org/([{}])", &["https://x.org/([{}])"]),
    ]);
}

#[test]
fn hosts_that_can_be() {
    for (text, uri) in [
        ("https://\u{43F}\u{440}\u{438}\u{43C}\u{435}\u{440}.\u{440}\u{444}/", "https://xn--e1afmkfd.xn--p1ai/"),
        ("https://\u{43F}\u{440}\u{438}\u{43C}\u{435}\u{440}.\u{440}\u{444}", "https://xn--e1afmkfd.xn--p1ai"),
        ("https://\u{43F}\u{440}\u{438}\u{43C}\u{435}\u{440}.\u{440}\u{444}?q", "https://xn--e1afmkfd.xn--p1ai?q"),
        ("https://日本語.jp/a", "https://xn--wgv71a119e.jp/a"),
        ("https://例え.テスト/", "https://xn--r8jz45g.xn--zckzah/"),
        ("https://dnsでテスト.jp", "https://xn--dns-ub4b9ppcp.jp"),
        ("https://b\u{FC}cher.example/", "https://xn--bcher-kva.example/"),
        ("www.b\u{FC}cher.example", "https://www.xn--bcher-kva.example"),
        ("https://한국.한국", "https://xn--3e0b707e.xn--3e0b707e"),
        ("https://عربي.مصر/", "https://xn--ngbrx4e.xn--wgbh1c/"),
        ("https://x.org/caf\u{E9}?\u{FC}#\u{E9}", "https://x.org/caf%C3%A9?%C3%BC#%C3%A9"),
        ("https://xn--e1afmkfd.xn--p1ai/", "https://xn--e1afmkfd.xn--p1ai/"),
        ("https://x_y.example.org", "https://x_y.example.org"),
        ("https://x.org:8080/a", "https://x.org:8080/a"),
        ("http://127.0.0.1:7400/", "http://127.0.0.1:7400/"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("http://[2001:db8::1]", "http://[2001:db8::1]"),
        ("https://kız.com", "https://xn--kz-hpa.com"),
    ] {
        assert_eq!(found(text), [(text, uri.to_owned())]);
    }
}

#[test]
fn hosts_that_cannot_be() {
    let long_label = format!("https://{}.org", "x".repeat(64));
    let long_name = format!("https://{}org", "x.".repeat(126));
    finds_nothing(&[
        "https://x.org:99999/",
        "https://x.org:99999",
        "https://999.2.3.4",
        "https://1.2.3.4.5",
        "https://1.2.3",
        "https://0x7f.0.0.1",
        "https://１２７.0.0.1",
        "http://\u{A0}x.org",
        "http://\u{200B}x.org",
        "http:// x.org",
        "http:///x.org",
        "http://.org",
        "https://x..org",
        "https://-x.org",
        "https://x-.org",
        "https://x",
        "https://user:password@x.org",
        "http://[::1",
        "http://[::g]",
        "http://[1:2]",
        "https://p\u{430}ypal.com",
        "https://\u{440}aypal.com",
        "https://g\u{3BF}\u{3BF}gle.com/",
        "https://x.\u{43E}rg",
        "https://\u{430}\u{440}\u{440}\u{4CF}\u{435}.com",
        "https://xn--pypal-4ve.com",
        "https://i❤.ws",
        &long_label,
        &long_name,
    ]);
}
