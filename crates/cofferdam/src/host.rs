//! The facts of this host and this person: the one place where the environment is read.

use std::path::PathBuf;

use cofferdam_core::Bytes;
use cofferdam_runtime::plan::Host;
use cofferdam_runtime::store::Store;

/// What is missing on this host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is no home.
    #[error("HOME is not set to an absolute path: coffer needs to know which home to keep out of the enclosure")]
    NoHome,
    /// A directory is not to be had.
    #[error("{what} cannot be opened: {error}")]
    Directory {
        /// Which.
        what: String,
        /// The system's words.
        error: std::io::Error,
    },
}

/// The person's home, without symbolic links.
pub fn home() -> Result<PathBuf, HostError> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|h| h.is_absolute()).ok_or(HostError::NoHome)?;
    home.canonicalize().map_err(opened(format!("your home {}", home.display())))
}

fn opened(what: String) -> impl FnOnce(std::io::Error) -> HostError {
    move |error| HostError::Directory { what, error }
}

/// Looks around.
pub fn host() -> Result<Host, HostError> {
    Ok(Host {
        env: std::env::vars_os().map(|(n, v)| (Bytes::from(n), Bytes::from(v))).collect(),
        home: home()?,
        cwd: std::env::current_dir()
            .and_then(|c| c.canonicalize())
            .map_err(opened("the current directory".to_owned()))?,
        uid: rustix::process::getuid().as_raw(),
        binary: std::env::current_exe().map_err(opened("coffer's own program file".to_owned()))?,
    })
}

/// The person's store: `$XDG_STATE_HOME/cofferdam`, by default `~/.local/state/cofferdam` (XDG Base Directory
/// Specification).
pub fn store(host: &Host) -> Store {
    Store::at(base_directory(host, "XDG_STATE_HOME", ".local/state").join("cofferdam"))
}

/// The person's own policy: `$XDG_CONFIG_HOME/cofferdam/policy.toml`, by default in `~/.config` (XDG Base Directory
/// Specification).
pub fn person_policy(host: &Host) -> PathBuf {
    base_directory(host, "XDG_CONFIG_HOME", ".config").join("cofferdam/policy.toml")
}

/// The person's own agent profiles: `$XDG_CONFIG_HOME/cofferdam/agents/`, by default in `~/.config` (XDG Base Directory
/// Specification).
pub fn agents(host: &Host) -> PathBuf {
    base_directory(host, "XDG_CONFIG_HOME", ".config").join("cofferdam/agents")
}

/// The sign-ins that the person knows besides: `sign-ins/` beside their own policy.
pub fn sign_ins(host: &Host) -> PathBuf {
    base_directory(host, "XDG_CONFIG_HOME", ".config").join("cofferdam/sign-ins")
}

/// The directory that a variable names, where it names an absolute one; else the usual one in the home.
fn base_directory(host: &Host, variable: &str, usual: &str) -> PathBuf {
    let named = host.var(variable).map(|v| v.as_path().to_owned()).filter(|p| p.is_absolute());
    named.unwrap_or_else(|| host.home.join(usual))
}
