//! Renames of directories that come from a lower layer.
//!
//! overlayfs refuses to rename such a directory (EXDEV: Documentation/filesystems/overlayfs.rst, "renaming
//! directories"), and only such. So nobody renames on the caller's behalf: the monitor is notified of the call and has
//! the directory **purified**, made one of the upper layer alone, at the same path and with the same content. Then the
//! kernel carries out the caller's own call, with the caller's own rights, arguments and error codes. Whoever tricks
//! the monitor or the helper by swapping paths gets another directory purified, which changes no name and no content.
//!
//! The monitor looks ([`hint`]) and decides nothing but whether to ask; the helper, a process inside, confined like
//! the command, works on descriptors that the monitor sends. `docs/design/directory-renames.md` has the decisions.

mod attributes;
mod decide;
mod directory;
pub(crate) mod helper;
mod hint;
#[cfg(test)]
mod killed;
mod pending;
mod protocol;
mod purify;
mod renames;
mod restore;
mod shift;
mod skeleton;
mod undo;

pub use renames::{Leftover, Renames};
pub use restore::{Restored, restore};

pub use cofferdam_core::leftover::{LEFTOVER_PREFIX, is_leftover};
