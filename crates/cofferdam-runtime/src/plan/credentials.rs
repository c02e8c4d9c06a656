//! The credentials of a run: which there are, and what stands for them inside.

use cofferdam_core::Bytes;
use cofferdam_core::plan::{NetworkPlan, PlannedCredential};
use cofferdam_credentials::placeholder;
use cofferdam_policy::Credential;
use serde::Deserialize;

use super::PlanError;

/// Plans them: a placeholder, new for this run, in each variable that is exposed. A variable that the person passes by
/// name stays what they pass.
pub(super) fn plan(
    credentials: &[Credential],
    asked: &[Bytes],
    env: &mut Vec<Bytes>,
    notes: &mut Vec<String>,
) -> Result<Vec<PlannedCredential>, PlanError> {
    let mut planned = Vec::new();
    for credential in credentials {
        let mut place = None;
        if let Some(variable) = &credential.expose {
            let is_it = |set: &Bytes| set.0.split(|b| *b == b'=').next() == Some(variable.as_bytes());
            if asked.iter().any(is_it) {
                notes.push(format!("{variable} is what --env says, not the credential {}", credential.name));
            } else {
                let new = placeholder(&credential.name).map_err(|e| PlanError::Random(e.to_string()))?;
                env.retain(|set| !is_it(set));
                env.push(format!("{variable}={new}").into_bytes().into());
                place = Some(new);
            }
        }
        let credential = serde_json::to_value(credential).map_err(PlanError::Rule)?;
        planned.push(PlannedCredential { credential, placeholder: place, sign_in: None });
    }
    Ok(planned)
}

/// What the agent is told of them, a line each.
pub(super) fn in_words(credentials: &[Credential]) -> String {
    let mut text = String::new();
    for credential in credentials {
        let hosts = credential.hosts().join(", ");
        let how = match &credential.expose {
            Some(variable) => format!(
                "${variable} holds a placeholder, to be used as if it were the credential; it is refused everywhere else. Without \
                 it the field is added"
            ),
            None => "the field is added".to_owned(),
        };
        text.push_str(&format!("  credential {} for {hosts}: {how}\n", credential.name));
    }
    if !text.is_empty() {
        text.insert_str(0, "Credentials are put into requests outside; their values are not here.\n");
    }
    text
}

/// The credentials of a plan by name, each with whether a placeholder stands for it inside.
pub fn credential_names(network: &NetworkPlan) -> Vec<(String, bool)> {
    let read = network.credentials.iter().filter_map(|planned| {
        let credential = Credential::deserialize(&planned.credential).ok()?;
        Some((credential.name, planned.placeholder.is_some()))
    });
    read.collect()
}
