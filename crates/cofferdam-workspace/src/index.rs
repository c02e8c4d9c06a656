//! The index of captured bases: JSON lines in `index.jsonl`, contents in `data/N`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};

use cofferdam_core::change::{Entry, FileKind};
use cofferdam_core::{Bytes, Timestamp};
use serde::{Deserialize, Serialize};

use crate::beneath;
use crate::entry::{self, RealEntry};
use crate::error::{Layer, WorkspaceError};
use crate::layers::Layers;

/// The index's file name.
pub(crate) const NAME: &[u8] = b"index.jsonl";

/// How sure a base is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Certainty {
    /// Untouched since before the run.
    Start,
    /// Edited by the person during the run, and seen to be what was copied up.
    CopyUp,
    /// Cannot be told.
    Unknown,
}

/// The base of one path, as it was captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub path: Bytes,
    pub kind: FileKind,
    pub mode: u32,
    pub size: u64,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub ino: u64,
    pub dev: u64,
    pub state: Certainty,
    /// The number of the copy in `data/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<u64>,
    /// A link's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Bytes>,
}

impl Record {
    pub fn new(path: &[u8], base: &RealEntry, state: Certainty) -> Record {
        Record {
            path: path.into(),
            kind: base.kind,
            mode: base.mode,
            size: base.size,
            mtime: base.mtime,
            ctime: base.ctime,
            ino: base.ino,
            dev: base.dev,
            state,
            data: None,
            text: None,
        }
    }

    pub fn entry(&self) -> Entry {
        Entry { kind: self.kind, mode: self.mode, size: self.size, mtime: self.mtime, digest: None }
    }

    /// Whether the entry is the very inode that was recorded, unchanged since.
    pub fn is(&self, real: &RealEntry) -> bool {
        self.kind == real.kind
            && self.mode == real.mode
            && self.size == real.size
            && self.mtime == real.mtime
            && self.ctime == real.ctime
            && self.ino == real.ino
            && self.dev == real.dev
    }
}

/// One line of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub(crate) enum Line {
    /// What lies before this moment is as the run found it. Written again, earlier, where the clock was set back.
    Started { version: u32, time: Timestamp },
    /// A base.
    Base(Record),
    /// The final scan is done: a path of the upper layer without a line had no base.
    Complete,
}

/// The index as read.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// `None` where nothing tells when the run began.
    pub started: Option<Timestamp>,
    pub complete: bool,
    pub records: HashMap<Bytes, Record>,
}

impl Index {
    /// Reads the index; a torn last line is what a killed monitor leaves, and is passed over.
    pub fn load(layers: &Layers) -> Result<Index, WorkspaceError> {
        let mut index = Index::default();
        match beneath::open_read(layers.base_fd(), NAME) {
            Ok(fd) => index.read(BufReader::new(std::fs::File::from(fd)), &layers.base)?,
            Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(WorkspaceError::io("open", Layer::Base, NAME)(errno)),
        }
        if index.started.is_none() {
            // The upper directory is made before the overlay is mounted: its birth is no later than the run's start.
            index.started = entry::stat_fd(layers.upper_fd())
                .map_err(WorkspaceError::io("look at", Layer::Upper, ".".as_bytes()))?
                .born;
        }
        Ok(index)
    }

    fn read(&mut self, mut from: impl BufRead, base: &std::path::Path) -> Result<(), WorkspaceError> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            from.read_until(b'\n', &mut line).map_err(WorkspaceError::std("read", Layer::Base, NAME))?;
            if line.pop() != Some(b'\n') {
                break;
            }
            let parsed = serde_json::from_slice(&line).map_err(|source| WorkspaceError::Index {
                path: base.join("index.jsonl"),
                line: number,
                source,
            })?;
            match parsed {
                Line::Started { time, .. } => {
                    self.started = Some(self.started.map_or(time, |earlier| earlier.min(time)));
                }
                Line::Base(record) => {
                    // A path's first appearance decides.
                    self.records.entry(record.path.clone()).or_insert(record);
                }
                Line::Complete => self.complete = true,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_passed_over_and_a_bad_one_in_the_middle_is_not() {
        let torn = b"{\"line\":\"started\",\"version\":1,\"time\":\"2026-11-24T13:40:01.000000007Z\"}\n{\"line\":\"ba";
        let mut index = Index::default();
        index.read(&torn[..], "base".as_ref()).unwrap();
        assert_eq!(index.started, Some(Timestamp(1_795_527_601_000_000_007)));
        assert!(!index.complete);
        let bad = b"{\"line\":\"ba\n{\"line\":\"complete\"}\n";
        let error = Index::default().read(&bad[..], "base".as_ref()).unwrap_err();
        assert!(matches!(error, WorkspaceError::Index { line: 1, .. }), "{error}");
    }

    #[test]
    fn the_first_record_of_a_path_and_the_earliest_start_win() {
        let entry = RealEntry {
            kind: FileKind::File,
            mode: 0o644,
            size: 3,
            mtime: Timestamp(1),
            ctime: Timestamp(2),
            ino: 3,
            dev: 4,
            links: 1,
        };
        let first = Record::new(b"a\xff", &entry, Certainty::CopyUp);
        let second = Record { size: 9, ..first.clone() };
        let mut text = Vec::new();
        for line in [
            Line::Started { version: 1, time: Timestamp(50) },
            Line::Base(first.clone()),
            Line::Base(second),
            Line::Started { version: 1, time: Timestamp(40) },
            Line::Complete,
        ] {
            text.extend_from_slice(&serde_json::to_vec(&line).unwrap());
            text.push(b'\n');
        }
        let mut index = Index::default();
        index.read(&text[..], "base".as_ref()).unwrap();
        assert_eq!(index.started, Some(Timestamp(40)));
        assert!(index.complete);
        assert_eq!(index.records[&Bytes::from(&b"a\xff"[..])], first);
        assert!(first.is(&entry));
        assert!(!first.is(&RealEntry { ctime: Timestamp(3), ..entry }));
    }
}
