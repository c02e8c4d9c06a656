//! `coffer diff`.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use cofferdam_core::change::{Change, Class};
use cofferdam_runtime::promotion::layers;
use cofferdam_workspace::diff::{Diff, DiffOptions, PatchStyle, Theme, compute};

use super::{Answer, Target};
use crate::failure::Failure;
use crate::host;
use crate::output::{self, Colour};
use crate::pager::Pager;

/// `coffer diff`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The output is what `git diff` would print for the same edits, and `git apply` takes it. Git itself \
    never runs: what an enclosure wrote is read as data. On a terminal, control and invisible characters are shown as \
    escapes."
)]
pub struct DiffArgs {
    /// The run, then paths, relative to the current directory (default: the latest run here, everything)
    #[arg(value_name = "RUN|PATH")]
    what: Vec<std::ffi::OsString>,
    /// Show a histogram of changed lines
    #[arg(long, group = "form")]
    stat: bool,
    /// Show numbers of added and removed lines
    #[arg(long, group = "form")]
    numstat: bool,
    /// Show names of changed files
    #[arg(long, group = "form")]
    name_only: bool,
    /// Show names and status letters of changed files
    #[arg(long, group = "form")]
    name_status: bool,
    /// Print facts as JSON
    #[arg(long, group = "form")]
    json: bool,
    /// Lines of context
    #[arg(long, short = 'U', value_name = "N", default_value_t = 3)]
    unified: usize,
    /// Least similarity of a rename, in percent
    #[arg(long, short = 'M', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    find_renames: u8,
    /// Show renames as deletion and addition
    #[arg(long)]
    no_renames: bool,
    /// Show whole object ids
    #[arg(long)]
    full_index: bool,
    /// Show ignored and generated files, too
    #[arg(long)]
    ignored: bool,
    /// Show files inside .git, too
    #[arg(long)]
    git: bool,
    /// Do not use a pager
    #[arg(long)]
    no_pager: bool,
}

/// Shows what a run changed.
pub fn diff(args: &DiffArgs, colour: Colour) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let (target, paths) = Target::with_paths(&host, &store, &args.what)?;
    let run = &target.run;
    let terminal = io::stdout().is_terminal();
    // The pager is started first: afterwards this process may start nothing any more.
    let mut pager = Pager::start(&host, terminal && !args.no_pager && !args.json)?;
    let layers = layers(run)?;
    cofferdam_enclosure::confine_reader(&[run.record.project.as_path(), &run.directory])?;
    let mut changes = super::change_set(&layers)?;
    if let Some(paths) = &paths {
        target.known(&changes.changes, paths)?;
        changes.changes.retain(|c| paths.iter().any(|p| super::below(&c.path, p)));
    }
    let named = paths.is_some();
    let options = DiffOptions {
        context: args.unified,
        renames: (!args.no_renames).then_some(args.find_renames),
        hunks: !(args.stat || args.numstat || args.name_only || args.name_status),
        // What a person names is shown, whatever git thinks of it.
        ignored: args.ignored || named,
        git_metadata: args.git || named,
        ..DiffOptions::default()
    };
    let diff = compute(&layers, &changes, &options)?;
    for problem in diff.problems.iter().take(10) {
        output::complain(&output::visible(problem.to_string().as_bytes()));
    }
    if args.json {
        output::json(&serde_json::json!({"run": run.record.run, "files": diff.files}))?;
        return Ok(ExitCode::SUCCESS);
    }
    match write(args, &diff, colour.stdout(), terminal, pager.out()) {
        // The reader has seen enough.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => return Err(Failure::new(format!("standard output: {e}"))),
        _ => {}
    }
    pager.wait()?;
    if terminal {
        say_hidden(&changes.changes, &options);
    }
    Ok(ExitCode::SUCCESS)
}

fn write(args: &DiffArgs, diff: &Diff, colour: bool, terminal: bool, mut out: impl Write) -> io::Result<()> {
    // git's own defaults (color.diff).
    let theme = colour.then_some(Theme {
        meta: "\x1b[1m",
        frag: "\x1b[36m",
        old: "\x1b[31m",
        new: "\x1b[32m",
        reset: "\x1b[m",
    });
    if args.stat {
        let width = if terminal { usize::from(crate::run::columns()) } else { 80 };
        diff.stat(width, theme, &mut out)?;
    } else if args.numstat {
        diff.numstat(&mut out)?;
    } else if args.name_only {
        diff.name_only(true, &mut out)?;
    } else if args.name_status {
        diff.name_status(&mut out)?;
    } else {
        diff.patch(&PatchStyle { full_index: args.full_index, theme, sanitize: terminal }, &mut out)?;
    }
    out.flush()
}

/// What the diff left out.
fn say_hidden(changes: &[Change], options: &DiffOptions) {
    let count = |class| changes.iter().filter(|c| c.class == class).count() as u64;
    let hidden = [
        (options.ignored, count(Class::Ignored), "ignored or generated", "--ignored"),
        (options.git_metadata, count(Class::GitMetadata), "inside .git", "--git"),
        (false, count(Class::Unpromotable), "neither file nor link", "--name-only"),
    ];
    for (shown, count, what, flag) in hidden {
        if !shown && count > 0 {
            output::remark(&format!("{} {what} not shown ({flag})", output::counted(count, "path")));
        }
    }
}
