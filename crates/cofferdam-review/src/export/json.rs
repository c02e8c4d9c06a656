//! Everything in one JSON document: the events as they stand in the log, and the content of the blobs they name.

use std::collections::HashSet;
use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cofferdam_core::event::BlobRef;
use serde_json::{Value, json};

use super::record::blobs_of;
use super::{Content, Record, Result};

/// How much of blobs comes along.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most bytes of one blob.
    pub blob: u64,
    /// Most bytes of all.
    pub total: u64,
}

impl Default for Bounds {
    /// 1 MiB and 64 MiB.
    fn default() -> Self {
        Bounds { blob: 1 << 20, total: 64 << 20 }
    }
}

/// Writes the document. Its events are the log's lines, byte for byte, with newlines between: what a verifier hashes. A
/// blob's content is in `text` where it is UTF-8, otherwise in `base64`; `cut` is how many bytes of it are left out.
///
/// # Errors
/// Where the evidence cannot be read or `out` not be written.
pub fn write(record: &Record, bounds: Bounds, out: &mut impl Write) -> Result<()> {
    let report = record.report();
    let head = json!({
        "format": "cofferdam-export",
        "version": 1,
        "run": report.run,
        "verification": {
            "state": record.state(),
            "signed_by": record.signed_by(),
            "commitment": report.commitment,
            "statement": report.statement,
        },
    });
    let head = head.to_string();
    // The object is written in pieces, so that a long log need not be in memory.
    out.write_all(head.strip_suffix('}').unwrap_or(&head).as_bytes())?;
    out.write_all(b",\"events\":[")?;
    let (mut seen, mut blobs, mut first) = (HashSet::new(), Vec::new(), true);
    record.each_line(|line, event| {
        out.write_all(if first { b"\n" } else { b",\n" })?;
        first = false;
        out.write_all(line)?;
        for blob in blobs_of(&event.what) {
            if seen.insert(blob.digest) {
                blobs.push(blob.clone());
            }
        }
        Ok(())
    })?;
    out.write_all(b"\n],\"blobs\":{")?;
    let mut left = bounds.total;
    for (n, blob) in blobs.iter().enumerate() {
        let (facts, used) = inlined(record, blob, bounds.blob.min(left))?;
        left -= used;
        out.write_all(if n == 0 { b"\n" } else { b",\n" })?;
        write!(out, "\"{}\":{facts}", blob.digest)?;
    }
    out.write_all(b"\n}}\n")?;
    Ok(out.flush()?)
}

/// A blob's entry, and the bytes of content in it.
fn inlined(record: &Record, blob: &BlobRef, most: u64) -> Result<(Value, u64)> {
    let (bytes, whole) = match record.content(blob, most)? {
        Content::Kept { bytes, whole } => (bytes, whole),
        Content::Gone(why) => return Ok((json!({"size": blob.size, "gone": why}), 0)),
    };
    let end = match std::str::from_utf8(&bytes) {
        Ok(_) => Some(bytes.len()),
        // A cut may fall into a character.
        Err(e) if !whole && e.error_len().is_none() => Some(e.valid_up_to()),
        Err(_) => None,
    };
    let text = end.and_then(|end| std::str::from_utf8(&bytes[..end]).ok());
    let used = text.map_or(bytes.len(), str::len) as u64;
    let mut facts = match text {
        Some(text) => json!({"size": blob.size, "text": text}),
        None => json!({"size": blob.size, "base64": BASE64_STANDARD.encode(&bytes)}),
    };
    if used < blob.size {
        facts["cut"] = (blob.size - used).into();
    }
    Ok((facts, used))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::samples::Sample;

    #[test]
    fn events_stand_as_in_the_log_and_cut_blobs_say_so() {
        let sample = Sample::whole();
        let mut out = Vec::new();
        write(&sample.record(), Bounds { blob: 10, total: 1000 }, &mut out).unwrap();
        let all: Value = serde_json::from_slice(&out).unwrap();
        let log = std::fs::read_to_string(sample.dir().join("log.jsonl")).unwrap();
        let text = String::from_utf8(out).unwrap();
        for line in log.lines() {
            assert!(text.contains(line), "{line}");
        }
        assert_eq!(all["events"].as_array().unwrap().len(), log.lines().count());
        assert_eq!(all["verification"]["state"], "verified");
        assert_eq!(all["verification"]["commitment"]["size"], log.lines().count());
        let blobs = all["blobs"].as_object().unwrap();
        let output = blobs.values().find(|b| b["text"] == "running 3 ").unwrap();
        assert_eq!(output["cut"], output["size"].as_u64().unwrap() - 10);
        let raw = blobs.values().find(|b| b["base64"].is_string()).unwrap();
        assert!(BASE64_STANDARD.decode(raw["base64"].as_str().unwrap()).unwrap().starts_with(b"\xff"));
        let whole = blobs.values().find(|b| b["text"] == "fix it").unwrap();
        assert_eq!(whole["cut"], Value::Null);
    }

    #[test]
    fn the_bound_of_all_holds_and_removed_blobs_say_so() {
        let sample = Sample::whole();
        let prompt = sample.remove_prompt();
        let mut out = Vec::new();
        write(&sample.record(), Bounds { blob: 100, total: 12 }, &mut out).unwrap();
        let all: Value = serde_json::from_slice(&out).unwrap();
        let blobs = all["blobs"].as_object().unwrap();
        assert_eq!(blobs[&prompt.digest.to_string()]["gone"], "was removed on purpose");
        let used: usize = blobs.values().filter_map(|b| b["text"].as_str()).map(str::len).sum();
        assert!((8..=12).contains(&used), "{used}");
    }
}
