//! The client's part of a run: the person's terminal and signals on one side, the monitor on the other.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use cofferdam_enclosure::{EnclosureError, Received};
use cofferdam_runtime::prepare::Prepared;
use cofferdam_runtime::protocol::{Ask, Summary, Tell};
use cofferdam_runtime::split::{Client, Streams};
use cofferdam_sys::signals;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Signal;

use super::copy::copy;
use super::input::copy_input;
use super::terminal::{self, Terminal};

/// How a run went.
#[derive(Debug)]
pub enum Outcome {
    /// It ran, and this is what came of it.
    Ended(Box<Summary>),
    /// The command could not be executed (`errno`).
    NotExecuted(i32),
    /// A layer of the boundary could not be set up.
    NotEnclosed(EnclosureError),
    /// The run could not be recorded.
    NotRecorded(String),
    /// The run had to be ended because it could not be recorded any more.
    Broken(String),
    /// The monitor is gone without a word.
    MonitorDied,
}

/// What the person can send to the command without a terminal in between.
const FORWARDED: &[Signal] =
    &[Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::TSTP, Signal::WINCH];

/// Starts the run and stays until it is settled.
///
/// # Errors
/// Where the client's own plumbing fails.
pub fn follow(client: Client, run: Prepared) -> io::Result<Outcome> {
    let Client { channel, streams } = client;
    let numbers: Vec<i32> = FORWARDED.iter().map(|s| s.as_raw()).collect();
    let signal_fd = signals::signal_fd(&numbers)?;
    let piped = matches!(streams, Streams::Pipes { stdin: Some(_), .. });
    let agent = piped && run.plan().known.is_some();
    run.hand_over(&channel)?;

    let mut copies: Vec<JoinHandle<io::Result<()>>> = Vec::new();
    let mut relay = None;
    let mut screen = None;
    match streams {
        Streams::Terminal { relay: socket, stderr } => {
            relay = Some(socket);
            screen = Some(Terminal::open()?);
            copies.extend(start_copy(stderr, rustix::stdio::stderr())?);
        }
        Streams::Pipes { stdin, stdout, stderr } => {
            if let Some(to) = stdin {
                // Not waited for: it may sit in a read of the person's input when the command is long gone.
                let from = rustix::stdio::stdin().try_clone_to_owned()?;
                drop(copy_input(from, to, &channel, agent)?);
            }
            copies.extend(start_copy(stdout, rustix::stdio::stdout())?);
            copies.extend(start_copy(stderr, rustix::stdio::stderr())?);
        }
    }
    let mut session = Session { channel, screen, relay, running: false, from_command: Vec::new(), input_open: true };
    let outcome = session.follow(&signal_fd)?;
    if let Some(screen) = &mut session.screen {
        screen.restore();
    }
    drop(session);
    for copy in copies {
        // The streams of a dead enclosure end: this waits for slow readers of ours only. A stream that cannot be
        // written any more (disk full) is the person's to hear of.
        match copy.join() {
            Ok(result) => result?,
            Err(_) => return Err(io::Error::other("a thread that copied output panicked")),
        }
    }
    Ok(outcome)
}

fn start_copy(
    from: Option<OwnedFd>,
    to: std::os::fd::BorrowedFd<'_>,
) -> io::Result<Option<JoinHandle<io::Result<()>>>> {
    from.map(|from| Ok(copy(from, to.try_clone_to_owned()?))).transpose()
}

struct Session {
    channel: cofferdam_enclosure::Channel,
    screen: Option<Terminal>,
    relay: Option<OwnedFd>,
    running: bool,
    /// Shown by the command, not yet taken by the terminal.
    from_command: Vec<u8>,
    input_open: bool,
}

impl Session {
    fn follow(&mut self, signal_fd: &OwnedFd) -> io::Result<Outcome> {
        let mut early: Option<Outcome> = None;
        loop {
            let stdin = rustix::stdio::stdin();
            let typing = self.running && self.input_open && self.relay.is_some();
            let mut fds = vec![PollFd::new(&self.channel, PollFlags::IN), PollFd::new(signal_fd, PollFlags::IN)];
            if let Some(relay) = &self.relay {
                fds.push(PollFd::new(relay, PollFlags::IN));
                fds.push(PollFd::from_borrowed_fd(stdin, if typing { PollFlags::IN } else { PollFlags::empty() }));
            }
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            drop(fds);
            if ready.get(2).is_some_and(|r| !r.is_empty()) {
                self.show()?;
            }
            if typing && ready.get(3).is_some_and(|r| !r.is_empty()) {
                self.type_in()?;
            }
            if !ready[1].is_empty() {
                self.pass_signals(signal_fd)?;
            }
            if ready[0].is_empty() {
                continue;
            }
            match self.channel.receive::<Tell>()? {
                Received::Closed => {
                    self.show()?;
                    return Ok(early.unwrap_or(Outcome::MonitorDied));
                }
                Received::Message(Tell::Started, _) => {
                    self.running = true;
                    if let Some(screen) = &mut self.screen {
                        screen.raw()?;
                        self.resize()?;
                    }
                }
                Received::Message(Tell::Stopped(signal), _) => self.stop(signal)?,
                Received::Message(Tell::NotExecuted(errno), _) => early = Some(Outcome::NotExecuted(errno)),
                Received::Message(Tell::NotEnclosed(e), _) => return Ok(Outcome::NotEnclosed(e)),
                Received::Message(Tell::NotRecorded(e), _) => return Ok(Outcome::NotRecorded(e)),
                Received::Message(Tell::Broken(e), _) => {
                    self.show()?;
                    return Ok(Outcome::Broken(e));
                }
                Received::Message(Tell::Ended, files) => {
                    self.show()?;
                    let file = files.into_iter().next().ok_or(io::ErrorKind::InvalidData)?;
                    let summary = Box::new(cofferdam_enclosure::read_large::<Summary>(file)?);
                    return Ok(early.unwrap_or(Outcome::Ended(summary)));
                }
            }
        }
    }

    /// From the command to the terminal, all that is there.
    fn show(&mut self) -> io::Result<()> {
        let Some(relay) = &self.relay else { return Ok(()) };
        let mut chunk = [0u8; 16 * 1024];
        loop {
            match rustix::io::read(relay, &mut chunk) {
                Ok(0) | Err(Errno::CONNRESET) => {
                    self.relay = None;
                    return Ok(());
                }
                Ok(got) => self.from_command.extend_from_slice(&chunk[..got]),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            }
            // The terminal may be slow: this waits, and with it the command.
            let mut rest = &self.from_command[..];
            while !rest.is_empty() {
                match rustix::io::write(rustix::stdio::stdout(), rest) {
                    Ok(wrote) => rest = &rest[wrote..],
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => {
                        let stdout = rustix::stdio::stdout();
                        poll(&mut [PollFd::from_borrowed_fd(stdout, PollFlags::OUT)], None)?;
                    }
                    Err(Errno::IO) => break, // the terminal is gone; SIGHUP follows
                    Err(e) => return Err(e.into()),
                }
            }
            self.from_command.clear();
        }
    }

    /// From the keyboard to the command.
    fn type_in(&mut self) -> io::Result<()> {
        let Some(relay) = &self.relay else { return Ok(()) };
        let mut chunk = [0u8; 4096];
        let got = match rustix::io::read(rustix::stdio::stdin(), &mut chunk) {
            Ok(0) | Err(Errno::IO) => {
                self.input_open = false;
                return Ok(());
            }
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            other => other?,
        };
        let mut rest = &chunk[..got];
        while !rest.is_empty() {
            match rustix::io::write(relay, rest) {
                Ok(wrote) => rest = &rest[wrote..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // Full: the command does not read. Output must go on meanwhile, or both would wait.
                    poll(&mut [PollFd::new(relay, PollFlags::OUT | PollFlags::IN)], None)?;
                    let shown = rest.to_vec();
                    self.show()?;
                    let Some(again) = &self.relay else { return Ok(()) };
                    return finish_typing(again, &shown);
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn pass_signals(&mut self, signal_fd: &OwnedFd) -> io::Result<()> {
        while let Some(number) = signals::next_signal(signal_fd.as_fd())? {
            if number == Signal::WINCH.as_raw() {
                self.resize()?;
            } else if number == Signal::TSTP.as_raw() && self.screen.is_none() {
                // Without a terminal of its own the command is stopped with us.
                self.ask(&Ask::Signal(number))?;
                signals::raise_default(Signal::STOP.as_raw());
                self.ask(&Ask::Resume)?;
            } else {
                self.ask(&Ask::Signal(number))?;
            }
        }
        Ok(())
    }

    fn resize(&mut self) -> io::Result<()> {
        if self.screen.is_some() {
            let (rows, columns) = terminal::size(rustix::stdio::stdin());
            self.ask(&Ask::Resize { rows, columns })?;
        }
        Ok(())
    }

    /// The command was stopped by its terminal's Ctrl-Z: so are we, and when the person continues us it goes on.
    fn stop(&mut self, signal: i32) -> io::Result<()> {
        let Some(screen) = &mut self.screen else { return Ok(()) };
        screen.restore();
        signals::raise_default(if signal == Signal::STOP.as_raw() { signal } else { Signal::STOP.as_raw() });
        screen.raw()?;
        self.resize()?;
        self.ask(&Ask::Resume)
    }

    fn ask(&self, what: &Ask) -> io::Result<()> {
        match self.channel.send(what, &[]) {
            // The monitor is gone: the closed channel says so in its turn.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

/// What was typed while the command did not read: given up where it still does not.
fn finish_typing(relay: &OwnedFd, rest: &[u8]) -> io::Result<()> {
    match rustix::io::write(relay, rest) {
        Ok(_) | Err(Errno::AGAIN | Errno::PIPE | Errno::CONNRESET | Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
