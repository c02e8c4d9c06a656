//! Which directory is the project, and which can never be one.

use std::path::{Path, PathBuf};

use crate::plan::Host;
use crate::store::Store;

/// What in a home holds other people's trust: never a project, and hidden inside.
pub(crate) const KEEPS_SECRETS: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".password-store",
    ".mozilla",
    ".thunderbird",
    ".config/gcloud",
    ".config/gh",
    ".config/google-chrome",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/op",
    ".config/sops",
    ".local/share/keyrings",
    ".pki",
];

/// Files of a home that hold credentials.
const SECRET_FILES: &[&str] = &[".netrc", ".git-credentials", ".pgpass", ".pypirc", ".bash_history", ".zsh_history"];

/// What stands in a fresh home as a placeholder of mode 000, and whether it is a directory: programs that look there are
/// told "permission denied".
pub(crate) fn hidden_places() -> impl Iterator<Item = (&'static str, bool)> {
    KEEPS_SECRETS.iter().map(|p| (*p, true)).chain(SECRET_FILES.iter().map(|p| (*p, false)))
}

/// Directories of the system: editing them is administration, not a project.
const SYSTEM: &[&str] = &["/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr"];

/// Why a directory cannot be a project.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} cannot be a project: {reason}; change to a project's directory, or name one with --project")]
pub struct ProjectError {
    path: String,
    reason: String,
}

fn refuse(path: &Path, reason: impl Into<String>) -> ProjectError {
    ProjectError { path: path.display().to_string(), reason: reason.into() }
}

/// The project around the current directory: the nearest parent with `.git` or `cofferdam.toml`, otherwise the
/// directory itself.
///
/// # Errors
/// Where that directory cannot be a project.
pub fn project_root(host: &Host, store: &Store) -> Result<PathBuf, ProjectError> {
    let marked = |dir: &&Path| {
        [".git", "cofferdam.toml"].iter().any(|m| dir.join(m).symlink_metadata().is_ok())
            && check(host, store, dir).is_ok() // a home kept in git is no project
    };
    let root = host.cwd.ancestors().find(marked).unwrap_or(&host.cwd);
    check(host, store, root)?;
    Ok(root.to_owned())
}

/// A project named by the person.
pub(crate) fn named_root(host: &Host, store: &Store, named: &Path) -> Result<PathBuf, ProjectError> {
    let full = host.cwd.join(named);
    let root = full.canonicalize().map_err(|e| refuse(&full, format!("it cannot be opened ({})", e.kind())))?;
    if !root.is_dir() {
        return Err(refuse(&root, "it is not a directory"));
    }
    check(host, store, &root)?;
    Ok(root)
}

fn check(host: &Host, store: &Store, root: &Path) -> Result<(), ProjectError> {
    if root == Path::new("/") {
        return Err(refuse(root, "it is the whole machine"));
    }
    if root == host.home {
        return Err(refuse(root, "it is your home, with your keys and sessions in it"));
    }
    if host.home.starts_with(root) {
        return Err(refuse(root, "your home lies in it, with your keys and sessions"));
    }
    if let Some(dir) = SYSTEM.iter().find(|dir| root.starts_with(dir)) {
        return Err(refuse(root, format!("{dir} belongs to the system")));
    }
    if ["/tmp", "/var", "/var/tmp", "/opt", "/srv", "/mnt", "/media", "/home"].iter().any(|d| root == Path::new(d)) {
        return Err(refuse(root, "it is shared by everything on this machine"));
    }
    for keeper in KEEPS_SECRETS {
        let keeper = host.home.join(keeper);
        if root.starts_with(&keeper) || keeper.starts_with(root) && keeper.symlink_metadata().is_ok() {
            return Err(refuse(root, format!("{} holds keys or sessions", keeper.display())));
        }
    }
    if root.starts_with(store.root()) || store.root().starts_with(root) {
        return Err(refuse(root, format!("coffer keeps its runs in {}", store.root().display())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(home: &Path, cwd: &Path) -> Host {
        Host {
            env: Vec::new(),
            home: home.to_owned(),
            cwd: cwd.to_owned(),
            uid: 1000,
            binary: PathBuf::from("/usr/bin/coffer"),
        }
    }

    #[test]
    fn what_holds_keys_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home/me");
        std::fs::create_dir_all(home.join(".ssh")).unwrap();
        std::fs::create_dir_all(home.join("src/app/.git")).unwrap();
        std::fs::create_dir_all(home.join(".config/gh")).unwrap();
        let store = Store::at(dir.path().join("store"));
        for (path, reason) in [
            (Path::new("/"), "whole machine"),
            (&home, "your home, with"),
            (home.parent().unwrap(), "your home lies in it"),
            (&home.join(".ssh"), "holds keys"),
            (&home.join(".config"), "holds keys"),
            (Path::new("/etc"), "belongs to the system"),
            (Path::new("/srv"), "shared by everything"),
            (&dir.path().join("store/runs"), "keeps its runs"),
        ] {
            let error = check(&host(&home, path), &store, path).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        check(&host(&home, &home), &store, &home.join("src/app")).unwrap();
    }

    #[test]
    fn the_root_is_the_nearest_marked_parent_and_never_a_home_kept_in_git() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home/me");
        std::fs::create_dir_all(home.join("src/app/.git")).unwrap();
        std::fs::create_dir_all(home.join("src/app/deep/er")).unwrap();
        std::fs::create_dir_all(home.join("notes")).unwrap();
        std::fs::create_dir_all(home.join(".git")).unwrap();
        let store = Store::at(dir.path().join("store"));
        assert_eq!(project_root(&host(&home, &home.join("src/app/deep/er")), &store).unwrap(), home.join("src/app"));
        assert_eq!(project_root(&host(&home, &home.join("notes")), &store).unwrap(), home.join("notes"));
    }
}
