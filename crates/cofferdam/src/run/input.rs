//! The standard input of an agent: what is piped into it is what the person asks, so the monitor gets its beginning.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use cofferdam_core::Bytes;
use cofferdam_enclosure::Channel;
use cofferdam_runtime::protocol::{Ask, INPUT_KEPT, INPUT_PIECE};

use super::copy;

/// Copies `from` to `to` as [`copy::copy`] does, and tells the monitor of the first [`INPUT_KEPT`] bytes, before the command
/// has them, and of how many it were.
///
/// # Errors
/// Where the channel cannot be shared with the thread.
pub fn copy_input(from: OwnedFd, to: OwnedFd, channel: &Channel) -> io::Result<JoinHandle<io::Result<()>>> {
    let channel = Channel::from(channel.as_fd().try_clone_to_owned()?);
    Ok(std::thread::spawn(move || {
        let total = told(&from, &to, &channel)?;
        // Before the command sees the end of its input: what it then does comes after it.
        tell(&channel, &Ask::InputEnded { total })?;
        drop(to);
        Ok(())
    }))
}

fn told(from: &OwnedFd, to: &OwnedFd, channel: &Channel) -> io::Result<u64> {
    let mut piece = vec![0u8; INPUT_PIECE];
    let mut total = 0;
    while total < INPUT_KEPT {
        let most = INPUT_PIECE.min(INPUT_KEPT - total);
        let got = copy::read(from, to, &mut piece[..most])?;
        if got == 0 {
            return Ok(total as u64);
        }
        tell(channel, &Ask::Input(Bytes::from(&piece[..got])))?;
        total += got;
        if !copy::write_all(from, to, &piece[..got])? {
            return Ok(total as u64);
        }
    }
    Ok(total as u64 + copy::pass(from, to)?)
}

fn tell(channel: &Channel, what: &Ask) -> io::Result<()> {
    match channel.send(what, &[]) {
        // The monitor is gone, and the run with it.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
