//! The end of a long stream, in a pipe of the monitor's own: bounded by the pipe's capacity, in the kernel's memory.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice, tee};

/// Four times the 64 KiB that are promised: small writes fill pages half, and room is made by dropping half.
const CAPACITY: usize = 256 << 10;
/// A pipe that holds less does not keep the promise.
const LEAST: usize = 128 << 10;

/// The last bytes of a stream, in a pipe.
pub(super) struct Tail {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
    held: usize,
}

impl Tail {
    /// # Errors
    /// `EMFILE`, `ENFILE`; `ENOBUFS` where the user's share of pipe memory is used up.
    pub(super) fn new() -> Result<Tail, Errno> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let mut tail = Tail { reader, writer, capacity: 0, held: 0 };
        tail.enlarge(CAPACITY)?;
        if tail.capacity < LEAST { Err(Errno::NOBUFS) } else { Ok(tail) }
    }

    /// Takes what the user's share of pipe memory still gives (`pipe-user-pages-soft`, pipe(7)).
    pub(super) fn enlarge(&mut self, capacity: usize) -> Result<(), Errno> {
        self.capacity = match fcntl_setpipe_size(&self.writer, capacity) {
            Ok(size) => size,
            Err(_) => rustix::pipe::fcntl_getpipe_size(&self.writer)?,
        };
        Ok(())
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Keeps a copy; of more than fits, the last bytes.
    pub(super) fn push(&mut self, bytes: &[u8], null: &OwnedFd) -> Result<(), Errno> {
        let mut rest = &bytes[bytes.len().saturating_sub(self.capacity)..];
        self.make_room(rest.len(), null)?;
        while !rest.is_empty() {
            match rustix::io::write(&self.writer, rest) {
                Ok(wrote) => {
                    self.held += wrote;
                    rest = &rest[wrote..];
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.held > 0 => self.forget(self.held.div_ceil(2), null)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Keeps up to `most` bytes that stand in the pipe `input` and leaves them there; how many.
    ///
    /// # Errors
    /// `EAGAIN` where nothing stands in it.
    pub(super) fn tee(&mut self, input: impl AsFd, most: usize, null: &OwnedFd) -> Result<usize, Errno> {
        // Room is made for what there is, not for more.
        let available = rustix::io::ioctl_fionread(&input)?;
        let most = usize::try_from(available).unwrap_or(most).min(most).min(self.capacity);
        if most == 0 {
            return Err(Errno::AGAIN);
        }
        self.make_room(most, null)?;
        loop {
            match tee(&input, &self.writer, most, SpliceFlags::NONBLOCK) {
                Ok(got) => {
                    self.held += got;
                    return Ok(got);
                }
                Err(Errno::INTR) => {}
                // The pages of the tail are used up, each perhaps by a few bytes; or a thief was at `input`.
                Err(Errno::AGAIN) if self.held > 0 && rustix::io::ioctl_fionread(&input)? > 0 => {
                    self.forget(self.held.div_ceil(2), null)?;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads from its start; 0 where nothing is left.
    pub(super) fn take(&mut self, into: &mut [u8]) -> Result<usize, Errno> {
        if self.held == 0 {
            return Ok(0);
        }
        let got = rustix::io::read(&self.reader, into)?;
        self.held -= got;
        Ok(got)
    }

    fn make_room(&mut self, bytes: usize, null: &OwnedFd) -> Result<(), Errno> {
        let over = (self.held + bytes).saturating_sub(self.capacity);
        if over > 0 { self.forget(over.max(self.held / 2).min(self.held), null) } else { Ok(()) }
    }

    fn forget(&mut self, mut bytes: usize, null: &OwnedFd) -> Result<(), Errno> {
        while bytes > 0 {
            match splice(&self.reader, None, null, None, bytes, SpliceFlags::NONBLOCK | SpliceFlags::MOVE) {
                Ok(0) => return Err(Errno::IO),
                Ok(gone) => {
                    self.held -= gone;
                    bytes -= gone.min(bytes);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags, open};

    fn all(tail: &mut Tail) -> Vec<u8> {
        let (mut out, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            match tail.take(&mut chunk).unwrap() {
                0 => return out,
                got => out.extend_from_slice(&chunk[..got]),
            }
        }
    }

    #[test]
    fn the_last_64_kib_are_kept_however_they_came() {
        let null = open("/dev/null", OFlags::WRONLY, Mode::empty()).unwrap();
        for size in [1, 100, 2049, 4097, 65_536, 300_000] {
            let mut tail = Tail::new().unwrap();
            let mut sent = Vec::new();
            while sent.len() < 1 << 20 {
                let piece: Vec<u8> = (0..size).map(|i| ((sent.len() + i) / 7 % 251) as u8).collect();
                tail.push(&piece, &null).unwrap();
                sent.extend(piece);
            }
            let kept = all(&mut tail);
            assert!(kept.len() >= 64 << 10, "{size}: only {}", kept.len());
            assert!(sent.ends_with(&kept), "{size}");
        }
    }

    #[test]
    fn pieces_that_fill_a_page_each_push_out_old_ones() {
        let null = open("/dev/null", OFlags::WRONLY, Mode::empty()).unwrap();
        let (input, feed) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let mut tail = Tail::new().unwrap();
        for i in 0..1000u32 {
            rustix::io::write(&feed, &i.to_le_bytes()).unwrap();
            assert_eq!(tail.tee(&input, 1 << 20, &null), Ok(4));
            let mut same = [0; 4];
            rustix::io::read(&input, &mut same).unwrap();
            assert_eq!(same, i.to_le_bytes());
        }
        let kept = all(&mut tail);
        assert!(kept.len() >= 4 * 32);
        assert!(kept.ends_with(&999u32.to_le_bytes()));
        assert_eq!(tail.tee(&input, 1 << 20, &null), Err(Errno::AGAIN));
    }
}
