//! `coffer policy check`.

use std::path::PathBuf;
use std::process::ExitCode;

use cofferdam_core::{Bytes, Timestamp};
use cofferdam_policy::diagnostic::MOST_SHOWN;
use cofferdam_policy::file::{IN_PROJECT, read, read_in_project};
use cofferdam_policy::{FileError, LayerKind, Parsed, Source, parse, render};
use cofferdam_runtime::plan::Host;
use serde_json::{Value, json};

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
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// A file, or why it was not read.
type Named = (LayerKind, Result<Source, FileError>);

/// Checks files.
pub fn check(args: &CheckArgs, colour: Colour) -> Answer {
    let host = host::host()?;
    let files = files(args, &host)?;
    let (mut wrong, mut facts) = (false, Vec::new());
    for (layer, source) in files {
        match source {
            Ok(source) => {
                let parsed = parse(&source, layer);
                wrong |= !parsed.diagnostics.is_empty();
                match args.json {
                    true => facts.push(as_json(&source, &parsed)),
                    false => output::print(human(&source, &parsed, colour.stdout()))?,
                }
            }
            Err(error) => {
                wrong = true;
                match args.json {
                    true => facts.push(json!({ "unreadable": error.to_string() })),
                    false => output::complain(&error.to_string()),
                }
            }
        }
    }
    if args.json {
        output::json(&facts)?;
    }
    Ok(ExitCode::from(u8::from(wrong)))
}

/// What is to be checked; says where there is nothing.
fn files(args: &CheckArgs, host: &Host) -> Result<Vec<Named>, Failure> {
    if let Some(file) = &args.file {
        let source = read(file).transpose().ok_or_else(|| Failure::new(format!("there is no {}", file.display())))?;
        return Ok(vec![(LayerKind::Person, source)]);
    }
    let places = super::places(host).map_err(|e| e.next("or name a file: coffer policy check FILE"))?;
    let own = read(&places.person).transpose().map(|source| (LayerKind::Person, source));
    let project = read_in_project(&places.project).transpose().map(|source| (LayerKind::Project, source));
    let files: Vec<_> = own.into_iter().chain(project).collect();
    if files.is_empty() {
        let (person, project) = (places.person.display(), places.project.join(IN_PROJECT));
        let line = format!("no policy: neither {person} nor {} is there", project.display());
        output::remark(&output::visible(line.as_bytes()));
    }
    Ok(files)
}

fn human(source: &Source, parsed: &Parsed, colour: bool) -> String {
    let name = output::visible(source.path.as_os_str().as_encoded_bytes());
    let counted = |n: usize, noun| output::counted(u64::try_from(n).unwrap_or(u64::MAX), noun);
    if !parsed.diagnostics.is_empty() {
        let errors = render(source, &parsed.diagnostics, super::style(colour));
        return format!("{errors}{name}: {}\n", counted(parsed.diagnostics.len(), "error"));
    }
    let now = Timestamp::now();
    let ended = parsed.rules.iter().filter(|rule| rule.is_expired(now)).count();
    let over = if ended == 0 { String::new() } else { format!(", {ended} of them ended") };
    let credentials = match parsed.credentials.len() {
        0 => String::new(),
        count => format!(" and {}", counted(count, "credential")),
    };
    format!("{name}: {}{over}{credentials}, nothing is wrong\n", counted(parsed.rules.len(), "rule"))
}

fn as_json(source: &Source, parsed: &Parsed) -> Value {
    let errors = parsed.diagnostics.iter().take(MOST_SHOWN).map(|error| {
        let at = source.position(error.span.start);
        json!({
            "class": error.class,
            "line": at.line,
            "column": at.column,
            "message": error.message,
            "label": error.label,
            "help": error.help,
        })
    });
    json!({
        "file": Bytes::from(&*source.path),
        "rules": parsed.rules.len(),
        "credentials": parsed.credentials.len(),
        "errors": errors.collect::<Vec<_>>(),
        "count": parsed.diagnostics.len(),
    })
}
