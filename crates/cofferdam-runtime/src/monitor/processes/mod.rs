//! What ran inside: a `process.exec` for each exec, and a `process.exit` for each end of a process that executed something.
//!
//! A process is its pidfd: its number may be given to another as soon as it has been reaped.

pub(super) mod agent;
mod arguments;
mod causes;
mod ends;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cofferdam_core::Bytes;
use cofferdam_core::event::{EventKind, Executable, ProcessExec, StreamKind};
use cofferdam_enclosure::{Executed, Seen};
use cofferdam_sys::pidfd;
use rustix::event::{PollFd, PollFlags, epoll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::completeness::{Census, Remembered};
use super::images::{Found, Images};
use super::names::{Ledger, Names, difference};
use super::record::{RecordError, Recorder};
use super::resident;
use agent::Sought;
use arguments::split;
use ends::{gap, image_read, is_another};

/// Between two looks at what nothing announces: memory, news of the connector, the dead that nobody has reaped.
const TICK: Duration = Duration::from_millis(100);
/// The same while the machine starts many processes, or ours execute much.
const BUSY: Duration = Duration::from_millis(20);
/// News in one look from which on the machine counts as busy, execs after which one is due.
const MANY: usize = 100;
/// Ticks between two samples of memory.
const SAMPLE: u32 = 3;
/// Programs of another architecture that are named to the person.
const FOREIGN: usize = 3;

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
    /// The known agent, until it is on record.
    agent: Option<Sought>,
    census: Census,
    samples: resident::Samples,
    ticked: Instant,
    ticks: u32,
    busy: bool,
    since_read: usize,
    /// Who has ended, by what was said to epoll, and whether it has been reaped.
    heard: Vec<(u64, bool)>,
    /// Programs of another architecture, which the filter ends.
    foreign: Vec<Bytes>,
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
    /// It prints to the terminal.
    pub(super) terminal: bool,
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
    /// `environment` are the names of the variables that the command starts with; `kept` holds digests of other runs.
    pub(super) fn new(
        init: u32,
        census: Census,
        environment: &[Bytes],
        kept: PathBuf,
    ) -> Result<Processes, RecordError> {
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
            agent: None,
            census,
            samples: resident::Samples::default(),
            ticked: Instant::now(),
            ticks: 0,
            busy: false,
            since_read: 0,
            heard: Vec::new(),
            over: false,
            foreign: Vec::new(),
            totals: Totals::default(),
        })
    }

    /// The event that leads to the command is known, and which known agent that is.
    pub(super) fn begin_at(&mut self, origin: u64, agent: Option<Sought>) {
        self.origin = origin;
        self.agent = agent;
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
            foreign,
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
        if foreign && self.foreign.len() < FOREIGN && !self.foreign.contains(&path) {
            self.foreign.push(path.clone());
        }
        let executable = Executable { path, digest };
        let (argv, arguments) = split(&arguments, recorder)?;
        let terminal = streams[1..].contains(&StreamKind::Terminal);
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
        agent::look(&mut self.agent, &mut self.images, recorder)?;
        self.since_read += 1;
        if self.since_read >= MANY {
            self.read_news()?;
        }
        Ok(Recorded { pid, seq, cause, terminal })
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
            agent::came(&mut self.agent, &image, recorder)?;
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

    /// Whether a process has ended, heard of or not.
    pub(super) fn has_ended(&self, pid: u32) -> bool {
        let Some(process) = self.known.get(&pid) else { return true };
        process.ended.is_some() || process.pidfd.as_ref().is_some_and(|fd| pidfd::has_ended(fd.as_fd()))
    }

    /// Programs of another architecture that were executed, the first few.
    pub(super) fn foreign(&self) -> &[Bytes] {
        &self.foreign
    }

    /// Keeps for the next run what was learnt of programs.
    pub(super) fn keep(&mut self) {
        // What cannot be kept is read again.
        let _ = self.images.keep();
    }
}

fn number(pid: rustix::process::Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}
