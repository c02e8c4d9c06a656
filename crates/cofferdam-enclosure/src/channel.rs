//! Messages between the processes of a run: one JSON value a packet, with file descriptors where needed.

use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cofferdam_core::plan::EnclosurePlan;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest packet; what is larger travels in a memory file ([`Channel::send_large`]).
const PACKET: usize = 64 * 1024;
/// Of [`crate::Report::Ready`]: listener, root, project, pty, six sockets of the network, and those of the plan.
const MOST_FDS: usize = 10 + EnclosurePlan::MOST_LISTENERS;

/// One end of a `SOCK_SEQPACKET` socket pair (`unix(7)`): packets keep their borders, and a closed peer is seen.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What [`Channel::receive`] found.
#[derive(Debug)]
pub enum Received<T> {
    /// A message and the descriptors that came with it.
    Message(T, Vec<OwnedFd>),
    /// The other end is gone.
    Closed,
}

impl Channel {
    /// Two connected ends, close-on-exec.
    ///
    /// # Errors
    /// Those of `socketpair(2)`.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Channel(a), Channel(b)))
    }

    /// Sends one message, blocking while the peer is behind.
    ///
    /// # Errors
    /// `EPIPE` where the peer is gone, `EMSGSIZE` for a message over the packet's size.
    pub fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.transmit(message, fds, SendFlags::empty())
    }

    fn transmit<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>], flags: SendFlags) -> io::Result<()> {
        let packet = serde_json::to_vec(message)?;
        if packet.len() > PACKET || fds.len() > MOST_FDS {
            return Err(Errno::MSGSIZE.into());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        sendmsg(&self.0, &[IoSlice::new(&packet)], &mut control, flags | SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Sends one message where the peer has room for it.
    ///
    /// # Errors
    /// As [`Channel::send`]; `EAGAIN` where it has none.
    pub fn send_now<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.transmit(message, fds, SendFlags::DONTWAIT)
    }

    /// Sends a message of any size as a memory file, announced by `cover`; the descriptors of `more` follow it.
    ///
    /// # Errors
    /// As [`Channel::send`], and those of `memfd_create(2)`.
    pub fn send_large<C: Serialize, T: Serialize>(
        &self,
        cover: &C,
        message: &T,
        more: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let memory = rustix::fs::memfd_create("coffer-message", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(memory);
        file.write_all(&serde_json::to_vec(message)?)?;
        let fds: Vec<BorrowedFd<'_>> = [file.as_fd()].into_iter().chain(more.iter().copied()).collect();
        self.send(cover, &fds)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// Those of `recvmsg(2)`; `InvalidData` for a packet that is not such a message.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Received<T>> {
        self.take(RecvFlags::empty())
    }

    /// The next message where there is one already.
    ///
    /// # Errors
    /// As [`Channel::receive`].
    pub fn receive_now<T: DeserializeOwned>(&self) -> io::Result<Option<Received<T>>> {
        match self.take(RecvFlags::DONTWAIT) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            other => other.map(Some),
        }
    }

    /// How long the next packet is, in bytes; 0 where the other end is gone. Asked, for clearing room for the largest
    /// costs more than the call.
    fn awaited(&self, flags: RecvFlags) -> io::Result<usize> {
        loop {
            match recv(&self.0, &mut [0u8; 0][..], flags | RecvFlags::PEEK | RecvFlags::TRUNC) {
                // As below.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                other => return Ok(other?.1.min(PACKET)),
            }
        }
    }

    fn take<T: DeserializeOwned>(&self, flags: RecvFlags) -> io::Result<Received<T>> {
        let mut packet = vec![0u8; self.awaited(flags)?];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut packet)], &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
                // CONNRESET says that the peer left without reading all of ours. The kernel says it once, and before the
                // peer's last words, which are the end of a run and must not be lost.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                other => break other?,
            }
        };
        if got.bytes == 0 {
            return Ok(Received::Closed);
        }
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        Ok(Received::Message(serde_json::from_slice(&packet[..got.bytes])?, fds))
    }
}

/// Reads the memory file that came with [`Channel::send_large`].
///
/// # Errors
/// Those of reading; `InvalidData` where it is not such a message.
pub fn read_large<T: DeserializeOwned>(fd: OwnedFd) -> io::Result<T> {
    let mut file = std::fs::File::from(fd);
    file.rewind()?;
    let mut raw = Vec::new();
    file.read_to_end(&mut raw)?;
    Ok(serde_json::from_slice(&raw)?)
}

impl From<OwnedFd> for Channel {
    /// An end that was received.
    fn from(socket: OwnedFd) -> Channel {
        Channel(socket)
    }
}

impl From<Channel> for OwnedFd {
    /// To be handed on.
    fn from(channel: Channel) -> OwnedFd {
        channel.0
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_of_a_peer_that_did_not_listen_are_heard() {
        let (ours, theirs) = Channel::pair().unwrap();
        ours.send(&"unread", &[]).unwrap();
        theirs.send(&"last words", &[]).unwrap();
        drop(theirs);
        assert!(matches!(ours.receive::<String>().unwrap(), Received::Message(word, _) if word == "last words"));
        assert!(matches!(ours.receive::<String>().unwrap(), Received::Closed));
    }
}
