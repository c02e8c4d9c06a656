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

#[cfg(test)]
mod tests {
    use std::net::{TcpStream, UdpSocket};
    use std::sync::mpsc;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::net::{SocketFlags, bind, connect, socket_with};
    use rustix::thread::gettid;

    use super::*;
    use crate::filter::{Notify, program};

    /// Has a thread, confined as a command is, connect, and serves its notices until it has ended.
    fn served(connecting: impl FnOnce() -> u64 + Send + 'static) -> (Vec<Option<Connecting>>, u64) {
        let (send, listener) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            send.send(seccomp::install(&program(Notify::Calls), true).unwrap().unwrap()).unwrap();
            connecting()
        });
        let listener = listener.recv().unwrap();
        let (mut connects, mut learnt) = (Connects::default(), Vec::new());
        loop {
            let mut fds = [PollFd::new(&listener, PollFlags::IN)];
            poll(&mut fds, None).unwrap();
            if !fds[0].revents().contains(PollFlags::IN) {
                break; // the thread, and with it the filter, has gone
            }
            if let Some(call) = seccomp::receive(listener.as_fd()).unwrap() {
                learnt.push(connects.notice(listener.as_fd(), &call).unwrap());
            }
        }
        (learnt, thread.join().unwrap())
    }

    fn nobodys() -> SocketAddr {
        "198.51.100.1:9".parse().unwrap()
    }

    #[test]
    fn a_datagram_socket_is_named() {
        let (learnt, cookie) = served(|| {
            let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
            // Sends nothing, and may fail for want of a route.
            let _ = connect(&socket, &nobodys());
            socket_cookie(&socket).unwrap()
        });
        let pid = std::process::id();
        assert_eq!(learnt, [Some(Connecting { pid, cookie, address: nobodys(), udp: true })]);
    }

    #[test]
    fn a_stream_socket_is_named() {
        let (learnt, cookie) = served(|| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
            // From loopback nothing gets out.
            bind(&socket, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
            let _ = connect(&socket, &nobodys());
            socket_cookie(&socket).unwrap()
        });
        let pid = std::process::id();
        assert_eq!(learnt, [Some(Connecting { pid, cookie, address: nobodys(), udp: false })]);
    }

    #[test]
    fn loopback_is_nobodys_business_and_works() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let (learnt, _) = served(move || {
            TcpStream::connect(to).unwrap();
            0
        });
        assert_eq!(learnt, [None]);
        listener.accept().unwrap();
    }

    #[test]
    fn a_thread_with_a_table_of_its_own_is_asked_for_its_own_socket() {
        if pidfd_open(gettid(), THREAD).is_err() {
            return eprintln!("not proven before Linux 6.9");
        }
        let (learnt, cookie) = served(|| {
            unshare_descriptors();
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            let _ = socket.connect(nobodys());
            socket_cookie(&socket).unwrap()
        });
        assert_eq!(learnt, [Some(Connecting { pid: std::process::id(), cookie, address: nobodys(), udp: true })]);
    }

    #[test]
    fn without_descriptors_of_threads_the_process_is_asked_where_it_has_the_same_table() {
        let mut connects = Connects { threads: false };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&socket);
        // This is not the process's first thread: the harness makes one a test.
        let (process, found) = connects.socket(gettid(), number).unwrap();
        assert_eq!(process, std::process::id());
        assert_eq!(socket_cookie(&found).unwrap(), socket_cookie(&socket).unwrap());
        std::thread::spawn(move || {
            unshare_descriptors();
            assert_eq!(connects.socket(gettid(), number).unwrap_err(), Errno::BADF);
        })
        .join()
        .unwrap();
    }

    #[allow(unsafe_code, reason = "descriptors of this thread alone are made after it")]
    fn unshare_descriptors() {
        // SAFETY: the thread's descriptors of before stay open under their numbers.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }.unwrap();
    }

    #[test]
    fn destinations() {
        let v4 = |port: u16, octets: [u8; 4]| [&2u16.to_ne_bytes()[..], &port.to_be_bytes(), &octets, &[0; 8]].concat();
        let v6 = |text: &str| {
            let address: Ipv6Addr = text.parse().unwrap();
            [&10u16.to_ne_bytes()[..], &443u16.to_be_bytes(), &[0; 4], &address.octets(), &[0; 4]].concat()
        };
        assert_eq!(destination(&v4(443, [198, 18, 0, 5])), Some("198.18.0.5:443".parse().unwrap()));
        assert_eq!(destination(&v6("fd00::5")), Some("[fd00::5]:443".parse().unwrap()));
        assert_eq!(destination(&v6("::ffff:10.0.0.1")), Some("10.0.0.1:443".parse().unwrap()));
        for own in [v4(1, [127, 0, 0, 9]), v4(1, [0; 4]), v6("::1"), v6("::"), v6("::ffff:127.0.0.1")] {
            assert_eq!(destination(&own), None);
        }
        for short in [&[][..], &[2], &v4(1, [1; 4])[..7], &v6("fd00::5")[..23], &[1, 0, b'/', b'x', 0, 0, 0, 0]] {
            assert_eq!(destination(short), None);
        }
    }
}
