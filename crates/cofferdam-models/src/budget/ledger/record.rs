//! A line of the ledger.

use cofferdam_core::{Bytes, RunId};
use serde::{Deserialize, Serialize};

use crate::budget::ask::Used;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Record {
    /// A request may leave.
    Reserve {
        /// Of which run.
        run: RunId,
        /// In which project.
        project: Bytes,
        /// Its number within the run.
        number: u64,
        /// On which day, in days since 1970-01-01.
        day: u32,
        /// What it uses at most.
        used: Used,
    },
    /// A request has ended.
    Settle {
        /// Of which run.
        run: RunId,
        /// Its number.
        number: u64,
        /// What it used; `None` where that is not known.
        used: Option<Used>,
    },
    /// What a run used on a day, in the place of its older records.
    Total {
        /// The run; none for runs that ended long ago.
        run: Option<RunId>,
        /// The project.
        project: Bytes,
        /// The day.
        day: u32,
        /// All of it.
        used: Used,
        /// The last number that the run has given out.
        number: u64,
    },
}

impl Record {
    /// As a line.
    pub(super) fn line(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}
