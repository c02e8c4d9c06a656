//! `coffer budget`.

use std::process::ExitCode;

use cofferdam_core::{Bytes, RunId};
use cofferdam_models::budget::ask::{Used, What};
use cofferdam_models::budget::ledger::{Book, DIRECTORY, User, day_text, read};
use cofferdam_policy::Per;
use cofferdam_policy::models::money::Micro;
use cofferdam_policy::models::{Budget, ModelRules};
use serde_json::{Value, json};

use super::Answer;
use super::policy::Read;
use crate::output;

/// `coffer budget`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Counted on this machine, for all runs; what a request reserved and nobody settled counts as used."
)]
pub struct BudgetArgs {
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Most lines of use that are shown.
const LINES: usize = 20;

/// Says what is used of each budget.
pub fn budget(args: &BudgetArgs) -> Answer {
    let Read { host, places, layers, .. } = super::policy::read(false)?;
    let policy = layers.models(ModelRules::default())?;
    let book = read(&crate::host::store(&host).root().join(DIRECTORY))?;
    let today = cofferdam_runtime::ledger::today().max(book.day());
    let project = Bytes::from(places.project.as_path());
    let budgets: Vec<&Budget> = policy.budgets().collect();
    if args.json {
        let budgets: Vec<Value> = budgets.iter().map(|budget| of_budget(&book, budget, &project, today)).collect();
        let lines: Vec<Value> = book
            .lines()
            .into_iter()
            .map(|(line, (used, reserved))| {
                json!({"day": day_text(line.day), "run": line.run, "project": line.project, "used": used, "reserved": reserved})
            })
            .collect();
        output::json(&json!({"today": day_text(today), "budgets": budgets, "used": lines}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for budget in &budgets {
        let what = match used(&book, budget, &project, today) {
            None => "each run has its own".to_owned(),
            Some((used, reserved)) => {
                let bounds = What::ALL.into_iter().filter(|what| what.limit(budget).is_some());
                let of = |what: What| match what.of(&reserved) {
                    0 => what.words(what.of(&used)),
                    held => format!("{} ({} of it reserved)", what.words(what.of(&used)), what.words(held)),
                };
                format!("used {}", bounds.map(of).collect::<Vec<_>>().join(", "))
            }
        };
        text.push_str(&format!("{budget}: {what}\n"));
    }
    if budgets.is_empty() {
        text.push_str("no budget for models in policy\n");
    }
    let lines = book.lines();
    for (line, (used, reserved)) in lines.iter().rev().take(LINES) {
        let run = line.run.as_ref().map_or("older", RunId::short);
        let held = match reserved.requests {
            0 => String::new(),
            _ => format!(", {} USD of it reserved", Micro(reserved.micro_usd)),
        };
        text.push_str(&format!(
            "  {}  {run}  {}  {} requests, {} tokens, {} USD{held}\n",
            day_text(line.day),
            output::visible(&line.project.0),
            used.requests,
            used.tokens,
            Micro(used.micro_usd),
        ));
    }
    if lines.len() > LINES {
        text.push_str(&format!("  … and {} more: coffer budget --json\n", lines.len() - LINES));
    }
    output::print(text)?;
    super::policy::say_left_out(&layers);
    Ok(ExitCode::SUCCESS)
}

/// What is used of a budget; `None` where that is another for each run.
fn used(book: &Book, budget: &Budget, project: &Bytes, today: u32) -> Option<(Used, Used)> {
    if budget.per == Per::Run {
        return None;
    }
    let nobody = User { run: RunId::from_random(Default::default()), project: project.clone() };
    Some(book.used(budget, &nobody, today))
}

fn of_budget(book: &Book, budget: &Budget, project: &Bytes, today: u32) -> Value {
    let used = used(book, budget, project, today);
    json!({
        "budget": budget,
        "used": used.map(|(used, _)| used),
        "reserved": used.map(|(_, reserved)| reserved),
    })
}
