//! The dialer: a process inside the enclosure for each published port, which makes connections to it.
//!
//! A socket belongs to the network namespace that it was made in, so somebody inside has to make those that lead inside. It
//! connects to one port of loopback, which it was born with, and never reads from a connection: whoever asks gets sockets to
//! that port and nothing else. It is confined as [`servant`] says.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use cofferdam_sys::clone::{self, Cloned};
use cofferdam_sys::exec;
use landlock::RulesetCreated;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::channel::{Channel, Received};
use crate::servant;

/// Forks the dialer of a port from init.
///
/// # Errors
/// Those of `clone3(2)`; the gateway sees the socket close then.
pub(crate) fn start(channel: Channel, port: u16, rules: &RulesetCreated) -> io::Result<()> {
    match clone::clone(clone::Namespaces::Shared)? {
        Cloned::Parent { .. } => Ok(()),
        Cloned::Child => {
            // For ps(1) and top(1); where it cannot be set init's name stays.
            rustix::thread::set_name(c"coffer-dialer").unwrap_or_default();
            let status = match servant::confine(&channel, rules, "the dialer of a published port") {
                Ok(()) => i32::from(serve(&channel, port).is_err()),
                // The gateway sees the closed socket, and answers with resets.
                Err(_) => 1,
            };
            exec::exit_now(status)
        }
    }
}

/// Makes one socket after the other, until whoever asks is gone.
fn serve(channel: &Channel, port: u16) -> io::Result<()> {
    loop {
        let address: SocketAddr = match channel.receive::<u8>()? {
            Received::Closed => return Ok(()),
            Received::Message(4, _) => (Ipv4Addr::LOCALHOST, port).into(),
            Received::Message(6, _) => (Ipv6Addr::LOCALHOST, port).into(),
            Received::Message(..) => return Err(io::ErrorKind::InvalidData.into()),
        };
        match dial(address) {
            Ok(socket) => channel.send(&0i32, &[socket.as_fd()])?,
            Err(errno) => channel.send(&errno.raw_os_error(), &[])?,
        }
    }
}

/// A socket that is being connected: a server that does not accept must not hold up the next.
fn dial(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn sockets_lead_to_the_port_of_loopback_that_it_was_born_with() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asks, serves) = Channel::pair().unwrap();
        let dialer = std::thread::spawn(move || serve(&serves, port));
        for _ in 0..3 {
            asks.send(&4u8, &[]).unwrap();
            let Received::Message(0, mut fds) = asks.receive::<i32>().unwrap() else { panic!("no socket") };
            let stream = TcpStream::from(fds.pop().unwrap());
            let (mut server, _) = listener.accept().unwrap();
            stream.set_nonblocking(false).unwrap();
            server.write_all(b"it is me").unwrap();
            drop(server);
            let mut said = String::new();
            (&stream).read_to_string(&mut said).unwrap();
            assert_eq!(said, "it is me");
        }
        // Anything else is no request: it ends.
        asks.send(&5u8, &[]).unwrap();
        assert!(dialer.join().unwrap().is_err());
        assert!(matches!(asks.receive::<i32>().unwrap(), Received::Closed));
    }
}
