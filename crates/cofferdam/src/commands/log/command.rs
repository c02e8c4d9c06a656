//! Everything about one command.

use std::io::{Read, Write};

use cofferdam_core::event::{CommandOutput, ExitSource, Link, ProcessExec, ProcessExit};
use cofferdam_evidence::BlobStore;
use cofferdam_review::story::{clock, signal_name};
use cofferdam_review::text::{counted, duration, fit, one_line, quoted, size};
use cofferdam_review::{Page, Relative, letter, page, stream_name};
use cofferdam_runtime::store::Run;
use cofferdam_workspace::diff::push_visible;

use super::{Printing, events};
use crate::failure::Failure;
use crate::output;

/// Most relatives and files listed.
const LISTED: usize = 20;

/// How it is printed.
pub struct Form {
    /// As the events stand.
    pub json: bool,
    /// What it printed, nothing else.
    pub output: bool,
    /// Standard output is a terminal.
    pub terminal: bool,
    /// Columns.
    pub width: usize,
}

/// Prints what the log says of one command.
pub fn command(run: &Run, seq: u64, form: &Form, out: &mut impl Write) -> Result<(), Printing> {
    let evidence = run.evidence();
    let page = page(&evidence, seq)?;
    if form.output {
        return outputs(run, &page, form.terminal, out);
    }
    if form.json {
        return json(run, &page, form.terminal, out);
    }
    let mut lines = Vec::new();
    describe(&page, run.record.run.short(), &mut lines);
    for line in lines {
        writeln!(out, "{}", fit(&line, form.width))?;
    }
    Ok(())
}

fn describe(page: &Page, run: &str, lines: &mut Vec<String>) {
    let exec = &page.exec;
    lines.push(format!("{} {}", page.seq, argv(exec)));
    let mut fact = |name: &str, text: String| lines.push(format!("  {name:<12}{text}"));
    fact("started", clock(page.time));
    fact(
        "ended",
        page.exit.as_ref().map_or("not in the log: it runs, or the record was cut".to_owned(), |(_, e)| ending(e)),
    );
    fact("pid", format!("{}, its parent {}", exec.pid, exec.parent));
    fact("directory", one_line(&exec.cwd.0));
    fact("program", one_line(&exec.executable.path.0));
    let late = page.image.as_ref().and_then(|image| image.executable.digest);
    match exec.executable.digest.or(late) {
        Some(digest) => fact("sha256", digest.to_string()),
        None => fact("sha256", "not known".to_owned()),
    }
    if let Some(given) = &exec.given {
        fact("given as", one_line(&given.0));
    }
    if exec.unconfirmed {
        fact(
            "arguments",
            "not confirmed: they are those the call was given, and may have been changed meanwhile".to_owned(),
        );
    }
    if exec.arguments.is_some() {
        fact("arguments", "cut above; the whole of them is in the log's blobs".to_owned());
    }
    for (n, argument) in exec.argv.iter().enumerate().take(LISTED) {
        fact(&format!("argv[{n}]"), quoted(&argument.0[..argument.0.len().min(4096)]));
    }
    if exec.argv.len() > LISTED {
        fact(
            "",
            format!(
                "… {}",
                counted((exec.argv.len() - LISTED) as u64, "more argument").replace("more arguments", "more")
            ),
        );
    }
    if let Some(change) = &exec.environment {
        let names =
            |names: &[cofferdam_core::Bytes]| names.iter().map(|n| one_line(&n.0)).collect::<Vec<_>>().join(" ");
        fact("variables", format!("+ {}  − {}", names(&change.added), names(&change.removed)));
    }
    let streams = exec.streams.map(|stream| format!("{stream:?}").to_lowercase());
    fact("streams", format!("input {}, output {}, error {}", streams[0], streams[1], streams[2]));
    for ancestor in &page.ancestors {
        let how = if ancestor.same { "was before" } else { "started by" };
        fact(how, format!("{} {}", ancestor.seq, argv(&ancestor.exec)));
    }
    if page.ancestors.is_empty() && page.link != Some(Link::Parent) {
        fact("started by", "not known: its parent was gone".to_owned());
    }
    related(page, run, lines);
}

fn related(page: &Page, run: &str, lines: &mut Vec<String>) {
    for (seq, by, output) in &page.outputs {
        let whose = if *by == page.seq { String::new() } else { format!(" of {by}") };
        let gap = if output.dropped > 0 {
            format!(", {} in the middle not kept", size(output.dropped))
        } else {
            String::new()
        };
        lines.push(format!("  {seq:>6} printed {} on {}{whose}{gap}", size(output.bytes), stream_name(output.stream)));
    }
    if !page.outputs.is_empty() {
        lines.push(format!("         coffer log {run} --command {} --output prints it", page.seq));
    }
    for (seq, tests) in &page.tests {
        let framework = one_line(tests.framework.as_bytes());
        let (passed, failed, skipped) = (tests.passed, tests.failed, tests.skipped);
        lines.push(format!("  {seq:>6} {framework}: {passed} passed, {failed} failed, {skipped} skipped"));
        lines.extend(tests.failing.iter().map(|name| format!("         ✗ {}", one_line(name.as_bytes()))));
    }
    for (seq, change) in page.files.iter().take(LISTED) {
        let others = change.commands.iter().filter(|by| **by != page.seq).count();
        let or = if others > 0 {
            format!("  ({} could have done it too)", counted(others as u64, "other"))
        } else {
            String::new()
        };
        let status = letter(change);
        lines.push(format!("  {seq:>6} {status} {}{or}", one_line(&change.path.0)));
    }
    more(page.files_count, page.files.len(), "file change", lines);
    for (seq, what) in page.network.iter().take(LISTED) {
        lines.extend(cofferdam_review::network::says(what).map(|said| format!("  {seq:>6} {said}")));
    }
    more(page.network_count, page.network.len(), "network event", lines);
    for below in page.below.iter().take(LISTED) {
        lines.push(format!("  {:>6} {}{}", below.seq, argv(&below.exec), short_ending(below)));
    }
    more(page.below_count, page.below.len(), "process", lines);
}

fn more(count: u64, held: usize, noun: &str, lines: &mut Vec<String>) {
    let rest = count.saturating_sub(held.min(LISTED) as u64);
    if rest > 0 {
        lines
            .push(format!("         … {}", counted(rest, &format!("further {noun}")).replace("processs", "processes")));
    }
}

fn argv(exec: &ProcessExec) -> String {
    let mut text = String::new();
    for argument in &exec.argv {
        if text.len() > 2000 {
            text.push_str(" …");
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&quoted(&argument.0[..argument.0.len().min(2000)]));
    }
    text
}

fn ending(exit: &ProcessExit) -> String {
    let how = match (exit.code, exit.signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("killed by {}", signal_name(signal)),
        (None, None) => "how is not known".to_owned(),
    };
    let memory = exit.memory.map_or(String::new(), |kib| format!(", at least {} of memory", size(kib * 1024)));
    let source = match exit.source {
        ExitSource::Pidfd => "its pidfd",
        ExitSource::Connector => "the process connector",
        ExitSource::Init => "the enclosure's init",
        ExitSource::Unknown => "nothing but that it ended",
        ExitSource::RunEnd => "the end of the run, which killed it",
    };
    format!("{how} after {}{memory} (known from {source})", duration(exit.microseconds))
}

fn short_ending(relative: &Relative) -> String {
    match &relative.exit {
        Some(ProcessExit { code: Some(0), .. }) | None => String::new(),
        Some(exit) => format!("  {}", exit.code.map_or("killed".to_owned(), |code| format!("exit {code}"))),
    }
}

/// The events that the page is made of, as they stand.
fn json(run: &Run, page: &Page, terminal: bool, out: &mut impl Write) -> Result<(), Printing> {
    let mut wanted: Vec<u64> = vec![page.seq];
    wanted.extend(page.ancestors.iter().chain(&page.below).map(|r| r.seq));
    wanted.extend(page.exit.iter().map(|(seq, _)| *seq));
    wanted.extend(page.outputs.iter().map(|(seq, ..)| *seq));
    wanted.extend(page.tests.iter().map(|(seq, _)| *seq));
    wanted.extend(page.files.iter().map(|(seq, _)| *seq));
    wanted.extend(page.network.iter().map(|(seq, _)| *seq));
    wanted.sort_unstable();
    let mut events = cofferdam_evidence::read_events(&run.evidence()).map_err(cofferdam_review::Error::from)?;
    while let Some(event) = events.next() {
        let Ok(event) = event else { continue };
        if wanted.binary_search(&event.seq).is_ok() {
            events::raw(events.raw(), terminal, out)?;
        }
    }
    Ok(())
}

/// What the command printed; of a command whose processes below it printed, theirs.
fn outputs(run: &Run, page: &Page, terminal: bool, out: &mut impl Write) -> Result<(), Printing> {
    let blobs = BlobStore::open(&run.evidence()).map_err(cofferdam_review::Error::from)?;
    let images: Vec<u64> = page.below.iter().filter(|r| r.same && r.exec.pid == page.exec.pid).map(|r| r.seq).collect();
    let is_own = |by: &u64| *by == page.seq || images.contains(by);
    let own = page.outputs.iter().any(|(_, by, _)| is_own(by));
    let chosen: Vec<&CommandOutput> =
        page.outputs.iter().filter(|(_, by, _)| !own || is_own(by)).map(|(_, _, output)| output).collect();
    if chosen.is_empty() {
        output::remark("no output of it was recorded");
    }
    for output in chosen {
        one_output(&blobs, output, terminal, out)?;
    }
    Ok(())
}

fn one_output(blobs: &BlobStore, kept: &CommandOutput, terminal: bool, out: &mut impl Write) -> Result<(), Printing> {
    let gap = format!("[{} not kept]", size(kept.dropped));
    let unread =
        |e: &dyn std::fmt::Display| Printing::from(Failure::new(format!("what it printed cannot be read: {e}")));
    let mut reader = blobs.get(&kept.blob).map_err(cofferdam_review::Error::from)?;
    let mut at = 0u64;
    let mut shown = Shown { terminal, pending: Vec::new() };
    let mut buffer = vec![0; 64 << 10];
    loop {
        let to_gap = if at < kept.head { kept.head - at } else { u64::MAX };
        let most = usize::try_from(to_gap).unwrap_or(usize::MAX).min(buffer.len());
        let read = reader.read(&mut buffer[..most]).map_err(|e| unread(&e))?;
        if read == 0 {
            break;
        }
        shown.write(&buffer[..read], out)?;
        at += read as u64;
        if at == kept.head && kept.dropped > 0 {
            shown.end(out)?;
            if terminal {
                writeln!(out, "\n{gap}")?;
            } else {
                // A pipe gets what the command printed, nothing else.
                output::remark(&format!("{gap} after byte {at}"));
            }
        }
    }
    shown.end(out)
}

/// Output on its way: as it is, or made safe line by line.
struct Shown {
    terminal: bool,
    pending: Vec<u8>,
}

impl Shown {
    /// A line is given out at this length although it goes on.
    const LONGEST: usize = 64 << 10;

    fn write(&mut self, bytes: &[u8], out: &mut impl Write) -> Result<(), Printing> {
        if !self.terminal {
            return Ok(out.write_all(bytes)?);
        }
        self.pending.extend_from_slice(bytes);
        // Characters are not to be torn: what ends in the middle of one waits.
        let whole = self.pending.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let whole = if whole == 0 && self.pending.len() > Self::LONGEST { self.pending.len() } else { whole };
        let rest = self.pending.split_off(whole);
        self.end(out)?;
        self.pending = rest;
        Ok(())
    }

    fn end(&mut self, out: &mut impl Write) -> Result<(), Printing> {
        let mut safe = Vec::new();
        push_visible(&mut safe, &std::mem::take(&mut self.pending));
        Ok(out.write_all(&safe)?)
    }
}
