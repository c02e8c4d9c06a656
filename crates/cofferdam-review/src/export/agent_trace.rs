//! A trace record as in [Agent Trace](https://github.com/cursor/agent-trace) 0.1: which lines the run wrote.

use std::io::Write;

use cofferdam_core::Timestamp;
use cofferdam_evidence::Commitment;
use cofferdam_workspace::diff::{Diff, FileDiff, PatchStyle};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::text::text;
use super::{Record, Result, Summary};

/// The version as the specification's JSON schema wants it (`^[0-9]+\.[0-9]+$`; its examples write `0.1.0`).
const VERSION: &str = "0.1";

/// Writes the record. `diff` must have been computed without lines of context: its hunks are the ranges.
///
/// # Errors
/// Where the evidence cannot be read or `out` not be written.
pub fn write(record: &Record, agent: &str, diff: &Diff, out: &mut impl Write) -> Result<()> {
    let summary = record.summary()?;
    let facts = trace(&summary, agent, record.report().commitment.as_ref(), diff)?;
    serde_json::to_writer_pretty(&mut *out, &facts)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

fn trace(summary: &Summary, agent: &str, commitment: Option<&Commitment>, diff: &Diff) -> Result<Value> {
    let run = &summary.started.run;
    // Of any other command nobody recorded whether a model wrote what it wrote.
    let is_agent = summary.agent.is_some() || crate::argv::shown(&summary.started.argv).agent;
    let contributor = if is_agent { "ai" } else { "unknown" };
    let version = summary.agent.as_ref().and_then(|agent| agent.version.as_deref()).unwrap_or("unknown");
    let (mut files, mut unnamed) = (Vec::new(), Vec::new());
    for file in &diff.files {
        let ranges = ranges(file)?;
        if ranges.is_empty() {
            continue;
        }
        let Ok(path) = std::str::from_utf8(&file.new_path.0) else {
            unnamed.push(text(&file.new_path.0));
            continue;
        };
        let ranges: Vec<Value> =
            ranges.iter().map(|(start, end)| json!({"start_line": start, "end_line": end})).collect();
        files.push(json!({
            "path": path,
            "conversations": [{"contributor": {"type": contributor}, "ranges": ranges}],
        }));
    }
    let timestamp: Timestamp = summary.ended.as_ref().map_or(summary.began, |(time, _)| *time);
    Ok(json!({
        "version": VERSION,
        "id": uuid(run.as_str()),
        "timestamp": timestamp,
        "tool": {"name": agent, "version": version},
        "files": files,
        "metadata": {
            "dev.cofferdam": {
                "run": run,
                "recorder": summary.started.version,
                "log": commitment,
                "paths_not_utf8": unnamed,
            },
        },
    }))
}

/// The lines of the new side that the run wrote, from 1, both ends included.
fn ranges(file: &FileDiff) -> Result<Vec<(u64, u64)>> {
    let mut patch = Vec::new();
    file.patch(&PatchStyle::default(), &mut patch)?;
    // A line of content begins with its mark, so that none is taken for a header.
    let headers = patch.split(|b| *b == b'\n').filter(|line| line.starts_with(b"@@ -"));
    Ok(headers.filter_map(new_range).collect())
}

/// The range of `@@ -A,B +C,D @@`; `None` where it has no lines.
fn new_range(header: &[u8]) -> Option<(u64, u64)> {
    // What follows the numbers is a line of the file and need not be text.
    let span = std::str::from_utf8(header.split(|b| *b == b' ').nth(2)?).ok()?.strip_prefix('+')?;
    let (start, count) = span.split_once(',').unwrap_or((span, "1"));
    let (start, count): (u64, u64) = (start.parse().ok()?, count.parse().ok()?);
    (count > 0).then(|| (start, start + count - 1))
}

/// A UUID of version 8 (RFC 9562, section 5.8) that is always the same for a run.
fn uuid(run: &str) -> String {
    let hash = Sha256::digest(format!("cofferdam.dev/run/{run}"));
    let mut raw = [0; 16];
    raw.copy_from_slice(&hash[..16]);
    raw[6] = raw[6] & 0x0f | 0x80;
    raw[8] = raw[8] & 0x3f | 0x80;
    let hex = cofferdam_core::bytes::hex(&raw);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::samples::Sample;

    #[test]
    fn ranges_are_the_new_sides() {
        assert_eq!(new_range(b"@@ -1,2 +3,4 @@ fn \xff @@ +9"), Some((3, 6)));
        assert_eq!(new_range(b"@@ -1 +7 @@"), Some((7, 7)));
        assert_eq!(new_range(b"@@ -4,2 +3,0 @@"), None);
        assert_eq!(new_range(b"@@ -4"), None);
    }

    #[test]
    fn a_record_has_what_the_schema_requires() {
        let sample = Sample::whole();
        let mut out = Vec::new();
        write(&sample.record(), "claude", &Diff::default(), &mut out).unwrap();
        let all: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(all["version"], "0.1");
        assert_eq!(all["files"], json!([]));
        assert_eq!(all["tool"]["name"], "claude");
        let id = all["id"].as_str().unwrap();
        assert_eq!((id.len(), &id[14..15]), (36, "8"));
        assert!("89ab".contains(&id[19..20]));
        assert_eq!(id, uuid(sample.id.as_str()));
        assert_ne!(id, uuid("another"));
        assert!(all["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(all["metadata"]["dev.cofferdam"]["run"], sample.id.as_str());
        assert!(all["metadata"]["dev.cofferdam"]["log"]["size"].as_u64().unwrap() > 5);
    }
}
