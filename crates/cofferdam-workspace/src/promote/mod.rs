//! Promotion: bringing (part of) a change set into the real tree, and taking it back.
//!
//! The way of a promotion: [`plan()`] looks at both sides and decides path by path, [`stage()`] puts everything that will
//! be needed on the real tree's own file system, [`apply()`] renames it into place. Between any two of these steps, and
//! within each, a crash may come: [`pending()`] finds the unfinished promotion, [`continue_()`] ends it, [`abort()`] takes
//! it back. [`undo()`] reverses a finished promotion and is itself one, so that it can be undone in turn.
//!
//! Four rules carry the whole:
//! - nothing is written in place and nothing is deleted: a new version is *exchanged* with the old one, an old one is
//!   *renamed away*, and what came out is looked at afterwards. If it is not what was planned against, somebody saved
//!   in between, and it goes back;
//! - every operation can be told done or not done by looking at inode numbers in a directory of our own, so a journal
//!   written once, before the first rename, is enough to go on from any instant in either direction;
//! - what a record of the journal says lies on disk before the record does. `staged`: the bytes of every staged entry
//!   and its name, by syncing each (few) or the file system (many). `applied` and `reverted`: every rename, by syncing the
//!   directories of the tree and of staging. `done`: the old versions, by syncing the store's directory before the one
//!   that they left, and that the staging directories are gone, by syncing the directories that they stood in;
//! - every path is resolved beneath a descriptor of the root without following a link.

mod apply;
mod builder;
mod compare;
mod directories;
mod entry;
mod error;
mod fault;
mod finish;
mod identity;
mod journal;
mod lock;
mod merge;
mod op;
mod place;
mod plan;
mod planner;
mod recover;
mod reverse;
mod root;
mod stage;
mod times;
mod tx;
mod undo;

use std::fs::File;
use std::io;

use cofferdam_core::Bytes;

pub use apply::apply;
pub use error::{Kept, PromoteError};
pub use fault::{Fault, Killed, no_fault};
pub use identity::Identity;
pub use journal::Kind;
pub use plan::{Conflict, ConflictStyle, Decision, Left, Plan, Planned, Selection, Source, Step};
pub use planner::plan;
pub use recover::{Pending, Phase, abort, continue_, pending};
pub use root::RootDir;
pub use stage::{StageOptions, stage};
pub use tx::{End, Outcome, Staged};
pub use undo::{Refused, Undone, finished, latest_applied, undo};

/// The name of the directory in which a promotion stages; never part of a change set.
pub const STAGING_NAME: &str = ".cofferdam-promotion";

/// Where a promotion reads contents from, with several threads.
pub trait Contents: Sync {
    /// The workspace's regular file at `path`, opened for reading without following a link or blocking.
    ///
    /// # Errors
    /// Where it is gone, not a regular file any more, or cannot be opened.
    fn open_new(&self, path: &Bytes) -> io::Result<File>;

    /// The text of the workspace's symbolic link at `path`.
    ///
    /// # Errors
    /// Where it is gone or not a symbolic link any more.
    fn link_new(&self, path: &Bytes) -> io::Result<Bytes>;

    /// The permission bits (`st_mode & 0777`) of the workspace's directory at `path`; `None` where it has none there.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    fn directory_mode(&self, path: &Bytes) -> io::Result<Option<u32>>;

    /// The base of `path`: the content that the run first copied up or replaced; `None` where it was not captured.
    ///
    /// # Errors
    /// Where the captured base cannot be opened.
    fn open_base(&self, path: &Bytes) -> io::Result<Option<File>>;
}
