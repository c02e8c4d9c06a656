//! Why a gateway ends before its run does.

use std::io;
use std::path::PathBuf;

/// A gateway that cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The asynchronous runtime, or one of its tasks.
    #[error("the gateway's runtime fails: {0}")]
    Runtime(#[source] io::Error),
    /// The channel to the monitor.
    #[error("the gateway cannot talk to the monitor: {0}")]
    Monitor(#[source] io::Error),
    /// A socket of the enclosure.
    #[error("a socket that the gateway was given does not work: {0}")]
    Socket(#[source] io::Error),
    /// A file of certificates.
    #[error("the certificates of {} cannot be read: {problem}; correct or remove the setting that names the file", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Those who are to see requests.
    #[error("requests cannot be looked at: {0}")]
    Interceptors(String),
    /// What certificates inside are made with.
    #[error("the run's certificates cannot be made: {0}")]
    Certificates(String),
    /// What servers are verified with.
    #[error("servers cannot be verified: {0}")]
    Verifying(#[from] rustls::Error),
    /// The host's proxy.
    #[error("the proxy that `{variable}` names cannot be used: {problem}")]
    Proxy {
        /// The variable, without its value: that may hold a password.
        variable: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Confinement; the gateway must not run without.
    #[error("the gateway cannot confine itself ({step}): {problem}")]
    Confine {
        /// Which part of it.
        step: &'static str,
        /// What is wrong.
        problem: String,
    },
}
