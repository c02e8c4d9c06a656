//! One path at a time, while a run goes on: what a change set would say of it now.
//!
//! Nothing here waits: a FIFO is not opened for long, a link not followed, a large file not read. What changes while it is
//! looked at is looked at once more, and the caller is told where that was not enough.

mod place;
mod read;
mod rules;

use std::os::fd::AsFd;

use cofferdam_core::change::{Digest, Entry, FileKind};
use cofferdam_core::{Bytes, Timestamp};
use rustix::io::Errno;
use rustix::time::ClockId;
use sha2::{Digest as _, Sha256};

use crate::bases::{self, Source};
use crate::beneath;
use crate::capture::Captured;
use crate::entry::{self, RealEntry};
use crate::error::{Layer, WorkspaceError};
use crate::layers::Layers;
use place::{Found, Here, Place};
use rules::Rules;

/// Largest file whose content is looked at while the run goes on, in bytes.
pub const LARGEST_READ: u64 = 16 << 20;
/// Largest text that a look gives whole, in bytes.
pub const LARGEST_TEXT: u64 = 256 << 10;

/// Most captured bases that wait to be asked for, at about 300 bytes each. What comes beyond it is told by the real tree,
/// which is right wherever the person did not touch it since the run began.
const MOST_BASES: usize = 20_000;

/// The clock that stamps inodes goes by ticks of at most 10 ms: what changed this short a time ago, in nanoseconds, may
/// change again without another stamp.
const TICKS: i64 = 20_000_000;

/// Looks at paths of a workspace that runs.
#[derive(Debug)]
pub struct Live {
    /// Its index has the bases that nobody asked for yet.
    layers: Layers,
    rules: Rules,
    /// The directory that was needed last, within one turn.
    place: Option<(Vec<u8>, Place)>,
}

/// What a path of the workspace is now.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// None of the project's own: ignored, generated, git's.
    Hidden,
    /// The very inode that was seen before, unchanged since.
    Same,
    /// The layer has nothing there: it is as its base.
    Base,
    /// The workspace has nothing there.
    Nothing,
    /// It was replaced again and again while it was looked at.
    Moving,
    /// The layer has it.
    Seen(Seen),
}

/// An entry of the layer.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// The entry, with a digest for a link and for a file of up to [`LARGEST_READ`].
    pub entry: Entry,
    /// Tells later whether it is still this; absent where it changed too short a time ago to tell.
    pub stamp: Option<Stamp>,
    /// The content of a file that is a text (no NUL in its first 8 KiB) of up to [`LARGEST_TEXT`].
    pub text: Option<Vec<u8>>,
    /// Nobody wrote to it while it was read.
    pub stable: bool,
    /// For a directory: the layer has nothing in it.
    pub empty: bool,
    /// For a directory: nothing of the real tree shows through in it.
    pub hides: bool,
}

/// What tells two looks at an inode apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    ino: u64,
    ctime: Timestamp,
}

impl Stamp {
    fn of(found: &RealEntry) -> Stamp {
        Stamp { ino: found.ino, ctime: found.ctime }
    }
}

impl Live {
    /// Looks at the workspace of these layers.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`] where their descriptors cannot be copied.
    pub fn new(layers: &Layers) -> Result<Live, WorkspaceError> {
        Ok(Live { layers: layers.without_bases(None)?, rules: Rules::default(), place: None })
    }

    /// Takes what a round of the capture found: the bases of what appeared, and whether the rules changed.
    pub fn take(&mut self, captured: &mut Captured) {
        if let Some(index) = self.layers.index_mut() {
            index.started = Some(captured.started);
            let room = MOST_BASES.saturating_sub(index.records.len());
            for record in captured.bases.drain(..).take(room) {
                index.records.entry(record.path.clone()).or_insert(record);
            }
        }
        if captured.changed.iter().any(|path| Rules::is_rule(&path.0)) {
            self.rules = Rules::default();
        }
    }

    /// Begins a turn: directories may have moved since the last one.
    pub fn begin_turn(&mut self) {
        self.place = None;
    }

    /// Whether differences of a path count, by its name alone.
    pub fn shows(&mut self, path: &Bytes, directory: bool) -> bool {
        self.rules.show(&self.layers, &path.0, directory)
    }

    /// Looks at a path; `known` is the stamp of the last look.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`] where the layer has an entry that cannot be looked at or read: a change set passes over it.
    pub fn look(&mut self, path: &Bytes, known: Option<Stamp>) -> Result<Look, WorkspaceError> {
        if !beneath::is_plain(&path.0) || !self.shows(path, false) {
            return Ok(Look::Hidden);
        }
        let (directory, name) = beneath::split(&path.0);
        let failed = |errno| WorkspaceError::io("look at", Layer::Upper, path.clone())(errno);
        if self.place.as_ref().is_none_or(|(at, _)| at != directory) {
            let place = Place::find(self.layers.upper_fd(), directory).map_err(failed)?;
            self.place = Some((directory.to_vec(), place));
        }
        let here = match &self.place {
            Some((_, Place::Here(here))) => here,
            Some((_, Place::Through)) => return Ok(Look::Base),
            Some((_, Place::Gone)) | None => return Ok(Look::Nothing),
        };
        // Another try where the entry is replaced by one of another kind in between.
        for _ in 0..2 {
            let found = match here.look(name).map_err(failed)? {
                Found::Nothing if !here.hidden => return Ok(Look::Base),
                Found::Nothing | Found::Deleted => return Ok(Look::Nothing),
                Found::Entry(found) => found.entry,
            };
            if known == Some(Stamp::of(&found)) {
                return Ok(Look::Same);
            }
            if found.kind == FileKind::Directory && !self.rules.show(&self.layers, &path.0, true) {
                return Ok(Look::Hidden);
            }
            if let Some(seen) = seen(here, name, &found).map_err(failed)? {
                return Ok(Look::Seen(seen));
            }
        }
        Ok(Look::Moving)
    }

    /// The text of a hidden file and its stamp, where the layer has it, with up to `most` bytes, and nobody writes to it.
    /// (Of two states within one tick of the clock that stamps inodes the stamp is the same.)
    pub fn hidden_text(&mut self, path: &Bytes, most: u64) -> Option<(Stamp, Vec<u8>)> {
        if !beneath::is_plain(&path.0) {
            return None;
        }
        let (directory, name) = beneath::split(&path.0);
        let directory = beneath::open_directory_path(self.layers.upper_fd(), directory).ok()?;
        let content = read::file(directory.as_fd(), name, most).ok()??;
        content.text.filter(|_| content.stable).map(|text| (Stamp::of(&content.entry), text))
    }

    /// The base of a path, with a digest for a link and for a file of up to [`LARGEST_READ`] whose content is to be had.
    /// What the capture kept of it is handed out once: the caller remembers it.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`] where it cannot be read: a change set passes over it.
    pub fn base(&mut self, path: &Bytes) -> Result<Option<Entry>, WorkspaceError> {
        let real = self.layers.real_entry(path)?;
        let base = bases::resolve(&self.layers, path, real.as_ref(), None)?;
        self.forget(path);
        let Some(mut entry) = base.entry else { return Ok(None) };
        entry.digest = match (entry.kind, &base.source) {
            (FileKind::File, source) if entry.size <= LARGEST_READ => match self.layers.open_source(path, source)? {
                Some(file) => {
                    let hashed = read::hash(&file, entry.size + 1);
                    let (digest, read) = hashed.map_err(WorkspaceError::std("read", Layer::Real, path.clone()))?;
                    (read == entry.size).then_some(digest)
                }
                None => None,
            },
            (FileKind::Symlink, Source::Text(text)) => Some(digest(&text.0)),
            (FileKind::Symlink, Source::Real) => Some(digest(&self.layers.link_real(path)?.0)),
            _ => None,
        };
        Ok(Some(entry))
    }

    /// Drops what the capture kept of a path that needs no base.
    pub fn forget(&mut self, path: &Bytes) {
        if let Some(index) = self.layers.index_mut() {
            index.records.remove(path);
        }
    }

    /// Drops all that the capture kept and nobody asked for.
    pub fn forget_all(&mut self) {
        if let Some(index) = self.layers.index_mut() {
            index.records.clear();
        }
    }

    /// The paths below a directory of the real tree whose differences count, `most` at the most: what goes with it when the
    /// workspace deletes it. What is mounted there does not go.
    pub fn below(&mut self, directory: &Bytes, most: usize) -> Vec<Bytes> {
        let mut found = Vec::new();
        let Ok(root) = entry::stat_fd(self.layers.root_fd()) else { return found };
        let mut stack = vec![directory.0.clone()];
        while let Some(path) = stack.pop() {
            // What cannot be listed is passed over here as in a change set.
            let Ok(opened) = beneath::open_directory(self.layers.root_fd(), &path) else { continue };
            if !entry::stat_fd(&opened).is_ok_and(|here| here.entry.dev == root.entry.dev) {
                continue;
            }
            let Ok(listing) = rustix::fs::Dir::read_from(&opened) else { continue };
            for name in listing.flatten() {
                let bytes = name.file_name().to_bytes();
                if bytes == b"." || bytes == b".." {
                    continue;
                }
                let below = Bytes(beneath::join(&path, bytes));
                let directory =
                    entry::stat_at(opened.as_fd(), bytes).is_ok_and(|found| found.entry.kind == FileKind::Directory);
                if !self.shows(&below, directory) {
                    continue;
                }
                if found.len() >= most {
                    return found;
                }
                if directory {
                    stack.push(below.0.clone());
                }
                found.push(below);
            }
        }
        found
    }
}

/// The text of a file of the layer that is over and done with, where it is one of moderate size and still the entry that a
/// change set found: same size, same digest.
pub fn text_of(layers: &Layers, path: &Bytes, entry: &Entry) -> Option<Vec<u8>> {
    if entry.kind != FileKind::File || entry.size > LARGEST_TEXT {
        return None;
    }
    let (directory, name) = beneath::split(&path.0);
    let directory = beneath::open_directory_path(layers.upper_fd(), directory).ok()?;
    // What cannot be read has no version; the change set itself says why where it matters.
    let content = read::file(directory.as_fd(), name, LARGEST_TEXT).ok()??;
    if content.digest == entry.digest { content.text } else { None }
}

/// Looks at an entry closely; `None` where it is another one meanwhile.
fn seen(here: &Here, name: &[u8], found: &RealEntry) -> Result<Option<Seen>, Errno> {
    let mut seen =
        Seen { entry: found.entry(), stamp: stamp(found), text: None, stable: true, empty: false, hides: false };
    match found.kind {
        FileKind::File => {
            let Some(content) = read::file(here.fd(), name, LARGEST_TEXT)? else { return Ok(None) };
            seen.entry = Entry { digest: content.digest, ..content.entry.entry() };
            seen.stamp = if content.stable { stamp(&content.entry) } else { None };
            seen.text = content.text;
            seen.stable = content.stable;
        }
        FileKind::Symlink => {
            let text = match rustix::fs::readlinkat(here.fd(), name, Vec::new()) {
                Ok(text) => text.into_bytes(),
                Err(Errno::INVAL | Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(errno),
            };
            seen.entry.size = text.len() as u64;
            seen.entry.digest = Some(digest(&text));
        }
        FileKind::Directory => match here.enter(name) {
            Ok(directory) => {
                seen.hides = directory.hidden;
                seen.empty = directory.is_empty()?;
            }
            Err(errno) if beneath::is_absent(errno) => return Ok(None),
            // The workspace's own mode may close it; a change set takes it for full then.
            Err(Errno::ACCESS) => {}
            Err(errno) => return Err(errno),
        },
        FileKind::Fifo | FileKind::Socket | FileKind::Device => {}
    }
    Ok(Some(seen))
}

/// The stamp of an entry that has rested long enough for one.
fn stamp(found: &RealEntry) -> Option<Stamp> {
    let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    let now = Timestamp::from_parts(now.tv_sec, now.tv_nsec);
    found.changed_before(Timestamp(now.0.saturating_sub(TICKS))).then(|| Stamp::of(found))
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}
