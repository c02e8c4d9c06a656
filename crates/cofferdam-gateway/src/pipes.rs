//! Pipes for relaying without copying (`splice(2)`): made when bytes flow, kept for the next who need one.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// What a pipe holds, in bytes: fewer turns than with the usual 64 KiB.
const SIZE: usize = 1 << 20;
/// Most pipes of that size: `pipe-user-pages-soft` of `pipe(7)` is 64 of them for all of the person's processes.
const LARGE: usize = 32;
/// Most pipes that are kept.
const KEPT: usize = 64;

/// A pipe's ends.
#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
    size: usize,
}

/// A pipe that was empty when it was lent. Dropped, it is closed: it may hold bytes of a connection then.
#[derive(Debug)]
pub(crate) struct Pipe<'p> {
    pipes: &'p Pipes,
    ends: Option<Ends>,
}

impl Pipe<'_> {
    /// The end to read from, the end to write to, and what it holds, in bytes.
    pub(crate) fn ends(&self) -> io::Result<(&OwnedFd, &OwnedFd, usize)> {
        let ends = self.ends.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok((&ends.reader, &ends.writer, ends.size))
    }

    /// Gives it back, empty.
    pub(crate) fn give_back(mut self) {
        let mut kept = self.pipes.kept.borrow_mut();
        if kept.len() < KEPT {
            kept.extend(self.ends.take());
        }
    }
}

impl Drop for Pipe<'_> {
    fn drop(&mut self) {
        if self.ends.as_ref().is_some_and(|ends| ends.size >= SIZE) {
            self.pipes.large.set(self.pipes.large.get().saturating_sub(1));
        }
    }
}

/// The pipes that nobody uses.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    kept: RefCell<Vec<Ends>>,
    /// How many large ones there are, lent or kept.
    large: Cell<usize>,
}

impl Pipes {
    pub(crate) fn new() -> Pipes {
        Pipes::default()
    }

    /// An empty pipe.
    ///
    /// # Errors
    /// Those of `pipe2(2)`.
    pub(crate) fn take(&self) -> io::Result<Pipe<'_>> {
        if let Some(ends) = self.kept.borrow_mut().pop() {
            return Ok(Pipe { pipes: self, ends: Some(ends) });
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let mut size = 1 << 16;
        if self.large.get() < LARGE
            && let Ok(larger) = fcntl_setpipe_size(&writer, SIZE)
        {
            self.large.set(self.large.get() + 1);
            size = larger;
        }
        Ok(Pipe { pipes: self, ends: Some(Ends { reader, writer, size }) })
    }
}

#[cfg(test)]
impl Pipes {
    /// Pipes that nobody uses, and large ones.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.kept.borrow().len(), self.large.get())
    }
}
