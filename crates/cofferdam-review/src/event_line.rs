//! One event on one line.

use cofferdam_core::change::Entry;
use cofferdam_core::event::{Event, EventKind, FileChanged, Promotion, Stream, TripwireOpened};

use crate::Heads;
use crate::argv::as_typed;
use crate::model;
use crate::network;
use crate::story::{outcome, signal_name};
use crate::text::{counted, duration, fit, grouped, one_line, size};

/// Every kind of event, as the log names it.
pub const KINDS: &[&str] = &[
    "run.started",
    "run.ended",
    "prompt",
    "process.exec",
    "process.image",
    "process.exit",
    "test.result",
    "test.reproduced",
    "run.from",
    "command.output",
    "file.changed",
    "net.lookup",
    "net.connect",
    "net.denied",
    "http.exchange",
    "run.agent",
    "model.request",
    "model.response",
    "tool.call",
    "tool.result",
    "tripwire.placed",
    "tripwire.opened",
    "net.published",
    "net.unpublished",
    "credential.fetched",
    "credential.failed",
    "credential.used",
    "workspace.opened",
    "policy.changed",
    "limit.reached",
    "evidence.gap",
    "promotion.applied",
    "promotion.aborted",
    "promotion.undone",
    "run.discarded",
];

/// The kind of an event, as the log names it.
pub fn kind_of(what: &EventKind) -> &'static str {
    match what {
        EventKind::RunStarted(_) => "run.started",
        EventKind::RunEnded(_) => "run.ended",
        EventKind::Prompt(_) => "prompt",
        EventKind::ProcessExec(_) => "process.exec",
        EventKind::ProcessImage(_) => "process.image",
        EventKind::ProcessExit(_) => "process.exit",
        EventKind::TestResult(_) => "test.result",
        EventKind::TestReproduced(_) => "test.reproduced",
        EventKind::RunFrom(_) => "run.from",
        EventKind::CommandOutput(_) => "command.output",
        EventKind::FileChanged(_) => "file.changed",
        EventKind::NetLookup(_) => "net.lookup",
        EventKind::NetConnect(_) => "net.connect",
        EventKind::NetDenied(_) => "net.denied",
        EventKind::HttpExchange(_) => "http.exchange",
        EventKind::RunAgent(_) => "run.agent",
        EventKind::ModelRequest(_) => "model.request",
        EventKind::ModelResponse(_) => "model.response",
        EventKind::ToolCall(_) => "tool.call",
        EventKind::ToolResult(_) => "tool.result",
        EventKind::TripwirePlaced { .. } => "tripwire.placed",
        EventKind::TripwireOpened(_) => "tripwire.opened",
        EventKind::NetPublished(_) => "net.published",
        EventKind::NetUnpublished(_) => "net.unpublished",
        EventKind::CredentialFetched(_) => "credential.fetched",
        EventKind::CredentialFailed(_) => "credential.failed",
        EventKind::CredentialUsed(_) => "credential.used",
        EventKind::WorkspaceOpened { .. } => "workspace.opened",
        EventKind::PolicyChanged { .. } => "policy.changed",
        EventKind::LimitReached { .. } => "limit.reached",
        EventKind::EvidenceGap { .. } => "evidence.gap",
        EventKind::PromotionApplied(_) => "promotion.applied",
        EventKind::PromotionAborted(_) => "promotion.aborted",
        EventKind::PromotionUndone(_) => "promotion.undone",
        EventKind::RunDiscarded { .. } => "run.discarded",
    }
}

/// Number, time of day, kind and what it says, safe for a terminal and at most `width` columns.
pub fn event_line(event: &Event, heads: &Heads, width: usize) -> String {
    let time = event.time.to_string();
    let clock = time.get(11..23).unwrap_or(&time);
    let says = says(&event.what, heads);
    fit(&format!("{:>6}  {clock}  {:<16}  {says}", event.seq, kind_of(&event.what)), width)
}

fn says(what: &EventKind, heads: &Heads) -> String {
    match what {
        EventKind::RunStarted(started) => format!("{} in {}", as_typed(&started.argv), one_line(&started.project.0)),
        EventKind::RunEnded(end) => {
            format!("{} after {}", outcome(end), duration(end.milliseconds.saturating_mul(1000)))
        }
        EventKind::Prompt(prompt) => match heads.read(&prompt.text, 1024) {
            Ok(text) => one_line(&text),
            Err(why) => format!("({}, {why})", size(prompt.bytes)),
        },
        EventKind::ProcessExec(exec) => {
            let unconfirmed = if exec.unconfirmed { " (its arguments are not confirmed)" } else { "" };
            format!("{}{unconfirmed}", as_typed(&exec.argv))
        }
        EventKind::ProcessImage(image) => format!("{} ({})", one_line(&image.executable.path.0), size(image.size)),
        EventKind::ProcessExit(exit) => {
            let how = match (exit.code, exit.signal) {
                (Some(code), _) => format!("exit {code}"),
                (None, Some(signal)) => format!("killed by {}", signal_name(signal)),
                (None, None) => "ended".to_owned(),
            };
            format!("pid {} {how} after {}", exit.pid, duration(exit.microseconds))
        }
        EventKind::TestResult(tests) => {
            let names = tests.failing.iter().take(5).map(|n| one_line(n.as_bytes())).collect::<Vec<_>>().join(", ");
            let names = if names.is_empty() { names } else { format!(": {names}") };
            format!(
                "{}: {} passed, {} failed, {} skipped{names}",
                one_line(tests.framework.as_bytes()),
                grouped(tests.passed),
                grouped(tests.failed),
                grouped(tests.skipped)
            )
        }
        EventKind::TestReproduced(stamp) => {
            let verdict = if stamp.reproduced { "reproduced" } else { "NOT reproduced" };
            format!("{}: {verdict} in run {}", stamp.command, stamp.run.short())
        }
        EventKind::RunFrom(from) => format!("run {}", from.run),
        EventKind::CommandOutput(output) => {
            let gap = if output.dropped > 0 { format!(", {} not kept", size(output.dropped)) } else { String::new() };
            let head = heads.read(&output.blob, 256).map(|text| one_line(&text)).unwrap_or_default();
            format!("{} {}{gap}  {head}", stream_name(output.stream), size(output.bytes))
        }
        EventKind::FileChanged(change) => changed(change),
        EventKind::NetLookup(lookup) => network::looked_up(lookup),
        EventKind::NetConnect(connect) => network::connected(connect),
        EventKind::NetDenied(denied) => network::denied(denied),
        EventKind::HttpExchange(exchange) => network::exchanged(exchange),
        EventKind::RunAgent(agent) => model::agent(agent),
        EventKind::ModelRequest(request) => model::asked(request),
        EventKind::ModelResponse(response) => model::answered(response, heads),
        EventKind::ToolCall(call) => model::called(call, heads),
        EventKind::ToolResult(result) => model::told(result, heads),
        EventKind::TripwirePlaced { paths } => {
            paths.iter().map(|path| one_line(&path.0)).collect::<Vec<_>>().join(", ")
        }
        EventKind::TripwireOpened(opened) => tripwire(opened),
        EventKind::NetPublished(published) => network::published(published),
        EventKind::NetUnpublished(ended) => network::unpublished(ended),
        EventKind::CredentialFetched(fetch) | EventKind::CredentialFailed(fetch) => network::fetched(fetch),
        EventKind::CredentialUsed(used) => network::used(used),
        EventKind::WorkspaceOpened { uid } => opened(*uid),
        EventKind::PolicyChanged { added, uid } => network::allowed(added, *uid),
        EventKind::LimitReached { limit, value, action } => {
            one_line(format!("{limit} at {value}, {action}").as_bytes())
        }
        EventKind::EvidenceGap { what, count } => one_line(format!("{} × {what}", grouped(*count)).as_bytes()),
        EventKind::PromotionApplied(data) | EventKind::PromotionAborted(data) | EventKind::PromotionUndone(data) => {
            promotion(data)
        }
        EventKind::RunDiscarded { bytes, unpromoted } => {
            format!("{} freed, {} not promoted", size(*bytes), counted(*unpromoted, "path"))
        }
    }
}

/// A stream, as the log names it.
pub fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
        Stream::Both => "both",
        Stream::Terminal => "terminal",
    }
}

fn changed(change: &FileChanged) -> String {
    let bytes = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.size);
    let (letter, before, after) = (letter(change), bytes(&change.before), bytes(&change.after));
    let by = change.commands.first().map_or(String::new(), |seq| format!(" by {seq}"));
    format!("{letter} {} ({} → {}){by}", one_line(&change.path.0), size(before), size(after))
}

/// That the person had the workspace before them.
pub(crate) fn opened(uid: u32) -> String {
    format!("uid {uid} opened the workspace: changes from here on may be theirs")
}

/// An open of a decoy.
pub(crate) fn tripwire(opened: &TripwireOpened) -> String {
    let times = if opened.count == 1 { String::new() } else { format!(" {} times", grouped(opened.count)) };
    format!("decoy {} was opened{times}", one_line(&opened.path.0))
}

/// git's status letter of a change.
pub fn letter(change: &FileChanged) -> char {
    match (&change.before, &change.after) {
        (None, _) => 'A',
        (_, None) => 'D',
        (Some(before), Some(after)) if before.kind != after.kind => 'T',
        _ => 'M',
    }
}

fn promotion(data: &Promotion) -> String {
    let paths = data.paths.iter().take(5).map(|change| one_line(&change.path.0)).collect::<Vec<_>>().join(", ");
    format!("number {} by uid {}, {}: {paths}", data.number, data.uid, counted(data.paths.len() as u64, "path"))
}
