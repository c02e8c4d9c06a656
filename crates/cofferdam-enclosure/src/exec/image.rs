//! What stands in a process just after its exec, read from /proc.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use cofferdam_core::Bytes;
use cofferdam_core::event::StreamKind;
use cofferdam_sys::pidfd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, major, minor, openat, readlinkat, statat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::stack::{self, Stack, Start};

/// More than the kernel lets an exec carry (`execve(2)`, "Limits on size and number of arguments": 6 MiB).
const MOST: usize = 8 << 20;
/// Most names of variables, and bytes of them, that are kept of one environment.
const MOST_NAMES: usize = 2048;
const MOST_OF_NAMES: usize = 64 << 10;

/// A program that has just been executed.
#[derive(Debug)]
pub struct Executed {
    /// The process, as the host numbers it.
    pub pid: Pid,
    /// A descriptor of it; absent where it could not be had (it has been reaped, or there is none left).
    pub pidfd: Option<OwnedFd>,
    /// Its parent, as the host numbers it; 0 where that is not known.
    pub parent: u32,
    /// Its arguments, each ended by a NUL.
    pub arguments: Vec<u8>,
    /// Whether `arguments` are only those that the call was given: another thread may have changed them.
    pub unconfirmed: bool,
    /// The path that the call was given, where it was given one.
    pub given: Option<Bytes>,
    /// The program's path inside; empty where it cannot be read.
    pub path: Bytes,
    /// The program's file; absent where it may not be read.
    pub file: Option<File>,
    /// The working directory.
    pub cwd: Bytes,
    /// The names of its environment's variables, in order, each once; bounded. Absent where they cannot be read.
    pub variables: Option<Vec<Bytes>>,
    /// Whether there were more names than the bound.
    pub variables_cut: bool,
    /// Standard input, output and error.
    pub streams: [StreamKind; 3],
    /// It is a program of another architecture: the filter ends it at its first call.
    pub foreign: bool,
}

impl Executed {
    /// Of a process that cannot be looked at any more.
    pub(super) fn unseen(pid: Pid, given: Option<Bytes>) -> Executed {
        Executed {
            pid,
            pidfd: None,
            parent: 0,
            arguments: Vec::new(),
            unconfirmed: true,
            given,
            path: Bytes::default(),
            file: None,
            cwd: Bytes::default(),
            variables: None,
            variables_cut: false,
            streams: [StreamKind::None; 3],
            foreign: false,
        }
    }
}

/// Reads the program of a process in its exec stop.
pub(super) fn read_at_stop(pid: Pid, pidfd: Option<OwnedFd>, given: Option<Bytes>) -> Executed {
    read(pid, pidfd, given, stack::read(pid))
}

/// Reads the program of a process that runs.
pub(super) fn read_running(pid: Pid, given: Option<Bytes>) -> Executed {
    read(pid, None, given, Start::default())
}

/// What cannot be read is left empty: a program without read permission closes /proc/PID.
fn read(pid: Pid, pidfd: Option<OwnedFd>, given: Option<Bytes>, start: Start) -> Executed {
    let mut executed = Executed { unconfirmed: false, foreign: start.foreign, ..Executed::unseen(pid, given) };
    executed.pidfd = pidfd.or_else(|| pidfd_open(pid, PidfdFlags::empty()).ok());
    let Ok(directory) = open_process(pid) else { return executed };
    executed.parent = parent(&directory, executed.pidfd.as_ref());
    let (arguments, environment) = match start.stack {
        Some(Stack { arguments, environment }) => (Ok(arguments), Ok(environment)),
        None => (read_all(&directory, "cmdline", MOST), read_all(&directory, "environ", MOST)),
    };
    executed.arguments = arguments.unwrap_or_default();
    executed.path = link(&directory, "exe");
    executed.file = openat(&directory, "exe", OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
        .ok()
        .map(File::from);
    executed.cwd = link(&directory, "cwd");
    if let Ok(block) = environment {
        let (names, cut) = names(&block);
        (executed.variables, executed.variables_cut) = (Some(names), cut);
    }
    executed.streams = ["fd/0", "fd/1", "fd/2"].map(|name| stream(&directory, name));
    executed
}

/// /proc/PID, which stays that process's whatever becomes of the number.
pub(super) fn open_process(pid: Pid) -> io::Result<OwnedFd> {
    let path = format!("/proc/{}", pid.as_raw_nonzero());
    Ok(openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A file of /proc/PID, `most` bytes of it.
pub(super) fn read_all(directory: &OwnedFd, name: &str, most: usize) -> io::Result<Vec<u8>> {
    let file = File::from(openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let mut all = Vec::with_capacity(4096);
    file.take(most as u64).read_to_end(&mut all)?;
    Ok(all)
}

fn link(directory: &OwnedFd, name: &str) -> Bytes {
    readlinkat(directory, name, Vec::with_capacity(256)).map(|target| target.into_bytes().into()).unwrap_or_default()
}

fn parent(directory: &OwnedFd, pidfd: Option<&OwnedFd>) -> u32 {
    match pidfd.map(|fd| pidfd::parent(fd.as_fd())) {
        Some(Ok(parent)) => parent,
        _ => read_all(directory, "stat", 4096).ok().and_then(|stat| parent_in(&stat)).unwrap_or(0),
    }
}

/// The fourth field of /proc/PID/stat; the second is a name in parentheses that may hold any byte.
fn parent_in(stat: &[u8]) -> Option<u32> {
    let after = stat.iter().rposition(|b| *b == b')')? + 1;
    std::str::from_utf8(&stat[after..]).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The names in an environment block, sorted, and whether there are more than the bound.
fn names(block: &[u8]) -> (Vec<Bytes>, bool) {
    let mut variables = block.split(|b| *b == 0).filter(|v| !v.is_empty());
    let (mut names, mut bytes) = (Vec::<Bytes>::new(), 0);
    let cut = loop {
        let Some(variable) = variables.next() else { break false };
        let name = variable.split(|b| *b == b'=').next().unwrap_or_default();
        bytes += name.len();
        if names.len() == MOST_NAMES || bytes > MOST_OF_NAMES {
            break true;
        }
        names.push(name.into());
    };
    names.sort_unstable();
    names.dedup();
    names.shrink_to_fit();
    (names, cut)
}

fn stream(directory: &OwnedFd, name: &str) -> StreamKind {
    // Follows the link of /proc without opening anything.
    let Ok(stat) = statat(directory, name, AtFlags::empty()) else { return StreamKind::None };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => StreamKind::Pipe,
        FileType::Socket => StreamKind::Socket,
        FileType::RegularFile => StreamKind::File,
        FileType::CharacterDevice => device(major(stat.st_rdev), minor(stat.st_rdev)),
        _ => StreamKind::Other,
    }
}

/// By Documentation/admin-guide/devices.txt.
fn device(major: u32, minor: u32) -> StreamKind {
    match (major, minor) {
        (1, 3) => StreamKind::Null,
        (4 | 5 | 136..=143, _) => StreamKind::Terminal,
        _ => StreamKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read_as_it_is() {
        let own = rustix::process::getpid();
        let read = read_running(own, None);
        assert_eq!(read.pid, own);
        let arguments: Vec<u8> =
            std::env::args_os().flat_map(|a| a.into_encoded_bytes().into_iter().chain([0])).collect();
        assert_eq!(read.arguments, arguments);
        assert_eq!(read.path, Bytes::from(std::env::current_exe().unwrap().as_path()));
        assert_eq!(read.cwd, Bytes::from(std::env::current_dir().unwrap().as_path()));
        let variables = read.variables.unwrap();
        assert!(variables.contains(&"PATH".into()) && variables.is_sorted());
        assert_eq!(Some(read.parent), Some(rustix::process::getppid().unwrap().as_raw_nonzero().get().unsigned_abs()));
        assert!(read.file.is_some() && read.pidfd.is_some());
    }

    #[test]
    fn a_name_cannot_pose_as_a_field() {
        assert_eq!(parent_in(b"7 (a) S 1 (b) R 42 7 7 0"), Some(42));
        assert_eq!(parent_in(b""), None);
    }

    #[test]
    fn names_have_no_values() {
        assert_eq!(names(b"B=1\0A=x=y\0B=2\0C\0\0"), (vec!["A".into(), "B".into(), "C".into()], false));
        let many = "X=1\0".repeat(MOST_NAMES + 1);
        assert_eq!(names(many.as_bytes()), (vec!["X".into()], true));
        assert_eq!(names(&[b'x'; MOST_OF_NAMES + 1]), (Vec::new(), true));
    }
}
