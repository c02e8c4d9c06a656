//! Events of the Open Cybersecurity Schema Framework 1.8 (<https://schema.ocsf.io/1.8.0>), one JSON object a line.
//!
//! Commands are Process Activity (1007), file changes File System Activity (1001), the run itself Application Lifecycle
//! (6002), the network Network, HTTP and DNS Activity (4001, 4002, 4003). What the schema has no class for is a Base Event (0) with our data in `unmapped`: nothing is left out.
//! Strings that are not UTF-8 have their bytes as `\xNN`; the JSON export has them exactly.

mod network;

use std::collections::HashMap;
use std::io::Write;

use cofferdam_core::Timestamp;
use cofferdam_core::change::{Digest, Entry, FileKind};
use cofferdam_core::event::{Event, EventKind, FileChanged, ProcessExec, ProcessExit};
use serde_json::{Map, Value, json};

use super::text::{base_name, command_line, text};
use super::{Record, Result, Summary};

/// The schema's version.
pub const VERSION: &str = "1.8.0";

/// Most bytes of a command line; all arguments are in the JSON export.
const COMMAND: usize = 32 << 10;

const INFORMATIONAL: u64 = 1;
const LOW: u64 = 2;
const MEDIUM: u64 = 3;

/// Writes the events.
///
/// # Errors
/// Where the evidence cannot be read or `out` not be written.
pub fn write(record: &Record, out: &mut impl Write) -> Result<()> {
    let summary = record.summary()?;
    let mut writer = Mapping { summary: &summary, commands: HashMap::new() };
    for event in record.events()? {
        serde_json::to_writer(&mut *out, &writer.event(&event?)?)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

struct Mapping<'a> {
    summary: &'a Summary,
    /// The process of each `process.exec`.
    commands: HashMap<u64, Value>,
}

/// The class of an event and what it says in it.
struct Classified {
    category: u64,
    class: (u64, &'static str),
    activity: (u64, String),
    severity: u64,
    message: String,
    /// Profiles of the schema whose attributes it has.
    profiles: &'static [&'static str],
    fields: Map<String, Value>,
}

impl Mapping<'_> {
    fn event(&mut self, event: &Event) -> Result<Value> {
        let said = self.classified(event)?;
        let started = &self.summary.started;
        let mut all = Map::new();
        let mut put = |name: &str, value: Value| drop(all.insert(name.to_owned(), value));
        put("category_uid", said.category.into());
        put("class_uid", said.class.0.into());
        put("class_name", said.class.1.into());
        put("activity_id", said.activity.0.into());
        put("activity_name", said.activity.1.into());
        put("type_uid", (said.class.0 * 100 + said.activity.0).into());
        put("severity_id", said.severity.into());
        put("time", milliseconds(event.time).into());
        put("message", said.message.into());
        put(
            "metadata",
            json!({
                "version": VERSION,
                "profiles": said.profiles,
                "product": {"name": "Cofferdam", "vendor_name": "Cofferdam", "version": started.version},
                "log_name": "log.jsonl",
                "uid": format!("{}/{}", started.run, event.seq),
                "sequence": event.seq,
                "correlation_uid": started.run,
                "original_time": event.time,
            }),
        );
        all.extend(said.fields);
        Ok(Value::Object(all))
    }

    fn classified(&mut self, event: &Event) -> Result<Classified> {
        Ok(match &event.what {
            EventKind::RunStarted(_) => self.lifecycle((3, "Start"), None),
            EventKind::RunEnded(ended) => {
                let good = ended.code == Some(0) && ended.signal.is_none();
                let mut said = self.lifecycle((4, "Stop"), Some(good));
                said.fields.insert("unmapped".into(), json!({"run.ended": ended}));
                said
            }
            EventKind::ProcessExec(exec) => self.launched(event, exec),
            EventKind::ProcessExit(exit) => self.terminated(event, exit),
            EventKind::FileChanged(change) => self.changed(change),
            EventKind::NetConnect(connect) => self.connected(event.time, event.cause, connect),
            EventKind::NetDenied(denied) => self.denied(event.cause, denied),
            EventKind::HttpExchange(exchange) => self.exchanged(event.time, event.cause, exchange),
            EventKind::NetLookup(lookup) => self.looked_up(event.cause, lookup),
            other => base(other)?,
        })
    }

    fn device(&self) -> Value {
        let started = &self.summary.started;
        json!({
            "hostname": started.host,
            "type_id": 0,
            "uid": started.boot,
            "os": {"name": "Linux", "type_id": 200, "version": started.kernel},
        })
    }

    fn user(&self) -> Value {
        json!({"uid": self.summary.started.uid.to_string()})
    }

    /// The agent that the run was of, or its command, as far as only that is known.
    fn application(&self) -> String {
        if let Some(agent) = self.summary.agent_in_words() {
            return agent;
        }
        self.summary.started.argv.first().map_or_else(|| "coffer".to_owned(), |name| text(base_name(&name.0)))
    }

    fn actor(&self, process: Option<&Value>) -> Value {
        match process {
            Some(process) if self.summary.agent.is_some() => json!({
                "app_name": self.application(),
                "app_uid": self.summary.started.run,
                "process": process,
                "user": self.user(),
            }),
            Some(process) => json!({"process": process, "user": self.user()}),
            None => json!({"app_name": self.application(), "app_uid": self.summary.started.run, "user": self.user()}),
        }
    }

    fn lifecycle(&self, activity: (u64, &str), good: Option<bool>) -> Classified {
        let mut fields = Map::new();
        fields.insert("app".into(), json!({"name": self.application(), "uid": self.summary.started.run}));
        fields.insert("device".into(), self.device());
        fields.insert("actor".into(), self.actor(None));
        if let Some(good) = good {
            fields.insert("status_id".into(), if good { 1 } else { 2 }.into());
        }
        Classified {
            category: 6,
            class: (6002, "Application Lifecycle"),
            activity: (activity.0, activity.1.to_owned()),
            severity: INFORMATIONAL,
            message: format!("{} of run {}", activity.1, self.summary.started.run),
            profiles: &[],
            fields,
        }
    }

    fn launched(&mut self, event: &Event, exec: &ProcessExec) -> Classified {
        let process = process(event.time, exec);
        let parent = event.cause.and_then(|cause| self.commands.get(&cause)).cloned();
        let parent = parent.or_else(|| (exec.parent != 0).then(|| json!({"pid": exec.parent})));
        self.commands.insert(event.seq, process.clone());
        let mut said = self.process_activity((1, "Launch"), parent.as_ref(), process);
        said.message = format!("executed {}", command_line(&exec.argv, 200));
        // The kernel saw an execve(2), whatever led to it.
        said.fields.insert("launch_type_id".into(), 3.into());
        said.fields.insert("launch_type".into(), "Exec".into());
        said
    }

    fn terminated(&mut self, event: &Event, exit: &ProcessExit) -> Classified {
        let known = event.cause.and_then(|cause| self.commands.remove(&cause));
        let process = known.unwrap_or_else(|| json!({"pid": exit.pid}));
        let mut said = self.process_activity((2, "Terminate"), Some(&process.clone()), process);
        let (status, detail) = match (exit.code, exit.signal) {
            (_, Some(signal)) => (2, format!("killed by signal {signal}")),
            (Some(0), _) => (1, "exited with 0".to_owned()),
            (Some(code), _) => (2, format!("exited with {code}")),
            (None, None) => (0, "ended, with what is not known".to_owned()),
        };
        if let Some(code) = exit.code {
            said.fields.insert("exit_code".into(), code.into());
        }
        said.fields.insert("status_id".into(), status.into());
        said.message = format!("process {} {detail}", exit.pid);
        said.fields.insert("status_detail".into(), detail.into());
        said.fields.insert("unmapped".into(), json!({"microseconds": exit.microseconds, "memory_kib": exit.memory}));
        said
    }

    fn process_activity(&self, activity: (u64, &str), actor: Option<&Value>, process: Value) -> Classified {
        let mut fields = Map::new();
        fields.insert("actor".into(), self.actor(actor));
        fields.insert("device".into(), self.device());
        fields.insert("process".into(), process);
        Classified {
            category: 1,
            class: (1007, "Process Activity"),
            activity: (activity.0, activity.1.to_owned()),
            severity: INFORMATIONAL,
            message: String::new(),
            profiles: &[],
            fields,
        }
    }

    fn changed(&self, change: &FileChanged) -> Classified {
        let path = self.summary.started.project.as_path().join(change.path.as_path());
        let path = cofferdam_core::Bytes::from(path);
        let activity = activity_of(change);
        let mut fields = Map::new();
        let side = change.before.as_ref().or(change.after.as_ref());
        fields.insert("file".into(), file(&path.0, side));
        if let Some(after) = &change.after {
            fields.insert("file_result".into(), file(&path.0, Some(after)));
        }
        let command = change.commands.first().and_then(|seq| self.commands.get(seq));
        fields.insert("actor".into(), self.actor(command));
        fields.insert("device".into(), self.device());
        if !change.commands.is_empty() {
            fields.insert("unmapped".into(), json!({"commands": change.commands}));
        }
        Classified {
            category: 1,
            class: (1001, "File System Activity"),
            activity: (activity.0, activity.1.to_owned()),
            severity: INFORMATIONAL,
            message: format!("{} {}", activity.1, text(&change.path.0)),
            profiles: &[],
            fields,
        }
    }
}

/// The activity of File System Activity that a change is.
pub(super) fn activity_of(change: &FileChanged) -> (u64, &'static str) {
    match (&change.before, &change.after) {
        (None, Some(_)) => (1, "Create"),
        (Some(_), None) => (4, "Delete"),
        (Some(before), Some(after))
            if before.mode != after.mode && before.digest == after.digest && before.kind == after.kind =>
        {
            (6, "Set Attributes")
        }
        (Some(_), Some(_)) => (3, "Update"),
        (None, None) => (0, "Unknown"),
    }
}

fn base(what: &EventKind) -> Result<Classified> {
    let Value::Object(mut all) = serde_json::to_value(what)? else { return Ok(base_of("", Value::Null)) };
    let kind = all.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(base_of(&kind, all.remove("data").unwrap_or(Value::Null)))
}

fn base_of(kind: &str, data: Value) -> Classified {
    let mut fields = Map::new();
    fields.insert("unmapped".into(), json!({kind: data}));
    Classified {
        category: 0,
        class: (0, "Base Event"),
        activity: (99, kind.to_owned()),
        severity: match kind {
            "evidence.gap" => MEDIUM,
            "limit.reached" => LOW,
            _ => INFORMATIONAL,
        },
        message: kind.to_owned(),
        profiles: &[],
        fields,
    }
}

fn milliseconds(time: Timestamp) -> i64 {
    time.0.div_euclid(1_000_000)
}

fn process(time: Timestamp, exec: &ProcessExec) -> Value {
    let path = &exec.executable.path.0;
    json!({
        "pid": exec.pid,
        "name": text(base_name(path)),
        "cmd_line": command_line(&exec.argv, COMMAND),
        "created_time": milliseconds(time),
        "working_directory": text(&exec.cwd.0),
        "file": {
            "name": text(base_name(path)),
            "path": text(path),
            "type_id": 8,
            "hashes": exec.executable.digest.map(hashes).unwrap_or_default(),
        },
    })
}

fn file(path: &[u8], side: Option<&Entry>) -> Value {
    let kind = match side.map(|entry| entry.kind) {
        Some(FileKind::File) => 1,
        Some(FileKind::Directory) => 2,
        Some(FileKind::Socket) => 5,
        Some(FileKind::Fifo) => 6,
        Some(FileKind::Symlink) => 7,
        Some(FileKind::Device) => 99,
        None => 0,
    };
    json!({
        "name": text(base_name(path)),
        "path": text(path),
        "type_id": kind,
        "size": side.map(|entry| entry.size),
        "hashes": side.and_then(|entry| entry.digest).map(hashes).unwrap_or_default(),
    })
}

fn hashes(digest: Digest) -> Vec<Value> {
    vec![json!({"algorithm_id": 3, "algorithm": "SHA-256", "value": digest})]
}

#[cfg(test)]
mod tests;
