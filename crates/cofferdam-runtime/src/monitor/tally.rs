//! How much a run changed, in the numbers that `coffer diff --stat` shows.

use std::collections::HashMap;

use cofferdam_core::change::{Change, Class, Digest, Entry, FileKind};
use cofferdam_workspace::diff::{DiffOptions, compute};
use cofferdam_workspace::{ChangeSet, Layers};

/// Most changed paths of which contents are compared while the person waits.
const MOST_PATHS: usize = 500;
/// Most bytes of them.
const MOST_BYTES: u64 = 16 << 20;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Files and links: a rename once, a directory or pipe never.
    pub(crate) files: u64,
    /// Lines added and removed in text, where they are few enough to count.
    pub(crate) lines: Option<(u64, u64)>,
}

/// Counts a change set that was made with digests. Beyond 500 paths or 16 MiB contents are not compared again: then a file that was
/// renamed and edited counts on both sides, and one whose content has no digest, too.
pub(crate) fn tally(layers: &Layers, changes: &ChangeSet) -> Tally {
    let shown = || changes.changes.iter().filter(|c| is_shown(c));
    let bytes: u64 = shown().flat_map(|c| c.old.iter().chain(&c.new)).map(|e| e.size).sum();
    if shown().count() <= MOST_PATHS && bytes <= MOST_BYTES {
        let options = DiffOptions { hunks: false, ..DiffOptions::default() };
        // A damaged store of bases: whoever asks for the diff is told. The numbers of the change set stand.
        if let Ok(diff) = compute(layers, changes, &options) {
            let lines = (diff.files.iter().map(|f| f.added).sum(), diff.files.iter().map(|f| f.deleted).sum());
            return Tally { files: diff.files.len() as u64, lines: Some(lines) };
        }
    }
    Tally { files: by_digests(shown()), lines: None }
}

/// Whether a change is the project's own: neither ignored or generated nor inside .git.
pub(super) fn is_shown(change: &Change) -> bool {
    !matches!(change.class, Class::Ignored | Class::GitMetadata)
}

/// Files, with a deletion and an addition of the same content counted as one rename.
fn by_digests<'a>(changes: impl Iterator<Item = &'a Change>) -> u64 {
    let mut files = 0;
    let mut gone: HashMap<(FileKind, Digest), u64> = HashMap::new();
    let mut come: HashMap<(FileKind, Digest), u64> = HashMap::new();
    let content = |entry: &Entry| entry.digest.map(|digest| (entry.kind, digest));
    for change in changes {
        let file = |e: &'a Option<Entry>| e.as_ref().filter(|e| matches!(e.kind, FileKind::File | FileKind::Symlink));
        match (file(&change.old), file(&change.new)) {
            (None, None) => continue,
            // git keeps one permission bit.
            (Some(old), Some(new)) if content(old).is_some() && content(old) == content(new) => {
                if (old.mode ^ new.mode) & 0o100 == 0 {
                    continue;
                }
            }
            (Some(old), None) => content(old).into_iter().for_each(|key| *gone.entry(key).or_default() += 1),
            (None, Some(new)) => content(new).into_iter().for_each(|key| *come.entry(key).or_default() += 1),
            (Some(_), Some(_)) => {}
        }
        files += 1;
    }
    let renames: u64 = come.iter().filter_map(|(key, n)| gone.get(key).map(|m| m.min(n))).sum();
    files - renames
}

#[cfg(test)]
mod tests {
    use cofferdam_core::change::BaseState;
    use cofferdam_core::{Bytes, Timestamp};

    use super::*;

    fn entry(kind: FileKind, mode: u32, content: u8) -> Option<Entry> {
        let digest = (kind == FileKind::File).then_some(Digest([content; 32]));
        Some(Entry { kind, mode, size: 1, mtime: Timestamp(0), digest })
    }

    fn change(path: &str, old: Option<Entry>, new: Option<Entry>) -> Change {
        let (base, class) = (BaseState::Unchanged, Class::Ordinary);
        Change { path: Bytes::from(path), old, new, base, class, executes: None }
    }

    #[test]
    fn a_rename_counts_once_and_what_git_does_not_know_not_at_all() {
        let file = |content| entry(FileKind::File, 0o644, content);
        let changes = [
            change("from", file(1), None),
            change("to", None, file(1)),
            change("copy", None, file(1)),
            change("edited", file(2), file(3)),
            change("executable", file(4), entry(FileKind::File, 0o755, 4)),
            change("private", file(5), entry(FileKind::File, 0o600, 5)),
            change("pipe", None, entry(FileKind::Fifo, 0o644, 0)),
            change("empty", None, entry(FileKind::Directory, 0o755, 0)),
            change("became-a-pipe", file(6), entry(FileKind::Fifo, 0o644, 0)),
        ];
        assert_eq!(by_digests(changes.iter()), 5, "to, copy, edited, executable, became-a-pipe");
    }
}
