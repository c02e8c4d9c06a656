//! The journal of a promotion: `<run_dir>/promotions/<number>/journal.jsonl`, one record a line, only appended to.
//!
//! `begun`, `touched`…, `op`…, `staged`: written before anything in the tree changes but for the staging directory. Then
//! `applied` and `done`; or, after `reverting` where it was applied, `reverted` and `aborted`. A last line without its newline was being written when a crash came and counts as absent.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cofferdam_core::{Bytes, Timestamp};
use serde::{Deserialize, Serialize};

use super::op::{Op, Touched};
use super::{PromoteError, entry};

const VERSION: u32 = 1;

/// The name of the directory of old versions, beside the journal.
pub(super) const UNDO_NAME: &str = "undo";

/// What a promotion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Changes of the run are brought into the tree.
    Promotion,
    /// An earlier promotion of the run is taken back.
    Undo {
        /// Its number.
        of: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// The format's version: 1.
    pub version: u32,
    pub number: u32,
    pub what: Kind,
    /// The real tree's root, as it was opened.
    pub root: Bytes,
    pub dev: u64,
    pub ino: u64,
    pub time: Timestamp,
    /// Changed paths that stay behind.
    pub left: u64,
    /// The directories (relative to the root) in which staging directories stand.
    pub places: Vec<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(super) enum Record {
    Begun(Begun),
    Op(Op),
    Touched(Touched),
    /// All that is needed lies on disk: from here the promotion can be continued.
    Staged {
        ops: usize,
    },
    /// All is in place; `stayed` are the slots of directories that were to go and are not empty.
    Applied {
        stayed: Vec<u32>,
    },
    /// All was in place, and is being taken back.
    Reverting,
    /// All is as it was before.
    Reverted,
    /// `times`: the modification times of the touched directories, where nobody else changed them.
    Done {
        times: Vec<(Bytes, Timestamp)>,
    },
    Aborted,
}

/// A journal open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    file: BufWriter<File>,
    path: PathBuf,
}

/// A journal as read.
#[derive(Debug)]
pub(super) struct Recorded {
    pub begun: Begun,
    pub ops: Vec<Op>,
    /// By directory; a later record about one replaces an earlier.
    pub touched: BTreeMap<Bytes, Touched>,
    pub staged: bool,
    pub applied: Option<Vec<u32>>,
    pub reverting: bool,
    pub reverted: bool,
    pub done: Option<BTreeMap<Bytes, Timestamp>>,
    pub aborted: bool,
}

/// Where a run's promotions lie.
pub(super) fn promotions(run_dir: &Path) -> PathBuf {
    run_dir.join("promotions")
}

/// Where one of them lies.
pub(super) fn directory(run_dir: &Path, number: u32) -> PathBuf {
    promotions(run_dir).join(number.to_string())
}

/// The numbers of all promotions of a run, ascending.
pub(super) fn numbers(run_dir: &Path) -> Result<Vec<u32>, PromoteError> {
    let dir = promotions(run_dir);
    let on_error = |e| PromoteError::io("list", &dir, e);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(on_error(e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        if let Some(number) = entry.map_err(on_error)?.file_name().to_str().and_then(|n| n.parse().ok()) {
            out.push(number);
        }
    }
    out.sort_unstable();
    Ok(out)
}

impl Journal {
    /// Starts the journal of promotion `begun.number`, with its directory.
    pub fn create(run_dir: &Path, begun: Begun) -> Result<Self, PromoteError> {
        let dir = directory(run_dir, begun.number);
        entry::make_private_dirs(&dir.join(UNDO_NAME)).map_err(|e| PromoteError::io("create", &dir, e))?;
        let path = dir.join("journal.jsonl");
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| PromoteError::io("create", &path, e))?;
        let mut journal = Journal { file: BufWriter::new(file), path };
        journal.append(&Record::Begun(begun))?;
        journal.sync()?;
        for dir in [dir.clone(), promotions(run_dir), run_dir.to_owned()] {
            sync_dir(&dir)?;
        }
        Ok(journal)
    }

    /// Opens an existing journal, cutting off a line that a crash left unfinished.
    pub fn reopen(run_dir: &Path, number: u32) -> Result<Self, PromoteError> {
        let path = directory(run_dir, number).join("journal.jsonl");
        let on_error = |e| PromoteError::io("open", &path, e);
        let mut file = OpenOptions::new().read(true).append(true).open(&path).map_err(on_error)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(on_error)?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at as u64 + 1);
        file.set_len(whole).map_err(on_error)?;
        file.seek(SeekFrom::End(0)).map_err(on_error)?;
        Ok(Journal { file: BufWriter::new(file), path })
    }

    /// Appends a record; it is on disk after the next [`Journal::sync`].
    pub fn append(&mut self, record: &Record) -> Result<(), PromoteError> {
        let on_error = |e| PromoteError::io("write", &self.path, e);
        let mut line = serde_json::to_vec(record).map_err(|e| on_error(e.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(on_error)
    }

    /// Brings everything appended to the disk.
    pub fn sync(&mut self) -> Result<(), PromoteError> {
        let on_error = |e| PromoteError::io("write", &self.path, e);
        self.file.flush().map_err(on_error)?;
        self.file.get_ref().sync_data().map_err(on_error)
    }

    /// Appends a record and brings it to the disk.
    pub fn mark(&mut self, record: &Record) -> Result<(), PromoteError> {
        self.append(record)?;
        self.sync()
    }
}

/// Brings the names in a directory to the disk.
pub(super) fn sync_dir(dir: &Path) -> Result<(), PromoteError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| PromoteError::io("sync", dir, e))
}

/// Reads a journal; `None` where not even its first record was finished, so that nothing was begun.
pub(super) fn read(run_dir: &Path, number: u32) -> Result<Option<Recorded>, PromoteError> {
    let path = directory(run_dir, number).join("journal.jsonl");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(PromoteError::io("read", &path, e)),
    };
    let whole = text.iter().rposition(|b| *b == b'\n').unwrap_or(0);
    let bad = |line, why: String| PromoteError::Journal { path: path.clone(), line, why };
    let mut out: Option<Recorded> = None;
    for (at, line) in text[..whole].split(|b| *b == b'\n').enumerate().filter(|(_, l)| !l.is_empty()) {
        let record = serde_json::from_slice(line).map_err(|e| bad(at + 1, e.to_string()))?;
        match (record, &mut out) {
            (Record::Begun(begun), None) if begun.version != VERSION => {
                return Err(bad(at + 1, format!("version {} is newer than this program", begun.version)));
            }
            (Record::Begun(begun), None) => out = Some(Recorded::new(begun)),
            (record, Some(read)) => read.take(record).map_err(|why| bad(at + 1, why))?,
            (_, None) => return Err(bad(at + 1, "it does not begin with `begun`".to_owned())),
        }
    }
    Ok(out)
}

impl Recorded {
    fn new(begun: Begun) -> Self {
        Recorded {
            begun,
            ops: Vec::new(),
            touched: BTreeMap::new(),
            staged: false,
            applied: None,
            reverting: false,
            reverted: false,
            done: None,
            aborted: false,
        }
    }

    fn take(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Begun(_) => return Err("it begins twice".to_owned()),
            Record::Op(op) => self.ops.push(op),
            Record::Touched(touched) => drop(self.touched.insert(touched.path.clone(), touched)),
            Record::Staged { ops } if ops != self.ops.len() => {
                return Err(format!("it counts {ops} operations and has {}", self.ops.len()));
            }
            Record::Staged { .. } => self.staged = true,
            Record::Applied { stayed } => (self.applied, self.reverting) = (Some(stayed), false),
            Record::Reverting => self.reverting = true,
            Record::Reverted => self.reverted = true,
            Record::Done { times } => self.done = Some(times.into_iter().collect()),
            Record::Aborted => self.aborted = true,
        }
        Ok(())
    }

    /// Whether nothing is left to be done.
    pub fn finished(&self) -> bool {
        self.aborted || self.done.is_some()
    }
}

impl Begun {
    /// The first record of a promotion into `root`.
    pub fn new(
        number: u32,
        what: Kind,
        root: &super::RootDir,
        left: u64,
        places: Vec<Bytes>,
    ) -> Result<Self, PromoteError> {
        let identity = root.identity()?;
        Ok(Begun {
            version: VERSION,
            number,
            what,
            root: entry::bytes_of(root.path()),
            dev: identity.dev,
            ino: identity.ino,
            time: Timestamp::now(),
            left,
            places,
        })
    }
}
