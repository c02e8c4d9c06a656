//! Whether the layers of a run are what its log says: the log's last word on each path, beside the path itself.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use cofferdam_core::Bytes;
use cofferdam_core::change::{Change, Class, Entry};
use cofferdam_core::event::{BrokenChain, Chains, EventKind, is_same};
use cofferdam_evidence::read_events;
use cofferdam_workspace::{ChangeOptions, Layers, WorkspaceError, change_set};

/// What stands for a secret in a path of the log (docs/evidence-format.md): such a path can be compared with none.
const MARKS: [&[u8]; 2] = ["\u{27e6}secret:".as_bytes(), b"[secret:"];

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Paths that the layers change and that were compared.
    pub paths: u64,
    /// Paths of the log with a secret in them, which cannot be compared.
    pub struck: u64,
    /// Where log and layers differ, by path.
    pub differences: Vec<Difference>,
    /// The first event that does not begin where the one before it on its path ended.
    pub broken: Option<BrokenChain>,
}

impl Agreement {
    /// Whether nothing speaks against the log.
    pub fn holds(&self) -> bool {
        self.differences.is_empty() && self.broken.is_none()
    }
}

/// A path on which log and layers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path.
    pub path: Bytes,
    /// What the log says that the run left; absent where nothing.
    pub recorded: Option<Entry>,
    /// What the layers hold; absent where nothing.
    pub found: Option<Entry>,
}

/// Why there was no comparison.
#[derive(Debug, thiserror::Error)]
pub enum AgreementError {
    /// The log does not read.
    #[error(transparent)]
    Evidence(#[from] cofferdam_evidence::Error),
    /// The layers do not read.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

/// Compares a log with the layers that its run left.
///
/// # Errors
/// Where one of them cannot be read.
pub fn compare(evidence: &Path, layers: &Layers, project: &Path) -> Result<Agreement, AgreementError> {
    let (chains, promoted, broken) = fold(evidence)?;
    let mut agreement = Agreement { broken, ..Agreement::default() };
    let changes = change_set(layers, &ChangeOptions { digests: true, excludes: None })?;
    let passed_over: HashSet<&Bytes> = changes.problems.iter().map(|problem| &problem.path).collect();
    let found: BTreeMap<&Bytes, &Change> = changes.changes.iter().map(|change| (&change.path, change)).collect();

    let is_struck = |path: &Bytes| MARKS.iter().any(|mark| memchr::memmem::find(&path.0, mark).is_some());
    agreement.struck = chains.changed().filter(|(path, _)| is_struck(path)).count() as u64;
    let mut unrecorded = Vec::new();
    for (path, change) in &found {
        match chains.get(path) {
            Some(chain) if is_same(chain.last(), change.new.as_ref()) => {}
            Some(chain) => agreement.differences.push(Difference {
                path: (*path).clone(),
                recorded: chain.last().cloned(),
                found: change.new.clone(),
            }),
            // What is ignored or git's own the log only counts.
            None if matches!(change.class, Class::Ignored | Class::GitMetadata) => continue,
            None => unrecorded.push(*change),
        }
        agreement.paths += 1;
    }
    // Nobody but the recorder knows which path a struck one was: as many of the layers' go without a word.
    if unrecorded.len() as u64 > agreement.struck {
        agreement.differences.extend(unrecorded.into_iter().map(|change| Difference {
            path: change.path.clone(),
            recorded: None,
            found: change.new.clone(),
        }));
    }
    for (path, chain) in chains.changed() {
        let gone = |path: &Bytes| project.join(path.as_path()).symlink_metadata().is_err();
        let explained = found.contains_key(path)
            || passed_over.contains(path)
            || is_struck(path)
            // Taken into the real tree, or deleted there as well since: then the layers change nothing any more.
            || promoted.contains(path)
            || (chain.last().is_none() && gone(path));
        if !explained {
            let recorded = chain.last().cloned();
            agreement.differences.push(Difference { path: path.clone(), recorded, found: chain.base.clone() });
        }
    }
    agreement.differences.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(agreement)
}

/// The chains of `file.changed` up to the run's end, the paths that were promoted, and the first break in a chain.
fn fold(evidence: &Path) -> Result<(Chains, HashSet<Bytes>, Option<BrokenChain>), cofferdam_evidence::Error> {
    let (mut chains, mut promoted, mut broken) = (Chains::default(), HashSet::new(), None);
    for event in read_events(evidence)? {
        let event = event?;
        match event.what {
            EventKind::FileChanged(change) => {
                let fits = chains.add(event.seq, &change);
                broken = broken.or(fits.err());
            }
            EventKind::PromotionApplied(data)
            | EventKind::PromotionAborted(data)
            | EventKind::PromotionUndone(data) => promoted.extend(data.paths.into_iter().map(|taken| taken.path)),
            _ => {}
        }
    }
    Ok((chains, promoted, broken))
}
