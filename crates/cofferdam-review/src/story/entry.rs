//! What a story is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use cofferdam_core::event::{BlobRef, Event, ExitSource, ProcessExec, PromptSource, Stream, StreamKind};
use cofferdam_core::{Bytes, Timestamp};

use super::traffic::Traffic;
use crate::argv::Shown;
use crate::causes::{Answer, Call, Kind, Spent};

/// One thing that happened, at the top level.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A person asked.
    Prompt(Said),
    /// The agent ran a command.
    Command(Box<Command>),
    /// Files changed that no command is named for: by the agent itself, or found at the end.
    Files(Files),
    /// A model asked for something that no command is known for.
    Call(Arc<Call>),
    /// A model wrote something for people.
    Answer(Arc<Answer>),
    /// Anything else that a reader must know.
    Remark(Remark),
}

impl Entry {
    /// The number of its first event.
    pub fn seq(&self) -> u64 {
        match self {
            Entry::Prompt(said) => said.seq,
            Entry::Command(command) => command.seq,
            Entry::Files(files) => files.seq,
            Entry::Call(call) => call.seq,
            Entry::Answer(answer) => answer.seq,
            Entry::Remark(remark) => remark.seq,
        }
    }

    /// When.
    pub fn time(&self) -> Timestamp {
        match self {
            Entry::Prompt(said) => said.time,
            Entry::Command(command) => command.time,
            Entry::Files(files) => files.time,
            Entry::Call(call) => call.time,
            Entry::Answer(answer) => answer.time,
            Entry::Remark(remark) => remark.time,
        }
    }

    /// The command, where it is one.
    pub fn command(&self) -> Option<&Command> {
        match self {
            Entry::Command(command) => Some(command),
            _ => None,
        }
    }

    /// Nothing of it needs a reader: it only looked around, or says that it will.
    pub fn is_boring(&self) -> bool {
        match self {
            Entry::Command(command) => command.is_boring(),
            Entry::Call(call) => {
                let looks = matches!(call.kind, Kind::Read | Kind::Other);
                looks && call.changed.is_empty() && call.told.as_ref().is_some_and(|told| !told.error)
            }
            Entry::Answer(answer) => answer.calls > 0,
            Entry::Prompt(_) | Entry::Files(_) | Entry::Remark(_) => false,
        }
    }
}

/// A prompt.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its event.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// How it came.
    pub source: PromptSource,
    /// Its text.
    pub text: BlobRef,
    /// What requests to models came to until the next.
    pub spent: Spent,
}

/// A remark of the recorder's, or of a command of coffer's.
#[derive(Clone, Debug)]
pub struct Remark {
    /// Its event.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// A sentence, safe for a terminal.
    pub text: String,
    /// It says that something is missing or was refused.
    pub bad: bool,
}

/// A command of the agent's.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Its first `process.exec`.
    pub seq: u64,
    /// The last `process.exec` of its process: another where it replaced its program.
    pub image: u64,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub time: Timestamp,
    /// What was run, without wrappers, on one line, safe for a terminal, shortened.
    pub text: String,
    /// Its program, with the word that says what it does (`cargo test`).
    pub name: String,
    /// By its text it only reads, and so do all programs it started, none of which came from the workspace.
    pub reads: bool,
    /// Its exit code 1 is an answer and no failure (`grep`).
    pub asks: bool,
    /// How it ended; absent where it runs, or where that is not in the log.
    pub end: Option<Ending>,
    /// What it prints goes where it is recorded: a pipe, a socket or a file.
    pub captured: bool,
    /// What it printed; at most four streams.
    pub outputs: Vec<Output>,
    /// What it changed.
    pub files: Changes,
    /// What its tests said.
    pub tests: Vec<Tests>,
    /// What it, and processes below it, let out or tried to.
    pub network: Traffic,
    /// Processes that it started.
    pub below: Below,
    /// What the model asked for that it is of.
    pub asked: Option<Arc<Call>>,
}

impl Command {
    /// As its `process.exec` begins it.
    pub(super) fn begun(event: &Event, exec: &ProcessExec, shown: Shown) -> Command {
        Command {
            seq: event.seq,
            image: event.seq,
            pid: exec.pid,
            time: event.time,
            text: shown.text,
            name: shown.name,
            reads: shown.reads,
            asks: shown.asks,
            captured: exec.streams[1..]
                .iter()
                .any(|stream| matches!(stream, StreamKind::Pipe | StreamKind::Socket | StreamKind::File)),
            ..Command::default()
        }
    }

    /// It ended, and not well.
    pub fn failed(&self) -> bool {
        self.tests.iter().any(|t| t.failed > 0) || self.end.is_some_and(|end| end.failed(self.asks))
    }

    /// It ended well.
    pub fn succeeded(&self) -> bool {
        self.end.is_some_and(|end| end.code == Some(0)) && !self.failed()
    }

    /// Nothing of it needs a reader: it only looked around.
    pub fn is_boring(&self) -> bool {
        let nothing_else = self.tests.is_empty() && self.files.is_empty() && self.network.is_empty();
        let told = self.asked.as_ref().is_none_or(|call| !call.differs());
        self.reads && nothing_else && told && self.end.is_some() && !self.failed()
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// Where that is known from.
    pub source: ExitSource,
    /// How long it took.
    pub microseconds: u64,
    /// Its memory at most, in KiB.
    pub memory: Option<u64>,
}

impl Ending {
    /// Whether that is a failure; `asks`: exit code 1 is an answer.
    pub fn failed(&self, asks: bool) -> bool {
        const SIGPIPE: i32 = 13;
        if self.source == ExitSource::RunEnd {
            return false;
        }
        match (self.code, self.signal) {
            (Some(0), _) => false,
            (Some(1), _) => !asks,
            (Some(_), _) => true,
            (None, Some(signal)) => signal != SIGPIPE,
            (None, None) => false,
        }
    }
}

/// What a command printed on one stream.
#[derive(Clone, Debug)]
pub struct Output {
    /// Which stream.
    pub stream: Stream,
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes that were not kept.
    pub dropped: u64,
    /// The kept content.
    pub blob: BlobRef,
    /// It is the command's own, not of a process below it.
    pub own: bool,
}

/// What a test run said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tests {
    /// Its event.
    pub seq: u64,
    /// The framework, safe for a terminal.
    pub framework: String,
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were left out.
    pub skipped: u64,
    /// The counts are at least these: part of the output was not kept.
    pub partial: bool,
    /// The first failing names, safe for a terminal.
    pub failing: Vec<String>,
}

/// How a path changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Relative to the project.
    pub path: Bytes,
    /// `A`, `M`, `D`, `T` as git has them; `=` where it holds again what it held before.
    pub letter: char,
}

/// Changed paths, a bounded number of them by name.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Named ones.
    pub named: Vec<Change>,
    /// How many more there are.
    pub more: u64,
}

impl Changes {
    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.more == 0
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.named.len() as u64 + self.more
    }
}

/// Files that changed without a command.
#[derive(Clone, Debug)]
pub struct Files {
    /// Its first event.
    pub seq: u64,
    /// When the first changed.
    pub time: Timestamp,
    /// The agent's own process did it, as far as is known.
    pub by_agent: bool,
    /// What changed.
    pub changes: Changes,
}

/// Processes below a command, counted.
#[derive(Clone, Debug, Default)]
pub struct Below {
    /// All of them.
    pub total: u64,
    /// Those that failed.
    pub failed: u64,
    /// By program; a bounded number of programs.
    pub names: BTreeMap<String, u64>,
}

impl Below {
    const NAMES: usize = 48;

    /// Counts one.
    pub fn count(&mut self, name: String) {
        self.total += 1;
        if self.names.len() < Self::NAMES || self.names.contains_key(&name) {
            *self.names.entry(name).or_default() += 1;
        }
    }

    /// Counts others in.
    pub fn add(&mut self, other: &Below) {
        self.total += other.total;
        self.failed += other.failed;
        for (name, count) in &other.names {
            if self.names.len() < Self::NAMES || self.names.contains_key(name) {
                *self.names.entry(name.clone()).or_default() += count;
            }
        }
    }
}
