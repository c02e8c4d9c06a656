//! Verifying the proof of one event.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use cofferdam_enclosure::open_regular;
use cofferdam_evidence::{Bundle, MAX_BUNDLE, VerifierKey};
use serde_json::json;

use crate::commands::Answer;
use crate::failure::Failure;
use crate::output::{self, Colour};

/// How each proof begins (C2SP tlog-proof).
const BEGIN: &[u8] = b"c2sp.org/tlog-proof@";

/// Whether a file is a proof rather than a log.
pub(super) fn is_bundle(path: &Path) -> Result<bool, Failure> {
    if path.is_dir() {
        return Ok(false);
    }
    let mut head = Vec::new();
    regular(path)?.take(BEGIN.len() as u64).read_to_end(&mut head).map_err(|e| unreadable(path, &e))?;
    Ok(head == BEGIN)
}

/// Verifies it with the trusted key: a proof carries none.
pub(super) fn verify(path: &Path, key: Option<&VerifierKey>, json: bool, colour: Colour) -> Answer {
    let key = key.ok_or_else(|| {
        Failure::new("a proof is worth what its key is, and no key is trusted here").next("name one with --key")
    })?;
    let file = regular(path)?;
    cofferdam_enclosure::confine_reader(&[path])?;
    let mut text = Vec::new();
    file.take(MAX_BUNDLE + 1).read_to_end(&mut text).map_err(|e| unreadable(path, &e))?;
    if text.len() as u64 > MAX_BUNDLE {
        return Err(Failure::new(format!("{} is larger than a proof can be", path.display())));
    }
    let proven = String::from_utf8_lossy(&text).parse::<Bundle>().and_then(|bundle| {
        let (checkpoint, _) = bundle.verify(key)?;
        Ok((bundle, checkpoint))
    });
    let (bundle, checkpoint) = match proven {
        Ok(proven) => proven,
        Err(e) => {
            let why = e.to_string();
            if json {
                output::json(&json!({"state": "not-proven", "detail": why}))?;
            } else {
                let why = output::visible(why.as_bytes());
                output::print(format!("{}: {why}\n", output::styled("NOT PROVEN", "31", colour.stdout())))?;
            }
            return Ok(ExitCode::from(2));
        }
    };
    let (seq, size) = (bundle.proof.seq, checkpoint.size);
    if json {
        let event = serde_json::from_slice::<serde_json::Value>(&bundle.line).ok();
        output::json(&json!({
            "state": "proven", "run": checkpoint.run(), "seq": seq, "size": size, "root": checkpoint.root, "event": event,
        }))?;
    } else {
        let run = checkpoint.run().map_or(checkpoint.origin.clone(), |run| run.to_string());
        let text = format!(
            "{}  {}\n  event       {seq} of {size} under a checkpoint signed by the key you trust\n  {}\n",
            output::visible(run.as_bytes()),
            output::styled("proven", "32", colour.stdout()),
            output::visible(&bundle.line),
        );
        output::print(text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn regular(path: &Path) -> Result<File, Failure> {
    open_regular(path).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, e: &std::io::Error) -> Failure {
    Failure::new(format!("{} cannot be read: {e}", path.display()))
}
