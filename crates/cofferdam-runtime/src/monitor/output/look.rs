//! What the standard streams of a process are, seen through `/proc` (proc_pid_fd(5), proc_pid_fdinfo(5)).
//!
//! All of it may change while it is read, unless the process is held in a notice and has one thread; what comes of a
//! wrong look is an output that is not recorded, never one that is lost.

use std::fmt::Write as _;

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open, stat};

/// Names an open pipe, socket or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    device: u64,
    number: u64,
}

impl From<&Stat> for Inode {
    fn from(s: &Stat) -> Inode {
        Inode { device: s.st_dev, number: s.st_ino }
    }
}

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pipe,
    Socket,
    File,
}

/// A stream that output can be read of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) inode: Inode,
    pub(super) kind: Kind,
}

impl Look {
    /// `None` for terminals, devices and the rest.
    fn of(s: &Stat) -> Option<Look> {
        let kind = match FileType::from_raw_mode(s.st_mode) {
            FileType::Fifo => Kind::Pipe,
            FileType::Socket => Kind::Socket,
            FileType::RegularFile => Kind::File,
            _ => return None,
        };
        Some(Look { inode: s.into(), kind })
    }

    /// Descriptor `number` of a process or thread.
    pub(super) fn at(pid: u32, number: u32) -> Option<Look> {
        Look::of(&stat(format!("/proc/{pid}/fd/{number}")).ok()?)
    }

    /// Whether it is a FIFO with a name (fifo(7)), which outlives its readers and gets others; `pipe` is one without.
    pub(super) fn has_name(&self, pipe: Inode) -> bool {
        self.kind == Kind::Pipe && self.inode.device != pipe.device
    }

    /// A descriptor of this process.
    pub(super) fn here(fd: &OwnedFd) -> Option<Look> {
        Look::of(&fstat(fd).ok()?)
    }
}

/// The flags of descriptor `number`: those of `open(2)`, close-on-exec among them.
pub(super) fn flags(pid: u32, number: u32) -> Option<OFlags> {
    let text = small_file(&format!("/proc/{pid}/fdinfo/{number}"))?;
    let octal = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    u32::from_str_radix(octal.trim(), 8).ok().map(OFlags::from_bits_retain)
}

/// The parent of a process or thread: the field after the state (proc_pid_stat(5)). A name may hold brackets and
/// spaces, so that its end is the last bracket.
pub(super) fn parent(pid: u32) -> Option<u32> {
    let text = small_file(&format!("/proc/{pid}/stat"))?;
    text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The process that a thread belongs to.
pub(super) fn process_of(thread: u32) -> Option<u32> {
    let text = small_file(&format!("/proc/{thread}/status"))?;
    text.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// The first 4 KiB of a file of `/proc`.
fn small_file(path: &str) -> Option<String> {
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut bytes = [0u8; 4096];
    let got = rustix::io::read(&file, &mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..got]).into_owned())
}

/// The path by which a descriptor of this process is opened a second time, with flags of its own.
pub(super) fn path_of(fd: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    let mut path = String::from("/proc/self/fd/");
    // Writing to a String does not fail.
    let _ = write!(path, "{}", fd.as_raw_fd());
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_as_it_is() {
        let me = std::process::id();
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        use std::os::fd::AsRawFd;
        let number = writer.as_raw_fd().cast_unsigned();
        let look = Look::at(me, number).unwrap();
        assert_eq!(look.kind, Kind::Pipe);
        assert_eq!(Some(look), Look::here(&reader), "both ends are one inode");
        let flags = flags(me, number).unwrap();
        assert!(flags.contains(OFlags::CLOEXEC));
        assert_eq!(flags & OFlags::RWMODE, OFlags::WRONLY);
        assert_eq!(parent(me), rustix::process::getppid().map(|p| p.as_raw_nonzero().get().cast_unsigned()));
        assert_eq!(process_of(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()), Some(me));
        assert_eq!(Look::at(me, 999_999), None);
        assert_eq!(Look::of(&stat("/dev/null").unwrap()), None);
    }
}
