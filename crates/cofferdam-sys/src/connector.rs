//! The process connector: the kernel's own news of forks, execs and exits of the whole machine
//! (linux/cn_proc.h, linux/connector.h). For an ordinary user since Linux 6.6, in the first pid and network namespace only.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, socket_with};

use crate::check;

/// `CN_IDX_PROC`, `CN_VAL_PROC`.
const PROC: u32 = 1;
/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;
/// `PROC_EVENT_NONE`: the answer to a subscription.
const CONFIRMED: u32 = 0;
const FORK: u32 = 1;
const EXEC: u32 = 2;
const EXIT: u32 = 0x8000_0000;

// Offsets in a packet: `nlmsghdr` (16), `cn_msg` (20), `proc_event` (what, cpu, time, data).
const WHAT: usize = 36;
const DATA: usize = 52;
const LONGEST: usize = 128;

/// A subscription to the news.
#[derive(Debug)]
pub struct Connector(OwnedFd);

/// A piece of news. Threads are left out: a process is born with its first, executes as a whole, and ends with its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A process was born.
    Fork {
        /// Its parent.
        parent: u32,
        /// It.
        child: u32,
    },
    /// A process executed a program.
    Exec(u32),
    /// A process ended, with this status as `waitpid(2)` would say it.
    Exit(u32, i32),
    /// News was lost, because it came faster than it was read.
    Lost,
}

impl Connector {
    /// Subscribes, with room for `buffer` bytes of unread news where the host allows as much; `None` where the kernel does
    /// not confirm that it will tell.
    ///
    /// # Errors
    /// Those of `socket(2)` and `setsockopt(2)` but the refusals.
    pub fn open(buffer: usize) -> io::Result<Option<Connector>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::CONNECTOR)) {
            Err(Errno::PROTONOSUPPORT | Errno::PERM | Errno::ACCESS) => return Ok(None),
            other => other?,
        };
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, buffer).is_err() {
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, buffer)?;
        }
        leave_the_rest_out(&socket)?;
        match rustix::net::bind(&socket, &SocketAddrNetlink::new(0, PROC)) {
            Err(Errno::PERM | Errno::ACCESS) => return Ok(None),
            other => other?,
        }
        let connector = Connector(socket);
        match connector.subscribe() {
            Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            other => other?,
        }
        Ok(connector.is_confirmed()?.then_some(connector))
    }

    fn subscribe(&self) -> io::Result<()> {
        let operation = LISTEN.to_ne_bytes();
        let length = 16 + 20 + operation.len();
        let mut packet = Vec::with_capacity(length);
        packet.extend((length as u32).to_ne_bytes());
        packet.extend(3u16.to_ne_bytes()); // NLMSG_DONE
        packet.extend(0u16.to_ne_bytes());
        packet.extend([0u8; 8]); // sequence, port
        packet.extend(PROC.to_ne_bytes());
        packet.extend(PROC.to_ne_bytes());
        packet.extend([0u8; 8]); // sequence, acknowledgement
        packet.extend((operation.len() as u16).to_ne_bytes());
        packet.extend([0u8; 2]);
        packet.extend(operation);
        rustix::net::sendto(&self.0, &packet, SendFlags::NOSIGNAL, &SocketAddrNetlink::new(0, 0))?;
        Ok(())
    }

    /// The kernel confirms while the request is being sent: by an event of kind `PROC_EVENT_NONE` whose data is an error
    /// number, 0 for none. Whatever else comes before it is news already, of a time at which there was nothing to ask for.
    fn is_confirmed(&self) -> io::Result<bool> {
        let mut packet = [0u8; LONGEST];
        loop {
            match recv(&self.0, &mut packet, RecvFlags::DONTWAIT) {
                Ok((got, _)) if word(&packet[..got], WHAT) == Some(CONFIRMED) => {
                    return Ok(word(&packet[..got], DATA) == Some(0));
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::NOBUFS) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// All the news there is now, in the order in which it came.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    pub fn drain(&self, mut tell: impl FnMut(News)) -> io::Result<()> {
        let mut packet = [0u8; LONGEST];
        loop {
            match recv(&self.0, &mut packet, RecvFlags::DONTWAIT) {
                Ok((got, _)) => {
                    if let Some(news) = read(&packet[..got.min(LONGEST)]) {
                        tell(news);
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => tell(News::Lost),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

fn word(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn read(packet: &[u8]) -> Option<News> {
    let data = |index: usize| word(packet, DATA + 4 * index);
    match word(packet, WHAT)? {
        FORK => (data(2)? == data(3)?).then_some(News::Fork { parent: data(1)?, child: data(3)? }),
        EXEC => Some(News::Exec(data(1)?)),
        EXIT if data(0)? == data(1)? => Some(News::Exit(data(1)?, data(2)?.cast_signed())),
        _ => None,
    }
}

/// Has the kernel keep from the socket, before it takes up room in it, what is no news: births and ends of threads, and
/// changes of ids, names, sessions and tracers. The kernel's own choice of kinds (6.6) is of no use: it does not confirm a
/// subscription to a part.
fn leave_the_rest_out(socket: &OwnedFd) -> io::Result<()> {
    // linux/bpf_common.h
    const LOAD: u16 = 0x20;
    const TO_X: u16 = 0x07;
    const EQUAL: u16 = 0x15;
    const EQUAL_X: u16 = 0x1d;
    const RETURN: u16 = 0x06;
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let at = |index: u32| DATA as u32 + 4 * index;
    // Words are loaded as big-endian ones.
    let mut program = [
        op(LOAD, 0, 0, WHAT as u32),
        op(EQUAL, 4, 0, FORK.to_be()),
        op(EQUAL, 7, 0, EXIT.to_be()),
        op(EQUAL, 1, 0, EXEC.to_be()),
        op(EQUAL, 0, 10, CONFIRMED.to_be()),
        op(RETURN, 0, 0, u32::MAX),
        // a fork: the child's thread and process
        op(LOAD, 0, 0, at(2)),
        op(TO_X, 0, 0, 0),
        op(LOAD, 0, 0, at(3)),
        op(EQUAL_X, 4, 5, 0),
        // an exit: thread and process
        op(LOAD, 0, 0, at(0)),
        op(TO_X, 0, 0, 0),
        op(LOAD, 0, 0, at(1)),
        op(EQUAL_X, 0, 1, 0),
        op(RETURN, 0, 0, u32::MAX),
        op(RETURN, 0, 0, 0),
    ];
    let header = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies `len` instructions from `filter` during the call, which both outlive.
    check(i64::from(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const header).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    }))
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn births_execs_and_ends_are_told() {
        let Some(connector) = Connector::open(1 << 20).unwrap() else {
            return; // not the first namespaces, or an older kernel
        };
        let mut child = std::process::Command::new("/bin/sh").args(["-c", "exit 3"]).spawn().unwrap();
        let thread = std::thread::spawn(rustix::thread::gettid).join().unwrap().as_raw_nonzero().get().unsigned_abs();
        child.wait().unwrap();
        let mut news = Vec::new();
        connector.drain(|n| news.push(n)).unwrap();
        if news.contains(&News::Lost) {
            return; // a busy machine
        }
        let place = |wanted: News| news.iter().position(|n| *n == wanted);
        let born = place(News::Fork { parent: std::process::id(), child: child.id() }).expect("a birth");
        let executed = place(News::Exec(child.id())).expect("an exec");
        let ended = place(News::Exit(child.id(), 0x300)).expect("an end");
        assert!(born < executed && executed < ended, "{born} {executed} {ended}");
        assert!(
            !news.iter().any(|n| matches!(n, News::Fork { child, .. } if *child == thread)),
            "a thread is no process"
        );
    }

    #[test]
    fn what_is_no_news_is_none() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0; 60]), None);
    }
}
