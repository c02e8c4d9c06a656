//! Going on with a log: after its writer died, or for what happens to a run after its end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use rustix::fs::OFlags;

use crate::audit::{Audit, Sources};
use crate::files::{Directory, lock};
use crate::key::MAX_KEY;
use crate::log::{Appended, CHECKPOINTS, KEY, LOG};
use crate::{Error, Log, RecorderKey, Result, VerifierKey, Writing};

/// How a log was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Events in the log.
    pub events: u64,
    /// Of these, events that no checkpoint covered: the next checkpoint signs them although nothing but the file said
    /// that they happened.
    pub unsigned: u64,
    /// Half a line at the log's end, moved aside. The caller records an `evidence.gap`.
    pub torn_line: Option<Torn>,
    /// Half a note at the end of `checkpoints`, moved aside.
    pub torn_checkpoint: Option<Torn>,
}

/// Bytes that were moved aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file in the evidence directory that holds them now: `torn-<n>`.
    pub file: String,
    /// How many.
    pub bytes: u64,
}

impl Log {
    /// Opens the log of a run for more events. Takes its lock, verifies it against every checkpoint, and moves what a
    /// crash left half-written into files `torn-<n>`. Nothing is struck out of what is added: [`Log::write_with`].
    ///
    /// # Errors
    /// [`Error::Busy`] while another process writes it, [`Error::OtherKey`], [`Error::Contradiction`] where the log is
    /// not what was signed (nothing is changed then), [`Error::Io`].
    pub fn reopen(dir: &Path, key: RecorderKey) -> Result<(Log, Recovery)> {
        let dir = Directory::open(dir)?;
        let (log_path, checkpoints_path) = (dir.path.join(LOG), dir.path.join(CHECKPOINTS));
        let log = dir.open_file(LOG, OFlags::RDWR | OFlags::APPEND)?;
        let lock = Some(lock(&log, &log_path)?);
        let checkpoints = dir.open_file(CHECKPOINTS, OFlags::RDWR | OFlags::APPEND)?;
        let own = VerifierKey::parse(key.vkey(), "the recorder's key")?;
        let claimed = dir.read_small(KEY, MAX_KEY)?;
        let place = format!("`{}`", dir.path.join(KEY).display());
        if !VerifierKey::parse(&String::from_utf8_lossy(&claimed), &place)?.same_key(&own) {
            return Err(Error::OtherKey { path: dir.path.join(KEY) });
        }

        let sources =
            Sources { log: &log, log_path: &log_path, checkpoints: &checkpoints, checkpoints_path: &checkpoints_path };
        let audit = Audit::run(&sources, &own, None, &mut |_, _| Ok(None))?;
        if let Some(fault) = audit.fault {
            return Err(Error::Contradiction { path: log_path, detail: fault.to_string() });
        }
        // A log without a first event has no checkpoint that fits, so the audit has found the fault already.
        let run = audit
            .run
            .ok_or_else(|| Error::Contradiction { path: log_path.clone(), detail: "no event names the run".into() })?;
        let signed = audit.signed.map_or(0, |commitment| commitment.size);
        let recovery = Recovery {
            events: audit.tree.size(),
            unsigned: audit.tree.size() - signed,
            torn_line: set_aside(&dir, &log, &log_path, audit.log_end, audit.torn)?,
            torn_checkpoint: set_aside(&dir, &checkpoints, &checkpoints_path, audit.notes_end, audit.torn_note)?,
        };
        let log = Appended::new(log, log_path, audit.log_end);
        let checkpoints = Appended::new(checkpoints, checkpoints_path, audit.notes_end);
        let writing = Writing::default();
        Ok((
            Log { dir, log, lock, checkpoints, key, run, tree: audit.tree, signed, line: Vec::new(), writing },
            recovery,
        ))
    }
}

/// Moves the last `bytes` of a file, from `start` on, into a new file.
fn set_aside(dir: &Directory, file: &File, path: &Path, start: u64, bytes: u64) -> Result<Option<Torn>> {
    if bytes == 0 {
        return Ok(None);
    }
    let mut n = 1u64;
    let (name, mut target) = loop {
        let name = format!("torn-{n}");
        match dir.create_file(&name) {
            Ok(target) => break (name, target),
            Err(Error::Exists { .. }) => n += 1,
            Err(e) => return Err(e),
        }
    };
    let mut source = file;
    source
        .seek(SeekFrom::Start(start))
        .and_then(|_| io::copy(&mut source.take(bytes), &mut target))
        // Durable before the original goes: this is the only copy.
        .and_then(|_| target.sync_all())
        .map_err(Error::io("write", dir.path.join(&name)))?;
    file.set_len(start).map_err(Error::io("cut the torn end of", path))?;
    Ok(Some(Torn { file: name, bytes }))
}
