//! From events to a story, one by one.

use std::collections::HashSet;
use std::sync::Arc;

use cofferdam_core::event::{
    CommandOutput, Event, EventKind, FileChanged, Link, ProcessExec, ProcessExit, Promotion, RunStarted, TestResult,
};
use cofferdam_core::{Bytes, Timestamp};

use super::entry::{Changes, Command, Ending, Entry, Files, Output, Remark, Said, Tests};
use super::files::Paths;
use super::traffic::{OF_RUN, Slot, Traffic};
use super::{Story, told};
use crate::argv::{self, of_exec};
use crate::causes::{Linker, Spent};
use crate::event_line::tripwire;
use crate::heads::Heads;
use crate::network;
use crate::text;

/// Most commands kept one by one; what comes after is counted by program.
const MOST: usize = 100_000;
/// Most streams kept of a command.
const STREAMS: usize = 4;
/// Most test results kept of a command.
const TESTS: usize = 8;
/// Most failing names kept of a test run.
const FAILING: usize = 12;

/// Where an event belongs in the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To the run, or to the agent itself.
    Top,
    /// It starts a command, or is of the process of one.
    Command(u64),
    /// It is of a process below a command.
    Below(u64),
}

/// Who owns an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Root,
    /// The command at this place of the entries.
    Entry(u32),
    /// One that came after [`MOST`].
    Beyond,
}

/// Takes events in the order of the log.
#[derive(Debug, Default)]
pub struct Collector {
    story: Story,
    paths: Paths,
    commands: usize,
    /// Who owns the execs from this number on; only where that changes, so it grows with the commands.
    owners: Vec<(u64, Owner)>,
    /// Execs of the agent and of shells it feeds: what they start are commands.
    drivers: HashSet<u64>,
    /// The network of what no command is named for, and which entry each of its lines is.
    traffic: Traffic,
    traffic_lines: Vec<(Slot, usize)>,
    causes: Linker,
    heads: Option<Arc<Heads>>,
}

impl Collector {
    /// One that reads what models asked for, and were told, from these blobs. The default one knows only that they did.
    pub fn new(heads: Heads) -> Collector {
        let heads = Arc::new(heads);
        Collector { causes: Linker::new(Arc::clone(&heads)), heads: Some(heads), ..Collector::default() }
    }

    /// Takes the next event, and says where it belongs.
    pub fn push(&mut self, event: Event) -> Place {
        self.story.events += 1;
        self.story.last = event.time;
        if !matches!(event.what, EventKind::ProcessExec(_)) {
            self.causes.take(&event, None);
        }
        let (seq, time, cause) = (event.seq, event.time, event.cause);
        match event.what {
            EventKind::RunStarted(started) => {
                self.story.began = time;
                self.story.started = Some(started);
                Place::Top
            }
            EventKind::RunEnded(ended) => {
                self.story.ended = Some((time, ended));
                Place::Top
            }
            EventKind::ProcessExec(ref exec) => {
                let place = self.exec(&event, exec);
                if let Place::Command(command) = place {
                    self.causes.take(&event, Some(command));
                }
                place
            }
            EventKind::ProcessExit(exit) => self.exit(cause, &exit),
            EventKind::CommandOutput(output) => self.output(cause, output),
            EventKind::TestResult(result) => self.tests(seq, cause, result),
            EventKind::FileChanged(change) => self.file(seq, time, cause, &change),
            EventKind::ProcessImage(_) => self.place(self.owner(cause), 0),
            EventKind::Prompt(prompt) => {
                let spent = Spent::default();
                self.add(Entry::Prompt(Said { seq, time, source: prompt.source, text: prompt.text, spent }))
            }
            // What came of it says the same.
            EventKind::NetLookup(_) => self.place(self.owner(cause), 0),
            EventKind::NetConnect(_)
            | EventKind::NetDenied(_)
            | EventKind::HttpExchange(_)
            | EventKind::CredentialUsed(_) => self.network(seq, time, cause, &event.what),
            EventKind::RunAgent(agent) => {
                self.story.agent = Some(agent);
                Place::Top
            }
            EventKind::ModelRequest(_)
            | EventKind::ModelResponse(_)
            | EventKind::ToolCall(_)
            | EventKind::ToolResult(_) => self.place(self.owner(cause), 0),
            EventKind::TripwirePlaced { .. } => Place::Top,
            EventKind::TripwireOpened(opened) => {
                let by = match self.owner(cause) {
                    Owner::Entry(at) => self.story.entries.get(at as usize).and_then(Entry::command),
                    _ => self.story.root.as_ref(),
                };
                let by = by.map(|command| format!(" while this ran: {}", command.text)).unwrap_or_default();
                self.remark(seq, time, &format!("{}{by}", tripwire(&opened)), true)
            }
            EventKind::NetPublished(published) => self.remark(seq, time, &network::published(&published), true),
            // Of interest where somebody came.
            EventKind::NetUnpublished(ended) => match ended.connections {
                0 => Place::Top,
                _ => self.remark(seq, time, &network::unpublished(&ended), false),
            },
            // That it is used says that it was fetched.
            EventKind::CredentialFetched(_) => Place::Top,
            EventKind::CredentialFailed(fetch) => self.remark(seq, time, &network::fetched(&fetch), true),
            EventKind::WorkspaceOpened { uid } => self.remark(seq, time, &crate::event_line::opened(uid), true),
            EventKind::PolicyChanged { added, uid } => self.remark(seq, time, &network::allowed(&added, uid), true),
            EventKind::LimitReached { limit, value, action } => {
                let text = format!("limit reached: {limit} at {value}, {action}");
                self.remark(seq, time, &text, true)
            }
            EventKind::EvidenceGap { what, count } => {
                self.remark(seq, time, &format!("gap in the evidence: {} × {what}", text::grouped(count)), true)
            }
            EventKind::RunFrom(from) => self.remark(seq, time, &format!("goes on from run {}", from.run), false),
            EventKind::TestReproduced(stamp) => {
                let verdict = if stamp.reproduced { "reproduced" } else { "NOT reproduced" };
                let text = format!("test command {} {verdict} in run {}", stamp.command, stamp.run.short());
                self.remark(seq, time, &text, !stamp.reproduced)
            }
            EventKind::PromotionApplied(data) => self.remark(seq, time, &promotion("promoted", &data), false),
            EventKind::PromotionAborted(data) => {
                self.remark(seq, time, &promotion("promotion taken back:", &data), true)
            }
            EventKind::PromotionUndone(data) => self.remark(seq, time, &promotion("promotion undone:", &data), false),
            EventKind::RunDiscarded { bytes, unpromoted } => {
                let text = format!(
                    "discarded: {}, {} not promoted",
                    text::size(bytes),
                    text::counted(unpromoted, "changed path")
                );
                self.remark(seq, time, &text, false)
            }
        }
    }

    /// The command that an event belongs to by its cause, the agent's own among them; `None` where none is known.
    pub fn command_of(&self, cause: Option<u64>) -> Option<&Command> {
        match self.owner(Some(cause?)) {
            Owner::Root => self.story.root.as_ref(),
            Owner::Entry(at) => self.story.entries.get(at as usize)?.command(),
            Owner::Beyond => None,
        }
    }

    /// Counts a line that is no event this version knows.
    pub fn unread(&mut self) {
        self.story.unread += 1;
    }

    /// The story so far, at its end.
    pub fn finish(mut self) -> Story {
        (self.story.changed, self.story.reverted) = self.paths.totals();
        let beyond = self.traffic.beyond;
        for (slot, at) in &self.traffic_lines {
            if let Some(Entry::Remark(remark)) = self.story.entries.get_mut(*at) {
                remark.text = text::fit(&self.traffic.line(*slot), 240);
            }
        }
        if beyond > 0 {
            let sentence = format!("{} more connections and denials: coffer log --kind net", text::grouped(beyond));
            let last = self.story.events.saturating_sub(1);
            self.remark(last, self.story.last, &sentence, false);
        }
        for entry in &mut self.story.entries {
            let changes = match entry {
                Entry::Command(command) => &mut command.files,
                Entry::Files(files) => &mut files.changes,
                _ => continue,
            };
            for change in changes.named.iter_mut().filter(|c| self.paths.is_back(&c.path)) {
                change.letter = '=';
            }
        }
        // A run whose own command is a build, say, is that command.
        if self.drivers.is_empty()
            && let Some(root) = &self.story.root
        {
            self.story.entries.insert(0, Entry::Command(Box::new(root.clone())));
        }
        let (calls, answers, unkept) = self.causes.finish();
        told::tell(&mut self.story, calls, answers, self.heads.as_deref());
        self.story.unkept = unkept;
        self.story
    }

    /// The story so far.
    pub fn so_far(&self) -> &Story {
        &self.story
    }

    fn exec(&mut self, event: &Event, exec: &ProcessExec) -> Place {
        let seq = event.seq;
        let parent = event.cause.filter(|cause| *cause > 0);
        let shown = of_exec(exec);
        if self.story.root.is_none() {
            if !shown.tool {
                self.drivers.insert(seq);
            }
            self.story.root = Some(Command::begun(event, exec, shown));
            self.owners.push((seq, Owner::Root));
            return Place::Top;
        }
        let owner = if parent.is_some() { self.owner(parent) } else { Owner::Root };
        let replaces = event.link == Some(Link::Process);
        let foreign = self.is_foreign(&exec.executable.path);
        if replaces {
            self.own(seq, owner);
            let driver = parent.is_some_and(|p| self.drivers.remove(&p));
            // A wrapper, or a shell, that becomes a build is no agent any more.
            if driver && !(owner == Owner::Root && shown.tool) {
                self.drivers.insert(seq);
            }
            if let Some(command) = self.at(owner) {
                command.reads &= !foreign;
                if command.pid == exec.pid {
                    command.image = seq;
                }
            }
            return self.place(owner, exec.pid);
        }
        // What has no known parent was started by a process that is gone: the agent's own, as far as anybody knows.
        let started_by_agent = parent.is_none_or(|p| self.drivers.contains(&p)) && !self.drivers.is_empty();
        if !started_by_agent {
            self.own(seq, owner);
            match self.at(owner) {
                Some(command) => {
                    command.below.count(shown.name);
                    command.reads &= !foreign;
                }
                None => self.story.beyond.count(shown.name),
            }
            return self.place(owner, exec.pid);
        }
        if shown.transparent || self.is_inner_agent(parent) {
            self.own(seq, Owner::Root);
            self.drivers.insert(seq);
            return Place::Top;
        }
        if self.commands == MOST {
            self.own(seq, Owner::Beyond);
            self.story.beyond.count(shown.name);
            return Place::Command(seq);
        }
        if shown.agent {
            self.drivers.insert(seq);
        }
        let mut command = Command::begun(event, exec, shown);
        command.reads &= !foreign;
        self.commands += 1;
        self.own(seq, Owner::Entry(u32::try_from(self.story.entries.len()).unwrap_or(u32::MAX)));
        self.story.entries.push(Entry::Command(Box::new(command)));
        Place::Command(seq)
    }

    /// The first process that a wrapper around the agent (`timeout 1h claude`) starts is the agent.
    fn is_inner_agent(&self, parent: Option<u64>) -> bool {
        let Some(started) = &self.story.started else { return false };
        let is_root = self.story.root.as_ref().is_some_and(|root| Some(root.seq) == parent);
        is_root && argv::is_wrapper(&started.argv) && self.drivers.len() == 1 && self.commands == 0
    }

    /// Whether a program is one that the run may have made itself: then its name says nothing.
    fn is_foreign(&self, path: &Bytes) -> bool {
        let project = self.story.started.as_ref().map_or(&b""[..], |s: &RunStarted| &s.project.0);
        let below =
            |dir: &[u8]| !dir.is_empty() && path.0.strip_prefix(dir).is_some_and(|rest| rest.first() == Some(&b'/'));
        below(project) || below(b"/tmp") || below(b"/dev/shm") || below(b"/var/tmp") || path.0.ends_with(b" (deleted)")
    }

    fn exit(&mut self, cause: Option<u64>, exit: &ProcessExit) -> Place {
        let owner = self.owner(cause);
        let ending = Ending {
            code: exit.code,
            signal: exit.signal,
            source: exit.source,
            microseconds: exit.microseconds,
            memory: exit.memory,
        };
        match self.at(owner) {
            Some(command) if command.pid == exit.pid && command.end.is_none() => command.end = Some(ending),
            Some(command) => command.below.failed += u64::from(ending.failed(false)),
            None => self.story.beyond.failed += u64::from(ending.failed(false)),
        }
        self.place(owner, exit.pid)
    }

    fn output(&mut self, cause: Option<u64>, output: CommandOutput) -> Place {
        let owner = self.owner(cause);
        if let Some(command) = self.at(owner) {
            let own = [Some(command.seq), Some(command.image)].contains(&cause);
            if command.outputs.len() < STREAMS {
                let CommandOutput { stream, bytes, dropped, blob, .. } = output;
                command.outputs.push(Output { stream, bytes, dropped, blob, own });
            }
        }
        self.place(owner, 0)
    }

    fn tests(&mut self, seq: u64, cause: Option<u64>, result: TestResult) -> Place {
        let owner = self.owner(cause);
        if let Some(command) = self.at(owner)
            && command.tests.len() < TESTS
        {
            let safe = |name: &String| text::fit(&text::one_line(name.as_bytes()), 120);
            command.tests.push(Tests {
                seq,
                framework: text::fit(&text::one_line(result.framework.as_bytes()), 20),
                passed: result.passed,
                failed: result.failed,
                skipped: result.skipped,
                partial: result.partial,
                failing: result.failing.iter().take(FAILING).map(safe).collect(),
            });
        }
        self.place(owner, 0)
    }

    fn file(&mut self, seq: u64, time: Timestamp, cause: Option<u64>, change: &FileChanged) -> Place {
        self.paths.push(change);
        let by = change.commands.first().copied().or(cause).filter(|by| *by > 0);
        let owner = by.map(|by| self.owner(Some(by)));
        let command = if self.is_command(owner) { owner } else { None };
        let named = command.and_then(|owner| self.at(owner)).map(|command| command.seq);
        if self.causes.changed((seq, time), change, named).is_some() {
            return Place::Top;
        }
        if let Some(command) = command.and_then(|owner| self.at(owner)) {
            command.files.push(change);
            return Place::Command(command.seq);
        }
        let by_agent = owner == Some(Owner::Root);
        if let Some(Entry::Files(files)) = self.story.entries.last_mut()
            && files.by_agent == by_agent
        {
            files.changes.push(change);
            return Place::Top;
        }
        let mut changes = Changes::default();
        changes.push(change);
        self.add(Entry::Files(Files { seq, time, by_agent, changes }))
    }

    /// Puts an event of the network below the command that made it. What is the agent's own, or nobody's, has lines of its
    /// own.
    fn network(&mut self, seq: u64, time: Timestamp, cause: Option<u64>, what: &EventKind) -> Place {
        self.story.network.take(what);
        let owner = cause.map(|cause| self.owner(Some(cause)));
        if self.is_command(owner)
            && let Some(command) = owner.and_then(|owner| self.at(owner))
        {
            command.network.take(what);
            return Place::Command(command.seq);
        }
        if let Some(slot) = self.traffic.take_bounded(what, OF_RUN) {
            self.traffic_lines.push((slot, self.story.entries.len()));
            return self.remark(seq, time, "", matches!(slot, Slot::Denial(_)));
        }
        Place::Top
    }

    /// Whether what belongs to it is told below a command.
    fn is_command(&self, owner: Option<Owner>) -> bool {
        match owner {
            Some(Owner::Entry(_)) => true,
            // A run whose own command is a build, say, is that command.
            Some(Owner::Root) => self.drivers.is_empty(),
            _ => false,
        }
    }

    fn remark(&mut self, seq: u64, time: Timestamp, sentence: &str, bad: bool) -> Place {
        let text = text::fit(&text::one_line(sentence.as_bytes()), 240);
        self.add(Entry::Remark(Remark { seq, time, text, bad }))
    }

    fn add(&mut self, entry: Entry) -> Place {
        self.story.entries.push(entry);
        Place::Top
    }

    fn own(&mut self, seq: u64, owner: Owner) {
        if self.owners.last().is_none_or(|(_, last)| *last != owner) {
            self.owners.push((seq, owner));
        }
    }

    fn owner(&self, exec: Option<u64>) -> Owner {
        let Some(exec) = exec else { return Owner::Root };
        match self.owners.partition_point(|(from, _)| *from <= exec) {
            0 => Owner::Root,
            n => self.owners[n - 1].1,
        }
    }

    fn at(&mut self, owner: Owner) -> Option<&mut Command> {
        match owner {
            Owner::Root => self.story.root.as_mut(),
            Owner::Beyond => None,
            Owner::Entry(at) => match self.story.entries.get_mut(at as usize) {
                Some(Entry::Command(command)) => Some(command),
                _ => None,
            },
        }
    }

    /// `pid`: 0 where the event is of the command however many processes it has.
    fn place(&self, owner: Owner, pid: u32) -> Place {
        let Owner::Entry(at) = owner else { return Place::Top };
        match self.story.entries.get(at as usize).and_then(Entry::command) {
            Some(command) if pid == 0 || pid == command.pid => Place::Command(command.seq),
            Some(command) => Place::Below(command.seq),
            None => Place::Top,
        }
    }
}

fn promotion(what: &str, data: &Promotion) -> String {
    let left = if data.left > 0 { format!(", {} left behind", data.left) } else { String::new() };
    format!("{what} {}{left}, by uid {}", text::counted(data.paths.len() as u64, "path"), data.uid)
}
