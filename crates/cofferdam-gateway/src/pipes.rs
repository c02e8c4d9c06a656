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
pub(crate) struct Ends {
    /// To read from.
    pub(crate) reader: OwnedFd,
    /// To write to.
    pub(crate) writer: OwnedFd,
    /// What it holds, in bytes.
    pub(crate) size: usize,
}

/// A pipe that was empty when it was lent. Dropped, it is closed: it may hold bytes of a connection then.
#[derive(Debug)]
pub(crate) struct Pipe<'p> {
    pipes: &'p Pipes,
    ends: Option<Ends>,
    large: bool,
    /// Whether it was given back.
    kept: bool,
}

impl Pipe<'_> {
    /// The end to read from, the end to write to, and what it holds, in bytes.
    pub(crate) fn ends(&self) -> io::Result<(&OwnedFd, &OwnedFd, usize)> {
        let ends = self.ends.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok((&ends.reader, &ends.writer, ends.size))
    }

    /// Lends its ends to a thread.
    ///
    /// # Errors
    /// Where they are lent.
    pub(crate) fn lend(&mut self) -> io::Result<Ends> {
        self.ends.take().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// They are back.
    pub(crate) fn returned(&mut self, ends: Ends) {
        self.ends = Some(ends);
    }

    /// Gives it back, empty.
    pub(crate) fn give_back(mut self) {
        let mut kept = self.pipes.kept.borrow_mut();
        if let Some(ends) = self.ends.take().filter(|_| kept.len() < KEPT) {
            kept.push(ends);
            self.kept = true;
        }
    }
}

impl Drop for Pipe<'_> {
    fn drop(&mut self) {
        // Given back it is not; lent to a thread that does not return it, it is closed there.
        if self.large && !self.kept {
            self.pipes.large.set(self.pipes.large.get().saturating_sub(1));
        }
    }
}

/// The pipes that nobody uses.
#[derive(Debug)]
pub(crate) struct Pipes {
    kept: RefCell<Vec<Ends>>,
    /// How many large ones there are, lent or kept.
    large: Cell<usize>,
    /// How many lanes are free.
    lanes: Cell<usize>,
}

/// A connection's lane ([`crate::lanes`]), free again when it is dropped.
pub(crate) struct Place<'p>(&'p Pipes);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.lanes.set(self.0.lanes.get() + 1);
    }
}

impl Pipes {
    /// Pipes, and so many lanes.
    pub(crate) fn new(lanes: usize) -> Pipes {
        Pipes { kept: RefCell::default(), large: Cell::new(0), lanes: Cell::new(lanes) }
    }

    /// A lane, where one is free.
    pub(crate) fn lane(&self) -> Option<Place<'_>> {
        self.lanes.set(self.lanes.get().checked_sub(1)?);
        Some(Place(self))
    }

    /// An empty pipe.
    ///
    /// # Errors
    /// Those of `pipe2(2)`.
    pub(crate) fn take(&self) -> io::Result<Pipe<'_>> {
        if let Some(ends) = self.kept.borrow_mut().pop() {
            let large = ends.size >= SIZE;
            return Ok(Pipe { pipes: self, ends: Some(ends), large, kept: false });
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let mut size = 1 << 16;
        if self.large.get() < LARGE
            && let Ok(larger) = fcntl_setpipe_size(&writer, SIZE)
        {
            self.large.set(self.large.get() + 1);
            size = larger;
        }
        Ok(Pipe { pipes: self, ends: Some(Ends { reader, writer, size }), large: size >= SIZE, kept: false })
    }
}

#[cfg(test)]
impl Pipes {
    /// Pipes that nobody uses, and large ones.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.kept.borrow().len(), self.large.get())
    }
}
