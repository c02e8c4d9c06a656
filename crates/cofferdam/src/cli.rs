//! The command line: what can be asked, and who answers.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use cofferdam_core::Publish;

use crate::commands;
use crate::exit;
use crate::output::Colour;
use crate::run::Early;

/// The runtime in which AI coding agents work on a developer's laptop.
///
/// A command runs in a copy-on-write enclosure: it sees your project and your tools, not your keys, and what it changes
/// waits for you to look at it.
#[derive(Debug, Parser)]
#[command(name = "coffer", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "RUN is an id, a unique prefix of one, or @ for the latest run of this project (the default).\n\
    Exit codes: the command's own; 125 where coffer failed, 126 where the command cannot be executed, 127 where it is \
    not found, 128+N where signal N killed it."
)]
pub struct Cli {
    /// When to colour output: auto, always or never.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub color: Colour,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command in an enclosure
    Run(RunArgs),
    /// Start your shell in an enclosure
    Shell(ShellArgs),
    /// List runs
    #[command(alias = "ls")]
    List(commands::list::ListArgs),
    /// Tell what a run did: commands, failures, changes, tests
    Log(commands::log::LogArgs),
    /// Show what a run changed, as git diff would
    Diff(commands::diff::DiffArgs),
    /// Take a run's changes into the real tree
    Promote(commands::promote::PromoteArgs),
    /// Take a promotion back
    Undo(commands::undo::UndoArgs),
    /// Throw a run's layers away; its evidence stays
    Discard(commands::discard::DiscardArgs),
    /// Say which run, command and prompt the lines of a file came from
    Blame(commands::blame::BlameArgs),
    /// Say what is used of the budgets for models
    Budget(commands::budget::BudgetArgs),
    /// Say what runs cost and were refused
    Stats(commands::stats::StatsArgs),
    /// Look after the index of all runs that coffer log --search uses
    Index(commands::index::IndexArgs),
    /// Verify a run's evidence: what is recorded is what was signed
    Verify(commands::verify::VerifyArgs),
    /// Write a run's evidence in a form for other tools, or as a page
    Export(commands::export::ExportArgs),
    /// Look at the policy: which rules there are, what is wrong with them, what they would decide
    Policy(commands::policy::PolicyArgs),
    /// Look at credentials that requests carry without being inside, and try whether they can be fetched
    Credential(commands::credential::CredentialArgs),
    /// Look at the agents that are known by name: what was found of them, and what a run of one would get
    Agents(commands::agents::AgentsArgs),
    /// Let runs reach a host: a rule with a purpose, in force at once
    Allow(commands::allow::AllowArgs),
    /// Let this machine reach a port of a run that goes on
    Publish(commands::publish::PublishArgs),
    /// Show the workspace of a run that goes on to an editor
    Open(commands::open::OpenArgs),
    /// Say why a host or file is refused, and how to ask for it; inside an enclosure too
    Why(commands::why::WhyArgs),
    /// Check that the boundary holds on this machine: try what must fail and what must work
    Doctor(commands::doctor::DoctorArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them into a directory
    Man {
        /// Write coffer.1, coffer-run.1, … here.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// The inside half of `coffer doctor`
    #[command(hide = true)]
    Probe {
        /// What to try, as JSON.
        spec: String,
    },
}

/// Options of `coffer run` and `coffer shell`.
#[derive(Debug, Args)]
pub struct Options {
    /// The project's root (default: the nearest parent directory with .git or cofferdam.toml, else this one)
    #[arg(long, short = 'C', value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Pass a variable of your environment, or set one; may be repeated
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    pub env: Vec<std::ffi::OsString>,
    /// Let it reach a host, for a purpose: a name, *.suffix or address, with :PORT where it is neither 443 nor 80;
    /// host.cofferdam:PORT is this machine; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", requires = "purposes")]
    pub allow: Vec<String>,
    /// Ask these models only: a name, with * for anything in it; policy narrows it further
    #[arg(long, value_name = "MODEL")]
    pub model_allow: Vec<String>,
    /// Use no more than this of models: 5usd, 2000000tokens, 500requests, also 5usd/day, /month or /project
    #[arg(long, value_name = "AMOUNT")]
    pub budget: Vec<String>,
    /// What the host is allowed for, in a few words: one for each --allow in their order, or one for all
    #[arg(id = "purposes", long = "purpose", value_name = "TEXT", requires = "allow")]
    pub purposes: Vec<String>,
    /// Let this machine reach a port inside, on its loopback unless another address is given; without HOSTPORT at the same
    /// number where it is free; may be repeated
    #[arg(long, short, value_name = "[HOSTADDR:][HOSTPORT:]PORT")]
    pub publish: Vec<Publish>,
    /// Let it read from the package registries that policy names, as your clients are configured to
    #[arg(long)]
    pub resolve: bool,
    /// Let a known agent work without asking, by its own flags: the enclosure is the boundary (coffer agents show NAME)
    #[arg(long)]
    pub unattended: bool,
    /// Most processes and threads at once
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub processes: u64,
    /// Place no decoys of credentials in the home, and watch none
    #[arg(long)]
    pub no_tripwires: bool,
    /// Do not keep the lines you type as prompts
    #[arg(long)]
    pub no_record_typing: bool,
    /// Print nothing of coffer's own but errors
    #[arg(long, short)]
    pub quiet: bool,
    /// Print the summary as JSON, on standard error
    #[arg(long)]
    pub json: bool,
    /// Print what the command would see, as JSON, and start nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// How coffer starts a run over another one's layers.
#[derive(Debug, Default, Args)]
pub struct OriginArgs {
    /// Go on where this run ended
    #[arg(long, hide = true, value_name = "RUN")]
    pub from: Option<String>,
    /// Keep nothing of this run but its evidence
    #[arg(long = "from-purpose", hide = true, requires = "from", value_parser = ["rerun"])]
    pub purpose: Option<String>,
    /// The run's id
    #[arg(long, hide = true, value_name = "ID")]
    pub id: Option<cofferdam_core::RunId>,
    /// Where the command starts, inside
    #[arg(long, hide = true, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
}

/// `coffer run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coffer run cargo test\n  coffer run claude\n  coffer run --unattended claude -p \"fix the flaky test\"\n  \
    echo data | coffer run -q -- ./filter"
)]
pub struct RunArgs {
    #[command(flatten)]
    pub options: Options,
    #[command(flatten)]
    pub origin: OriginArgs,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    #[arg(value_hint = clap::ValueHint::CommandWithArguments)]
    pub command: Vec<std::ffi::OsString>,
}

/// `coffer shell`.
#[derive(Debug, Args)]
pub struct ShellArgs {
    #[command(flatten)]
    pub options: Options,
}

/// Parses and answers.
pub fn main(early: Early) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are not errors; a wrong word is ours.
            let code = if e.use_stderr() { exit::OURS } else { 0 };
            return match e.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::from(exit::OURS),
            };
        }
    };
    let answer = match cli.command {
        Command::Run(args) => commands::run::run(early, args, cli.color),
        Command::Shell(args) => commands::run::shell(early, args, cli.color),
        Command::List(args) => commands::list::list(&args, cli.color),
        Command::Log(args) => commands::log::log(&args, cli.color),
        Command::Diff(args) => commands::diff::diff(&args, cli.color),
        Command::Promote(args) => commands::promote::promote(&args, cli.color),
        Command::Undo(args) => commands::undo::undo(&args),
        Command::Discard(args) => commands::discard::discard(&args),
        Command::Blame(args) => commands::blame::blame(&args, cli.color),
        Command::Budget(args) => commands::budget::budget(&args),
        Command::Stats(args) => commands::stats::stats(&args),
        Command::Index(args) => commands::index::index(&args),
        Command::Verify(args) => commands::verify::verify(&args, cli.color),
        Command::Export(args) => commands::export::export(&args),
        Command::Policy(args) => commands::policy::policy(&args, cli.color),
        Command::Credential(args) => commands::credential::credential(&args, cli.color),
        Command::Agents(args) => commands::agents::agents(&args, cli.color),
        Command::Allow(args) => commands::allow::allow(&args, cli.color),
        Command::Publish(args) => commands::publish::publish(&args),
        Command::Open(args) => commands::open::open(&args),
        Command::Why(args) => commands::why::why(&args, cli.color),
        Command::Doctor(args) => commands::doctor::doctor(&args, cli.color),
        Command::Completions { shell } => commands::manual::completions(shell, Cli::command()),
        Command::Man { dir } => commands::manual::man(dir.as_deref(), Cli::command()),
        Command::Probe { spec } => commands::doctor::probe::probe(&spec),
    };
    answer.unwrap_or_else(|failure| failure.report())
}
