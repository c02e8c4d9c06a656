//! `coffer policy trust`.

use std::process::ExitCode;

use cofferdam_core::Timestamp;
use cofferdam_policy::file::IN_PROJECT;
use cofferdam_policy::{Layers, ProjectState, render};

use super::listing::{Listing, facts};
use crate::commands::Answer;
use crate::failure::Failure;
use crate::host;
use crate::output::{self, Colour};

/// `coffer policy trust`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A project's policy counts only at the content that you trusted last: an edit of it, by whomever, counts for \
    nothing until you trust it again.\nExit codes: 0 trusted; 1 not trusted; 125 an error."
)]
pub struct TrustArgs {
    /// Trust it without asking
    #[arg(long, short)]
    yes: bool,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Shows what the project's policy would allow, asks, and remembers its digest.
pub fn trust(args: &TrustArgs, colour: Colour) -> Answer {
    let host = host::host()?;
    let places = super::places(&host)?;
    let mut layers = Layers::read(&places)?;
    if let ProjectState::Unreadable(error) = layers.state {
        return Err(error.into());
    }
    let Some(file) = layers.project.take() else {
        return Err(Failure::new(format!("there is no {} to trust", places.project.join(IN_PROJECT).display())));
    };
    let errors = file.parsed.diagnostics.len();
    if errors > 0 {
        if !args.json {
            output::print(render(&file.source, &file.parsed.diagnostics, super::style(colour.stdout())))?;
        }
        let count = output::counted(u64::try_from(errors).unwrap_or(u64::MAX), "error");
        return Err(Failure::new(format!("{} has {count} and is not trusted", file.source.path.display()))
            .next("coffer policy check shows what is wrong")
            .code(1));
    }
    let digest = file.source.digest();
    let rules: Vec<_> = file.parsed.rules.iter().collect();
    let now = Timestamp::now();
    let already = matches!(layers.state, ProjectState::Trusted);
    if !args.json {
        let listing = Listing { now, project: &places.project, host: &host, colour: colour.stdout() };
        let text = if rules.is_empty() { "no rules: it allows nothing\n\n".to_owned() } else { listing.text(&rules) };
        output::print(text)?;
        if matches!(layers.state, ProjectState::Changed) {
            output::remark("it changed since you trusted it");
        }
    }
    // What is remembered is the digest of what was shown, whatever lies there by now.
    let question = format!("trust {} with {}?", IN_PROJECT, output::counted(rules.len() as u64, "rule"));
    let trusted = already || args.yes || output::agreed(&question)?;
    if trusted && !already {
        places.trust.trust(&places.project, digest)?;
    }
    if args.json {
        output::json(&serde_json::json!({
            "project": cofferdam_core::Bytes::from(places.project.as_path()),
            "digest": digest,
            "rules": rules.iter().map(|rule| facts(rule, now)).collect::<Vec<_>>(),
            "trusted": trusted,
        }))?;
        return Ok(ExitCode::from(u8::from(!trusted)));
    }
    if !trusted {
        return Err(Failure::new("not trusted: it counts for nothing")
            .next("answer y, or give --yes where there is no terminal")
            .code(1));
    }
    output::print(format!(
        "{}, at {digest}
",
        if already { "trusted already" } else { "trusted" }
    ))?;
    Ok(ExitCode::SUCCESS)
}
