//! The end of the chains: each leads to what the run left, so that the events amount to the change set.

use std::collections::HashSet;

use cofferdam_core::change::Entry;
use cofferdam_core::event::{BlobRef, Counted, EventKind, is_same};
use cofferdam_core::{Bytes, event};
use cofferdam_evidence::{BlobStore, Log};
use cofferdam_workspace::{ChangeSet, Layers, text_of};

use super::chains::{Chain, split};
use super::reports::is_report;
use super::{Chains, Files, Versions};
use crate::monitor::RecordError;
use crate::monitor::tally::is_shown;

/// Most changes of which the last texts are kept at the end, where the person waits: of more, only the layer has them.
const MOST_TEXTS: usize = 100;

/// Where a run's end is written.
pub(crate) struct Settled<'a> {
    pub(crate) log: &'a mut Log,
    pub(crate) blobs: &'a BlobStore,
    pub(crate) layers: &'a Layers,
    pub(crate) changes: &'a ChangeSet,
}

impl Files {
    /// Ends the chains at the change set of a run that is over. `running` are the commands that ran last.
    pub(crate) fn settle(&mut self, to: &mut Settled<'_>, running: &[u64]) -> Result<Counted, RecordError> {
        let mut last = std::mem::take(&mut self.since);
        if !self.round.is_empty() {
            last.add(&self.suspects.0);
        }
        last.add(running);
        let unseen = std::mem::take(&mut self.touched).into_iter().chain(std::mem::take(&mut self.round));
        self.suspects = last;
        for path in unseen {
            // The name first: to ask the ignore rules costs a look at each directory above.
            if is_report(&path.0) && !self.live.shows(&path, false) {
                self.look_at_report(to.log, &path)?;
            }
        }
        let missed = std::mem::take(&mut self.missed);
        to.gap("paths that changed too many at once: of their states only the last is recorded", missed)?;
        self.chains.settle_with(to, &self.suspects.0, &mut self.versions)
    }
}

impl Chains {
    /// As [`Files::settle`], where nobody knows any more what ran.
    pub(crate) fn settle(mut self, to: &mut Settled<'_>) -> Result<Counted, RecordError> {
        self.settle_with(to, &[], &mut Versions::default())
    }

    fn settle_with(
        &mut self,
        to: &mut Settled<'_>,
        commands: &[u64],
        versions: &mut Versions,
    ) -> Result<Counted, RecordError> {
        let (mut recorded, mut counted, mut differing) = (0, 0, 0);
        let mut moved = 0;
        let keeps_texts = to.changes.changes.len() <= MOST_TEXTS;
        for change in &to.changes.changes {
            let shown = is_shown(change);
            counted += u64::from(shown);
            let chain = match self.paths.get_mut(&change.path) {
                Some(chain) => chain,
                None if shown => {
                    self.paths.entry(change.path.clone()).or_insert_with(|| Chain::new(change.old.clone()))
                }
                None => continue,
            };
            if !chain.recorded {
                // What the change set says of the base is later knowledge, and complete.
                (chain.base, chain.last) = (change.old.clone().map(Box::new), change.old.clone());
            }
            if !shown && !chain.recorded {
                continue;
            }
            if !chain.recorded || !ends_at(chain.last.as_ref(), change.new.as_ref()) {
                let version = match &change.new {
                    Some(new) if keeps_texts => to.text(&change.path, new, chain, versions)?,
                    _ => None,
                };
                chain.record(to.log, &change.path, change.new.clone(), commands, version)?;
            }
            if !shown {
                continue;
            }
            let is_change = !is_same(chain.base.as_deref(), chain.last.as_ref());
            recorded += u64::from(is_change);
            differing += u64::from(!is_change);
            moved += u64::from(!is_change && !is_same(chain.base.as_deref(), change.old.as_ref()));
        }
        let (back, unread) = self.end_the_others(to, commands)?;
        recorded += back + unread;
        differing += back + unread;
        to.gap("paths whose base the person changed while they were the run's", moved)?;
        to.gap("changed paths that could not be read in the end", unread)?;
        to.gap("versions of files beyond the bounds", versions.refused)?;
        let unexplained = differing - moved - unread;
        Ok(Counted { recorded, counted: Some(counted), unexplained })
    }

    /// What is not in the change set was changed back after the last look. How many chains nevertheless do not end at
    /// their base: without a reason, and because the change set had to pass over them.
    fn end_the_others(&mut self, to: &mut Settled<'_>, commands: &[u64]) -> Result<(u64, u64), RecordError> {
        let passed: HashSet<&[u8]> = to.changes.problems.iter().map(|problem| problem.path.0.as_slice()).collect();
        let (mut open, mut unread) = (0, 0);
        for (path, chain) in &mut self.paths {
            if !chain.recorded || is_same(chain.base.as_deref(), chain.last.as_ref()) {
                continue;
            }
            if to.changes.changes.binary_search_by(|change| change.path.cmp(path)).is_ok() {
                continue;
            }
            if is_passed_over(&passed, path) {
                unread += 1;
                continue;
            }
            chain.record(to.log, path, chain.base(), commands, None)?;
            open += u64::from(!is_same(chain.base.as_deref(), chain.last.as_ref()));
        }
        Ok((open, unread))
    }
}

impl Settled<'_> {
    fn gap(&mut self, what: &str, count: u64) -> Result<(), RecordError> {
        if count > 0 {
            self.log.append(None, EventKind::EvidenceGap { what: what.to_owned(), count })?;
        }
        Ok(())
    }

    /// Keeps the text that a path has in the end.
    fn text(
        &self,
        path: &Bytes,
        new: &Entry,
        chain: &mut Chain,
        versions: &mut Versions,
    ) -> Result<Option<BlobRef>, RecordError> {
        let text = text_of(self.layers, path, new);
        versions.keep(self.blobs, chain, text.as_deref())
    }
}

/// Whether a chain has arrived: the same state, and with the digest where the change set could tell it.
fn ends_at(last: Option<&Entry>, new: Option<&Entry>) -> bool {
    let has_digest = |entry: Option<&Entry>| entry.is_some_and(|entry| entry.digest.is_some());
    event::is_same(last, new) && (has_digest(last) || !has_digest(new))
}

/// Whether the change set could not look at a path, or at a directory above it.
fn is_passed_over(passed: &HashSet<&[u8]>, path: &Bytes) -> bool {
    if passed.is_empty() {
        return false;
    }
    let mut at = path.0.as_slice();
    while !at.is_empty() {
        if passed.contains(at) {
            return true;
        }
        at = split(at).0;
    }
    false
}
