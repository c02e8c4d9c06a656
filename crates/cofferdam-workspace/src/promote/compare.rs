//! Holding the sides of one change against each other.

use std::io::{self, Read};

use cofferdam_core::Bytes;
use cofferdam_core::change::{BaseState, Change, Digest, Entry, FileKind};
use sha2::{Digest as _, Sha256};

use super::merge::{self, Merged};
use super::plan::{Conflict, ConflictStyle, Decision, Source, Step};
use super::planner::Planner;
use super::{Contents, Identity, PromoteError, RootDir, entry};

/// A modification time younger than this, in nanoseconds, does not tell two versions apart: FAT counts in two seconds,
/// everything else in less.
const RECENT: i64 = 2_000_000_000;

/// Reads the three sides of a text merge and merges them.
pub(super) fn merged(
    root: &RootDir,
    contents: &dyn Contents,
    path: &Bytes,
    with_base: bool,
    style: &ConflictStyle,
) -> Result<Result<Merged, Conflict>, PromoteError> {
    let on_workspace = |e| PromoteError::Contents { path: path.clone(), source: e };
    let base = match with_base.then(|| contents.open_base(path).map_err(on_workspace)).transpose()? {
        Some(Some(file)) => merge::read_limited(file).map_err(on_workspace)?,
        Some(None) => return Ok(Err(Conflict::BaseUnknown)),
        None => Some(Vec::new()),
    };
    let real = root
        .open_file(path)
        .and_then(|(file, _)| merge::read_limited(file))
        .map_err(|e| PromoteError::io("read", root.full(path), e))?;
    let new = contents.open_new(path).and_then(merge::read_limited).map_err(on_workspace)?;
    let (Some(base), Some(real), Some(new)) = (base, real, new) else { return Ok(Err(Conflict::TooLarge)) };
    let label = match style {
        ConflictStyle::Markers { label } => label,
        ConflictStyle::Refuse => "run",
    };
    Ok(merge::merge_text(&base, &real, &new, label))
}

/// What the comparison of the sides came to.
pub(super) struct Verdict {
    pub decision: Decision,
    pub step: Option<Step>,
    pub clears: bool,
}

impl Verdict {
    fn take(step: Step) -> Self {
        Verdict { decision: Decision::Take, step: Some(step), clears: false }
    }

    fn conflict(why: Conflict) -> Self {
        Verdict { decision: Decision::Conflict { why, markers: false }, step: None, clears: false }
    }

    fn there() -> Self {
        Verdict { decision: Decision::AlreadyThere, step: None, clears: false }
    }
}

impl Planner<'_> {
    /// Holds the change against what the real tree has at its path.
    pub(super) fn compare(&self, change: &Change, real: Option<Identity>) -> Result<Verdict, PromoteError> {
        let Some(new) = &change.new else { return self.compare_deletion(change, real) };
        let Some(real) = real else {
            return Ok(match &change.old {
                None => Verdict::take(fresh(new)),
                Some(_) => Verdict::conflict(Conflict::DeletedThere),
            });
        };
        if real.kind != new.kind {
            return self.compare_kinds(change, new, &real);
        }
        match new.kind {
            FileKind::Directory => Ok(compare_directory_modes(change, new, &real)),
            FileKind::Symlink => self.compare_links(change, &real),
            _ => self.compare_files(change, new, &real),
        }
    }

    fn compare_deletion(&self, change: &Change, real: Option<Identity>) -> Result<Verdict, PromoteError> {
        let (Some(real), Some(old)) = (real, &change.old) else { return Ok(Verdict::there()) };
        if real.kind != old.kind {
            return Ok(Verdict::conflict(Conflict::DeletedHere));
        }
        Ok(match self.real_is_base(change, old, &real)? {
            Ok(true) => Verdict::take(Step::Remove),
            Ok(false) => Verdict::conflict(Conflict::DeletedHere),
            Err(why) => Verdict::conflict(why),
        })
    }

    /// The run made something of another kind than the real tree has.
    fn compare_kinds(&self, change: &Change, new: &Entry, real: &Identity) -> Result<Verdict, PromoteError> {
        let Some(old) = &change.old else { return Ok(Verdict::conflict(Conflict::Kinds)) };
        if old.kind != real.kind {
            return Ok(Verdict::conflict(Conflict::Kinds));
        }
        Ok(match self.real_is_base(change, old, real)? {
            Ok(true) => Verdict { clears: true, ..Verdict::take(fresh(new)) },
            Ok(false) => Verdict::conflict(Conflict::Kinds),
            Err(why) => Verdict::conflict(why),
        })
    }

    fn compare_links(&self, change: &Change, real: &Identity) -> Result<Verdict, PromoteError> {
        let wanted = self
            .contents
            .link_new(&change.path)
            .map_err(|e| PromoteError::Contents { path: change.path.clone(), source: e })?;
        let present = entry::read_link(self.root, &change.path)
            .map_err(|e| PromoteError::io("read the link", self.root.full(&change.path), e))?;
        if present == wanted {
            return Ok(Verdict::there());
        }
        let Some(old) = &change.old else { return Ok(Verdict::conflict(Conflict::BothAdded)) };
        if old.kind != FileKind::Symlink {
            return Ok(Verdict::conflict(Conflict::Kinds));
        }
        Ok(match self.real_is_base(change, old, real)? {
            Ok(true) => Verdict::take(Step::Link),
            Ok(false) => Verdict::conflict(Conflict::Link),
            Err(why) => Verdict::conflict(why),
        })
    }

    fn compare_files(&self, change: &Change, new: &Entry, real: &Identity) -> Result<Verdict, PromoteError> {
        let path = &change.path;
        let base_mode = change.old.as_ref().filter(|o| o.kind == FileKind::File).map(|o| o.mode);
        let mode =
            merge::merge_modes(base_mode.unwrap_or(real.mode), real.mode, base_mode.map_or(real.mode, |_| new.mode));
        if self.same_content(path, new, real)? {
            if base_mode.is_none() && (new.mode ^ real.mode) & 0o100 != 0 {
                return Ok(Verdict::conflict(Conflict::Modes));
            }
            return Ok(match mode {
                None => Verdict::conflict(Conflict::Modes),
                Some(mode) if mode == real.mode => Verdict::there(),
                Some(to) => Verdict::take(Step::Mode { from: real.mode, to }),
            });
        }
        let Some(old) = &change.old else { return self.merge(change, false, new.mode & 0o777, Conflict::BothAdded) };
        if old.kind != FileKind::File {
            return Ok(Verdict::conflict(Conflict::Kinds));
        }
        let Some(mode) = mode else { return Ok(Verdict::conflict(Conflict::Modes)) };
        // New content never runs under set-id bits that were granted to the old.
        let taken = mode & 0o777;
        Ok(match self.real_is_base(change, old, real)? {
            Ok(true) => Verdict::take(Step::Write { source: Source::Workspace, mode: taken }),
            Ok(false) if self.workspace_is_base(path, new)? => match mode == real.mode {
                true => Verdict::there(),
                false => Verdict::take(Step::Mode { from: real.mode, to: mode }),
            },
            Ok(false) => self.merge(change, true, taken, Conflict::SameLines)?,
            Err(why) => Verdict::conflict(why),
        })
    }

    fn merge(&self, change: &Change, with_base: bool, mode: u32, why: Conflict) -> Result<Verdict, PromoteError> {
        Ok(match merged(self.root, self.contents, &change.path, with_base, &self.selection.conflicts)? {
            Err(why) => Verdict::conflict(why),
            Ok(Merged::Clean(content)) if with_base => {
                let source = Source::Merged(sha256(&content));
                Verdict { decision: Decision::Merge, step: Some(Step::Write { source, mode }), clears: false }
            }
            Ok(Merged::Clean(content) | Merged::Marked(content)) => {
                let asked = matches!(self.selection.conflicts, ConflictStyle::Markers { .. });
                let source = Source::Marked(sha256(&content));
                Verdict {
                    decision: Decision::Conflict { why, markers: true },
                    step: asked.then_some(Step::Write { source, mode }),
                    clears: false,
                }
            }
        })
    }

    /// Whether the real tree still holds the base, or why that cannot be told.
    fn real_is_base(
        &self,
        change: &Change,
        old: &Entry,
        real: &Identity,
    ) -> Result<Result<bool, Conflict>, PromoteError> {
        if old.kind == FileKind::Directory {
            return Ok(Ok(true));
        }
        if change.base == BaseState::Unknown {
            return Ok(Err(Conflict::BaseUnknown));
        }
        let same_stat = old.size == real.size && old.mtime == real.mtime;
        let recent = self.is_recent(real);
        if change.base == BaseState::Unchanged && same_stat && (!recent || old.digest.is_none()) {
            return Ok(Ok(true));
        }
        if let Some(digest) = old.digest {
            let same = old.size == real.size && self.real_digest(&change.path, real.kind)? == digest;
            return Ok(if same || change.base == BaseState::Moved { Ok(same) } else { Err(Conflict::Stale) });
        }
        if change.base == BaseState::Unchanged || old.kind == FileKind::Symlink {
            // Without a captured base or its digest, "the base" would be whatever the real tree holds now.
            return Ok(if change.base == BaseState::Moved { Ok(false) } else { Err(Conflict::Stale) });
        }
        let base = self.contents.open_base(&change.path).map_err(|e| self.on_workspace(&change.path, e))?;
        let Some(base) = base else { return Ok(Err(Conflict::BaseUnknown)) };
        if old.size != real.size {
            return Ok(Ok(false));
        }
        let (file, _) = self.root.open_file(&change.path).map_err(|e| self.on_real(&change.path, e))?;
        equal(base, file).map(Ok).map_err(|e| self.on_real(&change.path, e))
    }

    /// Whether the workspace's file holds the base's bytes.
    fn workspace_is_base(&self, path: &Bytes, new: &Entry) -> Result<bool, PromoteError> {
        let base = self.contents.open_base(path).map_err(|e| self.on_workspace(path, e))?;
        let Some(base) = base else { return Ok(false) };
        if base.metadata().map_err(|e| self.on_workspace(path, e))?.len() != new.size {
            return Ok(false);
        }
        let file = self.contents.open_new(path).map_err(|e| self.on_workspace(path, e))?;
        equal(base, file).map_err(|e| self.on_workspace(path, e))
    }

    fn same_content(&self, path: &Bytes, new: &Entry, real: &Identity) -> Result<bool, PromoteError> {
        if new.size != real.size {
            return Ok(false);
        }
        let file = self.contents.open_new(path).map_err(|e| self.on_workspace(path, e))?;
        let (real, _) = self.root.open_file(path).map_err(|e| self.on_real(path, e))?;
        equal(file, real).map_err(|e| self.on_real(path, e))
    }

    /// SHA-256 of what the real tree has.
    pub(super) fn real_digest(&self, path: &Bytes, kind: FileKind) -> Result<Digest, PromoteError> {
        entry::digest(self.root, path, kind).map_err(|e| self.on_real(path, e))
    }

    /// Whether the modification time is too recent to tell two versions apart.
    pub(super) fn is_recent(&self, real: &Identity) -> bool {
        self.now.0.saturating_sub(real.mtime.0) < RECENT
    }

    fn on_workspace(&self, path: &Bytes, source: io::Error) -> PromoteError {
        PromoteError::Contents { path: path.clone(), source }
    }

    pub(super) fn on_real(&self, path: &Bytes, source: io::Error) -> PromoteError {
        PromoteError::io("read", self.root.full(path), source)
    }
}

/// The step for something that does not stand there yet.
fn fresh(new: &Entry) -> Step {
    let mode = new.mode & 0o777;
    match new.kind {
        FileKind::Directory => Step::MakeDir { mode },
        FileKind::Symlink => Step::Link,
        _ => Step::Write { source: Source::Workspace, mode },
    }
}

fn compare_directory_modes(change: &Change, new: &Entry, real: &Identity) -> Verdict {
    let Some(old) = change.old.as_ref().filter(|o| o.kind == FileKind::Directory) else { return Verdict::there() };
    match merge::merge_modes(old.mode, real.mode, new.mode) {
        None => Verdict::conflict(Conflict::Modes),
        Some(to) if to == real.mode => Verdict::there(),
        Some(to) => Verdict::take(Step::Mode { from: real.mode, to }),
    }
}

/// SHA-256 of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Whether two readers give the same bytes.
fn equal(mut a: impl Read, mut b: impl Read) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let n = fill(&mut a, &mut left)?;
        if fill(&mut b, &mut right)? != n || left[..n] != right[..n] {
            return Ok(false);
        }
        if n < left.len() {
            return Ok(true);
        }
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
