//! What ran inside: a `process.exec` for each exec, and a `process.exit` for each end of a process that executed something.
//!
//! A process is its pidfd: its number may be given to another as soon as it has been reaped.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cofferdam_core::Bytes;
use cofferdam_core::event::{
    BlobRef, Counted, EventKind, Executable, ExitSource, Link, ProcessExec, ProcessExit, ProcessImage, Statement,
};
use cofferdam_enclosure::{Executed, Seen};
use cofferdam_sys::pidfd;
use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::fs::{fstat, fstatfs};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use super::completeness::{Census, Remembered};
use super::images::{Found, Images};
use super::names::{Ledger, Names, difference};
use super::record::{RecordError, Recorder};
use super::resident;

/// `PID_FS_MAGIC` of linux/magic.h.
const PIDFS: rustix::fs::FsWord = 0x5049_4446;
/// Arguments up to this many bytes stand in the event; more go into a blob.
const INLINE: usize = 64 << 10;
/// Between two looks at what nothing announces: memory, news of the connector, the dead that nobody has reaped.
const TICK: Duration = Duration::from_millis(100);
/// The same while the machine starts many processes, or ours execute much.
const BUSY: Duration = Duration::from_millis(20);
/// News in one look from which on the machine counts as busy, execs after which one is due.
const MANY: usize = 100;
/// Ticks between two samples of memory.
const SAMPLE: u32 = 3;
/// How far up the parents of a process are followed.
const GENERATIONS: u32 = 64;
/// How long large programs that are still being read are waited for at the end.
const LAST_IMAGES: Duration = Duration::from_secs(2);

/// What `evidence.gap` says of [`Seen::Refused`].
const REFUSED: &str = "execs refused with EACCES, because the program of their process cannot be read";

/// Everything that executed inside.
pub(super) struct Processes {
    known: BTreeMap<u32, Process>,
    /// The last execs of ended processes, for their orphans.
    ended: Remembered<u64>,
    ends: OwnedFd,
    generation: u32,
    init: u32,
    /// The event that led to the command.
    origin: u64,
    /// The environment that the command starts with.
    start: Option<Rc<Names>>,
    ledger: Ledger,
    images: Images,
    census: Census,
    samples: resident::Samples,
    ticked: Instant,
    ticks: u32,
    busy: bool,
    since_read: usize,
    /// Who has ended, by what was said to epoll, and whether it has been reaped.
    heard: Vec<(u64, bool)>,
    /// Everything inside is being killed.
    over: bool,
    totals: Totals,
}

/// An exec on record.
pub(super) struct Recorded {
    pub(super) pid: u32,
    /// Its `process.exec`.
    pub(super) seq: u64,
    /// The event that led to it.
    pub(super) cause: u64,
}

/// A process that has executed something.
struct Process {
    generation: u32,
    /// Its last `process.exec`.
    seq: u64,
    pidfd: Option<OwnedFd>,
    begun: Instant,
    names: Option<Rc<Names>>,
    /// Largest resident set seen, in KiB.
    memory: Option<u64>,
    /// When it ended, where it has not been reaped since.
    ended: Option<Instant>,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) execs: u64,
    pub(super) exits: u64,
    /// Processes that executed something.
    pub(super) processes: u64,
    /// Processes that were killed while it was not known whether their exec had happened.
    unknown: u64,
    /// Execs that were refused because the caller had closed its memory.
    refused: u64,
    /// Environments whose names could not be held or read whole.
    names: u64,
    /// Largest sum of resident memory seen, in KiB.
    pub(super) memory: Option<u64>,
}

impl Processes {
    /// Before init has children. `environment` are the names of the variables that the command starts with.
    pub(super) fn new(init: u32, environment: &[Bytes], kept: PathBuf) -> Result<Processes, RecordError> {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).map_err(|e| RecordError::Processes(e.into()))?;
        let ledger = Ledger::default();
        let mut names = environment.to_vec();
        names.sort_unstable();
        names.dedup();
        Ok(Processes {
            known: BTreeMap::new(),
            ended: Remembered::default(),
            ends: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| RecordError::Processes(e.into()))?,
            generation: 0,
            init,
            origin: 0,
            start: ledger.keep(names, None),
            ledger,
            images: Images::new(kept),
            census: Census::begin(init).map_err(RecordError::Processes)?,
            samples: resident::Samples::default(),
            ticked: Instant::now(),
            ticks: 0,
            busy: false,
            since_read: 0,
            heard: Vec::new(),
            over: false,
            totals: Totals::default(),
        })
    }

    /// The event that leads to the command is known.
    pub(super) fn begin_at(&mut self, origin: u64) {
        self.origin = origin;
    }

    /// The last `process.exec` of each process that runs, the latest first.
    pub(super) fn running(&self) -> Vec<u64> {
        let mut running: Vec<u64> = self.known.values().filter(|p| p.ended.is_none()).map(|p| p.seq).collect();
        running.sort_unstable_by(|a, b| b.cmp(a));
        running
    }

    /// Records what came of an exec; its event where there was one.
    pub(super) fn seen(&mut self, seen: Seen, recorder: &mut Recorder) -> Result<Option<Recorded>, RecordError> {
        match seen {
            Seen::Executed(executed) => self.executed(executed, false, recorder).map(Some),
            Seen::Unknown(executed) => match self.census.has_executed(number(executed.pid)) {
                Ok(Some(true)) => self.executed(executed, true, recorder).map(Some),
                Ok(Some(false)) => Ok(None),
                Ok(None) => {
                    self.totals.unknown += 1;
                    Ok(None)
                }
                Err(e) => Err(RecordError::Processes(e)),
            },
            Seen::Refused(_) => {
                self.totals.refused += 1;
                if self.totals.refused == 1 {
                    gap(recorder, REFUSED, 1)?;
                }
                Ok(None)
            }
        }
    }

    fn executed(&mut self, executed: Executed, ended: bool, recorder: &mut Recorder) -> Result<Recorded, RecordError> {
        let begun = Instant::now();
        let Executed {
            pid,
            pidfd,
            parent,
            arguments,
            unconfirmed,
            given,
            mut path,
            file,
            cwd,
            variables,
            variables_cut,
            streams,
        } = executed;
        let pid = number(pid);
        let known = self.known.get(&pid).and_then(|p| p.pidfd.as_ref());
        if known.is_some_and(|known| is_another(known, pidfd.as_ref(), ended)) {
            self.end(pid, None, recorder)?; // another process of the same number
        }
        let (cause, link, base) = self.cause(pid, parent)?;
        let environment = match (&base, &variables) {
            (Some(base), Some(now)) => difference(base, now),
            _ => None,
        };
        self.totals.names += u64::from(variables_cut);
        let found = match file {
            Some(file) => self.images.find(file).map_err(RecordError::Processes)?,
            None => Found::Nothing,
        };
        let given = given.filter(|given| *given != path);
        if path.0.is_empty() {
            path = given.clone().unwrap_or_default();
        }
        let digest = if let Found::Digest(digest) = &found { Some(*digest) } else { None };
        let executable = Executable { path, digest };
        let (argv, arguments) = split(&arguments, recorder)?;
        let data = ProcessExec {
            pid,
            parent,
            argv,
            unconfirmed,
            arguments,
            executable: executable.clone(),
            given,
            cwd,
            environment,
            streams,
        };
        let seq = recorder.append(Some((cause, link)), EventKind::ProcessExec(data))?;
        self.totals.execs += 1;
        self.census.recorded(pid);
        if let Found::Later(ticket) = found {
            self.images.awaited(ticket, seq, executable);
        }
        let names = variables.and_then(|names| {
            let kept = self.ledger.keep(names, base.as_ref());
            self.totals.names += u64::from(kept.is_none());
            kept
        });
        self.know(pid, pidfd, seq, begun, names)?;
        self.since_read += 1;
        if self.since_read >= MANY {
            self.read_news()?;
        }
        Ok(Recorded { pid, seq, cause })
    }

    fn know(
        &mut self,
        pid: u32,
        pidfd: Option<OwnedFd>,
        seq: u64,
        begun: Instant,
        names: Option<Rc<Names>>,
    ) -> Result<(), RecordError> {
        if let Some(process) = self.known.get_mut(&pid) {
            (process.seq, process.begun, process.names) = (seq, begun, names);
            return Ok(());
        }
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        if let Some(fd) = &pidfd {
            let data = epoll::EventData::new_u64(u64::from(generation) << 32 | u64::from(pid));
            epoll::add(&self.ends, fd, data, epoll::EventFlags::IN).map_err(|e| RecordError::Processes(e.into()))?;
        }
        self.totals.processes += 1;
        let process = Process { generation, seq, pidfd, begun, names, memory: None, ended: None };
        self.known.insert(pid, process);
        Ok(())
    }

    /// What led to an exec: the process's own last one, or that of its nearest ancestor that has one.
    fn cause(&mut self, pid: u32, parent: u32) -> Result<(u64, Link, Option<Rc<Names>>), RecordError> {
        if let Some(process) = self.known.get(&pid) {
            return Ok((process.seq, Link::Process, process.names.clone()));
        }
        let mut ancestor = parent;
        for _ in 0..GENERATIONS {
            if ancestor == 0 || ancestor == self.init {
                break;
            }
            if let Some(process) = self.known.get(&ancestor) {
                return Ok((process.seq, Link::Parent, process.names.clone()));
            }
            ancestor = resident::parent(ancestor).unwrap_or(0);
        }
        if self.totals.execs > 0 {
            // Its parent is gone, and init has it: who bore it is news of the connector.
            self.census.read().map_err(RecordError::Processes)?;
            let mut ancestor = self.census.parent(pid);
            for _ in 0..GENERATIONS {
                let Some(of) = ancestor.filter(|of| *of != self.init) else { break };
                if let Some(process) = self.known.get(&of) {
                    return Ok((process.seq, Link::Parent, process.names.clone()));
                }
                if let Some(seq) = self.ended.get(of) {
                    return Ok((*seq, Link::Parent, None));
                }
                ancestor = self.census.parent(of);
            }
        }
        Ok((self.origin, Link::Parent, self.start.clone()))
    }

    /// What to poll for; [`Processes::hear`] takes what came of it, in the same order.
    pub(super) fn interests(&self) -> Vec<PollFd<'_>> {
        let fds = [Some(self.ends.as_fd()), self.images.readable()];
        fds.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect()
    }

    /// When a turn is due although nothing happens.
    pub(super) fn due(&self) -> Duration {
        let every = if self.busy { BUSY } else { TICK };
        every.saturating_sub(self.ticked.elapsed())
    }

    /// Takes note of who has ended; whether anybody has. Init says that the run is over before it ends everything: who hears
    /// it out before [`Processes::turn`] knows who ended by that.
    pub(super) fn hear(&mut self, ready: &[PollFlags]) -> Result<bool, RecordError> {
        if ready.first().is_some_and(|flags| !flags.is_empty()) {
            self.hear_ends()?;
        }
        Ok(!self.heard.is_empty())
    }

    /// Does what is to be done now; the processes that have ended, with their last `process.exec`.
    pub(super) fn turn(&mut self, recorder: &mut Recorder) -> Result<Vec<(u32, u64)>, RecordError> {
        let mut gone = Vec::new();
        self.record_ends(recorder, &mut gone)?;
        self.images_read(recorder)?;
        if self.due().is_zero() {
            self.tick(recorder, &mut gone)?;
        }
        Ok(gone)
    }

    fn images_read(&mut self, recorder: &mut Recorder) -> Result<(), RecordError> {
        while let Some(image) = self.images.read() {
            image_read(image, recorder)?;
        }
        Ok(())
    }

    fn tick(&mut self, recorder: &mut Recorder, gone: &mut Vec<(u32, u64)>) -> Result<(), RecordError> {
        self.ticked = Instant::now();
        self.ticks = self.ticks.wrapping_add(1);
        self.read_news()?;
        if self.ticks.is_multiple_of(SAMPLE) {
            self.sample();
        }
        // Those that ended and were reaped without another word: kernels before 6.15, and processes without a pidfd.
        let waiting = self.known.iter().filter(|(_, p)| p.ended.is_some() || p.pidfd.is_none());
        let waiting: Vec<u32> = waiting.map(|(pid, _)| *pid).collect();
        for pid in waiting {
            self.try_end(pid, resident::is_gone(pid), recorder, gone)?;
        }
        Ok(())
    }

    fn read_news(&mut self) -> Result<(), RecordError> {
        let pieces = self.census.read().map_err(RecordError::Processes)?;
        self.busy = pieces >= MANY || self.since_read >= MANY;
        self.since_read = 0;
        Ok(())
    }

    fn sample(&mut self) {
        let living = self.known.iter_mut().filter(|(_, p)| p.ended.is_none() && p.pidfd.is_some());
        self.samples.take(living.map(|(pid, p)| (*pid, p.begun, &mut p.memory)));
        self.totals.memory = self.totals.memory.max(self.samples.sum());
    }

    fn hear_ends(&mut self) -> Result<(), RecordError> {
        let mut events: [epoll::Event; 64] = std::array::from_fn(|_| epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        });
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.ends, &mut events[..], Some(&now)) {
            Ok(got) => {
                self.heard.extend(events[..got].iter().map(|event| {
                    let (flags, data) = (event.flags, event.data); // the structure is packed
                    (data.u64(), flags.contains(epoll::EventFlags::HUP))
                }));
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(RecordError::Processes(e.into())),
        }
    }

    fn record_ends(&mut self, recorder: &mut Recorder, gone: &mut Vec<(u32, u64)>) -> Result<(), RecordError> {
        for (data, reaped) in std::mem::take(&mut self.heard) {
            let (pid, generation) = (data as u32, (data >> 32) as u32);
            if self.known.get(&pid).is_some_and(|p| p.generation == generation) {
                self.try_end(pid, reaped, recorder, gone)?;
            }
        }
        Ok(())
    }

    /// A process has ended, or may have. What its status was is known of the kernel once it is `reaped`.
    fn try_end(
        &mut self,
        pid: u32,
        reaped: bool,
        recorder: &mut Recorder,
        gone: &mut Vec<(u32, u64)>,
    ) -> Result<(), RecordError> {
        let Some(process) = self.known.get_mut(&pid) else { return Ok(()) };
        let status = match &process.pidfd {
            Some(fd) => pidfd::exit_status(fd.as_fd()).map_err(RecordError::Processes)?,
            None => None,
        };
        if status.is_some() || reaped {
            gone.push((pid, process.seq));
            self.end(pid, status.map(|s| (s, ExitSource::Pidfd)), recorder)?;
        } else if let Some(fd) = &process.pidfd
            && process.ended.is_none()
        {
            process.ended = Some(Instant::now());
            // Ready as long as it is not reaped, which only its parent can change: from here on only HUP is of interest.
            let data = epoll::EventData::new_u64(u64::from(process.generation) << 32 | u64::from(pid));
            epoll::modify(&self.ends, fd, data, epoll::EventFlags::empty())
                .map_err(|e| RecordError::Processes(e.into()))?;
        }
        Ok(())
    }

    fn end(&mut self, pid: u32, known: Option<(i32, ExitSource)>, recorder: &mut Recorder) -> Result<(), RecordError> {
        let known = match known {
            Some(known) => Some(known),
            None => {
                self.census.read().map_err(RecordError::Processes)?;
                self.census.status(pid).map(|status| (status, ExitSource::Connector))
            }
        };
        let killed = |status: i32| outcome(status).1 == Some(Signal::KILL.as_raw());
        let known = match known {
            Some((status, _)) if self.over && killed(status) => Some((status, ExitSource::RunEnd)),
            other => other,
        };
        let Some(process) = self.known.remove(&pid) else { return Ok(()) };
        self.samples.forget(pid);
        self.ended.insert(pid, process.seq);
        let end = process.ended.unwrap_or_else(Instant::now);
        let (code, signal) = known.map_or((None, None), |(status, _)| outcome(status));
        let data = ProcessExit {
            pid,
            code,
            signal,
            microseconds: u64::try_from(end.saturating_duration_since(process.begun).as_micros()).unwrap_or(u64::MAX),
            memory: process.memory,
            source: known.map_or(ExitSource::Unknown, |(_, source)| source),
        };
        recorder.append(Some((process.seq, Link::Process)), EventKind::ProcessExit(data))?;
        self.totals.exits += 1;
        Ok(())
    }

    /// From now on everything inside is killed: who ends by that, ends with the run.
    pub(super) fn close(&mut self) {
        self.over = true;
    }

    /// Everything inside is gone: records the ends that are not recorded yet, and states what was counted. The second
    /// result is whom [`Processes::turn`] has not named.
    pub(super) fn finish(
        &mut self,
        recorder: &mut Recorder,
        statement: &mut Statement,
    ) -> Result<(Totals, Vec<(u32, u64)>), RecordError> {
        let mut gone = Vec::new();
        self.record_ends(recorder, &mut gone)?;
        self.images_read(recorder)?;
        self.census.read().map_err(RecordError::Processes)?;
        for (pid, seq) in self.known.iter().map(|(pid, process)| (*pid, process.seq)).collect::<Vec<_>>() {
            let status = match self.known.get(&pid).and_then(|p| p.pidfd.as_ref()) {
                Some(fd) => pidfd::exit_status(fd.as_fd()).map_err(RecordError::Processes)?,
                None => None,
            };
            let known = status.map(|s| (s, ExitSource::Pidfd));
            let known = known.or_else(|| self.census.status(pid).map(|s| (s, ExitSource::Connector)));
            self.end(pid, Some(known.unwrap_or((Signal::KILL.as_raw(), ExitSource::RunEnd))), recorder)?;
            gone.push((pid, seq));
        }
        let deadline = Instant::now() + LAST_IMAGES;
        while let Some(image) = self.images.await_next(deadline) {
            image_read(image, recorder)?;
        }
        let Totals { execs, exits, processes, unknown, refused, names, .. } = self.totals;
        gap(recorder, "digests of executed programs that could not be read in time", self.images.dropped())?;
        gap(recorder, "names of environments that were too many", names)?;
        gap(recorder, "processes killed in an exec of which it is not known whether it happened", unknown)?;
        // The first was told when it happened.
        gap(recorder, REFUSED, refused.saturating_sub(1))?;
        self.census.state(execs, unknown, statement);
        statement.exits = Counted { recorded: exits, counted: Some(processes), unexplained: exits.abs_diff(processes) };
        Ok((self.totals, gone))
    }

    /// Keeps for the next run what was learnt of programs.
    pub(super) fn keep(&mut self) {
        // What cannot be kept is read again.
        let _ = self.images.keep();
    }
}

fn gap(recorder: &mut Recorder, what: &str, count: u64) -> Result<(), RecordError> {
    if count > 0 {
        recorder.append(None, EventKind::EvidenceGap { what: what.to_owned(), count })?;
    }
    Ok(())
}

fn image_read(image: super::images::Image, recorder: &mut Recorder) -> Result<(), RecordError> {
    for (seq, executable) in image.execs.into_iter().filter(|(_, e)| e.digest.is_some()) {
        let data = ProcessImage { executable, size: image.size };
        recorder.append(Some((seq, Link::Process)), EventKind::ProcessImage(data))?;
    }
    Ok(())
}

/// Code and signal of a status as `waitpid(2)` gives it.
fn outcome(status: i32) -> (Option<i32>, Option<i32>) {
    match status & 0x7f {
        0 => (Some(status >> 8 & 0xff), None),
        signal => (None, Some(signal)),
    }
}

fn number(pid: rustix::process::Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

/// Whether a process that has executed is another one than that which is known by its number.
fn is_another(known: &OwnedFd, executed: Option<&OwnedFd>, ended: bool) -> bool {
    // From Linux 6.9 on each process has an inode of its own for its descriptors.
    let inode = |fd: &OwnedFd| {
        let is_own = fstatfs(fd).is_ok_and(|fs| fs.f_type == PIDFS);
        if is_own { fstat(fd).ok().map(|stat| stat.st_ino) } else { None }
    };
    match (inode(known), executed.and_then(inode)) {
        (Some(known), Some(executed)) => known != executed,
        // Of one that had ended when its exec was told, the end has not been told yet: it is the one that is known.
        _ => !ended && has_ended(known),
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// NUL-terminated arguments as they stand in the event, and all of them as a blob where that is not the whole.
fn split(all: &[u8], recorder: &Recorder) -> Result<(Vec<Bytes>, Option<BlobRef>), RecordError> {
    let argv = first(all);
    let whole = argv.iter().map(|a| a.0.len() + 1).sum::<usize>() >= all.len();
    let blob = if whole { None } else { Some(recorder.blobs().put(all)?) };
    Ok((argv, blob))
}

/// The arguments in the first [`INLINE`] bytes, the last one cut where it goes beyond.
fn first(all: &[u8]) -> Vec<Bytes> {
    if all.is_empty() {
        return Vec::new();
    }
    let head = &all[..all.len().min(INLINE)];
    let head = head.strip_suffix(&[0]).unwrap_or(head);
    head.split(|b| *b == 0).map(Bytes::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_as_they_were_given() {
        assert_eq!(first(b""), Vec::<Bytes>::new());
        assert_eq!(first(b"sh\0\0a\xff b\0"), [Bytes::from("sh"), "".into(), b"a\xff b".as_slice().into()]);
        assert_eq!(first(b"\0"), [Bytes::from("")]);
        let long = first(&[b'x'; INLINE + 10]);
        assert_eq!((long.len(), long[0].0.len()), (1, INLINE));
    }

    #[test]
    fn a_process_is_told_from_another_even_when_it_has_ended() {
        let open = |pid: u32| {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
        };
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let (first, second, own) = (open(child.id()), open(child.id()), open(std::process::id()));
        assert!(!is_another(&first, Some(&second), true));
        child.wait().unwrap();
        assert!(!is_another(&first, Some(&second), true));
        assert!(is_another(&first, Some(&own), false));
        assert!(is_another(&first, None, false) && !is_another(&own, None, false));
    }

    #[test]
    fn a_status_is_a_code_or_a_signal() {
        assert_eq!(outcome(0x0300), (Some(3), None));
        assert_eq!(outcome(0), (Some(0), None));
        assert_eq!(outcome(9), (None, Some(9)));
        assert_eq!(outcome(0x80 | 11), (None, Some(11)), "with a core dump");
    }
}
