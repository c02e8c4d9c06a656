//! Signed statements over the final diff, as an in-toto attestation bundle: JSON lines, each a DSSE envelope around a
//! [Statement v1](https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md).
//!
//! Two vetted predicates: [Runtime Trace v0.1](https://in-toto.io/attestation/runtime-trace/v0.1) of the run, and
//! [Test Result v0.1](https://in-toto.io/attestation/test-result/v0.1) of the last test run of each framework.

use std::collections::HashMap;
use std::io::Write;

use cofferdam_core::change::{Digest, Entry};
use cofferdam_core::event::{Event, EventKind, FileChanged, ProcessExec, ProcessExit};
use cofferdam_evidence::{Commitment, RecorderKey};
use cofferdam_workspace::diff::Diff;
use serde_json::{Value, json};

use super::test_result::{LastTests, predicate};
use super::text::text;
use super::{ExportError, Record, Result, Summary, patch};

/// The payload type of every statement.
const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const RUNTIME_TRACE: &str = "https://in-toto.io/attestation/runtime-trace/v0.1";
const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// Writes the bundle, signed by the recorder's key.
///
/// # Errors
/// [`ExportError::NotVerified`] where the evidence is not whole and signed by the key the record was opened with;
/// [`ExportError::PartOfADiff`].
pub fn write(record: &Record, diff: &Diff, key: &RecorderKey, out: &mut impl Write) -> Result<()> {
    let summary = record.summary()?;
    let commitment = record.vouched(&summary)?;
    if let Some(first) = diff.problems.first() {
        return Err(ExportError::PartOfADiff { count: diff.problems.len(), path: text(&first.path.0) });
    }
    let subject = subject(&summary, &commitment, patch::digest(diff)?);
    let mut trace = Trace::default();
    let mut tests = LastTests::of(diff);
    for event in record.events()? {
        let event = event?;
        tests.event(&event);
        trace.event(&summary, &event);
    }
    let mut statements = vec![(RUNTIME_TRACE, trace.predicate(&summary))];
    let tests = tests.finish(record.events()?)?;
    statements.extend(tests.iter().map(|last| (TEST_RESULT, predicate(&summary, last))));
    for (kind, predicate) in statements {
        let statement =
            json!({"_type": STATEMENT, "subject": [subject], "predicateType": kind, "predicate": predicate});
        let envelope = key.seal(PAYLOAD, statement.to_string().as_bytes())?;
        serde_json::to_writer(&mut *out, &envelope)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// The final diff, with what binds it to the log.
fn subject(summary: &Summary, commitment: &Commitment, patch: Digest) -> Value {
    let run = &summary.started.run;
    json!({
        "name": format!("{run}.patch"),
        "digest": {"sha256": patch},
        "annotations": {"run": run, "logSize": commitment.size, "logRoot": commitment.root},
    })
}

/// The name of an event, as a URI below the origin of the log's checkpoints.
pub(super) fn event_uri(summary: &Summary, seq: u64) -> String {
    format!("https://cofferdam.dev/run/{}/event/{seq}", summary.started.run)
}

/// What the run executed and which files it changed, in the order of the log.
#[derive(Default)]
struct Trace {
    processes: Vec<Value>,
    files: Vec<Value>,
}

impl Trace {
    fn event(&mut self, summary: &Summary, event: &Event) {
        match &event.what {
            EventKind::ProcessExec(exec) => self.processes.push(executed(event, exec)),
            EventKind::ProcessExit(exit) => self.processes.push(exited(event, exit)),
            EventKind::FileChanged(change) => self.files.push(changed(summary, event, change)),
            _ => {}
        }
    }

    fn predicate(self, summary: &Summary) -> Value {
        let started = &summary.started;
        let agent = summary.agent.as_ref().map(|agent| {
            json!({
                "name": agent.name,
                "version": agent.version,
                "executable": text(&agent.path.0),
                "digest": agent.digest.map(|digest| json!({"sha256": digest})),
            })
        });
        json!({
            "monitor": {
                "type": format!("https://cofferdam.dev/monitor/{}", started.version),
                "configSource": {"name": "plan", "digest": {"sha256": started.plan}},
                "tracePolicy": {"boundary": started.boundary},
            },
            "monitoredProcess": {
                "hostID": host_id(&started.boot),
                "type": "https://cofferdam.dev/run/v0.1",
                "event": format!("https://cofferdam.dev/run/{}", started.run),
            },
            "monitorLog": {"process": self.processes, "fileAccess": self.files},
            "metadata": {
                "buildStartedOn": summary.began,
                "buildFinishedOn": summary.ended.as_ref().map(|(time, _)| time),
                "agent": agent,
            },
        })
    }
}

/// The host by the identity of its boot, a UUID, as a URN (RFC 9562, section 4). Its name is nobody's but the person's.
fn host_id(boot: &str) -> String {
    let is_uuid = boot.len() == 36 && boot.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    format!("urn:uuid:{}", if is_uuid { boot } else { "00000000-0000-0000-0000-000000000000" })
}

fn executed(event: &Event, exec: &ProcessExec) -> Value {
    json!({
        "eventType": "exec",
        "event": event.seq,
        "cause": event.cause,
        "time": event.time,
        "pid": exec.pid,
        "parent": exec.parent,
        "processBinary": text(&exec.executable.path.0),
        "digest": exec.executable.digest.map(|digest| json!({"sha256": digest})),
        "arguments": exec.argv.iter().map(|word| text(&word.0)).collect::<Vec<_>>(),
        "cwd": text(&exec.cwd.0),
        "unconfirmed": exec.unconfirmed,
    })
}

fn exited(event: &Event, exit: &ProcessExit) -> Value {
    json!({
        "eventType": "exit",
        "event": event.seq,
        "cause": event.cause,
        "time": event.time,
        "pid": exit.pid,
        "code": exit.code,
        "signal": exit.signal,
        "microseconds": exit.microseconds,
    })
}

/// A `ResourceDescriptor` of what a change left, or of what it took away.
fn changed(summary: &Summary, event: &Event, change: &FileChanged) -> Value {
    let digest = |side: &Option<Entry>| side.as_ref().and_then(|entry| entry.digest);
    let mut facts = HashMap::from([("event", json!(event.seq)), ("before", json!(digest(&change.before)))]);
    facts.insert("change", json!(super::ocsf::activity_of(change).1));
    let mut resource =
        json!({"name": text(&change.path.0), "uri": event_uri(summary, event.seq), "annotations": facts});
    if let Some(digest) = digest(&change.after) {
        resource["digest"] = json!({"sha256": digest});
    }
    resource
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::*;
    use crate::export::samples::Sample;

    fn statements(bundle: &[u8]) -> Vec<Value> {
        let lines = bundle.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let envelope: Value = serde_json::from_slice(line).unwrap();
                assert_eq!(envelope["payloadType"], PAYLOAD);
                serde_json::from_slice(&BASE64_STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
            })
            .collect()
    }

    #[test]
    fn a_bundle_says_what_ran_and_what_the_tests_said() {
        let sample = Sample::whole();
        let mut out = Vec::new();
        write(&sample.record(), &Diff::default(), &sample.key, &mut out).unwrap();
        let all = statements(&out);
        assert_eq!(all.len(), 2);
        let size = std::fs::read_to_string(sample.dir().join("log.jsonl")).unwrap().lines().count();
        for statement in &all {
            assert_eq!(statement["_type"], STATEMENT);
            let subject = &statement["subject"][0];
            // The SHA-256 of nothing: the patch of an empty diff.
            assert!(subject["digest"]["sha256"].as_str().unwrap().starts_with("e3b0c44298fc1c14"));
            assert_eq!(subject["annotations"]["logSize"], size);
            assert_eq!(subject["annotations"]["run"], sample.id.as_str());
        }
        let trace = &all[0]["predicate"];
        assert_eq!(all[0]["predicateType"], RUNTIME_TRACE);
        for required in ["monitor", "monitoredProcess", "monitorLog"] {
            assert!(trace[required].is_object(), "{required}");
        }
        assert!(trace["monitor"]["type"].is_string());
        for required in ["hostID", "type", "event"] {
            assert!(trace["monitoredProcess"][required].is_string(), "{required}");
        }
        let processes = trace["monitorLog"]["process"].as_array().unwrap();
        assert_eq!(processes.iter().filter(|p| p["eventType"] == "exec").count(), 4);
        assert_eq!(processes[1]["arguments"], json!(["cargo", "test", "f\\xff"]));
        let files = trace["monitorLog"]["fileAccess"].as_array().unwrap();
        assert_eq!((&files[0]["name"], &files[0]["annotations"]["change"]), (&json!("src/a.rs"), &json!("Create")));
        assert_eq!(all[1]["predicateType"], TEST_RESULT);
        assert_eq!(all[1]["predicate"]["failedTests"], json!(["tests::broken"]));
    }

    #[test]
    fn nothing_is_vouched_for_that_does_not_verify() {
        let sample = Sample::whole();
        let log = sample.dir().join("log.jsonl");
        let text = std::fs::read_to_string(&log).unwrap();
        std::fs::write(&log, text.replace("src/a.rs", "src/x.rs")).unwrap();
        let mut out = Vec::new();
        let refused = write(&sample.record(), &Diff::default(), &sample.key, &mut out).unwrap_err();
        assert!(matches!(refused, ExportError::NotVerified { .. } | ExportError::NoRun), "{refused}");
        assert!(out.is_empty());
        // Another key's evidence is good and still not ours to vouch for.
        let (sample, other) = (Sample::whole(), Sample::whole());
        let record = Record::open(sample.dir(), None).unwrap();
        let refused = write(&record, &Diff::default(), &other.key, &mut out).unwrap_err();
        assert!(refused.to_string().contains("another key"), "{refused}");
        let unfinished = Sample::unfinished();
        let refused = write(&unfinished.record(), &Diff::default(), &unfinished.key, &mut out).unwrap_err();
        assert!(refused.to_string().contains("has not ended"), "{refused}");
    }

    #[test]
    fn a_boot_is_a_uuid() {
        assert_eq!(host_id("1b4e28ba-2fa1-11d2-883f-0016d3cca427"), "urn:uuid:1b4e28ba-2fa1-11d2-883f-0016d3cca427");
        assert_eq!(host_id("x"), host_id(""));
    }
}
