//! The story of a run: what was asked, what was done, what failed, what changed, what the tests said.
//!
//! [`Collector`] takes a run's events one by one and keeps what a story needs, in memory that grows with the commands, not
//! with the events; [`Story::render`] lays it out in a number of lines, and says what it folded.
//!
//! A *command* is what the agent started, itself or by a shell that it feeds; what a command starts in turn (compilers
//! below a build) is counted below it.

mod collect;
mod detail;
mod entry;
mod files;
mod fold;
mod items;
mod lines;
mod model;
mod rank;
mod render;
mod told;
mod totals;
mod traffic;

use std::path::Path;
use std::sync::Arc;

use cofferdam_core::Timestamp;
use cofferdam_core::event::{EndReason, Event, RunAgent, RunEnded, RunStarted};

pub use collect::{Collector, Place};
pub use entry::{Below, Change, Changes, Command, Ending, Entry, Files, Output, Remark, Said, Tests};
pub(crate) use lines::tests;
pub use lines::{clock, outcome, signal_name};
pub(crate) use model::{asked, in_words, otherwise};
pub use render::{Layout, Theme};
pub use totals::Totals;
pub use traffic::Traffic;

use crate::causes::{Answer, Call, Spent};
use crate::{Heads, Result, Tail, parse};

/// What a story is told from.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The first event.
    pub started: Option<RunStarted>,
    /// When the run began.
    pub began: Timestamp,
    /// The last event of the run itself, where it has ended.
    pub ended: Option<(Timestamp, RunEnded)>,
    /// The time of the last event.
    pub last: Timestamp,
    /// The command of the run itself.
    pub root: Option<Command>,
    /// Which agent it is of, where that is known.
    pub agent: Option<RunAgent>,
    /// What models asked for, and what came of it.
    pub calls: Vec<Arc<Call>>,
    /// What models answered.
    pub answers: Vec<Arc<Answer>>,
    /// What requests to models came to.
    pub spent: Spent,
    /// Calls and answers that are not kept.
    pub unkept: u64,
    /// What happened, in order.
    pub entries: Vec<Entry>,
    /// Events.
    pub events: u64,
    /// Lines of the log that do not read as an event this version knows.
    pub unread: u64,
    /// Commands that came after the most that are kept.
    pub beyond: Below,
    /// Paths that hold something else than before the run.
    pub changed: u64,
    /// Paths that changed and hold what they held before the run.
    pub reverted: u64,
    /// What the network came to.
    pub network: Totals,
    /// Bytes at the end of the log that are no whole line.
    pub torn: u64,
    /// Entries before the time that the reader asked for.
    pub earlier: u64,
}

impl Story {
    /// Reads the story of an evidence directory.
    ///
    /// # Errors
    /// Where the log cannot be opened or read. Lines in it that do not read are counted.
    pub fn read(evidence: &Path) -> Result<Story> {
        Story::read_watched(evidence, |_, _| {})
    }

    /// As [`Story::read`]; `watch` sees each event before the story takes it.
    ///
    /// # Errors
    /// As [`Story::read`].
    pub fn read_watched(evidence: &Path, mut watch: impl FnMut(&Collector, &Event)) -> Result<Story> {
        let mut collector = Collector::new(Heads::open(evidence)?);
        let mut tail = Tail::open(evidence)?;
        while let Some(line) = tail.next_line()? {
            match parse(line) {
                Some(event) => {
                    watch(&collector, &event);
                    collector.push(event);
                }
                None => collector.unread(),
            }
        }
        let mut story = collector.finish();
        story.torn = tail.torn();
        Ok(story)
    }

    /// Leaves out what happened before a time.
    pub fn since(&mut self, time: Timestamp) {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.time() >= time);
        self.earlier = (before - self.entries.len()) as u64;
    }

    /// Every command, in order.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.entries.iter().filter_map(Entry::command)
    }

    /// Whether the run's end is known to be its command's own.
    pub fn exited(&self) -> bool {
        self.ended.as_ref().is_some_and(|(_, end)| end.reason == EndReason::Exited)
    }
}
