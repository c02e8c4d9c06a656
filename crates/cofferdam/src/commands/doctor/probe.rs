//! The inside half of `coffer doctor`: tries to get out. It needs no authority, and gives none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Check, network};
use crate::commands::Answer;
use crate::failure::Failure;
use crate::output;

/// Where the planted targets are.
#[derive(Debug, Serialize, Deserialize)]
pub struct Spec {
    /// A file in the person's home.
    pub key: PathBuf,
    /// A TCP port of the host's loopback.
    pub port: u16,
    /// An abstract socket of the host.
    pub abstract_name: String,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Probed {
    /// What must fail, and what must work for an enclosure to be one.
    pub boundary: Vec<Check>,
    /// What programs find when they go to the network. Less than all costs them something, and lets nothing out.
    pub network: Vec<Check>,
}

/// Tries everything and prints what came of it.
pub fn probe(spec: &str) -> Answer {
    let spec: Spec = serde_json::from_str(spec)
        .map_err(|e| Failure::new(format!("not a probe: {e}")).next("this command is for `coffer doctor`"))?;
    let boundary = vec![
        must_fail("a key planted in your home cannot be read", std::fs::read_to_string(&spec.key)),
        must_fail(
            "a TCP listener of the host cannot be reached",
            TcpStream::connect_timeout(&([127, 0, 0, 1], spec.port).into(), Duration::from_secs(1)),
        ),
        must_fail(
            "an abstract socket of the host cannot be reached",
            SocketAddr::from_abstract_name(&spec.abstract_name).and_then(|a| UnixStream::connect_addr(&a)),
        ),
        must_fail("the environment outside does not come in", std::env::var("COFFER_DOCTOR_CANARY")),
        must_fail(
            "no mount can be made",
            rustix::mount::mount("none", "/tmp", "tmpfs", rustix::mount::MountFlags::empty(), None),
        ),
        must_fail("the system cannot be written", std::fs::write("/usr/coffer-doctor", "x")),
        must_fail(
            "no user namespace can be made",
            std::process::Command::new("unshare")
                .args(["-U", "true"])
                .status()
                .and_then(|s| if s.success() { Ok(()) } else { Err(std::io::Error::other("refused")) }),
        ),
        status_line("CapBnd", "0000000000000000", "no capability is left"),
        status_line("NoNewPrivs", "1", "set-id programs give nothing"),
        status_line("Seccomp", "2", "system calls are filtered"),
        processes(),
        must_work("the workspace can be written", workspace()),
        must_work("a directory of the project can be renamed", std::fs::rename("directory", "renamed")),
        must_work("loopback works inside", loopback()),
        must_work("/tmp is private and writable", std::fs::write("/tmp/probe", "x")),
        network::datagrams(),
    ];
    output::json(&Probed { boundary, network: network::arrives() })?;
    Ok(ExitCode::SUCCESS)
}

fn must_fail<T, E: std::fmt::Display>(name: &str, result: Result<T, E>) -> Check {
    match result {
        Ok(_) => Check::new(name, false, "it worked"),
        Err(e) => Check::new(name, true, e.to_string()),
    }
}

fn must_work<T, E: std::fmt::Display>(name: &str, result: Result<T, E>) -> Check {
    match result {
        Ok(_) => Check::new(name, true, "works"),
        Err(e) => Check::new(name, false, e.to_string()),
    }
}

/// One line of /proc/self/status (proc_pid_status(5)).
fn status_line(field: &str, wanted: &str, name: &str) -> Check {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':')).unwrap_or("").trim();
    Check::new(name, value == wanted, format!("{field} is {value}"))
}

/// Only init and this process are there.
fn processes() -> Check {
    let pids: Vec<u32> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    Check::new(
        "other processes cannot be seen",
        pids.len() <= 3,
        output::counted(pids.len() as u64, "process").replace("processs", "processes"),
    )
}

fn workspace() -> std::io::Result<()> {
    std::fs::write("file", "after")?;
    std::fs::write("new", "x")?;
    std::fs::rename("new", "newer")
}

fn loopback() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.write_all(b"x")?;
    server.read_exact(&mut [0])
}
