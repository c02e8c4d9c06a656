//! `coffer verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use cofferdam_evidence::{Commitment, Options, RecorderKey, Report, SignedBy, State, VerifierKey, verify as check};
use serde_json::json;

use super::{Answer, Target};
use crate::failure::Failure;
use crate::host;
use crate::output::{self, Colour};

/// `coffer verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 verified; 1 cut (the record stops early, what is signed is good); 2 tampered.")]
pub struct VerifyArgs {
    /// A run, an evidence directory or a log.jsonl (default: the latest run of this project)
    #[arg(default_value = "@", value_name = "RUN|FILE")]
    run: String,
    /// The public key you trust, or a file that holds it (default: this store's own)
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// What was published of the log, for instance in a commit: SIZE:ROOT
    #[arg(long, value_name = "SIZE:ROOT")]
    witness: Option<String>,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Verifies the evidence of a run.
pub fn verify(args: &VerifyArgs, colour: Colour) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let named = PathBuf::from(&args.run);
    let path = if args.run.contains('/') || named.exists() {
        host.cwd.join(named)
    } else {
        Target::find(&host, &store, &args.run)?.run.evidence()
    };
    let key = match &args.key {
        Some(key) => {
            let text = std::fs::read_to_string(key).unwrap_or_else(|_| key.clone());
            Some(VerifierKey::parse(text.trim(), "--key")?)
        }
        None if store.keys().is_dir() => {
            Some(VerifierKey::parse(RecorderKey::load_or_create(&store.keys())?.vkey(), "this store's key")?)
        }
        None => None,
    };
    let witness = args.witness.as_deref().map(commitment).transpose()?;
    let around = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(&path) };
    cofferdam_enclosure::confine_reader(&[around])?;
    let report = check(&path, &Options { trusted: key.as_ref(), run: None, witness, blobs: true })?;
    if args.json {
        output::json(&facts(&report))?;
    } else {
        output::print(human(&report, colour.stdout()))?;
    }
    Ok(ExitCode::from(match report.state {
        State::Verified => 0,
        State::Cut => 1,
        State::Tampered(_) => 2,
    }))
}

fn commitment(text: &str) -> Result<Commitment, Failure> {
    let wrong = || Failure::new(format!("`{text}` is not SIZE:ROOT")).next("as in 42:<64 hexadecimal digits>");
    let (size, root) = text.split_once(':').ok_or_else(wrong)?;
    Ok(Commitment { size: size.parse().map_err(|_| wrong())?, root: root.to_owned().try_into().map_err(|_| wrong())? })
}

fn facts(report: &Report) -> serde_json::Value {
    let (state, fault) = match &report.state {
        State::Verified => ("verified", None),
        State::Cut => ("cut", None),
        State::Tampered(fault) => ("tampered", Some(fault)),
    };
    json!({
        "state": state,
        "run": report.run,
        "signed_by": signed_by(report),
        "events": report.events,
        "signed": report.signed,
        "checkpoints": report.checkpoints,
        "ended": report.ended,
        "torn": report.torn,
        "commitment": report.commitment,
        "fault": fault.map(|f| json!({
            "check": f.check, "start": f.range.start, "end": f.range.end, "seq": f.seq, "detail": f.detail,
        })),
    })
}

fn signed_by(report: &Report) -> &'static str {
    match report.signed_by {
        SignedBy::Trusted(_) => "trusted-key",
        SignedBy::Claimed(_) => "the-runs-own-key",
        SignedBy::Nobody => "nobody",
    }
}

fn human(report: &Report, colour: bool) -> String {
    let run = report.run.as_ref().map_or("a run that names itself nowhere".to_owned(), ToString::to_string);
    let (verdict, style) = match &report.state {
        State::Verified => ("verified".to_owned(), "32"),
        State::Cut => ("cut: the record stops early; what is signed is good".to_owned(), "33"),
        State::Tampered(fault) => (format!("TAMPERED: {}", output::visible(fault.to_string().as_bytes())), "31"),
    };
    let mut text = format!("{run}  {}\n", output::styled(&verdict, style, colour));
    let by = match report.signed_by {
        SignedBy::Trusted(_) => "the key you trust",
        SignedBy::Claimed(_) => "the key that the run itself claims (trust one with --key)",
        SignedBy::Nobody => "nobody",
    };
    text.push_str(&format!("  events      {}, {} signed by {by}\n", report.events, report.signed));
    if report.torn > 0 {
        text.push_str(&format!(
            "  torn        {} at the end are no whole event\n",
            output::counted(report.torn, "byte")
        ));
    }
    if let Some(c) = &report.commitment {
        text.push_str(&format!("  commitment  {}:{}\n", c.size, c.root));
    }
    text
}
