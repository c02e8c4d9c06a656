//! `coffer policy suggest`.

use std::process::ExitCode;

use cofferdam_review::suggest::{Suggestion, Suggestions};

use crate::commands::{Answer, Target};
use crate::host;
use crate::output;

/// `coffer policy suggest`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The rules stand on standard output, ready to be added to a policy file. Their purposes are blank: `coffer \
    policy check` refuses them until you say what each is for.\nExample:\n  coffer policy suggest @ >> .cofferdam/policy.toml"
)]
pub struct SuggestArgs {
    /// The run
    #[arg(value_name = "RUN", default_value = "@")]
    run: String,
    /// Rules for what was denied, too
    #[arg(long)]
    denied: bool,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Proposes the least rules that a run needed and that no file has.
pub fn suggest(args: &SuggestArgs) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let run = Target::find(&host, &store, &args.run)?.run;
    let evidence = run.evidence();
    cofferdam_enclosure::confine_reader(&[&evidence])?;
    let mut collected = Suggestions::new(args.denied);
    for event in cofferdam_evidence::read_events(&evidence).map_err(cofferdam_review::Error::from)? {
        match event {
            Ok(event) => collected.take(&event.what),
            Err(e) => output::complain(&format!("a line of the log is left out: {e}")),
        }
    }
    let suggestions = collected.finish();
    if args.json {
        let facts = suggestions
            .iter()
            .map(|s| serde_json::json!({ "rule": s.rule.text(), "count": s.count, "purposes": s.purposes }));
        output::json(&facts.collect::<Vec<_>>())?;
    } else if suggestions.is_empty() {
        output::remark("this run needed no rule that your policy has not got");
    } else {
        output::print(suggestions.iter().map(text).collect::<Vec<_>>().join("\n"))?;
        output::remark("say for each what it is for: a rule without a purpose counts for nothing");
    }
    Ok(ExitCode::SUCCESS)
}

fn text(suggestion: &Suggestion) -> String {
    let was = suggestion.purposes.iter().map(|p| output::visible(p.as_bytes())).collect::<Vec<_>>().join("; ");
    let was = if was.is_empty() { was } else { format!(", allowed for: {was}") };
    let rule: String = suggestion.rule.text().lines().map(|line| output::visible(line.as_bytes()) + "\n").collect();
    format!("# {} times{was}\n{rule}", suggestion.count)
}
