//! The sign-ins of a run's agent: what stands for them inside, in the agent's own files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cofferdam_core::Bytes;
use cofferdam_core::plan::{HomeFile, PlannedCredential, PlannedSignIn};
use cofferdam_credentials::oauth::{Grant, Place, SignIn, SignInError, StandIn, known};
use cofferdam_policy::Credential;
use serde_json::{Map, Value};

use super::{Host, PlanError};

/// What a plan gets of them.
#[derive(Default)]
pub(super) struct Planned {
    pub(super) credentials: Vec<PlannedCredential>,
    pub(super) files: Vec<HomeFile>,
}

/// Plans those of an agent; `directory` holds the person's own, and a credential of policy (`defined`) replaces the sign-in of its
/// name.
pub(super) fn plan(
    host: &Host,
    agent: &str,
    directory: &Path,
    defined: &[Credential],
    notes: &mut Vec<String>,
) -> Result<Planned, PlanError> {
    let mut planned = Planned::default();
    let mut files: BTreeMap<String, Value> = BTreeMap::new();
    for sign_in in known(directory)? {
        if !sign_in.is_of(agent) || defined.iter().any(|own| own.name == sign_in.name) {
            continue;
        }
        let (file, lock) = outside(host, &sign_in);
        let stand_in = match read(host, &file) {
            Ok(outside) => {
                let random = |e: std::io::Error| PlanError::Random(e.to_string());
                let stand_in = StandIn::new(&sign_in, &outside).map_err(random)?;
                if let Some(stand_in) = &stand_in {
                    let into = files.entry(sign_in.file.clone()).or_insert_with(|| Value::Object(Map::new()));
                    stand_in.write(&sign_in, &outside, into);
                }
                stand_in
            }
            Err(SignInError::Nobody(_)) => None,
            Err(e) => {
                notes.push(format!("the sign-in {} cannot be used: {e}", sign_in.name));
                None
            }
        };
        let wrong = |why: String| PlanError::SignIn(format!("the sign-in {}: {why}", sign_in.name));
        let credential = sign_in.credential().map_err(wrong)?;
        planned.credentials.push(PlannedCredential {
            credential: serde_json::to_value(credential).map_err(PlanError::Rule)?,
            placeholder: stand_in.as_ref().map(|own| own.access.clone()),
            sign_in: Some(PlannedSignIn {
                grant: serde_json::to_value(Grant { sign_in, stand_in }).map_err(PlanError::Rule)?,
                file: file.into(),
                lock: lock.map(Bytes::from),
            }),
        });
    }
    for (path, value) in files {
        let content = serde_json::to_string_pretty(&value).map_err(PlanError::Rule)?;
        planned.files.push(HomeFile { path: path.as_str().into(), content: content.as_str().into() });
    }
    Ok(planned)
}

/// Where a sign-in's file and the agent's lock lie outside.
pub fn outside(host: &Host, sign_in: &SignIn) -> (PathBuf, Option<PathBuf>) {
    sign_in.outside(&host.home, |name| host.var(name).map(|value| value.as_path().to_owned()))
}

fn read(host: &Host, file: &Path) -> Result<Value, SignInError> {
    Place::find(file, None, &host.home)?.read()
}

/// What the agent is told of them, a line each.
pub(super) fn in_words(planned: &[PlannedCredential]) -> String {
    let mut text = String::new();
    for grant in planned.iter().filter_map(|one| one.sign_in.as_ref()) {
        let Ok(Grant { sign_in, stand_in: Some(_) }) = serde_json::from_value(grant.grant.clone()) else { continue };
        text.push_str(&format!(
            "You are signed in ({}): ~/{} holds placeholders, which become the person's tokens outside. To sign in or out here \
             changes nothing.\n",
            sign_in.name, sign_in.file
        ));
    }
    text
}
