//! Why an enclosure could not be built, said so that a person can act on it.

use std::io;

use serde::{Deserialize, Serialize};

/// The part of building an enclosure that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// `clone3` with the new namespaces.
    Namespaces,
    /// Mapping the uid and gid.
    Identity,
    /// The new root, /dev, /proc.
    Root,
    /// One mount of the plan.
    Mount,
    /// Copy-on-write layers.
    Overlay,
    /// Entering the new root.
    Pivot,
    /// The loopback interface.
    Loopback,
    /// The sockets that take what programs send.
    Network,
    /// Forbidding nested user namespaces, resource limits.
    Limits,
    /// Dropping capabilities.
    Capabilities,
    /// The terminal.
    Pty,
    /// Landlock.
    Landlock,
    /// The seccomp filter.
    Seccomp,
    /// Talking to the monitor or to init.
    Channel,
}

/// A layer of the boundary that could not be set up, so that there is no run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}: {error}")]
pub struct EnclosureError {
    /// The part that failed.
    pub step: Step,
    /// What was being done, with the path where there is one.
    pub what: String,
    /// The system's words.
    pub error: String,
    /// The system's number, 0 where there is none.
    pub errno: i32,
}

impl EnclosureError {
    /// From an error of the system.
    pub fn new(step: Step, what: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        EnclosureError { step, what: what.into(), errno: error.raw_os_error().unwrap_or(0), error: plain(&error) }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        const EPERM: i32 = rustix::io::Errno::PERM.raw_os_error();
        const EACCES: i32 = rustix::io::Errno::ACCESS.raw_os_error();
        const ENOSPC: i32 = rustix::io::Errno::NOSPC.raw_os_error();
        const ENOSYS: i32 = rustix::io::Errno::NOSYS.raw_os_error();
        match (self.step, self.errno) {
            (Step::Namespaces, ENOSPC) => {
                "user namespaces are used up or switched off: as root, `sysctl user.max_user_namespaces=15000`"
            }
            (Step::Namespaces, EPERM) => {
                "this host refuses user namespaces (a container's seccomp profile, or \
                 `kernel.unprivileged_userns_clone=0`); run `coffer doctor`"
            }
            (Step::Identity | Step::Root | Step::Loopback, EPERM | EACCES) => {
                "this host grants user namespaces without capabilities (Ubuntu's AppArmor restriction does); \
                 run `coffer doctor` for the profile that lifts it for coffer alone"
            }
            (Step::Landlock, _) => {
                "Landlock ABI 2 (Linux 5.19 or newer, `lsm=` with landlock) is needed; run `coffer doctor`"
            }
            (Step::Overlay, _) => {
                "the file system of the store or of the project cannot carry an overlay; run `coffer doctor`"
            }
            (_, ENOSYS) => "the kernel is too old for this; run `coffer doctor`",
            _ => "run `coffer doctor` to see which layer fails and how to mend it",
        }
    }
}

/// The text of an I/O error without "(os error 1)".
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// Adds the step and what was being done to a result of the system.
pub(crate) trait Doing<T> {
    fn doing(self, step: Step, what: impl FnOnce() -> String) -> Result<T, EnclosureError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, step: Step, what: impl FnOnce() -> String) -> Result<T, EnclosureError> {
        self.map_err(|e| EnclosureError::new(step, what(), e))
    }
}
