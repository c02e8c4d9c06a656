//! Promotion, undo and discard of a stored run, with their evidence.

use cofferdam_core::Timestamp;
use cofferdam_core::event::{EventKind, Promotion};
use cofferdam_evidence::{Log, RecorderKey, Recovery, Secrets, Striker, Writing, read_events};
use cofferdam_workspace::promote::{
    self, Decision, End, Fault, Kind, Outcome, Plan, PromoteError, RootDir, Selection, StageOptions, Undone,
};
use cofferdam_workspace::{ChangeSet, Layers, WorkspaceError};

use crate::store::{Lock, Run, Store, StoreError, remove_layers};

/// What went wrong beyond the promotion itself.
#[derive(Debug, thiserror::Error)]
pub enum PromotionError {
    /// The run is still going on, or another command changes it.
    #[error("run {0} is busy: it still runs, or another coffer command works on it")]
    Busy(String),
    /// Its layers are gone.
    #[error("run {0} was discarded: its layers are gone, its evidence stays")]
    Discarded(String),
    /// It only repeated a command of another run.
    #[error("run {run} only repeated a test of run {of}: promote that one")]
    Rerun {
        /// The run.
        run: String,
        /// The one that it tested.
        of: String,
    },
    /// It never was promoted.
    #[error("run {0} was not promoted: there is nothing to undo")]
    NothingToUndo(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The layers.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The promotion.
    #[error(transparent)]
    Promote(#[from] PromoteError),
    /// The evidence.
    #[error("the evidence of this run cannot be continued, so nothing was done: {0}")]
    Evidence(#[from] cofferdam_evidence::Error),
}

/// A stored run that has ended, taken for changing it or what comes of it.
#[derive(Debug)]
pub struct Held {
    run: Run,
    root: RootDir,
    secrets: Secrets,
    _lock: Lock,
}

/// The layers of a run, for looking.
///
/// # Errors
/// Where they are gone.
pub fn layers(run: &Run) -> Result<Layers, PromotionError> {
    if run.record.discarded.is_some() {
        return Err(PromotionError::Discarded(run.record.run.to_string()));
    }
    Ok(Layers::open(run.record.project.as_path(), run.upper(), run.base())?)
}

impl Held {
    /// Takes a run. The secrets are struck out of what is added to its evidence.
    ///
    /// # Errors
    /// Where it still runs or its project is gone.
    pub fn take(run: Run, secrets: Secrets) -> Result<Held, PromotionError> {
        let lock = run.lock()?.ok_or_else(|| PromotionError::Busy(run.record.run.to_string()))?;
        let root = RootDir::open(run.record.project.as_path())?;
        Ok(Held { run, root, secrets, _lock: lock })
    }

    /// The run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The unfinished promotion, if there is one.
    ///
    /// # Errors
    /// Where the journal does not read.
    pub fn pending(&self) -> Result<Option<promote::Pending>, PromotionError> {
        Ok(promote::pending(&self.run.directory)?)
    }

    /// What a promotion would do.
    ///
    /// # Errors
    /// Where a side cannot be read.
    pub fn plan(&self, layers: &Layers, changes: &ChangeSet, selection: &Selection) -> Result<Plan, PromotionError> {
        if let Some(from) = self.run.record.from.as_ref().filter(|_| self.run.is_rerun()) {
            let run = self.run.record.run.to_string();
            return Err(PromotionError::Rerun { run, of: from.run.to_string() });
        }
        let mut plan = promote::plan(&self.root, layers, &changes.changes, selection)?;
        for planned in &mut plan.paths {
            // Surely the base, and not surely what the run had read: it may have rewritten an older version, and a silent
            // take would lose the person's edit.
            let asked = selection.confirmed || selection.names(&planned.path);
            let taken = planned.step.is_some() && planned.decision == Decision::Take;
            if taken && !asked && layers.base_edited_during_run(&planned.path)? {
                planned.step = None;
                planned.decision = Decision::NeedsConfirmation {
                    executes: "you changed it while the run went on, which may not have seen that".to_owned(),
                };
            }
        }
        Ok(plan)
    }

    /// Carries a plan out and records it. The evidence is opened first: what cannot be recorded is not done.
    ///
    /// # Errors
    /// As staging and applying.
    pub fn promote(
        &self,
        layers: &Layers,
        plan: &Plan,
        umask: u32,
        fault: &mut Fault<'_>,
    ) -> Result<Outcome, PromotionError> {
        let mut log = self.log()?;
        let options = StageOptions { run_dir: &self.run.directory, umask };
        let staged = promote::stage(plan, &self.root, layers, options, fault)?;
        let outcome = promote::apply(staged, fault)?;
        record(&mut log, &outcome)?;
        Ok(outcome)
    }

    /// Ends an unfinished promotion forward.
    ///
    /// # Errors
    /// As applying.
    pub fn continue_(&self, fault: &mut Fault<'_>) -> Result<Outcome, PromotionError> {
        let mut log = self.log()?;
        let outcome = promote::continue_(&self.run.directory, &self.root, fault)?;
        record(&mut log, &outcome)?;
        Ok(outcome)
    }

    /// Takes an unfinished promotion back.
    ///
    /// # Errors
    /// As applying.
    pub fn abort(&self, fault: &mut Fault<'_>) -> Result<Outcome, PromotionError> {
        let mut log = self.log()?;
        let outcome = promote::abort(&self.run.directory, &self.root, fault)?;
        record(&mut log, &outcome)?;
        Ok(outcome)
    }

    /// Takes the latest promotion back that was not undone yet.
    ///
    /// # Errors
    /// Where there is none; as staging and applying.
    pub fn undo(&self, fault: &mut Fault<'_>) -> Result<Undone, PromotionError> {
        let number = promote::latest_applied(&self.run.directory)?
            .ok_or_else(|| PromotionError::NothingToUndo(self.run.record.run.to_string()))?;
        let mut log = self.log()?;
        let undone = promote::undo(&self.run.directory, number, &self.root, fault)?;
        if let Some(outcome) = &undone.outcome {
            record(&mut log, outcome)?;
        }
        Ok(undone)
    }

    /// Throws the layers away; the evidence stays, and so does what a promotion needs to be undone. The bytes that were
    /// freed.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub fn discard(mut self, unpromoted: u64) -> Result<u64, PromotionError> {
        let mut log = self.log()?;
        let bytes = remove_layers(&self.run.directory)?;
        log.append(None, EventKind::RunDiscarded { bytes, unpromoted })?;
        log.checkpoint()?;
        self.run.record.discarded = Some(Timestamp::now());
        self.run.write_record()?;
        Ok(bytes)
    }

    pub(crate) fn log(&self) -> Result<Log, PromotionError> {
        let key = RecorderKey::load_or_create(&Store::of_run(&self.run.directory).keys())?;
        let (mut log, recovery) = Log::reopen(&self.run.evidence(), key)?;
        log.write_with(Writing { striker: Striker::new(&self.secrets)?, ..Writing::default() });
        self.catch_up(&mut log, &recovery)?;
        Ok(log)
    }

    /// Where a command was killed between what it did and what it wrote about it, this one writes it.
    fn catch_up(&self, log: &mut Log, recovery: &Recovery) -> Result<(), PromotionError> {
        let gaps = [
            ("bytes of a half-written event, moved aside", recovery.torn_line.as_ref().map_or(0, |torn| torn.bytes)),
            ("events that no checkpoint covered when coffer was killed", recovery.unsigned),
        ];
        for (what, count) in gaps.into_iter().filter(|(_, count)| *count > 0) {
            log.append(None, EventKind::EvidenceGap { what: what.to_owned(), count })?;
        }
        let mut known = Vec::new();
        for event in read_events(&self.run.evidence())? {
            if let EventKind::PromotionApplied(data) | EventKind::PromotionUndone(data) = event?.what {
                known.push(data.number);
            }
        }
        for outcome in promote::finished(&self.run.directory, &known)? {
            log.append(None, event_of(&outcome))?;
        }
        Ok(log.checkpoint()?)
    }
}

/// Writes the event of a promotion, and waits for the disk: a promotion is rare and must be there after a power loss.
fn record(log: &mut Log, outcome: &Outcome) -> Result<(), PromotionError> {
    log.append(None, event_of(outcome))?;
    log.checkpoint()?;
    Ok(log.sync_handle()?.sync()?)
}

fn event_of(outcome: &Outcome) -> EventKind {
    let data = Promotion {
        number: outcome.number,
        paths: outcome.changed.clone(),
        left: outcome.left,
        uid: rustix::process::getuid().as_raw(),
    };
    match (outcome.end, outcome.what) {
        (End::RolledBack, _) => EventKind::PromotionAborted(data),
        (End::Applied, Kind::Promotion) => EventKind::PromotionApplied(data),
        (End::Applied, Kind::Undo { .. }) => EventKind::PromotionUndone(data),
    }
}
