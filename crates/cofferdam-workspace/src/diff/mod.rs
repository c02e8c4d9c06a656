//! What a workspace changes, shown as `git diff` shows it.
//!
//! [`compute`] reads both sides of each change and decides everything; the renderers only print:
//! [`Diff::patch`], [`Diff::stat`], [`Diff::numstat`], [`Diff::name_only`], [`Diff::name_status`],
//! [`Diff::summary`]. git itself never runs: its configuration and attributes in a workspace are hostile.

mod content;
mod file;
mod hunks;
mod listing;
mod patch;
mod quote;
mod rename;
mod sanitize;
mod similarity;
mod stat;

use std::sync::atomic::AtomicU64;

use cofferdam_core::Bytes;
use cofferdam_core::change::{Change, Class, FileKind};

use crate::changes::{ChangeSet, in_parallel};
use crate::error::{Problem, WorkspaceError};
use crate::layers::Layers;
pub use content::{LARGEST_HASHED, LARGEST_TEXT, ObjectId};
use content::{Location, Which};
use file::Pair;
pub use file::{FileDiff, Side, Status};
pub use patch::{PatchStyle, Theme};
use rename::Half;
pub use sanitize::{is_hidden, push_visible};
use similarity::{Pieces, WHOLE};

/// Most bytes of hunks one diff holds in memory; files beyond it are listed without their lines.
pub const MOST_HUNK_BYTES: u64 = 256 << 20;

/// How a diff is made.
#[derive(Clone, Debug)]
pub struct DiffOptions {
    /// Lines of context around each change (`-U`).
    pub context: usize,
    /// Least similarity of a rename in percent (`-M`), `None` to find none (`--no-renames`).
    pub renames: Option<u8>,
    /// Similarity is not compared beyond this number squared of pairs (`diff.renameLimit`).
    pub rename_limit: usize,
    /// Make hunks; false where only numbers or names will be printed.
    pub hunks: bool,
    /// Include ignored paths.
    pub ignored: bool,
    /// Include paths in git directories.
    pub git_metadata: bool,
}

impl Default for DiffOptions {
    /// git's defaults.
    fn default() -> Self {
        DiffOptions {
            context: 3,
            renames: Some(50),
            rename_limit: 1000,
            hunks: true,
            ignored: false,
            git_metadata: false,
        }
    }
}

/// The changes of a workspace, compared.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// In git's order: by the path in the workspace.
    pub files: Vec<FileDiff>,
    /// Directories that were added empty; git has no such thing, [`Diff::name_only`] can list them.
    pub empty_directories: Vec<Bytes>,
    /// What could not be compared, and why.
    pub problems: Vec<Problem>,
}

/// Compares both sides of each change.
///
/// # Errors
/// [`WorkspaceError::Index`] for a damaged store. What concerns one path only is in [`Diff::problems`].
pub fn compute(layers: &Layers, set: &ChangeSet, options: &DiffOptions) -> Result<Diff, WorkspaceError> {
    layers.index()?;
    let mut diff = Diff::default();
    let mut pairs = Vec::new();
    for change in &set.changes {
        let wanted = match change.class {
            Class::Ignored => options.ignored,
            Class::GitMetadata => options.git_metadata,
            _ => true,
        };
        if !wanted {
            continue;
        }
        if change.old.is_none() && change.new.as_ref().is_some_and(|new| new.kind == FileKind::Directory) {
            diff.empty_directories.push(change.path.clone());
        }
        pairs.extend(pair(change));
    }
    // git lists an added or deleted directory's files in the order of their whole paths, as the change set does.
    if let Some(percent) = options.renames {
        let minimum = u64::from(percent.min(100)) * WHOLE / 100;
        pairs = join_renames(layers, pairs, minimum, options.rename_limit, &mut diff.problems);
    }
    let budget = AtomicU64::new(MOST_HUNK_BYTES);
    for answer in in_parallel(&pairs, |pair| (pair.path().clone(), file::compare(layers, pair, options, &budget))) {
        match answer {
            (_, Ok(Some(file))) => diff.files.push(file),
            (_, Ok(None)) => {}
            (path, Err(error)) => diff.problems.push(Problem { path, what: error.to_string() }),
        }
    }
    Ok(diff)
}

/// The sides of a change that git would show; `None` where it shows neither.
fn pair(change: &Change) -> Option<Pair> {
    let side = |entry: &Option<cofferdam_core::change::Entry>, which| {
        let entry = entry.as_ref()?;
        let mode = match entry.kind {
            FileKind::File if entry.mode & 0o100 != 0 => 0o100_755,
            FileKind::File => 0o100_644,
            FileKind::Symlink => 0o120_000,
            _ => return None,
        };
        Some(Location { path: change.path.clone(), kind: entry.kind, mode, which })
    };
    let old = side(&change.old, Which::Base(change.base));
    let new = side(&change.new, Which::Workspace);
    (old.is_some() || new.is_some()).then_some(Pair { old, new, score: None, base: change.base, class: change.class })
}

fn join_renames(
    layers: &Layers,
    mut pairs: Vec<Pair>,
    minimum: u64,
    limit: usize,
    problems: &mut Vec<Problem>,
) -> Vec<Pair> {
    let deleted: Vec<usize> = (0..pairs.len()).filter(|i| pairs[*i].new.is_none()).collect();
    let added: Vec<usize> = (0..pairs.len()).filter(|i| pairs[*i].old.is_none()).collect();
    if deleted.is_empty() || added.is_empty() {
        return pairs;
    }
    let halves = |list: &[usize]| in_parallel(list, |i| half(layers, &pairs[*i]));
    let (old, new) = (halves(&deleted), halves(&added));
    let mut read = |is_new: bool, i: usize| {
        let pair = &pairs[if is_new { added[i] } else { deleted[i] }];
        let at = pair.new.as_ref().or(pair.old.as_ref())?;
        match content::load(layers, at) {
            Ok(loaded) => {
                let content = loaded.content?;
                Some(Pieces::new(&content, hunks::is_binary(&content)))
            }
            Err(error) => {
                problems.push(Problem { path: at.path.clone(), what: error.to_string() });
                None
            }
        }
    };
    let renames = rename::detect(&old, &new, minimum, limit, &mut read);
    for rename in renames {
        let source = &mut pairs[deleted[rename.old]];
        let (old, base) = (source.old.take(), source.base);
        let target = &mut pairs[added[rename.new]];
        target.old = old;
        target.score = Some(rename.score);
        target.base = base;
    }
    pairs.retain(|pair| pair.old.is_some() || pair.new.is_some());
    pairs
}

fn half(layers: &Layers, pair: &Pair) -> Half {
    let path = pair.path().clone();
    let mode = pair.new.as_ref().or(pair.old.as_ref()).map_or(0, |at| at.mode);
    // What cannot be read takes no part here and is reported when it is compared.
    let loaded = pair.new.as_ref().or(pair.old.as_ref()).and_then(|at| content::load(layers, at).ok());
    match loaded {
        Some(loaded) => Half { path, id: loaded.id, mode, size: loaded.size, comparable: loaded.content.is_some() },
        None => Half { path, id: ObjectId::UNKNOWN, mode, size: 0, comparable: false },
    }
}
