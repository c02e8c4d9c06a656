//! `coffer doctor`: tries what must fail and what must work, and says how to mend what does not hold.
//!
//! It does not ask whether a feature exists. A run of this very program inside an enclosure attacks planted targets, and
//! what counts is what the outside saw of it.

pub mod host;
mod network;
mod plant;
pub mod probe;

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::Answer;
use crate::failure::Failure;
use crate::output::{self, Colour};

/// `coffer doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// One thing that was tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What must hold.
    pub name: String,
    /// Whether it does.
    pub holds: bool,
    /// What was seen.
    pub seen: String,
    /// How to mend it, where it does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    /// A check and what was seen.
    pub fn new(name: &str, holds: bool, seen: impl Into<String>) -> Check {
        Check { name: name.to_owned(), holds, seen: seen.into(), fix: None }
    }
}

#[derive(Serialize)]
struct Findings {
    host: Vec<Check>,
    boundary: Vec<Check>,
    network: Vec<Check>,
    holds: bool,
}

/// Examines this machine.
pub fn doctor(args: &DoctorArgs, colour: Colour) -> Answer {
    let facts = crate::host::host()?;
    let host = host::examine(&crate::host::store(&facts));
    let probe::Probed { boundary, network } = plant::examine(&facts)?;
    let holds = boundary.iter().all(|c| c.holds);
    let findings = Findings { host, boundary, network, holds };
    if args.json {
        output::json(&findings)?;
    } else {
        output::print(human(&findings, colour.stdout()))?;
    }
    if holds {
        return Ok(ExitCode::SUCCESS);
    }
    if args.json {
        return Ok(ExitCode::from(crate::exit::OURS));
    }
    Err(Failure::new("the boundary does not hold on this machine").next("the lines marked ✗ say what to do"))
}

fn human(findings: &Findings, colour: bool) -> String {
    let mut text = String::new();
    for (title, checks) in [
        ("this machine", &findings.host),
        ("the boundary, tried", &findings.boundary),
        ("the network that programs find", &findings.network),
    ] {
        if checks.is_empty() {
            continue;
        }
        text.push_str(&format!("{}\n", output::styled(title, "1", colour)));
        let rows: Vec<Vec<String>> = checks
            .iter()
            .map(|c| {
                let mark =
                    if c.holds { output::styled("✓", "32", colour) } else { output::styled("✗", "31", colour) };
                vec![format!("  {mark} {}", c.name), output::visible(c.seen.as_bytes())]
            })
            .collect();
        text.push_str(&output::table(&rows));
        for check in checks.iter().filter(|c| !c.holds) {
            if let Some(fix) = &check.fix {
                text.push_str(&format!("\n  {}:\n", check.name));
                for line in fix.lines() {
                    text.push_str(&format!("      {line}\n"));
                }
            }
        }
    }
    text
}
