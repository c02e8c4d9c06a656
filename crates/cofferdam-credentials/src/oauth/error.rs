//! Why there is no token.

use std::io;
use std::path::PathBuf;

/// Why there is no token. The words hold none; [`SignInError::in_short`] is for the enclosure.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Nobody is signed in.
    #[error("nobody is signed in outside: {} holds no token", .0.display())]
    Nobody(PathBuf),
    /// The agent's file cannot be used.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why, in words.
        why: String,
    },
    /// Something of ours or of the agent's cannot be read or written.
    #[error("{what} {}: {error}", path.display())]
    System {
        /// What was being done.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Another refresh takes too long.
    #[error("somebody else has been refreshing it for too long: {} is held", .0.display())]
    Busy(PathBuf),
    /// There is nothing to refresh it with.
    #[error("its token has ended, and there is none to refresh it with: sign in again outside")]
    NoRefresh,
    /// The server does not take the refresh token any more.
    #[error("the sign-in has ended ({0}): sign in again outside")]
    Ended(String),
    /// The server did something else than to refresh it.
    #[error("it could not be refreshed: {0}")]
    Server(String),
}

impl SignInError {
    /// For a program inside: no paths.
    pub fn in_short(&self) -> String {
        match self {
            SignInError::Nobody(_) => "nobody is signed in outside".to_owned(),
            SignInError::File { .. } => "the file of the sign-in outside cannot be used".to_owned(),
            SignInError::System { what, error, .. } => format!("{what} a file outside failed: {}", error.kind()),
            SignInError::Busy(_) => "somebody else has been refreshing it for too long".to_owned(),
            SignInError::NoRefresh | SignInError::Ended(_) | SignInError::Server(_) => self.to_string(),
        }
    }
}
