//! What a page shows of the events, gathered.

use std::collections::{BTreeMap, HashMap};

use cofferdam_core::event::{
    CommandOutput, Event, EventKind, FileChanged, Link, ProcessExec, ProcessExit, Prompt, Stream, TestResult,
};
use cofferdam_core::{Bytes, Timestamp};

use super::super::text::visible;
use super::super::{Content, Record, Result};
use super::outline::Outline;
use crate::story::{self, Entry};

/// Most notices on a page, and most test runs.
const NOTICES: usize = 500;
/// Most bytes of an answer of a model.
const ANSWER: u64 = 2_000;
/// Most files named at a command.
const FILES: usize = 20;

/// Most events of the network named at a command, and on a page.
const NETWORK: usize = 20;
const NETWORK_OF_PAGE: usize = 4_000;

/// Something of the timeline.
#[derive(Debug)]
pub(super) struct Node {
    pub seq: u64,
    pub time: Timestamp,
    pub what: What,
    pub children: Vec<usize>,
    /// Commands below, those left out among them, and how many of them failed.
    pub below: u64,
    pub failed: u64,
    /// Commands below that are left out.
    pub hidden: u64,
}

#[derive(Debug)]
pub(super) enum What {
    Prompt(Prompt),
    Command(Box<Command>),
    Notice { text: String, grave: bool },
}

/// A command with all that belongs to it.
#[derive(Debug)]
pub(super) struct Command {
    pub exec: ProcessExec,
    pub exit: Option<ProcessExit>,
    /// The process executed something else in its own place.
    pub replaced: bool,
    pub outputs: Vec<CommandOutput>,
    pub tests: Vec<TestResult>,
    pub files: Vec<Bytes>,
    /// Changed files that are not named.
    pub more_files: u64,
    /// What it let out or tried to, a sentence each, and whether it was denied.
    pub network: Vec<(String, bool)>,
    /// What of that is not named.
    pub more_network: u64,
    /// What a model asked for that it is of, and what the model was told: sentences, and whether they are bad.
    pub asked: Vec<(String, bool)>,
    /// Requests that it made, and what was denied to it.
    pub requests: u64,
    pub denied: u64,
}

/// A test run.
#[derive(Debug)]
pub(super) struct TestRun {
    pub cause: Option<u64>,
    pub result: TestResult,
}

/// What happened to a path.
#[derive(Debug)]
pub(super) struct Path {
    pub first: FileChanged,
    pub last: FileChanged,
    pub versions: u64,
    /// The shown command that most likely made the last version.
    pub command: Option<u64>,
}

/// The gathered events.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub nodes: Vec<Node>,
    pub roots: Vec<usize>,
    pub tests: Vec<TestRun>,
    pub paths: BTreeMap<Bytes, Path>,
    pub commands: u64,
    pub failed: u64,
    pub prompts: u64,
    pub gaps: u64,
    /// Requests that were let out.
    pub requests: u64,
    /// What was denied.
    pub denied: u64,
    pub terminal: bool,
    /// Notices and test runs beyond their bound.
    pub omitted: u64,
    notices: usize,
    /// Events of the network that are named at commands.
    named: usize,
    index: HashMap<u64, usize>,
    shown: HashMap<u8, usize>,
    /// What is said of models at an event: of a command, a call or an answer.
    models: HashMap<u64, Vec<(String, bool)>>,
    /// For commands that are left out: what they are below.
    hidden: HashMap<u64, usize>,
}

impl Gathered {
    pub(super) fn of(record: &Record, outline: &Outline) -> Result<Gathered> {
        let mut gathered = Gathered { models: models(record)?, ..Gathered::default() };
        for event in record.events()? {
            gathered.event(event?, outline);
        }
        gathered.count();
        Ok(gathered)
    }

    fn event(&mut self, event: Event, outline: &Outline) {
        let Event { seq, time, cause, link, what } = event;
        match what {
            EventKind::Prompt(prompt) => {
                self.prompts += 1;
                self.place(seq, time, What::Prompt(prompt), outline);
            }
            EventKind::ProcessExec(exec) => {
                self.commands += 1;
                if link == Some(Link::Process)
                    && let Some(earlier) = cause.and_then(|cause| self.command(cause))
                {
                    earlier.replaced = true;
                }
                let command = Command {
                    exec,
                    exit: None,
                    replaced: false,
                    outputs: Vec::new(),
                    tests: Vec::new(),
                    files: Vec::new(),
                    more_files: 0,
                    network: Vec::new(),
                    more_network: 0,
                    asked: self.models.remove(&seq).unwrap_or_default(),
                    requests: 0,
                    denied: 0,
                };
                self.place(seq, time, What::Command(Box::new(command)), outline);
            }
            EventKind::ProcessExit(exit) => self.ended(cause, exit),
            EventKind::CommandOutput(output) if output.stream == Stream::Terminal => self.terminal = true,
            EventKind::CommandOutput(output) => {
                if let Some(command) = cause.and_then(|cause| self.command(cause)) {
                    command.outputs.push(output);
                }
            }
            EventKind::TestResult(result) => {
                if let Some(command) = cause.and_then(|cause| self.command(cause)) {
                    command.tests.push(result.clone());
                }
                if self.tests.len() >= NOTICES {
                    // The last ones are those that count.
                    self.tests.remove(0);
                    self.omitted += 1;
                }
                self.tests.push(TestRun { cause, result });
            }
            EventKind::FileChanged(change) => self.changed(change),
            EventKind::NetConnect(_) | EventKind::NetDenied(_) | EventKind::HttpExchange(_) => {
                self.network(seq, time, cause, &what);
            }
            EventKind::ToolCall(_) | EventKind::ModelResponse(_) => {
                for (text, bad) in self.models.remove(&seq).unwrap_or_default() {
                    self.notice(seq, time, text, bad);
                }
            }
            other => {
                if matches!(other, EventKind::EvidenceGap { .. }) {
                    self.gaps += 1;
                }
                if let Some((text, grave)) = notice(&other) {
                    self.notice(seq, time, text, grave);
                }
            }
        }
    }

    fn command(&mut self, seq: u64) -> Option<&mut Command> {
        match &mut self.nodes[*self.index.get(&seq)?].what {
            What::Command(command) => Some(command),
            _ => None,
        }
    }

    /// Puts a prompt or command into its place, or counts it where there is no room for it.
    fn place(&mut self, seq: u64, time: Timestamp, what: What, outline: &Outline) {
        let place = outline.place(seq);
        let parent = place.parent.and_then(|parent| self.index.get(&parent).or(self.hidden.get(&parent)).copied());
        let shown = self.shown.entry(place.level).or_default();
        if *shown >= outline.shown_of(place.level) {
            if let Some(parent) = parent {
                self.nodes[parent].hidden += 1;
                self.hidden.insert(seq, parent);
            }
            return;
        }
        *shown += 1;
        let at = self.nodes.len();
        self.nodes.push(Node { seq, time, what, children: Vec::new(), below: 0, failed: 0, hidden: 0 });
        self.index.insert(seq, at);
        match parent {
            Some(parent) => self.nodes[parent].children.push(at),
            None => self.roots.push(at),
        }
    }

    fn notice(&mut self, seq: u64, time: Timestamp, text: String, grave: bool) {
        if self.notices >= NOTICES {
            self.omitted += 1;
            return;
        }
        self.notices += 1;
        self.roots.push(self.nodes.len());
        let what = What::Notice { text, grave };
        self.nodes.push(Node { seq, time, what, children: Vec::new(), below: 0, failed: 0, hidden: 0 });
    }

    fn ended(&mut self, cause: Option<u64>, exit: ProcessExit) {
        let failed = exit.signal.is_some() || exit.code.is_some_and(|code| code != 0);
        self.failed += u64::from(failed);
        let Some(cause) = cause else { return };
        if let Some(command) = self.command(cause) {
            command.exit = Some(exit);
        } else if let Some(above) = self.hidden.get(&cause) {
            self.nodes[*above].failed += u64::from(failed);
        }
    }

    fn changed(&mut self, change: FileChanged) {
        let likely = change.commands.iter().copied().find(|seq| self.index.contains_key(seq));
        if let Some(command) = likely.and_then(|seq| self.command(seq)) {
            match command.files.contains(&change.path) {
                true => {}
                false if command.files.len() < FILES => command.files.push(change.path.clone()),
                false => command.more_files += 1,
            }
        }
        match self.paths.get_mut(&change.path) {
            Some(path) => {
                path.versions += 1;
                path.command = likely.or(path.command);
                path.last = change;
            }
            None => {
                let path = change.path.clone();
                let entry = Path { first: change.clone(), last: change, versions: 1, command: likely };
                self.paths.insert(path, entry);
            }
        }
    }

    /// An event of the network: at its command, or by itself where that is not on the page.
    fn network(&mut self, seq: u64, time: Timestamp, cause: Option<u64>, what: &EventKind) {
        let (mut requests, mut denied) = (0, 0);
        match what {
            EventKind::HttpExchange(_) => requests = 1,
            EventKind::NetDenied(_) => denied = 1,
            // Its requests say it.
            EventKind::NetConnect(connect) if connect.exchanges > 0 => return,
            _ => {}
        }
        self.requests += requests;
        self.denied += denied;
        let Some(said) = crate::network::says(what) else { return };
        let room = self.named < NETWORK_OF_PAGE;
        let Some(command) = cause.and_then(|cause| self.command(cause)) else {
            return self.notice(seq, time, said, denied > 0);
        };
        command.requests += requests;
        command.denied += denied;
        // What was denied is named before what was not.
        let named = command.network.len();
        let last_allowed = command.network.iter().rposition(|(_, denied)| !denied);
        match last_allowed {
            _ if named < NETWORK && room => {
                command.network.push((said, denied > 0));
                self.named += 1;
            }
            Some(at) if denied > 0 => {
                command.more_network += 1;
                command.network.remove(at);
                command.network.push((said, true));
            }
            _ => command.more_network += 1,
        }
    }

    /// Adds up what lies below each node. A node's children come after it.
    fn count(&mut self) {
        for at in (0..self.nodes.len()).rev() {
            let (mut below, mut failed) = (self.nodes[at].hidden, 0);
            for child in &self.nodes[at].children {
                let child = &self.nodes[*child];
                below += child.below + u64::from(matches!(child.what, What::Command(_)));
                failed += child.failed + u64::from(child.has_failed());
            }
            self.nodes[at].below += below;
            self.nodes[at].failed += failed;
        }
    }

    /// The command of a number, where it is on the page.
    pub(super) fn exec(&self, seq: u64) -> Option<&ProcessExec> {
        match &self.nodes[*self.index.get(&seq)?].what {
            What::Command(command) => Some(&command.exec),
            _ => None,
        }
    }
}

/// What is said of models, by the event at which it is said.
fn models(record: &Record) -> Result<HashMap<u64, Vec<(String, bool)>>> {
    let mut models: HashMap<u64, Vec<(String, bool)>> = HashMap::new();
    for entry in record.story()?.entries {
        let (at, said) = match &entry {
            Entry::Call(call) => (call.seq, vec![story::in_words(call)]),
            Entry::Answer(answer) => {
                let Some(text) = &answer.text else { continue };
                let Content::Kept { bytes, whole } = record.content(text, ANSWER)? else { continue };
                let more = if whole { "" } else { " \u{2026}" };
                (answer.seq, vec![(format!("\u{ab} {}{more}", visible(&bytes).replace('\n', " ")), false)])
            }
            Entry::Command(command) => {
                let Some(call) = &command.asked else { continue };
                let otherwise = story::otherwise(call).into_iter().map(|text| (text, true));
                (command.seq, otherwise.chain([(story::asked(call), false)]).collect())
            }
            Entry::Prompt(_) | Entry::Files(_) | Entry::Remark(_) => continue,
        };
        models.insert(at, said);
    }
    Ok(models)
}

impl Node {
    /// Whether it is a command that ended badly.
    pub(super) fn has_failed(&self) -> bool {
        let What::Command(command) = &self.what else { return false };
        command.exit.as_ref().is_some_and(|exit| exit.signal.is_some() || exit.code.is_some_and(|code| code != 0))
    }
}

/// What else happened, in a sentence; and whether it bears on what the evidence is worth.
fn notice(what: &EventKind) -> Option<(String, bool)> {
    let paths = |n: usize| if n == 1 { "1 path".to_owned() } else { format!("{n} paths") };
    Some(match what {
        EventKind::LimitReached { limit, value, action } => {
            (format!("limit {limit} = {value} reached: {action}"), true)
        }
        EventKind::EvidenceGap { what, count } => (format!("not recorded: {count} {what}"), true),
        EventKind::PromotionApplied(p) => (
            format!("promotion {}: {} taken into the real tree, {} left", p.number, paths(p.paths.len()), p.left),
            false,
        ),
        EventKind::PromotionAborted(p) => (format!("promotion {} was rolled back", p.number), false),
        EventKind::PromotionUndone(p) => (format!("undone: {} restored", paths(p.paths.len())), false),
        EventKind::RunDiscarded { unpromoted, .. } => {
            (format!("layers thrown away, {unpromoted} changed paths had not been promoted"), false)
        }
        _ => return None,
    })
}
