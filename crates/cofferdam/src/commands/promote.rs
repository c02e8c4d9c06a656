//! `coffer promote`.

use std::io::IsTerminal;
use std::process::ExitCode;

use cofferdam_runtime::promotion::{Held, layers};
use cofferdam_runtime::secrets;
use cofferdam_workspace::promote::{ConflictStyle, Decision, End, Left, Outcome, Plan, Planned, Selection, Step};

use super::{Answer, Target};
use crate::failure::Failure;
use crate::host;
use crate::output::{self, Colour};
use crate::progress::Progress;

/// `coffer promote`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Ordinary changes are taken. What git ignores, what tools generate and what lies in .git stays behind unless you name it. \
    What will execute on this machine later (hooks, build scripts, editor tasks, agent instructions…) is called out and \
    needs naming or --yes.\nExit codes: 0 promoted (or, with --dry-run, could be); 1 conflicts, nothing was changed; 125 an error."
)]
pub struct PromoteArgs {
    /// The run, then paths to take, relative to the current directory (default: the latest run here, everything)
    #[arg(value_name = "RUN|PATH")]
    what: Vec<std::ffi::OsString>,
    /// Take host-executing paths without asking
    #[arg(long, short)]
    yes: bool,
    /// Leave these paths behind, relative to the current directory; may be repeated
    #[arg(long, short = 'x', value_name = "PATH")]
    exclude: Vec<std::ffi::OsString>,
    /// Write conflicting text files with git's conflict markers
    #[arg(long)]
    markers: bool,
    /// Show what would be done, and do nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Finish a promotion that was interrupted
    #[arg(long = "continue", conflicts_with_all = ["abort", "dry_run"])]
    resume: bool,
    /// Take back a promotion that was interrupted
    #[arg(long, conflicts_with = "dry_run")]
    abort: bool,
    /// Print the lines that bind a commit to this run's evidence, for its message
    #[arg(long, conflicts_with_all = ["abort", "dry_run"])]
    trailer: bool,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Takes a run's changes into the real tree.
pub fn promote(args: &PromoteArgs, colour: Colour) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let (target, paths) = Target::with_paths(&host, &store, &args.what)?;
    let exclude = args.exclude.iter().map(|path| target.relative(&host, path)).collect::<Result<Vec<_>, _>>()?;
    let held = Held::take(target.run.clone(), secrets::of_host(&host).secrets)?;
    super::confine(&held, &store)?;
    let name = held.run().record.run.short().to_owned();
    if args.resume || args.abort {
        let mut progress = Progress::new("steps");
        let outcome =
            if args.resume { held.continue_(&mut progress.hook())? } else { held.abort(&mut progress.hook())? };
        drop(progress);
        return told(args, &held, &outcome, None);
    }
    if let Some(pending) = held.pending()? {
        return Err(Failure::new(format!("promotion {} of run {name} was interrupted", pending.number)).next(format!(
            "coffer promote {name} --continue finishes it, coffer promote {name} --abort takes it back"
        )));
    }
    let layers = layers(held.run())?;
    let changes = super::change_set(&layers)?;
    target.known(&changes.changes, paths.as_deref().unwrap_or_default())?;
    target.known(&changes.changes, &exclude)?;
    let mut selection = Selection {
        paths,
        exclude,
        confirmed: args.yes,
        conflicts: if args.markers {
            ConflictStyle::Markers { label: format!("run {name}") }
        } else {
            ConflictStyle::Refuse
        },
    };
    let mut plan = held.plan(&layers, &changes, &selection)?;
    let may_ask = !args.yes && !args.dry_run && !args.json && plan.conflicts().next().is_none();
    if may_ask && asked_to_take(&plan, colour)? {
        selection.confirmed = true;
        plan = held.plan(&layers, &changes, &selection)?;
    }
    if args.dry_run {
        if args.json {
            output::json(&plan)?;
        } else {
            output::print(preview(&plan, &selection, &name, colour.stdout()))?;
        }
        return Ok(ExitCode::from(u8::from(plan.conflicts().next().is_some())));
    }
    let conflicts: Vec<&Planned> = plan.conflicts().collect();
    if !conflicts.is_empty() {
        return conflicted(args, &name, &plan, &conflicts);
    }
    if plan.taken().next().is_none() {
        if args.json {
            output::json(&plan)?;
        } else {
            output::print(format!("nothing to promote of run {name}\n{}", left_behind(&plan, &selection, &name)))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    let mut progress = Progress::new("files");
    let outcome = held.promote(&layers, &plan, umask.bits(), &mut progress.hook())?;
    drop(progress);
    told(args, &held, &outcome, Some((&plan, &selection)))
}

/// Shows what needs the person's word (what will execute on this machine, for one) and asks; only where a person can answer.
fn asked_to_take(plan: &Plan, colour: Colour) -> Result<bool, Failure> {
    let waiting: Vec<&Planned> =
        plan.paths.iter().filter(|p| matches!(p.decision, Decision::NeedsConfirmation { .. })).collect();
    if waiting.is_empty() || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    output::remark(&output::styled("these need your word:", "33", colour.stderr()));
    for planned in &waiting {
        if let Decision::NeedsConfirmation { executes } = &planned.decision {
            output::remark(&format!(
                "  {}  {}",
                output::visible(&planned.path.0),
                output::visible(executes.as_bytes())
            ));
        }
    }
    output::agreed("take them too?")
}

fn conflicted(args: &PromoteArgs, name: &str, plan: &Plan, conflicts: &[&Planned]) -> Answer {
    if args.json {
        output::json(plan)?;
        return Ok(ExitCode::from(1));
    }
    let mut text = String::new();
    for planned in conflicts {
        if let Decision::Conflict { why, .. } = &planned.decision {
            text.push_str(&format!(
                "  C {}  {}\n",
                output::visible(&planned.path.0),
                output::visible(why.to_string().as_bytes())
            ));
        }
    }
    output::print(text)?;
    let markable = conflicts.iter().any(|p| matches!(p.decision, Decision::Conflict { markers: true, .. }));
    let hint = if markable { "--markers writes both versions into the file; " } else { "" };
    Err(Failure::new(format!(
        "{} of run {name} in conflict, nothing was changed",
        output::counted(conflicts.len() as u64, "path")
    ))
    .next(format!("{hint}--exclude PATH leaves one behind; coffer diff {name} PATH shows the run's side"))
    .code(1))
}

fn told(args: &PromoteArgs, held: &Held, outcome: &Outcome, plan: Option<(&Plan, &Selection)>) -> Answer {
    let name = held.run().record.run.short();
    let trailer =
        (args.trailer && outcome.end == End::Applied).then(|| super::export::trailer_now(held.run())).transpose()?;
    if args.json {
        output::json(&serde_json::json!({
            "run": name,
            "promotion": outcome.number,
            "applied": outcome.end == End::Applied,
            "changed": outcome.changed,
            "left": outcome.left,
            "trailer": trailer,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = match outcome.end {
        End::Applied => format!("promoted {} of run {name}\n", output::counted(outcome.changed.len() as u64, "path")),
        End::RolledBack => {
            format!("promotion {} of run {name} was taken back: the tree is as before\n", outcome.number)
        }
    };
    if outcome.end == End::Applied {
        text.push_str(&super::listed(&outcome.changed));
    }
    for kept in &outcome.kept {
        text.push_str(&format!(
            "  kept  {}: {}, the earlier version is {}\n",
            output::visible(&kept.path.0),
            output::visible(kept.why.as_bytes()),
            output::visible(&kept.at.0)
        ));
    }
    if let Some((plan, selection)) = plan {
        text.push_str(&left_behind(plan, selection, name));
    }
    if outcome.end == End::Applied {
        text.push_str(&format!("  undo  coffer undo {name}\n"));
    }
    if let Some(trailer) = trailer {
        text.push_str(&format!("\n{trailer}"));
    }
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// What stays behind and how to take it: confirmations one by one, the rest by count.
fn left_behind(plan: &Plan, selection: &Selection, name: &str) -> String {
    let mut text = String::new();
    let (mut ignored, mut git) = (0, 0);
    for planned in &plan.paths {
        let path = output::visible(&planned.path.0);
        let named = selection.names(&planned.path);
        // Who names some paths asks nothing about the others.
        if selection.paths.is_some() && !named {
            continue;
        }
        match &planned.decision {
            Decision::NeedsConfirmation { executes } => {
                let how = if named { "--yes takes it" } else { "name it, or --yes" };
                text.push_str(&format!("  left  {path}  {}: {how}\n", output::visible(executes.as_bytes())));
            }
            Decision::Left { why: Left::HalfMoved } => {
                text.push_str(&format!("  left  {path}  of a directory whose rename was cut off\n"));
            }
            Decision::Left { why: Left::Ignored } => ignored += 1,
            Decision::Left { why: Left::GitMetadata } => git += 1,
            Decision::Left { why: Left::Unpromotable } => {
                text.push_str(&format!("  left  {path}  no file that can be promoted\n"))
            }
            Decision::Left { why: Left::NotEmpty { entries, .. } } => {
                text.push_str(&format!("  left  {path}  still holds {entries} the run did not know\n"));
            }
            _ => {}
        }
        for note in &planned.notes {
            text.push_str(&format!("  note  {path}: {}\n", output::visible(note.as_bytes())));
        }
    }
    for (count, what) in [(ignored, "ignored or generated"), (git, "inside .git")] {
        if count > 0 {
            text.push_str(&format!(
                "  left  {} {what} (name them to take them: coffer promote {name} PATH)\n",
                output::counted(count, "path")
            ));
        }
    }
    text
}

/// What a promotion would do, a line a path.
fn preview(plan: &Plan, selection: &Selection, name: &str, colour: bool) -> String {
    let mut text = String::new();
    for planned in &plan.paths {
        let (mark, style, why) = match (&planned.decision, &planned.step) {
            (Decision::Conflict { why, .. }, None) => ("C", "31", why.to_string()),
            (_, Some(Step::Remove)) => ("D", "32", String::new()),
            (Decision::Merge, Some(_)) => ("merge", "32", "both sides changed it, at different places".to_owned()),
            (_, Some(_)) => ("take", "32", String::new()),
            _ => continue,
        };
        text.push_str(
            &format!(
                "  {:5} {}  {}\n",
                output::styled(mark, style, colour),
                output::visible(&planned.path.0),
                output::visible(why.as_bytes())
            )
            .replace("  \n", "\n"),
        );
    }
    text.push_str(&left_behind(plan, selection, name));
    if text.is_empty() { format!("nothing to promote of run {name}\n") } else { text }
}
