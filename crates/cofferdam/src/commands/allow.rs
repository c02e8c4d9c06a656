//! `coffer allow`.

use std::process::ExitCode;

use cofferdam_policy::addition::{Addition, AdditionError};
use cofferdam_policy::{Rule, render};
use cofferdam_runtime::control::{self, ControlError, Request};
use cofferdam_runtime::plan::{Host, project_root};
use cofferdam_runtime::store::{Run, Store};

use super::{Answer, Target, policy};
use crate::failure::Failure;
use crate::host;
use crate::output::{self, Colour};

/// `coffer allow`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Adds a rule to your own policy, for this and all later runs, and tells the runs of this project that are \
    going on.\n\nExamples:\n  coffer allow api.github.com --purpose \"read issues\" --method GET --path '/repos/acme/**'\n  \
    coffer allow host.cofferdam:5432 --purpose \"the test database\" --live"
)]
pub struct AllowArgs {
    /// A name, *.suffix or address, with :PORT where it is neither 443 nor 80; host.cofferdam:PORT is this machine
    #[arg(value_name = "HOST[:PORT]")]
    host: String,
    /// What it is for, in a few words
    #[arg(long, short, value_name = "TEXT")]
    purpose: String,
    /// Only this method; may be repeated
    #[arg(long, value_name = "METHOD")]
    method: Vec<String>,
    /// Only paths that match this pattern; may be repeated
    #[arg(long, value_name = "PATTERN")]
    path: Vec<String>,
    /// Until this date or moment, as in 2027-01-31
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
    /// Tell this run only, not all that go on in this project
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Only while the run goes on: write nothing into your policy
    #[arg(long)]
    live: bool,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Adds a rule, and tells the runs that go on.
pub fn allow(args: &AllowArgs, colour: Colour) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let addition = Addition {
        host: args.host.clone(),
        purpose: args.purpose.clone(),
        methods: args.method.clone(),
        paths: args.path.clone(),
        expires: args.expires.clone(),
        ..Addition::default()
    };
    let live = going_on(&host, &store, args.run.as_deref())?;
    if args.live && live.is_empty() {
        return Err(
            Failure::new("no run of this project is going on").next("without --live the rule is kept for later runs")
        );
    }
    let rule = match args.live {
        true => addition.live(1),
        false => addition.append(&host::person_policy(&host)),
    };
    let rule = rule.map_err(|e| refused(e, colour))?;
    let mut told = Vec::new();
    for run in &live {
        match control::ask(run, &Request::Allow(serde_json::to_value(&rule).map_err(Failure::new)?), &[]) {
            Ok(_) => told.push(run.record.run.clone()),
            // It ended meanwhile.
            Err(ControlError::NotLive(_)) if !args.live => {}
            Err(e) => return Err(Failure::new(e)),
        }
    }
    if args.json {
        output::json(&serde_json::json!({ "rule": rule, "kept": !args.live, "runs": told }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let place = place(&rule, &host);
    let runs = told.iter().map(|run| run.short()).collect::<Vec<_>>().join(", ");
    let runs = if runs.is_empty() { String::new() } else { format!(" · in force in run {runs}") };
    output::print(format!(
        "allowed {} for \"{}\"{place}{runs}\n",
        output::visible(rule.host.to_string().as_bytes()),
        output::visible(rule.purpose.as_bytes())
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The runs that are to be told.
fn going_on(host: &Host, store: &Store, named: Option<&str>) -> Result<Vec<Run>, Failure> {
    if let Some(name) = named {
        return Ok(vec![Target::find(host, store, name)?.run]);
    }
    let project = project_root(host, store)?;
    let mut live = Vec::new();
    for run in store.runs()?.runs {
        if run.record.project.as_path() == project && run.record.ended.is_none() && run.is_live()? {
            live.push(run);
        }
    }
    Ok(live)
}

fn place(rule: &Rule, host: &Host) -> String {
    let file = rule.id.file.as_deref().map(|path| host.short(path));
    file.map_or_else(String::new, |path| {
        format!(" · {}:{}", output::visible(path.as_os_str().as_encoded_bytes()), rule.id.line)
    })
}

fn refused(error: AdditionError, colour: Colour) -> Failure {
    match &error {
        AdditionError::Rule(source, diagnostics) => {
            let text = render(source, diagnostics, policy::style(colour.stderr()));
            Failure::new(format!("{error}:\n{}", text.trim_end()))
        }
        _ => Failure::new(error),
    }
}
