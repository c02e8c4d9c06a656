//! The watch on decoys: inotify(7) on what stands in the view, held by the monitor, where nothing inside sees it.
//!
//! A watch is on the inode: it holds after a rename, and through a hard link. Only opens for content are told (not `O_PATH`),
//! and no content is had without one. No watch says who opened: the commands that ran then are named.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use cofferdam_core::Bytes;
use cofferdam_core::event::{EventKind, Link, TripwireOpened};
use cofferdam_core::plan::RunPlan;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use super::files::MOST_COMMANDS;
use super::record::{RecordError, Recorder};
use crate::protocol::Opened;
use crate::tripwires::Decoys;

/// After a look, the next one waits so long, unless something ends: a flood of opens costs no more than this.
const REST: Duration = Duration::from_millis(20);
/// Most notices of the kernel's that are taken in one look, which is more than its queue holds by itself
/// (`fs.inotify.max_queued_events`): who opens without end does not hold the monitor up.
const MOST_READ: usize = 65_536;
/// Most events of one decoy while the run goes on; further opens are counted, and told at the end.
const MOST_EVENTS: u32 = 16;

/// The decoys that are watched.
pub(super) struct Tripwires {
    inotify: OwnedFd,
    watched: Vec<Watched>,
    looked: Option<Instant>,
    /// The kernel's queue ran over: some opens were not counted.
    lost: bool,
}

struct Watched {
    number: i32,
    path: Bytes,
    /// Opens that no event tells yet.
    untold: u64,
    told: u64,
    events: u32,
    /// The commands that were named.
    named: Vec<u64>,
}

impl Watched {
    fn tell(&mut self, recorder: &mut Recorder, commands: &[u64]) -> Result<(), RecordError> {
        let commands = commands[..commands.len().min(MOST_COMMANDS)].to_vec();
        let cause = commands.first().map(|seq| (*seq, Link::Window));
        let count = std::mem::take(&mut self.untold);
        let what = TripwireOpened { path: self.path.clone(), count, commands: commands.clone() };
        recorder.append(cause, EventKind::TripwireOpened(what))?;
        self.told += count;
        self.events += 1;
        self.named = commands;
        Ok(())
    }
}

impl Tripwires {
    /// Watches the decoys, before anything runs inside. `root` is the root of the view.
    pub(super) fn watch(root: &OwnedFd, decoys: &Decoys, plan: &RunPlan) -> io::Result<Option<Tripwires>> {
        if decoys.standing().is_empty() {
            return Ok(None);
        }
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut watched = Vec::new();
        for decoy in decoys.standing() {
            let Some(path) = plan.tripwires.iter().find(|path| path.as_path().ends_with(decoy.path())) else {
                continue;
            };
            let below = path.as_path().strip_prefix("/").unwrap_or(Path::new(""));
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            let file = match openat2(root, below, flags, Mode::empty(), resolve) {
                Ok(file) => file,
                // Something else is mounted there.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => continue,
                Err(e) => return Err(e.into()),
            };
            if !decoy.is(&fstat(&file)?) {
                continue;
            }
            let number = inotify::add_watch(&inotify, format!("/proc/self/fd/{}", file.as_raw_fd()), WatchFlags::OPEN)?;
            watched.push(Watched { number, path: path.clone(), untold: 0, told: 0, events: 0, named: Vec::new() });
        }
        Ok((!watched.is_empty()).then_some(Tripwires { inotify, watched, looked: None, lost: false }))
    }

    /// Says where decoys stand.
    pub(super) fn placed(&self, recorder: &mut Recorder) -> Result<(), RecordError> {
        let paths = self.watched.iter().map(|decoy| decoy.path.clone()).collect();
        recorder.append(None, EventKind::TripwirePlaced { paths }).map(drop)
    }

    /// What to poll for: nothing during a rest.
    pub(super) fn interests(&self) -> Option<PollFd<'_>> {
        self.due().is_none().then(|| PollFd::from_borrowed_fd(self.inotify.as_fd(), PollFlags::IN))
    }

    /// When the next look is due although nothing happens.
    pub(super) fn due(&self) -> Option<Duration> {
        self.looked.map(|looked| REST.saturating_sub(looked.elapsed()))
    }

    /// Looks, and records what was opened. `running` are the `process.exec` of the commands that run or have just ended, the
    /// latest first.
    pub(super) fn turn(
        &mut self,
        recorder: &mut Recorder,
        running: impl FnOnce() -> Vec<u64>,
    ) -> Result<(), RecordError> {
        if !self.read()? {
            self.looked = None;
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let running = running();
        for decoy in self.watched.iter_mut().filter(|decoy| decoy.untold > 0) {
            let is_news = running.iter().take(MOST_COMMANDS).any(|seq| !decoy.named.contains(seq));
            if decoy.events == 0 || is_news && decoy.events < MOST_EVENTS {
                decoy.tell(recorder, &running)?;
            }
        }
        Ok(())
    }

    /// Whether there was anything.
    fn read(&mut self) -> Result<bool, RecordError> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut any = false;
        for _ in 0..MOST_READ {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(any),
                Err(Errno::INTR) => continue,
                Err(e) => return Err(RecordError::Processes(e.into())),
            };
            self.lost |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            if event.events().contains(ReadFlags::OPEN)
                && let Some(decoy) = self.watched.iter_mut().find(|decoy| decoy.number == event.wd())
            {
                decoy.untold += 1;
                any = true;
            }
        }
        Ok(any)
    }

    /// Everything inside is gone: records the rest. `running` are the commands that ran last.
    pub(super) fn finish(&mut self, recorder: &mut Recorder, running: &[u64]) -> Result<Vec<Opened>, RecordError> {
        self.read()?;
        for decoy in self.watched.iter_mut().filter(|decoy| decoy.untold > 0) {
            // Those that were named may have gone on.
            let mut commands = [running, &decoy.named].concat();
            commands.sort_unstable_by(|a, b| b.cmp(a));
            commands.dedup();
            decoy.tell(recorder, &commands)?;
        }
        if self.lost {
            let what = "opens of decoys that the kernel had no room to tell".to_owned();
            recorder.append(None, EventKind::EvidenceGap { what, count: 1 })?;
        }
        let opened = self.watched.iter().filter(|decoy| decoy.told > 0);
        Ok(opened.map(|decoy| Opened { path: decoy.path.clone(), count: decoy.told }).collect())
    }
}
