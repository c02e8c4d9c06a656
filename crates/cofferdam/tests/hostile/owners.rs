//! Connections that another than their maker speaks on, and of another protocol.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::gateway::{bytes, connect};
use crate::{Loot, check};

const PATIENCE: Duration = Duration::from_secs(5);

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    Some(match (name, args) {
        ("fork-connected", [to, word]) => fork_connected(to, word),
        ("spawn-connected", [to, word, program @ ..]) => spawn_connected(to, word, program),
        ("use-inherited", [word]) => use_inherited(word),
        ("mptcp", [to, word]) => of_several_paths(to).and_then(|stream| ask(stream, word)),
        _ => return None,
    })
}

/// Sends a request, ends this half, and gives back the answer.
fn ask(mut stream: TcpStream, word: &str) -> Loot {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&bytes(word)?)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer.escape_debug().to_string()) }
}

/// Connects by MPTCP (RFC 8684).
fn of_several_paths(to: &str) -> io::Result<TcpStream> {
    let address = to.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the descriptor is new, and nobody else's.
    let socket = unsafe {
        let number = check(libc::c_long::from(libc::socket(family, kind, libc::IPPROTO_MPTCP)))?;
        OwnedFd::from_raw_fd(i32::try_from(number).map_err(io::Error::other)?)
    };
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

/// Connects, and lets a child that it forks ask; it has closed its own by then.
fn fork_connected(to: &str, word: &str) -> Loot {
    let stream = connect(to)?;
    // SAFETY: one thread; the child only uses what is there.
    let child = check(libc::c_long::from(unsafe { libc::fork() }))?;
    if child == 0 {
        let code = match ask(stream, word) {
            Ok(answer) => {
                println!("child {answer}");
                0
            }
            Err(_) => 1,
        };
        std::process::exit(code);
    }
    drop(stream);
    let child = rustix::process::Pid::from_raw(child as i32);
    let status = rustix::process::waitpid(child, rustix::process::WaitOptions::empty())?;
    match status.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok(String::new()),
        other => Err(io::Error::other(format!("the child: {other:?}"))),
    }
}

/// The same with another program as the child, which has the connection for its standard input.
fn spawn_connected(to: &str, word: &str, program: &[&str]) -> Loot {
    let stream = connect(to)?;
    let (name, words) = program.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(name);
    child.args(words).args(["use-inherited", word]).stdin(Stdio::from(OwnedFd::from(stream)));
    // The command's own copy of the connection ends with it.
    let mut running = child.spawn()?;
    drop(child);
    if running.wait()?.success() { Ok(String::new()) } else { Err(io::Error::other("the child failed")) }
}

fn use_inherited(word: &str) -> Loot {
    ask(TcpStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?), word)
}
