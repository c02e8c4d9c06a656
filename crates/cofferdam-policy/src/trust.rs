//! Which content of a project's policy file a person trusts.
//!
//! One digest a project, in the person's state directory: what was trusted before counts no longer, so that nothing can
//! go back to an earlier and wider policy.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cofferdam_core::change::Digest;
use cofferdam_core::{Bytes, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What a person trusts, a file for each project.
#[derive(Clone, Debug)]
pub struct TrustStore {
    directory: PathBuf,
}

/// What was trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    /// The project's root.
    pub project: Bytes,
    /// The content of its policy file.
    pub digest: Digest,
    /// When.
    pub trusted: Timestamp,
}

/// What could not be done with the records.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system refused.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// A record does not read.
    #[error("{} does not read as a record of trust ({why}): remove it and trust the policy again", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

fn doing(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TrustError {
    let path = path.to_owned();
    move |error| TrustError::Io { what, path, error }
}

impl TrustStore {
    /// The records in this directory, which is made when the first is written.
    pub fn at(directory: impl Into<PathBuf>) -> TrustStore {
        TrustStore { directory: directory.into() }
    }

    /// What is trusted of a project, where something is.
    ///
    /// # Errors
    /// Where the record cannot be read, or is another project's.
    pub fn of(&self, project: &Path) -> Result<Option<Trusted>, TrustError> {
        let path = self.file(project);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(doing("reading", &path)(e)),
        };
        let broken = |why: String| TrustError::Broken { path: path.clone(), why };
        let trusted: Trusted = serde_json::from_slice(&text).map_err(|e| broken(e.to_string()))?;
        if trusted.project.as_path() != project {
            return Err(broken("it is about another project".to_owned()));
        }
        Ok(Some(trusted))
    }

    /// Trusts this content from now on, and no other of the project.
    ///
    /// # Errors
    /// Where the record cannot be written.
    pub fn trust(&self, project: &Path, digest: Digest) -> Result<(), TrustError> {
        let path = self.file(project);
        let record = Trusted { project: Bytes::from(project), digest, trusted: Timestamp::now() };
        let text = serde_json::to_vec(&record).map_err(|e| doing("writing", &path)(e.into()))?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(doing("creating", &self.directory))?;
        // Mode 0600; takes the place of an older record in one step.
        let mut file = tempfile::NamedTempFile::new_in(&self.directory).map_err(doing("writing", &path))?;
        file.write_all(&text).and_then(|()| file.as_file().sync_all()).map_err(doing("writing", &path))?;
        file.persist(&path).map_err(|e| doing("writing", &path)(e.error))?;
        Ok(())
    }

    fn file(&self, project: &Path) -> PathBuf {
        let name = Digest(Sha256::digest(project.as_os_str().as_encoded_bytes()).into());
        self.directory.join(format!("{name}.json"))
    }
}
