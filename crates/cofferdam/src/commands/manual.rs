//! `coffer man` and `coffer completions`.

use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap::builder::PossibleValuesParser;
use cofferdam_runtime::plan::agent::names;

use super::Answer;
use crate::failure::Failure;
use crate::output;

/// The completion script of a shell. It knows the agents that there are now, the person's own among them.
pub fn completions(shell: clap_complete::Shell, command: Command) -> Answer {
    let host = crate::host::host()?;
    // The script's words live as long as this process.
    let agents = names(&crate::host::agents(&host))?.into_iter().map(|name| &*name.leak());
    let agents = PossibleValuesParser::new(agents.collect::<Vec<&'static str>>());
    let named = |show: Command| show.mut_arg("name", |name| name.value_parser(agents));
    let mut command = command.mut_subcommand("agents", |agents| agents.mut_subcommand("show", named));
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "coffer", &mut script);
    output::print(script)?;
    Ok(ExitCode::SUCCESS)
}

/// The manual: one page on standard output, or a file for each command.
pub fn man(dir: Option<&Path>, command: Command) -> Answer {
    match dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            output::print(page)?;
        }
        Some(dir) => clap_mangen::generate_to(command, dir)
            .map_err(|e| Failure::new(format!("{}: {e}", dir.display())).next("name a directory that exists"))?,
    }
    Ok(ExitCode::SUCCESS)
}
