//! Single lines of a story.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::entry::{Below, Change, Changes, Command, Ending, Entry, Tests};
use super::items::{Item, Kind, Light};
use super::{Story, model};
use crate::text::{columns, counted, duration, fit, grouped, one_line};

/// A line before it is fitted to a width.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// What stands in the first column: an event's number, or `…`.
    pub mark: String,
    /// How deep it stands below its cause.
    pub depth: usize,
    pub text: String,
    /// What stands behind the text, in a column of its own.
    pub facts: String,
    pub style: Style,
}

/// How a line is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    Asked,
    Dim,
    Good,
    Bad,
    Warning,
}

/// An item's main line.
pub(super) fn main(item: &Item, entries: &[Entry], lights: &[Light], prompt: &str, live: bool) -> Line {
    if item.kind == Kind::Looks {
        return folded(entries, item.entries.clone());
    }
    let at = item.shown(entries);
    let mut line = Line { mark: entries[at].seq().to_string(), depth: 1, ..Line::default() };
    match &entries[at] {
        Entry::Prompt(said) => {
            line.depth = 0;
            line.text = format!("» {prompt}");
            line.style = Style::Asked;
            line.facts = model::spent(&said.spent).unwrap_or_default();
        }
        Entry::Remark(remark) => {
            line.depth = 0;
            line.text.clone_from(&remark.text);
            line.style = if remark.bad { Style::Bad } else { Style::Plain };
        }
        Entry::Files(files) => {
            let who = if files.by_agent { "the agent itself" } else { "no command is named for this" };
            line.text = changes(&files.changes, usize::MAX);
            line.facts = who.to_owned();
        }
        Entry::Answer(_) => {
            line.depth = 0;
            line.text = format!("« {prompt}");
        }
        Entry::Call(call) => model::main(call, &mut line),
        Entry::Command(command) => {
            line.text.clone_from(&command.text);
            let last = &entries[*item.entries.end()];
            let mended = command.failed() && last.command().is_some_and(|last| !last.failed());
            line.style = match (mended || lights[at].fixes.is_some(), command.failed()) {
                (true, _) => Style::Good,
                (_, true) => Style::Bad,
                _ => Style::Plain,
            };
            let light = item.entries.clone().map(|at| lights[at]).find(|l| l.fixes.is_some()).unwrap_or_default();
            line.facts = facts(item, entries, command, light, live);
        }
    }
    line
}

fn facts(item: &Item, entries: &[Entry], command: &Command, light: Light, live: bool) -> String {
    let mut facts = Vec::new();
    let mut last = command;
    if item.kind == Kind::Repeat {
        let times = item.commands(entries).count() as u64;
        let failed = item.commands(entries).filter(|c| c.failed()).count() as u64;
        last = item.commands(entries).last().unwrap_or(command);
        let how = match failed {
            0 => String::new(),
            all if all == times => ", all failed".to_owned(),
            failed if last.failed() => format!(", {} failed, also the last", grouped(failed)),
            failed => format!(", {} failed, works now", grouped(failed)),
        };
        facts.push(format!("×{}{how}", grouped(times)));
    }
    match last.end {
        None if live => facts.push("running".to_owned()),
        None => facts.push("its end is not recorded".to_owned()),
        // Failed tests say it better than the exit code that goes with them.
        Some(end) if end.signal.is_none() && last.tests.iter().any(|tests| tests.failed > 0) => {}
        Some(end) => facts.extend(ending(end, last.asks)),
    }
    if !last.tests.is_empty() {
        facts.push(tests(&last.tests));
    }
    if let Some((since, times)) = light.fixes.filter(|_| item.kind == Kind::One) {
        let when = if times == 1 { format!("at {since}") } else { format!("{}× from {since}", grouped(times)) };
        facts.push(format!("works now (failed {when})"));
    }
    if let Some(end) = last.end.filter(|end| end.microseconds >= 100_000) {
        facts.push(duration(end.microseconds));
    }
    facts.join(", ")
}

/// How it ended, where that is not by success.
pub(super) fn ending(end: Ending, asks: bool) -> Option<String> {
    match (end.code, end.signal) {
        _ if end.source == cofferdam_core::event::ExitSource::RunEnd => Some("ended with the run".to_owned()),
        (Some(0), _) => None,
        (Some(1), _) if asks => Some("answered no".to_owned()),
        (Some(code), _) => Some(format!("exit {code}")),
        (None, Some(signal)) => Some(format!("killed by {}", signal_name(signal))),
        (None, None) => Some("exit code not known".to_owned()),
    }
}

/// A signal's name, by signal(7) on Linux.
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// Test runs of one command, summed.
pub(crate) fn tests(all: &[Tests]) -> String {
    let sum = |of: fn(&Tests) -> u64| all.iter().map(of).sum::<u64>();
    let (passed, failed, skipped) = (sum(|t| t.passed), sum(|t| t.failed), sum(|t| t.skipped));
    let skipped = if skipped > 0 { format!(", {} skipped", grouped(skipped)) } else { String::new() };
    let least = if all.iter().any(|tests| tests.partial) { "at least " } else { "" };
    match failed {
        0 => format!("✓ {least}{} passed{skipped}", grouped(passed)),
        failed => format!("✗ {least}{} of {} failed{skipped}", grouped(failed), grouped(passed + failed)),
    }
}

/// Paths with their letters, as many as fit; `=` is one that holds what it held before.
pub(super) fn changes(changes: &Changes, most: usize) -> String {
    const NAMED: usize = 40;
    let mut out = String::new();
    for (at, Change { path, letter }) in changes.named.iter().take(NAMED).enumerate() {
        let what = if *letter == '=' { "changed and back:" } else { &letter.to_string() };
        let one = format!("{what} {}", fit(&one_line(&path.0), 60));
        let rest = changes.count() - at as u64;
        let comma = if at > 0 { ", " } else { "" };
        if at > 0 && columns(&out) + columns(&one) + 2 + 12 > most {
            return format!("{out} … {} more", grouped(rest));
        }
        out.push_str(comma);
        out.push_str(&one);
    }
    let rest = changes.count().saturating_sub(NAMED as u64);
    if rest > 0 { format!("{out} … {} more", grouped(rest)) } else { out }
}

/// Names with how often each, the most frequent first.
pub(super) fn tally(names: &BTreeMap<String, u64>, most: usize) -> String {
    let mut sorted: Vec<(&String, &u64)> = names.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let one = |(name, count): &(&String, &u64)| match count {
        1 => (*name).clone(),
        count => format!("{name} ×{}", grouped(**count)),
    };
    let mut out = sorted.iter().take(most).map(one).collect::<Vec<_>>().join(", ");
    if sorted.len() > most {
        out.push_str(&format!(", {} others", sorted.len() - most));
    }
    out
}

/// As [`tally`], with the failures of each.
fn mixed_tally(names: &BTreeMap<String, u64>, failing: &BTreeMap<String, u64>) -> String {
    let failed = |name: &str| failing.get(name).copied().unwrap_or(0);
    let mut sorted: Vec<(&String, u64)> = names.iter().map(|(name, count)| (name, *count)).collect();
    // What failed comes first: the line may be cut.
    sorted.sort_by_key(|(name, count)| std::cmp::Reverse((failed(name), *count)));
    let one = |(name, count): &(&String, u64)| {
        let times = if *count == 1 { String::new() } else { format!(" ×{}", grouped(*count)) };
        match failed(name) {
            0 => format!("{name}{times}"),
            failed if failed == *count => format!("{name}{times} failed"),
            failed => format!("{name}{times} ({} failed)", grouped(failed)),
        }
    };
    sorted.iter().take(8).map(one).collect::<Vec<_>>().join(", ")
}

/// Processes below a command, or the many that were not kept. `known`: so many failures are told already.
pub(super) fn below(below: &Below, known: u64) -> String {
    let failed = if below.failed > known { format!(", {} failed", grouped(below.failed)) } else { String::new() };
    let processes = if below.total == 1 { "process" } else { "processes" };
    format!("… {} {processes}: {}{failed}", grouped(below.total), tally(&below.names, 5))
}

/// Entries as one counted line.
pub(super) fn folded(entries: &[Entry], range: RangeInclusive<usize>) -> Line {
    let some = &entries[range];
    let mut names: BTreeMap<String, u64> = BTreeMap::new();
    let mut failing: BTreeMap<String, u64> = BTreeMap::new();
    let (mut commands, mut failed, mut prompts, mut files, mut remarks, mut tests) = (0, 0, 0, 0, 0, 0);
    let (mut requests, mut denied, mut calls, mut answers) = (0, 0, 0, 0);
    let boring = some.iter().all(Entry::is_boring);
    for entry in some {
        match entry {
            Entry::Answer(_) => answers += 1,
            Entry::Call(call) => {
                calls += 1;
                *names.entry(call.tool.clone()).or_default() += 1;
                failed += u64::from(call.told.as_ref().is_some_and(|told| told.error));
                files += call.changed.len() as u64;
            }
            Entry::Prompt(_) => prompts += 1,
            Entry::Remark(_) => remarks += 1,
            Entry::Files(changed) => files += changed.changes.count(),
            Entry::Command(command) => {
                commands += 1;
                files += command.files.count();
                tests += u64::from(!command.tests.is_empty());
                requests += command.network.requests;
                denied += command.network.denied;
                *names.entry(command.name.clone()).or_default() += 1;
                if command.failed() {
                    failed += 1;
                    *failing.entry(command.name.clone()).or_default() += 1;
                }
            }
        }
    }
    let mut parts = Vec::new();
    if prompts > 0 {
        parts.push(counted(prompts, "prompt"));
    }
    if commands > 0 {
        parts.push(counted(commands, "command"));
    }
    let of_commands =
        [(failed, " failed"), (tests, " tested")].map(|(n, what)| (n > 0).then(|| format!("{}{what}", grouped(n))));
    parts.extend(of_commands.into_iter().flatten());
    if calls > 0 {
        parts.push(counted(calls, "tool call"));
    }
    if answers > 0 {
        parts.push(counted(answers, "answer"));
    }
    if files > 0 {
        parts.push(counted(files, "file change"));
    }
    if requests > 0 {
        parts.push(counted(requests, "request"));
    }
    if denied > 0 {
        parts.push(format!("{} denied", grouped(denied)));
    }
    if remarks > 0 {
        parts.push(counted(remarks, "remark"));
    }
    let looked = if boring { "looked around: " } else { "" };
    let (first, last) = (some.first().map_or(0, Entry::seq), some.last().map_or(0, Entry::seq));
    let tally = if commands + calls > 0 { format!(": {}", mixed_tally(&names, &failing)) } else { String::new() };
    let text = format!("{looked}{} ({first}–{last}){tally}", parts.join(", "));
    Line {
        mark: "…".to_owned(),
        depth: usize::from(prompts == 0),
        text,
        style: if failed + denied > 0 { Style::Warning } else { Style::Dim },
        ..Line::default()
    }
}

/// The first lines: which run, how it ended, what there was.
pub(super) fn header(story: &Story, name: &str, live: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    let started = story.started.as_ref();
    let argv =
        started.map_or_else(|| "(its beginning is not in the log)".to_owned(), |s| crate::argv::as_typed(&s.argv));
    lines.push(Line { text: format!("▌{name} {argv}"), style: Style::Asked, ..Line::default() });
    let mut when = vec![clock(story.began)];
    match &story.ended {
        Some((_, end)) => when.push(format!("{}{}", outcome(end), took(end.milliseconds))),
        None if live => when.push("running".to_owned()),
        None => when.push("its end is not in the log".to_owned()),
    }
    if let Some(started) = started {
        when.push(format!("in {}", one_line(&started.project.0)));
    }
    lines.push(Line { text: format!("  {}", when.join(" · ")), style: Style::Dim, ..Line::default() });
    let commands = story.commands().count() as u64 + story.beyond.total;
    let failed = story.commands().filter(|c| c.failed()).count() as u64 + story.beyond.failed;
    let mut what = vec![match &story.root {
        Some(_) => format!("{}, {} failed", counted(commands, "command"), grouped(failed)),
        None => "no commands recorded".to_owned(),
    }];
    let back =
        if story.reverted > 0 { format!(", {} changed and back", grouped(story.reverted)) } else { String::new() };
    what.push(format!("{} changed{back}", counted(story.changed, "file")));
    // The run's own command is none of the entries where it has some below it, but what these print may be its output.
    let own = story.root.iter().filter(|root| story.commands().all(|c| c.seq != root.seq));
    let tested: Vec<&Command> = own.chain(story.commands()).filter(|c| !c.tests.is_empty()).collect();
    let last = tested.iter().max_by_key(|c| c.tests.last().map(|t| t.seq));
    if let Some(last) = last {
        what.push(format!("{}, the last {}", counted(tested.len() as u64, "test run"), tests(&last.tests)));
    }
    let bad = failed > 0 && last.is_some_and(|last| last.failed());
    let style = if bad { Style::Bad } else { Style::Plain };
    lines.push(Line { text: format!("  {}", what.join(" · ")), style, ..Line::default() });
    lines.extend(model::header(story));
    let datagrams = story.ended.as_ref().and_then(|(_, end)| end.network?.datagrams);
    if let Some(text) = story.network.line(datagrams.unwrap_or(0)) {
        let style = if story.network.denied > 0 { Style::Warning } else { Style::Plain };
        lines.push(Line { text: format!("  {text}"), style, ..Line::default() });
    }
    lines
}

/// A run that was cut off has no duration.
fn took(milliseconds: u64) -> String {
    if milliseconds == 0 { String::new() } else { format!(" after {}", duration(milliseconds * 1000)) }
}

/// How a run ended.
pub fn outcome(end: &cofferdam_core::event::RunEnded) -> String {
    use cofferdam_core::event::EndReason;
    match (end.reason, end.code, end.signal) {
        (EndReason::Exited, Some(code), _) => format!("exit {code}"),
        (EndReason::Exited, None, Some(signal)) => format!("killed by {}", signal_name(signal)),
        (EndReason::Exited, None, None) => "exited".to_owned(),
        (EndReason::ClientGone, ..) => "ended: its terminal went away".to_owned(),
        (EndReason::Stopped, ..) => "stopped".to_owned(),
        (EndReason::InitDied, ..) => "ended: its init was killed".to_owned(),
        (EndReason::MonitorDied, ..) => "ended: its monitor died".to_owned(),
        (EndReason::NotExecuted, ..) => "not executed".to_owned(),
    }
}

/// `2026-11-24 13:40:01Z`.
pub fn clock(time: cofferdam_core::Timestamp) -> String {
    let text = time.to_string();
    match text.split_once('T') {
        Some((day, rest)) => format!("{day} {}Z", rest.get(..8).unwrap_or(rest)),
        None => text,
    }
}
