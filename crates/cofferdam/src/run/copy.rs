//! Moving bytes between the person's streams and the command's, whatever kind of file each is.

use std::io;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

const CHUNK: usize = 256 * 1024;

/// Copies `from` to `to` on a thread of its own until `from` ends or `to` closes: a slow reader holds up its own stream
/// only. Closes both, so that the command sees end of file or SIGPIPE as it would without us.
pub fn copy(from: OwnedFd, to: OwnedFd) -> JoinHandle<io::Result<()>> {
    std::thread::spawn(move || {
        pass(&from, &to)?;
        Ok(())
    })
}

/// Moves all that comes, without looking at it; the bytes moved.
pub(super) fn pass(from: &OwnedFd, to: &OwnedFd) -> io::Result<u64> {
    // splice(2) waits with the offset that a file had when it began, and puts it back at its end: of two streams that
    // go to one file (`> log 2>&1`) each would write over the other. write(2) takes the offset when it writes.
    if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(to)?.st_mode) == rustix::fs::FileType::RegularFile {
        return by_hand(from, to);
    }
    // One side of ours is a pipe; splice moves pages where the other side can, and says EINVAL where it cannot
    // (a terminal).
    let mut moved = 0;
    loop {
        match splice(from, None, to, None, CHUNK, SpliceFlags::MOVE) {
            Ok(0) | Err(Errno::PIPE) => return Ok(moved),
            Ok(bytes) => moved += bytes as u64,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(from, to)?,
            Err(Errno::INVAL) => return Ok(moved + by_hand(from, to)?),
            Err(e) => return Err(e.into()),
        }
    }
}

fn by_hand(from: &OwnedFd, to: &OwnedFd) -> io::Result<u64> {
    let mut chunk = vec![0u8; 64 * 1024];
    let mut moved = 0;
    loop {
        let got = read(from, to, &mut chunk)?;
        if got == 0 || !write_all(from, to, &chunk[..got])? {
            return Ok(moved);
        }
        moved += got as u64;
    }
}

/// One read; 0 at the end.
pub(super) fn read(from: &OwnedFd, to: &OwnedFd, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(from, &mut *chunk) {
            Err(Errno::IO) => return Ok(0), // a terminal that hung up
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(from, to)?,
            other => return Ok(other?),
        }
    }
}

/// Writes all of it; `false` where the other side is closed.
pub(super) fn write_all(from: &OwnedFd, to: &OwnedFd, mut rest: &[u8]) -> io::Result<bool> {
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(wrote) => rest = &rest[wrote..],
            Err(Errno::PIPE) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(from, to)?,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(true)
}

/// Somebody else made a shared description non-blocking: waits a little until either side can move.
fn wait(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(from, PollFlags::IN), PollFd::new(to, PollFlags::OUT)];
    let tick = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    match poll(&mut fds[..1], Some(&tick)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    match poll(&mut fds[1..], Some(&tick)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
