//! Output that goes to a regular file: read from there when its command has ended.

use cofferdam_core::event::{Source, Stream};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, SeekFrom, fstat, open, seek};
use rustix::io::Errno;

use super::kept::{Blob, EXCERPT, HEAD, Keeper};
use super::look::{Inode, Kind, Look, path_of};
use super::tee::Owner;
use super::{Finished, OutputError};

/// Bytes of the end that are kept of a long output.
const TAIL: u64 = EXCERPT as u64;

/// A file that a command writes to, open for reading.
pub(super) struct Held {
    pub(super) owner: Owner,
    pub(super) inode: Inode,
    stream: Stream,
    file: OwnedFd,
    /// Where the command's output starts.
    start: u64,
}

impl Held {
    /// Opens the file behind a command's descriptor, which must be open for writing, once more for reading. O_NONBLOCK:
    /// a lease (`fcntl(2)`) that somebody inside holds must not make the monitor wait.
    ///
    /// # Errors
    /// Those of `open(2)`: `EACCES` where the file may not be read.
    pub(super) fn open(
        descriptor: &OwnedFd,
        flags: OFlags,
        stream: Stream,
        owner: Owner,
    ) -> Result<Option<Held>, Errno> {
        let file = open(
            path_of(descriptor),
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let Some(Look { inode, kind: Kind::File }) = Look::here(&file) else { return Ok(None) };
        let start = if flags.contains(OFlags::APPEND) {
            u64::try_from(fstat(&file)?.st_size).unwrap_or(0)
        } else {
            seek(descriptor, SeekFrom::Current(0))?
        };
        Ok(Some(Held { owner, inode, stream, file, start }))
    }

    /// Reads what the command left there; `None` where that is nothing. A file that became shorter than where the output
    /// started was emptied meanwhile: then all of it is output.
    pub(super) fn read(self, chunk: &mut [u8], keeper: &Keeper) -> Result<Read, OutputError> {
        let size = match fstat(&self.file) {
            Ok(stat) => u64::try_from(stat.st_size).unwrap_or(0),
            Err(_) => return Ok(Read::Unreadable),
        };
        let start = if size < self.start { 0 } else { self.start };
        if size == start {
            return Ok(Read::Nothing);
        }
        let mut blob = Blob::new(keeper)?;
        let head_end = size.min(start + HEAD);
        let head = self.copy(start, head_end, chunk, |bytes| blob.head(bytes))?;
        let tail_start = head_end.max(size.saturating_sub(TAIL));
        // Cut while it was read: there is no end to keep.
        let whole_head = head == Some(head_end - start);
        if whole_head && tail_start > head_end {
            blob.gap()?;
        }
        let tail = match whole_head {
            true => self.copy(tail_start, size, chunk, |bytes| blob.tail(bytes))?,
            false => Some(0),
        };
        let (Some(head), Some(tail)) = (head, tail) else { return Ok(Read::Unreadable) };
        if head == 0 {
            return Ok(Read::Nothing);
        }
        let carried = if whole_head && tail == size - tail_start { size - start } else { head + tail };
        let finished = blob.finish(self.owner.cause(), (self.stream, Source::File), carried)?;
        Ok(Read::Finished(finished))
    }

    /// Bytes copied of a range: fewer where the file ends before; `None` where the file system fails to read it.
    fn copy(
        &self,
        mut at: u64,
        end: u64,
        chunk: &mut [u8],
        mut to: impl FnMut(&[u8]) -> Result<(), OutputError>,
    ) -> Result<Option<u64>, OutputError> {
        let begun = at;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(chunk.len());
            match rustix::io::pread(&self.file, &mut chunk[..most], at) {
                Ok(0) => break,
                Ok(got) => {
                    to(&chunk[..got])?;
                    at += got as u64;
                }
                Err(Errno::INTR) => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(at - begun))
    }
}

/// What came of reading a file.
pub(super) enum Read {
    Finished(Finished),
    Nothing,
    Unreadable,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const OWNER: Owner = Owner { pid: 1, exec: Some(7), parent: None };

    fn held(append: bool, before: &[u8]) -> (tempfile::TempDir, Keeper, std::fs::File, Held) {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::open(dir.path().to_owned(), cofferdam_evidence::Striker::default()).unwrap();
        let path = dir.path().join("out");
        let mut file = std::fs::File::options().create(true).write(true).truncate(true).open(&path).unwrap();
        file.write_all(before).unwrap();
        let writer = if append { std::fs::File::options().append(true).open(&path).unwrap() } else { file };
        let descriptor: OwnedFd = writer.try_clone().unwrap().into();
        let flags = if append { OFlags::WRONLY | OFlags::APPEND } else { OFlags::WRONLY };
        let held = Held::open(&descriptor, flags, Stream::Both, OWNER).unwrap().unwrap();
        (dir, keeper, writer, held)
    }

    fn read(held: Held, keeper: &Keeper) -> Option<Finished> {
        match held.read(&mut vec![0; 5000], keeper).unwrap() {
            Read::Finished(finished) => Some(finished),
            Read::Nothing => None,
            Read::Unreadable => panic!("unreadable"),
        }
    }

    #[test]
    fn output_starts_where_the_command_did() {
        for append in [false, true] {
            let (_dir, keeper, mut file, held) = held(append, b"old ");
            file.write_all(b"new").unwrap();
            let finished = read(held, &keeper).unwrap();
            assert_eq!((finished.exec, &finished.head[..]), (Some(7), &b"new"[..]));
            assert_eq!((finished.output.bytes, finished.output.dropped, finished.output.head), (3, 0, 3));
            assert_eq!(finished.output.source, Source::File);
        }
    }

    #[test]
    fn nothing_written_is_nothing() {
        let (_dir, keeper, _file, held) = held(false, b"old");
        assert!(read(held, &keeper).is_none());
    }

    #[test]
    fn a_file_emptied_meanwhile_is_read_from_its_start() {
        let (_dir, keeper, mut file, held) = held(true, b"a long line of before");
        file.set_len(0).unwrap();
        file.write_all(b"short").unwrap();
        assert_eq!(read(held, &keeper).unwrap().head, b"short");
    }

    #[test]
    fn of_a_huge_sparse_file_head_and_tail_are_read() {
        let (_dir, keeper, mut file, held) = held(true, b"");
        file.write_all(b"first").unwrap();
        file.set_len(1 << 40).unwrap();
        file.write_all(b"last").unwrap();
        let finished = read(held, &keeper).unwrap();
        assert_eq!(finished.output.bytes, (1 << 40) + 4);
        assert_eq!(finished.output.head, HEAD);
        assert_eq!(finished.output.blob.size, HEAD + TAIL);
        assert_eq!(finished.output.dropped, finished.output.bytes - HEAD - TAIL);
        assert!(finished.head.starts_with(b"first") && finished.tail.ends_with(b"last"));
    }
}
