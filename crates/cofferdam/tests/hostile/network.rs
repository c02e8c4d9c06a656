//! Getting a byte out.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixStream};
use std::time::Duration;

use cofferdam_sys::seccomp::{Instruction, install};

use crate::{Loot, check};

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    Some(match (name, args) {
        ("tcp", [to, word]) => tcp(to, word),
        ("udp", [to, word]) => udp(to, word),
        ("datagrams", [to, sends, connects]) => datagrams(to, sends, connects),
        ("unix", [path, word]) => UnixStream::connect(path).and_then(|s| say(s, word)),
        ("unix-datagram", [path, word]) => {
            UnixDatagram::unbound().and_then(|s| s.send_to(word.as_bytes(), path)).map(|_| String::new())
        }
        ("abstract", [name, word]) => UnixAddr::from_abstract_name(name)
            .and_then(|address| UnixStream::connect_addr(&address))
            .and_then(|s| say(s, word)),
        ("fast-open", [to, word]) => fast_open(to, word),
        ("own-servers", []) => own_servers(),
        ("without-netlink", [protocol, program @ ..]) => {
            protocol.parse().map_err(io::Error::other).and_then(|protocol| without_netlink(protocol, program))
        }
        ("without-ipv6", program) => without_ipv6(program),
        ("serve", [at]) => serve(at),
        ("serve-abstract", [name]) => UnixAddr::from_abstract_name(name).and_then(|a| {
            let listener = std::os::unix::net::UnixListener::bind_addr(&a)?;
            listener.incoming().try_for_each(|c| c.map(drop)).map(|()| String::new())
        }),
        ("raw-socket", []) => socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        ("ping-socket", []) => socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
        ("packet-socket", []) => socket(libc::AF_PACKET, libc::SOCK_RAW, 0x0300),
        ("vsock", []) => socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        ("netlink-audit", []) => socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT),
        ("netlink-uevent", []) => socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT),
        ("bluetooth", []) => socket(libc::AF_BLUETOOTH, libc::SOCK_RAW, 1),
        ("crypto-socket", []) => socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        ("shared-memory", [key]) => key.parse().map_err(io::Error::other).and_then(shared_memory),
        ("make-shared-memory", [key, word]) => {
            key.parse().map_err(io::Error::other).and_then(|key| make_shared_memory(key, word))
        }
        ("remove-shared-memory", [key]) => key.parse().map_err(io::Error::other).and_then(remove_shared_memory),
        ("message-queue", [name]) => message_queue(name),
        ("make-message-queue", [name, word]) => make_message_queue(name, word),
        ("remove-message-queue", [name]) => {
            std::ffi::CString::new(*name).map_err(io::Error::from).and_then(|name| {
                // SAFETY: a NUL-terminated name.
                check(libc::c_long::from(unsafe { libc::mq_unlink(name.as_ptr()) })).map(|_| String::new())
            })
        }
        _ => return None,
    })
}

fn say(mut stream: impl Write, word: &str) -> Loot {
    stream.write_all(word.as_bytes()).map(|()| String::new())
}

fn tcp(to: &str, word: &str) -> Loot {
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    say(TcpStream::connect_timeout(&to, Duration::from_secs(2))?, word)
}

/// Sends so many datagrams from a socket that is not connected, then connects so many to ports of the address from 1000 on.
fn datagrams(to: &str, sends: &str, connects: &str) -> Loot {
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    let number = |text: &str| text.parse::<u16>().map_err(io::Error::other);
    let from = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let mut left = 0;
    let socket = UdpSocket::bind(from)?;
    for _ in 0..number(sends)? {
        left += u32::from(socket.send_to(b"x", to).is_ok());
    }
    for n in 0..number(connects)? {
        let socket = UdpSocket::bind(from)?;
        left += u32::from(socket.connect((to.ip(), 1000 + n)).is_ok());
    }
    if left == 0 { Err(crate::nothing("datagrams")) } else { Ok(left.to_string()) }
}

fn udp(to: &str, word: &str) -> Loot {
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    UdpSocket::bind(from)?.send_to(word.as_bytes(), to).map(|n| n.to_string())
}

/// Connects without connect(2) (`MSG_FASTOPEN`).
fn fast_open(to: &str, word: &str) -> Loot {
    let SocketAddr::V4(to) = to.parse().map_err(io::Error::other)? else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: a word and an address of the stated sizes.
    unsafe {
        let socket = check(libc::c_long::from(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)))?;
        let size = size_of::<libc::sockaddr_in>() as u32;
        let address = (&raw const address).cast();
        let socket = i32::try_from(socket).unwrap_or(-1);
        let sent = libc::sendto(socket, word.as_ptr().cast(), word.len(), libc::MSG_FASTOPEN, address, size);
        check(sent as libc::c_long).map(|n| n.to_string())
    }
}

/// A program's own servers on every address that is its own.
fn own_servers() -> Loot {
    for (at, to) in [("127.0.0.1", "127.0.0.1"), ("127.0.0.5", "127.0.0.5"), ("0.0.0.0", "0.0.0.0"), ("[::1]", "[::1]")]
    {
        let socket = match std::net::TcpListener::bind(format!("{at}:0")) {
            Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable && at == "[::1]" => continue,
            other => other?,
        };
        let port = socket.local_addr()?.port();
        say(TcpStream::connect(format!("{to}:{port}"))?, "x")?;
        let word = &mut [0];
        io::Read::read_exact(&mut socket.accept()?.0, word)?;
        let server = UdpSocket::bind(format!("{at}:0"))?;
        let client = UdpSocket::bind(if at == "[::1]" { "[::]:0" } else { "0.0.0.0:0" })?;
        client.send_to(b"x", format!("{to}:{}", server.local_addr()?.port()))?;
        server.set_read_timeout(Some(Duration::from_secs(2)))?;
        let (_, from) = server.recv_from(word)?;
        server.send_to(b"y", from)?;
        client.set_read_timeout(Some(Duration::from_secs(2)))?;
        client.recv(word)?;
    }
    Ok(String::new())
}

/// Executes a program for which a protocol of netlink does not exist.
fn without_netlink(protocol: u32, program: &[&str]) -> Loot {
    let refusal = 0x0005_0000 | libc::EPROTONOSUPPORT as u32;
    let socket = u32::try_from(libc::SYS_socket).map_err(io::Error::other)?;
    // Number, family, protocol.
    let filter = [load(0), differs(socket, 5), load(16), differs(16, 3), load(32), differs(protocol, 1), give(refusal)];
    filtered(&filter, program)
}

/// Executes a program for which there are no sockets of IPv6, as under a kernel that has none.
fn without_ipv6(program: &[&str]) -> Loot {
    let socket = u32::try_from(libc::SYS_socket).map_err(io::Error::other)?;
    let refusal = 0x0005_0000 | libc::EAFNOSUPPORT as u32;
    filtered(&[load(0), differs(socket, 3), load(16), differs(libc::AF_INET6 as u32, 1), give(refusal)], program)
}

/// Instructions of seccomp's BPF: a word of the call, a jump where it differs, a verdict.
const fn load(k: u32) -> Instruction {
    Instruction { code: 0x20, jt: 0, jf: 0, k }
}

const fn differs(k: u32, jf: u8) -> Instruction {
    Instruction { code: 0x15, jt: 0, jf, k }
}

const fn give(k: u32) -> Instruction {
    Instruction { code: 0x06, jt: 0, jf: 0, k }
}

/// Executes a program under a filter, which lets the rest pass.
fn filtered(filter: &[Instruction], program: &[&str]) -> Loot {
    rustix::thread::set_no_new_privs(true)?;
    install(&[filter, &[give(0x7fff_0000)]].concat(), false)?;
    let (name, words) = program.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Err(std::os::unix::process::CommandExt::exec(std::process::Command::new(name).args(words)))
}

/// Answers one connection after the other with what it hears.
fn serve(at: &str) -> Loot {
    let listener = std::net::TcpListener::bind(at)?;
    for connection in listener.incoming() {
        let mut connection = connection?;
        let mut reader = connection.try_clone()?;
        io::copy(&mut reader, &mut connection)?;
    }
    Ok(String::new())
}

fn socket(family: i32, kind: i32, protocol: i32) -> Loot {
    // SAFETY: no pointers; the descriptor lives as long as this short program.
    check(libc::c_long::from(unsafe { libc::socket(family, kind, protocol) })).map(|fd| fd.to_string())
}

/// Reads a System V segment of the host by its key.
fn shared_memory(key: i32) -> Loot {
    // SAFETY: attaches a segment of at least 64 bytes read-only and copies 64 bytes out of it.
    unsafe {
        let id = check(libc::c_long::from(libc::shmget(key, 64, 0)))?;
        let at = libc::shmat(i32::try_from(id).unwrap_or(-1), std::ptr::null(), libc::SHM_RDONLY);
        if at as isize == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(String::from_utf8_lossy(std::slice::from_raw_parts(at.cast::<u8>(), 64)).into_owned())
    }
}

fn message_queue(name: &str) -> Loot {
    let name = std::ffi::CString::new(name)?;
    let mut text = vec![0u8; 8192];
    // SAFETY: a NUL-terminated name, and a buffer of the stated size.
    unsafe {
        let queue = check(libc::c_long::from(libc::mq_open(name.as_ptr(), libc::O_RDONLY | libc::O_NONBLOCK)))?;
        let queue = i32::try_from(queue).unwrap_or(-1);
        let got = check(libc::mq_receive(queue, text.as_mut_ptr().cast(), text.len(), std::ptr::null_mut()) as _)?;
        Ok(String::from_utf8_lossy(&text[..usize::try_from(got).unwrap_or(0)]).into_owned())
    }
}

fn make_shared_memory(key: i32, word: &str) -> Loot {
    // SAFETY: a new segment of 64 bytes takes at most 64 bytes.
    unsafe {
        let id = check(libc::c_long::from(libc::shmget(key, 64, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)))?;
        let at = libc::shmat(i32::try_from(id).unwrap_or(-1), std::ptr::null(), 0);
        if at as isize == -1 {
            return Err(io::Error::last_os_error());
        }
        std::ptr::copy_nonoverlapping(word.as_ptr(), at.cast::<u8>(), word.len().min(64));
        Ok(id.to_string())
    }
}

fn remove_shared_memory(key: i32) -> Loot {
    // SAFETY: no pointers that the call would follow.
    unsafe {
        let id = check(libc::c_long::from(libc::shmget(key, 64, 0)))?;
        check(libc::c_long::from(libc::shmctl(i32::try_from(id).unwrap_or(-1), libc::IPC_RMID, std::ptr::null_mut())))
            .map(|_| String::new())
    }
}

fn make_message_queue(name: &str, word: &str) -> Loot {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: a NUL-terminated name, default attributes, a message of the stated size.
    unsafe {
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
        let none = std::ptr::null::<libc::mq_attr>();
        let queue = check(libc::c_long::from(libc::mq_open(name.as_ptr(), flags, 0o600, none)))?;
        let queue = i32::try_from(queue).unwrap_or(-1);
        check(libc::c_long::from(libc::mq_send(queue, word.as_ptr().cast(), word.len(), 0))).map(|_| String::new())
    }
}
