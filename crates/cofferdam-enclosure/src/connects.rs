//! Whose socket it is that connects: learnt at the notice of connect(2), for the evidence.
//!
//! A socket is named by its cookie (`SO_COOKIE` of `socket(7)`), which is the same wherever it goes. What is learnt is never
//! a permission: the caller may change the descriptor between the notice and the call.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cofferdam_sys::memory::read_bytes;
use cofferdam_sys::pidfd;
use cofferdam_sys::seccomp::{self, Answer, Notification};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_cookie, socket_type};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::exec::process_of;

/// `PIDFD_THREAD` of `pidfd_open(2)` (Linux 6.9), which is `O_EXCL`.
const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(0x80);
/// `sizeof(struct sockaddr_in6)` (`ipv6(7)`): no more of an address is looked at.
const LONGEST: usize = 28;

/// A connect that the kernel is about to carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connecting {
    /// The process, in the pid namespace of this one.
    pub pid: u32,
    /// The socket.
    pub cookie: u64,
    /// Where it wants to go; IPv4 in IPv6 is IPv4.
    pub address: SocketAddr,
    /// Whether it is a datagram socket, which only notes the address.
    pub udp: bool,
}

/// Learns at notices.
#[derive(Debug)]
pub struct Connects {
    /// Whether the kernel has descriptors of threads.
    threads: bool,
}

impl Default for Connects {
    fn default() -> Self {
        Connects { threads: true }
    }
}

impl Connects {
    /// A connect was notified: lets it go on. `None` where it goes nowhere but to loopback or a local socket, and where
    /// nothing could be learnt.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn notice(&mut self, listener: BorrowedFd<'_>, call: &Notification) -> io::Result<Option<Connecting>> {
        // 0: of a pid namespace beside ours.
        let caller = i32::try_from(call.pid).ok().and_then(Pid::from_raw);
        let learnt = caller.and_then(|caller| self.learn(caller, call));
        // Gone, its number may have been another's meanwhile.
        let lives = seccomp::answer(listener, call.id, Answer::Continue)?;
        Ok(learnt.filter(|_| lives))
    }

    fn learn(&mut self, caller: Pid, call: &Notification) -> Option<Connecting> {
        let [descriptor, address, length, ..] = call.arguments;
        let mut raw = [0u8; LONGEST];
        // The kernel takes `int` arguments from the low half of the register.
        let raw = &mut raw[..LONGEST.min(length as u32 as usize)];
        read_bytes(caller, address, raw).ok()?;
        let address = destination(raw)?;
        let (pid, socket) = self.socket(caller, (descriptor as u32).cast_signed()).ok()?;
        let cookie = socket_cookie(&socket).ok()?;
        let udp = socket_type(&socket).ok()? == SocketType::DGRAM;
        Some(Connecting { pid, cookie, address, udp })
    }

    /// The caller's process, and a descriptor of its socket.
    fn socket(&mut self, caller: Pid, descriptor: i32) -> rustix::io::Result<(u32, OwnedFd)> {
        let number = |pid: Pid| pid.as_raw_nonzero().get().unsigned_abs();
        if self.threads {
            match pidfd_open(caller, THREAD) {
                Err(Errno::INVAL) => self.threads = false,
                thread => {
                    let thread = thread?;
                    let socket = pidfd_getfd(&thread, descriptor, PidfdGetfdFlags::empty())?;
                    let process = pidfd::process(thread.as_fd()).unwrap_or_else(|_| number(process_of(caller)));
                    return Ok((process, socket));
                }
            }
        }
        let process = process_of(caller);
        // The first thread's table, which another thread need not use.
        if process != caller && !pidfd::share_descriptors(process, caller).unwrap_or(false) {
            return Err(Errno::BADF);
        }
        let leader = pidfd_open(process, PidfdFlags::empty())?;
        Ok((number(process), pidfd_getfd(&leader, descriptor, PidfdGetfdFlags::empty())?))
    }
}

/// An address of IPv4 or IPv6 (`struct sockaddr_in` of `ip(7)`, `struct sockaddr_in6` of `ipv6(7)`) that is not this
/// machine's own.
fn destination(raw: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = raw.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let ip = match AddressFamily::from_raw(u16::from_ne_bytes(*family)) {
        AddressFamily::INET => Ipv4Addr::from_octets(*rest.first_chunk()?).into(),
        // After the flow label.
        AddressFamily::INET6 => Ipv6Addr::from_octets(*rest.get(4..)?.first_chunk()?).to_canonical(),
        _ => return None,
    };
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| SocketAddr::new(ip, u16::from_be_bytes(*port)))
}
