//! What the gateway and the monitor say to each other: one JSON value a packet of a `SOCK_SEQPACKET` socket (`unix(7)`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cofferdam_core::event::{EventKind, NetConnect};
use cofferdam_core::{Bytes, Publish};
use cofferdam_policy::Rule;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Largest packet, in bytes.
pub const PACKET: usize = 64 * 1024;

/// Most bytes of a body that are kept: more would fill the monitor's memory.
pub const MOST_KEPT: usize = 8 << 20;

/// Most descriptors of a packet: those of [`Publish::MOST`] publications, each with a dialer and a listener for IPv4 and IPv6.
const MOST_FILES: usize = 3 * Publish::MOST;

/// From the gateway.
#[derive(Debug, Serialize, Deserialize)]
pub enum Say {
    /// Something to record. Descriptors: what is kept of it, as memory files.
    Record {
        /// The socket whose owner caused it.
        owner: Option<u64>,
        /// What comes with it.
        kept: Kept,
        /// The event; the references to what is kept are the monitor's to fill in.
        what: Box<EventKind>,
    },
    /// A model request holds a turn of the person's that no earlier one held. Descriptor: its text, as a memory file.
    Turn {
        /// The number of the request, which was recorded before.
        request: u64,
        /// Bytes of the turn before it was cut.
        bytes: u64,
    },
    /// A connection leaves. Its `net.connect` follows as [`Say::Record`]; should the gateway die before, this is recorded.
    Opened {
        /// The socket whose owner caused it.
        owner: Option<u64>,
        /// What is known so far.
        connect: NetConnect,
    },
    /// An interceptor needs something that only the monitor can get.
    Ask {
        /// Stands in the answer.
        id: u64,
        /// What, in words that the interceptor and the monitor agree on.
        what: String,
    },
    /// A connection from outside to a published port was taken. Its [`Say::Passed`] follows.
    Reached {
        /// Which publication.
        number: u64,
    },
    /// That connection has ended.
    Passed {
        /// Which publication.
        number: u64,
        /// Whether somebody listened inside.
        answered: bool,
        /// Bytes from inside.
        sent: u64,
        /// Bytes to it.
        received: u64,
    },
    /// A publication has ended, and its connections with it.
    Unpublished {
        /// Which one.
        number: u64,
    },
    /// It cannot serve, and ends.
    Failed {
        /// Why, for the person.
        why: String,
    },
}

/// What is kept of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What the program sent: the first descriptor.
    pub sent: bool,
    /// What it received: the next one.
    pub received: bool,
    /// The text of an event of a model: the next one.
    #[serde(default)]
    pub text: bool,
}

/// A port to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// By which it is known from now on.
    pub number: u64,
    /// How many listeners come with it.
    pub listeners: usize,
}

/// From the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Hear {
    /// These ports are published. Descriptors: of each the socket of its dialer, then its listeners.
    Publish(Vec<Publication>),
    /// This one is not any more.
    Unpublish(u64),
    /// These rules apply too from now on, after all others.
    Allow(Vec<Rule>),
    /// The answer to [`Say::Ask`].
    Answer {
        /// Which question.
        id: u64,
        /// What was asked for, or why it cannot be had.
        value: Result<Bytes, String>,
    },
}

/// The gateway's end. What cannot be said does not happen: whoever records waits until the monitor has room for it.
#[derive(Debug)]
pub struct Ledger(UnixDatagram); // std knows no sequenced packets; for a connected socket the calls are the same

impl Ledger {
    /// Of a connected `SOCK_SEQPACKET` socket, which becomes non-blocking.
    ///
    /// # Errors
    /// Those of `fcntl(2)` and of registering it with the runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Ledger> {
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Ledger(UnixDatagram::from_std(socket)?))
    }

    /// Says it.
    ///
    /// # Errors
    /// `EPIPE` where the monitor is gone, `EMSGSIZE` for more than [`PACKET`] bytes.
    pub async fn say(&self, what: &Say, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let packet = serde_json::to_vec(what)?;
        if packet.len() > PACKET {
            return Err(Errno::MSGSIZE.into());
        }
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !files.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(files));
            }
            Ok(sendmsg(self.0.as_fd(), &[IoSlice::new(&packet)], &mut control, SendFlags::NOSIGNAL)?)
        };
        self.0.async_io(Interest::WRITABLE, send).await.map(drop)
    }

    /// Records an event without bodies.
    ///
    /// # Errors
    /// As [`Ledger::say`].
    pub async fn record(&self, owner: Option<u64>, what: EventKind) -> io::Result<()> {
        self.say(&Say::Record { owner, kept: Kept::default(), what: Box::new(what) }, &[]).await
    }

    /// What the monitor says next, with the descriptors that came with it; `None` when it is gone.
    ///
    /// # Errors
    /// Those of `recvmsg(2)`; `InvalidData` for what is none of its words.
    pub async fn hear(&self) -> io::Result<Option<(Hear, Vec<OwnedFd>)>> {
        let mut packet = vec![0u8; PACKET];
        match self.0.async_io(Interest::READABLE, || receive(self.0.as_fd(), &mut packet)).await? {
            (0, _) => Ok(None),
            (length, files) => Ok(Some((serde_json::from_slice(&packet[..length])?, files))),
        }
    }
}

/// The next packet of a sequenced socket: its length, and its descriptors.
///
/// # Errors
/// Those of `recvmsg(2)`.
pub(crate) fn receive(socket: BorrowedFd<'_>, packet: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(socket, &mut [IoSliceMut::new(packet)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            files.extend(received);
        }
    }
    Ok((got.bytes, files))
}
