//! Which version of which file: what a promotion remembers of an entry, to know it again.

use cofferdam_core::Timestamp;
use cofferdam_core::change::{Digest, Entry, FileKind};
use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

/// An entry of a directory as `fstatat(2)` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
    /// What it is.
    pub kind: FileKind,
    /// `st_mode & 07777`.
    pub mode: u32,
    /// `st_size`; 0 for what is neither file nor link.
    pub size: u64,
    /// `st_mtim`.
    pub mtime: Timestamp,
    /// `st_ctim`. Changes by a rename as well.
    pub ctime: Timestamp,
    /// `st_nlink`.
    pub links: u64,
    /// `st_uid`.
    pub uid: u32,
    /// `st_gid`.
    pub gid: u32,
}

impl Identity {
    /// From the result of a `stat` call.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "field widths differ between architectures")]
    pub fn from_stat(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::File,
            FileType::Symlink => FileKind::Symlink,
            FileType::Directory => FileKind::Directory,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            _ => FileKind::Device,
        };
        let sized = matches!(kind, FileKind::File | FileKind::Symlink);
        Identity {
            dev: u64::from(stat.st_dev),
            ino: u64::from(stat.st_ino),
            kind,
            mode: u32::from(stat.st_mode) & 0o7777,
            size: if sized { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
            mtime: Timestamp::from_parts(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: Timestamp::from_parts(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            links: stat.st_nlink as u64,
            uid: stat.st_uid,
            gid: stat.st_gid,
        }
    }

    /// Whether both are the same inode, whatever it holds.
    pub fn same_inode(&self, other: &Identity) -> bool {
        (self.dev, self.ino, self.kind) == (other.dev, other.ino, other.kind)
    }

    /// Whether both are the same inode in the same version: size, mode and modification time too. The times of a
    /// directory change with its entries and do not count.
    pub fn same_version(&self, other: &Identity) -> bool {
        self.same_inode(other)
            && (self.kind == FileKind::Directory
                || (self.size, self.mtime, self.mode) == (other.size, other.mtime, other.mode))
    }

    /// As one side of a change.
    pub fn entry(&self, digest: Option<Digest>) -> Entry {
        Entry { kind: self.kind, mode: self.mode, size: self.size, mtime: self.mtime, digest }
    }
}
