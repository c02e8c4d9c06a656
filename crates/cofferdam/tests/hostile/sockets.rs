//! Attacks by what a socket can be told: options, bytes out of band, zones, a source of its own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::gateway::{bytes, connect, number, talk};
use crate::{Loot, check};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(4);

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    Some(match (name, args) {
        ("urgent", [to, first, urgent, rest]) => self::urgent(to, first, urgent, rest),
        ("half-closed", [count, to, request]) => number(count).and_then(|count| half_closed(count, to, request)),
        ("bound-to-device", [device, to, request]) => {
            made(to, request, |socket| option(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device.as_bytes()))
        }
        ("source-routed", [via, to, request]) => via.parse().map_err(io::Error::other).and_then(|via: Ipv4Addr| {
            // RFC 791, section 3.1: loose source routing of one hop, filled up to four bytes.
            let hop = via.octets();
            made(to, request, |socket| {
                option(socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &[&[131, 7, 4], &hop[..], &[0]].concat())
            })
        }),
        ("from-address", [from, to, request]) => made(to, request, |socket| bind(socket, from)),
        ("from-one-port", [first, to, request]) => from_one_port(first, to, request),
        ("in-zone", [address, zone, port, request]) => in_zone(address, zone, port, request),
        _ => return None,
    })
}

/// A socket that is not connected yet.
fn socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a new descriptor is owned by nobody.
    unsafe {
        let fd = check(libc::c_long::from(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)))?;
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?))
    }
}

fn option(socket: &OwnedFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: a value of the stated length.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    check(libc::c_long::from(done)).map(drop)
}

/// Takes an address for its own, also one that another socket has.
fn bind(socket: &OwnedFd, from: &str) -> io::Result<()> {
    option(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1i32.to_ne_bytes())?;
    let from: SocketAddrV4 = from.parse().map_err(io::Error::other)?;
    rustix::net::bind(socket, &from)?;
    Ok(())
}

/// Prepares a socket of IPv4, connects it and makes a request.
fn made(to: &str, request: &str, prepare: impl FnOnce(&OwnedFd) -> io::Result<()>) -> Loot {
    ask(joined(to, prepare)?, request)
}

fn joined(to: &str, prepare: impl FnOnce(&OwnedFd) -> io::Result<()>) -> io::Result<TcpStream> {
    let address = to.to_socket_addrs()?.find(SocketAddr::is_ipv4).ok_or(io::ErrorKind::NotFound)?;
    let socket = socket()?;
    prepare(&socket)?;
    // Also how long connect(2) waits for an answer (socket(7)).
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Send, Some(PATIENCE))?;
    rustix::net::connect(&socket, &address)?;
    Ok(TcpStream::from(socket))
}

fn ask(mut stream: TcpStream, request: &str) -> Loot {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&bytes(request)?)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => Err(error),
        _ if answer.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(String::from_utf8_lossy(&answer).escape_debug().to_string()),
    }
}

/// Sends a byte out of band between two halves (`MSG_OOB`, tcp(7)). Each is read by itself: a read ends at the mark, and who is told
/// of arrivals alone (`EPOLLET`, epoll(7)) would wait for another one. That holds up nobody but this connection.
fn urgent(to: &str, first: &str, urgent: &str, rest: &str) -> Loot {
    let mut stream = connect(to)?;
    let read = || std::thread::sleep(std::time::Duration::from_millis(300));
    stream.write_all(&bytes(first)?)?;
    read();
    rustix::net::send(&stream, &bytes(urgent)?, rustix::net::SendFlags::OOB)?;
    read();
    ask(stream, rest)
}

/// Makes a request on so many connections, closes one direction of each, in turn the one that it writes and the one that it
/// reads, keeps them all, and then makes a whole request on another.
fn half_closed(count: usize, to: &str, request: &str) -> Loot {
    let mut held = Vec::new();
    for n in 0..count {
        let mut stream = connect(to)?;
        stream.write_all(&bytes(request)?)?;
        stream.shutdown(if n % 2 == 0 { Shutdown::Write } else { Shutdown::Read })?;
        held.push(stream);
    }
    let last = talk(to, &[request])?;
    let mut answered = 0;
    for mut stream in held.into_iter().step_by(2) {
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        answered += usize::from(answer.starts_with("HTTP/1.1 200"));
    }
    Ok(format!("{answered} answered, then {last}"))
}

/// Two connections from one port: the first is held, the second makes the request.
fn from_one_port(first: &str, to: &str, request: &str) -> Loot {
    let held = joined(first, |socket| bind(socket, "127.0.0.1:0"))?;
    let own = held.local_addr()?.to_string();
    made(to, request, |socket| bind(socket, &own))
}

/// Connects by an address of IPv6 with a zone (RFC 4007, section 11).
fn in_zone(address: &str, zone: &str, port: &str, request: &str) -> Loot {
    let address = address.parse().map_err(io::Error::other)?;
    let (zone, port) = (number(zone)?, number(port)?);
    let to = SocketAddrV6::new(address, port as u16, 0, zone as u32);
    ask(TcpStream::connect_timeout(&to.into(), PATIENCE)?, request)
}
