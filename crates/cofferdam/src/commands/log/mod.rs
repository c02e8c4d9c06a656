//! `coffer log`.

mod calls;
mod claims;
mod command;
mod events;
mod exposure;
mod follow;
mod search;
mod transcript;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use cofferdam_core::Timestamp;
use cofferdam_evidence::Bundle;
use cofferdam_review::exposure::Exposure;
use cofferdam_review::story::{Layout, Story, Theme};
use cofferdam_review::transcripts::Compared;
use cofferdam_review::{Filter, Heads};
use cofferdam_runtime::store::Run;

use super::{Answer, Target};
use crate::failure::Failure;
use crate::host;
use crate::output::{self, Colour};
use crate::pager::Pager;

/// Lines of a story where nobody asks for another number.
const LINES: usize = 60;
/// Columns where there is no terminal.
const WIDTH: usize = 100;

/// `coffer log`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The numbers in the first column are those of the log's events. What is folded is counted where it \
    stands. Nothing here is verified: coffer verify does that.\n\
    Examples:\n  coffer log\n  coffer log k7m2 --command 41 --output\n  coffer log --kind test.result,prompt\n  \
    coffer log --grep 'error\\[E' --since 10m\n  coffer log --search 'flaky test'\n  coffer log --claims"
)]
pub struct LogArgs {
    /// The run (default: the latest here)
    #[arg(default_value = "@", value_name = "RUN")]
    run: String,
    /// Fold nothing
    #[arg(long, short)]
    all: bool,
    /// Most lines
    #[arg(long, value_name = "N", default_value_t = LINES, conflicts_with = "all", value_parser = at_least_twenty)]
    lines: usize,
    /// List events of these kinds, or families of kinds (process, net)
    #[arg(long, short, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Leave out what is older: so long before the run's end (10m, 2h), or a date or time of UTC
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// List events whose arguments, paths, tests, prompts or output match this regular expression
    #[arg(long, short, value_name = "REGEX")]
    grep: Option<String>,
    /// Show everything about the command with this number
    #[arg(long, short, value_name = "N", conflicts_with_all = ["all", "kind", "grep", "since"])]
    command: Option<u64>,
    /// With --command: print what it printed
    #[arg(long, short, requires = "command", conflicts_with = "json")]
    output: bool,
    /// Go on with what a live run does, until it ends
    #[arg(long, short, conflicts_with_all = ["command", "proof", "search"])]
    follow: bool,
    /// Print the events as they stand in the log, one a line
    #[arg(long)]
    json: bool,
    /// Print a proof that this event is in the signed log
    #[arg(long, value_name = "SEQ", conflicts_with_all = ["command", "all", "kind", "grep", "since", "json"])]
    proof: Option<u64>,
    /// Search commands, outputs, prompts, paths, tests, hosts and URLs of all runs
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["command", "proof", "all", "kind", "grep"])]
    search: Option<String>,
    /// List what models asked for, what came of each call, and what the model was told
    #[arg(long, group = "reading", conflicts_with_all = OTHERS)]
    calls: bool,
    /// Check what the agent says that it did against the record
    #[arg(long, group = "reading", conflicts_with_all = OTHERS)]
    claims: bool,
    /// List what models had read before each changed file was written, of all files or those of a path of the project
    #[arg(long, group = "reading", value_name = "PATH", num_args = 0..=1, require_equals = true, conflicts_with_all = OTHERS)]
    exposure: Option<Option<OsString>>,
    /// Compare the transcript that the agent itself keeps with what passed the gateway
    #[arg(long, group = "reading", conflicts_with_all = OTHERS)]
    transcript: bool,
    /// Do not use a pager
    #[arg(long)]
    no_pager: bool,
}

/// What picks events, which readings of the whole run do not.
const OTHERS: [&str; 9] = ["command", "proof", "search", "all", "kind", "grep", "since", "follow", "output"];

fn at_least_twenty(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(lines @ 20..) => Ok(lines),
        _ => Err("a story needs at least 20 lines".to_owned()),
    }
}

/// Tells what a run did.
pub fn log(args: &LogArgs, colour: Colour) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    if let Some(text) = &args.search {
        return search::search(args, text, &host, &store, colour);
    }
    let target = Target::find(&host, &store, &args.run)?;
    let run = &target.run;
    let terminal = io::stdout().is_terminal();
    // The pager is started first: afterwards this process may start nothing any more.
    let paged = terminal && !args.no_pager && !args.follow && args.proof.is_none() && !args.json;
    let mut pager = Pager::start(&host, paged)?;
    let word = args.exposure.as_ref().and_then(Option::as_ref);
    let below = word.map(|word| super::relative_to(run.record.project.as_path(), &host, word)).transpose()?;
    // The agent's transcripts lie in its home.
    let home = store.home_directory(run.record.project.as_path(), &run.record.agent);
    let home = (args.transcript || args.claims).then_some(home).filter(|home| home.is_dir());
    let mut readable = vec![run.directory.as_path()];
    readable.extend(home.as_deref());
    cofferdam_enclosure::confine_reader(&readable)?;
    let evidence = run.evidence();
    if let Some(seq) = args.proof {
        return proof(run, seq);
    }
    let mut out = pager.out();
    let printed = if args.follow {
        let filter = filter(args, run)?;
        let flat = is_flat(args);
        follow::follow(
            run,
            &filter,
            &follow::Form { json: args.json, flat, all: args.all, terminal, width: width() },
            &mut out,
        )
    } else if let Some(seq) = args.command {
        command::command(
            run,
            seq,
            &command::Form { json: args.json, output: args.output, terminal, width: width() },
            &mut out,
        )
    } else if args.calls {
        calls::calls(&Story::read(&evidence)?, args.json, width(), &mut out)
    } else if args.claims {
        told_claims(&evidence, home.as_deref(), args, colour, &mut out)
    } else if args.exposure.is_some() {
        exposure::exposure(&Exposure::read(&evidence)?, below.as_ref(), args.json, width(), &mut out)
    } else if args.transcript {
        match transcript_of(&evidence, home.as_deref())? {
            Some(found) => transcript::transcript(&found, args.json, width(), &mut out),
            None => Err(Failure::new("the agent left no transcript of a form that is known").into()),
        }
    } else if args.json || is_flat(args) {
        let filter = filter(args, run)?;
        events::events(&evidence, &filter, args.json, terminal, width(), &mut out)
    } else {
        story(args, run, colour, &mut out)
    };
    finished(printed.and_then(|()| Ok(out.flush()?)))?;
    drop(out);
    pager.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// A reader that has seen enough is no error.
fn finished(printed: Result<(), Printing>) -> Result<(), Failure> {
    match printed {
        Ok(()) => Ok(()),
        Err(Printing::Written(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Printing::Written(e)) => Err(Failure::new(format!("standard output: {e}"))),
        Err(Printing::Failed(failure)) => Err(failure),
    }
}

/// Why something was not printed.
enum Printing {
    Written(io::Error),
    Failed(Failure),
}

impl From<io::Error> for Printing {
    fn from(e: io::Error) -> Self {
        Printing::Written(e)
    }
}

impl From<cofferdam_review::Error> for Printing {
    fn from(e: cofferdam_review::Error) -> Self {
        Printing::Failed(e.into())
    }
}

impl From<Failure> for Printing {
    fn from(failure: Failure) -> Self {
        Printing::Failed(failure)
    }
}

fn is_flat(args: &LogArgs) -> bool {
    !args.kind.is_empty() || args.grep.is_some()
}

fn width() -> usize {
    if io::stdout().is_terminal() { usize::from(crate::run::columns()).max(40) } else { WIDTH }
}

fn filter(args: &LogArgs, run: &Run) -> Result<Filter, Failure> {
    Ok(Filter {
        kinds: Filter::kinds(&args.kind)?,
        since: since(args, run)?,
        pattern: args.grep.as_deref().map(Filter::pattern).transpose()?,
    })
}

/// Durations count back from the run's end, or from now where it goes on.
fn since(args: &LogArgs, run: &Run) -> Result<Option<Timestamp>, Failure> {
    let end = run.record.ended.as_ref().map_or_else(Timestamp::now, |ended| ended.time);
    Ok(args.since.as_deref().map(|text| cofferdam_review::since(text, end)).transpose()?)
}

fn story(args: &LogArgs, run: &Run, colour: Colour, out: &mut impl Write) -> Result<(), Printing> {
    let evidence = run.evidence();
    let mut story = Story::read(&evidence)?;
    if let Some(time) = since(args, run)? {
        story.since(time);
    }
    let layout = Layout {
        run: run.record.run.short(),
        lines: (!args.all).then_some(args.lines),
        width: width(),
        theme: colour.stdout().then_some(THEME),
        live: run.record.ended.is_none() && run.is_live().map_err(Failure::new)?,
    };
    Ok(out.write_all(story.render(&Heads::open(&evidence)?, &layout).as_bytes())?)
}

fn transcript_of(evidence: &Path, home: Option<&Path>) -> Result<Option<Compared>, cofferdam_review::Error> {
    home.map_or(Ok(None), |home| cofferdam_review::transcripts::compare(evidence, home))
}

fn told_claims(
    evidence: &Path,
    home: Option<&Path>,
    args: &LogArgs,
    colour: Colour,
    out: &mut impl Write,
) -> Result<(), Printing> {
    let last = transcript_of(evidence, home)?.and_then(|found| found.last);
    let Some(found) = cofferdam_review::claims::claims(evidence, last)? else {
        return Err(Failure::new("the record has no message of the agent's that claims anything").into());
    };
    claims::claims(&found, args.json, colour.stdout(), width(), out)
}

const THEME: Theme = Theme {
    asked: "\x1b[1m",
    dim: "\x1b[2m",
    good: "\x1b[32m",
    bad: "\x1b[31m",
    warning: "\x1b[33m",
    reset: "\x1b[0m",
};

/// The proof on standard output, and how to check it on standard error.
fn proof(run: &Run, seq: u64) -> Answer {
    output::print(Bundle::of(&run.evidence(), seq)?.to_string())?;
    output::remark(&format!(
        "a proof of event {seq} of run {} (c2sp.org/tlog-proof, the event in its `extra` line); in a file it is checked by \
         `coffer verify FILE --key KEY`, where KEY is the line in {}",
        run.record.run.short(),
        run.evidence().join("key").display()
    ));
    Ok(ExitCode::SUCCESS)
}
