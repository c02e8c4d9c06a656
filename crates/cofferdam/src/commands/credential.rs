//! `coffer credential`: which credentials there are, and whether they can be fetched. Values are never shown.

use std::path::Path;
use std::process::ExitCode;

use cofferdam_core::Bytes;
use cofferdam_core::Timestamp;
use cofferdam_credentials::oauth::{Place, SignIn, SignInError, Tokens, known};
use cofferdam_credentials::{FetchError, Surroundings, fetch};
use cofferdam_evidence::Secrets;
use cofferdam_policy::{Credential, CredentialSource, Layers, Places};
use cofferdam_review::text::fit;
use cofferdam_runtime::keeper;
use cofferdam_runtime::plan::{Host, sign_in_outside};
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
    let sign_ins = known(&crate::host::sign_ins(&host))?;
    match &args.action {
        Action::List { json } => list(credentials, sign_ins, *json, &places, &host),
        Action::Test { name, json } => match sign_ins.iter().find(|own| own.name == *name) {
            // Policy's own replaces it.
            Some(sign_in) if !credentials.iter().any(|own| own.name == *name) => test_sign_in(sign_in, *json, &host),
            _ => test(credentials, name, *json, &host),
        },
    }
}

fn list(credentials: &[Credential], sign_ins: Vec<SignIn>, as_json: bool, places: &Places, host: &Host) -> Answer {
    let mut signed_in = Vec::new();
    for sign_in in sign_ins {
        if credentials.iter().any(|own| own.name == sign_in.name) {
            continue;
        }
        match tokens(&sign_in, host) {
            Ok(Some(tokens)) => signed_in.push((sign_in, tokens.expires)),
            Ok(None) => {}
            Err(e) => output::remark(&format!("the sign-in {} cannot be used: {e}", sign_in.name)),
        }
    }
    match as_json {
        true => {
            let own = credentials.iter().map(facts);
            let others = signed_in.iter().map(|(sign_in, expires)| sign_in_facts(sign_in, *expires));
            output::json(&own.chain(others).collect::<Vec<_>>())?;
        }
        false if credentials.is_empty() && signed_in.is_empty() => {
            let file = output::visible(places.person.as_os_str().as_encoded_bytes());
            output::remark(&format!("no credentials: a [[credential]] in {file} makes one"));
        }
        false => {
            let mut table = rows(credentials, &places.project, host);
            table.extend(signed_in.iter().map(|(sign_in, _)| sign_in_row(sign_in)));
            output::print(output::table(&table))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The tokens of a sign-in, where somebody is signed in.
fn tokens(sign_in: &SignIn, host: &Host) -> Result<Option<Tokens>, SignInError> {
    let (file, _) = sign_in_outside(host, sign_in);
    match Place::find(&file, None, &host.home) {
        Ok(place) => Ok(Tokens::read(sign_in, &place.read()?)),
        Err(SignInError::Nobody(_)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The hosts whose requests carry it.
fn sign_in_hosts(sign_in: &SignIn) -> Vec<String> {
    sign_in.uses.iter().map(|one| one.host.clone()).collect()
}

fn sign_in_row(sign_in: &SignIn) -> Vec<String> {
    let row = [
        sign_in.name.as_str(),
        "sign-in",
        &sign_in_hosts(sign_in).join(", "),
        &format!("~/{}", sign_in.file),
        "built-in",
        &format!("{} is signed in outside", sign_in.agents.join(", ")),
    ];
    row.map(|cell| output::visible(cell.as_bytes())).to_vec()
}

fn sign_in_facts(sign_in: &SignIn, expires: Option<i64>) -> Value {
    json!({
        "name": sign_in.name,
        "source": "sign-in",
        "agents": sign_in.agents,
        "hosts": sign_in_hosts(sign_in),
        "inside": format!("~/{}", sign_in.file),
        "expires": expires.map(moment),
        "layer": "built-in",
    })
}

/// A moment in milliseconds since 1970.
fn moment(ms: i64) -> String {
    Timestamp::from_parts(ms.div_euclid(1000), 0).to_string()
}

/// Keeps it good, as a run would.
fn test_sign_in(sign_in: &SignIn, as_json: bool, host: &Host) -> Answer {
    let name = &sign_in.name;
    let kept = keeper::check(host, &crate::host::store(host), sign_in);
    if as_json {
        output::json(&match &kept {
            Ok((refreshed, until)) => {
                json!({ "name": name, "source": "sign-in", "works": true, "refreshed": refreshed, "until": until.map(moment) })
            }
            Err(why) => json!({ "name": name, "source": "sign-in", "works": false, "error": why }),
        })?;
        return Ok(if kept.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) });
    }
    let (refreshed, until) = kept.map_err(|why| {
        let failure = Failure::new(format!("{name} does not work: {}", output::visible(why.as_bytes()))).code(1);
        failure.next(format!("start {} outside, and sign in there", sign_in.agents.join(" or ")))
    })?;
    let until = until.map_or_else(String::new, |until| format!(", good until {}", moment(until)));
    output::print(format!("{name} works{}{until}\n", if refreshed { ", refreshed" } else { "" }))?;
    Ok(ExitCode::SUCCESS)
}

/// A table of them.
pub fn listing(credentials: &[Credential], project: &Path, host: &Host) -> String {
    output::table(&rows(credentials, project, host))
}

fn rows(credentials: &[Credential], project: &Path, host: &Host) -> Vec<Vec<String>> {
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
    table
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
