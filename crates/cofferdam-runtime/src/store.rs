//! The store: where runs, home layers and keys lie (`$XDG_STATE_HOME/cofferdam`). Directories are 0700, files 0600.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cofferdam_core::plan::{Origin, Purpose};
use cofferdam_core::{Bytes, RunId, Timestamp};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The store on this machine.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// What could not be done with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("{what} {path}: {error}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: String,
        /// The system's words.
        error: io::Error,
    },
    /// A description of a run does not read.
    #[error(
        "{path} does not read: {error}; repair it, or move its directory out of the store (the evidence in it is untouched)"
    )]
    Broken {
        /// The file.
        path: String,
        /// Why.
        error: serde_json::Error,
    },
    /// Nothing has that name.
    #[error("no run `{0}`: `coffer list --all` shows what there is")]
    Unknown(String),
    /// Nothing ran here yet.
    #[error("no run of {0} yet: `coffer run COMMAND` makes one")]
    None(String),
    /// Several have that prefix.
    #[error("`{prefix}` could be {}: type more of it", candidates.join(" or "))]
    Ambiguous {
        /// What was typed.
        prefix: String,
        /// What begins so.
        candidates: Vec<String>,
    },
}

pub(crate) fn doing(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.display().to_string();
    move |error| StoreError::Io { what, path, error }
}

/// A line of `run.json`: what a list shows of a run, as the last whole line has it. The evidence is the truth; this is a
/// convenience and can be rebuilt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run.
    pub run: RunId,
    /// The real tree.
    pub project: Bytes,
    /// The agent's or command's name.
    pub agent: String,
    /// The command.
    pub argv: Vec<Bytes>,
    /// When it started.
    pub started: Timestamp,
    /// How it ended; absent while it runs, or where the monitor died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// When the layers were thrown away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discarded: Option<Timestamp>,
    /// The run that it went on from, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Origin>,
    /// Its layers beside the project's own, for a run that goes on from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<KeptLayer>,
}

/// An upper layer of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLayer {
    /// Where it is seen inside.
    pub target: Bytes,
    /// Its directory, relative to the run's.
    pub upper: Bytes,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub time: Timestamp,
    /// The facts of `run.ended`.
    #[serde(flatten)]
    pub facts: cofferdam_core::event::RunEnded,
}

/// A run that was found in the store.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its directory.
    pub directory: PathBuf,
    /// Its record.
    pub record: RunRecord,
}

impl Run {
    /// The upper layer.
    pub fn upper(&self) -> PathBuf {
        self.directory.join("layers/upper")
    }

    /// The captured bases.
    pub fn base(&self) -> PathBuf {
        self.directory.join("base")
    }

    /// The evidence.
    pub fn evidence(&self) -> PathBuf {
        self.directory.join("evidence")
    }

    /// Whether it only repeated a command of another run.
    pub fn is_rerun(&self) -> bool {
        self.record.from.as_ref().is_some_and(|from| from.purpose == Some(Purpose::Rerun))
    }

    /// Whether its monitor lives: it holds the lock as long as it does.
    ///
    /// # Errors
    /// Where the run's directory cannot be opened.
    pub fn is_live(&self) -> Result<bool, StoreError> {
        Ok(self.lock()?.is_none())
    }

    /// Takes the run for changing it (promotion, discard, recovery); `None` where somebody else has it.
    ///
    /// # Errors
    /// Where the run's directory cannot be opened.
    pub fn lock(&self) -> Result<Option<Lock>, StoreError> {
        try_lock(&self.directory)
    }

    /// Writes the record, which takes the place of the old one.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub fn write_record(&self) -> Result<(), StoreError> {
        write_record(&self.directory, &self.record)
    }
}

/// An exclusive lock, held until dropped or until the process ends (`flock(2)`).
#[derive(Debug)]
pub struct Lock(OwnedFd);

impl From<OwnedFd> for Lock {
    /// Takes over the descriptor of a lock that another process took.
    fn from(fd: OwnedFd) -> Self {
        Lock(fd)
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes the lock of a directory; `None` where somebody else holds it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<Lock>, StoreError> {
    let file = File::open(path).map_err(doing("opening", path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file.into()))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(doing("locking", path)(e.into())),
    }
}

/// Writes a run's first record.
pub(crate) fn write_new_record(directory: &Path, record: &RunRecord) -> Result<(), StoreError> {
    let path = directory.join("run.json");
    let text = record_text(&path, record)?;
    let open = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
    open.and_then(|mut file| file.write_all(&text)).map_err(doing("writing", &path))
}

fn record_text(path: &Path, record: &RunRecord) -> Result<Vec<u8>, StoreError> {
    let broken = |error| StoreError::Broken { path: path.display().to_string(), error };
    let mut text = serde_json::to_vec(record).map_err(broken)?;
    text.push(b'\n');
    Ok(text)
}

/// Adds a run's record as another line: the last whole one counts. (A file that is renamed over another is written to the
/// disk at once, by ext4's `auto_da_alloc` and others: the person would wait for that at the end of every run.)
pub(crate) fn write_record(directory: &Path, record: &RunRecord) -> Result<(), StoreError> {
    let path = directory.join("run.json");
    let mut text = record_text(&path, record)?;
    let mut append = || {
        let mut file = File::options().read(true).append(true).open(&path)?;
        let mut last = [0u8; 1];
        let size = file.metadata()?.len();
        // The end of a line that a crash cut off.
        if size > 0 && file.read_at(&mut last, size - 1)? == 1 && last != *b"\n" {
            text.insert(0, b'\n');
        }
        file.write_all(&text)
    };
    append().map_err(doing("writing", &path))
}

/// Reads a run's record; `None` where there is none yet.
pub(crate) fn read_record(directory: &Path) -> Result<Option<RunRecord>, StoreError> {
    let path = directory.join("run.json");
    let text = match std::fs::read(&path) {
        // A run whose monitor died before it wrote anything.
        Ok(text) if text.is_empty() => return Ok(None),
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(doing("reading", &path)(e)),
    };
    let whole = text.iter().rposition(|b| *b == b'\n').map_or(&text[..], |end| &text[..end]);
    let last = whole.iter().rposition(|b| *b == b'\n').map_or(whole, |end| &whole[end + 1..]);
    serde_json::from_slice(last)
        .map(Some)
        .map_err(|error| StoreError::Broken { path: path.display().to_string(), error })
}

/// Makes a private directory and its parents.
pub(crate) fn private_directory(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(doing("making", path))
}

impl Store {
    /// The store in this directory, which need not exist yet.
    pub fn at(root: PathBuf) -> Store {
        Store { root }
    }

    /// The store that a run's directory lies in.
    pub fn of_run(directory: &Path) -> Store {
        Store { root: directory.ancestors().nth(2).unwrap_or(directory).to_owned() }
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a run lies.
    pub fn run_directory(&self, run: &RunId) -> PathBuf {
        self.root.join("runs").join(run.as_str())
    }

    /// Where the signing key lies.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The digests of programs that no enclosure can write, kept from run to run.
    pub(crate) fn executables(&self) -> PathBuf {
        self.root.join("executables.json")
    }

    /// Where what is remembered of sign-ins lies.
    pub fn sign_ins(&self) -> PathBuf {
        self.root.join("sign-ins")
    }

    /// The persistent home of an agent in a project.
    pub fn home_directory(&self, project: &Path, agent: &str) -> PathBuf {
        let digest = Sha256::digest(&Bytes::from(project).0);
        let tail = cofferdam_core::bytes::hex(&digest[..6]);
        self.root.join("homes").join(format!("{agent}-{tail}")).join("home")
    }

    /// The run that a person means: an id, a unique prefix, or `@`, the latest of `project`.
    ///
    /// # Errors
    /// Where there is none, or more than one, or its record is damaged.
    pub fn find(&self, name: &str, project: &Path) -> Result<Run, StoreError> {
        if name != "@" {
            return self.runs()?.named(name);
        }
        // A repetition of a test is nobody's latest work.
        let latest = self.runs()?.latest(project, |run| Ok::<bool, StoreError>(!run.is_rerun()))?;
        latest.ok_or_else(|| StoreError::None(project.display().to_string()))
    }
}

/// Removes a run's layers; the bytes they held on disk. Follows nothing.
///
/// # Errors
/// Where something cannot be removed.
pub fn remove_layers(directory: &Path) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for name in ["layers", "base"] {
        let path = directory.join(name);
        if path.symlink_metadata().is_ok() {
            bytes += crate::removal::remove_tree(&path).map_err(doing("removing", &path))?;
        }
    }
    Ok(bytes)
}

/// Removes all of a run, evidence included: for one that never began.
///
/// # Errors
/// Where something cannot be removed.
pub(crate) fn remove_run(directory: &Path) -> Result<(), StoreError> {
    crate::removal::remove_tree(directory).map(drop).map_err(doing("removing", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(agent: &str) -> RunRecord {
        RunRecord {
            run: "aaaaaaaaaaa1".parse().unwrap(),
            project: "/p".into(),
            agent: agent.to_owned(),
            argv: Vec::new(),
            started: Timestamp(1),
            ended: None,
            discarded: None,
            from: None,
            layers: Vec::new(),
        }
    }

    #[test]
    fn the_last_whole_line_is_the_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        let agent = || read_record(dir.path()).unwrap().map(|r| r.agent);
        assert_eq!(agent(), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(agent(), None, "a crash before anything was written");
        write_new_record(dir.path(), &record("first")).unwrap();
        let first = std::fs::read(&path).unwrap();
        write_record(dir.path(), &record("second")).unwrap();
        let both = std::fs::read(&path).unwrap();
        assert_eq!(agent().as_deref(), Some("second"));
        for cut in first.len()..both.len() {
            std::fs::write(&path, &both[..cut]).unwrap();
            assert_eq!(agent().as_deref(), Some("first"), "cut off at {cut}");
            write_record(dir.path(), &record("third")).unwrap();
            assert_eq!(agent().as_deref(), Some("third"), "cut off at {cut}");
        }
        // As versions before this one wrote it.
        std::fs::write(&path, first.trim_ascii_end()).unwrap();
        assert_eq!(agent().as_deref(), Some("first"));
        write_record(dir.path(), &record("second")).unwrap();
        assert_eq!(agent().as_deref(), Some("second"));
        for bad in [&b"{\n"[..], b"\n", b"[]\n\n", b"{", b"\xff\n"] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(read_record(dir.path()), Err(StoreError::Broken { .. })), "{}", bad.escape_ascii());
        }
    }
}
