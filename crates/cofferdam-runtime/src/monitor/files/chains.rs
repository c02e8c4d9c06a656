//! Where the chain of each path stands, without the steps that led there: those are in the log.

use std::collections::BTreeMap;

use cofferdam_core::Bytes;
use cofferdam_core::change::{Entry, FileKind};
use cofferdam_core::event::{BlobRef, EventKind, FileChanged, Link, is_same};
use cofferdam_evidence::Log;
use cofferdam_workspace::{LARGEST_READ, Stamp};

use crate::monitor::RecordError;

/// Most paths that have a chain while the run goes on, at about 200 bytes each.
const MOST: usize = 100_000;

/// The chains of a run, by the bytes of their paths.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    pub(super) paths: BTreeMap<Bytes, Chain>,
}

/// Where one chain stands.
#[derive(Debug)]
pub(super) struct Chain {
    /// Boxed: most paths of a run are new, and have none.
    pub(super) base: Option<Box<Entry>>,
    pub(super) last: Option<Entry>,
    pub(super) stamp: Option<Stamp>,
    /// Versions that were kept.
    pub(super) versions: u8,
    /// There is an event of it.
    pub(super) recorded: bool,
    /// What lies below it in the real tree was looked at when the workspace hid it.
    pub(super) expanded: bool,
}

impl Chain {
    pub(super) fn new(base: Option<Entry>) -> Chain {
        Chain {
            last: base.clone(),
            base: base.map(Box::new),
            stamp: None,
            versions: 0,
            recorded: false,
            expanded: false,
        }
    }

    pub(super) fn base(&self) -> Option<Entry> {
        self.base.as_deref().cloned()
    }

    /// Whether an entry of the layer is no change: it is as the base, or a directory that git would not know of.
    pub(super) fn is_base(&self, entry: &Entry, empty: bool) -> bool {
        match &self.base {
            None => entry.kind == FileKind::Directory && !empty,
            Some(base) => is_same(Some(base), Some(entry)),
        }
    }

    /// Whether only reading a file would tell that it changed, and it is too large for that while the run goes on.
    pub(super) fn is_deferred(&self, entry: &Entry) -> bool {
        let as_base = |base: &Entry| base.kind == entry.kind && base.size == entry.size && base.mode == entry.mode;
        entry.kind == FileKind::File
            && entry.size > LARGEST_READ
            && !self.recorded
            && self.base.as_deref().is_some_and(as_base)
    }

    /// Writes the next event of the chain.
    pub(super) fn record(
        &mut self,
        log: &mut Log,
        path: &Bytes,
        after: Option<Entry>,
        commands: &[u64],
        version: Option<BlobRef>,
    ) -> Result<(), RecordError> {
        let before = std::mem::replace(&mut self.last, after.clone());
        let cause = commands.first().copied().unwrap_or(0);
        let data = FileChanged { path: path.clone(), before, after, commands: commands.to_vec(), version };
        log.append(Some((cause, Link::Window)), EventKind::FileChanged(data))?;
        self.recorded = true;
        Ok(())
    }
}

impl Chains {
    /// Goes on where the events of a log ended: after the death of the monitor that wrote them.
    ///
    /// # Errors
    /// [`RecordError::Evidence`] where the log does not read.
    pub(crate) fn of_log(directory: &std::path::Path) -> Result<Chains, RecordError> {
        let mut chains = Chains::default();
        for event in cofferdam_evidence::read_events(directory)? {
            if let EventKind::FileChanged(change) = event?.what {
                let chain = chains.paths.entry(change.path).or_insert_with(|| Chain::new(change.before));
                chain.last = change.after;
                chain.versions = chain.versions.saturating_add(u8::from(change.version.is_some()));
                chain.recorded = true;
            }
        }
        Ok(chains)
    }

    pub(super) fn is_full(&self) -> bool {
        self.paths.len() >= MOST
    }

    pub(super) fn begin(&mut self, path: Bytes, base: Option<Entry>) {
        self.paths.insert(path, Chain::new(base));
    }

    pub(super) fn get(&self, path: &Bytes) -> Option<&Chain> {
        self.paths.get(path)
    }

    pub(super) fn get_mut(&mut self, path: &Bytes) -> Option<&mut Chain> {
        self.paths.get_mut(path)
    }

    /// The paths below one that differ from their bases.
    pub(super) fn changed_below(&self, path: &Bytes) -> Vec<Bytes> {
        let mut top = path.0.clone();
        top.push(b'/');
        let below = self.paths.range(Bytes(top.clone())..).take_while(|(path, _)| path.0.starts_with(&top));
        let changed = below.filter(|(_, chain)| !is_same(chain.base.as_deref(), chain.last.as_ref()));
        changed.map(|(path, _)| path.clone()).collect()
    }
}

/// The directory part (empty for a name at the root) and the last name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}
