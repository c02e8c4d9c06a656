//! What a request can use at most, before anybody has counted it.
//!
//! No tokenizer makes more tokens of a text than it has bytes. A conversation is sent whole again and again: what an earlier
//! request of the same model held, byte for byte in the same place, was counted by its server, and counts as much again;
//! only what is new counts by its bytes.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::BuildHasher;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use cofferdam_core::event::Usage;

use crate::Asked;
use crate::wire::json::{List, Object};

/// What providers write around a request themselves: the head of a conversation, descriptions of how tools are called.
const AROUND: u64 = 2048;
/// Most tokens of an image: more than any of the providers' formulas gives.
const IMAGE: u64 = 1 << 16;
/// Most tokens that any model reads or writes in one request: what stands elsewhere (a stored conversation, a file, an
/// address) or is compressed (a document, sound) may be as long.
const WINDOW: u64 = 1 << 21;
/// Most tokens that a model writes where the request does not say.
const WRITES: u64 = 1 << 17;
/// Requests that are remembered, and pieces of all of them.
const REMEMBERED: usize = 64;
const PIECES: usize = 1 << 17;

/// What earlier requests came to.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    hash: RandomState,
    known: VecDeque<Known>,
}

#[derive(Debug)]
struct Known {
    provider: String,
    model: String,
    pieces: HashSet<u64>,
    read: u64,
}

/// What a request is made of, and what it can use.
#[derive(Debug)]
pub(super) struct Bound {
    provider: String,
    model: String,
    pieces: HashSet<u64>,
    /// Most tokens read.
    pub(super) read: u64,
    /// Most tokens written.
    pub(super) written: u64,
}

impl Bounds {
    /// Of a request that goes to this model.
    pub(super) fn of(&self, asked: &Asked, model: &str) -> Bound {
        let text = std::str::from_utf8(&asked.body).unwrap_or_default();
        let object = Object::parse(text).unwrap_or(Object(Vec::new()));
        let mut all: Vec<(u64, &str)> = Vec::new();
        for (key, value) in &object.0 {
            match serde_json::from_str::<List<'_>>(value.get()) {
                Ok(List(each)) => {
                    all.extend(each.iter().map(|part| (self.hash.hash_one((key, part.get())), part.get())))
                }
                Err(_) => all.push((self.hash.hash_one((key, value.get())), value.get())),
            }
        }
        let elsewhere =
            ["previous_response_id", "conversation", "prompt", "cachedContent", "cached_content", "container"];
        let elsewhere = object.0.iter().any(|(key, value)| elsewhere.contains(&&**key) && value.get() != "null");
        let most = |pieces: &mut dyn Iterator<Item = &(u64, &str)>| {
            pieces.fold(0u64, |sum, (_, piece)| sum.saturating_add(tokens(piece)))
        };
        let mut read = match object.0.is_empty() {
            true => asked.bytes,
            false => most(&mut all.iter()),
        };
        for known in self.known.iter().filter(|known| known.provider == asked.provider && known.model == model) {
            let new = most(&mut all.iter().filter(|(hash, _)| !known.pieces.contains(hash)));
            read = read.min(known.read.saturating_add(new));
        }
        let read = if elsewhere { WINDOW } else { read.saturating_add(AROUND).min(WINDOW) };
        // Whichever of them the server takes.
        let several = object.0.iter().filter(|(key, _)| key == "n").filter_map(|(_, n)| n.get().parse().ok()).max();
        let answers = several.unwrap_or(1).max(candidates(&object)).max(1);
        let written = asked.most.unwrap_or(WRITES).min(WINDOW).saturating_mul(answers);
        let pieces = all.into_iter().map(|(hash, _)| hash).collect();
        Bound { provider: asked.provider.clone(), model: model.to_owned(), pieces, read, written }
    }

    /// What a request came to.
    pub(super) fn learn(&mut self, bound: Bound, usage: &Usage) {
        let read = usage.input.saturating_add(usage.cached).saturating_add(usage.cache_written);
        if read == 0 || bound.pieces.len() > PIECES / 4 {
            return;
        }
        let Bound { provider, model, pieces, .. } = bound;
        self.known.push_back(Known { provider, model, pieces, read });
        let held = |known: &VecDeque<Known>| known.iter().map(|known| known.pieces.len()).sum::<usize>();
        while self.known.len() > REMEMBERED || held(&self.known) > PIECES {
            self.known.pop_front();
        }
    }
}

/// How many answers Gemini is asked for.
fn candidates(object: &Object<'_>) -> u64 {
    let inner = object.object(&["request"]);
    let object = inner.as_ref().unwrap_or(object);
    let settings = object.object(&["generationConfig", "generation_config"]);
    settings.and_then(|settings| settings.number(&["candidateCount", "candidate_count"])).unwrap_or(1)
}

/// Most tokens that a piece of a request comes to: its bytes, and what it points to.
fn tokens(piece: &str) -> u64 {
    let points = serde_json::from_str::<Points>(piece).map_or(WINDOW, |Points(points)| points);
    points.saturating_add(piece.len() as u64).min(WINDOW)
}

/// What members of a value point to, or hold in another form than text.
struct Points(u64);

impl<'de> Deserialize<'de> for Points {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Points, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Points;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Points, E> {
                Ok(Points(0))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Points, E> {
                Ok(Points(0))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Points, E> {
                Ok(Points(0))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Points, E> {
                Ok(Points(0))
            }

            fn visit_str<E>(self, _: &str) -> Result<Points, E> {
                Ok(Points(0))
            }

            fn visit_unit<E>(self) -> Result<Points, E> {
                Ok(Points(0))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Points, A::Error> {
                let mut sum = 0u64;
                while let Some(Points(more)) = seq.next_element()? {
                    sum = sum.saturating_add(more);
                }
                Ok(Points(sum))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Points, A::Error> {
                let mut sum = 0u64;
                while let Some(key) = map.next_key::<String>()? {
                    let more = match key.as_str() {
                        "media_type" | "mimeType" | "mime_type" => match map.next_value::<serde_json::Value>()? {
                            serde_json::Value::String(kind) if kind.starts_with("image/") => IMAGE,
                            serde_json::Value::String(kind) if kind.starts_with("text/") => 0,
                            _ => WINDOW,
                        },
                        "file_id" | "file_url" | "file_data" | "fileUri" | "file_uri" | "input_audio"
                        | "s3Location" => {
                            map.next_value::<IgnoredAny>()?;
                            WINDOW
                        }
                        "image_url" | "image" => IMAGE.saturating_add(map.next_value::<Points>()?.0),
                        "url" | "document" | "video" => match map.next_value::<serde_json::Value>()? {
                            serde_json::Value::String(url) if url.starts_with("data:image/") => IMAGE,
                            // Of an image, or of a page that a schema or a text names.
                            serde_json::Value::String(_) => IMAGE,
                            _ => WINDOW,
                        },
                        _ => map.next_value::<Points>()?.0,
                    };
                    sum = sum.saturating_add(more);
                }
                Ok(Points(sum))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_core::event::Protocol;
    use serde_json::{Value, json};

    use super::*;

    fn asked(body: &Value) -> Asked {
        let body = bytes::Bytes::from(body.to_string());
        Asked {
            provider: "anthropic".into(),
            protocol: Protocol::AnthropicMessages,
            model: "m".into(),
            tools: Vec::new(),
            most: body_most(&body),
            bytes: body.len() as u64,
            body,
        }
    }

    fn body_most(body: &[u8]) -> Option<u64> {
        serde_json::from_slice::<Value>(body).unwrap()["max_tokens"].as_u64()
    }

    fn conversation(turns: usize) -> Value {
        let turn = |n: usize| json!({"role": "user", "content": format!("turn {n}, {}", "word ".repeat(1000))});
        json!({"model": "m", "max_tokens": 100, "system": "be brief", "messages": (0..turns).map(turn).collect::<Vec<_>>()})
    }

    #[test]
    fn what_a_server_has_counted_is_not_counted_by_its_bytes_again() {
        let mut bounds = Bounds::default();
        let first = bounds.of(&asked(&conversation(10)), "m");
        assert!(first.read >= 50_000 && first.read < 60_000, "{}", first.read);
        assert_eq!(first.written, 100);
        bounds.learn(first, &Usage { input: 1_000, cached: 9_000, cache_written: 500, ..Usage::default() });
        let second = bounds.of(&asked(&conversation(11)), "m");
        assert!(second.read > 15_500 && second.read < 18_500, "{}", second.read);
        assert!(bounds.of(&asked(&conversation(11)), "other").read > 50_000, "another model counts otherwise");
        // The same bytes in another place are another thing.
        let mut moved = conversation(10);
        let messages = moved["messages"].take();
        moved["metadata"] = messages;
        assert!(bounds.of(&asked(&moved), "m").read > 50_000);
    }

    #[test]
    fn what_is_not_text_or_stands_elsewhere_counts_as_the_most_that_it_can_be() {
        let bounds = Bounds::default();
        let read = |body: &Value| bounds.of(&asked(body), "m").read;
        let part = |part: Value| json!({"model": "m", "messages": [{"role": "user", "content": [part]}]});
        assert!(read(&part(json!({"type": "text", "text": "\"file_id\": \"media_type\""}))) < 4096);
        let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
        assert!((IMAGE..IMAGE + 8192).contains(&read(&part(image))));
        for whole in [
            part(json!({"type": "document", "source": {"media_type": "application/pdf", "data": "AAAA"}})),
            part(json!({"type": "image", "source": {"type": "file", "file\u{5f}id": "file_1"}})),
            json!({"model": "m", "input": "go on", "previous_response_id": "resp_1"}),
            json!({"model": "m", "cachedContent": "c"}),
        ] {
            assert_eq!(read(&whole), WINDOW, "{whole}");
        }
        assert!(read(&json!({"model": "m", "input": "go on", "previous_response_id": null})) < WINDOW);
    }

    #[test]
    fn every_answer_that_is_asked_for_counts() {
        let bounds = Bounds::default();
        let written = |body: Value| bounds.of(&asked(&body), "m").written;
        assert_eq!(written(json!({"max_tokens": 10, "n": 3})), 30);
        assert_eq!(written(json!({"n": 2})), 2 * WRITES);
        assert_eq!(written(json!({"max_tokens": 10, "generationConfig": {"candidateCount": 4}})), 40);
        assert_eq!(written(json!({"max_tokens": u64::MAX})), WINDOW);
    }
}
