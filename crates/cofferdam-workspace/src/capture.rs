//! Capturing bases while a run goes on: the monitor's part.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cofferdam_core::change::FileKind;
use cofferdam_core::{Bytes, Timestamp};
use rustix::io::Errno;
use rustix::time::ClockId;

use crate::beneath;
use crate::entry::{self, RealEntry, UpperEntry};
use crate::error::{Layer, Problem, WorkspaceError};
use crate::ignored::Ignored;
use crate::index::{Certainty, Record};
use crate::judge::{Scene, has_origin};
use crate::layers::Layers;
use crate::store::Store;
use crate::watch::Watch;

/// Largest file whose content is copied where the file system cannot share extents, in bytes.
pub const COPY_LIMIT: u64 = 8 << 20;

/// A step of the clock below this is slewing and rounding, in nanoseconds.
const CLOCK_JITTER: i64 = 1_000_000;

/// Captures the base of each path when it first appears in the upper layer.
///
/// A path that the real tree lacks costs one statx(2). Whatever comes late or is missed (an overflow of the kernel's
/// queue, no more watches) is judged by the same rule later: late is never wrong, only less often sure.
#[derive(Debug)]
pub struct Capture {
    root: OwnedFd,
    upper: OwnedFd,
    view: Option<OwnedFd>,
    watch: Watch,
    store: Store,
    /// Keyed hashes of the paths looked at: a first appearance decides. The key is random, so that names cannot be
    /// chosen to collide.
    seen: HashSet<u64>,
    hasher: RandomState,
    ignored: Ignored,
    clock: Clock,
    problems: Vec<Problem>,
    /// Bases recorded since the last round that answered.
    bases: Vec<Record>,
    /// Some path could not be looked at: that the index has no line for one then proves nothing.
    gaps: bool,
}

/// What a capture did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Paths of the layer that the last round found changed, each once.
    pub changed: Vec<Bytes>,
    /// What could not be captured, and why.
    pub problems: Vec<Problem>,
    /// The bases of what appeared.
    pub(crate) bases: Vec<Record>,
    /// The run's start, as the clock has it after every step back.
    pub(crate) started: Timestamp,
}

/// How far a scan goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Everywhere.
    Whole,
    /// Not into directories that are watched where they are: what came there was listed or has a notice of its own. A
    /// notice for each level of a deep tree would otherwise walk all levels below it.
    New,
}

impl Capture {
    /// Begins. `started` is `CLOCK_REALTIME_COARSE`, the clock that stamps inodes, read just before the overlay was
    /// mounted: what the real tree's inodes say of later does not count as untouched.
    ///
    /// # Errors
    /// [`WorkspaceError::Watch`] without inotify, [`WorkspaceError::Io`] where the layer cannot be listed.
    pub fn start(layers: &Layers, started: Timestamp) -> Result<Capture, WorkspaceError> {
        let duplicate =
            |fd: BorrowedFd<'_>, layer: Layer| fd.try_clone_to_owned().map_err(WorkspaceError::std("hold", layer, "."));
        let mut capture = Capture {
            root: duplicate(layers.root_fd(), Layer::Real)?,
            upper: duplicate(layers.upper_fd(), Layer::Upper)?,
            view: None,
            watch: Watch::new()?,
            store: Store::new(duplicate(layers.base_fd(), Layer::Base)?, started),
            seen: HashSet::new(),
            hasher: RandomState::new(),
            ignored: Ignored::default(),
            clock: Clock::new(started),
            problems: Vec::new(),
            bases: Vec::new(),
            gaps: false,
        };
        capture.scan(Vec::new(), Depth::Whole, &mut Vec::new())?;
        Ok(capture)
    }

    /// Gives the capture the overlay as the run sees it: an `O_PATH` descriptor of `/proc/INIT/root/PROJECT`, opened
    /// before the command starts. Without it, what the person edited during the run has no sure base.
    pub fn set_view(&mut self, view: OwnedFd) {
        self.view = Some(view);
    }

    /// What [`Capture::set_view`] gave.
    pub fn view(&self) -> Option<BorrowedFd<'_>> {
        self.view.as_ref().map(AsFd::as_fd)
    }

    /// Whether the kernel gave too few watches (`fs.inotify.max_user_watches`): then call [`Capture::rescan`] from
    /// time to time, a few times a second while the run is busy.
    pub fn needs_rescans(&self) -> bool {
        self.watch.exhausted
    }

    /// Reads the kernel's notices and captures the bases of what is new.
    ///
    /// # Errors
    /// [`WorkspaceError::Watch`], [`WorkspaceError::Io`] where the store cannot be written. What only concerns one
    /// path is a problem in the answer, not an error.
    pub fn on_readable(&mut self) -> Result<Captured, WorkspaceError> {
        let notices = self.watch.read()?;
        let mut changed = Vec::new();
        self.clock.check(&mut self.store)?;
        let mut round = Round::default();
        for notice in notices.list {
            if notice.appears {
                self.appear(&notice.path, &mut round)?;
                if notice.directory {
                    self.scan(notice.path.clone(), Depth::New, &mut changed)?;
                }
            }
            changed.push(Bytes(notice.path));
        }
        if notices.overflow {
            self.scan(Vec::new(), Depth::Whole, &mut changed)?;
        }
        Ok(self.answer(changed))
    }

    /// Walks the whole layer and captures the bases of what is new in it; answers all its paths.
    ///
    /// # Errors
    /// As [`Capture::on_readable`].
    pub fn rescan(&mut self) -> Result<Captured, WorkspaceError> {
        let mut changed = Vec::new();
        self.clock.check(&mut self.store)?;
        self.scan(Vec::new(), Depth::Whole, &mut changed)?;
        Ok(self.answer(changed))
    }

    fn answer(&mut self, mut changed: Vec<Bytes>) -> Captured {
        changed.sort_unstable();
        changed.dedup();
        Captured {
            changed,
            problems: std::mem::take(&mut self.problems),
            bases: std::mem::take(&mut self.bases),
            started: self.clock.started,
        }
    }

    /// Reconciles with a last scan, once nothing inside runs any more, and seals the index: from then on a path of
    /// the layer without a line in it had no base. It is not sealed where some path could not be looked at.
    ///
    /// Dropping the capture afterwards may take tens of milliseconds: the kernel waits for every user of the inotify
    /// instance (`fsnotify_destroy_group`). Nobody needs to wait for that.
    ///
    /// # Errors
    /// As [`Capture::on_readable`].
    pub fn finish(&mut self) -> Result<Captured, WorkspaceError> {
        let captured = self.rescan()?;
        // A layer that is empty needs no seal, and most runs leave it empty.
        if !self.gaps && !captured.changed.is_empty() {
            self.store.complete()?;
        }
        Ok(captured)
    }

    /// Waits until the index of bases is on the medium.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn sync(&self) -> Result<(), WorkspaceError> {
        self.store.sync()
    }

    /// Watches a directory of the layer and what is below it, and looks at what is already there. The watch
    /// comes before the listing, so that nothing falls between.
    fn scan(&mut self, top: Vec<u8>, depth: Depth, changed: &mut Vec<Bytes>) -> Result<(), WorkspaceError> {
        let mut stack = vec![top];
        while let Some(directory) = stack.pop() {
            let opened = match beneath::open_directory(self.upper.as_fd(), &directory) {
                Ok(fd) => fd,
                Err(errno) if beneath::is_absent(errno) => continue,
                Err(errno) => {
                    self.problem(&directory, "list", errno);
                    continue;
                }
            };
            if self.watch.add(opened.as_fd(), &directory)? && depth == Depth::New {
                continue;
            }
            let mut round = Round::default();
            let listing =
                rustix::fs::Dir::new(opened).map_err(WorkspaceError::io("list", Layer::Upper, directory.as_slice()))?;
            for found in listing {
                let found = match found {
                    Ok(found) => found,
                    Err(errno) => {
                        self.problem(&directory, "list", errno);
                        break;
                    }
                };
                let name = found.file_name().to_bytes();
                if name == b"." || name == b".." {
                    continue;
                }
                let path = beneath::join(&directory, name);
                self.appear(&path, &mut round)?;
                changed.push(Bytes(path.clone()));
                // Opening it as a directory tells where the listing does not.
                if matches!(found.file_type(), rustix::fs::FileType::Directory | rustix::fs::FileType::Unknown) {
                    stack.push(path);
                }
            }
        }
        Ok(())
    }

    /// Looks at a path of the layer for the first time.
    fn appear(&mut self, path: &[u8], round: &mut Round) -> Result<(), WorkspaceError> {
        if !self.seen.insert(self.hasher.hash_one(path)) {
            return Ok(());
        }
        let (directory, name) = beneath::split(path);
        let found = match round.parent(self.root.as_fd(), directory) {
            Ok(Some(parent)) => entry::stat_at(parent, name),
            Ok(None) => return Ok(()),
            Err(errno) => Err(errno),
        };
        match found {
            Ok(lower) => self.record(path, &lower.entry),
            Err(errno) if beneath::is_absent(errno) => Ok(()),
            Err(errno) => {
                self.problem(path, "look at the base of", errno);
                Ok(())
            }
        }
    }

    fn record(&mut self, path: &[u8], lower: &RealEntry) -> Result<(), WorkspaceError> {
        let Some((upper, origin)) = self.upper_entry(path) else {
            // It is gone again; its next appearance is its first.
            self.seen.remove(&self.hasher.hash_one(path));
            return Ok(());
        };
        match lower.kind {
            FileKind::File => self.record_file(path, &upper, origin, lower),
            FileKind::Symlink => {
                let Some((lower, text)) = link(self.root.as_fd(), path) else {
                    return self.keep(Record::new(path, lower, Certainty::Unknown));
                };
                let mut record = Record::new(path, &lower, self.judge(path, &lower, &upper, origin));
                record.text = Some(text);
                self.keep(record)
            }
            _ => self.keep(Record::new(path, lower, self.judge(path, lower, &upper, origin))),
        }
    }

    fn record_file(
        &mut self,
        path: &[u8],
        upper: &UpperEntry,
        origin: bool,
        lower: &RealEntry,
    ) -> Result<(), WorkspaceError> {
        let opened = beneath::open_read(self.root.as_fd(), path);
        let (file, before) = match opened.and_then(|file| entry::stat_fd(&file).map(|found| (file, found.entry))) {
            Ok((file, found)) if found.kind == FileKind::File => (file, found),
            Ok(_) => return self.keep(Record::new(path, lower, Certainty::Unknown)),
            Err(errno) => {
                if !beneath::is_absent(errno) {
                    self.problem(path, "read the base of", errno);
                }
                return self.keep(Record::new(path, lower, Certainty::Unknown));
            }
        };
        let mut record = Record::new(path, &before, self.judge(path, &before, upper, origin));
        let wanted = record.state != Certainty::Unknown && !self.ignored.by_real_tree(self.root.as_fd(), path);
        if wanted {
            record.data = match self.store.copy(file.as_fd(), before.size, COPY_LIMIT) {
                Ok(number) => number,
                Err(error) => {
                    self.problems.push(Problem { path: path.into(), what: error.to_string() });
                    None
                }
            };
        }
        // The copy is the base only if nobody wrote meanwhile.
        let after = entry::stat_fd(&file).map(|found| found.entry.ctime);
        if after != Ok(before.ctime) {
            if let Some(number) = record.data.take() {
                self.store.drop_copy(number)?;
            }
            record.state = Certainty::Unknown;
        }
        self.keep(record)
    }

    fn keep(&mut self, record: Record) -> Result<(), WorkspaceError> {
        self.bases.push(record.clone());
        self.store.base(record)
    }

    fn judge(&self, path: &[u8], lower: &RealEntry, upper: &UpperEntry, origin: bool) -> Certainty {
        let scene = Scene {
            root: self.root.as_fd(),
            view: self.view(),
            started: self.clock.started,
            stepped: self.clock.stepped,
        };
        scene.judge(path, lower, upper, origin)
    }

    fn upper_entry(&self, path: &[u8]) -> Option<(UpperEntry, bool)> {
        let fd = beneath::open_path(self.upper.as_fd(), path).ok()?;
        let found = entry::stat_fd(&fd).ok()?;
        let origin = found.entry.kind == FileKind::File && has_origin(fd.as_fd());
        Some((found, origin))
    }

    fn problem(&mut self, path: &[u8], action: &str, errno: Errno) {
        self.gaps = true;
        self.problems.push(Problem { path: path.into(), what: format!("cannot {action} it: {errno}") });
    }
}

impl AsFd for Capture {
    /// The inotify descriptor: readable when [`Capture::on_readable`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.fd()
    }
}

/// A link of the real tree and its text, both of the same inode.
fn link(root: BorrowedFd<'_>, path: &[u8]) -> Option<(RealEntry, Bytes)> {
    let fd = beneath::open_path(root, path).ok()?;
    let lower = entry::stat_fd(&fd).ok()?.entry;
    let text = rustix::fs::readlinkat(&fd, c"", Vec::new()).ok()?;
    (lower.kind == FileKind::Symlink).then(|| (lower, Bytes(text.into_bytes())))
}

/// The real tree's directory that was needed last, held for the length of one round of notices: a build that makes
/// thousands of files in one directory opens it once.
#[derive(Default)]
struct Round {
    path: Option<Vec<u8>>,
    fd: Option<OwnedFd>,
}

impl Round {
    /// `None` where the real tree has no such directory: then nothing in it has a base.
    fn parent(&mut self, root: BorrowedFd<'_>, directory: &[u8]) -> Result<Option<BorrowedFd<'_>>, Errno> {
        if self.path.as_deref() != Some(directory) {
            self.path = None;
            self.fd = match beneath::open_directory_path(root, directory) {
                Ok(fd) => Some(fd),
                Err(errno) if beneath::is_absent(errno) => None,
                Err(errno) => return Err(errno),
            };
            self.path = Some(directory.to_vec());
        }
        Ok(self.fd.as_ref().map(AsFd::as_fd))
    }
}

/// Notices when the system clock is set back: ctimes of later edits would then look older than they are.
#[derive(Debug)]
struct Clock {
    started: Timestamp,
    stepped: bool,
    /// The least difference seen between the system clock and the monotonic one.
    offset: i64,
}

impl Clock {
    fn new(started: Timestamp) -> Clock {
        Clock { started, stepped: false, offset: offset() }
    }

    fn check(&mut self, store: &mut Store) -> Result<(), WorkspaceError> {
        let back = self.offset - offset();
        if back > CLOCK_JITTER {
            self.offset -= back;
            self.stepped = true;
            // An edit made after the step at the true time t has the ctime t - back: only what is older than the
            // start less the step is surely older than the start.
            self.started = Timestamp(self.started.0.saturating_sub(back));
            store.restart(self.started)?;
        }
        Ok(())
    }
}

/// System time less monotonic time, in nanoseconds.
fn offset() -> i64 {
    let nanoseconds = |clock| {
        let now = rustix::time::clock_gettime(clock);
        Timestamp::from_parts(now.tv_sec, now.tv_nsec).0
    };
    nanoseconds(ClockId::Realtime).saturating_sub(nanoseconds(ClockId::Monotonic))
}
