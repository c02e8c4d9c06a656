//! The base of a path at reading time, and how the real tree stands to it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::AsFd;

use cofferdam_core::change::{BaseState, Entry, FileKind};
use cofferdam_core::{Bytes, Timestamp};

use crate::beneath;
use crate::entry::{self, RealEntry};
use crate::error::{Layer, WorkspaceError};
pub(crate) use crate::index::Index;
use crate::index::{Certainty, Record};
use crate::layers::Layers;

/// Where the base's content is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The real tree still holds it.
    Real,
    /// `data/N` of the captured bases.
    Captured(u64),
    /// The text of a link.
    Text(Bytes),
    /// Nowhere.
    Nothing,
}

/// The base of one path.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// `None` where the path was absent.
    pub entry: Option<Entry>,
    pub state: BaseState,
    pub source: Source,
}

/// What the walk knows of a path's surroundings, to spare asking again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings {
    /// Every directory above the path in the real tree was last changed before the run.
    pub settled: bool,
    /// The path itself lies in the upper layer, not merely below a directory deleted there: then a complete index
    /// would name its base.
    pub appeared: bool,
}

/// The base of `path`, whose present entry in the real tree is `real`.
pub(crate) fn resolve(
    layers: &Layers,
    path: &Bytes,
    real: Option<&RealEntry>,
    surroundings: Option<Surroundings>,
) -> Result<Base, WorkspaceError> {
    let index = layers.index()?;
    if let Some(record) = index.records.get(path) {
        return recorded(layers, record, real);
    }
    let Some(real) = real else {
        return Ok(Base { entry: None, state: BaseState::Unchanged, source: Source::Nothing });
    };
    let here = match surroundings {
        Some(here) => here,
        None => Surroundings {
            settled: index.started.is_some_and(|start| parents_settled(layers, path, start)),
            appeared: appeared(layers, path),
        },
    };
    if here.settled && index.started.is_some_and(|start| real.changed_before(start)) {
        return Ok(Base { entry: Some(real.entry()), state: BaseState::Unchanged, source: Source::Real });
    }
    if index.complete && here.appeared {
        return Ok(Base { entry: None, state: BaseState::Moved, source: Source::Nothing });
    }
    Ok(Base { entry: Some(real.entry()), state: BaseState::Unknown, source: Source::Nothing })
}

fn recorded(layers: &Layers, record: &Record, real: Option<&RealEntry>) -> Result<Base, WorkspaceError> {
    if record.state == Certainty::Unknown {
        let entry = real.map_or_else(|| record.entry(), RealEntry::entry);
        return Ok(Base { entry: Some(entry), state: BaseState::Unknown, source: Source::Nothing });
    }
    let entry = Some(record.entry());
    let held = match (record.data, &record.text) {
        (Some(number), _) => Source::Captured(number),
        (None, Some(text)) => Source::Text(text.clone()),
        (None, None) => Source::Nothing,
    };
    if let Some(real) = real
        && (record.is(real) || still_holds(layers, record, &held, real)?)
    {
        return Ok(Base { entry, state: BaseState::Unchanged, source: Source::Real });
    }
    let known = held != Source::Nothing || !matches!(record.kind, FileKind::File | FileKind::Symlink);
    let state = if known { BaseState::Moved } else { BaseState::Unknown };
    Ok(Base { entry, state, source: held })
}

/// Whether another inode, or one touched since, holds what was captured.
fn still_holds(layers: &Layers, record: &Record, held: &Source, real: &RealEntry) -> Result<bool, WorkspaceError> {
    if record.kind != real.kind || record.mode != real.mode {
        return Ok(false);
    }
    match (record.kind, held) {
        (FileKind::File, Source::Captured(_)) if record.size == real.size => {
            let Some(captured) = layers.open_source(&record.path, held)? else { return Ok(false) };
            let present = layers.open_real(&record.path)?;
            same_content(captured, present).map_err(WorkspaceError::std("compare", Layer::Real, record.path.clone()))
        }
        (FileKind::Symlink, Source::Text(text)) => Ok(layers.link_real(&record.path)? == *text),
        (FileKind::Directory, _) => Ok(true),
        _ => Ok(false),
    }
}

/// Whether two files hold the same bytes.
pub(crate) fn same_content(a: File, b: File) -> std::io::Result<bool> {
    const PIECE: usize = 64 * 1024;
    let (mut a, mut b) = (BufReader::with_capacity(PIECE, a), BufReader::with_capacity(PIECE, b));
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let (n, m) = (fill(&mut a, &mut left)?, fill(&mut b, &mut right)?);
        if left[..n] != right[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether every directory above `path` in the real tree was last changed before `start`. Putting another directory
/// in the place of one changes its ctime (rename(2) on ext4, xfs, btrfs and tmpfs), so that these are then the
/// directories the run began with. The root is the overlay's own lower directory and cannot be swapped under it.
pub(crate) fn parents_settled(layers: &Layers, path: &Bytes, start: Timestamp) -> bool {
    let mut at = beneath::split(&path.0).0;
    while !at.is_empty() {
        match beneath::open_path(layers.root_fd(), at).and_then(entry::stat_fd) {
            Ok(found) if found.entry.changed_before(start) => at = beneath::split(at).0,
            _ => return false,
        }
    }
    true
}

/// Whether the upper layer has this very path, a whiteout not counted.
fn appeared(layers: &Layers, path: &Bytes) -> bool {
    let (directory, name) = beneath::split(&path.0);
    beneath::open_directory_path(layers.upper_fd(), directory)
        .and_then(|at| entry::stat_at(at.as_fd(), name))
        .is_ok_and(|found| !found.whiteout)
}
