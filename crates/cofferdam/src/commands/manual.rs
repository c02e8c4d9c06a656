//! `coffer man` and `coffer completions`.

use std::path::Path;
use std::process::ExitCode;

use clap::Command;

use super::Answer;
use crate::failure::Failure;
use crate::output;

/// The completion script of a shell.
pub fn completions(shell: clap_complete::Shell, command: &mut Command) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "coffer", &mut script);
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
