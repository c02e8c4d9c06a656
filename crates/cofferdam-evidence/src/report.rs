//! What a verification found.

use std::fmt;
use std::ops::Range;

use cofferdam_core::RunId;
use cofferdam_core::change::Digest;
use cofferdam_core::event::BlobRef;
use serde::{Deserialize, Serialize};

use crate::VerifierKey;

/// Size and root of a log at some moment: what a commit's trailer or a witness holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitment {
    /// Lines of the log.
    pub size: u64,
    /// The tree's root at that size.
    pub root: Digest,
}

/// What the person knows from elsewhere.
#[derive(Debug)]
pub struct Options<'a> {
    /// The key that the person trusts. Without it the signatures are checked with the key that the run itself claims,
    /// which proves only that the evidence is of one piece.
    pub trusted: Option<&'a VerifierKey>,
    /// The run that the evidence is said to be of.
    pub run: Option<&'a RunId>,
    /// A commitment that was published: what a person who holds the key cannot go back behind.
    pub witness: Option<Commitment>,
    /// Whether the blobs' contents are read.
    pub blobs: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options { trusted: None, run: None, witness: None, blobs: true }
    }
}

/// The result of a verification.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The verdict.
    pub state: State,
    /// Whose signatures were checked.
    pub signed_by: SignedBy,
    /// The run, where event 0 names it.
    pub run: Option<RunId>,
    /// Whole events read. After a fault: those before it.
    pub events: u64,
    /// Events under the last good checkpoint.
    pub signed: u64,
    /// The tree at the last good checkpoint.
    pub commitment: Option<Commitment>,
    /// Good checkpoints.
    pub checkpoints: u64,
    /// Whether a signed event says that the run ended.
    pub ended: bool,
    /// Bytes at the log's end that are no whole line.
    pub torn: u64,
    /// Bytes at the end of `checkpoints` that are no whole note.
    pub torn_checkpoint: u64,
    /// The statement of the last good checkpoint that carries one.
    pub statement: Option<serde_json::Map<String, serde_json::Value>>,
    /// The largest step backward of the times, where there is one: a clock that was set. The order is the tree's.
    pub clock: Option<ClockStep>,
    /// The blobs that the events name.
    pub blobs: BlobCount,
}

impl Report {
    /// Events after the last good checkpoint: nothing but the file says that they happened.
    pub fn unsigned(&self) -> u64 {
        self.events - self.signed
    }
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Every event is signed, and the run's end is among them.
    Verified,
    /// What is signed is good, but the record stops early: no signed `run.ended`, unsigned events after the last
    /// checkpoint, or a torn end. A run that is still going on looks like this too.
    Cut,
    /// Something is not what was signed.
    Tampered(Fault),
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The check that failed.
    pub check: Check,
    /// The bytes of `log.jsonl` that are not to be believed: before `start` everything passed.
    pub range: Range<u64>,
    /// The event at which it showed, where one can be named.
    pub seq: Option<u64>,
    /// What is wrong, as a clause.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, log bytes {} to {}", self.detail, self.range.start, self.range.end)
    }
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The run's key reads, and is the trusted one where one is given.
    Key,
    /// There is a checkpoint.
    Unsigned,
    /// Checkpoints read.
    CheckpointFormat,
    /// Checkpoints are signed by the key.
    Signature,
    /// Checkpoints are of this run.
    Origin,
    /// Checkpoints do not go back.
    CheckpointOrder,
    /// A checkpoint's root is that of the log's first lines.
    Root,
    /// The log is as long as its checkpoints say.
    Length,
    /// A line is an event.
    Line,
    /// `seq` counts from 0, causes come first, `run.started` is event 0 and no other.
    Sequence,
    /// A blob's content is what its name says.
    Blob,
    /// The log is the one that was published.
    Witness,
}

/// Whose signatures were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// The key that the person trusts.
    Trusted(String),
    /// The key that stands in the run: whoever made the directory could have made that key too.
    Claimed(String),
    /// Nobody: no key was readable.
    Nobody,
}

/// A step backward of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClockStep {
    /// The event whose time is before its predecessor's.
    pub seq: u64,
    /// By how much.
    pub nanoseconds: i64,
}

/// Blobs that events name, each counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobCount {
    /// There; and read and good, unless [`Options::blobs`] was off.
    pub present: u64,
    /// Not there, and a marker says that they were removed on purpose (the marker is not signed).
    pub removed: Vec<BlobRef>,
    /// Not there, and nothing says why.
    pub missing: Vec<BlobRef>,
}
