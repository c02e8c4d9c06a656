//! Decoys: where they stand, and that one was opened.

use serde::{Deserialize, Serialize};

use crate::Bytes;

/// Data of `tripwire.opened`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TripwireOpened {
    /// Where the decoy stood inside, absolute; it may have been renamed since.
    pub path: Bytes,
    /// How often it was opened since the event before this one of the same path. The kernel may count several as one.
    pub count: u64,
    /// The `process.exec` of each command that ran at that time and could have done it, the latest first; bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<u64>,
}
