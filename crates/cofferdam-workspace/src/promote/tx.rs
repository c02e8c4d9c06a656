//! A promotion in progress: its journal, its operations, and what lies where.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cofferdam_core::Bytes;
use cofferdam_core::event::FileChanged;
use rustix::fs::{fsync, syncfs};
use rustix::io::Errno;

use super::journal::{Begun, Journal, Kind, Recorded, UNDO_NAME, directory};
use super::lock::Locks;
use super::op::{Action, Op, Touched, joined};
use super::root::{look_at, split};
use super::{Identity, Kept, PromoteError, RootDir, entry, place};

/// Up to so many operations each staged file is synced by itself; beyond, the whole file system is, once.
pub(super) const FEW: usize = 64;

/// Up to so many directories each is synced by itself; beyond, the whole file system is. A flush takes from 0.1 ms to a
/// few.
const MANY_DIRECTORIES: usize = 256;

/// A promotion whose every byte lies on the real tree's file system, and which waits to be put in place with
/// [`apply()`](super::apply()). It holds the locks of the run and of the project.
#[derive(Debug)]
pub struct Staged {
    pub(super) tx: Tx,
    /// What could not be done as the plan says, one sentence each with its path.
    pub notes: Vec<(Bytes, String)>,
}

impl Staged {
    /// The promotion's number within the run.
    pub fn number(&self) -> u32 {
        self.tx.begun.number
    }
}

/// How a promotion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All is in place.
    Applied,
    /// All is as it was before.
    RolledBack,
}

/// What came of a promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its number within the run.
    pub number: u32,
    /// Promotion or undo.
    pub what: Kind,
    /// How it ended.
    pub end: End,
    /// Each path and what it held before and after, for the evidence. Of a promotion that was rolled back: what it
    /// would have changed, empty where it was not staged to the end.
    pub changed: Vec<FileChanged>,
    /// Changed paths that stayed behind.
    pub left: u64,
    /// Directories that were to go and stay, because somebody put something into them.
    pub stayed: Vec<Bytes>,
    /// Versions that could not go back into their place.
    pub kept: Vec<Kept>,
}

#[derive(Debug)]
pub(super) struct Tx {
    pub locks: Locks,
    pub run_dir: PathBuf,
    pub journal: Journal,
    pub begun: Begun,
    /// In the order in which they are carried out.
    pub ops: Vec<Op>,
    pub touched: BTreeMap<Bytes, Touched>,
    /// The staging directories, as far as they are there.
    pub places: Vec<Option<OwnedFd>>,
    /// The directory of old versions.
    pub undo: OwnedFd,
    /// Whether no operation was ever attempted, so that inode change times still tell.
    pub fresh: bool,
    /// Whether everything was put in place, so that old versions may lie in the store already.
    pub applied: bool,
    /// The slots of directories that were to go and stay.
    pub stayed: Vec<u32>,
    pub kept: Vec<Kept>,
}

impl Tx {
    /// Takes up a promotion that its journal knows.
    pub fn reopen(run_dir: &Path, locks: Locks, recorded: Recorded) -> Result<Self, PromoteError> {
        let begun = recorded.begun;
        let root = locks.root.identity()?;
        // The device number of a file system may change over a reboot; the root's inode number does not.
        if root.ino != begun.ino {
            return Err(PromoteError::OtherRoot { recorded: begun.root, given: locks.root.path().to_owned() });
        }
        let mut places = Vec::with_capacity(begun.places.len());
        for host in &begun.places {
            places.push(place::open(&locks.root, host)?);
        }
        Ok(Tx {
            undo: open_undo(run_dir, begun.number)?,
            journal: Journal::reopen(run_dir, begun.number)?,
            run_dir: run_dir.to_owned(),
            locks,
            begun,
            ops: recorded.ops,
            touched: recorded.touched,
            places,
            fresh: false,
            applied: recorded.applied.is_some(),
            stayed: recorded.applied.unwrap_or_default(),
            kept: Vec::new(),
        })
    }

    /// The real tree.
    pub fn root(&self) -> &RootDir {
        &self.locks.root
    }

    /// The path of the directory of old versions.
    pub fn undo_path(&self) -> PathBuf {
        directory(&self.run_dir, self.begun.number).join(UNDO_NAME)
    }

    /// The staging directory of an operation; `None` where it was removed, which happens only at the end.
    pub fn place(&self, op: &Op) -> Option<BorrowedFd<'_>> {
        self.places.get(op.place).and_then(|p| p.as_ref()).map(AsFd::as_fd)
    }

    /// What lies in the operation's slot.
    pub fn lying(&self, op: &Op) -> Result<Option<Identity>, PromoteError> {
        let Some(place) = self.place(op) else { return Ok(None) };
        look_at(place, &op.slot_name()).map_err(|e| self.on(op, "look at the staged", e))
    }

    /// Whether the old version of the operation lies in the directory of old versions.
    pub fn is_kept(&self, op: &Op) -> Result<bool, PromoteError> {
        let there = look_at(self.undo.as_fd(), &op.slot_name());
        Ok(there.map_err(|e| PromoteError::io("look in", self.undo_path(), e))?.is_some())
    }

    /// Whether the operation was carried out: of a `Put`, the staged entry has left its slot; of a `Remove`, the old one
    /// is in the slot or already kept.
    pub fn is_applied(&self, op: &Op) -> Result<bool, PromoteError> {
        let lying = self.lying(op)?;
        match &op.action {
            Action::Put { after, .. } => Ok(!lying.is_some_and(|l| same_inode(&l, after))),
            Action::Remove { .. } => Ok(lying.is_some() || self.is_kept(op)?),
            Action::Mode { entry, to, .. } => {
                Ok(self.at_target(op)?.is_some_and(|t| same_inode(&t, entry) && t.mode == *to))
            }
        }
    }

    /// The directory that holds the target. A link or nothing where it stood means that somebody changed the tree.
    pub fn target<'o>(&self, op: &'o Op) -> Result<(OwnedFd, &'o [u8]), PromoteError> {
        self.root().parent(&op.path).map_err(|e| {
            let dir = Bytes::from(split(&op.path).0);
            match e {
                Errno::LOOP => {
                    PromoteError::overtaken(&op.path, format!("the real tree has a symbolic link at {dir:?}"))
                }
                // openat2(2), RESOLVE_BENEATH: the walk left the root, because somebody moved a directory out of it.
                Errno::XDEV => PromoteError::overtaken(&op.path, format!("{dir:?} was moved out of the tree")),
                Errno::NOTDIR => PromoteError::overtaken(&op.path, format!("{dir:?} is not a directory any more")),
                Errno::NOENT => PromoteError::overtaken(&op.path, format!("the directory {dir:?} is gone")),
                e => self.on(op, "open the directory of", e),
            }
        })
    }

    /// What stands at the target; `None` also where the way there is gone.
    pub fn at_target(&self, op: &Op) -> Result<Option<Identity>, PromoteError> {
        match self.root().look(&op.path) {
            Ok(there) => Ok(there),
            Err(Errno::LOOP | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(self.on(op, "look at", e)),
        }
    }

    /// Whether `seen` is the version that the plan was made against.
    pub fn is_planned(&self, seen: &Identity, planned: &Identity) -> bool {
        if self.fresh {
            return seen.same_version(planned);
        }
        // After a recovery an old version may have been copied to another file system and back.
        seen.same_version(planned)
            || (seen.kind == planned.kind
                && (op_is_dir(seen)
                    || (seen.size, seen.mtime, seen.mode) == (planned.size, planned.mtime, planned.mode)))
    }

    pub fn on(&self, op: &Op, what: &'static str, e: Errno) -> PromoteError {
        PromoteError::io(what, self.root().full(&op.path), e)
    }

    /// Brings every rename so far to the disk: afterwards a journal record may say that they took place.
    ///
    /// Renames are in the directories, both of each, so that syncing these is enough, and waits for nobody else's data as
    /// syncing the file system does. Every directory costs a flush of the device, though.
    pub fn sync(&self) -> Result<(), PromoteError> {
        let mut each = self.touched.len() <= MANY_DIRECTORIES;
        if each {
            for touched in self.touched.keys() {
                match self.root().dir(&touched.0) {
                    Ok(dir) => {
                        fsync(&dir).map_err(|e| PromoteError::io("sync", self.root().full(touched), e))?;
                    }
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    // What cannot be opened for reading cannot be synced by itself.
                    Err(Errno::ACCESS) => each = false,
                    Err(e) => return Err(PromoteError::io("sync", self.root().full(touched), e)),
                }
            }
        }
        for (at, fd) in self.places.iter().enumerate() {
            let Some(fd) = fd else { continue };
            let synced = if each { fsync(fd) } else { syncfs(fd) };
            synced.map_err(|e| PromoteError::io("sync", self.root().full(&self.begun.places[at]), e))?;
        }
        Ok(())
    }

    /// What is to be reported at the end.
    pub fn outcome(self, end: End) -> Outcome {
        outcome(&self.begun, &self.ops, &self.stayed, end, self.kept)
    }
}

fn op_is_dir(identity: &Identity) -> bool {
    super::op::is_dir(identity)
}

/// Whether an entry of a slot is the staged one. The device is left out: it may change over a reboot, and a slot never
/// leaves its file system.
pub(super) fn same_inode(a: &Identity, b: &Identity) -> bool {
    (a.ino, a.kind) == (b.ino, b.kind)
}

/// Opens the directory of old versions of a promotion.
pub(super) fn open_undo(run_dir: &Path, number: u32) -> Result<OwnedFd, PromoteError> {
    let path = directory(run_dir, number).join(UNDO_NAME);
    entry::make_private_dirs(&path).map_err(|e| PromoteError::io("create", &path, e))?;
    Ok(File::open(&path).map_err(|e| PromoteError::io("open", &path, e))?.into())
}

/// What a journal says of a promotion that took place.
pub(super) fn outcome_of(recorded: &Recorded) -> Outcome {
    outcome(&recorded.begun, &recorded.ops, recorded.applied.as_deref().unwrap_or_default(), End::Applied, Vec::new())
}

fn outcome(begun: &Begun, ops: &[Op], left_standing: &[u32], end: End, kept: Vec<Kept>) -> Outcome {
    let stayed = |op: &&Op| left_standing.contains(&op.slot);
    Outcome {
        number: begun.number,
        what: begun.what,
        end,
        changed: joined(ops.iter().filter(|op| !stayed(op))),
        left: begun.left,
        stayed: ops.iter().filter(stayed).map(|op| op.path.clone()).collect(),
        kept,
    }
}
