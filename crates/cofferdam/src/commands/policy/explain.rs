//! `coffer policy explain`.

use std::process::ExitCode;

use cofferdam_core::Timestamp;
use cofferdam_policy::{
    Credential, Explanation, Layer, Layers, Policy, Request, Scheme, Target, Use, explain as explained,
};
use cofferdam_runtime::plan::resolving;

use super::Read;
use super::listing::{facts, place};
use crate::commands::Answer;
use crate::output::{self, Colour};

/// `coffer policy explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  coffer policy explain https://api.github.com/repos/acme/app/issues\n  \
    coffer policy explain db.example:5432\nExit codes: 0 the policy allows it; 1 it denies it; 125 an error.")]
pub struct ExplainArgs {
    /// A URL, or a host with or without a port
    #[arg(value_name = "URL|HOST[:PORT]")]
    pub(in crate::commands) target: String,
    /// The method, in any case (default: GET for a URL)
    #[arg(long, short, value_name = "METHOD")]
    pub(in crate::commands) method: Option<String>,
    /// Decide for a run with --resolve
    #[arg(long)]
    pub(in crate::commands) resolve: bool,
    /// Print facts as JSON
    #[arg(long)]
    pub(in crate::commands) json: bool,
}

/// Decides and explains.
pub fn explain(args: &ExplainArgs, colour: Colour) -> Answer {
    let Read { host, places, layers, policy } = super::read(args.resolve)?;
    let target = Target::parse(&args.target)?;
    let method = args.method.as_deref().map(str::to_ascii_uppercase);
    let request = Request {
        scheme: target.scheme,
        host: target.host,
        port: target.port,
        method: method.as_deref().or(target.path.map(|_| "GET")),
        path: target.path,
        now: Timestamp::now(),
    };
    let explanation = explained(&policy, &request);
    let carries: Vec<_> = carried(layers.credentials(), &request).collect();
    // Quietly: what cannot be a rule is not what was asked about.
    let resolves = !explanation.decision.allowed
        && resolving(&host, &layers, &mut Vec::new())
            .is_ok_and(|rules| Policy::new([Layer { rules }]).decide(&request).allowed);
    if args.json {
        output::json(&as_json(&request, &explanation, resolves, &layers, &carries))?;
    } else {
        let person = super::short(&places.person, &places.project, &host);
        let file = if layers.person.is_some() {
            person
        } else {
            format!("{person} (a new file; begin it with `version = 1`)")
        };
        output::print(human(
            &request,
            &explanation,
            colour.stdout(),
            |rule| place(rule, &places.project, &host),
            (!resolves).then_some(&*file),
            &carries,
        ))?;
        super::say_left_out(&layers);
    }
    Ok(ExitCode::from(u8::from(!explanation.decision.allowed)))
}

/// The credentials that such a request would carry, and in which field.
fn carried<'c>(
    credentials: &'c [Credential],
    request: &Request<'_>,
) -> impl Iterator<Item = (&'c Credential, &'c Use)> {
    let request = *request;
    // Of a connection alone what is spoken is not known yet.
    let spoken = match request.scheme {
        Scheme::Tcp => vec![Scheme::Https, Scheme::Http],
        scheme => vec![scheme],
    };
    credentials.iter().filter_map(move |credential| {
        let about = |one: &&Use| {
            spoken.iter().any(|scheme| {
                let request = Request { scheme: *scheme, ..request };
                if request.method.is_some() { one.is_for(&request) } else { one.is_about(&request) }
            })
        };
        credential.uses.iter().find(about).map(|one| (credential, one))
    })
}

fn as_json(
    request: &Request<'_>,
    explanation: &Explanation<'_>,
    resolves: bool,
    layers: &Layers,
    carries: &[(&Credential, &Use)],
) -> serde_json::Value {
    let decision = &explanation.decision;
    serde_json::json!({
        "request": {
            "scheme": request.scheme,
            "host": request.host,
            "port": request.port,
            "method": request.method,
            "path": request.path,
        },
        "allowed": decision.allowed,
        "reason": decision.reason,
        "says": decision.reason.to_string(),
        "rule": decision.rule.map(|rule| facts(rule, request.now)),
        "near": explanation.near.iter().map(|near| serde_json::json!({
            "rule": facts(near.rule, request.now),
            "differs": near.differs,
        })).collect::<Vec<_>>(),
        "proposal": explanation.rule,
        "credentials": carries.iter().map(|(credential, one)| serde_json::json!({
            "name": credential.name,
            "header": one.header,
            "purpose": credential.purpose,
        })).collect::<Vec<_>>(),
        "resolves": resolves,
        "left_out": layers.left_out(),
    })
}

fn human(
    request: &Request<'_>,
    explanation: &Explanation<'_>,
    colour: bool,
    place: impl Fn(&cofferdam_policy::Rule) -> String,
    file: Option<&str>,
    carries: &[(&Credential, &Use)],
) -> String {
    let safe = |text: &str| output::visible(text.as_bytes());
    let decision = &explanation.decision;
    let asked = asked(request);
    if let (true, Some(rule)) = (decision.allowed, decision.rule) {
        let verdict = output::styled("allowed", "32", colour);
        let mut text = format!("{verdict}  {asked}\n  rule     {}\n  purpose  {}\n", place(rule), safe(&rule.purpose));
        for (credential, one) in carries {
            let Credential { name, purpose, .. } = credential;
            text.push_str(&format!("  carries  credential {name} in {}, for {}\n", one.header, safe(purpose)));
        }
        return text + "\n";
    }
    let verdict = output::styled("denied", "31", colour);
    let mut text = format!("{verdict}  {asked}: {}\n", safe(&decision.reason.to_string()));
    for near in &explanation.near {
        text.push_str(&format!("  near     {}\n", place(near.rule)));
        for line in &near.differs {
            text.push_str(&format!("             {}\n", safe(line)));
        }
    }
    let Some(file) = file else {
        return text + "\nIt is a package registry that your policy names: a run with --resolve may read from it.\n\n";
    };
    if let Some(rule) = &explanation.rule {
        // Every line is made of words in their compared form; what came from the person is quoted as TOML.
        let rule: String = rule.lines().map(|line| format!("{}\n", safe(line))).collect();
        text.push_str(&format!("\nThis rule in {file} would allow it, once it says what it is for:\n\n{rule}"));
    }
    text.push('\n');
    text
}

/// What was asked, as a person would write it.
fn asked(request: &Request<'_>) -> String {
    let method = request.method.map(|method| format!("{method} ")).unwrap_or_default();
    let scheme = request.scheme.as_str();
    let text = match request.path {
        Some(path) if request.scheme.default_port() == Some(request.port) => {
            format!("{method}{scheme}://{}{path}", request.host)
        }
        path => format!("{method}{scheme}://{}:{}{}", request.host, request.port, path.unwrap_or_default()),
    };
    output::visible(text.as_bytes())
}
