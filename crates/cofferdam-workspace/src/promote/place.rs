//! Staging directories: private, on the file system of what they stage for, gone when the promotion ends.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use cofferdam_core::Bytes;
use cofferdam_core::change::FileKind;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, StatxFlags, fchmod, mkdirat, openat, renameat_with, statx,
};
use rustix::io::Errno;

use super::root::{RootDir, join, look_at, split};
use super::{PromoteError, STAGING_NAME, entry};

/// The file in a staging directory that says whose it is.
pub(super) const MARKER: &[u8] = b"promotion";

/// Two entries can be renamed into each other's place if this is equal for their directories (rename(2), EXDEV: the
/// same file system mounted twice does not do).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mount {
    device: (u32, u32),
    id: u64,
}

/// The mount on which the directory `dir` lies; `None` where there is no such directory.
fn mount_of(root: &RootDir, dir: &Bytes) -> Result<Option<Mount>, PromoteError> {
    let on_error = |e| PromoteError::io("look at", root.full(dir), e);
    let fd = match root.dir(&dir.0) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(e) => return Err(on_error(e)),
    };
    let stat = statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map_err(on_error)?;
    Ok(Some(Mount { device: (stat.stx_dev_major, stat.stx_dev_minor), id: stat.stx_mnt_id }))
}

/// Where things for each directory are staged: the outermost directory on the same mount. What is known of the
/// directories above is kept, because the depth of a tree is the run's to choose.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    known: BTreeMap<Bytes, (Option<Mount>, Bytes)>,
}

impl Hosts {
    /// The directory in which things for `dir` are staged.
    pub fn of(&mut self, root: &RootDir, dir: &Bytes) -> Result<Bytes, PromoteError> {
        let mut unknown = Vec::new();
        let mut at = dir.clone();
        while !self.known.contains_key(&at) {
            let above = (!at.0.is_empty()).then(|| Bytes::from(split(&at).0));
            unknown.push(at);
            let Some(above) = above else { break };
            at = above;
        }
        for dir in unknown.into_iter().rev() {
            let above = if dir.0.is_empty() { None } else { self.known.get(&Bytes::from(split(&dir).0)) };
            let found = match (mount_of(root, &dir)?, above) {
                (None, Some(above)) => above.clone(),
                (mount, Some((of_above, host))) if mount == *of_above => (mount, host.clone()),
                (mount, _) => (mount, dir.clone()),
            };
            self.known.insert(dir, found);
        }
        Ok(self.known.get(dir).map_or_else(Bytes::default, |(_, host)| host.clone()))
    }
}

/// Refuses where a staging directory already stands in `host`.
pub(super) fn refuse_existing(root: &RootDir, host: &Bytes) -> Result<(), PromoteError> {
    let path = root.full(&join(&host.0, STAGING_NAME.as_bytes()));
    let there =
        root.look(&join(&host.0, STAGING_NAME.as_bytes())).map_err(|e| PromoteError::io("look at", &path, e))?;
    let Some(there) = there else { return Ok(()) };
    if there.kind != FileKind::Directory || there.uid != rustix::process::geteuid().as_raw() {
        return Err(PromoteError::ForeignStaging { path, uid: there.uid });
    }
    let marker = join(&join(&host.0, STAGING_NAME.as_bytes()).0, MARKER);
    let owner = match root.open_file(&marker) {
        Ok((file, _)) => std::io::read_to_string(file).map_err(|e| PromoteError::io("read", root.full(&marker), e))?,
        Err(e) => format!("it does not say whose: {e}"),
    };
    Err(PromoteError::Unfinished { path, owner })
}

/// Makes the staging directory in `host`, or opens the one that is there, and gives a descriptor of it.
pub(super) fn make(root: &RootDir, host: &Bytes, owner: &Path) -> Result<OwnedFd, PromoteError> {
    let path = root.full(&join(&host.0, STAGING_NAME.as_bytes()));
    let on_error = |e: Errno| PromoteError::io("create", &path, e);
    let dir = root.dir(&host.0).map_err(on_error)?;
    match mkdirat(&dir, STAGING_NAME, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(on_error(e)),
    }
    let place = open(root, host)?.ok_or_else(|| on_error(Errno::NOENT))?;
    fchmod(&place, Mode::RWXU).map_err(on_error)?;
    // What is made here is meant for elsewhere and must not take this directory's default ACL.
    match rustix::fs::fremovexattr(&place, "system.posix_acl_default") {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
        Err(e) => return Err(on_error(e)),
    }
    entry::remove(place.as_fd(), MARKER, FileKind::File).map_err(on_error)?;
    entry::create_file(place.as_fd(), MARKER)
        .and_then(|mut f| f.write_all(owner.as_os_str().as_encoded_bytes()))
        .map_err(|e| PromoteError::io("write", path.join("promotion"), e))?;
    Ok(place)
}

/// Opens the staging directory in `host`; `None` where it is gone.
pub(super) fn open(root: &RootDir, host: &Bytes) -> Result<Option<OwnedFd>, PromoteError> {
    let path = root.full(&join(&host.0, STAGING_NAME.as_bytes()));
    let on_error = |e: Errno| PromoteError::io("open", &path, e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match root.dir(&host.0).and_then(|dir| openat(&dir, STAGING_NAME, flags, Mode::empty())) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(on_error(e)),
    };
    let stat = rustix::fs::fstat(&fd).map_err(on_error)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory
        || stat.st_uid != rustix::process::geteuid().as_raw()
    {
        return Err(PromoteError::ForeignStaging { path, uid: stat.st_uid });
    }
    Ok(Some(fd))
}

/// Finds out, before anything depends on it, whether two entries can be exchanged here.
pub(super) fn probe_exchange(place: &OwnedFd, path: &Path) -> Result<(), PromoteError> {
    let on_error = |e: std::io::Error| PromoteError::io("write in", path, e);
    let (a, b) = (b"probe-a", b"probe-b");
    for name in [a, b] {
        entry::create_file(place.as_fd(), name).map_err(on_error)?;
    }
    let exchanged = renameat_with(place, a.as_slice(), place, b.as_slice(), RenameFlags::EXCHANGE);
    for name in [a, b] {
        entry::remove(place.as_fd(), name, FileKind::File).map_err(|e| on_error(e.into()))?;
    }
    exchanged.map_err(|e| match e {
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => PromoteError::NoExchange { path: path.to_owned() },
        e => PromoteError::io("exchange two files in", path, e),
    })
}

/// Removes the staging directory in `host`. With `contents`, whatever lies in it goes too: only right once nothing in it
/// is anybody else's.
pub(super) fn drop_place(root: &RootDir, host: &Bytes, contents: bool) -> Result<(), PromoteError> {
    let path = root.full(&join(&host.0, STAGING_NAME.as_bytes()));
    let on_error = |e: Errno| PromoteError::io("remove", &path, e);
    let Some(place) = open(root, host)? else { return Ok(()) };
    if contents {
        let listed = place.try_clone().map_err(|e| PromoteError::io("list", &path, e))?;
        for name in entry::names_in(listed).map_err(|e| PromoteError::io("list", &path, e))? {
            if let Some(there) = look_at(place.as_fd(), &name.0).map_err(on_error)? {
                entry::remove(place.as_fd(), &name.0, there.kind).map_err(on_error)?;
            }
        }
    }
    entry::remove(place.as_fd(), MARKER, FileKind::File).map_err(on_error)?;
    let dir = root.dir(&host.0).map_err(on_error)?;
    entry::remove(dir.as_fd(), STAGING_NAME.as_bytes(), FileKind::Directory).map_err(on_error)
}
