//! Agents' own transcripts, beside what passed the gateway.
//!
//! The files lie in the agent's home, and whoever ran inside wrote them: they prove nothing, but where they and the
//! exchanges disagree, one of them is not what it says. They are read without following links, to a bound.

mod compare;
mod find;
mod read;

use std::path::Path;

use cofferdam_core::Timestamp;
use serde::Serialize;

use crate::story::Story;
use crate::{Heads, Result};

pub use find::PLACES;
use read::Item;

/// More than a tick of any kernel, in nanoseconds.
const TICK: i64 = 100_000_000;

/// How a transcript and the exchanges disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disagreement {
    /// It passed the gateway and is not in the transcript.
    Missing,
    /// Both have it, and not the same.
    Altered,
    /// Only the transcript has it.
    Only,
}

impl Disagreement {
    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Disagreement::Missing => "not in the transcript",
            Disagreement::Altered => "altered",
            Disagreement::Only => "only in the transcript",
        }
    }
}

/// Something about which they disagree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// How.
    pub how: Disagreement,
    /// `call`, `result` or `message`.
    pub what: &'static str,
    /// The event, where it passed the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<u64>,
    /// The id of the call, safe for a terminal; empty for a message.
    pub id: String,
    /// What passed the gateway, safe for a terminal, shortened.
    pub wire: String,
    /// What the transcript has.
    pub transcript: String,
}

/// What the comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// The files, relative to the home, safe for a terminal.
    pub files: Vec<String>,
    /// Files of other runs: nothing in them passed the gateway in this one.
    pub others: u64,
    /// Calls, results and messages that both have alike.
    pub alike: u64,
    /// The differences; a bounded number.
    pub differences: Vec<Difference>,
    /// Differences that are not named.
    pub more: u64,
    /// Lines and files that were not read: not JSON, or too large.
    pub unread: u64,
    /// The last thing that the agent said by it.
    #[serde(skip)]
    pub last: Option<Vec<u8>>,
}

/// Compares the transcripts that a run left below `home` with its exchanges; `None` where there are none.
///
/// # Errors
/// Where `home` cannot be opened although it is there, or the log not be read.
pub fn compare(evidence: &Path, home: &Path) -> Result<Option<Compared>> {
    let story = Story::read(evidence)?;
    // Times of files are those of the last tick of the kernel's clock, which the log's may be ahead of.
    let found = find::find(home, Timestamp(story.began.0.saturating_sub(TICK)))?;
    if found.files.is_empty() && found.unread == 0 {
        return Ok(None);
    }
    let heads = Heads::open(evidence)?;
    Ok(Some(compare::compare(&story, &heads, found)))
}
