//! Layers, bases, change set, diff, promotion and undo of a workspace.
//!
//! A workspace is the project as a run sees it: the real tree with the run's overlayfs upper directory over it. This
//! crate reads both as plain data, from the host, and treats everything in the upper directory as hostile.
//!
//! - [`Layers`] opens the directories; [`Capture`] keeps the bases of what the run is about to change.
//! - [`change_set`] says what the run added, changed and deleted; [`diff`] shows it the way git does.

mod bases;
mod beneath;
mod capture;
mod changes;
mod classify;
mod contents;
pub mod diff;
mod dotgit;
mod entry;
mod error;
mod executes;
mod generated;
mod ignored;
mod index;
mod judge;
mod layers;
mod lifecycle;
mod live;
mod store;
mod walk;
mod watch;

pub use capture::{COPY_LIMIT, Capture, Captured};
pub use changes::{ChangeOptions, ChangeSet, change_set};
pub use entry::RealEntry;
pub use error::{Layer, Problem, WorkspaceError};
pub use layers::Layers;
pub use live::{LARGEST_READ, LARGEST_TEXT, Live, Look, Seen, Stamp, text_of};

pub mod promote;
