//! The environment of the command, built from nothing.

use std::path::Path;

use cofferdam_core::{Bytes, RunId};

use crate::plan::toolchains::Found;
use crate::plan::{Host, INSIDE, accounts};

/// Variables that say how to show things and nothing about the person.
const SHOWN: &[&str] = &["TERM", "COLORTERM", "LANG", "LANGUAGE", "TZ", "NO_COLOR", "CLICOLOR", "FORCE_COLOR"];

pub(super) fn build(
    host: &Host,
    run: &RunId,
    root: &Path,
    found: &Found,
    git: bool,
    trusted: &[(&'static str, Bytes)],
    asked: &[Bytes],
) -> Vec<Bytes> {
    let mut env: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut set = |name: &[u8], value: &[u8]| {
        env.retain(|(n, _)| n != name);
        env.push((name.to_vec(), value.to_vec()));
    };
    for (name, value) in &host.env {
        let shown = SHOWN.iter().any(|s| name.0 == s.as_bytes()) || name.0.starts_with(b"LC_");
        if shown || found.variables.iter().any(|v| name.0 == v.as_bytes()) {
            set(&name.0, &value.0);
        }
    }
    let home = Bytes::from(host.home.as_path());
    let user = accounts::name(host);
    set(b"HOME", home.as_ref());
    set(b"USER", user);
    set(b"LOGNAME", user);
    set(b"SHELL", accounts::shell(host));
    let path: &[u8] = host.var("PATH").map_or(b"/usr/local/bin:/usr/bin:/bin", |v| v.as_ref());
    // At its end: for `coffer why`, where the person's own directories do not have it.
    set(b"PATH", &[path, b":", INSIDE.as_bytes(), b"/bin"].concat());
    if let Some(venv) = host.var("VIRTUAL_ENV").filter(|v| v.as_path().starts_with(root)) {
        set(b"VIRTUAL_ENV", venv.as_ref());
    }
    set(b"COFFER_RUN", run.as_str().as_bytes());
    if git {
        set(b"GIT_CONFIG_SYSTEM", format!("{INSIDE}/gitconfig").as_bytes());
    } else {
        set(b"GIT_CONFIG_NOSYSTEM", b"1");
    }
    for (name, file) in trusted {
        set(name.as_bytes(), &file.0);
    }
    for variable in asked {
        match variable.0.iter().position(|b| *b == b'=') {
            Some(at) => set(&variable.0[..at], &variable.0[at + 1..]),
            None => {
                if let Some((name, value)) = host.env.iter().find(|(n, _)| n == variable) {
                    set(&name.0, &value.0);
                }
            }
        }
    }
    env.into_iter().map(|(n, v)| [n, b"=".to_vec(), v].concat().into()).collect()
}

/// Sets variables besides, but for those that the person `asked` to give a value; of one with two values the last.
pub(super) fn add(env: &mut Vec<Bytes>, variables: &[(String, String)], asked: &[Bytes]) {
    for (name, value) in variables {
        let given = |set: &Bytes| set.0.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
        if !asked.iter().any(given) {
            env.retain(|set| !given(set));
            env.push(format!("{name}={value}").into_bytes().into());
        }
    }
}
