//! Browsers, which trust what an administrator's policy names besides what they were built with.

use std::io;
use std::path::Path;

use cofferdam_core::plan::{Access, Form, Mount};
use serde_json::{Map, Value};

use crate::plan::INSIDE;

/// Directories of configuration in which Chromium and Chrome look for what is decided for them.
const CHROMIUM: &[&str] = &["/etc/chromium", "/etc/opt/chrome"];

/// Where Firefox looks for `policies.json`: one place of the machine's, before one of each installation (Debian, Arch and
/// Ubuntu, Fedora, Mozilla's archive).
const FIREFOX_OF_MACHINE: &str = "/etc/firefox/policies";
const FIREFOX: &[&str] = &[
    "/usr/lib/firefox-esr/distribution",
    "/usr/lib/firefox/distribution",
    "/usr/lib64/firefox/distribution",
    "/opt/firefox/distribution",
];

pub(super) fn mounts(notes: &mut Vec<String>) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for directory in CHROMIUM {
        mounts.extend(chromium(Path::new(directory)));
    }
    for directory in std::iter::once(&FIREFOX_OF_MACHINE).chain(FIREFOX).map(Path::new) {
        if directory == Path::new(FIREFOX_OF_MACHINE) && !directory.join(POLICIES).exists() {
            continue; // another one there would hide those of the installations
        }
        match firefox(directory) {
            Ok(more) => mounts.extend(more),
            Err(e) => notes.push(format!(
                "{} cannot be added to: Firefox does not trust the gateway ({e})",
                directory.join(POLICIES).display()
            )),
        }
    }
    mounts
}

/// A managed policy beside those of the host.
fn chromium(directory: &Path) -> Vec<Mount> {
    let wanted = directory.join("policies/managed");
    let Some(there) = wanted.ancestors().take(3).find(|dir| dir.is_dir()) else { return Vec::new() };
    let mut mounts = as_it_is(there);
    if !mounts.is_empty() {
        let target = wanted.join("cofferdam.json").into();
        mounts.push(Mount::Bundle { target, source: None, form: Form::Chromium });
    }
    mounts
}

/// The name of Firefox's one file of policies.
const POLICIES: &str = "policies.json";

/// The host's policies, and the run's authority as one of the `Certificates` to `Install`, by its path.
fn firefox(directory: &Path) -> io::Result<Vec<Mount>> {
    // Debian's is a link through `..`, which openat2(2) may refuse with EAGAIN while others mount or rename.
    let Some(directory) = directory.canonicalize().ok().filter(|real| real.is_dir()) else { return Ok(Vec::new()) };
    let target = directory.join(POLICIES);
    let mut all = match super::read(&target) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Map::new(),
        Err(e) => return Err(e),
    };
    let certificates = object(&mut all, "policies").and_then(|policies| object(policies, "Certificates"));
    let install = certificates.map(|all| all.entry("Install").or_insert_with(|| Value::Array(Vec::new())));
    let Some(Value::Array(install)) = install else { return Err(io::Error::other("it is not in Firefox's form")) };
    install.push(format!("{INSIDE}/ca.pem").into());
    let mut mounts = as_it_is(&directory);
    mounts.push(Mount::File { target: target.into(), content: Value::from(all).to_string().as_str().into() });
    Ok(mounts)
}

/// The object under a name, made where there is none.
fn object<'a>(of: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    of.entry(name).or_insert_with(|| Map::new().into()).as_object_mut()
}

/// A directory of the host's in which files can be added, with everything it had: the host's own is read-only.
fn as_it_is(directory: &Path) -> Vec<Mount> {
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    let mut mounts = vec![Mount::Tmpfs { target: directory.into(), mode: 0o755 }];
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_symlink() => {
                if let Ok(text) = path.read_link() {
                    mounts.push(Mount::Symlink { target: path.into(), text: text.into() });
                }
            }
            Ok(kind) if kind.is_file() || kind.is_dir() => mounts.push(Mount::Bind {
                source: path.as_path().into(),
                target: path.as_path().into(),
                access: Access::ReadOnly,
            }),
            _ => {} // a socket, a pipe, a device: no part of a configuration
        }
    }
    mounts
}

#[cfg(test)]
mod tests {
    use cofferdam_core::Bytes;

    use super::*;

    #[test]
    fn a_policy_of_chromium_lies_beside_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("none")).unwrap();
        assert!(chromium(&at("none/chromium")).is_empty());

        std::fs::create_dir_all(at("chromium/policies")).unwrap();
        std::fs::write(at("chromium/policies/recommended"), "{}").unwrap();
        std::os::unix::fs::symlink("recommended", at("chromium/policies/link")).unwrap();
        let mounts = chromium(&at("chromium"));
        let path = |name: &str| Bytes::from(at("chromium/policies").join(name).as_path());
        assert_eq!(mounts[0], Mount::Tmpfs { target: at("chromium/policies").as_path().into(), mode: 0o755 });
        for wanted in [
            Mount::Bind { source: path("recommended"), target: path("recommended"), access: Access::ReadOnly },
            Mount::Symlink { target: path("link"), text: "recommended".into() },
            Mount::Bundle { target: path("managed/cofferdam.json"), source: None, form: Form::Chromium },
        ] {
            assert!(mounts.contains(&wanted), "{wanted:?}: {mounts:?}");
        }
    }

    /// The text of the policies that are shown, where there are any.
    fn policies(directory: &Path) -> io::Result<Option<String>> {
        Ok(firefox(directory)?.into_iter().find_map(|mount| match mount {
            Mount::File { content, .. } => Some(String::from_utf8(content.0).unwrap()),
            _ => None,
        }))
    }

    #[test]
    fn firefox_installs_the_authority_beside_what_the_hosts_policies_say() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("distribution");
        assert_eq!(policies(&directory).unwrap(), None);
        std::fs::create_dir(&directory).unwrap();
        let alone = r#"{"policies":{"Certificates":{"Install":["/run/coffer/ca.pem"]}}}"#;
        assert_eq!(policies(&directory).unwrap().as_deref(), Some(alone));
        let hosts = r#"{"policies":{"Certificates":{"Install":["own.pem"]},"DisableTelemetry":true}}"#;
        std::fs::write(directory.join(POLICIES), hosts).unwrap();
        let both = hosts.replace("\"own.pem\"", "\"own.pem\",\"/run/coffer/ca.pem\"");
        assert_eq!(policies(&directory).unwrap(), Some(both));
    }

    #[test]
    fn policies_in_no_form_of_firefoxs_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "[]", "{\"policies\":[]}", "{\"policies\":{\"Certificates\":{\"Install\":1}}}"] {
            std::fs::write(dir.path().join(POLICIES), text).unwrap();
            assert!(policies(dir.path()).is_err(), "{text}");
        }
        std::fs::remove_file(dir.path().join(POLICIES)).unwrap();
        std::fs::create_dir(dir.path().join(POLICIES)).unwrap();
        assert!(policies(dir.path()).is_err());
    }
}
