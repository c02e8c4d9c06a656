//! `coffer open`.

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use cofferdam_runtime::control;
use cofferdam_runtime::plan::Host;
use cofferdam_runtime::store::Run;

use super::{Answer, Target};
use crate::failure::Failure;
use crate::{exit, host, output};

/// How often it is looked whether the run has ended.
const LOOK: Duration = Duration::from_secs(1);

/// `coffer open`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The workspace is shown as the run has it, at a path that lives as long as this command: the editor has to stay in the \
    foreground (`code --wait`). What you save there is the run's, not your tree's; the evidence says that you had it open. Without a \
    command $VISUAL or $EDITOR is started; --path prints the path and waits for Ctrl-C or the run's end.\n\n\
    What is in the workspace an agent wrote: an editor that runs tasks or extensions of a folder runs the agent's.\n\n\
    Examples:\n  coffer open\n  coffer open k7m2 -- code --wait\n  coffer open @ --path"
)]
pub struct OpenArgs {
    /// The run, which goes on
    #[arg(value_name = "RUN", default_value = "@")]
    run: String,
    /// Print the path, and keep it until Ctrl-C
    #[arg(long, conflicts_with = "command")]
    path: bool,
    /// The editor and its arguments; the path follows them
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Shows the workspace of a run that goes on.
pub fn open(args: &OpenArgs) -> Answer {
    let host = host::host()?;
    let run = Target::find(&host, &host::store(&host), &args.run)?.run;
    let view = control::view(&run).map_err(|e| {
        let short = run.record.run.short();
        Failure::new(e).next(format!("of a run that is over: coffer diff {short}, coffer promote {short}"))
    })?;
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), view.as_raw_fd()));
    if args.path {
        output::print(format!("{}\n", path.display()))?;
        return wait(&run);
    }
    let command = editor(&host, &args.command)?;
    // Not `exec`: the path is this process's.
    let status = Command::new(&command[0]).args(&command[1..]).arg(&path).status().map_err(|e| {
        let name = output::visible(command[0].as_encoded_bytes());
        Failure::new(format!("`{name}` cannot be started: {}", e.kind())).next("coffer open RUN -- EDITOR")
    })?;
    Ok(match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(exit::OURS)),
        None => ExitCode::from(status.signal().map_or(exit::OURS, exit::of_signal)),
    })
}

/// The editor that was named, or the person's own.
fn editor(host: &Host, named: &[OsString]) -> Result<Vec<OsString>, Failure> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let own = ["VISUAL", "EDITOR"].iter().find_map(|name| host.var(name));
    let words = own.and_then(|words| shlex::bytes::split(&words.0)).filter(|words| !words.is_empty());
    match words {
        Some(words) => Ok(words.into_iter().map(OsString::from_vec).collect()),
        None => Err(Failure::new("neither $VISUAL nor $EDITOR names an editor")
            .next("coffer open RUN -- EDITOR, or coffer open RUN --path")),
    }
}

/// Holds the path until the run has ended; Ctrl-C ends it as it ends any program.
fn wait(run: &Run) -> Answer {
    while run.is_live().map_err(Failure::new)? {
        std::thread::sleep(LOOK);
    }
    Ok(ExitCode::SUCCESS)
}
