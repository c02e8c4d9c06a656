//! What more can be said below an item: failing tests, changed files, output, processes.

use super::entry::{Command, Entry, Output};
use super::fold::Detail;
use super::items::{Item, Kind};
use super::lines::{self, Line, Style};
use super::model;
use crate::heads::Heads;
use crate::text::{counted, grouped, one_line, size};

/// Most lines of an output shown.
const EXCERPT: usize = 3;
/// Most bytes of an output read for that.
const READ: u64 = 64 << 10;
/// An output is short, and shown where all went well, up to this many bytes.
const SHORT: u64 = 400;
/// Most lines of a prompt shown below its first.
const PROMPT: usize = 4;

/// What can be said without reading any output.
pub(super) fn plain(at: usize, item: &Item, entries: &[Entry], width: usize, prompt: &[String]) -> Vec<Detail<Line>> {
    let mut details = Vec::new();
    let mut add = |priority, text: String, style| {
        details.push(Detail { item: at, priority, lines: vec![Line { depth: 3, text, style, ..Line::default() }] });
    };
    if item.kind == Kind::Looks {
        return details;
    }
    let shown = &entries[item.shown(entries)];
    if let Entry::Prompt(_) = shown {
        let further = prompt.iter().skip(1).take(PROMPT);
        let lines =
            further.map(|text| Line { depth: 0, text: format!("» {text}"), style: Style::Asked, ..Line::default() });
        details.push(Detail { item: at, priority: 2, lines: lines.collect() });
        return details;
    }
    if let Entry::Answer(_) = shown {
        let further = prompt.iter().skip(1).take(1);
        let lines = further.map(|text| Line { depth: 0, text: format!("« {text}"), ..Line::default() });
        details.push(Detail { item: at, priority: 3, lines: lines.collect() });
        return details;
    }
    if let Entry::Call(call) = shown {
        if !call.changed.is_empty() {
            add(2, model::changed(call), Style::Plain);
        }
        return details;
    }
    let Some(command) = shown.command() else { return details };
    if let Some(call) = &command.asked {
        for text in model::otherwise(call) {
            add(1, text, Style::Bad);
        }
        add(6, model::asked(call), Style::Dim);
    }
    if let Some(text) = failing(command) {
        add(1, text, Style::Bad);
    }
    let mut network = command.network.clone();
    for other in item.commands(entries).filter(|other| other.seq != command.seq) {
        network.add(&other.network);
    }
    for text in network.denial_lines() {
        add(1, text, Style::Bad);
    }
    if !command.files.is_empty() {
        add(2, lines::changes(&command.files, width), Style::Plain);
    }
    for text in network.reached_lines() {
        add(3, text, Style::Plain);
    }
    if network.beyond > 0 {
        let text = format!("… {} to other hosts", counted(network.beyond, "request, connection or denial"));
        add(4, text, Style::Dim);
    }
    if command.below.total > 2 || (command.below.total > 1 && command.below.failed > 0) {
        add(4, lines::below(&command.below, u64::from(command.failed())), Style::Dim);
    }
    details
}

fn failing(command: &Command) -> Option<String> {
    const NAMED: usize = 4;
    let failed: u64 = command.tests.iter().map(|t| t.failed).sum();
    let names: Vec<&str> = command.tests.iter().flat_map(|t| &t.failing).take(NAMED).map(String::as_str).collect();
    if names.is_empty() {
        return None;
    }
    let more = failed.saturating_sub(names.len() as u64);
    let more = if more > 0 { format!(" … {} more", grouped(more)) } else { String::new() };
    Some(format!("✗ {}{more}", names.join(", ")))
}

/// A few lines of what a command printed: of one that failed those around its error, else all where that is little.
pub(super) fn excerpt(at: usize, command: &Command, heads: &Heads) -> Option<Detail<Line>> {
    let failed = command.failed();
    let output = speaking(command, failed)?;
    if !failed && output.bytes > SHORT {
        return None;
    }
    let line = |text: String| Line { depth: 3, text: format!("│ {text}"), style: Style::Dim, ..Line::default() };
    let texts = match heads.read(&output.blob, READ) {
        Err(Heads::NONE) => return None,
        Err(why) => vec![format!("({} of output, {why})", size(output.bytes))],
        Ok(head) => {
            let rows: Vec<&[u8]> = head.split(|b| *b == b'\n').filter(|row| says_something(row)).collect();
            if !failed && rows.len() > EXCERPT {
                return None;
            }
            let start = if failed { beginning(&rows) } else { 0 };
            rows[start..].iter().take(EXCERPT).map(|row| one_line(shortened(row))).collect()
        }
    };
    if texts.is_empty() {
        return None;
    }
    // Names of failing tests say it better.
    let priority = if failed && failing(command).is_none() { 3 } else { 5 };
    Some(Detail { item: at, priority, lines: texts.into_iter().map(line).collect() })
}

/// Rules and empty lines do not.
fn says_something(row: &[u8]) -> bool {
    shortened(row).iter().any(|b| b.is_ascii_alphanumeric() || !b.is_ascii())
}

/// The output that says most: standard error of what failed, where there is some.
fn speaking(command: &Command, failed: bool) -> Option<&Output> {
    use cofferdam_core::event::Stream;
    // What processes below it told each other by pipes is not what it told the agent.
    let spoken = || command.outputs.iter().filter(|o| o.own && o.bytes > 0 && o.stream != Stream::Terminal);
    spoken().find(|o| failed && o.stream == Stream::Stderr).or_else(|| spoken().next())
}

/// The row where the trouble begins; where no row says so, the last ones.
fn beginning(rows: &[&[u8]]) -> usize {
    const WORDS: &[&[u8]] = &[b"error", b"fail", b"panic", b"traceback", b"fatal", b"cannot", b"not found"];
    let says = |row: &&[u8]| {
        let row = shortened(row).to_ascii_lowercase();
        // A count of no failures is no trouble.
        !row.windows(8).any(|w| w == b"0 failed")
            && WORDS.iter().any(|word| row.windows(word.len()).any(|window| window == *word))
    };
    rows.iter().position(says).unwrap_or(rows.len().saturating_sub(EXCERPT))
}

fn shortened(row: &[u8]) -> &[u8] {
    &row[..row.len().min(400)]
}
