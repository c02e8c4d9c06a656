//! `coffer policy show`.

use std::process::ExitCode;

use cofferdam_core::Timestamp;
use cofferdam_policy::models::{ModelPolicy, ModelRules, Tools};
use cofferdam_policy::rule::RuleId;

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
    let models = layers.models(ModelRules::default())?;
    if args.json {
        output::json(&serde_json::json!({
            "credentials": layers.credentials().iter().map(credential::facts).collect::<Vec<_>>(),
            "rules": policy.rules().iter().map(|rule| facts(rule, now)).collect::<Vec<_>>(),
            "models": models.0,
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
    let models = match models.is_empty() {
        true => String::new(),
        false => format!("{}\n{}\n", output::styled("models", "1", colour.stdout()), models_listing(&models)),
    };
    output::print(format!("{text}{credentials}{models}{tripwires}"))?;
    super::say_left_out(&layers);
    Ok(ExitCode::SUCCESS)
}

/// What is said of models, a line each.
fn models_listing(models: &ModelPolicy) -> String {
    let mut text = String::new();
    let mut line = |id: &RuleId, key: &str, what: String| {
        text.push_str(&format!("  {}:{}  {key}  {}\n", id.layer, id.line, output::visible(what.as_bytes())));
    };
    for layer in &models.0 {
        let lists = [
            ("allow", &layer.allow),
            ("deny", &layer.deny),
            ("providers", &layer.providers),
            ("never-send", &layer.never_send),
        ];
        for (key, list) in lists {
            if let Some(said) = list {
                line(&said.id, key, said.value.join(", "));
            }
        }
        for route in &layer.route {
            line(&route.id, "route", format!("{} to {}", route.from, route.to));
        }
        if let Some(said) = &layer.tools {
            let (key, names) = match &said.value {
                Tools::Allow(names) => ("tools allow", names),
                Tools::Deny(names) => ("tools deny", names),
            };
            line(&said.id, key, names.join(", "));
        }
        for budget in &layer.budgets {
            line(&budget.id, "budget", budget.to_string());
        }
    }
    text
}
