//! Reading and copying single entries of directories.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use cofferdam_core::change::{Digest, FileKind};
use cofferdam_core::{Bytes, Timestamp};
use rustix::fs::{
    AtFlags, Dir, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, fchmod, fchown, fgetxattr,
    flistxattr, fsetxattr, fstat, openat, readlinkat, symlinkat, utimensat,
};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::root::{RootDir, look_at, open_file_at};
use super::{Identity, STAGING_NAME};

/// The names in the directory at `path`, without our own staging directory.
pub(super) fn names(root: &RootDir, path: &Bytes) -> io::Result<Vec<Bytes>> {
    names_in(root.dir(&path.0)?)
}

/// The names in an open directory, without our own staging directory.
pub(super) fn names_in(dir: OwnedFd) -> io::Result<Vec<Bytes>> {
    let mut out = Vec::new();
    for entry in Dir::new(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") && name != STAGING_NAME.as_bytes() {
            out.push(Bytes::from(name));
        }
    }
    Ok(out)
}

/// The text of the symbolic link at `path`.
pub(super) fn read_link(root: &RootDir, path: &Bytes) -> io::Result<Bytes> {
    let (dir, name) = root.parent(path)?;
    read_link_at(dir.as_fd(), name)
}

fn read_link_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Bytes> {
    Ok(Bytes(readlinkat(dir, name, Vec::new())?.into_bytes()))
}

/// SHA-256 of the file's bytes or the link's text at `path`.
pub(super) fn digest(root: &RootDir, path: &Bytes, kind: FileKind) -> io::Result<Digest> {
    let (dir, name) = root.parent(path)?;
    digest_at(dir.as_fd(), name, kind)
}

/// SHA-256 of the file's bytes or the link's text.
pub(super) fn digest_at(dir: BorrowedFd<'_>, name: &[u8], kind: FileKind) -> io::Result<Digest> {
    if kind == FileKind::Symlink {
        return Ok(Digest(Sha256::digest(read_link_at(dir, name)?.0).into()));
    }
    let (file, _) = open_file_at(dir, name)?;
    Ok(hashing(file)?.1)
}

/// Bytes that are copied at once.
const PIECE: usize = 64 << 10;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// SHA-256 of a stream, and its length.
fn hashing(mut from: impl Read) -> io::Result<(u64, Digest)> {
    pass(&mut from, |_| Ok(()))
}

/// Copies a stream into an empty file; gives its length and SHA-256. Where the stream is all zeros the file gets holes:
/// a sparse file of the workspace must not fill the person's disk.
pub(super) fn copy_hashing(mut from: impl Read, mut to: &File) -> io::Result<(u64, Digest)> {
    let mut ends_in_hole = false;
    let (length, digest) = pass(&mut from, |piece| {
        ends_in_hole = ZEROS.starts_with(piece);
        if ends_in_hole {
            // At most the buffer's length.
            let skipped = i64::try_from(piece.len()).map_err(io::Error::other)?;
            return to.seek(SeekFrom::Current(skipped)).map(drop);
        }
        to.write_all(piece)
    })?;
    if ends_in_hole {
        to.set_len(length)?;
    }
    Ok((length, digest))
}

fn pass(from: &mut dyn Read, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<(u64, Digest)> {
    let (mut hash, mut length) = (Sha256::new(), 0);
    let mut buffer = vec![0; PIECE];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(&buffer[..n]);
        each(&buffer[..n])?;
        length += n as u64;
    }
    Ok((length, Digest(hash.finalize().into())))
}

/// Creates the empty file `name` for writing; only its owner may touch it until [`fchmod`] says otherwise.
pub(super) fn create_file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?))
}

/// Opens what a descriptor of `O_PATH` or of any kind stands for by another road, so that an entry which its owner may
/// not read can still be chmod'ed: the calls that take a descriptor refuse `O_PATH` ones.
fn by_proc(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Sets the mode (`07777`) of the entry `name` if it still is the inode `expected`.
pub(super) fn set_mode(dir: BorrowedFd<'_>, name: &[u8], expected: &Identity, mode: u32) -> Result<bool, Errno> {
    let fd = openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if !Identity::from_stat(&fstat(&fd)?).same_inode(expected) {
        return Ok(false);
    }
    rustix::fs::chmod(by_proc(fd.as_fd()), Mode::from_raw_mode(mode))?;
    Ok(true)
}

/// Sets the modification time of the entry `name`, not following it.
pub(super) fn set_mtime(dir: BorrowedFd<'_>, name: &[u8], mtime: Timestamp) -> Result<(), Errno> {
    utimensat(dir, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
}

fn times(mtime: Timestamp) -> Timestamps {
    let (tv_sec, tv_nsec) = mtime.parts();
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec },
    }
}

/// Gives a staged file or directory what the entry in the real tree has and the workspace cannot know: owner and group,
/// `user.*` attributes, and the access ACL, each as far as the caller may. Says in a sentence what it could not.
pub(super) fn inherit(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut notes = Vec::new();
    let (source, target) = (fstat(from)?, fstat(to)?);
    if (source.st_uid, source.st_gid) != (target.st_uid, target.st_gid) {
        let both = fchown(to, Some(Uid::from_raw(source.st_uid)), Some(Gid::from_raw(source.st_gid)));
        if both.is_err() && fchown(to, None, Some(Gid::from_raw(source.st_gid))).is_err() {
            notes.push("its owner or group could not be kept".to_owned());
        }
    }
    for name in attribute_names(from)? {
        if !name.starts_with(b"user.") && name != b"system.posix_acl_access" {
            continue;
        }
        let value = attribute(from, &name)?;
        if let Err(e) = fsetxattr(to, &name[..], &value, XattrFlags::empty()) {
            notes.push(format!("its attribute {} could not be kept: {e}", name.escape_ascii()));
        }
    }
    Ok(notes)
}

fn attribute_names(fd: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    // xattr(7): a list is at most 64 KiB, as is a value.
    let mut list = vec![0u8; 64 << 10];
    let length = match flistxattr(fd, &mut list[..]) {
        Ok(n) => n,
        Err(Errno::NOTSUP) => 0,
        Err(e) => return Err(e.into()),
    };
    Ok(list[..length].split(|b| *b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect())
}

fn attribute(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut value = vec![0u8; 64 << 10];
    let length = fgetxattr(fd, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

/// A copy of the entry `name` in `from` under `as_name` in `to`: bytes or text, modification time, owner, `user.*`
/// attributes, with the mode `mode` (`07777`). A directory is copied without what is in it. Gives the SHA-256 of a file
/// or link.
///
/// `from` is a directory of ours: an entry that its owner may not read is made readable there first.
pub(super) fn copy(
    from: BorrowedFd<'_>,
    name: &[u8],
    to: BorrowedFd<'_>,
    as_name: &[u8],
    mode: u32,
    sync: bool,
) -> io::Result<Option<Digest>> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    loop {
        let mut before = look_at(from, name)?.ok_or_else(missing)?;
        let needed = if before.kind == FileKind::Directory { 0o500 } else { 0o400 };
        if before.kind != FileKind::Symlink && before.mode & needed != needed {
            set_mode(from, name, &before, before.mode | needed)?;
            before.mode |= needed;
        }
        let digest = copy_once(from, name, &before, to, as_name, mode, sync)?;
        // Somebody who still holds the file open may write while it is copied.
        if look_at(from, name)?.is_some_and(|after| after.same_version(&before)) {
            return Ok(digest);
        }
        remove(to, as_name, before.kind)?;
    }
}

fn copy_once(
    from: BorrowedFd<'_>,
    name: &[u8],
    before: &Identity,
    to: BorrowedFd<'_>,
    as_name: &[u8],
    mode: u32,
    sync: bool,
) -> io::Result<Option<Digest>> {
    let digest = match before.kind {
        FileKind::Symlink => {
            let text = read_link_at(from, name)?;
            symlinkat(text.as_os_str(), to, as_name)?;
            Some(Digest(Sha256::digest(&text.0).into()))
        }
        FileKind::Directory => {
            rustix::fs::mkdirat(to, as_name, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let target = openat(to, as_name, flags, Mode::empty())?;
            let source = openat(from, name, flags, Mode::empty())?;
            inherit(source.as_fd(), target.as_fd())?;
            fchmod(&target, Mode::from_raw_mode(mode))?;
            None
        }
        FileKind::File => {
            let (source, _) = open_file_at(from, name)?;
            let target = create_file(to, as_name)?;
            let (_, digest) = copy_hashing(&source, &target)?;
            inherit(source.as_fd(), target.as_fd())?;
            fchmod(&target, Mode::from_raw_mode(mode))?;
            if sync {
                target.sync_all()?;
            }
            Some(digest)
        }
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither file, link nor directory")),
    };
    set_mtime(to, as_name, before.mtime)?;
    Ok(digest)
}

/// Removes an entry that is ours; a directory must be empty. Nothing there is as good.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &[u8], kind: FileKind) -> Result<(), Errno> {
    let flags = if kind == FileKind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match rustix::fs::unlinkat(dir, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Creates `path` with its missing parents, for the person only (0700).
pub(super) fn make_private_dirs(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A path as bytes that keep its every byte.
pub(super) fn bytes_of(path: &std::path::Path) -> Bytes {
    Bytes::from(path.as_os_str().as_bytes())
}
