//! Attacks on the gateway and the resolver, from inside.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use crate::Loot;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(8);

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    Some(match (name, args) {
        ("talk", [to, words @ ..]) => talk(to, words),
        ("dns", words) => dns(words),
        ("dns-stream", words) => dns_stream(words),
        ("dns-flood", [count, suffix]) => number(count).and_then(|count| dns_flood(count, suffix)),
        ("denied-flood", [count, path]) => number(count).and_then(|count| denied_flood(count, path)),
        ("half-open", [count, beginning, to, request]) => {
            number(count).and_then(|count| half_open(count, beginning, to, request))
        }
        ("pass-on", [to, word, program @ ..]) => pass_on(to, word, program),
        ("use-passed", [word]) => use_passed(word),
        ("connect-literals", [port, literals @ ..]) => number(port).map(|port| connect_literals(port as u16, literals)),
        _ => return None,
    })
}

pub fn number(text: &str) -> io::Result<usize> {
    text.parse().map_err(io::Error::other)
}

/// Bytes of a word: `\r`, `\n`, `\0`, `\\` and `\xHH` stand for what they do in Rust.
pub fn bytes(word: &str) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.extend(c.to_string().as_bytes());
            continue;
        }
        out.push(match rest.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).map_err(io::Error::other)?
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        });
    }
    Ok(out)
}

pub fn connect(to: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in to.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends words on one connection, a moment between them; prints all that comes back.
pub fn talk(to: &str, words: &[&str]) -> Loot {
    let mut stream = connect(to)?;
    for (n, word) in words.iter().enumerate() {
        if n > 0 {
            std::thread::sleep(Duration::from_millis(60));
        }
        // Whoever refuses may have closed already; what it said is read below.
        if stream.write_all(&bytes(word)?).is_err() {
            break;
        }
    }
    stream.shutdown(Shutdown::Write).unwrap_or_default();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).escape_debug().to_string()),
    }
}

/// Where the resolver listens.
fn resolver() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 53).into()
}

/// A query for the A records of a name.
fn query(name: &str) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap_or(63));
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

/// The code of an answer, and its address where it has one.
fn summary(answer: &[u8]) -> String {
    let code = answer.get(3).map_or(99, |flags| flags & 15);
    let count = answer.get(7).copied().unwrap_or(0);
    match (count, answer.len().checked_sub(4).map(|at| &answer[at..])) {
        (1, Some([a, b, c, d])) => format!("{code} {a}.{b}.{c}.{d}"),
        _ => format!("{code} -"),
    }
}

/// Sends messages to the resolver, one datagram each, then an ordinary query, which it must still answer. A word `NAME?`
/// is a query; any other is bytes.
fn dns(words: &[&str]) -> Loot {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(resolver())?;
    let mut said = Vec::new();
    let mut answer = vec![0; 65_536];
    for word in words {
        let packet = match word.strip_suffix('?') {
            Some(name) => query(name),
            None => bytes(word)?,
        };
        socket.set_read_timeout(Some(Duration::from_millis(if word.ends_with('?') { 8000 } else { 150 })))?;
        if socket.send(&packet).is_err() {
            said.push("not sent".to_owned());
            continue;
        }
        said.push(match socket.recv(&mut answer) {
            Ok(length) => summary(&answer[..length]),
            Err(_) => "silent".to_owned(),
        });
    }
    Ok(said.join(", "))
}

/// The same on one connection, whose messages have their length in front. `*N` is a message of N zero bytes.
fn dns_stream(words: &[&str]) -> Loot {
    let mut stream = connect("127.0.0.1:53").or_else(|_| connect("8.8.8.8:53"))?;
    let mut said = Vec::new();
    for word in words {
        let packet = match (word.strip_suffix('?'), word.strip_prefix('*')) {
            (Some(name), _) => query(name),
            (None, Some(length)) => vec![0; number(length)?],
            (None, None) => bytes(word)?,
        };
        let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
        let sent = stream.write_all(&length.to_be_bytes()).and_then(|()| stream.write_all(&packet));
        let mut head = [0; 2];
        said.push(match sent.and_then(|()| stream.read_exact(&mut head)) {
            Ok(()) => {
                let mut answer = vec![0; usize::from(u16::from_be_bytes(head))];
                stream.read_exact(&mut answer)?;
                summary(&answer)
            }
            Err(_) => "closed".to_owned(),
        });
    }
    Ok(said.join(", "))
}

/// Looks up so many names below a suffix; prints how many got an address, and whether any two got the same.
fn dns_flood(count: usize, suffix: &str) -> Loot {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(resolver())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answer = [0; 512];
    let mut seen = std::collections::HashSet::new();
    let (mut given, mut twice) = (0, 0);
    for n in 0..count {
        socket.send(&query(&format!("n{n}.{suffix}")))?;
        let length = socket.recv(&mut answer)?;
        let said = summary(&answer[..length]);
        if let Some(address) = said.strip_prefix("0 ") {
            given += 1;
            twice += usize::from(!seen.insert(address.to_owned()));
        }
    }
    Ok(format!("{given} given, {twice} twice"))
}

/// Asks so many hosts that no rule allows for a path.
fn denied_flood(count: usize, path: &str) -> Loot {
    let mut refused = 0;
    for n in 0..count {
        let host = format!("h{n}.denied.example");
        let mut stream = connect(&format!("{host}:80"))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        refused += usize::from(answer.starts_with(b"HTTP/1.1 403"));
    }
    Ok(format!("{refused} refused"))
}

/// Holds so many connections that have only begun to say something, and then makes a whole request on another.
fn half_open(count: usize, beginning: &str, to: &str, request: &str) -> Loot {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let all = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, all)?;
    let beginning = bytes(beginning)?;
    let address = to.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut held = Vec::new();
    let mut failures = 0;
    while held.len() < count && failures < 20 {
        let said = TcpStream::connect_timeout(&address, Duration::from_secs(2))
            .and_then(|mut stream| stream.write_all(&beginning).map(|()| stream));
        match said {
            Ok(stream) => held.push(stream),
            Err(_) => failures += 1,
        }
    }
    let since = Instant::now();
    let answer = talk(to, &[request])?;
    Ok(format!("{} held, answered within {} s: {answer}", held.len(), since.elapsed().as_secs()))
}

/// Connects, and hands the connection to another program, which speaks on it.
fn pass_on(to: &str, word: &str, program: &[&str]) -> Loot {
    let stream = connect(to)?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let mut child = std::process::Command::new(program.first().ok_or(io::ErrorKind::InvalidInput)?);
    child.args(&program[1..]).arg("use-passed").arg(word).stdin(OwnedFd::from(theirs));
    child.arg0("receiver");
    let mut child = child.spawn()?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let fds = [std::os::fd::AsFd::as_fd(&stream)];
    control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(&ours, &[io::IoSlice::new(b"x")], &mut control, rustix::net::SendFlags::empty())?;
    drop(stream);
    let status = child.wait()?;
    if status.success() { Ok(String::new()) } else { Err(io::Error::other("the receiver failed")) }
}

/// Takes a connection from standard input, and speaks on it.
fn use_passed(word: &str) -> Loot {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let from = rustix::stdio::stdin();
    rustix::net::recvmsg(from, &mut [io::IoSliceMut::new(&mut byte)], &mut control, rustix::net::RecvFlags::empty())?;
    let mut streams = control.drain().filter_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let fd = streams.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&bytes(word)?)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer.escape_debug().to_string()) }
}

/// Speaks HTTP to each address; prints what each said first.
fn connect_literals(port: u16, literals: &[&str]) -> String {
    let said = literals.iter().map(|literal| {
        let spoken = (*literal, port).to_socket_addrs().and_then(|mut addresses| {
            let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            let host = if literal.contains(':') { format!("[{literal}]") } else { (*literal).to_owned() };
            write!(stream, "GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n")?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer[9..]).into_owned())
        });
        format!("{literal}={}", spoken.unwrap_or_else(|error| format!("{:?}", error.kind())))
    });
    said.collect::<Vec<_>>().join(" ")
}
