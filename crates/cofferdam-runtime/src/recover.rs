//! Settling a run whose monitor died: the next command that looks at it does what the monitor could not.

use cofferdam_core::event::{EndReason, EventKind, RunEnded};
use cofferdam_evidence::{BlobStore, Log, RecorderKey, Secrets, Striker, Writing};
use cofferdam_workspace::Layers;

use crate::monitor::{RecordError, record_end, write_end_of_log};
use crate::store::{Run, Store, remove_run};

/// Settles a run that nobody runs any more and that has no end: the log is verified, what was torn is named, the change
/// set is recorded as it lies, without the secrets. A run whose log was never begun never ran: what there is of it is removed.
///
/// # Errors
/// [`RecoverError`], where the evidence contradicts itself or cannot be written; nothing is lost then.
pub fn recover(run: &mut Run, secrets: impl FnOnce() -> Secrets) -> Result<Recovered, RecoverError> {
    if run.record.ended.is_some() || run.record.discarded.is_some() {
        return Ok(Recovered::Nothing);
    }
    let Some(_lock) = run.lock()? else { return Ok(Recovered::Nothing) };
    crate::alive::await_end(&run.directory)
        .map_err(|e| RecoverError::Enclosure { run: run.record.run.to_string(), source: e })?;
    if !run.evidence().join("log.jsonl").exists() {
        remove_run(&run.directory)?;
        return Ok(Recovered::NeverBegan);
    }
    let name = run.record.run.to_string();
    let failed = |e: RecordError| RecoverError::Record { run: name.clone(), error: e.to_string() };
    let evidence = |e: cofferdam_evidence::Error| failed(RecordError::Evidence(e));
    let key = RecorderKey::load_or_create(&Store::of_run(&run.directory).keys()).map_err(evidence)?;
    let (mut log, recovery) = Log::reopen(&run.evidence(), key).map_err(evidence)?;
    let striker = Striker::new(&secrets()).map_err(evidence)?;
    log.write_with(Writing { striker: striker.clone(), ..Writing::default() });
    let mut gap = |what: &str, count: u64| {
        if count == 0 {
            return Ok(());
        }
        log.append(None, EventKind::EvidenceGap { what: what.to_owned(), count }).map(drop)
    };
    gap("bytes of a half-written event, moved aside", recovery.torn_line.map_or(0, |t| t.bytes)).map_err(evidence)?;
    gap("events that no checkpoint covered when the monitor died", recovery.unsigned).map_err(evidence)?;
    let blobs = BlobStore::open(&run.evidence()).map_err(evidence)?.striking(striker);
    let salvaged = blobs.salvage().map_err(evidence)?;
    gap("recordings cut when the monitor died", salvaged.len() as u64).map_err(evidence)?;
    let ended = RunEnded {
        reason: EndReason::MonitorDied,
        code: None,
        signal: None,
        milliseconds: 0,
        changed: 0,
        files: None,
        ignored: 0,
        execs: 0,
        memory: None,
        network: None,
    };
    let layers = Layers::open(run.record.project.as_path(), run.upper(), run.base())
        .map_err(|e| failed(RecordError::Workspace(e)))?;
    // Before the change set is read: what a cut-off rename had moved is where it was again.
    let restored = cofferdam_enclosure::restore(layers.upper_fd(), layers.root_fd())
        .map_err(|e| failed(RecordError::Renames(e.into())))?;
    gap("directory renames cut off in the middle, taken back", restored.whole).map_err(evidence)?;
    gap("directory renames cut off in the middle, not taken back", restored.left).map_err(evidence)?;
    let end = write_end_of_log(&mut log, &blobs, (&run.evidence(), &layers), ended).map_err(failed)?;
    log.checkpoint().map_err(evidence)?;
    record_end(&run.directory.clone(), &mut run.record, &end.ended).map_err(failed)?;
    Ok(Recovered::Settled)
}

/// What there was to recover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing: it runs, or is settled.
    Nothing,
    /// It is settled now.
    Settled,
    /// It never began and is gone.
    NeverBegan,
}

/// A dead run could not be settled.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// What ran inside did not end.
    #[error("run {run} ended without its monitor, and its processes cannot be waited for: {source}")]
    Enclosure {
        /// The run.
        run: String,
        /// Why.
        source: std::io::Error,
    },
    /// The evidence or the layers.
    #[error("run {run} ended without its monitor and cannot be settled: {error}")]
    Record {
        /// The run.
        run: String,
        /// Why.
        error: String,
    },
}
