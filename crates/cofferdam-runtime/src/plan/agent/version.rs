//! Where an agent's program lies on the host, and which version it is: read as data, never executed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cofferdam_models::profile::Profile;
use rustix::fs::{Access, access};

use crate::plan::{Host, toolchains};

/// How far above a program its package is looked for.
const ABOVE: usize = 6;
/// Longest version that is believed.
const LONGEST: usize = 40;

/// The program that a command's word leads to, as `execvp(3)` finds it; symbolic links stay.
pub(super) fn find(host: &Host, word: &[u8]) -> Option<PathBuf> {
    let runs = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if word.contains(&b'/') {
        let path = host.cwd.join(OsStr::from_bytes(word));
        return runs(&path).then_some(path);
    }
    let search = host.var("PATH").map_or(&[][..], |v| v.as_ref());
    let directories = search.split(|b| *b == b':').map(|d| Path::new(OsStr::from_bytes(d))).filter(|d| d.is_absolute());
    directories.map(|directory| directory.join(OsStr::from_bytes(word))).find(|path| runs(path))
}

/// The version of the program at `real`, which has no symbolic links.
pub(super) fn of(host: &Host, profile: &Profile, real: &Path) -> Option<String> {
    if let Some(directory) = &profile.versions
        && let Ok(below) = real.strip_prefix(host.home.join(directory))
        && let Some(first) = below.components().next()
    {
        return plausible(first.as_os_str().to_str()?);
    }
    real.ancestors().skip(1).take(ABOVE).find_map(|above| of_npm(profile, above).or_else(|| of_pip(profile, above)))
}

/// What the `package.json` of a directory says, where it is one of the agent's packages.
fn of_npm(profile: &Profile, directory: &Path) -> Option<String> {
    let text = toolchains::read_configuration(&directory.join("package.json"))?;
    let facts: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let name = facts.get("name")?.as_str()?;
    let own = profile.packages.iter().any(|package| {
        // A package may bring its program in one for each platform, `NAME-linux-x64`.
        name.strip_prefix(package.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    if own { plausible(facts.get("version")?.as_str()?) } else { None }
}

/// What the name of a package's `dist-info` says, in an environment of this prefix (PyPA, "Recording installed projects").
fn of_pip(profile: &Profile, prefix: &Path) -> Option<String> {
    let pythons = prefix.join("lib").read_dir().ok()?.take(64).flatten();
    let packages: Vec<String> =
        profile.packages.iter().map(|name| name.to_ascii_lowercase().replace(['-', '.'], "_")).collect();
    for python in pythons.filter(|entry| entry.file_name().as_bytes().starts_with(b"python")) {
        let Ok(installed) = python.path().join("site-packages").read_dir() else { continue };
        for entry in installed.take(10_000).flatten() {
            let name = entry.file_name();
            let Some((package, version)) = name.to_str().and_then(|n| n.strip_suffix(".dist-info")?.split_once('-'))
            else {
                continue;
            };
            if packages.contains(&package.to_ascii_lowercase()) {
                return plausible(version);
            }
        }
    }
    None
}

fn plausible(version: &str) -> Option<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'_');
    let is_it =
        version.len() <= LONGEST && version.starts_with(|c: char| c.is_ascii_digit()) && version.bytes().all(fits);
    is_it.then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use cofferdam_models::profile::shipped;

    use super::*;

    fn program(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn programs_and_versions_are_found_wherever_installers_put_them() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        let at = |path: &str| home.join(path);
        let host = |path: &str| Host {
            env: vec![("PATH".into(), path.into())],
            home: home.clone(),
            cwd: home.clone(),
            uid: 1000,
            binary: PathBuf::new(),
        };
        let version = |name: &str, directory: &str| {
            let host = host(&at(directory).display().to_string());
            let profile = shipped().iter().find(|own| own.name == name).unwrap().profile().unwrap();
            let real = find(&host, name.as_bytes())?.canonicalize().unwrap();
            of(&host, &profile, &real)
        };
        program(&at(".local/share/claude/versions/2.1.7"));
        std::fs::create_dir_all(at(".local/bin")).unwrap();
        symlink(at(".local/share/claude/versions/2.1.7"), at(".local/bin/claude")).unwrap();
        assert_eq!(version("claude", ".local/bin").as_deref(), Some("2.1.7"), "its own installer");

        let package = ".npm-global/lib/node_modules/@anthropic-ai/claude-code";
        program(&at(&format!("{package}/bin/cli.js")));
        std::fs::write(
            at(&format!("{package}/package.json")),
            r#"{"name":"@anthropic-ai/claude-code","version":"2.0.1"}"#,
        )
        .unwrap();
        std::fs::create_dir_all(at(".npm-global/bin")).unwrap();
        symlink(at(&format!("{package}/bin/cli.js")), at(".npm-global/bin/claude")).unwrap();
        assert_eq!(version("claude", ".npm-global/bin").as_deref(), Some("2.0.1"), "npm");

        program(&at(".local/share/pipx/venvs/aider-chat/bin/aider"));
        std::fs::create_dir_all(at(
            ".local/share/pipx/venvs/aider-chat/lib/python3.12/site-packages/aider_chat-0.86.1.dist-info",
        ))
        .unwrap();
        symlink(at(".local/share/pipx/venvs/aider-chat/bin/aider"), at(".local/bin/aider")).unwrap();
        assert_eq!(version("aider", ".local/bin").as_deref(), Some("0.86.1"), "pipx");

        program(&at("own/codex"));
        std::fs::write(at("own/package.json"), r#"{"name":"other","version":"9"}"#).unwrap();
        assert_eq!(version("codex", "own"), None);
        assert_eq!(find(&host("relative:/nowhere"), b"codex"), None);
        assert_eq!(find(&host(""), b"own/codex"), Some(at("own/codex")));
    }
}
