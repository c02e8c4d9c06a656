//! Moving bytes from a command to its reader.
//!
//! Nothing here blocks: our ends are not shared with anybody, and a shared one is never given flags.

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};

use super::OutputError;
use super::tee::{Flow, Interest, Medium, Shared, Tee};

/// Bytes of one read.
pub(super) const CHUNK: usize = 64 << 10;
/// … while many readers do not read: what waits for them is memory of the monitor.
const SMALL_CHUNK: usize = 4 << 10;
/// Most bytes that wait for readers before chunks are small.
const MOST_PENDING: usize = 4 << 20;
/// From this many bytes on, pages are handed on instead of copies (past the head).
const STREAM: u64 = 32 << 10;
/// What the pipes of a long stream are enlarged to.
const LARGE: usize = 1 << 20;
/// Streams whose pipes are enlarged at a time: three pipes of 256 pages each, out of the user's 16,384
/// (`pipe-user-pages-soft`), of which the pipes of commands need the rest.
const MOST_LARGE: usize = 8;

impl Tee {
    /// The original reports something: the reader is gone, has room, or writes no more.
    pub(super) fn on_out(&mut self, ready: EventFlags, shared: &mut Shared) -> Result<Flow, OutputError> {
        if ready.intersects(EventFlags::ERR | EventFlags::HUP) {
            self.abandon(shared)?;
            return Ok(Flow::Ended);
        }
        if ready.contains(EventFlags::RDHUP) && !self.mirrored {
            self.mirrored = true;
            // Whoever reads from its own standard output gets the end of file that the original would give it.
            shutdown(&self.input, Shutdown::Write)?;
            self.watch_out(self.is_blocked(), shared)?;
        }
        if self.is_blocked() { self.pump(false, shared) } else { Ok(Flow::Drained) }
    }

    /// Moves what can be moved: once, or, with `thorough`, as often as the fullest pipe takes.
    pub(super) fn pump(&mut self, thorough: bool, shared: &mut Shared) -> Result<Flow, OutputError> {
        let flow = self.moved(thorough, shared)?;
        let interest = match (flow, self.interest) {
            (Flow::Blocked, _) => Interest::Room,
            (_, Interest::HangUp) => Interest::HangUp,
            (Flow::Drained | Flow::More, _) => Interest::Input,
            (Flow::Ended, _) => return Ok(flow),
        };
        self.wait_for(interest, shared)?;
        Ok(flow)
    }

    fn moved(&mut self, thorough: bool, shared: &mut Shared) -> Result<Flow, OutputError> {
        let mut rounds = if thorough { LARGE / CHUNK * 4 } else { 1 };
        loop {
            let step = match self.hand_on_pending(shared)? {
                Flow::Drained if self.ahead > 0 => self.splice_ahead(shared)?,
                Flow::Drained if self.streams()? => self.step_by_pages(shared)?,
                Flow::Drained => self.step_by_copy(thorough, shared)?,
                other => other,
            };
            rounds -= 1;
            if step != Flow::More || rounds == 0 {
                return Ok(step);
            }
        }
    }

    /// Whether what stands in the pipe is worth to be handed on by pages.
    fn streams(&mut self) -> Result<bool, OutputError> {
        Ok(self.medium == Medium::Pipe && self.kept.pipe().is_some() && self.available()? >= STREAM)
    }

    /// Bytes that stand in our end.
    fn available(&self) -> Result<u64, OutputError> {
        rustix::io::ioctl_fionread(&self.input).map_err(OutputError::system("look into a pipe"))
    }

    fn step_by_copy(&mut self, thorough: bool, shared: &mut Shared) -> Result<Flow, OutputError> {
        let most = if shared.pending > MOST_PENDING { SMALL_CHUNK } else { CHUNK };
        let got = match self.read(&mut shared.chunk[..most]) {
            Ok(0) => return self.writers_said_end(shared),
            Ok(got) => got,
            Err(Errno::AGAIN) => return Ok(Flow::Drained),
            Err(Errno::INTR) => return Ok(Flow::More),
            // What a socket's writers left unread at their end: as an end.
            Err(Errno::CONNRESET) => return Ok(Flow::Ended),
            Err(e) => return Err(OutputError::system("read the output of a command")(e)),
        };
        self.kept.add(&shared.chunk[..got], &shared.keeper)?;
        let mut at = 0;
        while at < got {
            match self.write(&shared.chunk[at..got]) {
                Ok(wrote) => {
                    at += wrote;
                    self.handed += wrote as u64;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.pending = shared.chunk[at..got].to_vec();
                    shared.pending += self.pending.len();
                    return Ok(Flow::Blocked);
                }
                Err(_gone) => {
                    self.refused += (got - at) as u64;
                    self.abandon(shared)?;
                    return Ok(Flow::Ended);
                }
            }
        }
        // A short read has emptied it; what comes later is announced.
        Ok(if got < most && !thorough { Flow::Drained } else { Flow::More })
    }

    fn hand_on_pending(&mut self, shared: &mut Shared) -> Result<Flow, OutputError> {
        while !self.pending.is_empty() {
            match self.write(&self.pending) {
                Ok(wrote) => {
                    self.handed += wrote as u64;
                    shared.pending -= wrote;
                    self.pending.drain(..wrote);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Flow::Blocked),
                Err(_gone) => {
                    self.abandon(shared)?;
                    return Ok(Flow::Ended);
                }
            }
        }
        self.pending = Vec::new();
        Ok(Flow::Drained)
    }

    /// The tail takes references to the pages, then the pages move on.
    fn step_by_pages(&mut self, shared: &mut Shared) -> Result<Flow, OutputError> {
        if !self.large && shared.large < MOST_LARGE {
            self.large = true;
            shared.large += 1;
            // Where the user's share is used up the pipes stay as they are, and the stream is slower.
            let _ = fcntl_setpipe_size(&self.input, LARGE);
            let _ = fcntl_setpipe_size(&self.out, LARGE);
            if let Some(tail) = self.kept.pipe() {
                tail.enlarge(LARGE).map_err(OutputError::system("look at a pipe"))?;
            }
        }
        let Some(tail) = self.kept.pipe() else { return self.step_by_copy(false, shared) };
        self.ahead = match tail.tee(&self.input, LARGE, &shared.keeper.null) {
            Ok(got) => got,
            Err(Errno::AGAIN) => return Ok(Flow::Drained),
            Err(e) => return Err(OutputError::system("keep the end of a stream")(e)),
        };
        self.kept.count(self.ahead);
        self.splice_ahead(shared)
    }

    fn splice_ahead(&mut self, shared: &mut Shared) -> Result<Flow, OutputError> {
        while self.ahead > 0 {
            let how = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            match splice(&self.input, None, &self.out, None, self.ahead, how) {
                Ok(moved) if moved > 0 => {
                    self.ahead -= moved.min(self.ahead);
                    self.handed += moved as u64;
                }
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => {
                    self.abandon(shared)?;
                    return Ok(Flow::Ended);
                }
                Ok(_) | Err(Errno::AGAIN) => {
                    if self.available()? > 0 {
                        return Ok(Flow::Blocked);
                    }
                    // Somebody inside read from the pipe it writes to: what was kept was never handed on, and the
                    // statement of the run says by how much.
                    self.ahead = 0;
                }
                Err(e) => return Err(OutputError::system("hand on the output of a command")(e)),
            }
        }
        Ok(Flow::More)
    }

    /// A read gave the end of file.
    fn writers_said_end(&mut self, shared: &Shared) -> Result<Flow, OutputError> {
        if self.medium == Medium::Pipe || hung_up(&self.input)? {
            return Ok(Flow::Ended);
        }
        // Somebody still holds the socket, and said that it writes no more: so does the original.
        if self.interest != Interest::HangUp {
            shutdown(&self.out, Shutdown::Write)?;
            self.wait_for(Interest::HangUp, shared)?;
        }
        Ok(Flow::Drained)
    }

    /// The reader is gone: keeps what the command wrote by now, at most what its stream holds, and lets it meet the closed
    /// end at its next write.
    pub(super) fn abandon(&mut self, shared: &mut Shared) -> Result<(), OutputError> {
        shared.pending -= self.pending.len();
        self.refused += (self.pending.len() + self.ahead) as u64;
        self.pending = Vec::new();
        let mut known = std::mem::take(&mut self.ahead);
        let mut left = LARGE;
        while left > 0 {
            match self.read(&mut shared.chunk[..CHUNK]) {
                Ok(0) => break,
                Ok(got) => {
                    let new = got - known.min(got);
                    self.kept.add(&shared.chunk[got - new..got], &shared.keeper)?;
                    self.refused += new as u64;
                    known -= got - new;
                    left = left.saturating_sub(got);
                }
                Err(Errno::INTR) => {}
                Err(_empty) => break,
            }
        }
        Ok(())
    }

    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        match self.medium {
            Medium::Pipe => rustix::io::read(&self.input, into),
            Medium::Socket => rustix::net::recv(&self.input, into, RecvFlags::DONTWAIT).map(|(got, _)| got),
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self.medium {
            Medium::Pipe => rustix::io::write(&self.out, bytes),
            Medium::Socket => rustix::net::send(&self.out, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
        }
    }
}

/// Whether all writers of a socket are gone, not only silent.
fn hung_up(fd: &OwnedFd) -> Result<bool, OutputError> {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).map_err(OutputError::system("look at a socket"))?;
    Ok(fds[0].revents().contains(PollFlags::HUP))
}

/// Half-closes; the other side may be gone already, which is seen elsewhere.
fn shutdown(fd: impl AsFd, how: Shutdown) -> Result<(), OutputError> {
    match rustix::net::shutdown(fd, how) {
        Ok(()) | Err(Errno::NOTCONN) => Ok(()),
        Err(e) => Err(OutputError::system("half-close a socket")(e)),
    }
}
