//! What ends a run because the output of its commands cannot be kept.

use std::io;
use std::path::PathBuf;

/// Output of commands could not be recorded. What a command does to its own streams is never one of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// A blob could not be written.
    #[error("the output of a command cannot be kept: {0}")]
    Evidence(#[from] cofferdam_evidence::Error),
    /// The start of an output could not be spooled.
    #[error("the output of a command cannot be kept below `{}`: {source}; free space there and run again", path.display())]
    Spool {
        /// The evidence directory.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// A system call on the monitor's own descriptors failed.
    #[error("cannot {action}: {source}; the output of commands could not be recorded")]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// How it failed.
        source: io::Error,
    },
}

impl OutputError {
    pub(super) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> OutputError {
        move |e| OutputError::System { action, source: e.into() }
    }
}
