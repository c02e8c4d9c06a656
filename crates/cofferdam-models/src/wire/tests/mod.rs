//! Requests and answers as the providers' documentation has them, however they are cut, and as hostile servers send them.

mod answers;
mod hostile;
mod requests;

use bytes::Bytes;
use cofferdam_core::event::Usage;
use http::{Method, Response};

use super::held::Pool;
use super::reader::Reader;
use super::route::recognise;

pub(super) const SSE: &str = "text/event-stream; charset=utf-8";
pub(super) const JSON: &str = "application/json";
pub(super) const AMAZON: &str = "application/vnd.amazon.eventstream";

/// What an answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) model: Option<String>,
    pub(super) stop: Option<String>,
    pub(super) usage: Option<Usage>,
    pub(super) text: String,
    /// Id, name and arguments.
    pub(super) calls: Vec<(String, String, String)>,
    pub(super) error: Option<String>,
    pub(super) over: bool,
}

pub(super) fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
    (id.to_owned(), name.to_owned(), arguments.to_owned())
}

/// Reads an answer in these pieces.
pub(super) fn read<'p>(path: &str, status: u16, kind: &str, pieces: impl IntoIterator<Item = &'p [u8]>) -> Said {
    let route = recognise(&Method::POST, path).unwrap();
    let (head, ()) = Response::builder().status(status).header("content-type", kind).body(()).unwrap().into_parts();
    let mut reader = Reader::new(&route, &head, &Pool::default());
    for piece in pieces {
        reader.push(&Bytes::copy_from_slice(piece));
    }
    let told = reader.end(true).unwrap();
    let text = |held: &super::held::Held| String::from_utf8(held.kept().to_vec()).unwrap();
    Said {
        text: text(&told.text),
        calls: told.calls.iter().map(|c| (c.id.clone(), c.name.clone(), text(&c.arguments))).collect(),
        model: told.model,
        stop: told.stop,
        usage: told.usage,
        error: told.error,
        over: told.over,
    }
}

/// Reads an answer as one piece, byte by byte, cut in two at every byte, and cut at random: it says the same each time.
pub(super) fn read_in_all_ways(path: &str, kind: &str, body: &[u8]) -> Said {
    let said = read(path, 200, kind, [body]);
    assert_eq!(read(path, 200, kind, body.chunks(1)), said, "byte by byte");
    for at in 0..=body.len() {
        assert_eq!(read(path, 200, kind, [&body[..at], &body[at..]]), said, "cut at {at}");
    }
    let mut random = fastrand::Rng::with_seed(6);
    for _ in 0..200 {
        let mut rest = body;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(random.usize(1..=rest.len().min(60)));
            pieces.push(piece);
            rest = left;
        }
        assert_eq!(read(path, 200, kind, pieces), said);
    }
    said
}
