//! File changes while they happen: looks at what the capture found touched, and records each state that differs.
//!
//! The work of one call is bounded by time, and all of it to a fifth of the monitor's: what is left waits for the next
//! turn, and what comes too fast for that is left to the end of the run, with an `evidence.gap`.

mod chains;
mod reports;
mod settle;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cofferdam_core::Bytes;
use cofferdam_core::change::{Entry, FileKind};
use cofferdam_core::event::{EventKind, Link, TestResult, is_same};
use cofferdam_evidence::{BlobStore, Log};
use cofferdam_review::testrun;
use cofferdam_workspace::{Captured, Layers, Live, Look, Seen, WorkspaceError};

use super::RecordError;
pub(crate) use chains::Chains;
use chains::split;
use reports::Reports;
pub(crate) use settle::Settled;
use versions::Versions;

/// Between two scans while nothing ends.
const INTERVAL: Duration = Duration::from_millis(500);
/// Longest time of one scan; a single file may take longer.
const TURN: Duration = Duration::from_millis(20);
/// How many times as long as a scan took, the next one waits.
const REST: u32 = 4;
/// Most paths that wait for a look.
const MOST_WAITING: usize = 100_000;
/// Most paths below one deleted directory that are looked at while the run goes on.
const MOST_BELOW: usize = 10_000;
/// Most commands that a change names.
pub(super) const MOST_COMMANDS: usize = 16;

/// The file changes of a run that goes on.
pub(super) struct Files {
    live: Live,
    chains: Chains,
    versions: Versions,
    reports: Reports,
    /// Touched, and not looked at since.
    touched: BTreeSet<Bytes>,
    /// What the round under way has still to look at, parents before what is in them.
    round: BTreeSet<Bytes>,
    /// Directories that something came into or went from: whether they are empty decides whether they are listed.
    parents: BTreeSet<Bytes>,
    /// The commands that could have done what the round under way looks at.
    suspects: Commands,
    /// The commands that ran since that round began.
    since: Commands,
    /// A command has ended since that round began.
    wanted: bool,
    scanned: Instant,
    rests_until: Instant,
    /// Paths whose states were not looked at: too many at once.
    missed: u64,
    most_waiting: usize,
}

impl Files {
    pub(super) fn new(layers: &Layers) -> Result<Files, WorkspaceError> {
        let now = Instant::now();
        Ok(Files {
            live: Live::new(layers)?,
            chains: Chains::default(),
            versions: Versions::default(),
            reports: Reports::default(),
            touched: BTreeSet::new(),
            round: BTreeSet::new(),
            parents: BTreeSet::new(),
            suspects: Commands::default(),
            since: Commands::default(),
            wanted: false,
            scanned: now,
            rests_until: now,
            missed: 0,
            most_waiting: MOST_WAITING,
        })
    }

    /// Remembers what a round of the capture found.
    pub(super) fn touched(&mut self, mut captured: Captured) {
        self.live.take(&mut captured);
        for path in captured.changed {
            if self.touched.len() + self.round.len() >= self.most_waiting {
                self.missed += (self.touched.len() + self.round.len()) as u64;
                self.touched.clear();
                self.round.clear();
                self.live.forget_all();
            }
            self.touched.insert(path);
        }
    }

    /// When something is due although nothing happens.
    pub(super) fn due(&self) -> Option<Duration> {
        if self.is_idle() {
            return None;
        }
        let rest = self.rests_until.saturating_duration_since(Instant::now());
        if self.wanted || !self.round.is_empty() || !self.parents.is_empty() {
            return Some(rest);
        }
        Some(rest.max(INTERVAL.saturating_sub(self.scanned.elapsed())))
    }

    fn is_idle(&self) -> bool {
        self.touched.is_empty() && self.round.is_empty() && self.parents.is_empty()
    }

    /// To be called when a command has ended: looks at what is touched, or does so soon. `running` are the `process.exec`
    /// of the commands that run and of the one that ended, in any order.
    pub(super) fn scan(&mut self, log: &mut Log, blobs: &BlobStore, running: &[u64]) -> Result<(), RecordError> {
        self.wanted = true;
        self.go_on(log, blobs, running)
    }

    /// To be called whenever the loop turns: does what is due.
    pub(super) fn turn(&mut self, log: &mut Log, blobs: &BlobStore, running: &[u64]) -> Result<(), RecordError> {
        match self.due() {
            Some(wait) if wait.is_zero() => self.go_on(log, blobs, running),
            _ => Ok(()),
        }
    }

    fn go_on(&mut self, log: &mut Log, blobs: &BlobStore, running: &[u64]) -> Result<(), RecordError> {
        if self.is_idle() {
            // Nothing was touched up to here: whatever has ended by now did nothing.
            self.since = Commands::default();
            self.wanted = false;
            return Ok(());
        }
        self.since.add(running);
        let begun = Instant::now();
        if begun < self.rests_until {
            return Ok(());
        }
        if self.round.is_empty() && self.parents.is_empty() {
            self.round = std::mem::take(&mut self.touched);
            self.suspects = std::mem::take(&mut self.since);
            self.wanted = false;
        } else {
            // What is left may have been changed again since the round began.
            self.suspects.add(running);
        }
        self.live.begin_turn();
        while let Some(path) = self.next() {
            self.look_at(log, blobs, path)?;
            if begun.elapsed() >= TURN {
                break;
            }
        }
        self.scanned = Instant::now();
        self.rests_until = self.scanned + (self.scanned - begun) * REST;
        Ok(())
    }

    fn next(&mut self) -> Option<Bytes> {
        if self.round.is_empty() {
            self.round = std::mem::take(&mut self.parents);
        }
        self.round.pop_first()
    }

    fn look_at(&mut self, log: &mut Log, blobs: &BlobStore, path: Bytes) -> Result<(), RecordError> {
        let known = self.chains.get(&path).and_then(|chain| chain.stamp);
        let look = match self.live.look(&path, known) {
            Ok(look) => look,
            Err(e) => return passed_over(e),
        };
        match look {
            Look::Hidden => {
                self.live.forget(&path);
                self.look_at_report(log, &path)?;
            }
            Look::Same => {}
            Look::Moving => drop(self.touched.insert(path)),
            Look::Base if self.chains.get(&path).is_none() => self.live.forget(&path),
            Look::Base => self.is_now(log, blobs, path, Now::Base)?,
            Look::Nothing => self.is_now(log, blobs, path, Now::Nothing)?,
            Look::Seen(seen) => self.is_now(log, blobs, path, Now::Seen(seen))?,
        }
        Ok(())
    }

    fn look_at_report(&mut self, log: &mut Log, path: &Bytes) -> Result<(), RecordError> {
        match self.reports.look(&mut self.live, path) {
            Some(result) => self.reported(log, result),
            None => Ok(()),
        }
    }

    /// Records what a report says of tests.
    fn reported(&self, log: &mut Log, result: TestResult) -> Result<(), RecordError> {
        let cause = self.suspects.0.first().copied().unwrap_or(0);
        log.append(Some((cause, Link::Window)), EventKind::TestResult(result))?;
        Ok(())
    }

    /// Records what a path is now, where that differs from what it was.
    fn is_now(&mut self, log: &mut Log, blobs: &BlobStore, path: Bytes, now: Now) -> Result<(), RecordError> {
        if self.chains.get(&path).is_none() {
            if self.chains.is_full() {
                self.missed += 1;
                self.live.forget(&path);
                return Ok(());
            }
            match self.live.base(&path) {
                // A pattern may be for directories only, and of what is gone its base alone tells that it was one.
                Ok(base) if is_directory(base.as_ref()) && !self.live.shows(&path, true) => return Ok(()),
                Ok(base) => self.chains.begin(path.clone(), base),
                Err(e) => return passed_over(e),
            }
        }
        let Some(chain) = self.chains.get_mut(&path) else { return Ok(()) };
        let was_directory = is_directory(chain.last.as_ref());
        let (after, text) = match now {
            Now::Nothing => (None, None),
            Now::Base => (chain.base(), None),
            Now::Seen(ref seen) if chain.is_deferred(&seen.entry) => return Ok(()),
            Now::Seen(ref seen) if chain.is_base(&seen.entry, seen.empty) => (chain.base(), None),
            Now::Seen(ref seen) => (Some(seen.entry.clone()), seen.text.as_deref()),
        };
        // What goes with a directory of the real tree when the workspace deletes or hides it.
        let hides = match &now {
            Now::Seen(seen) => seen.hides || seen.entry.kind != FileKind::Directory,
            Now::Nothing => true,
            Now::Base => false,
        };
        let expand = hides && is_directory(chain.base.as_deref()) && !std::mem::replace(&mut chain.expanded, hides);
        chain.stamp = match &now {
            Now::Seen(seen) => seen.stamp,
            _ => None,
        };
        let unstable = matches!(&now, Now::Seen(seen) if !seen.stable);
        let directory = matches!(&now, Now::Seen(seen) if seen.entry.kind == FileKind::Directory);
        let changed = !is_same(chain.last.as_ref(), after.as_ref());
        let came_or_went = changed && chain.last.is_none() != after.is_none();
        if changed {
            let version = self.versions.keep(blobs, chain, text)?;
            chain.record(log, &path, after, &self.suspects.0, version)?;
            if let Some(result) = text
                .filter(|text| text.trim_ascii_start().starts_with(b"<"))
                .and_then(|text| testrun::report(&path, text))
            {
                self.reported(log, result)?;
            }
        }
        if expand {
            self.round.extend(self.live.below(&path, MOST_BELOW));
        }
        if came_or_went {
            self.look_at_parent(&path);
        }
        // What was below a directory of the layer went with it, without a notice of its own.
        if !directory && (was_directory || !matches!(now, Now::Seen(_))) {
            self.touched.extend(self.chains.changed_below(&path));
        }
        if unstable {
            self.touched.insert(path);
        }
        Ok(())
    }

    /// A directory of the run's own is listed where it is empty only.
    fn look_at_parent(&mut self, path: &Bytes) {
        let parent = split(&path.0).0;
        if parent.is_empty() {
            return;
        }
        let parent = Bytes::from(parent);
        let is_listed = self.chains.get(&parent).is_some_and(|chain| chain.last.is_some());
        let is_gone = self.chains.get(path).is_some_and(|chain| chain.last.is_none());
        if is_listed || is_gone {
            self.parents.insert(parent);
        }
    }
}

/// Commands by their `process.exec`, the latest first, each once, so many at the most.
#[derive(Debug, Default)]
struct Commands(Vec<u64>);

impl Commands {
    fn add(&mut self, more: &[u64]) {
        self.0.extend_from_slice(more);
        self.0.sort_unstable_by(|a, b| b.cmp(a));
        self.0.dedup();
        self.0.truncate(MOST_COMMANDS);
    }
}

/// What a look found.
enum Now {
    Base,
    Nothing,
    Seen(Seen),
}

fn is_directory(entry: Option<&Entry>) -> bool {
    entry.is_some_and(|entry| entry.kind == FileKind::Directory)
}

/// What cannot be read is a problem of the change set's at the end; what concerns the recorder itself ends the run.
fn passed_over(e: WorkspaceError) -> Result<(), RecordError> {
    if e.is_about_one_path() { Ok(()) } else { Err(e.into()) }
}
