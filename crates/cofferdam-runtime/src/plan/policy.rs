//! What a run may reach: the rules of the layers that count, in its plan and in words for the agent.

use std::collections::BTreeSet;
use std::path::Path;

use cofferdam_core::Timestamp;
use cofferdam_core::plan::{NetworkPlan, PlannedModels};
use cofferdam_models::budget::ledger::DIRECTORY;
use cofferdam_policy::{Credential, Layers, Places, Rule, TrustStore};
use serde::Deserialize;

use super::{Host, PlanError, Request, registries};
use crate::store::Store;

/// The records of which content of a project's policy the person trusts.
pub fn trust_store(store: &Store) -> TrustStore {
    TrustStore::at(store.root().join("trust"))
}

/// What policy says for a run.
pub(super) struct Policy {
    /// The rules, in the order in which they are asked.
    pub(super) rules: Vec<Rule>,
    /// The person's credentials.
    pub(super) credentials: Vec<Credential>,
    /// What holds for models.
    pub(super) models: Option<PlannedModels>,
    /// Whether there are tripwires.
    pub(super) tripwires: bool,
}

/// What applies to a run in a project.
///
/// # Errors
/// Where a file that counts cannot be read or has errors; where it is to resolve and policy names no registries.
pub(super) fn rules(
    host: &Host,
    project: &Path,
    store: &Store,
    request: &Request,
    notes: &mut Vec<String>,
) -> Result<Policy, PlanError> {
    let (person, project) = (request.person_policy.clone(), project.to_owned());
    let layers = Layers::read(&Places { person, project, trust: trust_store(store) })?;
    notes.extend(layers.left_out());
    let mut asked = request.allow.clone();
    if request.resolve {
        asked.rules.extend(resolving(host, &layers, notes)?);
    }
    let models = layers.models(request.models.clone())?;
    let models = match models.is_empty() {
        true => None,
        false => Some(PlannedModels {
            policy: serde_json::to_value(models).map_err(PlanError::Rule)?,
            ledger: store.root().join(DIRECTORY).into(),
        }),
    };
    Ok(Policy {
        rules: layers.policy(asked)?.rules().to_vec(),
        credentials: layers.credentials().to_vec(),
        models,
        tripwires: layers.tripwires(),
    })
}

/// The rules by which a run that resolves reaches registries.
///
/// # Errors
/// Where policy names none.
pub fn resolving(host: &Host, layers: &Layers, notes: &mut Vec<String>) -> Result<Vec<Rule>, PlanError> {
    let ecosystems = layers.registries();
    if ecosystems.is_empty() {
        return Err(PlanError::NoRegistries);
    }
    registries::rules(host, &ecosystems, notes).map_err(PlanError::Table)
}

/// How many hosts the rules of a plan allow something; a pattern counts as one.
pub fn allowed_hosts(network: &NetworkPlan, now: Timestamp) -> usize {
    let rules = network.rules.iter().filter_map(|rule| Rule::deserialize(rule).ok());
    rules.filter(|rule| !rule.is_expired(now)).map(|rule| rule.host.to_string()).collect::<BTreeSet<_>>().len()
}

/// What the agent is told of the network.
pub(super) fn in_words(rules: &[Rule], now: Timestamp) -> String {
    let allowed: Vec<&Rule> = rules.iter().filter(|rule| !rule.is_expired(now)).collect();
    let mut text = if allowed.is_empty() {
        "The network: nothing is allowed but loopback.\n".to_owned()
    } else {
        "The network: this is allowed, for these purposes, and nothing else but loopback.\n".to_owned()
    };
    for rule in allowed {
        text.push_str(&format!("  {}: {}\n", what(rule), words(&rule.purpose)));
    }
    text.push_str(&format!(
        "Any other request is answered at once with 403 and the reason; what is no HTTP is reset. Names resolve to addresses of \
         this enclosure's own, allowed or not.\n\
         `{}/bin/coffer why HOST` says what a host is refused for. To try again, or another way, changes nothing: say to the \
         person which host you need and what for; they allow it with --allow HOST --purpose \"…\".\n\
         TLS ends at the gateway with certificates of this run's own authority ({}/ca.pem), which programs here trust \
         already: do not turn verification off.\n",
        super::INSIDE,
        super::INSIDE
    ));
    text
}

/// What a rule allows, in a line.
fn what(rule: &Rule) -> String {
    let methods = rule.methods.as_ref().map(|methods| format!("{} ", methods.join(", "))).unwrap_or_default();
    let port = rule.port.map(|port| format!(":{port}")).unwrap_or_default();
    let paths = rule.paths.as_ref().map(|paths| {
        let paths: Vec<String> = paths.iter().map(|path| path.as_str().to_owned()).collect();
        format!(" {}", paths.join(" "))
    });
    format!("{methods}{}{port}{}", rule.host, paths.unwrap_or_default())
}

/// A text as one line.
fn words(text: &str) -> String {
    let clean = text.replace(char::is_control, " ");
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {

    use cofferdam_policy::{LayerKind, Source, parse};

    use super::*;

    fn parsed(text: &str) -> Vec<Rule> {
        let source = Source::new("/policy.toml", text);
        let parsed = parse(&source, LayerKind::Person);
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        parsed.rules
    }

    #[test]
    fn what_has_ended_is_neither_counted_nor_told() {
        let rules = parsed(
            "version = 1\n\
             [[network.allow]]\nhost = \"a.example\"\nmethods = [\"GET\"]\npaths = [\"/x/**\"]\npurpose = \"read\\nx\"\n\
             [[network.allow]]\nhost = \"a.example:8080\"\npurpose = \"more\"\n\
             [[network.allow]]\nhost = \"*.b.example\"\npurpose = \"b\"\n\
             [[network.allow]]\nhost = \"old.example\"\npurpose = \"old\"\nexpires = 2001-01-31\n",
        );
        let network = NetworkPlan {
            rules: rules.iter().map(|rule| serde_json::to_value(rule).unwrap()).collect(),
            ..NetworkPlan::default()
        };
        let now = Timestamp::now();
        assert_eq!(allowed_hosts(&network, now), 2);
        let text = in_words(&rules, now);
        for line in ["  GET a.example /x/**: read x\n", "  a.example:8080: more\n", "  *.b.example: b\n"] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("old.example"), "{text}");
        assert!(in_words(&[], now).starts_with("The network: nothing is allowed but loopback.\n"));
    }
}
