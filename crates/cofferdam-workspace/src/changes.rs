//! The change set: what a workspace adds, changes and deletes against its bases.

use std::sync::atomic::{AtomicUsize, Ordering};

use cofferdam_core::Bytes;
use cofferdam_core::change::{BaseState, Change, Class, Digest, Entry, FileKind};
use sha2::{Digest as _, Sha256};

use crate::bases::{self, Base, Source, same_content};
use crate::classify;
use crate::diff::LARGEST_HASHED;
use crate::error::{Layer, Problem, WorkspaceError};
use crate::layers::Layers;
use crate::walk::{Candidate, walk};

/// How a change set is made.
#[derive(Clone, Debug, Default)]
pub struct ChangeOptions {
    /// Compute [`Entry::digest`] of links and of files up to [`LARGEST_HASHED`], on both sides where the content is to be
    /// had. Beyond it a run could hold up its own end for hours: `truncate -s 16T` costs it nothing.
    pub digests: bool,
    /// The content of the person's own excludes file (`core.excludesFile`), in the form of gitignore(5).
    pub excludes: Option<Vec<u8>>,
}

/// What a workspace changes.
#[derive(Clone, Debug, Default)]
pub struct ChangeSet {
    /// Sorted by the bytes of their paths, each path once.
    pub changes: Vec<Change>,
    /// What was passed over, and why: the change set says nothing of these.
    pub problems: Vec<Problem>,
}

/// Reads a workspace's layers and says what differs from the bases.
///
/// # Errors
/// [`WorkspaceError::Io`] where the layers' own directories cannot be read, [`WorkspaceError::Index`] for a damaged
/// store. What concerns one path only is a [`Problem`].
pub fn change_set(layers: &Layers, options: &ChangeOptions) -> Result<ChangeSet, WorkspaceError> {
    let (mut candidates, mut problems) = walk(layers)?;
    candidates.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut changes = Vec::new();
    if candidates.is_empty() {
        return Ok(ChangeSet { changes, problems }); // most runs of most commands: nothing to compile patterns for
    }
    for answer in in_parallel(&candidates, |candidate| compare(layers, candidate, options)) {
        match answer {
            Ok(Some(change)) => changes.push(change),
            Ok(None) => {}
            Err(Passed::Problem(problem)) => problems.push(problem),
            Err(Passed::Error(error)) => return Err(error),
        }
    }
    classify::classify(layers, &mut changes, options.excludes.as_deref())?;
    problems.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(ChangeSet { changes, problems })
}

/// Why one path has no answer.
enum Passed {
    Problem(Problem),
    Error(WorkspaceError),
}

/// Answers for all items in their order, by as many threads as the machine has processors (four at most) where there
/// is enough to do.
pub(crate) fn in_parallel<T: Sync, R: Send>(items: &[T], answer: impl Fn(&T) -> R + Sync) -> Vec<R> {
    const PIECE: usize = 64;
    if items.len() < 2 * PIECE {
        return items.iter().map(answer).collect();
    }
    // Reads files below /proc and /sys: not for a handful of items.
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if processors < 2 {
        return items.iter().map(answer).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut pieces = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = items.chunks(PIECE).nth(number) else { return pieces };
            pieces.push((number, piece.iter().map(&answer).collect::<Vec<R>>()));
        }
    };
    let mut pieces = std::thread::scope(|scope| {
        let others: Vec<_> = (1..processors.min(4)).map(|_| scope.spawn(work)).collect();
        let mut pieces = work();
        for other in others {
            match other.join() {
                Ok(more) => pieces.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        pieces
    });
    pieces.sort_unstable_by_key(|(number, _)| *number);
    pieces.into_iter().flat_map(|(_, answers)| answers).collect()
}

fn compare(layers: &Layers, candidate: &Candidate, options: &ChangeOptions) -> Result<Option<Change>, Passed> {
    let path = &candidate.path;
    let base = bases::resolve(layers, path, candidate.real.as_ref(), Some(candidate.surroundings))
        .map_err(|e| sort(path, e))?;
    let new = candidate.upper.map(|upper| upper.entry.entry());
    match (&base.entry, &new) {
        (None, None) => return Ok(None),
        // git knows no directories; one with content comes with its content.
        (None, Some(new)) if new.kind == FileKind::Directory && !candidate.empty => return Ok(None),
        (Some(old), Some(new)) if same(layers, path, old, new, &base).map_err(|e| sort(path, e))? => return Ok(None),
        _ => {}
    }
    let mut change = Change {
        path: path.clone(),
        old: base.entry.clone(),
        new,
        base: base.state,
        class: Class::Ordinary,
        executes: None,
    };
    if options.digests {
        digests(layers, &mut change, &base).map_err(|e| sort(path, e))?;
    }
    Ok(Some(change))
}

/// A damaged store or a layer that is gone ends the reading; a hostile or vanishing entry does not.
fn sort(path: &Bytes, error: WorkspaceError) -> Passed {
    if error.is_about_one_path() {
        return Passed::Problem(Problem { path: path.clone(), what: error.to_string() });
    }
    Passed::Error(error)
}

fn same(layers: &Layers, path: &Bytes, old: &Entry, new: &Entry, base: &Base) -> Result<bool, WorkspaceError> {
    if old.kind != new.kind || old.size != new.size {
        return Ok(false);
    }
    // The permission bits of links mean nothing (symlink(7)).
    if old.mode != new.mode && new.kind != FileKind::Symlink {
        return Ok(false);
    }
    match new.kind {
        FileKind::File => {
            let old = match base.source {
                // The real tree's content stands in for a base that is not known: where the workspace's is the same,
                // there is nothing to do either way.
                Source::Nothing if base.state == BaseState::Unknown => Some(layers.open_real(path)?),
                ref source => layers.open_source(path, source)?,
            };
            let Some(old) = old else { return Ok(false) };
            same_content(old, layers.open_new(path)?).map_err(WorkspaceError::std(
                "compare",
                Layer::Upper,
                path.clone(),
            ))
        }
        FileKind::Symlink => match &base.source {
            Source::Text(text) => Ok(layers.link_new(path)? == *text),
            _ => Ok(layers.link_new(path)? == layers.link_real(path)?),
        },
        // A FIFO, socket or directory has no content of its own.
        _ => Ok(true),
    }
}

fn digests(layers: &Layers, change: &mut Change, base: &Base) -> Result<(), WorkspaceError> {
    let path = change.path.clone();
    if let Some(new) = &mut change.new {
        new.digest = match new.kind {
            FileKind::File if new.size > LARGEST_HASHED => None,
            FileKind::File => Some(digest_file(&path, Layer::Upper, layers.open_new(&path)?)?),
            FileKind::Symlink => Some(digest(&layers.link_new(&path)?.0)),
            _ => None,
        };
    }
    if let Some(old) = &mut change.old {
        old.digest = match (old.kind, &base.source) {
            (FileKind::File, _) if old.size > LARGEST_HASHED => None,
            (FileKind::File, source) => match layers.open_source(&path, source)? {
                Some(file) => Some(digest_file(&path, Layer::Real, file)?),
                None => None,
            },
            (FileKind::Symlink, Source::Text(text)) => Some(digest(&text.0)),
            (FileKind::Symlink, Source::Real) => Some(digest(&layers.link_real(&path)?.0)),
            _ => None,
        };
    }
    Ok(())
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn digest_file(path: &Bytes, layer: Layer, mut file: std::fs::File) -> Result<Digest, WorkspaceError> {
    use std::io::Read;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = match file.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(WorkspaceError::std("read", layer, path.clone())(error)),
        };
        if n == 0 {
            return Ok(Digest(hash.finalize().into()));
        }
        hash.update(&buffer[..n]);
    }
}
