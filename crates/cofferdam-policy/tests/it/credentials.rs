//! `[[credential]]`: what it says, what is wrong with it, and which requests carry it.

use cofferdam_core::Timestamp;
use cofferdam_policy::{Class, Credential, CredentialSource, LayerKind, Parsed, Request, Scheme, Source, parse};

fn read(text: &str, layer: LayerKind) -> Parsed {
    parse(&Source::new("policy.toml", format!("version = 1\n{text}")), layer)
}

fn one(text: &str) -> Credential {
    let mut parsed = read(text, LayerKind::Person);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    parsed.credentials.pop().unwrap()
}

const GITHUB: &str = r#"
[[credential]]
name = "github"
purpose = " open pull requests "
source = { command = ["gh", "auth", "token"] }
use = [
  { host = "api.github.com", header = "Authorization: Bearer {}", methods = ["GET"], paths = ["/repos/**"] },
  { host = "host.cofferdam:8080", header = "X-Token:{}" },
  { host = "*.example.com", scheme = "http", header = "X-Key: a {} b" },
]
expose = { env = "GITHUB_TOKEN" }
lifetime = "10m"
"#;

#[test]
fn everything_that_it_says_is_read_and_comes_back_from_a_plan() {
    let credential = one(GITHUB);
    assert_eq!((credential.name.as_str(), credential.purpose.as_str()), ("github", "open pull requests"));
    assert_eq!(credential.source, CredentialSource::Command(["gh", "auth", "token"].map(str::to_owned).to_vec()));
    assert_eq!((credential.lifetime, credential.expose.as_deref()), (Some(600), Some("GITHUB_TOKEN")));
    assert_eq!(credential.hosts(), ["api.github.com", "host.cofferdam:8080", "*.example.com"]);
    assert_eq!((credential.id.line, credential.id.layer), (3, LayerKind::Person));
    let last = &credential.uses[2];
    assert_eq!((&*last.header, &*last.before, &*last.after), ("x-key", "a ", " b"));
    let json = serde_json::to_value(&credential).unwrap();
    assert_eq!(serde_json::from_value::<Credential>(json).unwrap(), credential);
}

#[test]
fn only_requests_of_its_uses_carry_it() {
    let credential = one(GITHUB);
    let asked = |scheme, host, port, method, path| Request {
        scheme,
        host,
        port,
        method: Some(method),
        path: Some(path),
        now: Timestamp::now(),
    };
    let (https, http) = (Scheme::Https, Scheme::Http);
    for (request, carries, about) in [
        (asked(https, "api.github.com", 443, "GET", "/repos/a"), true, true),
        (asked(https, "API.github.com.", 443, "GET", "/repos/a"), true, true),
        (asked(https, "api.github.com", 443, "POST", "/repos/a"), false, true),
        (asked(https, "api.github.com", 443, "GET", "/repos/../user"), false, true),
        (asked(https, "api.github.com", 443, "GET", "/repos//a"), false, true),
        (asked(http, "api.github.com", 80, "GET", "/repos/a"), false, false),
        (asked(https, "api.github.com", 8443, "GET", "/repos/a"), false, false),
        (asked(https, "api.github.com.evil.example", 443, "GET", "/repos/a"), false, false),
        (asked(http, "host.cofferdam", 8080, "PUT", "/"), true, true),
        (asked(https, "host.cofferdam", 8080, "PUT", "/"), true, true),
        (asked(http, "host.cofferdam", 8081, "PUT", "/"), false, false),
        (asked(http, "a.example.com", 80, "PUT", "/"), true, true),
        (asked(https, "a.example.com", 443, "PUT", "/"), false, false),
        (asked(http, "example.com", 80, "PUT", "/"), false, false),
    ] {
        assert_eq!(
            (credential.use_for(&request).is_some(), credential.is_about(&request)),
            (carries, about),
            "{request:?}"
        );
    }
}

#[test]
fn all_that_is_wrong_is_found_at_its_place() {
    let with = |from: &str, to: &str| {
        let text = GITHUB.replacen(from, to, 1);
        assert_ne!(text, GITHUB, "{from}");
        text
    };
    let source = |text: &str| with(r#"{ command = ["gh", "auth", "token"] }"#, text);
    let header = |text: &str| with("Authorization: Bearer {}", text);
    for (text, class, word) in [
        (with("name = \"github\"\n", ""), Class::Missing, "`name`"),
        (with(" open pull requests ", " "), Class::Empty, "`purpose`"),
        (with("name = \"github\"", "name = \"git hub\""), Class::Name, "for a credential"),
        (with("expose = { env", "expos = { env"), Class::UnknownKey, "expos"),
        (with("GITHUB_TOKEN", "GITHUB TOKEN"), Class::Name, "variable"),
        (with("lifetime = \"10m\"", "lifetime = 10"), Class::WrongType, "lifetime"),
        (with("\"10m\"", "\"10 minutes\""), Class::Lifetime, "lifetime"),
        (with("\"10m\"", "\"0s\""), Class::Lifetime, "lifetime"),
        (source("{}"), Class::Missing, "source"),
        (source("{ keyring = \"x\" }"), Class::UnknownKey, "keyring"),
        (source("{ env = \"A\", file = \"/a\" }"), Class::Contradiction, "more than one"),
        (source("{ file = \"token\" }"), Class::Source, "looked for"),
        (source("{ file = \"~/\" }"), Class::Source, "looked for"),
        (source("{ command = [] }"), Class::Empty, "program"),
        (source("{ command = [\"\", \"a\"] }"), Class::Empty, "program"),
        (source("{ command = \"gh auth token\" }"), Class::WrongType, "command"),
        (with("api.github.com", "https://api.github.com"), Class::Host, "host"),
        (with("host.cofferdam:8080", "host.cofferdam"), Class::Missing, "port"),
        (with("scheme = \"http\"", "scheme = \"tcp\""), Class::UnknownValue, "tcp"),
        (header("Authorization Bearer {}"), Class::Header, "header"),
        (header("Authorization: Bearer"), Class::Header, "header"),
        (header("Authorization: {} {}"), Class::Header, "header"),
        (header("Content-Length: {}"), Class::Header, "header"),
        (header("Host: {}"), Class::Header, "header"),
        (header("A b: {}"), Class::Header, "header"),
        (header("X: \\r\\nY: {}"), Class::Header, "header"),
        (header("X: \u{e9}{}"), Class::Header, "header"),
        (format!("{GITHUB}{GITHUB}"), Class::Name, "two credentials"),
        ("[credential]\nname = \"x\"".to_owned(), Class::WrongType, "[[credential]]"),
    ] {
        let parsed = read(&text, LayerKind::Person);
        let found = parsed.diagnostics.iter().find(|d| d.class == class && d.message.contains(word));
        assert!(found.is_some(), "{class:?} {word}: {:?}", parsed.diagnostics);
    }
    let mut many = String::new();
    for n in 0..65 {
        let numbered = GITHUB.replace("\"github\"", &format!("\"c{n}\"")).replace("GITHUB_TOKEN", &format!("T{n}"));
        many.push_str(&numbered);
    }
    let parsed = read(&many, LayerKind::Person);
    assert_eq!((parsed.credentials.len(), parsed.diagnostics.len()), (64, 1), "{:?}", parsed.diagnostics);
}

#[test]
fn a_projects_file_defines_none() {
    let parsed =
        read(&format!("[[network.allow]]\nhost = \"a.example\"\npurpose = \"p\"\n{GITHUB}"), LayerKind::Project);
    assert!(parsed.credentials.is_empty());
    let [error] = &parsed.diagnostics[..] else { panic!("{:?}", parsed.diagnostics) };
    assert_eq!(error.class, Class::Layer);
    assert!(error.help.as_ref().unwrap().contains("your own policy file"), "{error:?}");
}
