//! Every class of error, each in its place, and all of them in one pass.

use cofferdam_policy::rule::{Record, Tls};
use cofferdam_policy::{Class, LayerKind, Scheme, Source, parse};

use crate::policy;

/// Class, line and column, and the words there.
fn errors(text: &str) -> Vec<(Class, u32, u32, String)> {
    let source = Source::new("policy.toml", text);
    let of = |d: &cofferdam_policy::Diagnostic| {
        let at = source.position(d.span.start);
        (d.class, at.line, at.column, source.text[d.span.clone()].to_owned())
    };
    parse(&source, LayerKind::Person).diagnostics.iter().map(of).collect()
}

#[test]
fn a_whole_rule_is_read() {
    let policy = policy(
        r#"
[[network.allow]]
host = "API.example.com"
port = 8443
scheme = "https"
methods = ["GET", "PROPFIND"]
paths = ["/a/**", "/b"]
tls = "intercept"
record = "full"
purpose = " why "
expires = 2027-01-31T18:00:00Z
name = "api"
"#,
    );
    let [rule] = policy.rules() else { panic!("{:?}", policy.rules()) };
    assert_eq!((rule.id.layer, rule.id.line, rule.id.name.as_deref()), (LayerKind::Person, 3, Some("api")));
    assert_eq!(
        (rule.host.to_string().as_str(), rule.port, rule.scheme),
        ("api.example.com", Some(8443), Some(Scheme::Https))
    );
    assert_eq!(rule.methods.as_deref(), Some(&["GET".to_owned(), "PROPFIND".to_owned()][..]));
    assert_eq!((rule.tls, rule.record, rule.purpose.as_str()), (Tls::Intercept, Record::Full, "why"));
    let inline = "version = 1\nnetwork.allow = [{ host = \"a.example\", purpose = \"p\" }]";
    assert_eq!(errors(inline), []);
    assert_eq!(errors("version = 1"), []);
}

#[test]
fn every_class_of_error_is_found_where_it_stands() {
    let rule = |more: &str| format!("version = 1\n[[network.allow]]\nhost = \"a.example\"\npurpose = \"p\"\n{more}");
    for (text, class, line, column, words) in [
        ("version = 1\nversion = 1".to_owned(), Class::Syntax, 2, 1, "version"),
        (rule("port 22"), Class::Syntax, 5, 6, ""),
        ("version = 1\n[limits]\nmemory = 1".to_owned(), Class::UnknownKey, 2, 2, "limits"),
        ("version = 1\n[network]\ndeny = []".to_owned(), Class::UnknownKey, 3, 1, "deny"),
        (rule("purpos = \"x\""), Class::UnknownKey, 5, 1, "purpos"),
        (rule("tls = \"off\""), Class::UnknownValue, 5, 7, "\"off\""),
        (rule("record = \"body\""), Class::UnknownValue, 5, 10, "\"body\""),
        (rule("scheme = \"ftp\""), Class::UnknownValue, 5, 10, "\"ftp\""),
        (rule("methods = [\"GET\", \"get\"]"), Class::UnknownValue, 5, 19, "\"get\""),
        (rule("port = \"22\""), Class::WrongType, 5, 8, "\"22\""),
        (rule("methods = \"GET\""), Class::WrongType, 5, 11, "\"GET\""),
        (rule("paths = [1]"), Class::WrongType, 5, 10, "1"),
        (rule("expires = \"2027-01-31\""), Class::WrongType, 5, 11, "\"2027-01-31\""),
        ("version = \"1\"".to_owned(), Class::WrongType, 1, 11, "\"1\""),
        ("version = 1\nnetwork = 1".to_owned(), Class::WrongType, 2, 11, "1"),
        ("version = 1\nnetwork.allow = [1]".to_owned(), Class::WrongType, 2, 18, "1"),
        ("version = 1\n[network.allow]\nhost = \"a\"".to_owned(), Class::WrongType, 2, 1, "[network.allow]"),
        (String::new(), Class::Missing, 1, 1, ""),
        ("version = 1\n[[network.allow]]\nhost = \"a.example\"".to_owned(), Class::Missing, 2, 1, "[[network.allow]]"),
        ("version = 1\n[[network.allow]]\npurpose = \"p\"".to_owned(), Class::Missing, 2, 1, "[[network.allow]]"),
        (rule("scheme = \"tcp\""), Class::Missing, 2, 1, "[[network.allow]]"),
        (rule("").replace("a.example", "host.cofferdam"), Class::Missing, 2, 1, "[[network.allow]]"),
        (rule("").replace("\"p\"", "\" \\t\""), Class::Empty, 4, 11, "\" \\t\""),
        (rule("methods = []"), Class::Empty, 5, 11, "[]"),
        (rule("paths = []"), Class::Empty, 5, 9, "[]"),
        ("version = 2".to_owned(), Class::Version, 1, 11, "2"),
        (rule("").replace("a.example", "https://a.example"), Class::Host, 3, 8, "\"https://a.example\""),
        (rule("").replace("a.example", "*"), Class::Host, 3, 8, "\"*\""),
        (rule("port = 0"), Class::Port, 5, 8, "0"),
        (rule("port = 0x1_0000"), Class::Port, 5, 8, "0x1_0000"),
        (rule("port = 99999999999999999999"), Class::Port, 5, 8, "99999999999999999999"),
        (rule("paths = [\"a\"]"), Class::Path, 5, 10, "\"a\""),
        (rule("name = \"a b\""), Class::Name, 5, 8, "\"a b\""),
        (rule("expires = 2027-01-31T18:00:00"), Class::Expiry, 5, 11, "2027-01-31T18:00:00"),
        (rule("expires = 18:00:00"), Class::Expiry, 5, 11, "18:00:00"),
        (rule("port = 1").replace("a.example", "a.example:1"), Class::Contradiction, 5, 8, "1"),
        (rule("tls = \"passthrough\"\npaths = [\"/\"]"), Class::Contradiction, 6, 1, ""),
        (rule("scheme = \"http\"\ntls = \"intercept\""), Class::Contradiction, 6, 1, ""),
        (rule("port = 1\nscheme = \"tcp\"\nmethods = [\"GET\"]"), Class::Contradiction, 7, 1, ""),
        (rule("tls = \"passthrough\"\nrecord = \"full\""), Class::Contradiction, 6, 1, ""),
    ] {
        let found = errors(&text);
        let [(c, l, k, w)] = &found[..] else { panic!("{text}\n{found:?}") };
        if class == Class::Contradiction && words.is_empty() {
            assert_eq!((*c, *l), (class, line), "{text}\n{found:?}");
        } else {
            assert_eq!((*c, *l, *k, w.as_str()), (class, line, column, words), "{text}");
        }
    }
    let twice = rule("name = \"n\"\n[[network.allow]]\nhost = \"b.example\"\npurpose = \"p\"\nname = \"n\"");
    assert_eq!(errors(&twice), [(Class::Name, 9, 8, "\"n\"".to_owned())]);
}

#[test]
fn one_pass_finds_everything_and_a_rule_with_an_error_is_no_rule() {
    let text = "[limits]\n[[network.allow]]\nhost = \"*\"\nport = \"x\"\nmethods = [\"GTE\", \"PUTT\"]\nwhen = 1\n\
                [[network.allow]]\nhost = \"good.example\"\npurpose = \"p\"\n[[network.allow]]\npurpose = 5\n";
    let classes: Vec<_> = errors(text).into_iter().map(|(class, line, ..)| (class, line)).collect();
    assert_eq!(
        classes,
        [
            (Class::Missing, 1),
            (Class::UnknownKey, 1),
            (Class::Missing, 2),
            (Class::Host, 3),
            (Class::WrongType, 4),
            (Class::UnknownValue, 5),
            (Class::UnknownValue, 5),
            (Class::UnknownKey, 6),
            (Class::Missing, 10),
            (Class::WrongType, 11),
        ]
    );
    let rules = parse(&Source::new("p", text), LayerKind::Person).rules;
    assert_eq!(rules.iter().map(|r| r.host.to_string()).collect::<Vec<_>>(), ["good.example"]);
}

#[test]
fn any_text_is_read_or_refused_and_never_panics() {
    let mut random = fastrand::Rng::with_seed(5);
    let good = "version = 1\n[[network.allow]]\nhost = \"a.example:1\"\nmethods = [\"GET\"]\npaths = [\"/a/**\"]\n\
                expires = 2027-01-31\npurpose = \"p\"\nname = \"n\"\n";
    let safe = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for _ in 0..5_000 {
        let mut text: Vec<char> = good.chars().collect();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(0..text.len());
            match random.u8(0..3) {
                0 => drop(text.remove(at)),
                1 => text.insert(
                    at,
                    random.choice(['"', '[', ']', '=', '\n', '\0', '\u{202e}', '\u{e9}', '{', '.', '\r']).unwrap(),
                ),
                _ => text[at] = random.char('\u{1}'..='\u{17f}'),
            }
        }
        let source = Source::new("p", text.into_iter().collect::<String>());
        let parsed = parse(&source, LayerKind::Project);
        let style = cofferdam_policy::Style { colour: random.bool(), safe };
        let shown = cofferdam_policy::render(&source, &parsed.diagnostics, style);
        assert_eq!(shown.is_empty(), parsed.diagnostics.is_empty());
    }
}
