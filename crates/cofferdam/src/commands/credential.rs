//! `coffer credential`: which credentials there are, and whether they can be fetched. Values are never shown.

use std::path::Path;
use std::process::ExitCode;

use cofferdam_core::Bytes;
use cofferdam_credentials::{FetchError, Surroundings, fetch};
use cofferdam_evidence::Secrets;
use cofferdam_policy::{Credential, CredentialSource, Layers};
use cofferdam_review::text::fit;
use cofferdam_runtime::plan::Host;
use serde_json::{Value, json};

use super::{Answer, policy};
use crate::failure::Failure;
use crate::output::{self, Colour};

/// Columns of a purpose.
const PURPOSE: usize = 60;

/// `coffer credential`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
#[command(
    after_help = "A credential is a [[credential]] of your own policy file: docs/credentials.md. Its value is fetched outside when a \
    request needs it, and is never inside."
)]
pub struct CredentialArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List them: where each comes from, which hosts it is for, what stands for it inside
    List {
        /// Print facts as JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch one as a run would, and say whether that works
    Test {
        /// The credential
        #[arg(value_name = "NAME")]
        name: String,
        /// Print facts as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Answers.
pub fn credential(args: &CredentialArgs, _: Colour) -> Answer {
    let host = crate::host::host()?;
    let places = policy::places(&host)?;
    let layers = Layers::read(&places)?;
    // Part of a policy is nobody's policy.
    layers.policy(cofferdam_policy::Layer::default())?;
    let credentials = layers.credentials();
    match &args.action {
        Action::List { json: true } => output::json(&credentials.iter().map(facts).collect::<Vec<_>>())?,
        Action::List { json: false } if credentials.is_empty() => {
            let file = output::visible(places.person.as_os_str().as_encoded_bytes());
            output::remark(&format!("no credentials: a [[credential]] in {file} makes one"));
        }
        Action::List { json: false } => output::print(listing(credentials, &places.project, &host))?,
        Action::Test { name, json } => return test(credentials, name, *json, &host),
    }
    Ok(ExitCode::SUCCESS)
}

/// A table of them.
pub fn listing(credentials: &[Credential], project: &Path, host: &Host) -> String {
    let mut table = vec![["NAME", "SOURCE", "HOSTS", "INSIDE", "LAYER", "PURPOSE"].map(str::to_owned).to_vec()];
    for credential in credentials {
        let file = credential.id.file.as_deref().map(|file| policy::short(file, project, host)).unwrap_or_default();
        table.push(vec![
            credential.name.clone(),
            credential.source.kind().to_owned(),
            credential.hosts().join(", "),
            credential.expose.as_ref().map_or_else(|| "-".to_owned(), |variable| format!("${variable}")),
            format!("{} {file}:{}", credential.id.layer, credential.id.line),
            fit(&output::visible(credential.purpose.as_bytes()), PURPOSE),
        ]);
    }
    output::table(&table)
}

/// Its facts.
pub fn facts(credential: &Credential) -> Value {
    let uses = credential.uses.iter().map(|one| {
        json!({
            "host": one.on.host.to_string(),
            "port": one.on.port,
            "scheme": one.on.scheme,
            "methods": one.on.methods,
            "paths": one.on.paths.as_ref().map(|paths| paths.iter().map(|path| path.as_str()).collect::<Vec<_>>()),
            "header": one.header,
        })
    });
    json!({
        "name": credential.name,
        "source": credential.source.kind(),
        "use": uses.collect::<Vec<_>>(),
        "env": credential.expose,
        "purpose": credential.purpose,
        "lifetime": credential.lifetime,
        "layer": credential.id.layer,
        "file": credential.id.file.as_deref().map(Bytes::from),
        "line": credential.id.line,
    })
}

fn test(credentials: &[Credential], name: &str, as_json: bool, host: &Host) -> Answer {
    let Some(credential) = credentials.iter().find(|own| own.name == name) else {
        let known = credentials.iter().map(|own| own.name.as_str()).collect::<Vec<_>>().join(", ");
        let next = if known.is_empty() {
            "coffer credential list says how to make one".to_owned()
        } else {
            format!("there are: {known}")
        };
        let what = format!("there is no credential {}", output::visible(name.as_bytes()));
        return Err(Failure::new(what).next(next));
    };
    let around = Surroundings {
        env: host.env.iter().map(|(n, v)| (n.as_path().into(), v.as_path().into())).collect(),
        home: host.home.clone(),
    };
    let fetched = fetch(&credential.source, &around, None);
    let result = fetched.map_err(|e| (e.to_string(), hint(&credential.source, &e))).and_then(|value| {
        // As a run does it: what cannot be struck out of evidence is not used.
        match Secrets::default().add(name, &value) {
            Ok(()) => Ok(value.len()),
            Err(why) => Err((format!("its value could not be kept out of the evidence: {why}"), None)),
        }
    });
    let source = credential.source.kind();
    match (result, as_json) {
        (Ok(bytes), true) => output::json(&json!({ "name": name, "source": source, "works": true, "bytes": bytes }))?,
        (Ok(bytes), false) => output::print(format!("{name} works, {}\n", output::counted(bytes as u64, "byte")))?,
        (Err((why, next)), true) => {
            output::json(&json!({ "name": name, "source": source, "works": false, "error": why, "next": next }))?;
            return Ok(ExitCode::from(1));
        }
        (Err((why, next)), false) => {
            let failure = Failure::new(format!("{name} does not work: {}", output::visible(why.as_bytes()))).code(1);
            return Err(match next {
                Some(next) => failure.next(next),
                None => failure,
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a person can do.
fn hint(source: &CredentialSource, error: &FetchError) -> Option<String> {
    Some(match (source, error) {
        (CredentialSource::Env(name), FetchError::NotSet(_)) => format!("set {name} where you start coffer"),
        (CredentialSource::File(_), _) => "put the value, and nothing else, into that file".to_owned(),
        (CredentialSource::Command(words), FetchError::Ended { .. } | FetchError::Slow(_) | FetchError::Empty) => {
            let command = output::visible(words.join(" ").as_bytes());
            format!("run it yourself, in your home: {command}; sign in where it asks for that")
        }
        (CredentialSource::Command(_), FetchError::Start { .. }) => {
            "name a program that your PATH finds, or its whole path".to_owned()
        }
        _ => return None,
    })
}
