//! `coffer policy show`.

use std::process::ExitCode;

use cofferdam_core::Timestamp;

use super::Read;
use super::listing::{Listing, facts};
use crate::commands::{Answer, credential};
use crate::output::{self, Colour};

/// `coffer policy show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// With what a run with --resolve may reach besides
    #[arg(long)]
    resolve: bool,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Shows the rules of all layers that count.
pub fn show(args: &ShowArgs, colour: Colour) -> Answer {
    let Read { host, places, layers, policy } = super::read(args.resolve)?;
    let now = Timestamp::now();
    if args.json {
        output::json(&serde_json::json!({
            "credentials": layers.credentials().iter().map(credential::facts).collect::<Vec<_>>(),
            "rules": policy.rules().iter().map(|rule| facts(rule, now)).collect::<Vec<_>>(),
            "tripwires": layers.tripwires(),
            "left_out": layers.left_out(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rules: Vec<_> = policy.rules().iter().collect();
    let listing = Listing { now, project: &places.project, host: &host, colour: colour.stdout() };
    let text = match rules.is_empty() {
        true => "no rules: nothing may leave\n\n".to_owned(),
        false => listing.text(&rules),
    };
    let tripwires = if layers.tripwires() { "" } else { "tripwires are switched off\n\n" };
    let credentials = match layers.credentials() {
        [] => String::new(),
        all => format!(
            "{}\n{}\n",
            output::styled("credentials", "1", colour.stdout()),
            credential::listing(all, &places.project, &host)
        ),
    };
    output::print(format!("{text}{credentials}{tripwires}"))?;
    super::say_left_out(&layers);
    Ok(ExitCode::SUCCESS)
}
