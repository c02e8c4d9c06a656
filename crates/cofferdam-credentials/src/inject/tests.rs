//! The interceptor without a socket.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use cofferdam_core::event::RuleRef;
use cofferdam_policy::{LayerKind, Source, parse};
use http::{Request as Asked, Response};

use super::*;

const POLICY: &str = r#"version = 1
[[credential]]
name = "github"
purpose = "pull requests"
source = { env = "X" }
use = [{ host = "api.example", header = "Authorization: Bearer {}", paths = ["/v1/**"] }]
expose = { env = "GITHUB_TOKEN" }
[[credential]]
name = "shop"
purpose = "orders"
source = { env = "Y" }
use = [{ host = "shop.example", header = "X-Api-Key: {}" }, { host = "api.example", header = "Authorization: {}" }]
lifetime = "1h"
"#;
const PLACEHOLDER: &str = "coffer-placeholder-github-00112233445566778899aabb";
const VALUE: &str = "ghx_r3al-Value-0123";

struct Fetches(Rc<Cell<u32>>, Option<&'static str>);

impl Fetch for Fetches {
    fn fetch(&self, name: &str, _: Option<Digest>) -> Waiting<'static, Result<Fetched, String>> {
        self.0.set(self.0.get() + 1);
        let value: Result<Value, String> = match self.1 {
            None => Ok(Zeroizing::new(if name == "github" { VALUE } else { "sh0p-Value-4567" }.into())),
            Some(why) => Err(why.to_owned()),
        };
        Box::pin(std::future::ready(value.map(|value| Fetched { value, until: None })))
    }
}

fn injector(fails: Option<&'static str>) -> (Injector, Rc<Cell<u32>>) {
    let parsed = parse(&Source::new("policy.toml", POLICY), LayerKind::Person);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    let planned = parsed.credentials.into_iter().map(|credential| Planned {
        placeholder: credential.expose.is_some().then(|| PLACEHOLDER.to_owned()),
        credential,
        grant: None,
    });
    let fetched = Rc::default();
    (Injector::new(planned.collect(), Box::new(Fetches(Rc::clone(&fetched), fails))).unwrap(), fetched)
}

fn target(host: &str) -> Target {
    let rule = RuleRef { layer: "person".into(), file: None, line: 1, name: None };
    Target { connection: 3, tls: true, host: host.into(), port: 443, rule, purpose: "test".into() }
}

fn ask(injector: &Injector, host: &str, head: &mut request::Parts) -> Verdict {
    let target = target(host);
    let mut waiting = injector.request(&target, head);
    match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(verdict) => verdict,
        Poll::Pending => panic!("nothing is to be waited for"),
    }
}

fn head(path: &str, fields: &[(&'static str, &str)]) -> request::Parts {
    let mut asked = Asked::get(path);
    for (name, value) in fields {
        asked = asked.header(*name, *value);
    }
    asked.body(()).unwrap().into_parts().0
}

fn field(head: &request::Parts, name: &str) -> Vec<String> {
    head.headers.get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect()
}

fn used(head: &mut request::Parts) -> Vec<(String, bool)> {
    let notes = head.extensions.remove::<Notes>().unwrap_or_default().0;
    notes
        .into_iter()
        .map(|what| match what {
            EventKind::CredentialUsed(used) => {
                assert_eq!((used.connection, used.port), (3, 443));
                (used.name, used.placeholder)
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn the_placeholder_becomes_the_value_and_an_absent_field_is_added() {
    let (injector, fetched) = injector(None);
    for (sent, goes) in [
        (vec![("authorization", format!("Bearer {PLACEHOLDER}"))], format!("Bearer {VALUE}")),
        (vec![("authorization", format!("token {PLACEHOLDER}"))], format!("token {VALUE}")),
        (
            vec![("authorization", format!("Basic {}", base64(&format!("me:{PLACEHOLDER}"))))],
            format!("Basic {}", base64(&format!("me:{VALUE}"))),
        ),
        (vec![], format!("Bearer {VALUE}")),
    ] {
        let mut head = head("/v1/x", &sent.iter().map(|(n, v)| (*n, v.as_str())).collect::<Vec<_>>());
        assert!(matches!(ask(&injector, "api.example", &mut head), Verdict::Pass(_)));
        assert_eq!(field(&head, "authorization"), [goes]);
        assert!(head.headers["authorization"].is_sensitive());
        assert_eq!(used(&mut head), [("github".to_owned(), !sent.is_empty())]);
    }
    assert_eq!(fetched.get(), 1, "fetched once");
    // Two values of one field: the other one stays.
    let mut two = head("/v1/x", &[("authorization", "other"), ("authorization", PLACEHOLDER)]);
    ask(&injector, "api.example", &mut two);
    assert_eq!(field(&two, "authorization"), ["other", VALUE]);
}

#[test]
fn what_the_program_sent_itself_stays_and_other_requests_get_nothing() {
    let (injector, fetched) = injector(None);
    for (host, path, sent) in [
        ("api.example", "/v1/x", Some("Bearer its-own")),
        ("other.example", "/v1/x", None),
        ("evil-api.example", "/v1/x", None),
    ] {
        let fields: Vec<_> = sent.iter().map(|v| ("authorization", *v)).collect();
        let mut head = head(path, &fields);
        assert!(matches!(ask(&injector, host, &mut head), Verdict::Pass(_)));
        assert_eq!(field(&head, "authorization"), sent.into_iter().collect::<Vec<_>>());
        assert!(used(&mut head).is_empty());
    }
    assert_eq!(fetched.get(), 0, "and nothing is fetched for it");
    // Another path of the host: the second credential is for all of it.
    let mut other = head("/v2", &[]);
    ask(&injector, "api.example", &mut other);
    assert_eq!(
        (field(&other, "authorization"), used(&mut other)),
        (vec!["sh0p-Value-4567".into()], vec![("shop".into(), false)])
    );
}

#[test]
fn the_placeholder_leaves_nowhere_else() {
    let (injector, fetched) = injector(None);
    let bearer = format!("Bearer {PLACEHOLDER}");
    let basic = format!("Basic {}", base64(&format!("x:{PLACEHOLDER}")));
    for (host, path, fields, words) in [
        (
            "other.example",
            "/",
            vec![("authorization", &bearer[..])],
            "which is for api.example and not for other.example",
        ),
        ("shop.example", "/", vec![("x-api-key", PLACEHOLDER)], "not for shop.example"),
        ("other.example", "/", vec![("authorization", &basic)], "not for other.example"),
        ("api.example", "/v1/x", vec![("x-note", PLACEHOLDER)], "elsewhere than in the field authorization"),
        ("api.example", "/v1/x", vec![("authorization", &bearer), ("cookie", &basic)], "elsewhere than"),
        ("api.example", &format!("/v1/x?k={PLACEHOLDER}"), vec![("authorization", &bearer)], "elsewhere than"),
        ("api.example", "/other", vec![("authorization", &bearer)], "do not name this method and path"),
        ("api.example", "/v1/../other", vec![("authorization", &bearer)], "do not name this method and path"),
        ("other.example", "/", vec![(PLACEHOLDER, "x")], "not for other.example"),
    ] {
        let mut head = head(path, &fields);
        let Verdict::Refuse(refusal) = ask(&injector, host, &mut head) else { panic!("{host} {path}") };
        assert_eq!(refusal.reason, "placeholder");
        assert!(refusal.detail.contains("credential github") && refusal.detail.contains(words), "{}", refusal.detail);
        assert!(!refusal.detail.contains(PLACEHOLDER));
    }
    assert_eq!(fetched.get(), 0);
}

#[test]
fn the_placeholder_is_found_in_bodies_and_trailers_however_they_are_cut() {
    let (injector, _) = injector(None);
    let text = format!("{{\"k\": \"{PLACEHOLDER}\"}}");
    for (host, words) in [("api.example", "elsewhere than in"), ("other.example", "not for other.example")] {
        for size in [1, 7, 1000] {
            let Verdict::Pass(Some(mut filter)) = ask(&injector, host, &mut head("/v1/x", &[])) else { panic!() };
            let refused = text.as_bytes().chunks(size).find_map(|p| filter.data(Bytes::copy_from_slice(p)).err());
            assert!(refused.unwrap().detail.contains(words));
        }
        let Verdict::Pass(Some(mut filter)) = ask(&injector, host, &mut head("/v1/x", &[])) else { panic!() };
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static(PLACEHOLDER));
        assert!(filter.trailers(&mut trailers).is_err());
    }
}

/// The second request comes while the first waits, and would be answered by a fetch of its own.
#[test]
fn requests_at_once_have_it_fetched_once() {
    struct Slow(Rc<Cell<u32>>);
    impl Fetch for Slow {
        fn fetch(&self, _: &str, _: Option<Digest>) -> Waiting<'static, Result<Fetched, String>> {
            self.0.set(self.0.get() + 1);
            let mut asked = false;
            Box::pin(std::future::poll_fn(move |_| match std::mem::replace(&mut asked, true) {
                true => Poll::Ready(Ok(Fetched { value: Zeroizing::new(VALUE.into()), until: None })),
                false => Poll::Pending,
            }))
        }
    }
    let (mut injector, fetched) = injector(None);
    injector.fetch = Box::new(Slow(Rc::clone(&fetched)));
    let target = target("api.example");
    let (mut one, mut two) = (head("/v1/x", &[]), head("/v1/y", &[]));
    {
        let (mut first, mut second) = (injector.request(&target, &mut one), injector.request(&target, &mut two));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending() && second.as_mut().poll(&mut context).is_pending());
        assert!(first.as_mut().poll(&mut context).is_ready() && second.as_mut().poll(&mut context).is_ready());
    }
    assert_eq!(fetched.get(), 1);
    for head in [&one, &two] {
        assert_eq!(field(head, "authorization"), [format!("Bearer {VALUE}")]);
    }
}

#[test]
fn what_cannot_be_fetched_is_said_and_the_request_does_not_go_out() {
    let (injector, _) = injector(Some("its command ended with exit status 4"));
    let Verdict::Fail(why) = ask(&injector, "api.example", &mut head("/v1/x", &[])) else { panic!() };
    assert!(why.contains("credential github") && why.contains("exit status 4"), "{why}");
    assert!(why.ends_with("coffer credential test github"), "{why}");
}

#[test]
fn a_value_that_comes_back_is_masked_in_its_length() {
    let (injector, _) = injector(None);
    let answer = |host: &str, text: &str| {
        let mut head = Response::builder().header("x-echo", text).header("etag", "a").body(()).unwrap().into_parts().0;
        head.headers
            .insert(HeaderName::from_bytes(VALUE.to_lowercase().as_bytes()).unwrap(), HeaderValue::from_static("1"));
        let request = super::tests::head("/", &[]);
        let filter = injector.response(&target(host), &request, &mut head).unwrap();
        (head.headers, filter)
    };
    let encoded = base64(VALUE);
    assert!(answer("api.example", VALUE).1.is_none(), "nothing is known yet");
    let mut request = head("/v1/x", &[("accept-encoding", "gzip")]);
    ask(&injector, "api.example", &mut request);
    assert_eq!(field(&request, "accept-encoding"), ["identity"]);
    let (fields, filter) = answer("api.example", VALUE);
    assert_eq!(fields["x-echo"].as_bytes(), "*".repeat(VALUE.len()).as_bytes());
    assert_eq!(fields["etag"], "a");
    let mut filter = filter.unwrap();
    let mut passed = Vec::new();
    for piece in format!("you sent {VALUE}, {encoded}.").as_bytes().chunks(9) {
        passed.extend_from_slice(&filter.data(Bytes::copy_from_slice(piece)).unwrap());
    }
    passed.extend_from_slice(&filter.end().unwrap());
    let passed = String::from_utf8(passed).unwrap();
    assert!(passed.len() == "you sent , .".len() + VALUE.len() + encoded.len(), "{passed}");
    assert!(!passed.contains(&VALUE[..4]) && !passed.contains(&encoded[..6]), "{passed}");
    assert!(answer("other.example", VALUE).1.is_none());
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(text)
}

/// What the test's keeper was asked for.
type Asks = Rc<std::cell::RefCell<Vec<Option<Digest>>>>;

struct Keeps(Asks);

impl Fetch for Keeps {
    fn fetch(&self, name: &str, not: Option<Digest>) -> Waiting<'static, Result<Fetched, String>> {
        assert_eq!(name, "claude");
        let mut asked = self.0.borrow_mut();
        asked.push(not);
        let value = Zeroizing::new(format!("fake-access-r3al-{}", asked.len()).into_bytes());
        Box::pin(std::future::ready(Ok(Fetched { value, until: None })))
    }
}

fn signed_in(yes: bool) -> (Injector, Option<crate::oauth::StandIn>, Asks) {
    let sign_in = crate::oauth::known(std::path::Path::new("/nonexistent")).unwrap().remove(0);
    let file = serde_json::json!({"claudeAiOauth": {"accessToken": "fake-access-r3al-0", "refreshToken": "fake-refresh-r3al"}});
    let stand_in = crate::oauth::StandIn::new(&sign_in, &file).unwrap().filter(|_| yes);
    let asked = Asks::default();
    let planned = Planned {
        credential: sign_in.credential().unwrap(),
        placeholder: stand_in.as_ref().map(|own| own.access.clone()),
        grant: Some(Grant { sign_in, stand_in: stand_in.clone() }),
    };
    (Injector::new(vec![planned], Box::new(Keeps(Rc::clone(&asked)))).unwrap(), stand_in, asked)
}

fn posts(path: &str, fields: &[(&'static str, &str)]) -> request::Parts {
    let mut head = head(path, fields);
    head.method = http::Method::POST;
    head
}

#[test]
fn a_sign_in_is_put_where_its_placeholder_stands_and_nowhere_else() {
    let (injector, stand_in, asked) = signed_in(true);
    let own = stand_in.unwrap();
    let bearer = format!("Bearer {}", own.access);
    let mut sent = posts("/v1/messages", &[("authorization", &bearer)]);
    assert!(matches!(ask(&injector, "api.anthropic.com", &mut sent), Verdict::Pass(Some(_))));
    assert_eq!(field(&sent, "authorization"), ["Bearer fake-access-r3al-1"]);
    let mut key = posts("/v1/messages", &[("x-api-key", "its-own")]);
    assert!(matches!(ask(&injector, "api.anthropic.com", &mut key), Verdict::Pass(_)));
    assert!(field(&key, "authorization").is_empty(), "one with a key of its own gets nothing added");
    for (host, path, name, value) in [
        // Its answer would be a key that is no placeholder.
        ("api.anthropic.com", "/api/oauth/claude_cli/create_api_key", "authorization", bearer.as_str()),
        ("api.anthropic.com", "/v1/messages", "x-other", own.access.as_str()),
        ("api.anthropic.com", "/v1/messages", "authorization", own.refresh.as_str()),
        ("evil.example", "/v1/messages", "authorization", bearer.as_str()),
        ("platform.claude.com", "/v1/oauth/token2", "authorization", own.refresh.as_str()),
    ] {
        let mut sent = posts(path, &[(name, value)]);
        match ask(&injector, host, &mut sent) {
            Verdict::Refuse(refusal) => assert_eq!(refusal.reason, "placeholder"),
            other => panic!("{host}{path}: {other:?}"),
        }
    }
    assert_eq!(asked.borrow().len(), 1, "only the first needed a token");
}

#[test]
fn who_refreshes_inside_is_answered_here() {
    let (injector, stand_in, asked) = signed_in(true);
    let own = stand_in.unwrap();
    for (host, path) in [
        ("platform.claude.com", "/v1/oauth/token"),
        ("console.anthropic.com", "/v1/oauth/token"),
        ("platform.claude.com", "/v1/oauth/token/"),
        ("platform.claude.com", "/v1/oauth/token?x=1"),
        ("platform.claude.com", "/v1/oauth/%74oken"),
        ("platform.claude.com", "/v1/x/../oauth/token"),
        ("platform.claude.com", "/v1/oauth/token%2f"),
    ] {
        let Verdict::Answer(answer) = ask(&injector, host, &mut posts(path, &[])) else { panic!("{host}{path}") };
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (&body["access_token"], &body["refresh_token"]),
            (&own.access.as_str().into(), &own.refresh.as_str().into())
        );
        assert!(body["expires_in"].as_i64().unwrap() > 86_400);
        assert_eq!(asked.borrow().len(), 1);
    }
}

#[test]
fn a_refused_token_is_asked_about_once_in_a_while() {
    let (injector, stand_in, asked) = signed_in(true);
    let bearer = format!("Bearer {}", stand_in.unwrap().access);
    for _ in 0..5 {
        let mut sent = posts("/v1/messages", &[("authorization", &bearer)]);
        assert!(matches!(ask(&injector, "api.anthropic.com", &mut sent), Verdict::Pass(_)));
        let (mut answer, ()) = Response::builder().status(401).body(()).unwrap().into_parts();
        injector.response(&target("api.anthropic.com"), &sent, &mut answer).unwrap();
        // A request without the token says nothing of it.
        injector.response(&target("api.anthropic.com"), &posts("/v1/messages", &[]), &mut answer).unwrap();
    }
    assert_eq!(*asked.borrow(), [None, Some(Digest::of(b"fake-access-r3al-1"))]);
}

#[test]
fn nobody_signs_in_inside() {
    let (injector, _, asked) = signed_in(false);
    match ask(&injector, "platform.claude.com", &mut posts("/v1/oauth/token", &[])) {
        Verdict::Refuse(refusal) => assert!(refusal.reason == "sign-in" && refusal.detail.contains("outside")),
        other => panic!("{other:?}"),
    }
    assert!(asked.borrow().is_empty());
}
