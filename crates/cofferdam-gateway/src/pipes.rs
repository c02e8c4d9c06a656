//! Pipes for relaying without copying (`splice(2)`): made when bytes flow, kept for the next who need one.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// What a pipe holds, in bytes: fewer turns than with the usual 64 KiB.
const SIZE: usize = 1 << 20;
/// Most pipes of that size: `pipe-user-pages-soft` of `pipe(7)` is 64 of them for all of the person's processes.
const LARGE: usize = 32;
/// Most pipes that are kept.
const KEPT: usize = 64;

/// A pipe that is empty.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// The end to read from.
    pub(crate) reader: OwnedFd,
    /// The end to write to.
    pub(crate) writer: OwnedFd,
    /// What it holds, in bytes.
    pub(crate) size: usize,
}

/// The pipes that nobody uses.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    kept: RefCell<Vec<Pipe>>,
    large: std::cell::Cell<usize>,
}

impl Pipes {
    pub(crate) fn new() -> Pipes {
        Pipes::default()
    }

    /// An empty pipe.
    ///
    /// # Errors
    /// Those of `pipe2(2)`.
    pub(crate) fn take(&self) -> io::Result<Pipe> {
        if let Some(pipe) = self.kept.borrow_mut().pop() {
            return Ok(pipe);
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let mut size = 1 << 16;
        if self.large.get() < LARGE
            && let Ok(larger) = fcntl_setpipe_size(&writer, SIZE)
        {
            self.large.set(self.large.get() + 1);
            size = larger;
        }
        Ok(Pipe { reader, writer, size })
    }

    /// Takes an empty pipe back.
    pub(crate) fn give(&self, pipe: Pipe) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT {
            kept.push(pipe);
        } else {
            self.dropped(&pipe);
        }
    }

    /// Notes that a pipe is closed: one that still holds bytes cannot be given back.
    pub(crate) fn dropped(&self, pipe: &Pipe) {
        if pipe.size >= SIZE {
            self.large.set(self.large.get().saturating_sub(1));
        }
    }
}

#[cfg(test)]
impl Pipes {
    pub(crate) fn kept_now(&self) -> usize {
        self.kept.borrow().len()
    }
}
