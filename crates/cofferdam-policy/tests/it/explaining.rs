//! Explanations: what came near, and a rule that would do.

use cofferdam_policy::{Explanation, LayerKind, Policy, Request, Scheme, explain};

use crate::{get, layer, policy, request};

fn differs(explanation: &Explanation<'_>) -> Vec<(u32, Vec<String>)> {
    explanation.near.iter().map(|n| (n.rule.id.line, n.differs.clone())).collect()
}

#[test]
fn each_near_rule_says_in_what_it_differs() {
    let policy = policy(
        r#"
[[network.allow]]
host = "a.example:8443"
methods = ["POST"]
purpose = "far"
[[network.allow]]
host = "a.example"
methods = ["GET"]
paths = ["/x/**"]
expires = 2026-01-01
purpose = "near"
"#,
    );
    let said = explain(&policy, &get("a.example", "/y"));
    assert_eq!(
        differs(&said),
        [
            (3, vec!["it allows port 8443, not 443".to_owned(), "it allows POST, not GET".to_owned()]),
            (7, vec!["its paths /x/** do not match /y".to_owned(), "it ended: expires = 2026-01-01".to_owned()]),
        ]
    );
    let said = explain(&policy, &request(Scheme::Https, "a.example", 443));
    assert_eq!(said.near[1].differs[0], "it depends on the method: GET only");
    // Another name: only what is like it.
    let said = explain(&policy, &get("a.exmaple", "/"));
    assert_eq!(differs(&said)[0].1, ["it is about a.example, not a.exmaple"]);
    assert_eq!(differs(&explain(&policy, &get("unlike.org", "/"))), []);
}

/// What is proposed, with its purpose filled in, is a policy without errors that allows what was asked.
#[test]
fn the_proposed_rule_allows_the_request() {
    let none = Policy::new([]);
    let mut random = fastrand::Rng::with_seed(3);
    let hosts = ["a.example", "API.B.example.", "192.0.2.1", "[2001:db8::1]", "host.cofferdam", "_x.example"];
    let paths = [
        "/",
        "/a/b",
        "/a?x=1",
        "/a*[b]{c}?",
        "/a%2fb",
        "/a//b",
        "/a\"b'",
        "/caf%c3%a9/%7e",
        "/%25",
        "/a\\b",
        "/$&'()+,;=:@!",
    ];
    let mut tried = 0;
    for _ in 0..2_000 {
        let (scheme, port) = random
            .choice([
                (Scheme::Https, 443),
                (Scheme::Http, 80),
                (Scheme::Http, 8080),
                (Scheme::Tcp, 22),
                (Scheme::Tcp, 443),
            ])
            .unwrap();
        let http = scheme != Scheme::Tcp;
        let method = http.then(|| random.choice(["GET", "POST", "ODD", "get"]).unwrap());
        let path = (http && random.bool()).then(|| random.choice(paths).unwrap());
        let asked = Request { method, path, ..request(scheme, random.choice(hosts).unwrap(), port) };
        let said = explain(&none, &asked);
        let mut text = said.rule.unwrap().replace("purpose = \"\"", "purpose = \"p\"");
        if asked.host == "host.cofferdam" && matches!((scheme, port), (Scheme::Https, 443) | (Scheme::Http, 80)) {
            assert!(text.contains("port = "), "{text}");
        }
        text.push('\n');
        let policy = Policy::new([layer(LayerKind::Person, &text)]);
        assert!(policy.decide(&asked).allowed, "{asked:?}\n{text}");
        tried += 1;
    }
    assert_eq!(tried, 2_000);
}

#[test]
fn what_cannot_be_allowed_is_not_proposed() {
    let none = Policy::new([]);
    for host in ["localhost", "127.0.0.1", "0x7f.1", "x.cofferdam", "not a host"] {
        let said = explain(&none, &get(host, "/"));
        assert!(!said.decision.allowed && said.rule.is_none(), "{host}");
    }
}
