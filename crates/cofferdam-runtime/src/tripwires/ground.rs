//! What stands at a place of a home layer, without following anything that an earlier run left there.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawMode, Stat, Timespec, Timestamps, chmodat, futimens, mkdirat, openat,
    statat, unlinkat,
};
use rustix::io::Errno;

/// What stands at a place.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A placeholder of the home's, or nothing within one.
    Placeholder,
    /// A file, or what else it may be.
    Something(Stat),
    /// No place for a file: something else stands in the way to it.
    InTheWay,
}

/// A layer of the home.
pub(super) struct Ground {
    root: OwnedFd,
}

impl Ground {
    pub(super) fn open(layer: &Path) -> rustix::io::Result<Ground> {
        Ok(Ground { root: openat(CWD, layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())? })
    }

    /// Looks at `path`, which lies in one directory at the most.
    pub(super) fn look(&self, path: &str) -> rustix::io::Result<Found> {
        let Some((parent, name)) = path.split_once('/') else { return found(&self.root, path) };
        match stat(&self.root, parent)? {
            None => Ok(Found::Nothing),
            Some(stat) if kind(&stat) != FileType::Directory => Ok(Found::InTheWay),
            // Nobody but its owner could look into it, and only after a change of its mode.
            Some(stat) if is_closed(&stat) => Ok(Found::Placeholder),
            Some(_) => match self.directory(parent) {
                Ok(directory) => found(&directory, name),
                Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => Ok(Found::InTheWay),
                Err(e) => Err(e),
            },
        }
    }

    /// Makes a file where there is nothing but a placeholder; `false` where there is something after all. It says that it was
    /// last modified `mtime` seconds after the beginning of 1970.
    pub(super) fn make(&self, path: &str, text: &str, mtime: i64) -> rustix::io::Result<bool> {
        let parent;
        let (directory, name) = match path.split_once('/') {
            None => (&self.root, path),
            Some((directory, name)) => {
                if !self.make_directory(directory)? {
                    return Ok(false);
                }
                parent = self.directory(directory)?;
                (&parent, name)
            }
        };
        match found(directory, name)? {
            Found::Nothing => {}
            Found::Placeholder => unlinkat(directory, name, AtFlags::empty())?,
            Found::Something(_) | Found::InTheWay => return Ok(false),
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        file.write_all(text.as_bytes()).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
        futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
        Ok(true)
    }

    /// Makes a private directory, of a placeholder too; `false` where something else is.
    fn make_directory(&self, name: &str) -> rustix::io::Result<bool> {
        match stat(&self.root, name)? {
            None => mkdirat(&self.root, name, Mode::RWXU)?,
            Some(stat) if kind(&stat) != FileType::Directory => return Ok(false),
            Some(stat) if is_closed(&stat) => {
                // Only a placeholder is empty; what a run has closed stays closed. Nothing of that home runs meanwhile.
                chmodat(&self.root, name, Mode::RWXU, AtFlags::empty())?;
                let listing = openat(&self.root, name, OFlags::RDONLY | directory_flags(), Mode::empty())?;
                let mut entries = rustix::fs::Dir::read_from(&listing)?;
                let used = entries.any(|e| e.is_ok_and(|e| !matches!(e.file_name().to_bytes(), b"." | b"..")));
                if used {
                    chmodat(&self.root, name, Mode::empty(), AtFlags::empty())?;
                    return Ok(false);
                }
            }
            Some(_) => {}
        }
        Ok(true)
    }

    fn directory(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        openat(&self.root, name, OFlags::PATH | directory_flags(), Mode::empty())
    }
}

fn directory_flags() -> OFlags {
    OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn found(directory: &OwnedFd, name: &str) -> rustix::io::Result<Found> {
    Ok(match stat(directory, name)? {
        None => Found::Nothing,
        Some(stat) if kind(&stat) == FileType::RegularFile && is_closed(&stat) && stat.st_size == 0 => {
            Found::Placeholder
        }
        Some(stat) => Found::Something(stat),
    })
}

fn stat(directory: &OwnedFd, name: &str) -> rustix::io::Result<Option<Stat>> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Nobody may do anything with it: so placeholders are.
fn is_closed(stat: &Stat) -> bool {
    stat.st_mode as RawMode & 0o7777 == 0
}
