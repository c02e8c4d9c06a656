//! `coffer policy check`.

use std::path::PathBuf;
use std::process::ExitCode;

use cofferdam_core::Timestamp;
use cofferdam_policy::file::{IN_PROJECT, read, read_in_project};
use cofferdam_policy::{FileError, LayerKind, Source, parse, render};

use crate::commands::Answer;
use crate::failure::Failure;
use crate::host;
use crate::output::{self, Colour};

/// `coffer policy check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 nothing is wrong; 1 something is; 125 an error.")]
pub struct CheckArgs {
    /// The file (default: yours, and the current project's whether you trust it or not)
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Checks files.
pub fn check(args: &CheckArgs, colour: Colour) -> Answer {
    let host = host::host()?;
    let mut files: Vec<(LayerKind, Result<Source, FileError>)> = Vec::new();
    let nowhere = match &args.file {
        Some(file) => {
            let source =
                read(file).transpose().ok_or_else(|| Failure::new(format!("there is no {}", file.display())))?;
            files.push((LayerKind::Person, source));
            String::new()
        }
        None => {
            let places = super::places(&host)?;
            let own = read(&places.person).transpose().map(|source| (LayerKind::Person, source));
            let project = read_in_project(&places.project).transpose().map(|source| (LayerKind::Project, source));
            files.extend(own.into_iter().chain(project));
            format!(
                "no policy: neither {} nor {} is there",
                places.person.display(),
                places.project.join(IN_PROJECT).display()
            )
        }
    };
    if files.is_empty() {
        output::remark(&output::visible(nowhere.as_bytes()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut wrong = false;
    for (layer, source) in files {
        match source {
            Ok(source) => wrong |= !checked(&source, layer, colour)?,
            Err(error) => {
                output::complain(&error.to_string());
                wrong = true;
            }
        }
    }
    Ok(ExitCode::from(u8::from(wrong)))
}

/// Prints what is wrong with one file; whether nothing is.
fn checked(source: &Source, layer: LayerKind, colour: Colour) -> Result<bool, Failure> {
    let parsed = parse(source, layer);
    let name = output::visible(source.path.as_os_str().as_encoded_bytes());
    let count = |n: usize, noun| output::counted(u64::try_from(n).unwrap_or(u64::MAX), noun);
    if parsed.diagnostics.is_empty() {
        let now = Timestamp::now();
        let ended = parsed.rules.iter().filter(|rule| rule.is_expired(now)).count();
        let over = if ended == 0 { String::new() } else { format!(", {ended} of them ended") };
        output::print(format!("{name}: {}{over}, nothing is wrong\n", count(parsed.rules.len(), "rule")))?;
        return Ok(true);
    }
    output::print(render(source, &parsed.diagnostics, super::style(colour.stdout())))?;
    output::print(format!("{name}: {}\n", count(parsed.diagnostics.len(), "error")))?;
    Ok(false)
}
