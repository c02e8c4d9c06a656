//! The first act of `coffer run`: one process becomes three, before it has read or opened anything.
//!
//! client (keeps the terminal) → monitor (own session, outlives the terminal) → init (new namespaces). What the client
//! reads afterwards (configuration, environment) never was in init's memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use cofferdam_enclosure::{Channel, EnclosureError, Namespaces, Pipes, birth};
use cofferdam_sys::clone::{self, Cloned};
use cofferdam_sys::exec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::monitor;

/// The client's ends.
#[derive(Debug)]
pub struct Client {
    /// Messages to and from the monitor.
    pub channel: Channel,
    /// How the command is connected.
    pub streams: Streams,
}

/// How the command is connected, seen from the client.
#[derive(Debug)]
pub enum Streams {
    /// Through the monitor to a pty: both standard input and output are terminals.
    Terminal {
        /// Carries what is typed and what is shown.
        relay: OwnedFd,
        /// Where standard error is not a terminal: what the command writes there.
        stderr: Option<OwnedFd>,
    },
    /// By pipes; `None` where the stream is /dev/null on both sides.
    Pipes {
        /// To write standard input to.
        stdin: Option<OwnedFd>,
        /// To read standard output from.
        stdout: Option<OwnedFd>,
        /// To read standard error from.
        stderr: Option<OwnedFd>,
    },
}

/// The monitor's ends.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) channel: Channel,
    /// Carries the bytes of the terminal to and from the client.
    pub(crate) relay: Option<OwnedFd>,
    /// The person's terminal, to restore where the client dies, and its state before the run.
    pub(crate) terminal: Option<(OwnedFd, rustix::termios::Termios)>,
    pub(crate) enclosure: Result<Namespaces, EnclosureError>,
}

/// Splits this process. Returns in the client only.
///
/// # Errors
/// Where pipes, sockets or the monitor's process cannot be made.
pub fn split() -> io::Result<Client> {
    let (stdin, stdout, stderr) = (rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr());
    let terminal = rustix::termios::isatty(stdin) && rustix::termios::isatty(stdout);
    let (ours, theirs) = Channel::pair()?;
    let mut pipes = Pipes::default();
    // Where both go to one place outside (`2>&1`), they are one inside: what the command prints keeps its order.
    let joined = !terminal && !is_null(stdout) && is_same(stdout, stderr);
    let shown = terminal && rustix::termios::isatty(stderr);
    let separate_stderr = !(joined || shown || is_null(stderr));
    let err = if separate_stderr { Some(pipe_with(PipeFlags::CLOEXEC)?) } else { None };
    let (err_reader, err_writer) = err.unzip();
    pipes.stderr = err_writer;
    let (streams, relay, saved) = if terminal {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (mine, monitors) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let state = rustix::termios::tcgetattr(stdin)?;
        let saved = Some((stdin.try_clone_to_owned()?, state));
        (Streams::Terminal { relay: mine, stderr: err_reader }, Some(monitors), saved)
    } else {
        let input = if is_null(stdin) { None } else { Some(pipe_with(PipeFlags::CLOEXEC)?) };
        let output = if is_null(stdout) { None } else { Some(pipe_with(PipeFlags::CLOEXEC)?) };
        let (in_reader, in_writer) = input.unzip();
        let (out_reader, out_writer) = output.unzip();
        pipes.stdin = in_reader;
        if joined {
            pipes.stderr = out_writer.as_ref().map(OwnedFd::try_clone).transpose()?;
        }
        pipes.stdout = out_writer;
        (Streams::Pipes { stdin: in_writer, stdout: out_reader, stderr: err_reader }, None, None)
    };
    match clone::clone(clone::Namespaces::Shared)? {
        Cloned::Parent { .. } => Ok(Client { channel: ours, streams }),
        Cloned::Child => {
            drop((ours, streams));
            // For ps(1) and top(1); where it cannot be set the client's name stays.
            rustix::thread::set_name(c"coffer-monitor").unwrap_or_default();
            let status = match become_monitor(&theirs, relay, saved, pipes) {
                Ok((relay, terminal, enclosure)) => monitor::main(Link { channel: theirs, relay, terminal, enclosure }),
                Err(_) => 1, // the client sees the closed channel
            };
            exec::exit_now(status)
        }
    }
}

type Parts = (Option<OwnedFd>, Option<(OwnedFd, rustix::termios::Termios)>, Result<Namespaces, EnclosureError>);

/// Leaves the person's session and descriptors, then starts init.
fn become_monitor(
    channel: &Channel,
    relay: Option<OwnedFd>,
    terminal: Option<(OwnedFd, rustix::termios::Termios)>,
    pipes: Pipes,
) -> io::Result<Parts> {
    rustix::process::setsid()?;
    let pipe_ends = [&pipes.stdin, &pipes.stdout, &pipes.stderr];
    let kept: Vec<i32> = pipe_ends
        .into_iter()
        .flatten()
        .chain(&relay)
        .chain(terminal.as_ref().map(|(fd, _)| fd))
        .map(AsRawFd::as_raw_fd)
        .chain([channel.as_fd().as_raw_fd()])
        .collect();
    exec::close_all_but(&kept)?;
    cofferdam_enclosure::occupy_standard_streams()?;
    rustix::process::chdir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077)); // the store is nobody else's to read
    let enclosure = birth(pipes);
    Ok((relay, terminal, enclosure))
}

/// Whether two streams are the same pipe, socket, terminal or file.
fn is_same(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> bool {
    let identity = |fd| rustix::fs::fstat(fd).ok().map(|s| (s.st_dev, s.st_ino));
    identity(a).is_some_and(|of_a| identity(b) == Some(of_a))
}

/// Whether a stream is /dev/null (character device 1:3): then the command gets the enclosure's own.
fn is_null(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|s| {
        rustix::fs::FileType::from_raw_mode(s.st_mode) == rustix::fs::FileType::CharacterDevice
            && (rustix::fs::major(s.st_rdev), rustix::fs::minor(s.st_rdev)) == (1, 3)
    })
}
