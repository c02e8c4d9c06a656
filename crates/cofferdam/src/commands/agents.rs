//! `coffer agents`: which agents are known, and what a run of one would get.

use std::path::Path;
use std::process::ExitCode;

use cofferdam_core::Bytes;
use cofferdam_core::plan::PlannedFile;
use cofferdam_models::profile::OwnError;
use cofferdam_policy::layers::LayersError;
use cofferdam_policy::{Credential, LayerKind, Rule, file, parse, render};
use cofferdam_runtime::plan::Host;
use cofferdam_runtime::plan::agent::{Agent, AgentError, Made, named, names};
use serde_json::{Value, json};

use super::{Answer, policy};
use crate::failure::Failure;
use crate::output::{self, Colour};

/// `coffer agents`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
#[command(
    after_help = "A profile of your own is a file NAME.toml in ~/.config/cofferdam/agents, in the place of the shipped one of that name: \
    docs/agents.md."
)]
pub struct AgentsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List them, with what was found of each on this machine
    List {
        /// Print facts as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a run of one would get: endpoints, credentials, configuration
    Show {
        /// The agent
        #[arg(value_name = "NAME")]
        name: String,
        /// Print facts as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Answers.
pub fn agents(args: &AgentsArgs, colour: Colour) -> Answer {
    let host = crate::host::host()?;
    let directory = crate::host::agents(&host);
    match &args.action {
        Action::List { json } => list(&host, &directory, *json, colour)?,
        Action::Show { name, json } => {
            let Some(agent) = named(&host, name, &directory).map_err(|e| explained(e, colour))? else {
                let known = names(&directory)?.join(", ");
                let what = format!("there is no agent `{}`", output::visible(name.as_bytes()));
                return Err(Failure::new(what).next(format!("known are {known}")));
            };
            show(&host, &agent, *json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// An error in a person's profile is shown where it stands.
fn explained(error: AgentError, colour: Colour) -> Failure {
    match error {
        AgentError::Own(OwnError::Wrong { text, error }) => {
            let shown = render(&text, &[*error], policy::style(colour.stderr()));
            Failure::new(format!("your profile is not read\n\n{}", shown.trim_end()))
        }
        other => Failure::new(other),
    }
}

fn list(host: &Host, directory: &Path, as_json: bool, colour: Colour) -> Result<(), Failure> {
    let mut facts = Vec::new();
    let mut table = vec![["NAME", "AGENT", "VERSION", "FOUND", "PROFILE"].map(str::to_owned).to_vec()];
    for name in names(directory)? {
        let agent = match named(host, &name, directory) {
            Ok(Some(agent)) => agent,
            Ok(None) => continue,
            Err(e) => {
                // One that is broken does not hide the others.
                explained(e, colour).report();
                continue;
            }
        };
        let own = |path: &Path| output::visible(host.short(path).as_os_str().as_encoded_bytes());
        table.push(vec![
            name,
            output::visible(agent.profile.title.as_deref().unwrap_or("-").as_bytes()),
            agent.version.clone().unwrap_or_else(|| "-".to_owned()),
            agent.found.as_deref().map_or_else(|| "not on this machine".to_owned(), own),
            agent.file.as_deref().map_or_else(|| "shipped".to_owned(), own),
        ]);
        facts.push(of(&agent));
    }
    if as_json { output::json(&facts) } else { output::print(output::table(&table)) }
}

/// What is known without looking at policy.
fn of(agent: &Agent) -> Value {
    json!({
        "name": agent.profile.name,
        "title": agent.profile.title,
        "version": agent.version,
        "found": agent.found.as_deref().map(Bytes::from),
        "executable": agent.executable.as_deref().map(Bytes::from),
        "profile": agent.file.as_deref().map(Bytes::from),
    })
}

fn show(host: &Host, agent: &Agent, as_json: bool) -> Result<(), Failure> {
    let own = own_credentials(host)?;
    let made = agent.make(host, &[agent.profile.name.as_str().into()], &[], &own, false)?;
    if as_json { output::json(&facts(agent, made)) } else { output::print(in_words(host, agent, made)) }
}

/// The credentials of the person's policy, which stand where they are for a key of an agent's.
fn own_credentials(host: &Host) -> Result<Vec<Credential>, Failure> {
    let Some(source) = file::read(&crate::host::person_policy(host))? else { return Ok(Vec::new()) };
    let parsed = parse(&source, LayerKind::Person);
    match parsed.diagnostics.len() {
        0 => Ok(parsed.credentials),
        count => Err(LayersError::Errors { path: source.path.to_path_buf(), count }.into()),
    }
}

fn endpoint(rule: &Rule) -> Value {
    json!({
        "host": rule.host.to_string(),
        "port": rule.port,
        "scheme": rule.scheme,
        "paths": paths(rule),
        "purpose": rule.purpose,
    })
}

fn paths(rule: &Rule) -> Option<Vec<&str>> {
    rule.paths.as_ref().map(|paths| paths.iter().map(|path| path.as_str()).collect())
}

fn facts(agent: &Agent, made: Made) -> Value {
    let mut facts = of(agent);
    facts["endpoints"] = made.rules.iter().map(endpoint).collect();
    facts["quiet"] = made.quiet.iter().map(endpoint).collect();
    let credential = |own: &Credential| json!({ "name": own.name, "env": own.expose, "hosts": own.hosts() });
    facts["credentials"] = made.credentials.iter().map(credential).collect();
    facts["variables"] = made.variables.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    facts["unattended"] =
        json!({ "flags": agent.profile.unattended.flags, "variables": agent.profile.unattended.environment });
    facts["keeps"] = json!(agent.profile.keeps);
    facts["transcripts"] = json!(agent.profile.transcripts);
    facts["notes"] = json!(made.notes);
    let file = |own: &PlannedFile| json!({ "path": own.path, "source": own.source, "without": own.dropped });
    facts["configuration"] = made.configuration().iter().map(file).collect();
    facts
}

fn in_words(host: &Host, agent: &Agent, made: Made) -> String {
    let mut text = String::new();
    let visible = |text: &str| output::visible(text.as_bytes());
    let short = |path: &Path| output::visible(host.short(path).as_os_str().as_encoded_bytes());
    let mut line = |head: &str, what: String| text.push_str(&format!("{head:<13} {what}\n"));
    let profile = &agent.profile;
    line("agent", format!("{} {}", profile.name, agent.version.as_deref().unwrap_or("(version not known)")));
    line("found", agent.found.as_deref().map_or_else(|| "not on this machine".to_owned(), short));
    line("profile", agent.file.as_deref().map_or_else(|| "shipped".to_owned(), short));
    for rule in &made.rules {
        let port = rule.port.map(|port| format!(":{port}")).unwrap_or_default();
        let paths = paths(rule).map(|paths| format!(" {}", paths.join(" "))).unwrap_or_default();
        line("endpoint", visible(&format!("{}{port}{paths}: {}", rule.host, rule.purpose)));
    }
    for own in &made.credentials {
        let variable = own.expose.as_deref().unwrap_or_default();
        line(
            "credential",
            visible(&format!("{} of ${variable} for {}, a placeholder inside", own.name, own.hosts().join(", "))),
        );
    }
    let mut quiet: Vec<String> = made.quiet.iter().map(|rule| rule.host.to_string()).collect();
    quiet.dedup();
    line("quiet", visible(&format!("{} (telemetry, updates: refused, not told one by one)", quiet.join(", "))));
    for (name, value) in &made.variables {
        line("variable", visible(&format!("{name}={value}")));
    }
    let flags = profile.unattended.flags.join(" ");
    let variables: Vec<String> = profile.unattended.environment.iter().map(|(n, v)| format!("{n}={v}")).collect();
    if !profile.unattended.is_empty() {
        let all: Vec<&str> = [flags.as_str()].into_iter().chain(variables.iter().map(String::as_str)).collect();
        line("--unattended", visible(all.join(" ").trim()));
    }
    line("keeps", visible(&format!("{} (in its home for the project)", profile.keeps.join(", "))));
    for note in &made.notes {
        line("note", visible(note));
    }
    for file in made.configuration() {
        let from = file.source.as_ref().map_or_else(|| "made here".to_owned(), |source| short(source.as_path()));
        let without = if file.dropped.is_empty() {
            String::new()
        } else {
            format!(", without {}", visible(&shortened(&file.dropped)))
        };
        line("configuration", format!("~/{} ({from}{without})", output::visible(&file.path.0)));
    }
    text
}

/// The first of many keys.
fn shortened(keys: &[String]) -> String {
    const MOST: usize = 8;
    let more = keys.len().saturating_sub(MOST);
    let first = keys.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}
