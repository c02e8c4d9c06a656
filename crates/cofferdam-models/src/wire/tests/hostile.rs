//! Answers of hostile servers: nothing of them grows without bound, and what is not read is said.

use super::super::eventstream::encode;
use super::super::frames::MOST;
use super::super::told::{CALLS, NAME, TEXT};
use super::*;

const PATHS: [&str; 5] = [
    "/v1/messages",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1beta/models/g:streamGenerateContent",
    "/model/m/converse-stream",
];

fn delta(text: &str) -> String {
    format!("data: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"text\":\"{text}\"}}}}\n\n")
}

#[test]
fn a_text_without_end_is_counted_and_not_kept() {
    let event = delta(&"x".repeat(100_000));
    let route = recognise(&Method::POST, PATHS[0]).unwrap();
    let head = Response::builder().header("content-type", SSE).body(()).unwrap().into_parts().0;
    let mut reader = Reader::new(&route, &head, &Pool::default());
    for _ in 0..100 {
        reader.push(&Bytes::copy_from_slice(event.as_bytes()));
    }
    let told = reader.end(true).unwrap();
    assert_eq!((told.text.bytes(), told.text.kept().len()), (10_000_000, TEXT));
}

#[test]
fn a_part_that_is_too_long_is_passed_over_and_said() {
    let long = format!("data: {}\n\n", "x".repeat(MOST + 1));
    let body = format!("{long}{}", delta("after"));
    for size in [1 << 10, 1 << 20, body.len()] {
        let said = read(PATHS[0], 200, SSE, body.as_bytes().chunks(size));
        assert_eq!(
            (&*said.text, said.error.as_deref()),
            ("after", Some("a part of the answer is longer than is held"))
        );
    }
    let many = "data: x\n".repeat(MOST / 2) + "\n" + &delta("after");
    assert_eq!(read(PATHS[0], 200, SSE, [many.as_bytes()]).text, "after");
    let frames =
        [encode(&[], &vec![b'x'; MOST]), encode(&[(":event-type", "d")], br#"{"delta":{"text":"after"}}"#)].concat();
    for size in [11, 1 << 16, frames.len()] {
        assert_eq!(read(PATHS[4], 200, AMAZON, frames.chunks(size)).text, "after");
    }
    let whole = format!("\"{}\"", "x".repeat(MOST));
    assert!(read(PATHS[1], 200, JSON, [whole.as_bytes()]).error.is_some());
    let array = format!(
        "[{{\"a\":\"{}\"}},{{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"after\"}}]}}}}]}}]",
        "x".repeat(MOST)
    );
    assert_eq!(read(PATHS[3], 200, JSON, array.as_bytes().chunks(1 << 18)).text, "after");
}

#[test]
fn more_calls_and_longer_names_than_are_read_are_counted() {
    let name = "n".repeat(10_000);
    let body: String = (0..CALLS * 3)
        .map(|at| format!("data: {{\"type\":\"content_block_start\",\"index\":{at},\"content_block\":{{\"type\":\"tool_use\",\"id\":\"{name}\",\"name\":\"{name}\"}}}}\n\n"))
        .collect();
    let said = read(PATHS[0], 200, SSE, [body.as_bytes()]);
    assert_eq!(said.calls.len(), CALLS);
    assert!(said.calls.iter().all(|(id, name, _)| id.len() <= NAME + 3 && name.len() <= NAME + 3));
    // Short messages that would be long in memory.
    let empties = format!("data: {{\"choices\":[{}{{}}]}}\n\n", "{},".repeat(1_000_000));
    assert!(read(PATHS[1], 200, SSE, [empties.as_bytes()]).error.is_some());
}

#[test]
fn frames_that_are_not_what_they_say_are_not_read() {
    let good = encode(&[(":event-type", "d")], br#"{"delta":{"text":"good"}}"#);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        let said = read(PATHS[4], 200, AMAZON, [&bad[..]]);
        assert!(said.text.is_empty() && said.error.is_some(), "{at}: {said:?}");
    }
    let said = read(PATHS[4], 200, AMAZON, [&good[..good.len() - 1]]);
    assert!(said.text.is_empty() && said.error.is_some());
    assert!(read(PATHS[4], 200, AMAZON, [&[0u8; 4096][..]]).error.is_some());
}

#[test]
fn all_answers_at_once_are_bounded() {
    let pool = Pool::default();
    let route = recognise(&Method::POST, PATHS[0]).unwrap();
    let head = Response::builder().header("content-type", SSE).body(()).unwrap().into_parts().0;
    let mut readers: Vec<Reader> = (0..100).map(|_| Reader::new(&route, &head, &pool)).collect();
    let piece = Bytes::from(delta(&"x".repeat(500_000)));
    for reader in &mut readers {
        reader.push(&piece);
    }
    let told: Vec<_> = readers.into_iter().map(|reader| reader.end(true).unwrap()).collect();
    let kept: usize = told.iter().map(|told| told.text.kept().len()).sum();
    assert!(kept <= 12 << 20, "{kept}");
    assert!(
        told.iter()
            .all(|told| told.text.kept().len() == 500_000 || told.error.is_some() || told.text.bytes() == 500_000)
    );
    drop(told);
    let mut reader = Reader::new(&route, &head, &pool);
    reader.push(&piece);
    assert_eq!(reader.end(true).unwrap().text.kept().len(), 500_000, "room comes back");
}

#[test]
fn whatever_comes_is_read_to_its_end() {
    let mut random = fastrand::Rng::with_seed(66);
    let words: [&[u8]; 18] = [
        b"data: ",
        b"event: error\n",
        b"\n",
        b"\r\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"\\",
        b"{\"type\":\"message_delta\",",
        b"\"usage\":{\"output_tokens\":-1}",
        b"{\"choices\":[{\"delta\":{\"content\":[]}}]}",
        b"{\"response\":{\"response\":{}}}",
        b"\xff\xfe",
        b"null",
        b"[DONE]",
        b"{\"bytes\":\"eyJieXRlcyI6IiJ9\"}",
    ];
    for round in 0..4_000 {
        let mut body = Vec::new();
        for _ in 0..random.usize(..30) {
            body.extend_from_slice(words[random.usize(..words.len())]);
        }
        if round % 4 == 0 {
            body = encode(&[(":event-type", "chunk")], &body);
            let at = random.usize(..body.len());
            body[at] = if random.bool() { body[at] } else { random.u8(..) };
        }
        for path in PATHS {
            for kind in [SSE, JSON, AMAZON] {
                let size = random.usize(1..40);
                let once = read(path, 200, kind, [&body[..]]);
                assert_eq!(
                    read(path, 200, kind, body.chunks(size)),
                    once,
                    "{path} {kind} {:?}",
                    String::from_utf8_lossy(&body)
                );
            }
        }
    }
}
