//! Searching all runs.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use cofferdam_core::Timestamp;
use cofferdam_review::index::Hit;
use cofferdam_review::story::clock;
use cofferdam_review::text::{columns, fit};
use cofferdam_runtime::plan::Host;
use cofferdam_runtime::store::Store;
use serde_json::json;

use super::{LogArgs, width};
use crate::commands::{Answer, index};
use crate::output::{self, Colour};
use crate::pager::Pager;

/// Most hits shown.
const MOST: u32 = 100;

/// Prints where a text occurs, in all runs of the store.
pub fn search(args: &LogArgs, text: &str, host: &Host, store: &Store, colour: Colour) -> Answer {
    let since = args.since.as_deref().map(|when| cofferdam_review::since(when, Timestamp::now())).transpose()?;
    let mut pager = Pager::start(host, io::stdout().is_terminal() && !args.no_pager && !args.json)?;
    let index = index::up_to_date(store)?;
    let mut hits = match &index {
        Some(index) => index.search(text, MOST)?,
        None => Vec::new(),
    };
    hits.retain(|hit| since.is_none_or(|since| hit.time >= since));
    if args.json {
        output::json(&hits.iter().map(facts).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = pager.out();
    let printed = show(&hits, colour.stdout(), &mut out).and_then(|()| out.flush());
    super::finished(printed.map_err(super::Printing::from))?;
    drop(out);
    pager.wait()?;
    if hits.is_empty() {
        output::remark(&format!("nothing of any run has `{}`", output::visible(text.as_bytes())));
    } else if hits.len() == MOST as usize {
        output::remark(&format!("the {MOST} best; further words find fewer"));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(hits: &[Hit], colour: bool, out: &mut impl Write) -> io::Result<()> {
    let width = width();
    for hit in hits {
        let run = hit.run.short();
        let open = match hit.what.as_str() {
            "run" => format!("coffer log {run}"),
            "prompt" => format!("coffer log {run} --kind prompt"),
            "answer" => format!("coffer log {run} --kind model.response"),
            "tool" => format!("coffer log {run} --kind tool"),
            "network" if hit.command.is_empty() => format!("coffer log {run} --kind net,http"),
            "command" | "output" | "tests" | "network" => format!("coffer log {run} --command {}", hit.seq),
            _ if hit.command.is_empty() => format!("coffer log {run} --kind file.changed"),
            _ => format!("coffer log {run} --command {}", hit.seq),
        };
        let left = format!("{run}  {}  {}", clock(hit.time), output::visible(hit.command.as_bytes()));
        let left = fit(left.trim_end(), width.saturating_sub(columns(&open) + 2));
        let pad = width.saturating_sub(columns(&left) + columns(&open));
        writeln!(out, "{left}{}{}", " ".repeat(pad), output::styled(&open, "2", colour))?;
        let name = format!("      {}: ", hit.what);
        let mut room = width.saturating_sub(columns(&name));
        let mut line = name;
        for (n, part) in hit.around.iter().enumerate() {
            let part = fit(part, room);
            room = room.saturating_sub(columns(&part));
            // Matches and what is around them take turns.
            line.push_str(&if n % 2 == 1 { output::styled(&part, "1", colour) } else { part });
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn facts(hit: &Hit) -> serde_json::Value {
    json!({
        "run": hit.run, "seq": hit.seq, "time": hit.time, "where": hit.what, "command": hit.command,
        "text": hit.around.concat(),
    })
}
