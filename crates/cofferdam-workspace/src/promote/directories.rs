//! Directories of a plan: those that go only when they are empty, and those that must come first.

use std::collections::{BTreeMap, BTreeSet};

use cofferdam_core::Bytes;
use cofferdam_core::change::FileKind;

use super::plan::{Conflict, Decision, Left, Parent, Planned, Step};
use super::planner::Planner;
use super::root::split;
use super::{PromoteError, entry};

impl Planner<'_> {
    /// A directory goes only if everything in it goes. Innermost first, because a directory that stays keeps its parent.
    pub(super) fn settle_directories(&self, paths: &mut [Planned]) -> Result<(), PromoteError> {
        let mut going: BTreeMap<Bytes, BTreeSet<Bytes>> = BTreeMap::new();
        for planned in paths.iter_mut().rev() {
            let goes = planned.clears || matches!(planned.step, Some(Step::Remove));
            if !goes {
                continue;
            }
            let (dir, name) = split(&planned.path);
            if planned.real.is_some_and(|r| r.kind == FileKind::Directory) {
                let gone = going.remove(&planned.path).unwrap_or_default();
                let names = entry::names(self.root, &planned.path)
                    .map_err(|e| PromoteError::io("list", self.root.full(&planned.path), e))?;
                let mut staying = names.into_iter().filter(|n| !gone.contains(n));
                if let Some(first) = staying.next() {
                    let entries = 1 + staying.count() as u64;
                    planned.step = None;
                    planned.decision = if planned.clears {
                        planned.clears = false;
                        Decision::Conflict { why: Conflict::Kinds, markers: false }
                    } else {
                        Decision::Left { why: Left::NotEmpty { entries, first } }
                    };
                    continue;
                }
            }
            going.entry(Bytes::from(dir)).or_default().insert(Bytes::from(name));
        }
        Ok(())
    }

    /// Directories above promoted paths that neither the real tree nor the plan has.
    pub(super) fn missing_parents(&self, paths: &[Planned]) -> Result<Vec<Parent>, PromoteError> {
        let makes = |p: &&Planned| matches!(p.step, Some(Step::Write { .. } | Step::Link | Step::MakeDir { .. }));
        let mut seen: BTreeSet<Bytes> = self.made.clone();
        let mut missing = BTreeMap::new();
        for planned in paths.iter().filter(makes) {
            let mut dir = Bytes::from(split(&planned.path).0);
            while !dir.0.is_empty() && seen.insert(dir.clone()) {
                let there = self.root.look(&dir).map_err(|e| PromoteError::io("look at", self.root.full(&dir), e))?;
                if there.is_some() {
                    break;
                }
                let mode = self
                    .contents
                    .directory_mode(&dir)
                    .map_err(|source| PromoteError::Contents { path: dir.clone(), source })?;
                let above = Bytes::from(split(&dir).0);
                missing.insert(dir, mode);
                dir = above;
            }
        }
        Ok(missing.into_iter().map(|(path, mode)| Parent { path, mode }).collect())
    }
}
