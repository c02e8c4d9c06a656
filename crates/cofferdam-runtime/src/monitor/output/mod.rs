//! The output of commands.
//!
//! A command that an agent starts through a pipe or a socket pair gets one of the monitor's in its place, while it is
//! held in its exec notice; the monitor hands on what comes, unchanged, and keeps head and tail. Output that goes to a
//! regular file is read from there when the command has ended. What is teed and what not, and which semantics hold:
//! `docs/design/output.md`.

mod attach;
mod error;
mod file;
mod flow;
mod kept;
mod look;
mod tail;
mod tee;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cofferdam_core::event::{CommandOutput, Counted, EventKind, Source, Stream};
use cofferdam_evidence::Striker;
use cofferdam_sys::seccomp::Notification;
use rustix::event::epoll::{self, CreateFlags, Event, EventFlags};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

use super::timespec;
pub use error::OutputError;
use file::{Held, Read};
use flow::CHUNK;
use kept::{Keeper, Kept};
use look::Inode;
use tee::{Flow, Shared, Tee};

/// Most streams that are recorded at a time.
const MOST: u64 = 512;
/// Descriptors of a stream: two ends, two of the tail, the spool of the head.
const DESCRIPTORS: u64 = 5;
/// Descriptors that the rest of the monitor needs.
const OTHERS: u64 = 128;
/// Streams that are served in one turn.
const TURN: usize = 32;
/// How long a reader outside that does not read is waited for at the end of a run.
const PATIENCE: Duration = Duration::from_secs(1);

/// An output that is complete: its event's data, and excerpts for whoever looks for the results of tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The `process.exec` it belongs to: the first command that had the stream. Of a child that executed nothing, its
    /// parent's. `None` where that is not known either.
    pub exec: Option<u64>,
    /// The data of the event.
    pub output: CommandOutput,
    /// Its first bytes, at most 64 KiB.
    pub head: Vec<u8>,
    /// The last of the kept bytes that are not in `head`, at most 64 KiB.
    pub tail: Vec<u8>,
}

/// A stream that was let go of, and is not a blob yet.
struct Ended {
    exec: Option<u64>,
    what: (Stream, Source),
    kept: Kept,
}

/// Why output goes unrecorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    /// More streams at a time than are recorded.
    TooMany,
    /// A socket that something may come in by.
    Conversation,
    /// It could not be looked at or opened.
    Refused,
    /// The file it went to could not be read.
    Unreadable,
    /// Its reader, outside, did not read it within the time given at the end.
    NotHandedOn,
}

impl Gap {
    fn what(self) -> &'static str {
        match self {
            Gap::TooMany => "output streams of commands: more at a time than are recorded",
            Gap::Conversation => "output streams of commands: sockets that are not for output alone",
            Gap::Refused => "output streams of commands: of a kind that is not recorded, or closed to the recorder",
            Gap::Unreadable => "output streams of commands: files that could not be read at their end",
            Gap::NotHandedOn => "output streams of commands: recorded, but not taken by their reader before the end",
        }
    }
}

/// The outputs of a run's commands.
pub struct Outputs {
    shared: Shared,
    tees: HashMap<u64, Tee>,
    next: u64,
    /// What commands write to, by inode: not to be teed again.
    ours: HashMap<Inode, u64>,
    /// Tees of pipes by what they hand on to.
    by_original: HashMap<Inode, u64>,
    files: Vec<Held>,
    /// A pipe without a name: all of them are on one device.
    a_pipe: Inode,
    /// The last `process.exec` of each process that lives.
    execs: HashMap<u32, u64>,
    /// Streams of processes that were left as they are, and are counted.
    left: HashSet<(u32, Inode)>,
    most: usize,
    /// Bytes of streams that are finished: recorded, and handed on or refused.
    done: (u64, u64),
    gaps: BTreeMap<Gap, u64>,
}

impl Outputs {
    /// For the run with this evidence directory. Up to 512 streams at a time, less where `RLIMIT_NOFILE` allows less
    /// (five descriptors a stream). Of what is kept `striker` strikes the secrets; what is handed on is untouched.
    ///
    /// # Errors
    /// [`OutputError`] where the directory or the kernel's means are missing.
    pub fn new(evidence: PathBuf, striker: Striker) -> Result<Outputs, OutputError> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = (limit.saturating_sub(OTHERS) / DESCRIPTORS).min(MOST);
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(OutputError::system("watch the output of commands"))?;
        let keeper = Keeper::open(evidence, striker)?;
        let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .and_then(|(pipe, _)| rustix::fs::fstat(&pipe))
            .map_err(OutputError::system("make a pipe"))?;
        let chunk = vec![0; CHUNK].into_boxed_slice();
        Ok(Outputs {
            shared: Shared { epoll, keeper, chunk, pending: 0, large: 0 },
            tees: HashMap::new(),
            next: 0,
            ours: HashMap::new(),
            by_original: HashMap::new(),
            files: Vec::new(),
            a_pipe: Inode::from(&pipe),
            execs: HashMap::new(),
            left: HashSet::new(),
            most: usize::try_from(most).unwrap_or(usize::MAX),
            done: (0, 0),
            gaps: BTreeMap::new(),
        })
    }

    /// The thread `call.pid` is held in an exec notice, which is not answered yet: puts tees in place of its standard
    /// output and error where they are pipes or sockets made for it, and notes where its output goes in a file.
    ///
    /// # Errors
    /// Those of the recorder. What the caller's streams are is never an error: see [`Outputs::gaps`].
    pub fn at_notice(&mut self, listener: BorrowedFd<'_>, call: &Notification) -> Result<(), OutputError> {
        self.attach(listener, call)
    }

    /// The process `pid` executed something; `seq` is its `process.exec`. Whether a stream of it is recorded as its own.
    pub fn executed(&mut self, pid: u32, seq: u64) -> bool {
        self.execs.insert(pid, seq);
        let owners = self.tees.values_mut().map(|t| &mut t.owner).chain(self.files.iter_mut().map(|f| &mut f.owner));
        let mut any = false;
        for owner in owners.filter(|o| o.pid == pid) {
            any |= *owner.exec.get_or_insert(seq) == seq;
        }
        any
    }

    /// The process `pid` ended: hands on at once what it left in its streams, and reads the files it wrote to.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn exited(&mut self, pid: u32) -> Result<Vec<Finished>, OutputError> {
        self.execs.remove(&pid);
        self.left.retain(|(left, _)| *left != pid);
        let own: Vec<u64> = self.tees.values().filter(|t| t.owner.pid == pid).map(|t| t.id).collect();
        let mut ended = Vec::new();
        for id in own {
            // Another process that takes the number must not get what is this one's.
            if let Some(tee) = self.tees.get_mut(&id) {
                tee.owner.pid = 0;
            }
            self.advance(id, &mut ended, |tee, shared| tee.pump(true, shared))?;
        }
        // What it wrote to streams that it had from its parent.
        self.serve(&mut ended)?;
        let mut finished = self.complete(ended)?;
        // With those of children that are gone and executed nothing: nobody tells of their end.
        let unheard = |held: &Held| held.owner.exec.is_none() && look::parent(held.owner.pid).is_none();
        finished.extend(self.read_files(|held| held.owner.pid == pid || unheard(held))?);
        Ok(finished)
    }

    /// Readable when a turn has something to do.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.epoll.as_fd()
    }

    /// Moves what can be moved, a bounded amount, without waiting.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn turn(&mut self) -> Result<Vec<Finished>, OutputError> {
        let mut ended = Vec::new();
        self.serve(&mut ended)?;
        self.complete(ended)
    }

    /// Everything inside is gone: hands on what is left, waiting up to a second for readers outside, and completes every
    /// output.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn finish(&mut self) -> Result<Vec<Finished>, OutputError> {
        let mut ended = Vec::new();
        let mut until = Instant::now() + PATIENCE;
        while !self.tees.is_empty() {
            let mut ids: Vec<u64> = self.tees.keys().copied().collect();
            ids.sort_unstable();
            for id in ids {
                let before = self.tees.get(&id).map(Tee::accounted);
                self.advance(id, &mut ended, |tee, shared| match tee.pump(true, shared)? {
                    // Nobody is left who could write.
                    Flow::Drained => Ok(Flow::Ended),
                    other => Ok(other),
                })?;
                if self.tees.get(&id).map(Tee::accounted) != before {
                    until = Instant::now() + PATIENCE;
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                for tee in self.tees.values_mut() {
                    tee.abandon(&mut self.shared)?;
                }
                let given_up: Vec<u64> = self.tees.keys().copied().collect();
                for _ in &given_up {
                    self.gap(Gap::NotHandedOn);
                }
                for id in given_up {
                    ended.extend(self.release(id)?);
                }
                break;
            }
            if !self.tees.is_empty() {
                self.wait(Some(left))?;
            }
        }
        let mut finished = self.complete(ended)?;
        finished.extend(self.read_files(|_| true)?);
        Ok(finished)
    }

    /// Bytes that commands wrote to their streams as recorded, beside those handed on or refused by a closed reader.
    /// Files are read, not handed on, and do not count.
    pub fn counted(&self) -> Counted {
        let (mut recorded, mut counted) = self.done;
        for tee in self.tees.values() {
            recorded += tee.kept.bytes();
            counted += tee.accounted() + tee.waiting();
        }
        Counted { recorded, counted: Some(counted), unexplained: recorded.abs_diff(counted) }
    }

    /// The `evidence.gap` events of what went unrecorded since the last call.
    pub fn gaps(&mut self) -> Vec<EventKind> {
        let gaps = std::mem::take(&mut self.gaps);
        gaps.into_iter().map(|(gap, count)| EventKind::EvidenceGap { what: gap.what().to_owned(), count }).collect()
    }

    fn gap(&mut self, gap: Gap) {
        *self.gaps.entry(gap).or_default() += 1;
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<Vec<(u64, EventFlags)>, OutputError> {
        let timeout = timespec(timeout.unwrap_or_default());
        let mut events = [MaybeUninit::<Event>::uninit(); TURN];
        match epoll::wait(&self.shared.epoll, &mut events, Some(&timeout)) {
            Ok((ready, _)) => Ok(ready.iter().map(|e| (e.data.u64(), e.flags)).collect()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(e) => Err(OutputError::system("watch the output of commands")(e)),
        }
    }

    /// One round over the streams that are ready.
    fn serve(&mut self, ended: &mut Vec<Ended>) -> Result<(), OutputError> {
        for (data, flags) in self.wait(None)? {
            let at_out = data & 1 == 1;
            // The writers are gone: to the end at once, for nothing more can come.
            let last = flags.contains(EventFlags::HUP);
            self.advance(
                data >> 1,
                ended,
                |tee, shared| {
                    if at_out { tee.on_out(flags, shared) } else { tee.pump(last, shared) }
                },
            )?;
        }
        Ok(())
    }

    /// Has one stream do something, and lets go of it where that was its end.
    fn advance(
        &mut self,
        id: u64,
        ended: &mut Vec<Ended>,
        work: impl FnOnce(&mut Tee, &mut Shared) -> Result<Flow, OutputError>,
    ) -> Result<(), OutputError> {
        if let Some(tee) = self.tees.get_mut(&id)
            && work(tee, &mut self.shared)? == Flow::Ended
        {
            ended.extend(self.release(id)?);
        }
        Ok(())
    }

    /// Closes both ends, so that reader and writers see the end now. What was kept becomes a blob later, when nobody
    /// waits.
    fn release(&mut self, id: u64) -> Result<Option<Ended>, OutputError> {
        let Some(tee) = self.tees.remove(&id) else { return Ok(None) };
        self.ours.remove(&tee.own);
        if self.by_original.get(&tee.original) == Some(&id) {
            self.by_original.remove(&tee.original);
        }
        self.done.0 += tee.kept.bytes();
        self.done.1 += tee.accounted();
        let (exec, what) = (tee.owner.cause(), (tee.stream, tee.source()));
        Ok(Some(Ended { exec, what, kept: tee.close(&mut self.shared)? }))
    }

    fn complete(&self, ended: Vec<Ended>) -> Result<Vec<Finished>, OutputError> {
        let finish = |e: Ended| e.kept.finish(e.exec, e.what, &self.shared.keeper).transpose();
        ended.into_iter().filter_map(finish).collect()
    }

    fn read_files(&mut self, which: impl Fn(&Held) -> bool) -> Result<Vec<Finished>, OutputError> {
        let mut finished = Vec::new();
        for held in self.files.extract_if(.., |held| which(held)).collect::<Vec<_>>() {
            match held.read(&mut self.shared.chunk, &self.shared.keeper)? {
                Read::Finished(output) => finished.push(output),
                Read::Nothing => {}
                Read::Unreadable => self.gap(Gap::Unreadable),
            }
        }
        Ok(finished)
    }
}
