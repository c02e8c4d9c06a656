//! What runs inside, as evidence: from the notice of an exec to the command's output, its tests, its files and its end.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use cofferdam_core::Bytes;
use cofferdam_core::event::{EventKind, Link, NetDenied, Statement, TestResult};
use cofferdam_enclosure::{Channel, Connects, Enclosure, Execs, Namespaces, Notice, Notices, Renames, Seen};
use cofferdam_evidence::Striker;
use cofferdam_review::testrun;
use rustix::event::{PollFd, PollFlags};

use super::Failure;
use super::completeness::Census;
use super::datagrams::{Counters, Datagrams};
use super::output::{Finished, Outputs};
use super::owners::Owners;
use super::processes::agent::Sought;
use super::processes::{Processes, Recorded, Totals};
use super::record::{RecordError, Recorder};
use super::told::Told;

/// Most commands whose arguments are remembered until their output is complete.
const REMEMBERED: usize = 4096;
/// Bytes of the arguments of a command that are remembered.
const ARGUMENTS: usize = 4096;

/// Everything about the commands of a run.
pub(super) struct Commands {
    execs: Execs,
    connects: Connects,
    owners: Owners,
    datagrams: Datagrams,
    counters: Counters,
    /// Connects of datagram sockets that are to be recorded, each with the `process.exec` of its program.
    refused: Vec<(u64, NetDenied)>,
    processes: Processes,
    /// Once the evidence is open.
    outputs: Option<Outputs>,
    /// Once the boundary stands.
    notices: Option<Notices>,
    /// The arguments of commands whose output is recorded, by their `process.exec`: they tell what printed the tests.
    arguments: BTreeMap<u64, Vec<Bytes>>,
    told: Told,
    tests: Tests,
}

/// What hears of processes: to be had before init has children, and before it is known what the run is.
pub(super) struct ProcessWatch {
    init: u32,
    execs: Execs,
    census: Census,
}

impl ProcessWatch {
    pub(super) fn begin(enclosure: &Namespaces) -> io::Result<ProcessWatch> {
        let init = enclosure.pid().as_raw_nonzero().get().unsigned_abs();
        Ok(ProcessWatch { init, execs: Execs::new()?, census: Census::begin(init)? })
    }

    /// Init's process id on the host.
    pub(super) fn init(&self) -> u32 {
        self.init
    }
}

/// The test runs that were recognised.
#[derive(Debug, Default)]
pub(super) struct Tests {
    pub(super) runs: u64,
    pub(super) last: Option<TestResult>,
}

impl Commands {
    /// `environment` are the names of the variables that the command starts with; `kept` is where digests of programs are
    /// kept from one run to the next.
    pub(super) fn new(watch: ProcessWatch, environment: &[Bytes], kept: &Path) -> Result<Commands, Failure> {
        let ProcessWatch { init, execs, census } = watch;
        Ok(Commands {
            execs,
            connects: Connects::default(),
            owners: Owners::default(),
            datagrams: Datagrams::default(),
            counters: Counters::open(init),
            refused: Vec::new(),
            processes: Processes::new(init, census, environment, kept.to_owned())?,
            outputs: None,
            notices: None,
            arguments: BTreeMap::new(),
            told: Told::default(),
            tests: Tests::default(),
        })
    }

    /// The evidence is open: `origin` is the event that leads to the command, which is a known `agent` or none.
    pub(super) fn record_in(
        &mut self,
        evidence: &Path,
        striker: Striker,
        origin: u64,
        agent: Option<Sought>,
    ) -> Result<(), RecordError> {
        self.processes.begin_at(origin, agent);
        self.outputs = Some(Outputs::new(evidence.to_owned(), striker)?);
        Ok(())
    }

    /// Takes the listener of the boundary's filter.
    pub(super) fn listen(&mut self, listener: OwnedFd) -> io::Result<&Notices> {
        Ok(self.notices.insert(Notices::new(listener)?))
    }

    /// What to poll for; [`Commands::turn`] takes what came of it, in the same order.
    pub(super) fn interests(&self) -> Vec<PollFd<'_>> {
        let listener = self.notices.as_ref().and_then(Notices::listener);
        let outputs = self.outputs.as_ref().map(Outputs::as_fd);
        let own = [Some(self.execs.readable()), listener, outputs].into_iter().flatten();
        let mut fds: Vec<PollFd<'_>> = own.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        fds.extend(self.processes.interests());
        fds
    }

    /// When a turn is due although nothing happens.
    pub(super) fn due(&self) -> Option<Duration> {
        self.execs.due().into_iter().chain([self.processes.due()]).min()
    }

    /// Does what came with `ready`: execs, notices of renames, output, ends. Whether processes have ended whose ends are
    /// recorded by [`Commands::settle_ends`], after what is known by then.
    pub(super) fn turn(
        &mut self,
        ready: &[PollFlags],
        recorder: &mut Recorder,
        renames: Option<&mut Renames>,
        helper: impl Fn() -> io::Result<Channel>,
    ) -> Result<bool, Failure> {
        let Commands {
            execs, connects, owners, datagrams, refused, processes, outputs, notices, arguments, told, ..
        } = self;
        let mut ready = ready.iter().copied();
        let mut next = |there: bool| match there {
            true => ready.next().unwrap_or(PollFlags::empty()),
            false => PollFlags::empty(),
        };
        let changed = next(true);
        let notified = next(notices.as_ref().is_some_and(|n| n.listener().is_some()));
        let flowing = next(outputs.is_some());
        let ends: Vec<PollFlags> = ready.collect();

        // What flows is handed on before anything new starts.
        let finished = match outputs.as_mut().filter(|_| !flowing.is_empty()) {
            Some(outputs) => outputs.turn().map_err(RecordError::from)?,
            None => Vec::new(),
        };
        let notice = match notices {
            Some(notices) => notices.next(notified)?,
            None => None,
        };
        let listener = notices.as_ref().and_then(Notices::listener);
        let mut seen = Vec::new();
        {
            let mut tell = |what: Seen| -> Result<(), Failure> {
                seen.extend(learn(what, processes, recorder)?);
                Ok(())
            };
            if !changed.is_empty() {
                execs.reap(&mut tell)?;
            }
            if execs.due().is_some() {
                execs.look(&mut tell)?;
            }
            match (notice, listener, renames) {
                (Some(Notice::Exec(call)), Some(listener), _) => {
                    let before = || match outputs {
                        Some(outputs) => Ok(outputs.at_notice(listener, &call).map_err(RecordError::from)?),
                        None => Ok(()),
                    };
                    execs.notice(listener, &call, before, &mut tell)?;
                }
                (Some(Notice::Connect(call)), Some(listener), _) => {
                    if let Some(connecting) = connects.notice(listener, &call)? {
                        let exec = processes.program_of(connecting.pid)?;
                        owners.connects(connecting.cookie, exec);
                        refused.extend(datagrams.connects(exec, &connecting).map(|denied| (exec, denied)));
                    }
                }
                (Some(Notice::Rename(call)), _, Some(renames)) => renames.notice(call, helper)?,
                _ => {}
            }
        }
        let ended = processes.hear(&ends)?;
        if ended && execs.due().is_some() {
            // What they executed last comes before their end.
            execs.look(&mut |what| -> Result<(), Failure> {
                seen.extend(learn(what, processes, recorder)?);
                Ok(())
            })?;
        }
        for executed in seen {
            begin(executed, outputs.as_mut(), arguments, told, recorder, processes);
        }
        self.finished(finished, recorder)?;
        Ok(ended)
    }

    /// Records the ends of processes, what they printed and what they changed.
    pub(super) fn settle_ends(&mut self, recorder: &mut Recorder) -> Result<(), RecordError> {
        let ended = self.processes.turn(recorder)?;
        self.gone(&ended, recorder)?;
        self.shown(recorder)
    }

    /// The `process.exec` of the commands that run, the latest first.
    pub(super) fn running(&self) -> Vec<u64> {
        self.processes.running()
    }

    fn gone(&mut self, ended: &[(u32, u64)], recorder: &mut Recorder) -> Result<(), RecordError> {
        if ended.is_empty() {
            return Ok(());
        }
        for (pid, _) in ended {
            recorder.screen.ended(*pid);
            if let Some(outputs) = &mut self.outputs {
                let finished = outputs.exited(*pid)?;
                self.finished(finished, recorder)?;
            }
        }
        // One look for all that ended together: any of them may have changed what it finds.
        let mut running: Vec<u64> = ended.iter().map(|(_, seq)| *seq).collect();
        running.extend(self.processes.running());
        recorder.command_ended(&running)
    }

    /// Records outputs that are complete, and what they say of tests.
    fn finished(&mut self, finished: Vec<Finished>, recorder: &mut Recorder) -> Result<(), RecordError> {
        for Finished { exec, output, head, tail } in finished {
            let cause = exec.map(|seq| (seq, Link::Process));
            let cut = output.bytes > (head.len() + tail.len()) as u64;
            recorder.append(cause, EventKind::CommandOutput(output))?;
            let Some(argv) = exec.and_then(|seq| self.arguments.get(&seq)) else { continue };
            let (head, tail) = match cut {
                true => (head, tail),
                // The one follows on the other.
                false => ([head, tail].concat(), Vec::new()),
            };
            let results = testrun::recognise(argv, &head, &tail);
            if let Some(exec) = exec {
                self.tested(exec, results, recorder)?;
            }
        }
        for gap in self.outputs.as_mut().map(Outputs::gaps).unwrap_or_default() {
            recorder.append(None, gap)?;
        }
        Ok(())
    }

    /// Records the tests that the terminal showed.
    fn shown(&mut self, recorder: &mut Recorder) -> Result<(), RecordError> {
        for stretch in recorder.screen.complete() {
            let (exec, argv) = (stretch.exec, stretch.argv.clone());
            let (head, tail) = stretch.text();
            self.tested(exec, testrun::recognise(&argv, &head, &tail), recorder)?;
        }
        Ok(())
    }

    fn tested(&mut self, exec: u64, results: Vec<TestResult>, recorder: &mut Recorder) -> Result<(), RecordError> {
        for result in results {
            if self.told.is_news(exec, &result.framework) {
                recorder.append(Some((exec, Link::Process)), EventKind::TestResult(result.clone()))?;
                self.tests = Tests { runs: self.tests.runs + 1, last: Some(result) };
            }
        }
        Ok(())
    }

    /// The `process.exec` of who connected a socket, by its cookie.
    pub(super) fn owner(&self, cookie: u64) -> Option<u64> {
        self.owners.of(cookie)
    }

    /// The connects of datagram sockets since the last call that are to be recorded, each with its cause.
    pub(super) fn refused(&mut self) -> Vec<(u64, NetDenied)> {
        std::mem::take(&mut self.refused)
    }

    /// Nothing has a route out here, TCP neither: the counters do not tell datagrams from it.
    pub(super) fn without_routes(&mut self) {
        self.counters = Counters::default();
    }

    /// Datagrams that found no way out; `None` where that is not known.
    pub(super) fn datagrams(&self) -> Option<u64> {
        self.counters.unrouted().map(|unrouted| self.datagrams.of(unrouted))
    }

    /// Takes no more notices.
    pub(super) fn close(&mut self) {
        if let Some(notices) = &mut self.notices {
            notices.close();
        }
    }

    /// Ends everything inside, and records the execs that are seen only now; without a recorder what is traced is reaped all
    /// the same.
    pub(super) fn end(&mut self, enclosure: &Namespaces, recorder: Option<&mut Recorder>) -> Result<(), Failure> {
        let Commands { execs, processes, outputs, arguments, told, .. } = self;
        processes.close();
        let mut recorder = recorder;
        let mut failed = None;
        let ended = enclosure.end(&mut || {
            execs.reap(&mut |seen| {
                // After a failure nothing more is recorded.
                let Some(recorder) = recorder.as_deref_mut().filter(|_| failed.is_none()) else { return Ok(()) };
                match learn(seen, processes, recorder) {
                    Ok(executed) => {
                        executed
                            .into_iter()
                            .for_each(|e| begin(e, outputs.as_mut(), arguments, told, recorder, processes));
                    }
                    Err(e) => failed = Some(Failure::from(e)),
                }
                Ok::<(), io::Error>(())
            })
        });
        match (failed, ended) {
            (Some(failure), _) => Err(failure),
            (None, ended) => Ok(ended?),
        }
    }

    /// Everything inside is gone: records what is still to be recorded, and states what was counted.
    pub(super) fn finish(&mut self, recorder: &mut Recorder, statement: &mut Statement) -> Result<Totals, RecordError> {
        let (totals, ended) = self.processes.finish(recorder, statement)?;
        self.gone(&ended, recorder)?;
        if let Some(outputs) = &mut self.outputs {
            let finished = outputs.finish()?;
            self.finished(finished, recorder)?;
        }
        self.shown(recorder)?;
        if let Some(outputs) = &self.outputs {
            statement.output = outputs.counted();
        }
        Ok(totals)
    }

    /// The test runs that were recognised.
    pub(super) fn tests(&mut self) -> Tests {
        std::mem::take(&mut self.tests)
    }

    /// What the person is to know of the programs that ran.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        self.processes.foreign().iter().map(|path| {
            format!(
                "{} is a program of another architecture (32-bit?), which an enclosure ends at its first system call",
                path.0.escape_ascii()
            )
        })
    }

    /// Keeps for the next run what was learnt of programs.
    pub(super) fn keep(&mut self) {
        self.processes.keep();
    }
}

/// A recorded exec and its arguments.
type Begun = (Recorded, Vec<Bytes>);

fn learn(seen: Seen, processes: &mut Processes, recorder: &mut Recorder) -> Result<Option<Begun>, RecordError> {
    let arguments = match &seen {
        Seen::Executed(executed) | Seen::Unknown(executed) => {
            let head = &executed.arguments[..executed.arguments.len().min(ARGUMENTS)];
            head.strip_suffix(&[0]).unwrap_or(head).split(|b| *b == 0).map(Bytes::from).collect()
        }
        Seen::Refused(_) => Vec::new(),
    };
    Ok(processes.seen(seen, recorder)?.map(|recorded| (recorded, arguments)))
}

fn begin(
    (Recorded { pid, seq, cause, terminal }, argv): Begun,
    outputs: Option<&mut Outputs>,
    arguments: &mut BTreeMap<u64, Vec<Bytes>>,
    told: &mut Told,
    recorder: &mut Recorder,
    processes: &Processes,
) {
    told.executed(seq, cause);
    if terminal {
        recorder.screen.executed(|pid| processes.has_ended(pid));
        if testrun::runs_tests(&argv) {
            recorder.screen.begin(pid, seq, argv.clone());
        }
    }
    if outputs.is_some_and(|outputs| outputs.executed(pid, seq)) {
        arguments.insert(seq, argv);
        if arguments.len() > REMEMBERED {
            arguments.pop_first();
        }
    }
}

/// Where the monitor hears whether there is anything for it.
pub(super) fn is_readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&now))? > 0)
}
