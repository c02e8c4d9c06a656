//! What the evidence of a run says. The names of kinds and fields are a published format: `docs/evidence-format.md`.

mod chain;
mod credential;
mod model;
mod network;
mod output;
mod process;
mod published;
mod reproduced;
mod statement;
mod tripwire;

use serde::{Deserialize, Serialize};

use crate::change::{Digest, Entry};
use crate::plan::Origin;
use crate::{Bytes, RunId, Timestamp};

pub use chain::{BrokenChain, Chain, Chains, Step, is_same};
pub use credential::{CredentialFetch, CredentialUsed};
pub use model::{Cost, ModelRequest, ModelResponse, Protocol, RunAgent, ToolCall, ToolResult, Usage};
pub use network::{Body, HttpExchange, Mediation, NetConnect, NetDenied, NetLookup, NetworkTotals, RuleRef};
pub use output::{CommandOutput, Source, Stream, TestResult};
pub use process::{EnvironmentChange, Executable, ExitSource, ProcessExec, ProcessExit, ProcessImage, StreamKind};
pub use published::{NetPublished, NetUnpublished, PublishedBy, UnpublishedBy};
pub use reproduced::{Since, TestOutcome, TestReproduced};
pub use statement::{Counted, Statement};
pub use tripwire::TripwireOpened;

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
    /// By being the same process: its earlier image, its output, its end.
    Process,
    /// By being of the same exchange: an answer and its request.
    Exchange,
    /// By an id that both name.
    Id,
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
    /// What a person asked for.
    #[serde(rename = "prompt")]
    Prompt(Prompt),
    /// A process executes a program. Each successful `execve(2)`, `execveat(2)` has one. Its cause is the parent's
    /// (link `parent`) or, where a process replaces its own program, its previous one (link `process`).
    #[serde(rename = "process.exec")]
    ProcessExec(ProcessExec),
    /// The digest of a program that took longer to read than its first exec could wait. Its cause is that exec.
    #[serde(rename = "process.image")]
    ProcessImage(ProcessImage),
    /// A process that executed something has ended. Its cause is its last `process.exec`.
    #[serde(rename = "process.exit")]
    ProcessExit(ProcessExit),
    /// The result of a test run, as the command printed or reported it. Its cause is the command's `process.exec`.
    #[serde(rename = "test.result")]
    TestResult(TestResult),
    /// A recorded test command was repeated in an enclosure of its own; written to the log of the run that is tested.
    /// Its cause is the command's `process.exec`, with link `argv`.
    #[serde(rename = "test.reproduced")]
    TestReproduced(TestReproduced),
    /// The run goes on where another one ended: its workspace lies over that one's. Its cause is `run.started`.
    #[serde(rename = "run.from")]
    RunFrom(Origin),
    /// What a command, or the run's terminal, printed. Its cause is the command's `process.exec`, with link `process`; a
    /// terminal has none.
    #[serde(rename = "command.output")]
    CommandOutput(CommandOutput),
    /// A path of the workspace changed. The events of one path are a chain: the first one's `before` is the base, each
    /// later one's is the `after` before it, and the last `after` is what the run left.
    #[serde(rename = "file.changed")]
    FileChanged(FileChanged),
    /// A name was looked up, the first time in the run. Its cause is the `process.exec` of the program that asked, with
    /// link `socket`, where that is known.
    #[serde(rename = "net.lookup")]
    NetLookup(NetLookup),
    /// A connection left the enclosure and has ended. Its cause is the `process.exec` of the program whose `connect(2)` it
    /// was, with link `socket`.
    #[serde(rename = "net.connect")]
    NetConnect(NetConnect),
    /// Something did not leave. Its cause is as that of `net.connect`.
    #[serde(rename = "net.denied")]
    NetDenied(NetDenied),
    /// A request and its answer. Its cause is as that of `net.connect`.
    #[serde(rename = "http.exchange")]
    HttpExchange(Box<HttpExchange>),
    /// Which known agent the run is of.
    #[serde(rename = "run.agent")]
    RunAgent(RunAgent),
    /// A request to a model leaves.
    #[serde(rename = "model.request")]
    ModelRequest(Box<ModelRequest>),
    /// What came of it.
    #[serde(rename = "model.response")]
    ModelResponse(Box<ModelResponse>),
    /// A model asks its agent to do something.
    #[serde(rename = "tool.call")]
    ToolCall(ToolCall),
    /// What the model was told of it.
    #[serde(rename = "tool.result")]
    ToolResult(ToolResult),
    /// Decoys stand in the run's home and are watched. Written before the command starts; without it there are none.
    #[serde(rename = "tripwire.placed")]
    TripwirePlaced {
        /// Where they stand inside, absolute.
        paths: Vec<Bytes>,
    },
    /// A decoy was opened. Its cause is the latest of the commands that ran then, with link `window`.
    #[serde(rename = "tripwire.opened")]
    TripwireOpened(TripwireOpened),
    /// A port of the enclosure can be reached from the host from now on.
    #[serde(rename = "net.published")]
    NetPublished(NetPublished),
    /// It cannot be any more; what came of it.
    #[serde(rename = "net.unpublished")]
    NetUnpublished(NetUnpublished),
    /// The value of a credential was fetched outside, for a request. From here on it is struck.
    #[serde(rename = "credential.fetched")]
    CredentialFetched(CredentialFetch),
    /// It could not be fetched: the requests that needed it did not go out.
    #[serde(rename = "credential.failed")]
    CredentialFailed(CredentialFetch),
    /// A request goes out with a credential. Its cause is as that of `net.connect`.
    #[serde(rename = "credential.used")]
    CredentialUsed(CredentialUsed),
    /// The person opened the workspace while the run went on: what changes from here on can be of their making.
    #[serde(rename = "workspace.opened")]
    WorkspaceOpened {
        /// The uid of the person.
        uid: u32,
    },
    /// The person allowed more while the run went on.
    #[serde(rename = "policy.changed")]
    PolicyChanged {
        /// The rules that apply too from here on, as `cofferdam-policy` writes them.
        added: Vec<serde_json::Value>,
        /// The uid of the person.
        uid: u32,
    },
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
    /// Successful execs.
    #[serde(default)]
    pub execs: u64,
    /// Largest sum of resident memory seen of all processes inside, in KiB; absent where nothing ran long enough to be
    /// asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// What left and what did not; absent where nothing tried to, and in logs of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkTotals>,
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
    /// What it held before; absent where there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Entry>,
    /// What it holds now; absent where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Entry>,
    /// The `process.exec` of each command that ran when it changed and could have done it, the latest first; bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<u64>,
    /// The content of this version, where it is a text of moderate size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<BlobRef>,
}

impl FileChanged {
    /// A change of which only its two sides are known.
    pub fn new(path: Bytes, before: Option<Entry>, after: Option<Entry>) -> FileChanged {
        FileChanged { path, before, after, commands: Vec::new(), version: None }
    }
}

/// Data of `prompt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// How it came.
    pub source: PromptSource,
    /// Bytes of the text.
    pub bytes: u64,
    /// Its text, cut at a bound; a blob, so that it can be removed later.
    pub text: BlobRef,
}

/// How a prompt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptSource {
    /// As an argument of the command.
    Argument,
    /// On the command's standard input.
    Stdin,
    /// In a message on the command's standard input, in one of the protocols by which editors speak to agents.
    Message,
    /// As a line typed at the terminal.
    Typed,
    /// As a turn of the person's in a request to a model, which came in none of the other ways. Its cause is the
    /// `model.request`, with link `exchange`.
    Model,
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
            what: EventKind::FileChanged(FileChanged::new("a".into(), None, None)),
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
