//! A live run, as it goes on.

use std::io::Write;
use std::time::Duration;

use cofferdam_core::event::EventKind;
use cofferdam_review::story::{Collector, Place};
use cofferdam_review::{Filter, Heads, Tail, parse};
use cofferdam_runtime::store::Run;

use super::{Printing, events};
use crate::failure::Failure;

/// Between two looks at the log.
const PAUSE: Duration = Duration::from_millis(100);

/// How it is printed.
pub struct Form {
    /// As the events stand.
    pub json: bool,
    /// All that the filter takes, not the story's events only.
    pub flat: bool,
    /// Processes below commands, too.
    pub all: bool,
    /// Standard output is a terminal.
    pub terminal: bool,
    /// Columns.
    pub width: usize,
}

/// Prints events as they come, until the run is over.
pub fn follow(run: &Run, filter: &Filter, form: &Form, out: &mut impl Write) -> Result<(), Printing> {
    let heads = Heads::open(&run.evidence())?;
    let mut tail = Tail::open(&run.evidence())?;
    let mut collector = Collector::default();
    loop {
        // Asked first: what a run wrote before it was over is then read for sure.
        let live = run.is_live().map_err(Failure::new)?;
        while let Some(line) = tail.next_line()? {
            // A line that this version cannot read belongs to nothing that could be shown.
            let Some(event) = parse(line) else {
                collector.unread();
                continue;
            };
            let taken = filter.takes(&event, &heads);
            if form.json {
                if taken {
                    events::raw(line, form.terminal, out)?;
                }
                continue;
            }
            let place = collector.push(event.clone());
            if taken && (form.flat || form.all || is_told(&event.what, place)) {
                events::one(&event, filter, &heads, form.width, out)?;
            }
        }
        out.flush()?;
        if !live {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether an event is one of the story's, and not of a process below a command.
fn is_told(what: &EventKind, place: Place) -> bool {
    match what {
        EventKind::ProcessImage(_) => false,
        EventKind::ProcessExec(_) | EventKind::ProcessExit(_) | EventKind::CommandOutput(_) => {
            matches!(place, Place::Command(_))
        }
        _ => true,
    }
}
