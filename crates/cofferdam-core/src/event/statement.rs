//! The completeness statement of a run's last checkpoint: what was counted in two ways.

use serde::{Deserialize, Serialize};

/// What the extension line `cofferdam {…}` of the last checkpoint says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Successful execs: `process.exec` events, beside the process connector.
    pub execs: Counted,
    /// Ends of processes that executed something: `process.exit` events, beside the processes known.
    pub exits: Counted,
    /// Paths: those whose last `file.changed` differs from its first, beside the change set of the layer.
    pub files: Counted,
    /// Bytes of teed output: bytes that commands wrote, beside bytes handed on or refused by a closed reader.
    pub output: Counted,
    /// The sum of what is not explained.
    pub unexplained: u64,
    /// What could not be counted in a second way here, and why; sentences for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One thing counted in two ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// In the evidence.
    pub recorded: u64,
    /// The other way; absent where the host offers none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<u64>,
    /// By how much they differ without a reason that the log names (an `evidence.gap`).
    pub unexplained: u64,
}
