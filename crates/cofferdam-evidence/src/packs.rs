//! Short contents together in one file: as files of their own they would cost more than they hold.
//!
//! Each writer appends to a pack of its own, so that nobody has to agree with anybody about where it ends. A record is
//! digest (32 bytes) ‖ length of what follows (4 bytes, big-endian) ‖ salt (32 bytes) ‖ zstd. One that is not whole,
//! for its writer died or the medium was full, is the last of its pack that a reader looks at.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cofferdam_core::change::Digest;
use rustix::fs::{Dir, OFlags, fdatasync, fsync};

use crate::blob::SALT;
use crate::files::{Directory, is_not_found, unique_name};
use crate::{Error, Result};

const PACK: &str = "pack-";
const HEADER: usize = 36;
/// Longest record, its header left out: 64 KiB that do not compress are shorter.
const LONGEST: usize = 128 << 10;

/// The packs below `blobs`, as one writer and one reader of them know them.
#[derive(Debug, Default)]
pub(crate) struct Packs {
    writing: Mutex<Option<Writing>>,
    known: Mutex<Known>,
}

/// The pack that is written.
#[derive(Debug)]
struct Writing {
    file: File,
    path: PathBuf,
    length: u64,
}

/// What readers have found so far.
#[derive(Debug, Default)]
struct Known {
    /// Where the next record of each pack begins.
    ends: HashMap<String, u64>,
    records: HashMap<Digest, Place>,
}

/// Where a record's salt begins, and how long salt and content are.
#[derive(Clone, Debug)]
struct Place {
    pack: String,
    at: u64,
    length: usize,
}

/// What a pack holds of a blob.
pub(crate) enum Packed {
    /// Salt and compressed content.
    Content(Vec<u8>, PathBuf),
    /// It was removed: zeros are in its place.
    Removed,
}

/// Nothing that is shared is left half-way by a panic: each is changed in one step at its end.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Packs {
    /// Appends a record, in one write. Nothing is synced.
    pub(crate) fn append(&self, blobs: &Directory, digest: Digest, salt: &[u8; SALT], zstd: &[u8]) -> Result<()> {
        let length = u32::try_from(SALT + zstd.len()).ok().filter(|length| *length as usize <= LONGEST);
        let Some(length) = length else {
            return Err(Error::TooLarge { path: blobs.path.clone(), limit: LONGEST as u64 });
        };
        let record = [&digest.0[..], &length.to_be_bytes(), salt, zstd].concat();
        let mut writing = locked(&self.writing);
        let pack = match &mut *writing {
            Some(pack) => pack,
            none => {
                let name = unique_name(PACK)?;
                let file = blobs.create_file(&name)?;
                none.insert(Writing { file, path: blobs.path.join(name), length: 0 })
            }
        };
        if let Err(e) = pack.file.write_all(&record) {
            let error = Error::io("write", &pack.path)(e);
            // What is left of the record must not hide the next one.
            if pack.file.set_len(pack.length).is_err() {
                *writing = None;
            }
            return Err(error);
        }
        pack.length += record.len() as u64;
        Ok(())
    }

    /// What a pack holds of a blob; `None` where none does.
    pub(crate) fn get(&self, blobs: &Directory, digest: Digest) -> Result<Option<Packed>> {
        let Some(place) = self.place(blobs, digest)? else { return Ok(None) };
        let path = blobs.path.join(&place.pack);
        let mut content = vec![0; place.length];
        let file = blobs.open_file(&place.pack, OFlags::RDONLY)?;
        match file.read_exact_at(&mut content, place.at) {
            Ok(()) if content.iter().take(SALT).all(|byte| *byte == 0) => Ok(Some(Packed::Removed)),
            Ok(()) => Ok(Some(Packed::Content(content, path))),
            // It has become shorter since.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(Error::io("read", path)(e)),
        }
    }

    /// Writes zeros over a record's salt and content, where a pack has it.
    pub(crate) fn erase(&self, blobs: &Directory, digest: Digest) -> Result<()> {
        let Some(place) = self.place(blobs, digest)? else { return Ok(()) };
        let file = blobs.open_file(&place.pack, OFlags::WRONLY)?;
        file.write_all_at(&vec![0; place.length], place.at)
            .and_then(|()| Ok(fdatasync(&file)?))
            .map_err(Error::io("write", blobs.path.join(&place.pack)))
    }

    /// Waits until a record, where a pack has it, is on the medium.
    pub(crate) fn sync(&self, blobs: &Directory, digest: Digest) -> Result<()> {
        let Some(place) = self.place(blobs, digest)? else { return Ok(()) };
        let file = blobs.open_file(&place.pack, OFlags::RDONLY)?;
        fdatasync(&file)
            .and_then(|()| fsync(&blobs.fd))
            .map_err(|e| Error::io("sync", blobs.path.join(&place.pack))(e.into()))
    }

    fn place(&self, blobs: &Directory, digest: Digest) -> Result<Option<Place>> {
        let mut known = locked(&self.known);
        if let Some(place) = known.records.get(&digest) {
            return Ok(Some(place.clone()));
        }
        // Of a run that goes on there may be more by now.
        known.look(blobs)?;
        Ok(known.records.get(&digest).cloned())
    }
}

impl Known {
    /// Reads on in all packs.
    fn look(&mut self, blobs: &Directory) -> Result<()> {
        let listing = |e: rustix::io::Errno| Error::io("list", &blobs.path)(e.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(&blobs.fd).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            if let Ok(name) = entry.file_name().to_str()
                && name.starts_with(PACK)
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        for name in names {
            match blobs.open_file(&name, OFlags::RDONLY) {
                Ok(file) => self.read_on(&name, &file).map_err(Error::io("read", blobs.path.join(&name)))?,
                // Something else in its place, and one that has gone since, hold no blobs.
                Err(Error::NotRegular { .. }) => {}
                Err(e) if is_not_found(&e) || is_link(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn read_on(&mut self, name: &str, file: &File) -> io::Result<()> {
        let length = file.metadata()?.len();
        let mut at = self.ends.get(name).copied().unwrap_or_default();
        let mut header = [0u8; HEADER];
        while at.checked_add(HEADER as u64).is_some_and(|end| end <= length) {
            file.read_exact_at(&mut header, at)?;
            let (digest, size) = header.split_at(HEADER - 4);
            let (Ok(digest), Ok(size)) = (<[u8; 32]>::try_from(digest), <[u8; 4]>::try_from(size)) else { break };
            let size = u32::from_be_bytes(size) as usize;
            let begin = at + HEADER as u64;
            if !(SALT..=LONGEST).contains(&size) || begin + size as u64 > length {
                break;
            }
            self.records.entry(Digest(digest)).or_insert(Place { pack: name.to_owned(), at: begin, length: size });
            at = begin + size as u64;
        }
        self.ends.insert(name.to_owned(), at);
        Ok(())
    }
}

/// Whether an error says that a link lies in the place of a file (`O_NOFOLLOW`, `RESOLVE_NO_SYMLINKS` of `openat2(2)`).
fn is_link(e: &Error) -> bool {
    matches!(e, Error::Io { source, .. } if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()))
}
