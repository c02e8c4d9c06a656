//! The operations of a promotion, as the journal has them.
//!
//! Each moves one entry between a *target* in the tree and a *slot* in a staging directory of ours. Who lies in the slot
//! tells whether the operation was carried out.

use std::cmp::Ordering;

use cofferdam_core::change::{Digest, Entry, FileKind};
use cofferdam_core::event::FileChanged;
use cofferdam_core::{Bytes, Timestamp};
use serde::{Deserialize, Serialize};

use super::Identity;
use super::root::split;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Op {
    /// The target, relative to the root.
    pub path: Bytes,
    /// Its slot's name, as a number; also its name in the directory of old versions.
    pub slot: u32,
    /// The staging directory, as an index into the journal's list.
    pub place: usize,
    /// What is done.
    pub action: Action,
    /// SHA-256 of what was in place, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_digest: Option<Digest>,
    /// Whether what was in place was so recent that only its digest tells versions apart.
    #[serde(default)]
    pub recent: bool,
    /// SHA-256 of what comes into place, for files and links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_digest: Option<Digest>,
    /// For an undo: the slot that is restored, in the undone promotion's directory of old versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u32>,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(super) enum Action {
    /// What lies in the slot goes into place; what stood there, if anything, comes into the slot.
    Put {
        /// What stood there.
        before: Option<Identity>,
        /// What was staged.
        after: Identity,
    },
    /// What stands there goes into the slot.
    Remove {
        /// What stood there.
        before: Identity,
        /// Whether a directory that is not empty may stay.
        optional: bool,
    },
    /// The mode changes.
    Mode {
        /// The entry, as it was when the operation was planned.
        entry: Identity,
        /// Before, `07777`.
        from: u32,
        /// After, `07777`.
        to: u32,
    },
}

/// The times and names of a directory in which entries come or go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Touched {
    /// The directory, relative to the root (empty: the root).
    pub path: Bytes,
    /// Its inode number; 0 where an operation of this promotion makes it.
    pub ino: u64,
    /// Its modification time before.
    pub mtime: Timestamp,
    /// SHA-256 over the sorted names in it before.
    pub names: Digest,
    /// The same as it will be once all is in place, if nobody else comes or goes.
    pub names_after: Digest,
    /// The modification time that it is to have afterwards; `None`: whatever the changes leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Timestamp>,
}

impl Op {
    /// The slot's name.
    pub fn slot_name(&self) -> Vec<u8> {
        self.slot.to_string().into_bytes()
    }

    /// The order in which operations are carried out: directories are made writable, old entries go (innermost first),
    /// new ones come (outermost first), remaining modes change (innermost first).
    pub fn order(a: &Op, b: &Op) -> Ordering {
        let phase = |op: &Op| match &op.action {
            Action::Mode { from, to, .. } if to & !from & 0o300 != 0 => 0,
            Action::Remove { .. } => 1,
            Action::Put { .. } => 2,
            Action::Mode { .. } => 3,
        };
        let outermost_first = a.path.cmp(&b.path);
        phase(a).cmp(&phase(b)).then(if phase(a) % 2 == 1 { outermost_first.reverse() } else { outermost_first })
    }

    /// The directory in which an entry comes or goes, and whether its name is new or goes; `None` where names stay.
    pub fn name_change(&self) -> Option<(&[u8], &[u8], bool)> {
        let (dir, name) = split(&self.path);
        match &self.action {
            Action::Put { before: None, .. } => Some((dir, name, true)),
            Action::Remove { .. } => Some((dir, name, false)),
            _ => None,
        }
    }

    /// Whether the operation changes the times of the directory above it.
    pub fn touches_parent(&self) -> bool {
        !matches!(self.action, Action::Mode { .. })
    }

    /// As one path of the evidence. Operations on one path (an entry of another kind is removed before) are joined by
    /// [`joined`].
    fn changed(&self) -> FileChanged {
        let (before, after): (Option<Entry>, Option<Entry>) = match &self.action {
            Action::Put { before, after } => {
                (before.map(|b| b.entry(self.old_digest)), Some(after.entry(self.new_digest)))
            }
            Action::Remove { before, .. } => (Some(before.entry(self.old_digest)), None),
            Action::Mode { entry, from, to } => {
                let with = |mode| Entry { mode, ..entry.entry(self.new_digest) };
                (Some(with(*from)), Some(with(*to)))
            }
        };
        FileChanged::new(self.path.clone(), before, after)
    }
}

/// The operations as the evidence has them: one entry a path, sorted.
pub(super) fn joined<'a>(ops: impl Iterator<Item = &'a Op>) -> Vec<FileChanged> {
    let mut out = std::collections::BTreeMap::<Bytes, FileChanged>::new();
    for op in ops {
        let next = op.changed();
        match out.get_mut(&op.path) {
            None => drop(out.insert(op.path.clone(), next)),
            // A directory that is made and then gets its mode was nothing before.
            Some(first) if matches!(op.action, Action::Mode { .. }) => first.after = next.after,
            Some(first) => {
                first.before = first.before.take().or(next.before);
                first.after = next.after.or(first.after.take());
            }
        }
    }
    out.into_values().collect()
}

/// Whether an entry is a directory.
pub(super) fn is_dir(identity: &Identity) -> bool {
    identity.kind == FileKind::Directory
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(path: &str, action: Action) -> Op {
        Op {
            path: path.into(),
            slot: 0,
            place: 0,
            action,
            old_digest: None,
            recent: false,
            new_digest: None,
            restores: None,
        }
    }

    fn identity() -> Identity {
        Identity {
            dev: 1,
            ino: 2,
            kind: FileKind::File,
            mode: 0o644,
            size: 0,
            mtime: Timestamp(0),
            ctime: Timestamp(0),
            links: 1,
            uid: 0,
            gid: 0,
        }
    }

    #[test]
    fn inner_entries_go_before_and_come_after_the_directories_that_hold_them() {
        let remove = |path| op(path, Action::Remove { before: identity(), optional: false });
        let put = |path| op(path, Action::Put { before: None, after: identity() });
        let mut ops = [put("d/e"), remove("a"), put("d"), remove("a/b"), remove("a/b/c"), remove("a-b"), put("d-e")];
        ops.sort_by(Op::order);
        let at = |path: &str| ops.iter().position(|o| o.path == path.into()).unwrap();
        assert!(at("a/b/c") < at("a/b") && at("a/b") < at("a"));
        assert!(at("a") < at("d") && at("d") < at("d/e"));
    }
}
