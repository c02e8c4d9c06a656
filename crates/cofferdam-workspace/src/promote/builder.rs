//! Staging: making every entry that will be put in place, and writing down every operation.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use cofferdam_core::change::{Digest, FileKind};
use cofferdam_core::{Bytes, Timestamp};
use rustix::fs::{Gid, Mode, fchmod, fchown, fsync, mkdirat, symlinkat, syncfs};
use rustix::io::Errno;

use super::fault::{Fault, step};
use super::journal::{Begun, Journal, Kind, Record, numbers};
use super::lock::lock;
use super::op::{Action, Op, Touched};
use super::recover::unfinished;
use super::root::{look_at, open_file_at, split};
use super::tx::{FEW, Staged, Tx, open_undo};
use super::{Identity, PromoteError, RootDir, compare, entry, place, times};

/// What stood at a path when the plan was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub identity: Identity,
    pub digest: Option<Digest>,
    /// Whether only the digest tells versions apart.
    pub recent: bool,
}

/// A file that is to be staged.
pub(super) struct Slot {
    op: Op,
    before: Option<Before>,
    mode: u32,
    /// Whether it takes over what the real file has and the workspace cannot know.
    replaces: bool,
    /// The group that a new file takes from its directory.
    group: Option<u32>,
}

/// What came of staging a file.
pub(super) struct Written {
    pub length: u64,
    pub digest: Digest,
    notes: Vec<String>,
}

/// A promotion being staged.
pub(super) struct Builder {
    tx: Tx,
    next: u32,
    /// The staging directory for each directory, by index.
    hosts: BTreeMap<Bytes, usize>,
    /// The set-group-ID directories' groups; `None` for directories without the bit.
    groups: BTreeMap<Bytes, Option<u32>>,
    /// Whether each staged file is synced by itself, because there are few.
    pub each_synced: bool,
    notes: Vec<(Bytes, String)>,
}

/// Takes the locks, begins the journal, makes the staging directories, lets `fill` stage, and closes the list of
/// operations. If anything fails the tree is as it was.
///
/// `targets` are the paths at which something will be done, `restore` the modification time that a directory is to have
/// afterwards.
pub(super) fn staged(
    begin: Begin<'_>,
    targets: &[&Bytes],
    fault: &mut Fault<'_>,
    fill: impl FnOnce(&mut Builder, &mut Fault<'_>) -> Result<(), PromoteError>,
    restore: impl Fn(&Bytes) -> Option<Timestamp>,
) -> Result<Staged, PromoteError> {
    let mut builder = Builder::begin(begin, targets, fault)?;
    let built = builder
        .make_places(fault)
        .and_then(|()| fill(&mut builder, fault))
        .and_then(|()| builder.close(restore, fault));
    match built {
        Ok(()) => Ok(Staged { tx: builder.tx, notes: builder.notes }),
        Err(e @ PromoteError::Killed { .. }) => Err(e),
        Err(first) => match builder.give_up(fault) {
            Ok(()) => Err(first),
            Err(e @ PromoteError::Killed { .. }) => Err(e),
            Err(source) => Err(PromoteError::RollbackIncomplete { first: Box::new(first), source: Box::new(source) }),
        },
    }
}

/// What a promotion begins with.
pub(super) struct Begin<'a> {
    pub run_dir: &'a Path,
    pub root: &'a RootDir,
    pub what: Kind,
    pub left: u64,
}

impl Builder {
    fn begin(begin: Begin<'_>, targets: &[&Bytes], fault: &mut Fault<'_>) -> Result<Self, PromoteError> {
        let Begin { run_dir, root, what, left } = begin;
        let locks = lock(run_dir, root)?;
        if let Some(other) = unfinished(run_dir)? {
            let path = super::journal::directory(run_dir, other.begun.number);
            return Err(PromoteError::Unfinished { path, owner: format!("number {}", other.begun.number) });
        }
        let root = &locks.root;
        let mut places: Vec<Bytes> = vec![Bytes::default()];
        let mut hosts = BTreeMap::new();
        let mut staged_in = place::Hosts::default();
        for target in targets {
            let dir = Bytes::from(split(target).0);
            if hosts.contains_key(&dir) {
                continue;
            }
            let host = staged_in.of(root, &dir)?;
            let at = places.iter().position(|p| *p == host).unwrap_or_else(|| {
                places.push(host);
                places.len() - 1
            });
            hosts.insert(dir, at);
        }
        for host in &places {
            place::refuse_existing(root, host)?;
        }
        let number = numbers(run_dir)?.last().map_or(1, |n| n + 1);
        step(fault, "begin", 0)?;
        let mut touched = BTreeMap::new();
        for host in &places {
            touched.insert(host.clone(), times::remember(root, host, None, &[])?);
        }
        let begun = Begun::new(number, what, root, left, places)?;
        let journal = begin_journal(run_dir, &begun, &touched).map_err(|first| {
            // Nothing but the journal was made yet: on a full disk it must not stand in the way of later promotions.
            let dir = super::journal::directory(run_dir, number);
            match std::fs::remove_dir_all(&dir) {
                Ok(()) => first,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => first,
                Err(e) => {
                    let source = Box::new(PromoteError::io("remove", dir, e));
                    PromoteError::RollbackIncomplete { first: Box::new(first), source }
                }
            }
        })?;
        let tx = Tx {
            undo: open_undo(run_dir, number)?,
            run_dir: run_dir.to_owned(),
            places: begun.places.iter().map(|_| None).collect(),
            locks,
            journal,
            begun,
            ops: Vec::new(),
            touched,
            fresh: true,
            applied: false,
            stayed: Vec::new(),
            kept: Vec::new(),
        };
        let each_synced = targets.len() <= FEW;
        Ok(Builder { tx, next: 0, hosts, groups: BTreeMap::new(), each_synced, notes: Vec::new() })
    }

    fn make_places(&mut self, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        for at in 0..self.tx.begun.places.len() {
            step(fault, "place", at as u64)?;
            let host = &self.tx.begun.places[at];
            let owner = super::journal::directory(&self.tx.run_dir, self.tx.begun.number);
            let place = place::make(&self.tx.locks.root, host, &owner)?;
            place::probe_exchange(&place, &self.tx.locks.root.full(host))?;
            self.tx.places[at] = Some(place);
        }
        Ok(())
    }

    fn give_up(&mut self, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        self.tx.ops.clear();
        self.tx.clear_away(fault)
    }

    pub fn root(&self) -> &RootDir {
        self.tx.root()
    }

    /// Takes a slot for a file that is to be put at `path`. [`Builder::write`] makes it, [`Builder::written`] takes note.
    pub fn slot_for_file(&mut self, path: &Bytes, before: Option<Before>, mode: u32) -> Result<Slot, PromoteError> {
        let op = self.op(path, before.as_ref());
        let replaces = before.is_some_and(|b| b.identity.kind == FileKind::File);
        let group = if replaces { None } else { group(self.tx.root(), &mut self.groups, split(path).0)? };
        Ok(Slot { op, before, mode, replaces, group })
    }

    /// Makes the file of a slot, with the bytes of `content`. Changes nothing of ours, so that several can be made at
    /// once.
    pub fn write(&self, slot: &Slot, content: impl Read) -> Result<Written, PromoteError> {
        let path = &slot.op.path;
        let (place, name) = (self.tx.staging(&slot.op)?, slot.op.slot_name());
        let on_error = |e: std::io::Error| PromoteError::io("stage", self.tx.root().full(path), e);
        let file = entry::create_file(place, &name).map_err(on_error)?;
        let (length, digest) = entry::copy_hashing(content, &file).map_err(on_error)?;
        let mut notes = Vec::new();
        if slot.replaces {
            notes = self.inherit(path, file.as_fd()).map_err(on_error)?;
        } else if let Some(group) = slot.group {
            fchown(&file, None, Some(Gid::from_raw(group))).map_err(|e| on_error(e.into()))?;
        }
        fchmod(&file, Mode::from_raw_mode(slot.mode)).map_err(|e| on_error(e.into()))?;
        if self.each_synced {
            fsync(&file).map_err(|e| on_error(e.into()))?;
        }
        Ok(Written { length, digest, notes })
    }

    /// Takes note of a slot whose file was made.
    pub fn written(&mut self, slot: Slot, written: Written) -> Result<(), PromoteError> {
        let Slot { mut op, before, .. } = slot;
        op.new_digest = Some(written.digest);
        self.notes.extend(written.notes.into_iter().map(|n| (op.path.clone(), n)));
        self.put(op, before)
    }

    /// Attributes and ownership of the real file; one that cannot be read keeps them only in the store.
    fn inherit(&self, path: &Bytes, file: BorrowedFd<'_>) -> std::io::Result<Vec<String>> {
        let (dir, name) = self.tx.root().parent(path)?;
        match open_file_at(dir.as_fd(), name) {
            Ok((real, _)) => entry::inherit(real.as_fd(), file),
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                Ok(vec!["its attributes could not be read and are not kept".to_owned()])
            }
            Err(e) => Err(e),
        }
    }

    /// Stages a symbolic link.
    pub fn put_link(&mut self, path: &Bytes, before: Option<Before>, text: &Bytes) -> Result<(), PromoteError> {
        let mut op = self.op(path, before.as_ref());
        symlinkat(text.as_os_str(), self.tx.staging(&op)?, op.slot_name()).map_err(|e| self.tx.on(&op, "stage", e))?;
        op.new_digest = Some(compare::sha256(&text.0));
        self.put(op, before)
    }

    /// Stages an empty directory. It is writable until everything is in it.
    pub fn put_dir(&mut self, path: &Bytes, mode: u32) -> Result<(), PromoteError> {
        let op = self.op(path, None);
        let name = op.slot_name();
        let on_error = |e: Errno| self.tx.on(&op, "stage", e);
        let place = self.tx.staging(&op)?;
        mkdirat(place, &name[..], Mode::RWXU).map_err(on_error)?;
        let group = group(self.tx.root(), &mut self.groups, split(path).0)?;
        let mut mode = mode;
        let made = look_at(place, &name).map_err(on_error)?.ok_or_else(|| on_error(Errno::NOENT))?;
        if let Some(group) = group {
            rustix::fs::chownat(
                place,
                &name[..],
                None,
                Some(Gid::from_raw(group)),
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(on_error)?;
            mode |= 0o2000;
        }
        entry::set_mode(place, &name, &made, mode | 0o700).map_err(on_error)?;
        self.groups.insert(path.clone(), group);
        self.put_made_dir(op, mode)
    }

    /// Stages a copy of an entry of one of our own directories, with everything that it has, and the mode `mode`.
    pub fn put_copy(
        &mut self,
        path: &Bytes,
        before: Option<Before>,
        from: BorrowedFd<'_>,
        slot: u32,
        mode: u32,
    ) -> Result<(), PromoteError> {
        let mut op = self.op(path, before.as_ref());
        op.restores = Some(slot);
        let name = slot.to_string().into_bytes();
        let on_error = |e: std::io::Error| PromoteError::io("stage", self.tx.root().full(path), e);
        let source = look_at(from, &name).map_err(|e| on_error(e.into()))?;
        let kind = source.ok_or_else(|| on_error(std::io::ErrorKind::NotFound.into()))?.kind;
        let staged_mode = if kind == FileKind::Directory { mode | 0o700 } else { mode };
        let place = self.tx.staging(&op)?;
        let digest = entry::copy(from, &name, place, &op.slot_name(), staged_mode, self.each_synced);
        op.new_digest = digest.map_err(on_error)?;
        if kind == FileKind::Directory { self.put_made_dir(op, mode) } else { self.put(op, before) }
    }

    /// What stands at `path` is to go.
    pub fn remove(&mut self, path: &Bytes, before: Before, optional: bool) -> Result<(), PromoteError> {
        let mut op = self.op(path, Some(&before));
        op.action = Action::Remove { before: before.identity, optional };
        self.tx.ops.push(op);
        Ok(())
    }

    /// The mode of what stands at `path` is to change.
    pub fn mode(&mut self, path: &Bytes, entry: Identity, from: u32, to: u32) {
        let mut op = self.op(path, None);
        op.action = Action::Mode { entry, from, to };
        self.tx.ops.push(op);
    }

    fn op(&mut self, path: &Bytes, before: Option<&Before>) -> Op {
        let slot = self.next;
        self.next += 1;
        let nothing = Identity {
            dev: 0,
            ino: 0,
            kind: FileKind::File,
            mode: 0,
            size: 0,
            mtime: Timestamp(0),
            ctime: Timestamp(0),
            links: 0,
            uid: 0,
            gid: 0,
        };
        Op {
            path: path.clone(),
            slot,
            place: self.hosts.get(&Bytes::from(split(path).0)).copied().unwrap_or(0),
            action: Action::Put { before: None, after: nothing },
            old_digest: before.and_then(|b| b.digest),
            recent: before.is_some_and(|b| b.recent),
            new_digest: None,
            restores: None,
        }
    }

    fn put(&mut self, mut op: Op, before: Option<Before>) -> Result<(), PromoteError> {
        let on_error = |e: Errno| self.tx.on(&op, "look at the staged", e);
        let after = look_at(self.tx.staging(&op)?, &op.slot_name()).map_err(on_error)?;
        let after = after.ok_or_else(|| on_error(Errno::NOENT))?;
        op.action = Action::Put { before: before.map(|b| b.identity), after };
        self.tx.ops.push(op);
        Ok(())
    }

    fn put_made_dir(&mut self, op: Op, mode: u32) -> Result<(), PromoteError> {
        let path = op.path.clone();
        self.put(op, None)?;
        if let Some(Op { action: Action::Put { after, .. }, .. }) = self.tx.ops.last()
            && after.mode != mode
        {
            let after = *after;
            self.mode(&path, after, after.mode, mode);
        }
        Ok(())
    }

    /// Brings what is staged to the disk, then the list of operations.
    fn close(
        &mut self,
        restore: impl Fn(&Bytes) -> Option<Timestamp>,
        fault: &mut Fault<'_>,
    ) -> Result<(), PromoteError> {
        self.tx.ops.sort_by(Op::order);
        step(fault, "staged-sync", 0)?;
        for (at, place) in self.tx.places.iter().enumerate() {
            let Some(place) = place else { continue };
            let synced = if self.each_synced { fsync(place) } else { syncfs(place) };
            synced.map_err(|e| PromoteError::io("sync", self.tx.root().full(&self.tx.begun.places[at]), e))?;
        }
        step(fault, "journal", 0)?;
        let mut changes = times::touched_by(&self.tx.ops);
        for host in &self.tx.begun.places {
            changes.entry(host.clone()).or_default();
        }
        for (dir, names) in changes {
            let noted = self.tx.touched.get(&dir).map(|t| t.mtime);
            let mut touched = times::remember(self.tx.root(), &dir, noted, &names)?;
            touched.restore = restore(&dir);
            self.tx.journal.append(&Record::Touched(touched.clone()))?;
            self.tx.touched.insert(dir, touched);
        }
        for op in &self.tx.ops {
            self.tx.journal.append(&Record::Op(op.clone()))?;
        }
        self.tx.journal.sync()?;
        step(fault, "staged", 0)?;
        self.tx.journal.mark(&Record::Staged { ops: self.tx.ops.len() })
    }
}

fn begin_journal(run_dir: &Path, begun: &Begun, touched: &BTreeMap<Bytes, Touched>) -> Result<Journal, PromoteError> {
    let mut journal = Journal::create(run_dir, begun.clone())?;
    for remembered in touched.values() {
        journal.append(&Record::Touched(remembered.clone()))?;
    }
    journal.sync()?;
    Ok(journal)
}

/// The group that new entries of a directory take: its own if it is set-group-ID (mkdir(2)), else `None`.
fn group(root: &RootDir, groups: &mut BTreeMap<Bytes, Option<u32>>, dir: &[u8]) -> Result<Option<u32>, PromoteError> {
    let dir = Bytes::from(dir);
    if let Some(known) = groups.get(&dir) {
        return Ok(*known);
    }
    let seen = if dir.0.is_empty() {
        Some(root.identity()?)
    } else {
        root.look(&dir).map_err(|e| PromoteError::io("look at", root.full(&dir), e))?
    };
    let group = seen.filter(|s| s.mode & 0o2000 != 0).map(|s| s.gid);
    groups.insert(dir, group);
    Ok(group)
}
