//! What is remembered of a sign-in in the store: which refresh was the last, and new tokens until they are written back.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::place::{Place, replace, system};
use super::tokens::{Digest, Tokens};
use super::{SignIn, SignInError};

/// The files of one sign-in in the store.
pub(super) struct Records {
    /// Of all sign-ins in the same file.
    pub(super) lock: PathBuf,
    last: PathBuf,
    journal: PathBuf,
}

/// The last refresh.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Last {
    /// The access token that it gave.
    pub(super) access: Digest,
    /// When, in milliseconds since 1970.
    pub(super) at: i64,
    /// For how long the token was good then, in milliseconds, where that was said.
    pub(super) lifetime: Option<i64>,
}

/// New tokens that are not written back yet. Nobody else has them: without this file the person would be signed out.
#[derive(Serialize, Deserialize)]
pub(super) struct Journal {
    /// The refresh token that they were had for, which is worth nothing any more.
    pub(super) replaces: Digest,
    pub(super) tokens: Tokens,
    pub(super) at: i64,
}

impl Records {
    /// In this directory, which is made where it is missing.
    pub(super) fn of(sign_in: &SignIn, place: &Place, store: &Path) -> Result<Records, SignInError> {
        match std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
            .recursive(true)
            .create(store)
        {
            Ok(()) => {}
            Err(e) => return Err(system("making", store)(e)),
        }
        let Digest(file) = Digest::of(place.path().as_os_str().as_encoded_bytes());
        let file = &file[..16];
        let at = |kind: &str| store.join(format!("{}-{file}.{kind}", sign_in.name));
        Ok(Records { lock: store.join(format!("{file}.lock")), last: at("last"), journal: at("journal") })
    }

    /// The last refresh; `None` where none is known.
    pub(super) fn last(&self) -> Option<Last> {
        serde_json::from_slice(&std::fs::read(&self.last).ok()?).ok()
    }

    pub(super) fn remember(&self, last: &Last) -> Result<(), SignInError> {
        write(&self.last, last)
    }

    /// What was not written back; `None` where all was.
    pub(super) fn journal(&self) -> Result<Option<Journal>, SignInError> {
        match std::fs::read(&self.journal).map(zeroize::Zeroizing::new) {
            Ok(text) => {
                Ok(Some(serde_json::from_slice(&text).map_err(|e| system("reading", &self.journal)(e.into()))?))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(system("reading", &self.journal)(e)),
        }
    }

    pub(super) fn write_journal(&self, journal: &Journal) -> Result<(), SignInError> {
        write(&self.journal, journal)
    }

    pub(super) fn remove_journal(&self) -> Result<(), SignInError> {
        match std::fs::remove_file(&self.journal) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(system("removing", &self.journal)(e)),
            _ => Ok(()),
        }
    }
}

fn write(path: &Path, what: &impl Serialize) -> Result<(), SignInError> {
    let text = serde_json::to_vec(what).map_err(|e| system("writing", path)(e.into()))?;
    replace(path, &zeroize::Zeroizing::new(text), |_| Ok(())).map_err(system("writing", path))
}
