//! What is kept of one stream: its first MiB, and, where it is longer, its end.
//!
//! The head is copied as it passes: nobody can change it afterwards. The tail lies in a pipe, partly as the very pages
//! that were handed on (`tee(2)`): a writer that gave pages of its own (`vmsplice(2)`) can still change those.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use cofferdam_core::event::{BlobRef, CommandOutput, Source, Stream};
use cofferdam_evidence::{BlobStore, BlobWriter, Striker};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::tail::Tail;
use super::{Finished, OutputError};

/// Bytes of the start of a stream that are kept.
pub(super) const HEAD: u64 = 1 << 20;
/// Bytes of a head that stay in memory: few outputs are longer.
const MEMORY: usize = 8 << 10;
/// Most bytes of each of [`Finished::head`] and [`Finished::tail`].
pub(super) const EXCERPT: usize = 64 << 10;

/// Where outputs are kept.
pub(super) struct Keeper {
    blobs: BlobStore,
    directory: PathBuf,
    pub(super) null: OwnedFd,
}

impl Keeper {
    pub(super) fn open(evidence: PathBuf, striker: Striker) -> Result<Keeper, OutputError> {
        let blobs = BlobStore::open(&evidence)?.striking(striker);
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())
            .map_err(OutputError::system("open /dev/null"))?;
        Ok(Keeper { blobs, directory: evidence, null })
    }

    pub(super) fn spool_error(&self) -> impl FnOnce(io::Error) -> OutputError {
        move |source| OutputError::Spool { path: self.directory.clone(), source }
    }

    pub(super) fn writer(&self) -> Result<BlobWriter, OutputError> {
        Ok(self.blobs.writer()?)
    }
}

/// What is kept of a stream so far.
#[derive(Default)]
pub(super) struct Kept {
    /// Bytes that came.
    bytes: u64,
    /// The head, until it is longer than [`MEMORY`].
    memory: Vec<u8>,
    /// The head from then on; a file without a name.
    spool: Option<File>,
    end: End,
}

/// What comes after the head.
#[derive(Default)]
enum End {
    /// Nothing yet.
    #[default]
    None,
    /// The usual one: costs no memory of the monitor's, and no copies of a fast stream.
    Pipe(Tail),
    /// Where there are no descriptors or no pipe memory left for one: 64 KiB at most.
    Memory(VecDeque<u8>),
}

impl Kept {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps a copy.
    pub(super) fn add(&mut self, bytes: &[u8], keeper: &Keeper) -> Result<(), OutputError> {
        let room = usize::try_from(HEAD.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
        let (head, tail) = bytes.split_at(room.min(bytes.len()));
        self.add_to_head(head, keeper).map_err(keeper.spool_error())?;
        self.bytes += bytes.len() as u64;
        if tail.is_empty() {
            return Ok(());
        }
        match self.end() {
            End::None => {}
            End::Pipe(pipe) => {
                pipe.push(tail, &keeper.null).map_err(OutputError::system("keep the end of a stream in a pipe"))?;
            }
            End::Memory(memory) => {
                memory.extend(&tail[tail.len().saturating_sub(EXCERPT)..]);
                memory.drain(..memory.len().saturating_sub(EXCERPT));
            }
        }
        Ok(())
    }

    fn end(&mut self) -> &mut End {
        if matches!(self.end, End::None) {
            self.end = Tail::new().map_or_else(|_| End::Memory(VecDeque::new()), End::Pipe);
        }
        &mut self.end
    }

    /// The pipe that takes pages of the stream; `None` before the head is full, and where there is none.
    pub(super) fn pipe(&mut self) -> Option<&mut Tail> {
        if self.bytes < HEAD {
            return None;
        }
        match self.end() {
            End::Pipe(pipe) => Some(pipe),
            End::None | End::Memory(_) => None,
        }
    }

    /// Counts what the tail took by `tee(2)`.
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    fn add_to_head(&mut self, bytes: &[u8], keeper: &Keeper) -> io::Result<()> {
        if let Some(spool) = &mut self.spool {
            return spool.write_all(bytes);
        }
        if self.memory.len() + bytes.len() <= MEMORY {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        let mut spool = tempfile::tempfile_in(&keeper.directory)?;
        spool.write_all(&self.memory)?;
        spool.write_all(bytes)?;
        self.memory = Vec::new();
        self.spool = Some(spool);
        Ok(())
    }

    /// Bytes of the end that are kept.
    fn held(&self) -> u64 {
        match &self.end {
            End::None => 0,
            End::Pipe(tail) => tail.held() as u64,
            End::Memory(memory) => memory.len() as u64,
        }
    }

    /// Makes a blob of it; `None` where nothing came.
    pub(super) fn finish(
        mut self,
        exec: Option<u64>,
        (stream, source): (Stream, Source),
        keeper: &Keeper,
    ) -> Result<Option<Finished>, OutputError> {
        if self.bytes == 0 {
            return Ok(None);
        }
        let mut blob = Blob::new(keeper)?;
        blob.head(&self.memory)?;
        let mut chunk = vec![0; if self.spool.is_some() { 64 << 10 } else { 0 }];
        if let Some(spool) = &mut self.spool {
            spool.seek(SeekFrom::Start(0)).map_err(keeper.spool_error())?;
            loop {
                match spool.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(got) => blob.head(&chunk[..got])?,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(keeper.spool_error()(e)),
                }
            }
        }
        if self.bytes > HEAD + self.held() {
            blob.gap()?;
        }
        match &mut self.end {
            End::None => {}
            End::Memory(memory) => blob.tail(memory.make_contiguous())?,
            End::Pipe(tail) => loop {
                match tail.take(&mut chunk) {
                    Ok(0) => break,
                    Ok(got) => blob.tail(&chunk[..got])?,
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(OutputError::system("read the kept end of a stream")(e)),
                }
            },
        }
        blob.finish(exec, (stream, source), self.bytes).map(Some)
    }
}

/// A blob of head and tail that is being written, with the excerpts of both.
pub(super) struct Blob<'a> {
    keeper: &'a Keeper,
    writer: BlobWriter,
    /// Bytes given to the writer, secrets included.
    given: u64,
    /// Bytes of content before the gap, once there is one.
    head_bytes: Option<u64>,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Blob<'_> {
    pub(super) fn new(keeper: &Keeper) -> Result<Blob<'_>, OutputError> {
        Ok(Blob { keeper, writer: keeper.writer()?, given: 0, head_bytes: None, head: Vec::new(), tail: Vec::new() })
    }

    pub(super) fn head(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        self.writer.write_all(bytes).map_err(self.keeper.spool_error())?;
        self.given += bytes.len() as u64;
        let excerpt = bytes.len().min(EXCERPT - self.head.len());
        self.head.extend_from_slice(&bytes[..excerpt]);
        self.last(&bytes[excerpt..]);
        Ok(())
    }

    /// Bytes are left out here: what follows is the tail.
    pub(super) fn gap(&mut self) -> Result<(), OutputError> {
        self.head_bytes = Some(self.writer.gap().map_err(self.keeper.spool_error())?);
        Ok(())
    }

    pub(super) fn tail(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        self.given += bytes.len() as u64;
        self.writer.write_all(bytes).map_err(self.keeper.spool_error())?;
        self.last(bytes);
        Ok(())
    }

    fn last(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(EXCERPT)..]);
        self.tail.drain(..self.tail.len().saturating_sub(EXCERPT));
    }

    /// `bytes` are all that the stream carried.
    pub(super) fn finish(
        self,
        exec: Option<u64>,
        (stream, source): (Stream, Source),
        bytes: u64,
    ) -> Result<Finished, OutputError> {
        let blob: BlobRef = self.writer.finish()?;
        let dropped = bytes.saturating_sub(self.given);
        let head = self.head_bytes.unwrap_or(blob.size);
        let output = CommandOutput { stream, source, bytes, dropped, blob, head };
        Ok(Finished { exec, output, head: self.head, tail: self.tail })
    }
}
