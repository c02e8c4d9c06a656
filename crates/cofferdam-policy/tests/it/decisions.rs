//! What is allowed, by which rule, and why the rest is not.

use cofferdam_core::Timestamp;
use cofferdam_policy::path::PathProblem;
use cofferdam_policy::{LayerKind, Policy, Reason, Request, Scheme, option};

use crate::{NOON, get, layer, policy, request};

const RULES: &str = r#"
[[network.allow]]
host = "api.github.com"
methods = ["GET"]
paths = ["/repos/acme/app/**"]
purpose = "read issues"
name = "issues"

[[network.allow]]
host = "*.crates.io"
purpose = "crates"
expires = 2027-01-31

[[network.allow]]
host = "db.example:5432"
purpose = "test data"

[[network.allow]]
host = "plain.example"
scheme = "http"
purpose = "an old mirror"

[[network.allow]]
host = "old.example"
purpose = "was needed once"
expires = 2026-11-24

[[network.allow]]
host = "192.0.2.7"
purpose = "a board on the desk"
"#;

fn line(policy: &Policy, request: &Request<'_>) -> (bool, &'static str, Option<u32>) {
    let decision = policy.decide(request);
    assert_eq!(decision.allowed, decision.reason == Reason::Allowed);
    (decision.allowed, decision.reason.as_str(), decision.rule.map(|r| r.id.line))
}

#[test]
fn a_request_is_allowed_by_a_rule_or_denied_with_what_came_nearest() {
    let policy = policy(RULES);
    let post = Request { method: Some("POST"), ..get("api.github.com", "/repos/acme/app/issues") };
    for (asked, answer) in [
        (get("API.github.com.", "/repos/acme/app/issues/1?page=2"), (true, "allowed", Some(3))),
        (get("api.github.com", "/repos/acme/other"), (false, "path", Some(3))),
        (get("api.github.com", "/repos/acme/app/../other"), (false, "path", Some(3))),
        (get("api.github.com", "/repos/acme/app/%2e%2e/other"), (false, "ambiguous", Some(3))),
        (get("api.github.com", "/repos/acme/app//x"), (false, "ambiguous", Some(3))),
        (post, (false, "method", Some(3))),
        (Request { method: Some("get"), ..post }, (false, "method", Some(3))),
        (Request { method: None, ..post }, (false, "method-unknown", Some(3))),
        (Request { path: None, ..get("api.github.com", "/") }, (false, "path-unknown", Some(3))),
        (Request { port: 8443, ..get("api.github.com", "/repos/acme/app/x") }, (false, "port", Some(3))),
        (get("static.crates.io", "/a%2fb"), (true, "allowed", Some(10))),
        (request(Scheme::Http, "index.crates.io", 80), (true, "allowed", Some(10))),
        (request(Scheme::Http, "index.crates.io", 443), (false, "port", Some(10))),
        (request(Scheme::Tcp, "index.crates.io", 443), (false, "scheme", Some(10))),
        (get("crates.io", "/"), (false, "no-rule", None)),
        (get("crates.io.evil.example", "/"), (false, "no-rule", None)),
        (get("evilcrates.io", "/"), (false, "no-rule", None)),
        (request(Scheme::Tcp, "db.example", 5432), (true, "allowed", Some(15))),
        (request(Scheme::Https, "db.example", 5432), (true, "allowed", Some(15))),
        (request(Scheme::Tcp, "db.example", 22), (false, "port", Some(15))),
        (request(Scheme::Http, "plain.example", 80), (true, "allowed", Some(19))),
        (request(Scheme::Https, "plain.example", 443), (false, "port", Some(19))),
        (get("old.example", "/"), (false, "expired", Some(24))),
        (get("192.0.2.7", "/"), (true, "allowed", Some(29))),
        (get("::ffff:192.0.2.7", "/"), (true, "allowed", Some(29))),
        (get("192.0.2.8", "/"), (false, "no-rule", None)),
        (get("3221225991", "/"), (false, "invalid-host", None)),
        (get("api.github.com\0.evil.example", "/"), (false, "invalid-host", None)),
    ] {
        assert_eq!(line(&policy, &asked), answer, "{asked:?}");
    }
    let ambiguous = policy.decide(&get("api.github.com", "/a%5cb"));
    assert_eq!(ambiguous.reason, Reason::Ambiguous(PathProblem::Backslash));
    assert_eq!(
        policy.decide(&get("api.github.com", "/repos/acme/app/")).rule.unwrap().id.name.as_deref(),
        Some("issues")
    );
}

#[test]
fn what_passes_as_tls_is_tls() {
    let policy = policy("[[network.allow]]\nhost = \"a.example\"\ntls = \"passthrough\"\npurpose = \"it pins\"\n");
    assert_eq!(line(&policy, &request(Scheme::Https, "a.example", 443)), (true, "allowed", Some(2)));
    assert_eq!(line(&policy, &request(Scheme::Http, "a.example", 80)), (false, "port", Some(2)));
    assert_eq!(line(&policy, &request(Scheme::Tcp, "a.example", 443)), (false, "scheme", Some(2)));
}

#[test]
fn a_rule_ends_at_its_moment() {
    let policy = policy(RULES);
    // 2027-02-01T00:00:00Z, as date(1) has it.
    let end = 1_801_440_000_000_000_000;
    let at = |now| policy.decide(&Request { now: Timestamp(now), ..get("index.crates.io", "/") }).reason;
    assert_eq!((at(end - 1), at(end)), (Reason::Allowed, Reason::Expired));
    let may = |host, now| policy.may_any(host, Timestamp(now));
    assert!(may("index.crates.io", end - 1) && !may("index.crates.io", end));
}

#[test]
fn names_are_looked_up_only_where_a_rule_could_allow_them() {
    let policy = policy(RULES);
    for (host, may) in [
        ("api.github.com", true),
        ("DB.example.", true),
        ("a.b.crates.io", true),
        ("crates.io", false),
        ("old.example", false),
        ("secret.data.evil.example", false),
        ("bad name", false),
        ("", false),
    ] {
        assert_eq!(policy.may_any(host, NOON), may, "{host}");
    }
}

#[test]
fn layers_add_and_the_first_that_allows_decides() {
    let person = "[[network.allow]]\nhost = \"a.example\"\nmethods = [\"GET\"]\npurpose = \"read\"\n";
    let project = "\n\n[[network.allow]]\nhost = \"*.example\"\npurpose = \"x\"\n";
    // A top-level domain is refused in a file, so the project's is one label longer.
    let project =
        project.replace("*.example", "*.b.example") + "[[network.allow]]\nhost = \"a.example\"\npurpose = \"all\"\n";
    let option = option::command_line([("c.b.example", "now")]).unwrap();
    let policy = Policy::new([layer(LayerKind::Person, person), layer(LayerKind::Project, &project), option]);
    let by = |request: &Request<'_>| policy.decide(request).rule.map(|r| (r.id.layer, r.id.line));
    assert_eq!(by(&get("a.example", "/")), Some((LayerKind::Person, 2)));
    assert_eq!(by(&Request { method: Some("POST"), ..get("a.example", "/") }), Some((LayerKind::Project, 7)));
    assert_eq!(by(&get("c.b.example", "/")), Some((LayerKind::Project, 4)), "the suffix stands in an earlier layer");
    let alone = Policy::new([option::command_line([("c.b.example", "now")]).unwrap()]);
    let decision = alone.decide(&get("c.b.example", "/"));
    assert_eq!(decision.rule.map(|r| (r.id.layer, r.id.line)), Some((LayerKind::CommandLine, 1)));
}

/// The index against a scan of all rules that knows nothing of it.
#[test]
fn the_index_decides_as_a_scan_does() {
    let mut random = fastrand::Rng::with_seed(11);
    let hosts = ["a.example", "b.a.example", "c.b.a.example", "x.org", "y.x.org", "192.0.2.1"];
    for _ in 0..300 {
        let mut text = String::new();
        for _ in 0..random.usize(1..12) {
            let host = random.choice(hosts).unwrap();
            let star = host != "192.0.2.1" && random.bool();
            let port = random.choice(["", "port = 22\n", "port = 443\n"]).unwrap();
            let methods = random.choice(["", "methods = [\"GET\"]\n"]).unwrap();
            let expires = random.choice(["", "", "expires = 2026-01-01\n"]).unwrap();
            text.push_str(&format!(
                "[[network.allow]]\nhost = \"{}{host}\"\n{port}{methods}{expires}purpose = \"p\"\n",
                if star { "*." } else { "" }
            ));
        }
        let policy = policy(&text);
        for host in hosts {
            for (scheme, port) in [(Scheme::Https, 443), (Scheme::Tcp, 22), (Scheme::Http, 80)] {
                for method in [None, Some("GET"), Some("POST")] {
                    let asked = Request { method, ..request(scheme, host, port) };
                    let scanned = policy.rules().iter().find(|rule| {
                        let own = rule.host.to_string();
                        let about = match own.strip_prefix('*') {
                            Some(dotted) => host.ends_with(dotted),
                            None => own == host,
                        };
                        let here = match rule.port {
                            Some(own) => own == port && (scheme != Scheme::Tcp || rule.methods.is_none()),
                            None => scheme != Scheme::Tcp,
                        };
                        let method = rule.methods.is_none() || method == Some("GET");
                        about && here && method && !rule.is_expired(NOON)
                    });
                    let decided = policy.decide(&asked);
                    assert_eq!(decided.allowed, scanned.is_some(), "{asked:?}\n{text}");
                    if decided.allowed {
                        assert_eq!(decided.rule, scanned, "{asked:?}\n{text}");
                    }
                }
            }
        }
    }
}
