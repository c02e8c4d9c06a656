//! What changed between a recorded command and its repetition: in the real tree, and in the run itself.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cofferdam_core::change::{BaseState, Change, Class, FileKind};
use cofferdam_core::event::Since;
use cofferdam_core::{Bytes, Timestamp};
use cofferdam_workspace::{ChangeOptions, Layers, WorkspaceError, change_set};
use ignore::WalkBuilder;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

/// Why the trees could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum DriftError {
    /// The layers of the run.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The real tree.
    #[error("the real tree cannot be walked: {0}")]
    Walk(#[from] ignore::Error),
    /// Two versions of a file.
    #[error("{path} cannot be compared with what the run left: {error}")]
    Compare {
        /// The file.
        path: String,
        /// The system's words.
        error: std::io::Error,
    },
}

/// The times at which things changed.
#[derive(Clone, Debug, Default)]
pub struct Drift {
    moved: u64,
    /// Of files of the real tree that the run did not change, those changed since the earliest command.
    newer: Vec<Timestamp>,
    /// Of what the run left.
    edited: Vec<Timestamp>,
    head: Option<Timestamp>,
}

impl Drift {
    /// Looks at both trees. `earliest` is when the first of the commands began.
    ///
    /// Files are told by `st_ctim`, which no program sets; a file that was only touched or linked counts as changed.
    ///
    /// # Errors
    /// [`DriftError`]
    pub fn look(layers: &Layers, earliest: Timestamp) -> Result<Drift, DriftError> {
        let changes = change_set(layers, &ChangeOptions::default())?.changes;
        let mut drift = Drift { head: head(&layers.root), ..Drift::default() };
        for change in changes.iter().filter(|c| !matches!(c.class, Class::Ignored | Class::GitMetadata)) {
            if change.base != BaseState::Unchanged && !is_promoted(layers, change)? {
                drift.moved += 1;
            }
            drift.edited.extend(changed_in_layer(layers, &change.path));
        }
        let known: HashSet<&Bytes> = changes.iter().map(|change| &change.path).collect();
        // The person's own tree, read as git would: hidden files count, ignored ones and git's own do not.
        let walk = WalkBuilder::new(&layers.root)
            .hidden(false)
            .require_git(false)
            .git_global(false)
            .parents(false)
            .filter_entry(|entry| entry.file_name() != ".git")
            .build();
        for entry in walk {
            let entry = entry?;
            if entry.file_type().is_none_or(|kind| kind.is_dir()) {
                continue;
            }
            let Ok(path) = entry.path().strip_prefix(&layers.root).map(Bytes::from) else { continue };
            let found = entry.metadata()?;
            let time = Timestamp::from_parts(found.ctime(), found.ctime_nsec());
            if time > earliest && !known.contains(&path) && !is_the_runs(layers, &path)? {
                drift.newer.push(time);
            }
        }
        Ok(drift)
    }

    /// What changed since a command that began and ended then.
    pub fn since(&self, began: Timestamp, ended: Timestamp) -> Since {
        let after = |times: &[Timestamp], then: Timestamp| times.iter().filter(|time| **time > then).count() as u64;
        Since {
            moved: self.moved,
            newer: after(&self.newer, began),
            edited: after(&self.edited, ended),
            head: self.head.is_some_and(|time| time > began),
        }
    }
}

/// When HEAD moved last, where the real tree is a git repository of its own: git writes the log of HEAD with each move.
fn head(root: &Path) -> Option<Timestamp> {
    let git = root.join(".git");
    [git.join("logs/HEAD"), git.join("HEAD")]
        .iter()
        .filter_map(|path| path.symlink_metadata().ok())
        .map(|found| Timestamp::from_parts(found.ctime(), found.ctime_nsec()))
        .max()
}

/// Whether a file of the real tree is what the run has there: the change set says nothing of these.
fn is_the_runs(layers: &Layers, path: &Bytes) -> Result<bool, DriftError> {
    // What is no file, or not in the layer, is not the run's.
    let (Ok(ours), Ok(real)) = (layers.open_new(path), layers.open_real(path)) else { return Ok(false) };
    same(ours, real).map_err(|error| DriftError::Compare { path: path.as_path().display().to_string(), error })
}

/// Whether the real tree holds what the run left.
fn is_promoted(layers: &Layers, change: &Change) -> Result<bool, DriftError> {
    let real = layers.real_entry(&change.path)?.map(|real| real.entry());
    Ok(match (&change.new, real) {
        (None, None) => true,
        (Some(new), Some(real)) if new.kind == real.kind => match new.kind {
            FileKind::File if new.size != real.size => false,
            FileKind::File => {
                let failed = |error| DriftError::Compare { path: change.path.as_path().display().to_string(), error };
                same(layers.open_new(&change.path)?, layers.open_real(&change.path)?).map_err(failed)?
            }
            FileKind::Symlink => layers.link_new(&change.path)? == layers.link_real(&change.path)?,
            _ => true,
        },
        _ => false,
    })
}

fn same(mut one: File, mut other: File) -> std::io::Result<bool> {
    let (mut a, mut b) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let n = one.read(&mut a)?;
        if n == 0 {
            return Ok(other.read(&mut b[..1])? == 0);
        }
        match other.read_exact(&mut b[..n]) {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        if a[..n] != b[..n] {
            return Ok(false);
        }
    }
}

/// When something in the run's layer changed last. `None` for a deletion: its white-out is a link to one that the kernel
/// keeps for all, and changes whenever that one does.
fn changed_in_layer(layers: &Layers, path: &Bytes) -> Option<Timestamp> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let found = openat2(layers.upper_fd(), path.as_path(), flags, Mode::empty(), resolve).ok()?;
    let stat = fstat(&found).ok()?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice {
        return None;
    }
    Some(Timestamp::from_parts(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_AGO: Timestamp = Timestamp(0);

    #[test]
    fn what_changed_since_is_told_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["real/.git/logs", "upper", "base"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        for (name, text) in [
            ("real/.gitignore", "*.log\n"),
            ("real/kept", "kept"),
            ("real/x.log", "ignored"),
            ("real/.git/logs/HEAD", "moves"),
            ("real/same", "by the run"),
            ("real/other", "by the person"),
            ("upper/same", "by the run"),
            ("upper/other", "by the run!!!"),
        ] {
            std::fs::write(at(name), text).unwrap();
        }
        let layers = Layers::open(at("real"), at("upper"), at("base")).unwrap();
        let drift = Drift::look(&layers, LONG_AGO).unwrap();
        let since = drift.since(LONG_AGO, LONG_AGO);
        assert_eq!(
            since,
            Since { moved: since.moved, newer: 2, edited: 1, head: true },
            "kept and .gitignore are newer"
        );
        let now = Timestamp(Timestamp::now().0 + 1_000_000_000);
        assert_eq!(drift.since(now, now), Since { moved: 1, ..Since::default() });
    }

    #[test]
    fn files_are_the_same_by_content() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            std::fs::write(dir.path().join(name), content).unwrap();
            File::open(dir.path().join(name)).unwrap()
        };
        let long = vec![7; 200_000];
        assert!(same(file("a", &long), file("b", &long)).unwrap());
        assert!(!same(file("a", &long), file("b", &long[1..])).unwrap());
        assert!(!same(file("a", &long[1..]), file("b", &long)).unwrap());
        assert!(!same(file("a", b"x"), file("b", b"y")).unwrap());
        assert!(same(file("a", b""), file("b", b"")).unwrap());
    }
}
