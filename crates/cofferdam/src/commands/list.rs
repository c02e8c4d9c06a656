//! `coffer list`.

use std::process::ExitCode;

use cofferdam_core::Timestamp;
use cofferdam_core::event::{EndReason, RunEnded};
use cofferdam_core::plan::{Origin, Purpose};
use cofferdam_runtime::control::{self, Reply, Request};
use cofferdam_runtime::listing::Listing;
use cofferdam_runtime::plan::project_root;
use cofferdam_runtime::store::{Run, RunRecord};
use serde::Serialize;

use super::Answer;
use crate::failure::Failure;
use crate::output::{self, Colour};
use crate::{exit, host};

/// `coffer list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Runs of every project, not of this one only
    #[arg(long, short)]
    all: bool,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    record: &'a RunRecord,
    state: &'static str,
    /// Ports that listen inside, of a run that goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    listens: Option<Vec<u16>>,
}

/// Lists runs, newest first.
pub fn list(args: &ListArgs, colour: Colour) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let Listing { mut runs, mut broken } = store.runs()?;
    if !args.all {
        let project = project_root(&host, &store)
            .map_err(|e| Failure::new(e).next("or list the runs of every project: coffer list --all"))?;
        runs.retain(|run| run.record.project.as_path() == project);
        broken.retain(|run| run.may_be_of(&project));
    }
    for run in &broken {
        output::complain(&format!("run {} is left out: {}", run.run, run.error));
    }
    let mut rows = Vec::new();
    // What has no log never ran: the next command that looks for it clears it away.
    for run in runs.iter().filter(|run| run.evidence().join("log.jsonl").exists()) {
        let state = state(run)?;
        let listens = (args.json && state == "running").then(|| listening(run)).flatten();
        rows.push(Row { record: &run.record, state, listens });
    }
    if args.json {
        output::json(&rows)?;
    } else if rows.is_empty() && broken.is_empty() {
        output::remark("no runs yet: coffer run COMMAND makes one");
    } else if !rows.is_empty() {
        output::print(human(&rows, args.all, colour.stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The ports that listen inside; `None` where the run does not say.
fn listening(run: &Run) -> Option<Vec<u16>> {
    match control::ask(run, &Request::Listening, &[]) {
        Ok(Reply::Listening(ports)) => Some(ports),
        // It has ended meanwhile, has only begun, or cannot know.
        _ => None,
    }
}

/// One word for where a run stands.
pub fn state(run: &Run) -> Result<&'static str, Failure> {
    Ok(match (&run.record.ended, run.record.discarded) {
        (_, Some(_)) => "discarded",
        (Some(_), None) => "ended",
        (None, None) if run.is_live()? => "running",
        (None, None) => "died",
    })
}

fn human(rows: &[Row<'_>], projects: bool, colour: bool) -> String {
    let mut table = vec![["RUN", "AGENT", "STARTED", "STATE", "EXIT", "CHANGED", "DENIED"].map(str::to_owned).to_vec()];
    if projects {
        table[0].push("PROJECT".to_owned());
    }
    for row in rows {
        let record = row.record;
        let ended = record.ended.as_ref().map(|e| &e.facts);
        let mut cells = vec![
            record.run.to_string(),
            agent(record),
            ago(record.started),
            row.state.to_owned(),
            ended.map_or("-".to_owned(), outcome),
            ended.map_or("-".to_owned(), changed),
            ended.and_then(|ended| ended.network).map_or("-".to_owned(), |network| network.denied.to_string()),
        ];
        if projects {
            cells.push(output::visible(&record.project.0));
        }
        table.push(cells);
    }
    let text = output::table(&table);
    match text.split_once('\n') {
        Some((head, rest)) => format!("{}\n{rest}", output::styled(head, "2", colour)),
        None => text,
    }
}

/// Whose run it is, and of which run it repeated a test.
fn agent(record: &RunRecord) -> String {
    let name = output::visible(record.agent.as_bytes());
    match &record.from {
        Some(Origin { run, purpose: Some(Purpose::Rerun) }) => format!("{name}, rerun of {}", run.short()),
        Some(Origin { run, purpose: None }) => format!("{name}, from {}", run.short()),
        None => name,
    }
}

/// What `coffer diff --stat` counts; of a run of an earlier version, paths.
fn changed(ended: &RunEnded) -> String {
    ended.files.map_or_else(|| output::counted(ended.changed, "path"), |files| output::counted(files, "file"))
}

/// How a run ended, in a word: the exit code, or why there is none.
fn outcome(ended: &RunEnded) -> String {
    match (ended.reason, ended.code, ended.signal) {
        (_, Some(code), _) => code.to_string(),
        (_, _, Some(signal)) => exit::of_signal(signal).to_string(),
        (EndReason::ClientGone, ..) => "hung up".to_owned(),
        (EndReason::Stopped, ..) => "stopped".to_owned(),
        (EndReason::InitDied, ..) => "killed".to_owned(),
        (EndReason::MonitorDied, ..) => "died".to_owned(),
        (EndReason::NotExecuted, ..) => "not run".to_owned(),
        (EndReason::Exited, ..) => "?".to_owned(),
    }
}

fn ago(then: Timestamp) -> String {
    let seconds = (Timestamp::now().0 - then.0).max(0) / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}
