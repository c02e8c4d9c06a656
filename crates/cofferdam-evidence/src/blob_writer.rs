//! Writing blobs as their content comes, and saving what a crash left of them.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;

use cofferdam_core::change::Digest;
use cofferdam_core::event::BlobRef;
use rustix::fs::{AtFlags, Dir, OFlags, fstat, renameat, statat, unlinkat};
use sha2::{Digest as _, Sha256};
use zstd::stream::write::Encoder;

use crate::blob::{BLOBS, SALT, decoder, names, read_salt};
use crate::files::{Directory, Lock, is_not_found, lock, unique_name};
use crate::packs::Packs;
use crate::{BlobStore, Error, Result, StruckStream};

const PARTIAL: &str = "partial-";
/// Output of agents is mostly text: higher levels cost several times the time for a tenth of the bytes.
const LEVEL: i32 = 1;
/// Contents up to this many bytes stay in memory until they are complete, and then go into a pack: most are short, and a
/// file of its own costs a command more than the rest of its evidence.
const MEMORY: usize = 64 << 10;

/// A blob that is being written: the secrets struck out, compressed to disk as it comes, in bounded memory (about
/// 2 MiB).
///
/// [`Write::flush`] makes what came so far readable after a SIGKILL (see [`BlobStore::salvage`]), but for an end that
/// may be the beginning of a secret; without it up to 192 KiB of content may be in memory only. A writer that is dropped
/// unfinished leaves its file, where there is one, to `salvage`.
pub struct BlobWriter {
    salt: [u8; SALT],
    content: Content,
    hasher: Sha256,
    size: u64,
    stream: StruckStream,
    /// What the stream let through of the last piece.
    passed: Vec<u8>,
    /// Whether a write failed half-way: then nobody knows what the file holds.
    broken: bool,
    blobs: Directory,
    packs: Arc<Packs>,
}

/// Where the content of an unfinished blob is.
enum Content {
    Memory(Vec<u8>),
    File {
        encoder: Box<Encoder<'static, File>>,
        /// Its name among the blobs.
        partial: String,
        /// Nobody salvages the file while it is written.
        lock: Lock,
    },
}

impl std::fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobWriter").field("blobs", &self.blobs.path).field("size", &self.size).finish_non_exhaustive()
    }
}

impl BlobWriter {
    pub(crate) fn new(blobs: Directory, packs: Arc<Packs>, stream: StruckStream) -> Result<Self> {
        let mut salt = [0u8; SALT];
        crate::files::fill_random(&mut salt)?;
        let hasher = Sha256::new_with_prefix(salt);
        let content = Content::Memory(Vec::new());
        Ok(BlobWriter { salt, content, hasher, size: 0, stream, passed: Vec::new(), broken: false, blobs, packs })
    }

    /// The compressor of the blob's file, which is begun where there is none yet.
    fn encoder(&mut self) -> Result<&mut Encoder<'static, File>> {
        if let Content::Memory(memory) = &mut self.content {
            let partial = unique_name(PARTIAL)?;
            let path = self.blobs.path.join(&partial);
            let mut file = self.blobs.create_file(&partial)?;
            let lock = lock(&file, &path)?;
            file.write_all(&self.salt).map_err(Error::io("write", &path))?;
            let mut encoder = Encoder::new(file, LEVEL).map_err(Error::io("compress into", &path))?;
            encoder.write_all(memory).map_err(Error::io("write", &path))?;
            self.content = Content::File { encoder: Box::new(encoder), partial, lock };
        }
        match &mut self.content {
            Content::File { encoder, .. } => Ok(encoder),
            Content::Memory(_) => unreachable!("a file was begun above"),
        }
    }

    /// Bytes of content so far, as they are kept: without secrets, and without an end that is held back.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Says that something was left out here, and gives the bytes of content before the gap (`head` in
    /// `command.output`). A secret that the gap cuts is struck on both sides.
    ///
    /// # Errors
    /// The system's, of the writing.
    pub fn gap(&mut self) -> io::Result<u64> {
        let mut passed = std::mem::take(&mut self.passed);
        passed.clear();
        self.stream.gap(&mut passed);
        self.keep(&passed)?;
        self.passed = passed;
        Ok(self.size)
    }

    /// Writes content from which the secrets are gone.
    fn keep(&mut self, content: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write failed half-way"));
        }
        let written = match &mut self.content {
            Content::Memory(memory) if memory.len() + content.len() <= MEMORY => {
                memory.extend_from_slice(content);
                Ok(())
            }
            _ => self.encoder().map_err(io::Error::other).and_then(|encoder| encoder.write_all(content)),
        };
        if let Err(e) = written {
            self.broken = true;
            return Err(e);
        }
        self.hasher.update(content);
        self.size += content.len() as u64;
        Ok(())
    }

    /// Ends the content and gives the blob its name. Nothing is synced: [`BlobStore::sync`] does that.
    ///
    /// # Errors
    /// [`Error::Io`]; the content so far stays for [`BlobStore::salvage`].
    pub fn finish(mut self) -> Result<BlobRef> {
        let mut rest = Vec::new();
        self.stream.end(&mut rest);
        self.keep(&rest).map_err(Error::io("write below", &self.blobs.path))?;
        let blob = BlobRef { digest: Digest(self.hasher.finalize().into()), size: self.size };
        match self.content {
            Content::File { encoder, partial, lock } => {
                let (fan, name) = names(&blob);
                let dir = self.blobs.below(&fan)?;
                encoder.finish().map_err(Error::io("write", self.blobs.path.join(&partial)))?;
                renameat(&self.blobs.fd, &partial, &dir.fd, &name)
                    .map_err(|e| Error::io("rename into place", dir.path.join(&name))(e.into()))?;
                drop(lock);
            }
            Content::Memory(memory) => {
                let zstd =
                    zstd::bulk::compress(&memory, LEVEL).map_err(Error::io("compress into", &self.blobs.path))?;
                self.packs.append(&self.blobs, blob.digest, &self.salt, &zstd)?;
            }
        }
        Ok(blob)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.stream.is_idle() {
            self.keep(buf)?;
            return Ok(buf.len());
        }
        let mut passed = std::mem::take(&mut self.passed);
        passed.clear();
        self.stream.push(buf, &mut passed);
        self.keep(&passed)?;
        self.passed = passed;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder().map_err(io::Error::other)?.flush()
    }
}

/// A blob that a crash had cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// The blob that holds what could be read.
    pub blob: BlobRef,
    /// Whether that is all: the writer died between the last byte and the renaming.
    pub complete: bool,
}

impl BlobStore {
    /// Makes blobs of what writers that are gone left behind, as far as it can be read. Writers that live are passed
    /// over.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotRegular`].
    pub fn salvage(&self) -> Result<Vec<Salvaged>> {
        let blobs = match self.evidence.open_below(BLOBS) {
            Ok(blobs) => blobs,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("open directory", self.evidence.path.join(BLOBS))(e)),
        };
        let mut partials = Vec::new();
        for entry in Dir::read_from(&blobs.fd).map_err(|e| Error::io("list", &blobs.path)(e.into()))? {
            let entry = entry.map_err(|e| Error::io("list", &blobs.path)(e.into()))?;
            if let Ok(name) = entry.file_name().to_str()
                && name.starts_with(PARTIAL)
            {
                partials.push(name.to_owned());
            }
        }
        partials.sort();
        let mut salvaged = Vec::new();
        for name in partials {
            let path = blobs.path.join(&name);
            let file = match blobs.open_file(&name, OFlags::RDONLY) {
                Ok(file) => file,
                // Its writer finished since the listing.
                Err(e) if is_not_found(&e) => continue,
                Err(e) => return Err(e),
            };
            // Held until the name is gone.
            let _lock = match lock(&file, &path) {
                Ok(lock) => lock,
                Err(Error::Busy { .. }) => continue,
                Err(e) => return Err(e),
            };
            if !still_named(&blobs, &name, &file).map_err(Error::io("stat", &path))? {
                continue;
            }
            let (writer, complete) = self.copy_readable(file).map_err(Error::io("salvage", &path))?;
            if let Some(writer) = writer {
                salvaged.push(Salvaged { blob: writer.finish()?, complete });
            }
            unlinkat(&blobs.fd, &name, AtFlags::empty()).map_err(|e| Error::io("remove", &path)(e.into()))?;
        }
        Ok(salvaged)
    }

    /// Copies a partial blob up to where it does not decompress; no writer where nothing was readable.
    fn copy_readable(&self, mut file: File) -> io::Result<(Option<BlobWriter>, bool)> {
        match read_salt(&mut file) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok((None, false)),
            Err(e) => return Err(e),
        }
        let mut decoder = decoder(Box::new(BufReader::new(file)))?;
        let mut writer = self.writer().map_err(io::Error::other)?;
        let mut buffer = vec![0u8; 1 << 16];
        loop {
            match decoder.read(&mut buffer) {
                Ok(0) => return Ok((Some(writer), true)),
                Ok(n) => writer.write_all(&buffer[..n])?,
                Err(e) if e.raw_os_error().is_some() => return Err(e),
                Err(_cut) if writer.size() > 0 => return Ok((Some(writer), false)),
                Err(_cut) => {
                    // Nothing readable: the new file holds nothing either.
                    writer.discard()?;
                    return Ok((None, false));
                }
            }
        }
    }
}

/// Whether the name still leads to the file: its writer may have finished, or another `salvage` been here, between
/// the opening and the lock.
fn still_named(dir: &Directory, name: &str, file: &File) -> io::Result<bool> {
    let held = fstat(file)?;
    match statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

impl BlobWriter {
    /// Removes the file of a blob that nobody needs.
    fn discard(self) -> io::Result<()> {
        match self.content {
            Content::File { partial, .. } => Ok(unlinkat(&self.blobs.fd, &partial, AtFlags::empty())?),
            Content::Memory(_) => Ok(()),
        }
    }
}
