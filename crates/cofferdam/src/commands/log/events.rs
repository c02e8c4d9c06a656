//! Events one by one.

use std::io::Write;
use std::path::Path;

use cofferdam_review::{Filter, Heads, event_line, text};

use super::Printing;
use crate::output;

/// Most lines of an output shown that match.
const MATCHES: usize = 3;

/// Prints the events that a filter takes: on a line each, or as they stand in the log.
pub fn events(
    evidence: &Path,
    filter: &Filter,
    json: bool,
    terminal: bool,
    width: usize,
    out: &mut impl Write,
) -> Result<(), Printing> {
    let heads = Heads::open(evidence)?;
    let mut events = cofferdam_evidence::read_events(evidence).map_err(cofferdam_review::Error::from)?;
    let mut unread = 0u64;
    while let Some(event) = events.next() {
        match event {
            Ok(event) if filter.takes(&event, &heads) => {
                if json {
                    raw(events.raw(), terminal, out)?;
                } else {
                    one(&event, filter, &heads, width, out)?;
                }
            }
            Ok(_) => {}
            Err(cofferdam_evidence::Error::Malformed { .. }) => {
                unread += 1;
                // What cannot be read cannot be filtered: only who asks for everything gets it.
                if json && filter.kinds.is_empty() && filter.pattern.is_none() && filter.since.is_none() {
                    raw(events.raw(), terminal, out)?;
                }
            }
            Err(e) => return Err(cofferdam_review::Error::from(e).into()),
        }
    }
    if unread > 0 {
        output::remark(&format!("{} of the log: not an event that this coffer knows", output::counted(unread, "line")));
    }
    Ok(())
}

/// One event, with the lines of its output that match.
pub fn one(
    event: &cofferdam_core::event::Event,
    filter: &Filter,
    heads: &Heads,
    width: usize,
    out: &mut impl Write,
) -> Result<(), Printing> {
    writeln!(out, "{}", event_line(event, heads, width))?;
    let (lines, count) = filter.lines(event, heads, MATCHES);
    for line in &lines {
        let shown = text::one_line(&line[..line.len().min(4096)]);
        writeln!(out, "        │ {}", text::fit(&shown, width.saturating_sub(10)))?;
    }
    let more = count - lines.len() as u64;
    if more > 0 {
        writeln!(out, "        … {} more", output::counted(more, "matching line"))?;
    }
    Ok(())
}

/// A line of the log: byte for byte, or on a terminal with the same meaning and nothing that acts on it.
pub fn raw(line: &[u8], terminal: bool, out: &mut impl Write) -> Result<(), Printing> {
    if terminal {
        out.write_all(output::plain_json(&String::from_utf8_lossy(line)).as_bytes())?;
    } else {
        out.write_all(line)?;
    }
    Ok(out.write_all(b"\n")?)
}
