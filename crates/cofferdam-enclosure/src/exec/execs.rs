//! The state machine: from the notice of an exec to what came of it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cofferdam_core::Bytes;
use cofferdam_sys::pidfd;
use cofferdam_sys::ptrace::{self, Change, Watchdog};
use cofferdam_sys::seccomp::{self, Answer, Notification};
use cofferdam_sys::signals;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::call;
use super::identity::{Identity, identity, is_in_call};
use super::image::{self, Executed};

/// An exec that has brought no stop for this long is asked after: it has failed, or is slow.
const PATIENCE: Duration = Duration::from_millis(2);
/// An unconfirmed exec that has changed nothing for this long, and whose caller is not in the call any more, has failed.
const UNCONFIRMED: Duration = Duration::from_secs(1);
/// For so long an unconfirmed exec is looked at more often: a short program would be gone.
const FRESH: Duration = Duration::from_millis(10);
/// Between two such looks, some 10 µs each.
const GLANCE: Duration = Duration::from_micros(250);
/// Tries to seize a thread whose siblings may be executing.
const TRIES: u32 = 3;

/// What came of an exec.
#[derive(Debug)]
pub enum Seen {
    /// A program runs.
    Executed(Executed),
    /// The process ended before it could be seen whether it had executed; what is known is what the call was given.
    Unknown(Executed),
    /// The call was refused with `EACCES`: the caller runs a program without read permission and has closed its memory,
    /// so that nothing could have been recorded of what it executes.
    Refused(Pid),
}

/// The execs of one enclosure. To be used by one thread: the tracer is a thread.
#[derive(Debug)]
pub struct Execs {
    signals: OwnedFd,
    watchdog: Watchdog,
    /// Threads that are seized and in an exec, by their id.
    pending: HashMap<u32, Pending>,
    /// Threads in an exec that could not be seized, by their id.
    unconfirmed: HashMap<u32, Unconfirmed>,
    /// Whether this host lets us read and trace; known with the first notice, which is our own code's.
    allowed: Option<bool>,
}

#[derive(Debug)]
struct Pending {
    process: Pid,
    pidfd: Option<OwnedFd>,
    given: Option<Bytes>,
    since: Instant,
    interrupted: bool,
    /// The notice was over when the thread had been seized: it may be a stranger that has inherited the id.
    stranger: bool,
}

#[derive(Debug)]
struct Unconfirmed {
    process: Pid,
    pidfd: Option<OwnedFd>,
    call: i32,
    given: Option<Bytes>,
    arguments: Vec<u8>,
    before: Option<Identity>,
    since: Instant,
}

/// What an attempt to seize came to.
enum Attempt {
    /// Ours.
    Seized,
    /// The caller is gone.
    Gone,
    /// It is traced by somebody else, or busy.
    Refused,
}

impl Execs {
    /// Takes `SIGCHLD` and `SIGALRM` of this process. After init was started, before the command is.
    ///
    /// # Errors
    /// Those of `signalfd(2)`, `sigaction(2)`, `timer_create(2)`.
    pub fn new() -> io::Result<Execs> {
        let signals = signals::signal_fd(&[Signal::CHILD.as_raw()])?;
        Ok(Execs {
            signals,
            watchdog: Watchdog::new()?,
            pending: HashMap::new(),
            unconfirmed: HashMap::new(),
            allowed: None,
        })
    }

    /// Becomes readable when there is something for [`Execs::reap`].
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// When [`Execs::look`] is due.
    pub fn due(&self) -> Option<Duration> {
        if self.unconfirmed.values().any(|w| w.since.elapsed() < FRESH) {
            return Some(GLANCE);
        }
        let waits = self.pending.values().any(|p| !p.interrupted) || !self.unconfirmed.is_empty();
        waits.then_some(PATIENCE)
    }

    /// An exec was notified. `before` is called just before the kernel carries it out; `tell` is told what came of this
    /// one or of others.
    ///
    /// # Errors
    /// Those of the listener, of `before` and of `tell`.
    pub fn notice<E: From<io::Error>>(
        &mut self,
        listener: BorrowedFd<'_>,
        call: &Notification,
        before: impl FnOnce() -> Result<(), E>,
        tell: &mut impl FnMut(Seen) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(caller) = i32::try_from(call.pid).ok().and_then(Pid::from_raw) else {
            return Ok(seccomp::answer(listener, call.id, Answer::Continue).map(drop)?); // of a pid namespace beside ours
        };
        let given = match call::path(caller, call) {
            Ok(given) => {
                self.allowed.get_or_insert(true);
                given
            }
            Err(e) if Errno::from_io_error(&e) == Some(Errno::SRCH) => return Ok(()),
            Err(_) if !*self.allowed.get_or_insert(false) => None,
            Err(_) => {
                if seccomp::answer(listener, call.id, Answer::Fail(Errno::ACCESS.raw_os_error()))? {
                    tell(Seen::Refused(caller))?;
                }
                return Ok(());
            }
        };
        if !self.unconfirmed.is_empty() {
            self.settle_process(process_of(caller), call.pid, tell)?;
        }
        if let Some(pending) = self.pending.get_mut(&call.pid) {
            // The previous candidate of a search by PATH failed: the thread is still ours.
            pending.given = given;
            pending.since = Instant::now();
        } else {
            let pidfd = match pidfd_open(caller, PidfdFlags::empty()) {
                Ok(pidfd) => Some(pidfd),
                Err(Errno::SRCH) => return Ok(()),
                Err(_) => None, // not the first thread of its process, or no descriptor is left
            };
            let process = if pidfd.is_some() { caller } else { process_of(caller) };
            match self.seize(listener, call, caller, tell)? {
                Attempt::Seized => {
                    let stranger = !seccomp::is_valid(listener, call.id);
                    let entry = Pending { process, pidfd, given, since: Instant::now(), interrupted: false, stranger };
                    self.pending.insert(call.pid, entry);
                    if stranger {
                        return self.look(tell);
                    }
                }
                Attempt::Gone => return Ok(()),
                Attempt::Refused => {
                    let entry = Unconfirmed {
                        process,
                        pidfd: pidfd.or_else(|| pidfd_open(process, PidfdFlags::empty()).ok()),
                        call: call.number,
                        given,
                        arguments: call::arguments(caller, call),
                        before: identity(process),
                        since: Instant::now(),
                    };
                    self.unconfirmed.insert(call.pid, entry);
                }
            }
        }
        before()?;
        if !seccomp::answer(listener, call.id, Answer::Continue)? {
            self.unconfirmed.remove(&call.pid); // killed while it waited; a seized thread is reaped
        }
        Ok(())
    }

    /// Seizes a thread that is held in its notice.
    fn seize<E: From<io::Error>>(
        &mut self,
        listener: BorrowedFd<'_>,
        call: &Notification,
        caller: Pid,
        tell: &mut impl FnMut(Seen) -> Result<(), E>,
    ) -> Result<Attempt, E> {
        for attempt in 0..TRIES {
            // A thread alone that is held cannot get company: nobody holds the mutex that the call takes, and it was this
            // process that was held up.
            let alone = attempt > 0 && threads(caller) == Some(1);
            let result = if alone { ptrace::seize(caller) } else { self.watchdog.seize(caller) };
            match result.map_err(|e| (Errno::from_io_error(&e), e)) {
                Ok(()) => return Ok(Attempt::Seized),
                Err((Some(Errno::SRCH), _)) => return Ok(Attempt::Gone),
                Err((Some(Errno::INTR), _)) => {
                    // A sibling is executing and waits until its dead siblings are reaped.
                    self.reap(tell)?;
                    if !seccomp::is_valid(listener, call.id) {
                        return Ok(Attempt::Gone);
                    }
                }
                Err((Some(Errno::PERM), _)) => return Ok(Attempt::Refused),
                Err((_, e)) => return Err(e.into()),
            }
        }
        Ok(Attempt::Refused)
    }

    /// Takes what has happened to seized threads, and reaps children.
    ///
    /// # Errors
    /// Those of `waitpid(2)` and `ptrace(2)`, and of `tell`.
    pub fn reap<E: From<io::Error>>(&mut self, tell: &mut impl FnMut(Seen) -> Result<(), E>) -> Result<(), E> {
        signals::next_signal(self.signals.as_fd())?; // of one kind, which is pending once (signal(7))
        while let Some((thread, change)) = ptrace::next_change()? {
            let number = thread.as_raw_nonzero().get().unsigned_abs();
            match change {
                Change::Executed => self.executed(thread, number, tell)?,
                // Either way it is on its way back from a failed exec, or has none behind it.
                Change::Stopped => {
                    self.pending.remove(&number);
                    ptrace::detach(thread, 0)?;
                }
                Change::Signal(signal) => {
                    self.pending.remove(&number);
                    ptrace::detach(thread, signal)?;
                }
                Change::Ended(_) => {
                    // Another thread than the first is killed when a sibling executes: its own call never happened.
                    if let Some(Pending { process, given, stranger: false, .. }) = self.pending.remove(&number)
                        && process == thread
                    {
                        tell(Seen::Unknown(Executed::unseen(process, given)))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn executed<E: From<io::Error>>(
        &mut self,
        thread: Pid,
        number: u32,
        tell: &mut impl FnMut(Seen) -> Result<(), E>,
    ) -> Result<(), E> {
        let former = match ptrace::former_thread(thread) {
            Ok(former) => former,
            Err(e) if Errno::from_io_error(&e) == Some(Errno::SRCH) => number, // killed in its stop
            Err(e) => return Err(e.into()),
        };
        // The leader, whose id it has taken, is gone with all its siblings.
        let leader = self.pending.remove(&number);
        let pending = if former == number { leader } else { self.pending.remove(&former) };
        let stranger = pending.as_ref().is_some_and(|p| p.stranger);
        // So are siblings that could not be seized.
        self.unconfirmed.retain(|_, waiting| waiting.process != thread);
        let (pidfd, given) = pending.map_or((None, None), |p| (p.pidfd, p.given));
        let image = image::read_at_stop(thread, pidfd, given);
        ptrace::detach(thread, 0)?;
        if stranger { Ok(()) } else { tell(Seen::Executed(image)) }
    }

    /// Asks after execs that have brought no stop. To be called when [`Execs::due`] is over.
    ///
    /// # Errors
    /// Those of `ptrace(2)` and of `tell`.
    pub fn look<E: From<io::Error>>(&mut self, tell: &mut impl FnMut(Seen) -> Result<(), E>) -> Result<(), E> {
        let mut failed = Ok(());
        self.pending.retain(|number, pending| {
            if pending.interrupted || !pending.stranger && pending.since.elapsed() < PATIENCE {
                return true;
            }
            pending.interrupted = true;
            let Some(thread) = Pid::from_raw(number.cast_signed()) else { return false };
            match ptrace::interrupt(thread) {
                Ok(()) => true,
                // Stopped or dead already, which the next reaping tells; or not ours any more, because a sibling executed.
                Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::SRCH | Errno::IO)) => is_traced(thread),
                Err(e) => {
                    failed = Err(e);
                    true
                }
            }
        });
        failed?;
        let waiting: Vec<u32> = self.unconfirmed.keys().copied().collect();
        for number in waiting {
            self.settle(number, false, tell)?;
        }
        Ok(())
    }

    /// Decides what it can of a process whose thread `back` is in a new call.
    fn settle_process<E: From<io::Error>>(
        &mut self,
        process: Pid,
        back: u32,
        tell: &mut impl FnMut(Seen) -> Result<(), E>,
    ) -> Result<(), E> {
        let waiting = self.unconfirmed.iter().filter(|(_, w)| w.process == process).map(|(number, _)| *number);
        for number in waiting.collect::<Vec<_>>() {
            self.settle(number, number == back, tell)?;
        }
        Ok(())
    }

    /// Decides an unconfirmed exec, where it can be decided. `back`: the thread is in another call.
    fn settle<E: From<io::Error>>(
        &mut self,
        number: u32,
        back: bool,
        tell: &mut impl FnMut(Seen) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(waiting) = self.unconfirmed.get(&number) else { return Ok(()) };
        // It may be a seized sibling that has executed, whose stop is about to say so.
        if !back && self.pending.values().any(|p| p.process == waiting.process) {
            return Ok(());
        }
        let now = identity(waiting.process);
        let executed = now.is_some() && now != waiting.before;
        let ended = now.is_none() && waiting.pidfd.as_ref().is_none_or(|fd| pidfd::has_ended(fd.as_fd()));
        let thread = Pid::from_raw(number.cast_signed()).unwrap_or(waiting.process);
        let failed = back || waiting.since.elapsed() > UNCONFIRMED && !is_in_call(thread, waiting.call);
        if !(executed || ended || failed) {
            return Ok(());
        }
        let Some(Unconfirmed { process, pidfd, given, arguments, .. }) = self.unconfirmed.remove(&number) else {
            return Ok(());
        };
        if !(executed || ended) {
            return Ok(());
        }
        // One of a process's threads at most has executed, and the others are gone.
        self.unconfirmed.retain(|_, waiting| waiting.process != process);
        let mut image = if executed { image::read_running(process, given) } else { Executed::unseen(process, given) };
        if pidfd.is_some() {
            image.pidfd = pidfd;
        }
        image.unconfirmed = true;
        if !arguments.is_empty() {
            image.arguments = arguments;
        }
        tell(if executed { Seen::Executed(image) } else { Seen::Unknown(image) })
    }
}

/// The number of threads of a thread's process (the links of /proc/PID/task, less itself and its parent).
fn threads(thread: Pid) -> Option<u64> {
    let stat = rustix::fs::stat(format!("/proc/{}/task", thread.as_raw_nonzero())).ok()?;
    Some(u64::from(u32::try_from(stat.st_nlink).unwrap_or(u32::MAX)).saturating_sub(2))
}

/// A field of /proc/PID/status.
fn status(thread: Pid, name: &str) -> Option<i32> {
    let text = std::fs::read(format!("/proc/{}/status", thread.as_raw_nonzero())).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

/// The process that a thread belongs to.
pub(crate) fn process_of(thread: Pid) -> Pid {
    status(thread, "Tgid").and_then(Pid::from_raw).unwrap_or(thread)
}

/// Whether this process traces a thread.
fn is_traced(thread: Pid) -> bool {
    status(thread, "TracerPid") == Some(rustix::process::getpid().as_raw_nonzero().get())
}
