//! From events to calls with what came of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use cofferdam_core::change::Digest;
use cofferdam_core::event::{
    Event, EventKind, FileChanged, ModelRequest, ModelResponse, ProcessExec, ToolCall, ToolResult,
};
use cofferdam_core::{Bytes, Timestamp};

use super::asks::Edit;
use super::paths::Place;
use super::{Answer, Asks, Call, Changed, How, Kind, Ran, Told, asks};
use crate::argv;
use crate::event_line::letter;
use crate::heads::Heads;
use crate::text::{fit, one_line};

/// Most calls, and most answers, that are kept.
const MOST: usize = 100_000;
/// Most calls that wait for their result at once, and most edits that wait for their file.
const OPEN: usize = 256;
/// Most execs that no call is known for yet, and most bytes of their texts.
const RECENT: usize = 256;
/// Most changes of files, and most results, that no call is known for yet.
const WITHOUT_CALL: usize = 64;
/// Most commands and most files named of a call.
const NAMED: usize = 8;
const FILES: usize = 32;
/// Most changes of files by commands that wait for their commands' calls.
const BY_COMMANDS: usize = 100_000;
/// Most bytes read of arguments, and of a version of a file.
const READ: u64 = 1 << 20;
/// The gateway tells of an answer when its end has passed: what an agent does at its last byte may be told before.
const EARLY: i64 = 100_000_000;
/// A shorter text of a command says nothing where it is only a part of another.
const TELLING: usize = 8;

/// Finds what came of tool calls.
#[derive(Debug, Default)]
pub(crate) struct Linker {
    heads: Option<Arc<Heads>>,
    place: Place,
    calls: Vec<Call>,
    answers: Vec<Answer>,
    /// Calls and answers that are not kept.
    beyond: u64,
    /// Requests without an answer so far.
    asked: HashMap<u64, Asked>,
    open: VecDeque<Open>,
    edits: VecDeque<Waiting>,
    recent: VecDeque<Exec>,
    /// The last changes that no call is known for: the gateway may tell of their call after them.
    early: VecDeque<(u64, Timestamp, FileChanged)>,
    /// The last results that no call is known for.
    orphans: VecDeque<(u64, Timestamp, ToolResult)>,
    /// Changes by commands: the change, the command.
    by_commands: Vec<(Changed, u64)>,
}

#[derive(Debug)]
struct Asked {
    model: String,
    tools: bool,
}

/// A call without a result.
#[derive(Debug)]
struct Open {
    at: usize,
    id: String,
    /// The texts of its command.
    texts: Vec<String>,
}

/// A file that a call is to change.
#[derive(Debug)]
struct Waiting {
    at: usize,
    path: Bytes,
    whole: Option<Digest>,
    fragment: Option<String>,
    gone: bool,
}

/// A command that no call is known for.
#[derive(Debug)]
struct Exec {
    seq: u64,
    time: Timestamp,
    texts: Vec<String>,
}

impl Linker {
    /// One that reads contents from these blobs; without, what a call asks for is not known.
    pub(crate) fn new(heads: Arc<Heads>) -> Linker {
        Linker { heads: Some(heads), ..Linker::default() }
    }

    /// Takes an event; `command`: the event is the `process.exec` that starts this command of the story.
    pub(crate) fn take(&mut self, event: &Event, command: Option<u64>) {
        let (seq, time) = (event.seq, event.time);
        match &event.what {
            EventKind::RunStarted(started) => self.place = Place::new(&started.project, &started.cwd),
            EventKind::ModelRequest(request) => self.request(request),
            EventKind::ModelResponse(response) => self.response(seq, time, response),
            EventKind::ToolCall(call) => self.call(seq, time, call),
            EventKind::ToolResult(result) => self.result(seq, time, event.cause, result),
            EventKind::ProcessExec(exec) => {
                if let Some(command) = command.filter(|command| *command == seq) {
                    self.exec(command, time, exec);
                }
            }
            _ => {}
        }
    }

    fn request(&mut self, request: &ModelRequest) {
        if self.asked.len() < MOST {
            let asked = Asked { model: fit(&one_line(request.model.as_bytes()), 80), tools: !request.tools.is_empty() };
            self.asked.insert(request.request, asked);
        }
    }

    fn response(&mut self, seq: u64, time: Timestamp, response: &ModelResponse) {
        let asked = self.asked.remove(&response.request);
        if self.answers.len() == MOST {
            self.beyond += 1;
            return;
        }
        let error = response.error.as_deref().map(|error| fit(&one_line(error.as_bytes()), 200));
        self.answers.push(Answer {
            seq,
            time,
            request: response.request,
            tools: asked.as_ref().is_some_and(|asked| asked.tools),
            model: asked.map_or_else(String::new, |asked| asked.model),
            text: response.text.clone(),
            calls: 0,
            usage: response.usage,
            cost: response.cost.clone(),
            error,
        });
    }

    fn call(&mut self, seq: u64, time: Timestamp, call: &ToolCall) {
        if self.calls.len() == MOST {
            self.beyond += 1;
            return;
        }
        if let Some(answer) = self.answers.iter_mut().rev().take(OPEN).find(|answer| answer.request == call.request) {
            answer.calls += 1;
        }
        let read = |heads: &Heads| heads.read(call.arguments.as_ref()?, READ).ok();
        let arguments = self.heads.as_deref().and_then(read);
        let Asks { kind, text, target, edits } = arguments.map(|raw| asks(&call.name, &raw)).unwrap_or_default();
        let at = self.calls.len();
        let names: Vec<Bytes> = match kind {
            Kind::Edit => edits.iter().map(|edit| self.place.relative(&edit.path)).collect(),
            Kind::Read => target.iter().map(|path| self.place.relative(path)).collect(),
            Kind::Fetch => target.iter().map(|address| Bytes::from(address.as_str())).collect(),
            Kind::Command | Kind::Other => Vec::new(),
        };
        self.calls.push(Call {
            seq,
            time,
            request: call.request,
            id: fit(&one_line(call.id.as_bytes()), 120),
            tool: fit(&one_line(call.name.as_bytes()), 60),
            kind,
            text,
            arguments: call.arguments.clone(),
            names: names.clone(),
            ..Call::default()
        });
        for (Edit { whole, fragment, gone, .. }, path) in edits.into_iter().zip(names) {
            if self.edits.len() == OPEN {
                self.edits.pop_front();
            }
            self.edits.push_back(Waiting { at, path, whole, fragment, gone });
        }
        if self.open.len() == OPEN {
            self.open.pop_front();
        }
        let texts = if kind == Kind::Command { target } else { Vec::new() };
        let open = Open { at, id: call.id.clone(), texts };
        // An agent that is quick begins before the gateway has told.
        let early = Timestamp(time.0.saturating_sub(EARLY));
        let changes: Vec<_> = self.early.iter().filter(|(_, time, _)| *time >= early).cloned().collect();
        for (seq, _, change) in changes {
            if self.by_content(seq, &change).is_some() {
                self.early.retain(|(known, ..)| *known != seq);
            }
        }
        let found = self.recent.iter().position(|exec| exec.time >= early && how(&open, &exec.texts).is_some());
        self.open.push_back(open);
        if let Some(exec) = found.and_then(|found| self.recent.remove(found)) {
            self.exec_of(exec);
        }
        let is_of = |(_, time, result): &(u64, Timestamp, ToolResult)| {
            result.id == call.id && result.request > call.request && *time >= early
        };
        if let Some(found) = self.orphans.iter().position(is_of)
            && let Some((seq, time, result)) = self.orphans.remove(found)
            && let Some(open) = self.open.pop_back()
        {
            self.answered(&open, seq, time, &result);
        }
    }

    fn exec(&mut self, seq: u64, time: Timestamp, exec: &ProcessExec) {
        let texts = argv::texts(&exec.argv);
        self.exec_of(Exec { seq, time, texts });
    }

    fn exec_of(&mut self, exec: Exec) {
        let hits: Vec<(usize, (How, bool))> =
            self.open.iter().enumerate().filter_map(|(n, open)| Some((n, how(open, &exec.texts)?))).collect();
        let best = hits.iter().map(|(_, how)| *how).min();
        let hits: Vec<usize> = hits.into_iter().filter(|(_, how)| Some(*how) == best).map(|(n, _)| n).collect();
        let best = best.map(|(how, _)| how);
        let idle = |n: &&usize| self.calls[self.open[**n].at].ran.is_empty();
        let (Some(how), Some(first)) = (best, hits.iter().find(idle).or(hits.first())) else {
            let mut bytes: usize =
                self.recent.iter().map(|exec| exec.texts.iter().map(String::len).sum::<usize>()).sum();
            self.recent.push_back(exec);
            while self.recent.len() > RECENT || bytes > READ as usize {
                let Some(oldest) = self.recent.pop_front() else { break };
                bytes = bytes.saturating_sub(oldest.texts.iter().map(String::len).sum());
            }
            return;
        };
        let at = self.open[*first].at;
        // Calls of one text at once, or a second process of one call: which is which cannot be told.
        let ambiguous = hits.len() > 1 || !self.calls[at].ran.is_empty();
        self.ran(at, Ran { seq: exec.seq, how, ambiguous });
    }

    fn ran(&mut self, at: usize, ran: Ran) {
        let call = &mut self.calls[at];
        if call.ran.len() < NAMED {
            call.ran.push(ran);
        } else {
            call.more += 1;
        }
    }

    fn result(&mut self, seq: u64, time: Timestamp, cause: Option<u64>, result: &ToolResult) {
        let by_cause = |open: &Open| Some(self.calls[open.at].seq) == cause;
        let found = self.open.iter().position(by_cause).or_else(|| self.open.iter().position(|o| o.id == result.id));
        match found.and_then(|found| self.open.remove(found)) {
            Some(open) => self.answered(&open, seq, time, result),
            // An agent that is quick tells it before the gateway has told of the call.
            None => {
                if self.orphans.len() == WITHOUT_CALL {
                    self.orphans.pop_front();
                }
                self.orphans.push_back((seq, time, result.clone()));
            }
        }
    }

    fn answered(&mut self, open: &Open, seq: u64, time: Timestamp, result: &ToolResult) {
        let told = Told {
            seq,
            time,
            request: result.request,
            error: result.error,
            bytes: result.bytes,
            content: result.content.clone(),
        };
        let call = &mut self.calls[open.at];
        call.told = Some(told);
        if call.ran.is_empty() && may_run(call.kind) {
            self.by_window(open.at, seq);
        }
    }

    /// What ran between a call and its result and is no other call's.
    fn by_window(&mut self, at: usize, until: u64) {
        let begin = Timestamp(self.calls[at].time.0.saturating_sub(EARLY));
        // Answers that hold several calls are told together: those told already were open then, too.
        let request = self.calls[at].request;
        let others = self.calls.iter().rev().take(OPEN).filter(|other| {
            let idle = other.ran.iter().all(|ran| ran.how == How::Window) && may_run(other.kind);
            other.request == request && idle
        });
        let open = self.open.iter().map(|open| &self.calls[open.at]);
        let elsewhere = open.filter(|other| other.request != request && other.ran.is_empty() && may_run(other.kind));
        let ambiguous = others.count() > 1 || elsewhere.count() > 0;
        let hits: Vec<u64> =
            self.recent.iter().filter(|exec| exec.time >= begin && exec.seq < until).map(|exec| exec.seq).collect();
        for seq in &hits {
            self.ran(at, Ran { seq: *seq, how: How::Window, ambiguous });
        }
        if !ambiguous {
            self.recent.retain(|exec| !hits.contains(&exec.seq));
        }
    }

    /// Takes a change of a file; `command`: the command of the story that is named for it. Whether a call that edits files
    /// is known for it.
    pub(crate) fn changed(
        &mut self,
        (seq, time): (u64, Timestamp),
        change: &FileChanged,
        command: Option<u64>,
    ) -> Option<usize> {
        if let Some(call) = self.by_content(seq, change) {
            return Some(call);
        }
        let at = |how, ambiguous| changed_by(seq, change, how, ambiguous);
        if let Some(command) = command {
            if self.by_commands.len() < BY_COMMANDS {
                self.by_commands.push((at(How::Argv, false), command));
            }
            self.not_yet(seq, time, change);
            return None;
        }
        let named: Vec<usize> = (0..self.edits.len()).filter(|n| self.edits[*n].path == change.path).collect();
        if let Some(last) = named.last() {
            let call = self.edits[*last].at;
            self.wrote(call, at(How::Path, named.len() > 1));
            return Some(call);
        }
        let open: Vec<usize> =
            self.open.iter().map(|open| open.at).filter(|at| may_write(self.calls[*at].kind)).collect();
        let Some(call) = open.first().copied() else {
            self.not_yet(seq, time, change);
            return None;
        };
        self.wrote(call, at(How::Window, open.len() > 1));
        Some(call)
    }

    fn not_yet(&mut self, seq: u64, time: Timestamp, change: &FileChanged) {
        if self.early.len() == WITHOUT_CALL {
            self.early.pop_front();
        }
        self.early.push_back((seq, time, change.clone()));
    }

    /// A change after which a file holds what calls were to put into it.
    fn by_content(&mut self, seq: u64, change: &FileChanged) -> Option<usize> {
        let named: Vec<usize> = (0..self.edits.len()).filter(|n| self.edits[*n].path == change.path).collect();
        let version = if named.is_empty() { None } else { self.version(change) };
        let holds = |n: &usize| self.edits[*n].is_in(change, version.as_deref());
        let hits: Vec<usize> = named.into_iter().filter(holds).collect();
        let calls: Vec<usize> = hits.iter().map(|n| self.edits[*n].at).collect();
        for call in &calls {
            self.wrote(*call, changed_by(seq, change, How::Content, calls.len() > 1));
        }
        for n in hits.into_iter().rev() {
            self.edits.remove(n);
        }
        calls.last().copied()
    }

    fn version(&self, change: &FileChanged) -> Option<Vec<u8>> {
        let version = change.version.as_ref().filter(|version| version.size <= READ)?;
        self.heads.as_ref()?.read(version, READ).ok()
    }

    fn wrote(&mut self, at: usize, changed: Changed) {
        let call = &mut self.calls[at];
        if call.changed.len() < FILES {
            call.changed.push(changed);
        } else {
            call.more += 1;
        }
    }

    /// All calls and answers, in order, and how many there are besides.
    pub(crate) fn finish(mut self) -> (Vec<Call>, Vec<Answer>, u64) {
        let mut of: HashMap<u64, Vec<(usize, How, bool)>> = HashMap::new();
        for (at, call) in self.calls.iter().enumerate() {
            for ran in &call.ran {
                of.entry(ran.seq).or_default().push((at, ran.how, ran.ambiguous));
            }
        }
        for (changed, command) in std::mem::take(&mut self.by_commands) {
            for (at, how, ambiguous) in of.get(&command).into_iter().flatten() {
                self.wrote(*at, Changed { how: *how, ambiguous: *ambiguous, ..changed.clone() });
            }
        }
        for call in &mut self.calls {
            call.changed.sort_by_key(|changed| changed.seq);
        }
        (self.calls, self.answers, self.beyond)
    }
}

impl Waiting {
    fn is_in(&self, change: &FileChanged, version: Option<&[u8]>) -> bool {
        let Some(after) = &change.after else { return self.gone };
        let whole = self.whole.is_some() && self.whole == after.digest;
        let part = || {
            let (fragment, version) = (self.fragment.as_deref()?.trim_end(), version?);
            Some(contains(version, fragment.as_bytes()))
        };
        whole || part().unwrap_or(false)
    }
}

fn changed_by(seq: u64, change: &FileChanged, how: How, ambiguous: bool) -> Changed {
    Changed { seq, path: change.path.clone(), letter: letter(change), how, ambiguous }
}

/// Whether a call may start processes; what only names files does not.
fn may_run(kind: Kind) -> bool {
    matches!(kind, Kind::Command | Kind::Other)
}

/// Whether the agent itself may write files for it.
fn may_write(kind: Kind) -> bool {
    matches!(kind, Kind::Edit | Kind::Other)
}

/// Whether a process is a call's by its arguments, and whether these have more in them than what was asked for.
fn how(open: &Open, texts: &[String]) -> Option<(How, bool)> {
    let id = &open.id;
    if id.len() >= TELLING && texts.iter().any(|text| text.contains(id.as_str())) {
        return Some((How::Id, false));
    }
    let loose = |asked: &str, text: &String| {
        // Around it stands what the agent's shell needs: `{ …; }`, a trap, a `cd`.
        let wrapped = text.contains(&format!("{{ {asked}; }}"));
        wrapped || (asked.len() >= TELLING && text.contains(asked))
    };
    let asked = || open.texts.iter().map(|asked| asked.trim()).filter(|asked| !asked.is_empty());
    if asked().any(|asked| texts.iter().any(|text| asked == text)) {
        return Some((How::Argv, false));
    }
    asked().any(|asked| texts.iter().any(|text| loose(asked, text))).then_some((How::Argv, true))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && memchr::memmem::find(text, part).is_some()
}
