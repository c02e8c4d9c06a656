//! Writing the log of a run.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use cofferdam_core::event::{Event, EventKind, Link, RunStarted};
use cofferdam_core::{RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::files::{Directory, Lock, lock};
use crate::read::MAX_LINE;
use crate::tree::{Frontier, leaf_hash};
use crate::{Checkpoint, Commitment, Error, RecorderKey, Result, Striker, SyncHandle};

pub(crate) const LOG: &str = "log.jsonl";
pub(crate) const CHECKPOINTS: &str = "checkpoints";
pub(crate) const KEY: &str = "key";

/// What a log is written with.
#[derive(Clone, Debug)]
pub struct Writing {
    /// Strikes secret values out of every event and statement.
    pub striker: Striker,
    /// Tells the time of an event. It may go back: the order of events is that of the lines.
    pub clock: fn() -> Timestamp,
}

impl Default for Writing {
    /// Strikes nothing; the system clock.
    fn default() -> Self {
        Writing { striker: Striker::default(), clock: Timestamp::now }
    }
}

/// An open log, which nobody else can write meanwhile.
#[derive(Debug)]
pub struct Log {
    pub(crate) dir: Directory,
    pub(crate) log: Appended,
    /// Of the log's file; given up when the writing ends.
    pub(crate) lock: Option<Lock>,
    pub(crate) checkpoints: Appended,
    pub(crate) key: RecorderKey,
    pub(crate) run: RunId,
    pub(crate) tree: Frontier,
    /// Events under the last checkpoint.
    pub(crate) signed: u64,
    pub(crate) line: Vec<u8>,
    pub(crate) writing: Writing,
}

/// A line whose data is not looked into.
#[derive(Serialize, Deserialize)]
struct Outline<'a, Data> {
    seq: u64,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<Link>,
    kind: &'a str,
    data: Data,
}

/// A file that only grows by whole pieces.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) end: u64,
    pub(crate) poisoned: bool,
}

impl Appended {
    pub(crate) fn new(file: File, path: PathBuf, end: u64) -> Self {
        Appended { file, path, end, poisoned: false }
    }

    /// One write(2) of the whole piece. Where only a part fits, that part is taken back.
    fn append(&mut self, piece: &[u8]) -> Result<()> {
        if self.poisoned {
            return Err(Error::Poisoned { path: self.path.clone() });
        }
        let written = loop {
            match self.file.write(piece) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(Error::io("append to", &self.path))?,
            }
        };
        if written < piece.len() {
            if let Err(e) = self.file.set_len(self.end) {
                self.poisoned = true;
                return Err(Error::io("take back half a line of", &self.path)(e));
            }
            let full = io::Error::new(io::ErrorKind::StorageFull, format!("{written} of {} bytes fit", piece.len()));
            return Err(Error::io("append to", &self.path)(full));
        }
        self.end += piece.len() as u64;
        Ok(())
    }
}

impl Log {
    /// Begins the log of a run in `dir`, which is made (0700) where it is missing: the public key, event 0 and the
    /// first checkpoint. Nothing is synced.
    ///
    /// # Errors
    /// [`Error::Exists`] where there is a log, [`Error::Io`], [`Error::TooLong`].
    pub fn create(dir: &Path, run: &RunId, key: RecorderKey, started: RunStarted) -> Result<Log> {
        Log::create_with(dir, run, key, started, Writing::default())
    }

    /// As [`Log::create`], with secrets that are struck from event 0 on, and a clock.
    ///
    /// # Errors
    /// As [`Log::create`].
    pub fn create_with(
        dir: &Path,
        run: &RunId,
        key: RecorderKey,
        started: RunStarted,
        writing: Writing,
    ) -> Result<Log> {
        let dir = Directory::create(dir)?;
        let path = |name: &str| dir.path.join(name);
        let log = dir.create_file(LOG)?;
        let lock = lock(&log, &path(LOG))?;
        let mut public = Appended::new(dir.create_file(KEY)?, path(KEY), 0);
        public.append(format!("{}\n", key.vkey()).as_bytes())?;
        let checkpoints = Appended::new(dir.create_file(CHECKPOINTS)?, path(CHECKPOINTS), 0);
        let log = Appended::new(log, path(LOG), 0);
        let (run, tree) = (run.clone(), Frontier::default());
        let mut log =
            Log { dir, log, lock: Some(lock), checkpoints, key, run, tree, signed: 0, line: Vec::new(), writing };
        log.append(None, EventKind::RunStarted(started))?;
        log.checkpoint()?;
        Ok(log)
    }

    /// What events are written with from now on: for a log that was reopened.
    pub fn write_with(&mut self, writing: Writing) {
        self.writing = writing;
    }

    /// Appends an event, without the secrets, and returns its `seq`. The line is in the file (not on the medium) when
    /// this returns; after an error it is not.
    ///
    /// # Errors
    /// [`Error::Cause`], [`Error::TooLong`], [`Error::Encode`], [`Error::Io`], [`Error::Poisoned`].
    pub fn append(&mut self, cause: Option<(u64, Link)>, what: EventKind) -> Result<u64> {
        let seq = self.tree.size();
        if let Some((cause, _)) = cause
            && cause >= seq
        {
            return Err(Error::Cause { cause, seq });
        }
        let (cause, link) = cause.unzip();
        self.line.clear();
        let time = (self.writing.clock)();
        serde_json::to_writer(&mut self.line, &Event { seq, time, cause, link, what }).map_err(Error::Encode)?;
        if self.writing.striker.suspects(&self.line) {
            self.line = struck(&self.writing.striker, &self.line).map_err(Error::Encode)?;
        }
        if self.line.len() > MAX_LINE {
            return Err(Error::TooLong { bytes: self.line.len(), limit: MAX_LINE });
        }
        let leaf = leaf_hash(&self.line);
        self.line.push(b'\n');
        self.log.append(&self.line)?;
        self.tree.push(leaf);
        Ok(seq)
    }

    /// Signs the log as it stands, if events came since the last checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Sign`]; the next call tries again.
    pub fn checkpoint(&mut self) -> Result<()> {
        if self.signed == self.tree.size() {
            return Ok(());
        }
        self.sign(&Checkpoint::new(&self.run, self.tree.size(), self.tree.root()))
    }

    /// Signs the log as it stands, in any case, with a statement in a `cofferdam <json>` extension line.
    ///
    /// # Errors
    /// As [`Log::checkpoint`]; [`Error::Sign`] where the statement is longer than a note may be (1,000,000 bytes).
    pub fn checkpoint_with(&mut self, statement: &serde_json::Map<String, Value>) -> Result<()> {
        let mut statement = statement.clone();
        statement.values_mut().for_each(|value| self.writing.striker.json(value));
        self.sign(&Checkpoint::new(&self.run, self.tree.size(), self.tree.root()).with_statement(&statement))
    }

    fn sign(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let note = self.key.sign(&checkpoint.text())?;
        if note.len() >= crate::checkpoint_file::MAX_NOTE {
            return Err(Error::Sign(format!("it has {} bytes, more than a note may have", note.len())));
        }
        self.checkpoints.append(&note)?;
        self.signed = checkpoint.size;
        Ok(())
    }

    /// The run.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Size and root of the log as it stands: what a commit's trailer publishes.
    pub fn commitment(&self) -> Commitment {
        Commitment { size: self.tree.size(), root: self.tree.root() }
    }

    /// Events that no checkpoint covers yet.
    pub fn unsigned(&self) -> u64 {
        self.tree.size() - self.signed
    }

    /// Ends the writing: gives up the log's lock, takes no more events, and leaves what is to be synced.
    ///
    /// # Errors
    /// As [`Log::sync_handle`].
    pub fn close(&mut self) -> Result<SyncHandle> {
        let handle = self.sync_handle()?;
        self.lock = None;
        self.log.poisoned = true;
        Ok(handle)
    }

    /// Descriptors for syncing, on this thread or another.
    ///
    /// # Errors
    /// [`Error::Io`] where the descriptors cannot be copied.
    pub fn sync_handle(&self) -> Result<SyncHandle> {
        let copy = |file: &File, path: &Path| {
            file.try_clone().map(Into::into).map_err(Error::io("copy the descriptor of", path))
        };
        Ok(SyncHandle {
            log: copy(&self.log.file, &self.log.path)?,
            checkpoints: copy(&self.checkpoints.file, &self.checkpoints.path)?,
            directory: self.dir.fd.try_clone().map_err(Error::io("copy the descriptor of", &self.dir.path))?,
            path: self.dir.path.clone(),
            directory_synced: AtomicBool::new(false),
        })
    }
}

/// A line of the log without the secrets in the strings of its data.
fn struck(striker: &Striker, line: &[u8]) -> serde_json::Result<Vec<u8>> {
    let Outline { seq, time, cause, link, kind, data } = serde_json::from_slice::<Outline<'_, &RawValue>>(line)?;
    let mut data: Value = serde_json::from_str(data.get())?;
    striker.json(&mut data);
    serde_json::to_vec(&Outline { seq, time, cause, link, kind, data })
}
