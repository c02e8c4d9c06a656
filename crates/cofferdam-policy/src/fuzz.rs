//! What reads hostile or careless bytes, as functions of bytes: fuzzers call them (`fuzz/` at the root of the source), and
//! the tests with a seeded generator. Each panics where something that must hold does not.
#![allow(clippy::expect_used, reason = "a fuzzer looks for panics")]

use cofferdam_core::Timestamp;

use crate::host::Host;
use crate::{Layer, LayerKind, NormalPath, Policy, Request, Scheme, Source, Style, Target, parse, render};

/// The path of a request.
pub fn path(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(host) = Host::parse(&text) {
        let form = host.to_string();
        let again = Host::parse(&form).expect("the form that is compared reads");
        assert_eq!(again.to_string(), form);
    }
    let _any = Target::parse(&text).is_ok();
    let Ok(normal) = NormalPath::of(&text) else { return };
    let form = normal.as_str();
    assert!(
        form.starts_with('/') && form.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#' && b != b'\\')
    );
    for segment in form.split('/') {
        let bare = segment.split(';').next().unwrap_or_default();
        assert!(bare != "." && bare != "..", "{text:?} is {form}");
    }
    assert!(!form.contains("//"), "{text:?} is {form}");
    let lower = form.to_ascii_lowercase();
    for hidden in ["%2e", "%2f", "%5c", "%00"] {
        assert!(!lower.contains(hidden), "{text:?} is {form}");
    }
    assert_eq!(NormalPath::of(form).as_ref(), Ok(&normal), "its own normal form");
}

/// What the program's edge does: nothing that acts is left.
fn safe(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
}

/// A policy file.
pub fn policy(bytes: &[u8]) {
    let source = Source::new("/policy.toml", String::from_utf8_lossy(bytes).into_owned());
    let parsed = parse(&source, LayerKind::Person);
    let shown = render(&source, &parsed.diagnostics, Style { colour: false, safe });
    assert_eq!(shown.trim().is_empty(), parsed.diagnostics.is_empty());
    let acts = |c: &char| c.is_control() && *c != '\n';
    assert_eq!(shown.chars().find(acts), None, "{}", shown.escape_debug());
    let now = Timestamp(0);
    for rule in &parsed.rules {
        assert!(!rule.purpose.trim().is_empty(), "a rule needs a purpose");
    }
    let policy = Policy::new([Layer { rules: parsed.rules }]);
    for host in ["a.example", "evil-example.com", "127.0.0.1", "::1", "host.cofferdam", "a..b", ""] {
        for scheme in [Scheme::Http, Scheme::Https, Scheme::Tcp] {
            let request = Request { scheme, host, port: 443, method: Some("GET"), path: Some("/x"), now };
            let decision = policy.decide(&request);
            assert!(!decision.allowed || decision.rule.is_some(), "what is allowed has a rule");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let mut random = fastrand::Rng::with_seed(6);
        let parts =
            ["/", "//", "a", ".", "..", ";", "%2e", "%2F", "%41", "%25", "%", "?", "#", "\\", "é", "%c3", ":8", "@"];
        for _ in 0..100_000 {
            let text: String = (0..random.usize(..10)).map(|_| parts[random.usize(..parts.len())]).collect();
            path(format!("/{text}").as_bytes());
            path(text.as_bytes());
        }
    }

    #[test]
    fn policies() {
        let seed = "version = 1\n[[network.allow]]\nhost = \"*.example.com\"\nport = [80, 443]\nscheme = \"https\"\n\
                    methods = [\"GET\"]\npaths = [\"/ok/**\"]\npurpose = \"p\"\nexpires = 2030-01-01\nrecord = \"full\"\n\
                    addresses = [\"10.0.0.0/8\"]\ntls = \"passthrough\"\nname = \"n\"\n";
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let mut bytes = seed.as_bytes().to_vec();
            for _ in 0..random.usize(..6) {
                let at = random.usize(..bytes.len());
                match random.u8(..4) {
                    0 => bytes[at] = random.u8(..),
                    1 if bytes.len() > 1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, b"\"'[]{}=#\n\x1b\x00,."[random.usize(..13)]),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            policy(&bytes);
        }
    }
}
