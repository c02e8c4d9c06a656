//! `coffer verify`.

mod bundle;
mod report;
mod rerun;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cofferdam_evidence::{Commitment, Options, RecorderKey, Report, State, VerifierKey, verify as check};
use cofferdam_runtime::agreement::{Agreement, compare};
use cofferdam_runtime::promotion::layers;
use cofferdam_runtime::store::{Run, Store};

use super::{Answer, Target};
use crate::failure::Failure;
use crate::host;
use crate::output::{self, Colour};

/// `coffer verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 verified, or proven; 1 cut (the record stops early, what is signed is good); \
                        2 tampered, or not proven; 3 the log is good, and the layers are not what it says. \
                        With --rerun: 0 where also every recorded test command is reproduced, 1 where one is not, or \
                        there is none.")]
pub struct VerifyArgs {
    /// A run, an evidence directory, a log.jsonl, or a proof of one event (default: the latest run of this project)
    #[arg(default_value = "@", value_name = "RUN|FILE")]
    run: String,
    /// The public key you trust, or a file that holds it (default: this store's own)
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// What was published of the log, for instance in a commit: SIZE:ROOT
    #[arg(long, value_name = "SIZE:ROOT")]
    witness: Option<String>,
    /// Repeat the recorded test commands on what the run left, each in a fresh enclosure, and stamp the evidence with
    /// what came of it
    #[arg(long)]
    rerun: bool,
    /// Longest time of one repetition, in seconds (default: ten times the recorded one, at least 60)
    #[arg(long, value_name = "SECONDS", requires = "rerun", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// The layers are not what the log says.
const DISAGREES: u8 = 3;

/// Verifies the evidence of a run, or a proof.
pub fn verify(args: &VerifyArgs, colour: Colour) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let named = PathBuf::from(&args.run);
    if args.rerun {
        return rerun::verify(args, &host, &store, colour);
    }
    let key = trusted(args, &store)?;
    let (path, run) = if args.run.contains('/') || named.exists() {
        let path = host.cwd.join(named);
        if bundle::is_bundle(&path)? {
            return bundle::verify(&path, key.as_ref(), args.json, colour);
        }
        (path, None)
    } else {
        let run = Target::find(&host, &store, &args.run)?.run;
        (run.evidence(), Some(run))
    };
    let found = examine(args, &path, run.as_ref(), key.as_ref())?;
    let Found { report, agreement } = &found;
    if args.json {
        output::json(&report::facts(report, agreement.as_ref()))?;
    } else {
        output::print(report::human(report, agreement.as_ref(), colour.stdout()))?;
    }
    Ok(ExitCode::from(found.code()))
}

/// What a verification found.
struct Found {
    report: Report,
    agreement: Option<Agreement>,
}

impl Found {
    /// The exit code that says it.
    fn code(&self) -> u8 {
        match self.report.state {
            State::Tampered(_) => 2,
            _ if !self.agreement.as_ref().is_none_or(Agreement::holds) => DISAGREES,
            State::Verified => 0,
            State::Cut => 1,
        }
    }
}

/// Verifies the log, and the layers where there are any. Confines this thread first.
fn examine(args: &VerifyArgs, path: &Path, run: Option<&Run>, key: Option<&VerifierKey>) -> Result<Found, Failure> {
    let witness = args.witness.as_deref().map(commitment).transpose()?;
    confine(path, run)?;
    let known = run.map(|run| &run.record.run);
    let report = check(path, &Options { trusted: key, run: known, witness, blobs: true })?;
    let agreement = match run {
        Some(run) if !matches!(report.state, State::Tampered(_)) => agreement(run)?,
        _ => None,
    };
    Ok(Found { report, agreement })
}

/// The key that the person trusts: the named one, else this store's.
fn trusted(args: &VerifyArgs, store: &Store) -> Result<Option<VerifierKey>, Failure> {
    Ok(match &args.key {
        Some(key) => {
            let text = std::fs::read_to_string(key).unwrap_or_else(|_| key.clone());
            Some(VerifierKey::parse(text.trim(), "--key")?)
        }
        None if store.keys().is_dir() => {
            Some(VerifierKey::parse(RecorderKey::load_or_create(&store.keys())?.vkey(), "this store's key")?)
        }
        None => None,
    })
}

/// Leaves this process nothing but what it is to look at.
fn confine(path: &Path, run: Option<&Run>) -> Result<(), Failure> {
    let around = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let mut all = vec![around];
    if let Some(run) = run.filter(|run| has_layers(run)) {
        all.extend([run.directory.as_path(), run.record.project.as_path()]);
    }
    Ok(cofferdam_enclosure::confine_reader(&all)?)
}

/// Whether the layers of a run are there, and at rest.
fn has_layers(run: &Run) -> bool {
    run.record.discarded.is_none()
        && run.record.ended.is_some()
        && run.upper().is_dir()
        && run.record.project.as_path().is_dir()
}

/// Compares log and layers, where there are layers.
fn agreement(run: &Run) -> Result<Option<Agreement>, Failure> {
    if !has_layers(run) {
        return Ok(None);
    }
    let compared = compare(&run.evidence(), &layers(run)?, run.record.project.as_path());
    Ok(Some(compared.map_err(|e| Failure::new(format!("the layers cannot be compared with the log: {e}")))?))
}

fn commitment(text: &str) -> Result<Commitment, Failure> {
    let wrong = || Failure::new(format!("`{text}` is not SIZE:ROOT")).next("as in 42:<64 hexadecimal digits>");
    let (size, root) = text.split_once(':').ok_or_else(wrong)?;
    Ok(Commitment { size: size.parse().map_err(|_| wrong())?, root: root.to_owned().try_into().map_err(|_| wrong())? })
}
