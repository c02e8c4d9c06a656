//! Mode, times and extended attributes of directories, kept while a directory is in two halves.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{
    Mode, Stat, Timespec, Timestamps, XattrFlags, fchmod, fgetxattr, flistxattr, fremovexattr, fsetxattr, futimens,
};
use rustix::io::Errno;

use super::pending;

/// On a temporary directory: the name of the directory it stands for.
pub(super) const NAME: &str = "user.coffer.n";
/// On a directory under way: its [`Attributes`] when all is done.
const RECORD: &str = "user.coffer.t";
/// Attributes that this module writes itself.
const OURS: &[u8] = b"user.coffer.";

/// XATTR_SIZE_MAX and XATTR_LIST_MAX of `linux/limits.h`.
const MOST: usize = 64 * 1024;

/// Bytes of [`Attributes::encode`].
pub(super) const ENCODED: usize = 28;

/// What a directory's mode and times are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    mode: u32,
    accessed: (i64, u32),
    modified: (i64, u32),
}

impl Attributes {
    pub(super) fn of(stat: &Stat) -> Attributes {
        // The widths of `struct stat` differ between architectures; nanoseconds are below 10^9 on all.
        let nanos = |n: u64| u32::try_from(n).unwrap_or(0);
        Attributes {
            mode: stat.st_mode & 0o7777,
            accessed: (stat.st_atime, nanos(stat.st_atime_nsec)),
            modified: (stat.st_mtime, nanos(stat.st_mtime_nsec)),
        }
    }

    /// Whether the owner may list, change and enter it.
    pub(super) fn open_to_owner(&self) -> bool {
        self.mode & 0o700 == 0o700
    }

    /// The mode with which it can be worked in.
    pub(super) fn working_mode(&self) -> Mode {
        Mode::from_raw_mode(self.mode | 0o700)
    }

    /// Writes them on a directory, to be found again by another process.
    pub(super) fn record(&self, directory: impl AsFd) -> Result<(), Errno> {
        fsetxattr(directory, RECORD, &self.encode(), XattrFlags::empty())
    }

    /// Those that were recorded; `None` where there are none, or what stands there is no record.
    pub(super) fn recorded(directory: impl AsFd) -> Result<Option<Attributes>, Errno> {
        let mut raw = [0u8; 64];
        match fgetxattr(directory, RECORD, &mut raw[..]) {
            Ok(got) => Ok(Attributes::decode(&raw[..got])),
            Err(Errno::NODATA | Errno::RANGE) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Gives them to a directory that is complete: `name` in `parent`, opened up. Killed at any instant, it leaves a record
    /// or a word on the parent ([`pending`]) of what is still to be given.
    pub(super) fn settle(&self, parent: impl AsFd, name: &CStr, directory: impl AsFd) -> Result<(), Errno> {
        self.prepare(&directory)?;
        self.finish(parent, name, directory)
    }

    /// The first half of [`Attributes::settle`]: everything but what would close the directory to its owner.
    pub(super) fn prepare(&self, directory: impl AsFd) -> Result<(), Errno> {
        fchmod(&directory, self.working_mode())?;
        let time = |(tv_sec, nanos): (i64, u32)| Timespec { tv_sec, tv_nsec: nanos.into() };
        let times = Timestamps { last_access: time(self.accessed), last_modification: time(self.modified) };
        futimens(directory, &times)
    }

    /// The second half: the record goes, and with it the owner's rights where they are to go.
    pub(super) fn finish(&self, parent: impl AsFd, name: &CStr, directory: impl AsFd) -> Result<(), Errno> {
        if self.open_to_owner() {
            return strip(directory);
        }
        pending::set(&parent, name, self)?;
        strip(&directory)?;
        fchmod(directory, Mode::from_raw_mode(self.mode))?;
        pending::clear(parent)
    }

    pub(super) fn encode(&self) -> [u8; ENCODED] {
        let mut raw = [0u8; ENCODED];
        raw[..4].copy_from_slice(&self.mode.to_le_bytes());
        for (at, (seconds, nanos)) in [(4, self.accessed), (16, self.modified)] {
            raw[at..at + 8].copy_from_slice(&seconds.to_le_bytes());
            raw[at + 8..at + 12].copy_from_slice(&nanos.to_le_bytes());
        }
        raw
    }

    pub(super) fn decode(raw: &[u8]) -> Option<Attributes> {
        let raw: &[u8; ENCODED] = raw.try_into().ok()?;
        let time = |at: usize| {
            let seconds = i64::from_le_bytes(raw[at..at + 8].try_into().ok()?);
            let nanos = u32::from_le_bytes(raw[at + 8..at + 12].try_into().ok()?);
            (nanos < 1_000_000_000).then_some((seconds, nanos))
        };
        let mode = u32::from_le_bytes(raw[..4].try_into().ok()?);
        Some(Attributes { mode: mode & 0o7777, accessed: time(4)?, modified: time(16)? })
    }
}

/// Takes away what is written on a directory under way.
fn strip(directory: impl AsFd) -> Result<(), Errno> {
    for name in [RECORD, NAME] {
        match fremovexattr(&directory, name) {
            Ok(()) | Err(Errno::NODATA) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Gives `to` the extended attributes of `from`, access control lists included, and no others.
///
/// Attributes outside the `user` and `system` name spaces (`xattr(7)`) are the kernel's and the security modules' to
/// give: a new directory has got its own.
pub(super) fn copy_extended(from: impl AsFd, to: impl AsFd) -> Result<(), Errno> {
    let wanted = names(&from)?;
    for name in names(&to)?.iter().filter(|n| !wanted.contains(n)) {
        fremovexattr(&to, name.as_slice())?; // inherited from the parent's default access control list
    }
    let mut value = vec![0u8; MOST];
    for name in &wanted {
        match fgetxattr(&from, name.as_slice(), &mut value[..]) {
            Ok(size) => fsetxattr(&to, name.as_slice(), &value[..size], XattrFlags::empty())?,
            Err(Errno::NODATA) => {} // removed meanwhile
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn names(fd: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut list = vec![0u8; MOST];
    let size = match flistxattr(fd, &mut list[..]) {
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    let kept = |name: &&[u8]| (name.starts_with(b"user.") || name.starts_with(b"system.")) && !name.starts_with(OURS);
    Ok(list[..size].split(|b| *b == 0).filter(kept).map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_a_forged_one_does_not() {
        let attributes = Attributes { mode: 0o2755, accessed: (-5, 7), modified: (i64::MAX, 999_999_999) };
        assert_eq!(Attributes::decode(&attributes.encode()), Some(attributes));
        let mut forged = attributes.encode();
        forged[24..28].copy_from_slice(&1_000_000_000u32.to_le_bytes());
        assert_eq!(Attributes::decode(&forged), None);
        assert_eq!(Attributes::decode(b"short"), None);
    }
}
