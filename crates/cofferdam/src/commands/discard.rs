//! `coffer discard`.

use std::process::ExitCode;

use cofferdam_core::change::Class;
use cofferdam_runtime::promotion::{Held, layers};
use cofferdam_runtime::secrets;

use super::{Answer, Target};
use crate::failure::Failure;
use crate::host;
use crate::output;

/// `coffer discard`.
#[derive(Debug, clap::Args)]
pub struct DiscardArgs {
    /// The run (default: the latest here)
    #[arg(default_value = "@", value_name = "RUN")]
    run: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Say what would be removed, and remove nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Throws a run's layers away.
pub fn discard(args: &DiscardArgs) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let target = Target::find(&host, &store, &args.run)?;
    let held = Held::take(target.run, secrets::of_host(&host).secrets)?;
    super::confine(&held, &store)?;
    if let Some(pending) = held.pending()? {
        return Err(Failure::new(format!("promotion {} of this run was interrupted", pending.number))
            .next("coffer promote --continue finishes it, coffer promote --abort takes it back; then discard"));
    }
    let run = held.run().record.run.clone();
    let changes = super::change_set(&layers(held.run())?)?;
    let count = |ignored: bool| {
        changes
            .changes
            .iter()
            .filter(|c| (c.class == Class::Ignored) == ignored && c.class != Class::GitMetadata)
            .count() as u64
    };
    let (kept, ignored) = (count(false), count(true));
    if !args.json && (args.dry_run || !args.yes) {
        output::remark(&format!(
            "run {}: {} and {} ignored or generated would be thrown away; its evidence stays",
            run.short(),
            output::counted(kept, "changed path"),
            output::counted(ignored, "path"),
        ));
    }
    if args.dry_run {
        if args.json {
            output::json(&serde_json::json!({"run": run, "changed": kept, "ignored": ignored, "discarded": false}))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes && kept > 0 && !output::agreed("throw it away?")? {
        return Err(Failure::new("nothing was removed")
            .next(format!("coffer discard {} --yes removes it without asking", run.short())));
    }
    let bytes = held.discard(kept)?;
    if args.json {
        output::json(
            &serde_json::json!({"run": run, "changed": kept, "ignored": ignored, "discarded": true, "bytes": bytes}),
        )?;
    } else {
        output::print(format!("discarded run {}, {} freed\n", run.short(), output::size(bytes)))?;
    }
    Ok(ExitCode::SUCCESS)
}
