//! What a person asks of a run that is going on, over a socket in the run's directory.
//!
//! The directory is the person's alone and never visible inside an enclosure.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use cofferdam_enclosure::{Channel, Received};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::{Deserialize, Serialize};

use crate::store::Run;

/// The socket's name in the run's directory.
pub(crate) const NAME: &str = "control";
/// How long a monitor may take to answer.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// This rule applies too from now on, as `cofferdam-policy` writes it.
    Allow(serde_json::Value),
    /// This port of the enclosure's loopback is published. Descriptors: its listeners ([`crate::publish::listen`]).
    Publish {
        /// The port inside.
        port: u16,
    },
    /// Which ports listen inside.
    Listening,
    /// This port is not published any more.
    Unpublish {
        /// The port inside.
        port: u16,
    },
    /// The workspace as the run sees it.
    View,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// It is so from now on.
    Done,
    /// It is published from now on.
    Published {
        /// Whether something listens at it inside; absent where that cannot be known.
        listens: Option<bool>,
    },
    /// The ports that listen inside, in order.
    Listening(Vec<u16>),
    /// The workspace. Descriptors: its root, with `O_PATH`.
    View,
    /// It is not, and why.
    Refused(String),
}

/// Why a run did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It is over, or was started by a version that cannot be asked.
    #[error("run {0} is not going on")]
    NotLive(String),
    /// It said why.
    #[error("the run refused: {0}")]
    Refused(String),
    /// The connection.
    #[error("the run does not answer: {0}")]
    Io(#[from] io::Error),
}

/// An address whose path may be longer than the 107 bytes of `sockaddr_un` (`unix(7)`), by the directory's descriptor.
pub(crate) fn address(directory: &Path) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, directory, flags, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{number}/{NAME}"))?;
    Ok((directory, address))
}

/// Asks a run. The answer is never [`Reply::Refused`].
///
/// # Errors
/// [`ControlError`].
pub fn ask(run: &Run, request: &Request, files: &[BorrowedFd<'_>]) -> Result<Reply, ControlError> {
    Ok(told(run, request, files)?.0)
}

/// The root of a run's workspace as the run sees it, with `O_PATH`. It lives as long as this descriptor or the run.
///
/// # Errors
/// [`ControlError`].
pub fn view(run: &Run) -> Result<OwnedFd, ControlError> {
    match told(run, &Request::View, &[])? {
        (Reply::View, mut files) if files.len() == 1 => Ok(files.remove(0)),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
    }
}

fn told(run: &Run, request: &Request, files: &[BorrowedFd<'_>]) -> Result<(Reply, Vec<OwnedFd>), ControlError> {
    let not_live = || ControlError::NotLive(run.record.run.short().to_owned());
    let (_directory, address) = address(&run.directory)?;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(io::Error::from)?;
    match connect(&socket, &address) {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED) => return Err(not_live()),
        other => other.map_err(io::Error::from)?,
    }
    let channel = Channel::from(socket);
    channel.send(request, files)?;
    match poll(&mut [PollFd::new(&channel.as_fd(), PollFlags::IN)], Some(&PATIENCE)) {
        Ok(0) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        other => other.map_err(io::Error::from)?,
    };
    match channel.receive::<Reply>()? {
        Received::Message(Reply::Refused(why), _) => Err(ControlError::Refused(why)),
        Received::Message(reply, files) => Ok((reply, files)),
        Received::Closed => Err(not_live()),
    }
}
