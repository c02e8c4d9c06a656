//! Blobs: content by its salted digest.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cofferdam_core::Timestamp;
use cofferdam_core::event::BlobRef;
use rustix::fs::{AtFlags, OFlags, fdatasync, fsync, unlinkat};
use sha2::{Digest as _, Sha256};

use crate::files::{Directory, is_not_found};
use crate::packs::{Packed, Packs};
use crate::{BlobWriter, Error, Result, Striker};

pub(crate) const BLOBS: &str = "blobs";
pub(crate) const SALT: usize = 32;
/// The largest window that a reader has to hold: 2^23 bytes.
const WINDOW_LOG_MAX: u32 = 23;
const MAX_REASON: usize = 4096;

/// The blobs of one run, below `blobs` in its evidence directory.
#[derive(Debug)]
pub struct BlobStore {
    pub(crate) evidence: Directory,
    striker: Striker,
    packs: Arc<Packs>,
}

/// How an examined blob stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Present,
    Removed,
    Missing,
    Altered(String),
}

impl BlobStore {
    /// The store of an evidence directory, which exists. `blobs` itself is made with the first blob.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(BlobStore { evidence: Directory::open(dir)?, striker: Striker::default(), packs: Arc::default() })
    }

    /// The same store, which strikes secret values out of all that is put into it.
    pub fn striking(self, striker: Striker) -> Self {
        BlobStore { striker, ..self }
    }

    /// Stores all that a reader gives, in bounded memory.
    ///
    /// # Errors
    /// [`Error::Io`], of the reader too; [`Error::Random`].
    pub fn put(&self, mut content: impl Read) -> Result<BlobRef> {
        let mut writer = self.writer()?;
        io::copy(&mut content, &mut writer).map_err(Error::io("store a blob below", &self.evidence.path))?;
        writer.finish()
    }

    /// Starts a blob of unknown length.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Random`].
    pub fn writer(&self) -> Result<BlobWriter> {
        BlobWriter::new(self.evidence.below(BLOBS)?, Arc::clone(&self.packs), self.striker.stream())
    }

    /// Opens a blob. The reader verifies on the way: what it gave is good only once it has returned 0, and it gives
    /// `blob.size` bytes at most, whatever the file holds.
    ///
    /// # Errors
    /// [`Error::BlobMissing`], [`Error::BlobContent`] where the file is too short, [`Error::NotRegular`], [`Error::Io`].
    pub fn get(&self, blob: &BlobRef) -> Result<BlobReader> {
        let missing = || Error::BlobMissing {
            digest: blob.digest,
            path: self.evidence.path.join(BLOBS),
            removed: self.is_marked_removed(blob),
        };
        match self.own_file(blob)? {
            Some((file, _, path)) => BlobReader::new(Box::new(BufReader::new(file)), blob.clone(), path),
            None => match self.packed(|packs, blobs| packs.get(blobs, blob.digest))?.flatten() {
                Some(Packed::Content(content, path)) => {
                    BlobReader::new(Box::new(Cursor::new(content)), blob.clone(), path)
                }
                Some(Packed::Removed) | None => Err(missing()),
            },
        }
    }

    /// The file that holds this blob alone, and its directory; `None` where there is none.
    fn own_file(&self, blob: &BlobRef) -> Result<Option<(File, Directory, PathBuf)>> {
        let (fan, name) = names(blob);
        let path = self.evidence.path.join(BLOBS).join(&fan);
        let dir = match self.fan(&fan) {
            Ok(dir) => dir,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("open directory", path)(e)),
        };
        match dir.open_file(&name, OFlags::RDONLY) {
            Ok(file) => Ok(Some((file, dir, path.join(name)))),
            Err(e) if is_not_found(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Asks the packs, where there are blobs at all.
    fn packed<T>(&self, ask: impl FnOnce(&Packs, &Directory) -> Result<T>) -> Result<Option<T>> {
        match self.evidence.open_below(BLOBS) {
            Ok(blobs) => ask(&self.packs, &blobs).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("open directory", self.evidence.path.join(BLOBS))(e)),
        }
    }

    /// Deletes a blob's content for good and leaves a marker that says so, with the time and a reason (cut to 4096
    /// bytes). The log stays valid: it names the blob, not its content.
    ///
    /// # Errors
    /// [`Error::BlobMissing`], [`Error::Io`].
    pub fn remove(&self, blob: &BlobRef, reason: &str) -> Result<()> {
        let (fan, name) = names(blob);
        drop(self.get(blob)?);
        let dir = self.evidence.below(BLOBS)?.below(&fan)?;
        let mut end = reason.len().min(MAX_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let marker = serde_json::json!({"time": Timestamp::now(), "reason": &reason[..end]}).to_string() + "\n";
        let marker_name = format!("{name}.removed");
        match dir.create_file(&marker_name) {
            Ok(mut file) => io::Write::write_all(&mut file, marker.as_bytes())
                .map_err(Error::io("write", dir.path.join(&marker_name)))?,
            // An earlier removal was cut off between marker and deletion: its reason stands.
            Err(Error::Exists { .. }) => {}
            Err(e) => return Err(e),
        }
        match unlinkat(&dir.fd, &name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::NOENT) => {
                self.packed(|packs, blobs| packs.erase(blobs, blob.digest))?;
                Ok(())
            }
            Err(e) => Err(Error::io("remove", dir.path.join(&name))(e.into())),
        }
    }

    /// Waits until a blob is on the medium.
    ///
    /// # Errors
    /// [`Error::BlobMissing`], [`Error::Io`].
    pub fn sync(&self, blob: &BlobRef) -> Result<()> {
        drop(self.get(blob)?);
        let blobs = self.evidence.below(BLOBS)?;
        let synced = match self.own_file(blob)? {
            Some((file, dir, path)) => fdatasync(&file)
                .and_then(|()| fsync(&dir.fd))
                .and_then(|()| fsync(&blobs.fd))
                .map_err(|e| Error::io("sync", path)(e.into())),
            None => self.packs.sync(&blobs, blob.digest),
        };
        synced.and_then(|()| fsync(&self.evidence.fd).map_err(|e| Error::io("sync", &self.evidence.path)(e.into())))
    }

    /// How a blob stands; with `read` its content is verified as well.
    pub(crate) fn examine(&self, blob: &BlobRef, read: bool) -> Result<Presence> {
        let mut reader = match self.get(blob) {
            Ok(reader) => reader,
            Err(Error::BlobMissing { removed, .. }) => {
                return Ok(if removed { Presence::Removed } else { Presence::Missing });
            }
            Err(e @ (Error::BlobContent { .. } | Error::NotRegular { .. })) => {
                return Ok(Presence::Altered(e.to_string()));
            }
            // A symbolic link in the place of the file (O_NOFOLLOW, RESOLVE_NO_SYMLINKS) or of its directory.
            Err(Error::Io { source, path, .. })
                if [Some(rustix::io::Errno::LOOP.raw_os_error()), Some(rustix::io::Errno::NOTDIR.raw_os_error())]
                    .contains(&source.raw_os_error()) =>
            {
                return Ok(Presence::Altered(format!("`{}` is a link or no directory", path.display())));
            }
            Err(e) => return Err(e),
        };
        if !read {
            return Ok(Presence::Present);
        }
        match io::copy(&mut reader, &mut io::sink()) {
            Ok(_) => Ok(Presence::Present),
            // The kernel failed to read; anything else is the content's fault.
            Err(e) if e.raw_os_error().is_some() => Err(Error::io("read", &reader.path)(e)),
            Err(e) => Ok(Presence::Altered(e.to_string())),
        }
    }

    fn fan(&self, fan: &str) -> io::Result<Directory> {
        self.evidence.open_below(BLOBS)?.open_below(fan)
    }

    fn is_marked_removed(&self, blob: &BlobRef) -> bool {
        let (fan, name) = names(blob);
        self.fan(&fan).is_ok_and(|dir| dir.open_file(&format!("{name}.removed"), OFlags::RDONLY).is_ok())
    }
}

/// A blob's directory below `blobs`, and its file name in there.
pub(crate) fn names(blob: &BlobRef) -> (String, String) {
    let name = blob.digest.to_string();
    (name[..2].to_owned(), name)
}

/// Reads a blob and verifies it.
pub struct BlobReader {
    decoder: Decoder,
    hasher: Sha256,
    blob: BlobRef,
    left: u64,
    done: bool,
    pub(crate) path: PathBuf,
}

type Decoder = zstd::stream::read::Decoder<'static, Box<dyn BufRead + Send>>;

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader").field("path", &self.path).field("left", &self.left).finish_non_exhaustive()
    }
}

impl BlobReader {
    fn new(mut stored: Box<dyn BufRead + Send>, blob: BlobRef, path: PathBuf) -> Result<Self> {
        let salt = read_salt(&mut stored).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::BlobContent {
                path: path.clone(),
                detail: format!("it is shorter than its {SALT} bytes of salt"),
            },
            _ => Error::io("read", &path)(e),
        })?;
        let decoder = decoder(stored).map_err(Error::io("decompress", &path))?;
        let left = blob.size;
        Ok(BlobReader { decoder, hasher: Sha256::new_with_prefix(salt), blob, left, done: false, path })
    }

    fn wrong(&self, detail: impl Into<String>) -> io::Error {
        let e = Error::BlobContent { path: self.path.clone(), detail: detail.into() };
        io::Error::new(io::ErrorKind::InvalidData, e)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.done || buf.is_empty() {
            return Ok(0);
        }
        // One byte more than there may be, where it fits, shows a content that is too long.
        let most = usize::try_from(self.left.saturating_add(1)).unwrap_or(usize::MAX).min(buf.len());
        let read = match self.decoder.read(&mut buf[..most]) {
            Ok(read) => read,
            Err(e) if e.raw_os_error().is_some() => return Err(e),
            Err(e) => return Err(self.wrong(format!("it does not decompress: {e}"))),
        };
        if read as u64 > self.left {
            return Err(self.wrong(format!("its content has more than {} bytes", self.blob.size)));
        }
        self.left -= read as u64;
        self.hasher.update(&buf[..read]);
        if read == 0 {
            if self.left > 0 {
                return Err(self.wrong(format!("its content lacks {} of {} bytes", self.left, self.blob.size)));
            }
            if self.hasher.clone().finalize()[..] != self.blob.digest.0 {
                return Err(self.wrong("its content has another digest"));
            }
            self.done = true;
        }
        Ok(read)
    }
}

pub(crate) fn read_salt(stored: &mut impl Read) -> io::Result<[u8; SALT]> {
    let mut salt = [0u8; SALT];
    stored.read_exact(&mut salt)?;
    Ok(salt)
}

pub(crate) fn decoder(stored: Box<dyn BufRead + Send>) -> io::Result<Decoder> {
    let mut decoder = Decoder::with_buffer(stored)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}
