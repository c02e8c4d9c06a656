//! Conversations with the kernel over netlink (`netlink(7)`): one datagram of messages there, their acknowledgements back.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLMSG_ERROR, NetlinkBuffer, NetlinkMessage, NetlinkSerializable};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// Bytes of an answer that are read. What follows an error's number repeats what was sent.
const ANSWER: usize = 4096;

/// Messages that travel in one datagram.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    count: u32,
}

impl Batch {
    /// Appends a message with these `NLM_F_*` flags; its sequence number is its place, from 1.
    pub(super) fn push<M: NetlinkSerializable>(&mut self, message: impl Into<NetlinkMessage<M>>, flags: u16) {
        let mut message = message.into();
        self.count += 1;
        message.header.flags |= flags;
        message.header.sequence_number = self.count;
        message.finalize();
        let at = self.bytes.len();
        self.bytes.resize(at + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut self.bytes[at..]);
    }

    /// Sends it and hears how it went. The message that asked for an acknowledgement (`NLM_F_ACK`) has to be one that the
    /// kernel comes to last: what fails before it is answered before.
    ///
    /// # Errors
    /// The place of the message that failed, where it was one, and the kernel's error.
    pub(super) fn exchange(&self, protocol: Option<Protocol>) -> Result<(), (u32, io::Error)> {
        let whole = |e: Errno| (0, e.into());
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol).map_err(whole)?;
        sendto(&socket, &self.bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).map_err(whole)?;
        let mut answer = [0u8; ANSWER];
        // The kernel works within sendto(2): its answers are there by now, and to wait for one that is not would be for ever.
        let (length, _) = recv(&socket, &mut answer[..], RecvFlags::DONTWAIT).map_err(whole)?;
        let (place, code) = outcome(&answer[..length]).ok_or((0, io::ErrorKind::InvalidData.into()))?;
        if code == 0 { Ok(()) } else { Err((place, io::Error::from_raw_os_error(code))) }
    }
}

/// Asks for an acknowledgement.
pub(super) const ACKNOWLEDGE: u16 = NLM_F_ACK;

/// Which message an answer is about, and its `errno`.
fn outcome(answer: &[u8]) -> Option<(u32, i32)> {
    let message = NetlinkBuffer::new_checked(answer).ok()?;
    let code = message.payload().first_chunk()?;
    (message.message_type() == NLMSG_ERROR)
        .then(|| (message.sequence_number(), i32::from_ne_bytes(*code).saturating_neg()))
}
