//! The command's standard input: what an editor asks by it, and what is piped into an agent, is what the person asks.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use cofferdam_core::Bytes;
use cofferdam_enclosure::Channel;
use cofferdam_runtime::protocol::{Ask, INPUT_KEPT, INPUT_PIECE};
use cofferdam_runtime::spoken::Spoken;

use super::copy;

/// Copies `from` to `to` as [`copy::copy`] does, and tells the monitor of what the person asks there, before the command has it:
/// of messages of editors what they ask; of other input of an `agent` the first [`INPUT_KEPT`] bytes, and how many it were.
///
/// # Errors
/// Where the channel cannot be shared with the thread.
pub fn copy_input(
    from: OwnedFd,
    to: OwnedFd,
    channel: &Channel,
    agent: bool,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let channel = Channel::from(channel.as_fd().try_clone_to_owned()?);
    Ok(std::thread::spawn(move || {
        let mut input = Input { channel, agent, spoken: Spoken::default(), waiting: Vec::new(), told: 0 };
        let total = input.copy(&from, &to)?;
        // Before the command sees the end of its input: what it then does comes after it.
        if agent {
            input.tell(&Ask::InputEnded { total })?;
        }
        drop(to);
        Ok(())
    }))
}

struct Input {
    channel: Channel,
    agent: bool,
    spoken: Spoken,
    /// What came while it was open whether these are messages.
    waiting: Vec<u8>,
    /// Bytes of other input that were told.
    told: usize,
}

impl Input {
    /// Copies all of it; how many bytes it were.
    fn copy(&mut self, from: &OwnedFd, to: &OwnedFd) -> io::Result<u64> {
        let mut piece = vec![0u8; INPUT_PIECE];
        let mut total = 0;
        while self.is_of_interest() {
            let got = copy::read(from, to, &mut piece)?;
            self.take(&piece[..got])?;
            if got == 0 {
                return Ok(total);
            }
            total += got as u64;
            if !copy::write_all(from, to, &piece[..got])? {
                return Ok(total);
            }
        }
        Ok(total + copy::pass(from, to)?)
    }

    fn is_of_interest(&self) -> bool {
        match self.spoken.is_messages() {
            None | Some(true) => true,
            Some(false) => self.agent && self.told < INPUT_KEPT,
        }
    }

    /// Tells what a piece says; an empty one is the end.
    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        let prompts = if piece.is_empty() { self.spoken.end() } else { self.spoken.push(piece) };
        for text in prompts {
            let mut parts = text.as_bytes()[..text.len().min(INPUT_KEPT)].chunks(INPUT_PIECE).peekable();
            while let Some(part) = parts.next() {
                let bytes = parts.peek().is_none().then_some(text.len() as u64);
                self.tell(&Ask::Message { text: Bytes::from(part), bytes })?;
            }
        }
        match self.spoken.is_messages() {
            Some(true) => self.waiting.clear(),
            None if !piece.is_empty() => {
                let room = INPUT_KEPT.saturating_sub(self.waiting.len());
                self.waiting.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            _ if self.agent => {
                let mut text = std::mem::take(&mut self.waiting);
                text.extend_from_slice(piece);
                text.truncate(INPUT_KEPT - self.told);
                self.told += text.len();
                for part in text.chunks(INPUT_PIECE) {
                    self.tell(&Ask::Input(Bytes::from(part)))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn tell(&self, what: &Ask) -> io::Result<()> {
        match self.channel.send(what, &[]) {
            // The monitor is gone, and the run with it.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}
