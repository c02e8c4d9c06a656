//! What of a conversation was seen before: agents send all of it with each request.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use serde_json::value::RawValue;

use crate::wire::json::{Object, list};

/// Most digests that are remembered.
const MOST: usize = 65_536;

/// Digests of things that were seen; the earliest are forgotten first.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Nobody else knows the keys: nobody can make two things that look the same.
    keys: RandomState,
    digests: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Seen {
    /// Remembers a thing; whether it is new.
    pub(crate) fn add(&mut self, digest: u64) -> bool {
        if !self.digests.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > MOST
            && let Some(first) = self.order.pop_front()
        {
            self.digests.remove(&first);
        }
        true
    }

    /// Whether it was seen.
    pub(crate) fn has(&self, digest: u64) -> bool {
        self.digests.contains(&digest)
    }

    /// Of a text.
    pub(crate) fn of(&self, text: &str) -> u64 {
        self.keys.hash_one(text)
    }

    /// Of a message. Marks where a provider is to cache move from message to message, and count for nothing; nor does it
    /// whether a text stands alone or as the one block that such a mark needs.
    pub(crate) fn of_message(&self, message: &RawValue) -> u64 {
        let mut hasher = self.keys.build_hasher();
        match Object::parse(message.get()) {
            Ok(object) => members(&object, &mut hasher, true),
            Err(_) => message.get().hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// An object's members, and those of the objects in its content.
fn members(object: &Object<'_>, hasher: &mut impl Hasher, outer: bool) {
    for (name, value) in object.0.iter().filter(|(name, _)| name != "cache_control") {
        name.hash(hasher);
        if outer && name == "content" && value.get().starts_with('"') {
            for part in ["type", "\"text\"", "text", value.get()] {
                part.hash(hasher);
            }
            continue;
        }
        if !outer || name != "content" || !value.get().starts_with('[') {
            value.get().hash(hasher);
            continue;
        }
        for block in list(value) {
            match Object::parse(block.get()) {
                // A point of Bedrock's is a block of its own.
                Ok(block) if block.get(&["cachePoint"]).is_some() => {}
                Ok(block) => members(&block, hasher, false),
                Err(_) => block.get().hash(hasher),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn marks_of_caches_count_for_nothing() {
        let seen = Seen::default();
        let with = |mark: &str| {
            let text = format!(
                r#"{{"role":"user","content":[{{"type":"text","text":"a"{mark}}},{{"type":"text","text":"b"}}]}}"#
            );
            seen.of_message(raw(&text))
        };
        let one = with(r#","cache_control":{"type":"ephemeral"}"#);
        assert_eq!(one, with(r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#));
        assert_eq!(one, with(""));
        assert_ne!(one, with(r#","cached":1"#));
        let alone = seen.of_message(raw(r#"{"role":"user","content":"a"}"#));
        let marked = r#"{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}"#;
        assert_eq!(alone, seen.of_message(raw(marked)));
        assert_ne!(one, seen.of_message(raw(r#"{"role":"user","content":"a"}"#)));
    }

    #[test]
    fn what_was_seen_is_remembered_within_bounds() {
        let mut seen = Seen::default();
        assert!(seen.add(1) && !seen.add(1) && seen.has(1));
        for digest in 2..2 + MOST as u64 {
            seen.add(digest);
        }
        assert!(!seen.has(1) && seen.has(2) && seen.digests.len() == MOST);
    }
}
