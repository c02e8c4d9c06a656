//! What reads hostile bytes, as functions of bytes: fuzzers call them (`fuzz/` at the root of the source), and the tests
//! with a seeded generator. Each panics where something that must hold does not.
#![allow(clippy::expect_used, reason = "a fuzzer looks for panics")]

use bytes::Bytes;
use http::{Method, Response};

use crate::wire::held::Pool;
use crate::wire::json::Object;
use crate::wire::reader::Reader;
use crate::wire::rewrite::rewritten;
use crate::wire::route::recognise;
use crate::wire::{hear, parts};

const PATHS: [&str; 7] = [
    "/v1/messages",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1beta/models/g:streamGenerateContent",
    "/model/m/converse-stream",
    "/model/m/invoke-with-response-stream",
    "/v1internal:generateContent",
];
const KINDS: [&str; 3] = ["text/event-stream", "application/json", "application/vnd.amazon.eventstream"];

/// An answer: the first bytes choose path, framing and how it is cut. No cutting changes what is read.
pub fn answer(bytes: &[u8]) {
    let [path, kind, size, body @ ..] = bytes else { return };
    let path = PATHS[usize::from(*path) % PATHS.len()];
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let route = recognise(&Method::POST, path).expect("a path of a model");
    let head = Response::builder().status(200 + u16::from(*size) % 2 * 300).header("content-type", kind).body(());
    let (head, ()) = head.expect("a head").into_parts();
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = Reader::new(&route, &head, &Pool::default());
        pieces.for_each(|piece| reader.push(&Bytes::copy_from_slice(piece)));
        let told = reader.end(true).expect("a reader of its own");
        assert!(told.text.kept().len() as u64 <= told.text.bytes());
        assert!(told.calls.iter().all(|call| call.name.len() <= 300 && call.id.len() <= 300));
        let calls: Vec<_> =
            told.calls.iter().map(|call| (&call.id, &call.name, call.arguments.kept().to_vec())).collect();
        let text = (told.text.kept(), told.text.bytes());
        format!(
            "{:?}",
            (&told.model, &told.stop, told.usage, text, calls, &told.error, told.over, told.begun, told.beyond)
        )
    };
    let whole = read(&mut [body].into_iter());
    assert_eq!(read(&mut body.chunks(usize::from(*size).max(1))), whole);
}

/// A request: the first byte chooses its path. What is taken out is gone, and all else still reads.
pub fn request(bytes: &[u8]) {
    let [path, body @ ..] = bytes else { return };
    let route = recognise(&Method::POST, PATHS[usize::from(*path) % PATHS.len()]).expect("a path of a model");
    let Ok(text) = std::str::from_utf8(body) else { return };
    let Ok(object) = Object::parse(text) else { return };
    if object.tells_twice().is_some() {
        return;
    }
    let Ok(Some(heard)) = hear(&route, &object) else { return };
    for message in &heard.messages {
        parts(route.protocol, message);
    }
    let out: Vec<String> = heard.names().take(1).map(str::to_owned).collect();
    let whole = Bytes::copy_from_slice(body);
    let Some(pieces) = rewritten(&whole, text, &heard, Some("another \"model\""), &out) else { return };
    let after = pieces.concat();
    let after = std::str::from_utf8(&after).expect("what was UTF-8");
    let object = Object::parse(after).expect("what was an object");
    let again = hear(&route, &object).expect("what was read").expect("a request to a model");
    assert!(again.names().all(|name| !out.iter().any(|out| out == name)), "{after}");
    assert_eq!(again.messages.len(), heard.messages.len(), "{after}");
    if heard.model_at.is_some() {
        assert_eq!(again.model, "another \"model\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: [&str; 5] = [
        r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"name":"A"},{"name":"B"}],"tool_choice":{"name":"A"}}"#,
        r#"{"model":"m","messages":[],"tools":[{"type":"function","function":{"name":"A"}}],"tool_choice":"auto","functions":[]}"#,
        r#"{"model":"m","input":[{"type":"function_call_output","call_id":"c","output":"o"}],"tools":[{"type":"custom","name":"A"}]}"#,
        r#"{"contents":[{"parts":[{"text":"x"}]}],"tools":[{"functionDeclarations":[{"name":"A"}]},{"googleSearch":{}}]}"#,
        r#"{"messages":[],"toolConfig":{"tools":[{"toolSpec":{"name":"A"}}],"toolChoice":{"auto":{}}} , "x":1}"#,
    ];

    #[test]
    fn requests_from_a_seed() {
        let mut random = fastrand::Rng::with_seed(4);
        for round in 0..20_000 {
            let mut text = REQUESTS[round % REQUESTS.len()].as_bytes().to_vec();
            for _ in 0..random.usize(..4) {
                let at = random.usize(..text.len());
                match random.u8(..4) {
                    0 => text[at] = random.u8(32..127),
                    1 => drop(text.remove(at)),
                    2 => text.insert(at, b" {}[],:\"\\A"[random.usize(..10)]),
                    _ => {
                        let to = random.usize(at..text.len().min(at + 20));
                        let copy = text[at..to].to_vec();
                        text.splice(at..at, copy);
                    }
                }
            }
            for path in 0..7 {
                request(&[&[path], &text[..]].concat());
            }
        }
    }

    #[test]
    fn answers_from_a_seed() {
        let mut random = fastrand::Rng::with_seed(5);
        let words = [
            "data: ",
            "event: x\n",
            "\n\n",
            "{\"type\":",
            "\"message_start\"",
            "}",
            "{",
            "[",
            "]",
            "\"",
            ",",
            "\\",
            "1",
        ];
        for _ in 0..20_000 {
            let mut body = vec![random.u8(..), random.u8(..), random.u8(..)];
            for _ in 0..random.usize(..20) {
                body.extend_from_slice(words[random.usize(..words.len())].as_bytes());
            }
            answer(&body);
        }
    }
}
