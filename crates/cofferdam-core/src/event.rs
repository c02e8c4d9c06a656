//! What the evidence of a run says. The names of kinds and fields are a published format: `docs/evidence-format.md`.

use serde::{Deserialize, Serialize};

use crate::change::{Digest, Entry};
use crate::{Bytes, RunId, Timestamp};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the log, from 0: the index of its leaf in the Merkle tree.
    pub seq: u64,
    /// When the recorder wrote it, by the system clock.
    pub time: Timestamp,
    /// The `seq` of the event that led to this one, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    /// How the cause is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// What happened.
    #[serde(flatten)]
    pub what: EventKind,
}

/// How a cause is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// By a process's parent.
    Parent,
    /// By equal arguments.
    Argv,
    /// By falling into the time window of the cause.
    Window,
    /// By the socket's owner.
    Socket,
}

/// The kind of an event and its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum EventKind {
    /// A run begins. Always `seq` 0.
    #[serde(rename = "run.started")]
    RunStarted(RunStarted),
    /// Everything inside has ended.
    #[serde(rename = "run.ended")]
    RunEnded(RunEnded),
    /// What a command, or the run's terminal, printed.
    #[serde(rename = "command.output")]
    CommandOutput(CommandOutput),
    /// A path of the workspace differs from its base.
    #[serde(rename = "file.changed")]
    FileChanged(FileChanged),
    /// A limit was reached.
    #[serde(rename = "limit.reached")]
    LimitReached {
        /// Its name as in policy (`processes`, `memory`, …).
        limit: String,
        /// Its value, in the unit of that limit.
        value: u64,
        /// What was done (`refused`, `ended the run`).
        action: String,
    },
    /// Evidence had to be dropped: what, and how much.
    #[serde(rename = "evidence.gap")]
    EvidenceGap {
        /// What kind of thing is missing.
        what: String,
        /// How many of it.
        count: u64,
    },
    /// Paths were taken into the real tree.
    #[serde(rename = "promotion.applied")]
    PromotionApplied(Promotion),
    /// A promotion that was under way was rolled back.
    #[serde(rename = "promotion.aborted")]
    PromotionAborted(Promotion),
    /// An earlier promotion was reversed.
    #[serde(rename = "promotion.undone")]
    PromotionUndone(Promotion),
    /// The layers were thrown away; the evidence stays.
    #[serde(rename = "run.discarded")]
    RunDiscarded {
        /// Bytes that the layers held on disk.
        bytes: u64,
        /// Changed paths that were not promoted.
        unpromoted: u64,
    },
}

/// Data of `run.started`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run.
    pub run: RunId,
    /// The version of `coffer`.
    pub version: String,
    /// The real tree's root.
    pub project: Bytes,
    /// Where the command starts.
    pub cwd: Bytes,
    /// The command as given.
    pub argv: Vec<Bytes>,
    /// Names of the variables the command starts with; never their values.
    pub environment: Vec<Bytes>,
    /// The uid the enclosure runs as, seen from the host.
    pub uid: u32,
    /// The host's name.
    pub host: String,
    /// `uname -r`.
    pub kernel: String,
    /// SHA-256 of the plan, as its JSON bytes.
    pub plan: Digest,
    /// The layers of the boundary that are in force, by name (`user-namespace`, `landlock-abi-7`, `seccomp`…).
    pub boundary: Vec<String>,
    /// The identity of this boot (`/proc/sys/kernel/random/boot_id`): monotonic times compare within it.
    pub boot: String,
}

/// Data of `run.ended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnded {
    /// Why the run is over.
    pub reason: EndReason,
    /// The command's exit code, where it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that killed the command, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// From the command's start, in milliseconds of the monotonic clock.
    pub milliseconds: u64,
    /// Paths that differ from their base, ignored ones left out.
    pub changed: u64,
    /// Files and links among them as a diff counts them: a rename once, a directory or pipe never. Absent in logs of
    /// earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Ignored paths that differ from their base.
    pub ignored: u64,
}

/// Why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The command ended.
    Exited,
    /// The client went away (terminal closed, client killed).
    ClientGone,
    /// Somebody stopped the run.
    Stopped,
    /// The enclosure's init died.
    InitDied,
    /// The monitor died; written by the command that found it.
    MonitorDied,
    /// The command could not be executed.
    NotExecuted,
}

/// Data of `command.output`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOutput {
    /// Which stream.
    pub stream: Stream,
    /// Bytes the stream carried in all.
    pub bytes: u64,
    /// Bytes in the middle that were not kept; 0 where all was.
    pub dropped: u64,
    /// The kept content.
    pub blob: BlobRef,
}

/// A stream of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
    /// The run's terminal, as asciicast v2 (<https://docs.asciinema.org/manual/asciicast/v2/>).
    Terminal,
}

/// A blob by its salted digest: the SHA-256 of salt ‖ content. Deleting the blob leaves the tree valid, and the digest
/// alone does not let anyone guess small contents.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// SHA-256 of salt followed by content: also the blob's file name.
    pub digest: Digest,
    /// Bytes of the content before compression.
    pub size: u64,
}

/// Data of `file.changed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChanged {
    /// Relative to the project's root.
    pub path: Bytes,
    /// The base; absent where the path was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Entry>,
    /// The workspace's entry; absent where the path was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Entry>,
}

/// Data of the `promotion.*` events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// Numbered from 1 within the run.
    pub number: u32,
    /// What was taken, restored or rolled back: each path and what it held in the real tree before and after.
    pub paths: Vec<FileChanged>,
    /// Changed paths that stayed behind.
    pub left: u64,
    /// The uid of the person.
    pub uid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_as_documented() {
        let event = Event {
            seq: 42,
            time: Timestamp(1_795_527_601_123_456_789),
            cause: Some(40),
            link: Some(Link::Window),
            what: EventKind::FileChanged(FileChanged { path: "a".into(), before: None, after: None }),
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(
            json,
            "{\"seq\":42,\"time\":\"2026-11-24T13:40:01.123456789Z\",\"cause\":40,\"link\":\"window\",\
             \"kind\":\"file.changed\",\"data\":{\"path\":\"a\"}}"
        );
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }
}
