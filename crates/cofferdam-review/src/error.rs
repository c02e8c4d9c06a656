//! What can go wrong while evidence is read for a person.

use std::io;
use std::path::PathBuf;

/// An error of the reading side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The evidence cannot be read.
    #[error(transparent)]
    Evidence(#[from] cofferdam_evidence::Error),
    /// A system call failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// A log is not a regular file.
    #[error("`{}` is not a regular file: it is not read", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// A line of a growing log is longer than a line may be.
    #[error("`{}` has a line longer than {limit} bytes at byte {at}: it is no log of coffer's", path.display())]
    TooLong {
        /// The log.
        path: PathBuf,
        /// Where the line starts.
        at: u64,
        /// Most bytes of a line.
        limit: usize,
    },
    /// There is no event of that number.
    #[error("the log has no event {seq}: it ends with {last}")]
    NoEvent {
        /// What was asked for.
        seq: u64,
        /// The last event's number.
        last: u64,
    },
    /// An event is not the execution of a command.
    #[error("event {seq} is a {kind}, not a command: `--command` takes the number of a process.exec")]
    NotACommand {
        /// What was asked for.
        seq: u64,
        /// The event's kind.
        kind: &'static str,
    },
    /// A kind of event is not known.
    #[error("no kind of event is called `{name}`: there are {}", known.join(", "))]
    UnknownKind {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// A point in time does not read.
    #[error(
        "`{0}` is neither a duration (90s, 10m, 2h, 3d) nor a time (2026-11-24, 2026-11-24T13:40, 2026-11-24T13:40:01Z; UTC)"
    )]
    When(String),
    /// A pattern does not read.
    #[error("the pattern does not read: {0}")]
    Pattern(#[from] regex::Error),
    /// The index cannot be used.
    #[error("the index `{}` cannot be used: {source}; `coffer index rebuild` makes it anew", path.display())]
    Index {
        /// Its file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// There is nothing in a search that could be found.
    #[error("there is no word in `{0}`: letters or digits are needed")]
    NoWord(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
