//! What an export can fail of.

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The evidence cannot be read.
    #[error(transparent)]
    Evidence(#[from] cofferdam_evidence::Error),
    /// The export cannot be written.
    #[error("the export cannot be written: {0}")]
    Write(#[from] std::io::Error),
    /// Something does not serialise.
    #[error("the export cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The log does not begin with a run.
    #[error(
        "the log does not begin with `run.started`: there is nothing to export; `coffer verify` says what is wrong"
    )]
    NoRun,
    /// There is no terminal recording.
    #[error("run {0} had no terminal, so there is no recording of one; `--format html` has what its commands printed")]
    NoTerminal(String),
    /// The recording is gone.
    #[error("the terminal recording of run {run} {why}")]
    RecordingGone {
        /// The run.
        run: String,
        /// What became of it, as a clause.
        why: String,
    },
    /// Only evidence that verifies is vouched for.
    #[error(
        "run {run} is not vouched for with a signature, because its evidence does not verify: {why}; `coffer verify {run}` says more"
    )]
    NotVerified {
        /// The run.
        run: String,
        /// Why not, as a clause.
        why: String,
    },
    /// A diff is not whole.
    #[error(
        "{count} changed files could not be compared, the first is `{path}`: a statement over part of a diff would be none over the run"
    )]
    PartOfADiff {
        /// How many.
        count: usize,
        /// The first of them.
        path: String,
    },
}
