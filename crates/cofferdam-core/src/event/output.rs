//! What commands print, and what their output says of tests.

use serde::{Deserialize, Serialize};

use super::BlobRef;
use crate::Bytes;

/// Data of `command.output`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOutput {
    /// Which stream.
    pub stream: Stream,
    /// How it was read.
    pub source: Source,
    /// Bytes the stream carried in all.
    pub bytes: u64,
    /// Bytes in the middle that were not kept; 0 where all was.
    pub dropped: u64,
    /// The kept content: the first `head` bytes, then, where `dropped` is not 0, the last ones.
    pub blob: BlobRef,
    /// Bytes of the content that come before the gap: all, where there is none.
    pub head: u64,
}

/// A stream of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
    /// Both, where they are one pipe, socket or file (`2>&1`).
    Both,
    /// The run's terminal, as asciicast v2 (<https://docs.asciinema.org/manual/asciicast/v2/>).
    Terminal,
}

/// How output was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// On its way through a pipe.
    Pipe,
    /// On its way through a socket.
    Socket,
    /// From the regular file it was written to, after the command's end.
    File,
    /// From the run's terminal.
    Terminal,
}

/// Data of `test.result`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResult {
    /// `cargo-test`, `nextest`, `pytest`, `unittest`, `jest`, `vitest`, `node-test`, `mocha`, `go-test`, `ctest`, `junit`.
    pub framework: String,
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, errors included.
    pub failed: u64,
    /// Tests that were skipped or ignored.
    pub skipped: u64,
    /// How long they took by the framework's own word, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<u64>,
    /// Names of failing tests, at most a hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<String>,
    /// Set where part of the output was not kept and the framework prints no total at the end: the counts are at least these.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// The report it was read from, relative to the project; absent where it was the command's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Bytes>,
}
