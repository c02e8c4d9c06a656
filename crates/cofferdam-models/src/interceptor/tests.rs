//! The interceptor without a gateway: what it lets pass, and what it records.

use std::cell::Cell;
use std::task::{Context, Poll, Waker};

use cofferdam_core::event::{Body, Cost, RuleRef, Usage};
use cofferdam_exchange::{Awaits, Filter};
use http::Response;

use super::*;
use crate::judge::Permit;

/// What was recorded: kind, the event as JSON, and its text.
#[derive(Default)]
struct Recorded(RefCell<Vec<(String, serde_json::Value, String)>>);

impl Records for Recorded {
    fn record(&self, what: EventKind, text: Option<Bytes>) {
        let event = serde_json::to_value(&what).unwrap();
        let text = String::from_utf8(text.unwrap_or_default().to_vec()).unwrap();
        self.0.borrow_mut().push((event["kind"].as_str().unwrap().to_owned(), event["data"].clone(), text));
    }

    fn turn(&self, request: u64, _: u64, text: Bytes) {
        let text = String::from_utf8(text.to_vec()).unwrap();
        self.0.borrow_mut().push(("turn".to_owned(), request.into(), text));
    }

    fn settled(&self) -> Waiting<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Recorded {
    fn take(&self) -> Vec<(String, serde_json::Value, String)> {
        self.0.take()
    }

    fn texts(&self, kind: &str) -> Vec<String> {
        self.take().into_iter().filter(|(of, ..)| of == kind).map(|(_, _, text)| text).collect()
    }
}

/// Routes, takes tools out, refuses, and notes what permits become.
#[derive(Default)]
struct Strict {
    model: Option<&'static str>,
    without: Vec<String>,
    refuses: bool,
    settled: Rc<RefCell<Vec<String>>>,
}

struct Noted(Rc<RefCell<Vec<String>>>, Cell<bool>);

impl Permit for Noted {
    fn settle(self: Box<Self>, used: Option<(&Usage, Option<&Cost>)>) {
        self.1.set(true);
        let words = used.map(|(usage, cost)| format!("{} for {:?}", usage.total(), cost.map(|cost| cost.micro_usd)));
        self.0.borrow_mut().push(words.unwrap_or("nothing".to_owned()));
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if !self.1.get() {
            self.0.borrow_mut().push("all".to_owned());
        }
    }
}

impl Judge for Strict {
    fn judge<'a>(&'a self, _: &'a Target, _: &'a Asked) -> Waiting<'a, Result<Ruling, Refusal>> {
        let permit = Box::new(Noted(Rc::clone(&self.settled), Cell::new(false)));
        Box::pin(std::future::ready(match self.refuses {
            true => Err(Refusal::new("budget", "no tokens are left")),
            false => {
                Ok(Ruling { model: self.model.map(str::to_owned), without: self.without.clone(), permit: Some(permit) })
            }
        }))
    }
}

fn now<T>(mut waiting: Waiting<'_, T>) -> T {
    match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing is waited for here"),
    }
}

fn models(judge: Strict) -> Models {
    Models::new(Box::new(judge), Prices::shipped().unwrap())
}

/// What becomes of a request.
fn asks(
    models: &Models,
    records: &Rc<Recorded>,
    path: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> (request::Parts, Onward) {
    let rule = RuleRef { layer: "person".into(), file: None, line: 1, name: None };
    let target = Target { connection: 1, tls: true, host: "a.example".into(), port: 443, rule, purpose: "t".into() };
    let mut head = http::Request::post(path);
    for (name, value) in fields {
        head = head.header(*name, *value);
    }
    let mut head = head.body(()).unwrap().into_parts().0;
    let Verdict::Whole(whole) = now(models.request(&target, &mut head)) else { panic!("all of it is wanted") };
    let records = Rc::clone(records) as Rc<dyn Records>;
    let body = Bytes::copy_from_slice(body.as_bytes());
    let sent = Body { bytes: body.len() as u64, ..Body::default() };
    let onward = now(whole.request(Request { head: &mut head, body, sent, records }));
    (head, onward)
}

fn passed(onward: Onward) -> (Option<String>, Box<dyn Awaits>) {
    match onward {
        Onward::Pass { body, awaits } => {
            (body.map(|pieces| String::from_utf8(pieces.concat()).unwrap()), awaits.expect("somebody waits"))
        }
        other => panic!("{other:?}"),
    }
}

fn answer(awaits: Box<dyn Awaits>, status: u16, body: &str, all: bool) {
    let head = Response::builder().status(status).header("content-type", "application/json").body(()).unwrap();
    let mut filter: Box<dyn Filter> = awaits.answer(&mut head.into_parts().0).unwrap();
    let piece = Bytes::copy_from_slice(body.as_bytes());
    assert_eq!(filter.data(piece.clone()).unwrap().as_ptr(), piece.as_ptr(), "the piece itself goes on");
    if all {
        assert!(filter.end().unwrap().is_empty());
    }
}

const MESSAGE: &str = r#"{"type":"message","model":"claude-sonnet-4-5","content":[{"type":"tool_use","id":"t1","name":"Task","input":{"prompt":"count all the files there"}}],"stop_reason":"tool_use","usage":{"input_tokens":10,"output_tokens":2}}"#;

fn asking(messages: &str) -> String {
    format!(r#"{{"model":"claude-opus-4-1","messages":[{messages}],"tools":[{{"name":"Bash"}},{{"name":"Task"}}]}}"#)
}

#[test]
fn what_policy_changes_is_another_body_and_all_else_is_the_same() {
    let records = Rc::default();
    let judge = Strict { model: Some("claude-haiku-4-5"), without: vec!["Bash".into()], ..Strict::default() };
    let models = models(judge);
    let gzip = [("content-type", "application/json"), ("accept-encoding", "gzip")];
    let (head, onward) = asks(&models, &records, "/v1/messages", &gzip, &asking(""));
    let (body, _waits) = passed(onward);
    assert_eq!(body.unwrap(), r#"{"model":"claude-haiku-4-5","messages":[],"tools":[{"name":"Task"}]}"#);
    assert_eq!(head.headers["accept-encoding"], "identity");
    let [(kind, asked, _)] = &records.take()[..] else { panic!() };
    assert_eq!(
        (&**kind, &asked["model"], &asked["asked"]),
        ("model.request", &"claude-haiku-4-5".into(), &"claude-opus-4-1".into())
    );
    assert_eq!(asked["removed"], serde_json::json!(["Bash"]));
    // The path names it.
    let path = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse";
    let (head, onward) = asks(&models, &records, path, &[], r#"{"contents":[]}"#);
    assert_eq!(passed(onward).0, None);
    assert_eq!(head.uri.to_string(), "/v1beta/models/claude-haiku-4-5:streamGenerateContent?alt=sse");
    // A signature covers it.
    let signed = [("authorization", "AWS4-HMAC-SHA256 Credential=x")];
    let (_, onward) = asks(&models, &records, "/model/m/converse", &signed, r#"{"messages":[]}"#);
    let Onward::Refuse(refusal, Some(answer)) = onward else { panic!() };
    assert_eq!((&*refusal.reason, answer.head.headers.contains_key("x-amzn-errortype")), ("signed", true));
}

#[test]
fn a_refusal_leaves_no_trace_of_a_request() {
    let records = Rc::default();
    let models = models(Strict { refuses: true, ..Strict::default() });
    for (path, body, form) in [
        ("/v1/messages", asking(""), r#""type":"permission_error""#),
        ("/v1/responses", r#"{"model":"m","input":"x"}"#.into(), r#""code":"cofferdam_budget""#),
        ("/v1/chat/completions", r#"{"model":"m","messages":[]}"#.into(), r#""code":"cofferdam_budget""#),
        ("/v1/models/m:generateContent", r#"{"contents":[]}"#.into(), r#""status":"PERMISSION_DENIED""#),
        ("/model/m/converse", r#"{"messages":[]}"#.into(), r#"{"message":"Cofferdam refused"#),
    ] {
        let (_, onward) = asks(&models, &records, path, &[], &body);
        let Onward::Refuse(refusal, Some(answer)) = onward else { panic!("{path}") };
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        assert_eq!((&*refusal.reason, answer.head.status.as_u16()), ("budget", 403));
        assert!(body.contains(form) && body.contains("no tokens are left"), "{body}");
    }
    assert!(records.take().is_empty());
}

#[test]
fn what_was_promised_is_settled_by_what_came_of_it() {
    let records = Rc::default();
    let judge = Strict::default();
    let settled = Rc::clone(&judge.settled);
    let models = models(judge);
    let ask = || passed(asks(&models, &records, "/v1/messages", &[], &asking("")).1).1;
    answer(ask(), 200, MESSAGE, true);
    answer(ask(), 200, MESSAGE, false);
    answer(ask(), 529, r#"{"type":"error","error":{"type":"overloaded_error","message":"No"}}"#, true);
    answer(ask(), 200, "{\"type\":\"message\"}", true);
    ask().unsent();
    drop(ask());
    // (10 × 3 + 2 × 15) millionths; not whole; refused there; without counts; never left; who knows.
    assert_eq!(*settled.borrow(), ["12 for Some(60)", "all", "0 for Some(0)", "all", "nothing", "all"]);
    let errors = |(kind, data, _): (String, serde_json::Value, String)| {
        (kind == "model.response").then(|| data["error"].clone())
    };
    let errors: Vec<_> = records.take().into_iter().filter_map(errors).collect();
    let none = serde_json::Value::Null;
    let words = |text: &str| serde_json::Value::from(text);
    assert_eq!(
        errors,
        [
            none.clone(),
            words("the answer broke off"),
            words("overloaded_error: No"),
            none,
            words("it did not leave"),
            words("no answer came")
        ]
    );
}

#[test]
fn turns_and_results_are_recorded_once_and_only_those_of_people() {
    let records = Rc::default();
    let models = models(Strict::default());
    let ask = |messages: &str| passed(asks(&models, &records, "/v1/messages", &[], &asking(messages)).1).1;
    let first = r#"{"role":"user","content":[{"type":"text","text":"<system-reminder>x</system-reminder>"},{"type":"text","text":"fix it","cache_control":{"type":"ephemeral"}}]}"#;
    let waits = ask(first);
    assert_eq!(records.texts("turn"), ["fix it"]);
    answer(waits, 200, MESSAGE, true);
    assert_eq!(records.texts("tool.call"), [r#"{"prompt":"count all the files there"}"#]);
    // What the model wrote for another agent is nobody's turn; nor is a mark of a cache that moved a new one.
    let moved = first.replace(r#","cache_control":{"type":"ephemeral"}"#, "");
    drop(ask(r#"{"role":"user","content":"count all the files there"}"#));
    assert!(records.texts("turn").is_empty());
    let result = r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"7"}]}"#;
    drop(ask(&format!("{moved},{result}")));
    let all = records.take();
    assert_eq!(
        all.iter().filter(|(kind, ..)| kind == "tool.result").map(|(_, _, text)| &**text).collect::<Vec<_>>(),
        ["7"]
    );
    assert!(!all.iter().any(|(kind, ..)| kind == "turn"), "{all:?}");
    let again = r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"7","cache_control":{"type":"x"}},{"type":"text","text":"and now?"}]}"#;
    drop(ask(&format!("{moved},{again}")));
    let all = records.take();
    assert!(!all.iter().any(|(kind, ..)| kind == "tool.result"), "it was told before: {all:?}");
    assert!(all.iter().any(|(kind, _, text)| kind == "turn" && text == "and now?"));
}

#[test]
fn results_without_ids_are_those_of_the_earliest_call_of_their_tool() {
    let records = Rc::default();
    let models = models(Strict::default());
    let path = "/v1beta/models/gemini-2.5-pro:generateContent";
    let waits = passed(asks(&models, &records, path, &[], r#"{"contents":[{"parts":[{"text":"q"}]}]}"#).1).1;
    let call = r#"{"functionCall":{"name":"ls","args":{}}}"#;
    answer(
        waits,
        200,
        &format!(r#"{{"candidates":[{{"content":{{"parts":[{call},{call}]}},"finishReason":"STOP"}}]}}"#),
        true,
    );
    let ids = |kind: &str, all: Vec<(String, serde_json::Value, String)>| -> Vec<String> {
        all.into_iter()
            .filter(|(of, ..)| of == kind)
            .map(|(_, data, _)| data["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids("tool.call", records.take()), ["1.1", "1.2"]);
    let told = r#"{"functionResponse":{"name":"ls","response":{"output":"x"}}}"#;
    let body = format!(r#"{{"contents":[{{"role":"user","parts":[{told},{told}]}}]}}"#);
    drop(passed(asks(&models, &records, path, &[], &body).1));
    assert_eq!(ids("tool.result", records.take()), ["1.1", "1.2"]);
}

#[test]
fn names_without_end_fit_into_an_event() {
    let many = vec!["\u{1}".repeat(300); 500];
    let names = names(many.iter().map(String::as_str));
    assert!(names.last().unwrap().starts_with("… and "));
    assert!(serde_json::to_string(&names).unwrap().len() < 25 << 10);
}
