//! What the client and the monitor say to each other.

use cofferdam_core::event::{NetUnpublished, NetworkTotals, RunEnded, TestResult};
use cofferdam_core::{Bytes, RunId};
use cofferdam_enclosure::EnclosureError;
use serde::{Deserialize, Serialize};

/// Most bytes of standard input that are kept.
pub const INPUT_KEPT: usize = 64 * 1024;
/// Most bytes of one [`Ask::Input`] or [`Ask::Message`]: a packet holds them, however JSON writes them.
pub const INPUT_PIECE: usize = 8 * 1024;

/// From the client.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Start this run: plan and record as a memory file, then the run's lock and, with `home`, the home's.
    Start {
        /// Whether the run has its home layer to itself.
        home: bool,
        /// How many listeners, behind the locks, come for each port of the plan that is published.
        listeners: Vec<usize>,
    },
    /// A signal for the command.
    Signal(i32),
    /// The terminal has this size now.
    Resize {
        /// Rows of characters.
        rows: u16,
        /// Columns of characters.
        columns: u16,
    },
    /// The person continued the stopped run.
    Resume,
    /// What comes next on the standard input of an agent, before the command has it; all of them together at most
    /// [`INPUT_KEPT`].
    Input(Bytes),
    /// What a message on the standard input asks ([`crate::spoken`]), before the command has it: at most [`INPUT_KEPT`] bytes, in
    /// pieces.
    Message {
        /// The next piece of its text.
        text: Bytes,
        /// With the last one: the bytes of all of it.
        bytes: Option<u64>,
    },
    /// The standard input of an agent is over.
    InputEnded {
        /// Bytes that it carried in all.
        total: u64,
    },
}

/// From the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Tell {
    /// The command runs.
    Started,
    /// The command was stopped by this signal.
    Stopped(i32),
    /// Everything inside has ended and is settled. The [`Summary`] is a memory file that comes with it: what runs inside
    /// decides how long that is.
    Ended,
    /// A layer of the boundary could not be set up: there was no run.
    NotEnclosed(EnclosureError),
    /// The run could not be recorded or stored: there was no run.
    NotRecorded(String),
    /// The run had to be ended because its evidence could not be written. What it did so far is kept.
    Broken(String),
    /// The command could not be executed; the `errno` of `execve(2)`.
    NotExecuted(i32),
}

/// What the end of a run says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// The run.
    pub run: RunId,
    /// The facts of `run.ended`.
    pub ended: RunEnded,
    /// Lines added and removed in text files, where they were counted.
    pub lines: Option<(u64, u64)>,
    /// Changed paths that will execute on the host once promoted.
    pub attention: u64,
    /// Paths of the real tree that moved on under the run.
    pub moved: u64,
    /// Test runs that were recognised.
    pub test_runs: u64,
    /// What the last of them came to.
    pub last_test: Option<TestResult>,
    /// What left and what did not; absent where nothing tried to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkSummary>,
    /// Decoys that were opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tripwires: Vec<Opened>,
    /// Something the person should know, one line each.
    pub notes: Vec<String>,
}

/// A decoy that was opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// Where it stood inside, absolute.
    pub path: Bytes,
    /// How often it was opened.
    pub count: u64,
}

/// What the end of a run says of its network.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NetworkSummary {
    /// As `run.ended` has them.
    pub totals: NetworkTotals,
    /// Different hosts that connections went to.
    pub hosts: u64,
    /// What was denied, each host, port and reason once, in the order in which they came; bounded.
    pub denied: Vec<Denied>,
    /// Denials of what a known agent does without (telemetry, updates): in the totals, and not in `denied`.
    #[serde(default)]
    pub quiet: u64,
    /// What came of the ports that were published; bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<NetUnpublished>,
    /// Ports at which something inside listened, and that were not published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listened: Vec<u16>,
}

/// What was denied for one reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Denied {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Why, as a word.
    pub reason: String,
    /// Why, in a sentence.
    pub detail: String,
    /// What would allow it.
    pub allow: Option<String>,
    /// How often.
    pub count: u64,
}
