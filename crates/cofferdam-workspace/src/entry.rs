//! What statx(2) says of one directory entry, in our words.

use std::os::fd::{AsFd, BorrowedFd};

use cofferdam_core::Timestamp;
use cofferdam_core::change::{Entry, FileKind};
use rustix::fs::{AtFlags, Statx, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

/// One entry as it lies on disk now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealEntry {
    /// What it is.
    pub kind: FileKind,
    /// `st_mode & 07777`.
    pub mode: u32,
    /// Bytes of a file, length of a link's text; 0 otherwise.
    pub size: u64,
    /// When the content last changed.
    pub mtime: Timestamp,
    /// When the inode last changed; nobody but the kernel can set it.
    pub ctime: Timestamp,
    /// The inode's number.
    pub ino: u64,
    /// The file system's number.
    pub dev: u64,
    /// Names of the inode.
    pub links: u64,
}

impl RealEntry {
    /// The entry as one side of a change, without a digest.
    pub fn entry(&self) -> Entry {
        Entry { kind: self.kind, mode: self.mode, size: self.size, mtime: self.mtime, digest: None }
    }

    /// Whether the inode's last change lies before `moment`, in the worst case of the file system's resolution:
    /// stamps without nanoseconds may come from one that keeps whole seconds (ext4 with 128-byte inodes).
    pub(crate) fn changed_before(&self, moment: Timestamp) -> bool {
        let grain = if self.ctime.0 % 1_000_000_000 == 0 { 1_000_000_000 } else { 0 };
        self.ctime.0.saturating_add(grain) < moment.0
    }
}

/// An entry and what only the upper layer needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpperEntry {
    pub entry: RealEntry,
    /// When the inode was made, where the file system keeps that.
    pub born: Option<Timestamp>,
    /// A character device 0:0: overlayfs's mark for "deleted".
    pub whiteout: bool,
}

fn timestamp(t: StatxTimestamp) -> Timestamp {
    Timestamp::from_parts(t.tv_sec, i64::from(t.tv_nsec))
}

fn convert(raw: &Statx) -> UpperEntry {
    let kind = match u32::from(raw.stx_mode) & 0o170_000 {
        0o040_000 => FileKind::Directory,
        0o100_000 => FileKind::File,
        0o120_000 => FileKind::Symlink,
        0o010_000 => FileKind::Fifo,
        0o140_000 => FileKind::Socket,
        _ => FileKind::Device,
    };
    let character = u32::from(raw.stx_mode) & 0o170_000 == 0o020_000;
    UpperEntry {
        entry: RealEntry {
            kind,
            mode: u32::from(raw.stx_mode) & 0o7777,
            size: if matches!(kind, FileKind::File | FileKind::Symlink) { raw.stx_size } else { 0 },
            mtime: timestamp(raw.stx_mtime),
            ctime: timestamp(raw.stx_ctime),
            ino: raw.stx_ino,
            dev: rustix::fs::makedev(raw.stx_dev_major, raw.stx_dev_minor),
            links: u64::from(raw.stx_nlink),
        },
        born: (raw.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| timestamp(raw.stx_btime)),
        whiteout: character && raw.stx_rdev_major == 0 && raw.stx_rdev_minor == 0,
    }
}

/// The entry `name` (one component) of a directory, links not followed.
pub(crate) fn stat_at(directory: BorrowedFd<'_>, name: &[u8]) -> Result<UpperEntry, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME).map(|raw| convert(&raw))
}

/// The entry behind a descriptor.
pub(crate) fn stat_fd(fd: impl AsFd) -> Result<UpperEntry, Errno> {
    rustix::fs::statx(fd.as_fd(), c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
        .map(|raw| convert(&raw))
}
