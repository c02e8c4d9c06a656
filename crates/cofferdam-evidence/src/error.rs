//! What can go wrong, where, and what to do about it.

use std::io;
use std::path::PathBuf;

use cofferdam_core::change::Digest;

/// An error of the evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    /// A log is there already.
    #[error("`{}` exists: a run has one log; open that one, or take another directory", path.display())]
    Exists {
        /// The file that exists.
        path: PathBuf,
    },
    /// Another process holds the log.
    #[error("`{}` is being written by another process: wait until its run or promotion ends", path.display())]
    Busy {
        /// The log.
        path: PathBuf,
    },
    /// A file is not a regular file.
    #[error("`{}` is not a regular file: it is not read", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// A file is larger than its format allows.
    #[error("`{}` is larger than the {limit} bytes that its format allows", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes.
        limit: u64,
    },
    /// Others can reach the signing key.
    #[error("`{}` has mode {mode:04o}: other users could take the signing key; `chmod {wanted:04o}` it", path.display())]
    KeyMode {
        /// The key file or its directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they have to be.
        wanted: u32,
    },
    /// The signing key belongs to somebody else.
    #[error("`{}` belongs to uid {owner}, not to uid {user}: use a directory of your own", path.display())]
    KeyOwner {
        /// The key file or its directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs.
        user: u32,
    },
    /// A key does not read as a key.
    #[error("{place} is not an Ed25519 key as in C2SP signed-note: {detail}")]
    KeyFormat {
        /// The file, or what else the key came from.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// The system's random source failed.
    #[error("no random bytes from the system: {0}")]
    Random(io::Error),
    /// An event cannot be written as JSON.
    #[error("an event cannot be written as JSON: {0}")]
    Encode(serde_json::Error),
    /// An event is longer than a line may be.
    #[error("an event of {bytes} bytes is longer than the {limit} of a line: put its content into a blob")]
    TooLong {
        /// Bytes of the event.
        bytes: usize,
        /// Most bytes.
        limit: usize,
    },
    /// An event names a cause that does not come before it.
    #[error("event {seq} cannot have event {cause} as its cause: a cause comes first")]
    Cause {
        /// The cause.
        cause: u64,
        /// The event.
        seq: u64,
    },
    /// An earlier write failed half-way and could not be taken back.
    #[error("`{}` ends in half a line that could not be taken back: reopen the log to repair it", path.display())]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
    /// A note could not be signed.
    #[error("a checkpoint could not be signed: {0}")]
    Sign(String),
    /// The search for secret values could not be prepared.
    #[error("the search for secret values cannot be prepared: {0}")]
    Secrets(String),
    /// The log belongs to another key.
    #[error("the run of `{}` was recorded with another key: events can be added only with that one", path.display())]
    OtherKey {
        /// The evidence directory's key file.
        path: PathBuf,
    },
    /// The log is not the one that was signed.
    #[error("`{}` is not what was signed: {detail}; nothing was written, `coffer verify` says more", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// A line or note does not read.
    #[error("`{}` line {line}: {detail}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What is wrong.
        detail: String,
    },
    /// A blob is not there.
    #[error("blob {digest} is missing below `{}`{}", path.display(), if *.removed { ": it was removed on purpose" } else { "" })]
    BlobMissing {
        /// Its name.
        digest: Digest,
        /// The directory of the blobs.
        path: PathBuf,
        /// Whether a marker says that it was removed on purpose.
        removed: bool,
    },
    /// A blob is not what its name says.
    #[error("`{}` is not the blob of that name: {detail}", path.display())]
    BlobContent {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// No event of that number is under a checkpoint.
    #[error("event {seq} of `{}` is under no checkpoint ({signed} events are): there is nothing to prove it by", path.display())]
    NotSigned {
        /// The event.
        seq: u64,
        /// Events under the last checkpoint.
        signed: u64,
        /// The log.
        path: PathBuf,
    },
    /// A proof does not read, or does not prove.
    #[error("the proof does not hold: {0}")]
    Proof(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }
}
