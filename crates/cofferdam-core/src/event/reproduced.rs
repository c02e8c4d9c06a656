//! Recorded test commands that were repeated, and what came of it.

use serde::{Deserialize, Serialize};

use super::TestResult;
use crate::RunId;

/// Data of `test.reproduced`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReproduced {
    /// The `process.exec` that was repeated, in this log.
    pub command: u64,
    /// The run in which it was repeated; its evidence stays in the store.
    pub run: RunId,
    /// Whether both ended alike and their tests came out alike.
    pub reproduced: bool,
    /// What is recorded of the command.
    pub was: TestOutcome,
    /// What came of it now.
    pub now: TestOutcome,
    /// What lay below the rerun that the recorded command may not have seen.
    #[serde(default, skip_serializing_if = "Since::is_nothing")]
    pub since: Since,
    /// Why there is no comparable outcome: the time limit, a program that is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How a test command ended, and what its tests said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestOutcome {
    /// Its exit code, where it exited and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that killed it, where one did and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// How long it took, in milliseconds; absent where its end is not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<u64>,
    /// What was recognised in its output and reports.
    pub results: Vec<TestResult>,
}

/// What changed between a recorded command and its repetition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// Files that the run changed, whose place in the real tree holds neither the base nor what the run left.
    pub moved: u64,
    /// Other files of the real tree, ignored ones left out, whose inode changed later than the command began.
    pub newer: u64,
    /// Files that the run itself wrote after the command's end; deletions are not told by their time.
    pub edited: u64,
    /// Whether the real tree's HEAD moved (commit, checkout, reset).
    pub head: bool,
}

impl Since {
    /// Whether nothing changed.
    pub fn is_nothing(&self) -> bool {
        *self == Since::default()
    }
}
