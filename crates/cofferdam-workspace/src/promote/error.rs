//! What can go wrong in a promotion.

use std::io;
use std::path::{Path, PathBuf};

use cofferdam_core::Bytes;
use serde::{Deserialize, Serialize};

/// A version of a file that has no place in the tree any more and was put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The path in the real tree, relative to its root.
    pub path: Bytes,
    /// Where the version lies now.
    pub at: Bytes,
    /// Why it could not be in its place, as a clause.
    pub why: String,
}

/// An error of planning, promoting, recovering or undoing.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// A system call on a path failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The workspace's side of a path could not be read.
    #[error("cannot read the workspace's {path:?}: {source}")]
    Contents {
        /// The change's path.
        path: Bytes,
        /// The reader's answer.
        source: io::Error,
    },
    /// A change's path is not a plain relative path.
    #[error("{path:?} is not a path relative to the project's root: the change set is not to be trusted")]
    BadPath {
        /// The path as it came.
        path: Bytes,
    },
    /// The workspace's file is not the one the plan was made for.
    #[error("the workspace's {path:?} changed since the plan was made; stop the run or plan again")]
    WorkspaceChanged {
        /// The change's path.
        path: Bytes,
    },
    /// The plan has conflicts that nobody resolved.
    #[error("{count} paths are in conflict, {first:?} first: exclude them, or ask for conflict markers")]
    Conflicts {
        /// How many.
        count: usize,
        /// The first of them.
        first: Bytes,
    },
    /// The plan changes nothing.
    #[error("nothing is to be promoted")]
    NothingToDo,
    /// Somebody changed the real tree between the plan and its application.
    #[error("{path:?}: {what}; plan again")]
    Overtaken {
        /// The path in the real tree.
        path: Bytes,
        /// What was found, as a sentence without a full stop.
        what: String,
    },
    /// Another promotion is at work.
    #[error("another promotion holds the lock on {}; wait for it to end", path.display())]
    Busy {
        /// The locked file or directory.
        path: PathBuf,
    },
    /// An unfinished promotion stands in the way.
    #[error("{} was left by an unfinished promotion ({owner}): continue or abort that one first", path.display())]
    Unfinished {
        /// Its staging directory or journal.
        path: PathBuf,
        /// Whose it is, as far as can be told.
        owner: String,
    },
    /// The staging name is taken by somebody else's entry.
    #[error("{} belongs to uid {uid} or is no private directory of ours; remove it and try again", path.display())]
    ForeignStaging {
        /// The entry.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// The file system lacks `renameat2(RENAME_EXCHANGE)`.
    #[error("the file system of {} cannot exchange two files (renameat2): it cannot be promoted to safely", path.display())]
    NoExchange {
        /// A directory on it.
        path: PathBuf,
    },
    /// A journal does not read as one.
    #[error("{} line {line}: {why}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The journal was written for another root.
    #[error("the promotion was into {recorded:?}, not into {}", given.display())]
    OtherRoot {
        /// The root in the journal.
        recorded: Bytes,
        /// The root that was given.
        given: PathBuf,
    },
    /// There is no such promotion.
    #[error("there is no promotion {number} in {}", run_dir.display())]
    NoSuchPromotion {
        /// The number asked for.
        number: u32,
        /// The run's directory.
        run_dir: PathBuf,
    },
    /// There is no unfinished promotion.
    #[error("no promotion is unfinished in {}", run_dir.display())]
    NothingPending {
        /// The run's directory.
        run_dir: PathBuf,
    },
    /// A promotion that never took place cannot be undone.
    #[error("promotion {number} was rolled back: there is nothing to undo")]
    NotApplied {
        /// The promotion.
        number: u32,
    },
    /// The promotion was undone before.
    #[error("promotion {number} was already undone, by {by}")]
    AlreadyUndone {
        /// The promotion.
        number: u32,
        /// The number of its undo.
        by: u32,
    },
    /// Applying failed, and the tree is as it was before.
    #[error("nothing was changed: {source}{}", kept_text(kept))]
    RolledBack {
        /// What failed.
        source: Box<PromoteError>,
        /// Versions that could not go back into their place, because somebody else's stands there.
        kept: Vec<Kept>,
    },
    /// Applying failed and rolling back as well; the journal is still there.
    #[error("{first}; then rolling back stopped: {source}. Abort the promotion once that is out of the way")]
    RollbackIncomplete {
        /// What failed at first.
        first: Box<PromoteError>,
        /// What stopped the way back.
        source: Box<PromoteError>,
    },
    /// All is in place, but the old versions could not be brought into the store yet.
    #[error(
        "all is in place, but keeping the earlier versions failed: {source}. Continue the promotion once that is out of the way"
    )]
    Unsettled {
        /// What failed.
        source: Box<PromoteError>,
    },
    /// The [`Fault`](super::Fault) hook said stop.
    #[error("killed before {step} {number}")]
    Killed {
        /// The step that would have come next.
        step: &'static str,
        /// Its number.
        number: u64,
    },
}

fn kept_text(kept: &[Kept]) -> String {
    kept.iter().map(|k| format!("; {:?}: {}, the earlier version is {:?}", k.path, k.why, k.at)).collect()
}

impl PromoteError {
    pub(super) fn io(what: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        PromoteError::Io { what, path: path.as_ref().to_owned(), source: source.into() }
    }

    pub(super) fn overtaken(path: &Bytes, what: impl Into<String>) -> Self {
        PromoteError::Overtaken { path: path.clone(), what: what.into() }
    }
}
