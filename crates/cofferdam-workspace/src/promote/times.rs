//! The modification times of directories, which a promotion changes by coming and going.

use std::collections::BTreeMap;

use cofferdam_core::change::{Digest, FileKind};
use cofferdam_core::{Bytes, Timestamp};
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT, fstat, futimens};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::op::{Op, Touched};
use super::root::split;
use super::{Identity, PromoteError, RootDir, entry};

/// SHA-256 over sorted names, each ended by a NUL byte.
fn digest(mut names: Vec<Bytes>) -> Digest {
    names.sort_unstable();
    let mut hash = Sha256::new();
    for name in &names {
        hash.update(&name.0);
        hash.update([0]);
    }
    Digest(hash.finalize().into())
}

/// What is to be remembered of one directory. `mtime`: where it was already noted before the directory was touched.
pub(super) fn remember(
    root: &RootDir,
    path: &Bytes,
    mtime: Option<Timestamp>,
    changes: &[(Bytes, bool)],
) -> Result<Touched, PromoteError> {
    let on_error = |e: Errno| PromoteError::io("list", root.full(path), e);
    let (ino, seen, names) = match root.dir(&path.0) {
        Ok(dir) => {
            let identity = Identity::from_stat(&fstat(&dir).map_err(on_error)?);
            let names = entry::names_in(dir).map_err(|e| PromoteError::io("list", root.full(path), e))?;
            (identity.ino, identity.mtime, names)
        }
        // An operation makes it; or it cannot be listed, and then keeps whatever time the changes leave.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => (0, Timestamp(0), Vec::new()),
        Err(e) => return Err(on_error(e)),
    };
    let mut after: std::collections::BTreeSet<Bytes> = names.iter().cloned().collect();
    for (name, comes) in changes.iter().filter(|(_, comes)| !comes).chain(changes.iter().filter(|(_, comes)| *comes)) {
        if *comes {
            after.insert(name.clone());
        } else {
            after.remove(name);
        }
    }
    Ok(Touched {
        path: path.clone(),
        ino,
        mtime: mtime.unwrap_or(seen),
        names: digest(names),
        names_after: digest(after.into_iter().collect()),
        restore: None,
    })
}

/// The directories in which the operations let entries come or go, each with the names that do (`true`: comes).
pub(super) fn touched_by(ops: &[Op]) -> BTreeMap<Bytes, Vec<(Bytes, bool)>> {
    let mut out: BTreeMap<Bytes, Vec<(Bytes, bool)>> = BTreeMap::new();
    for op in ops.iter().filter(|op| op.touches_parent()) {
        let names = out.entry(Bytes::from(split(&op.path).0)).or_default();
        if let Some((_, name, comes)) = op.name_change() {
            names.push((Bytes::from(name), comes));
        }
    }
    out
}

/// Sets a directory's time back to `to`, if it holds exactly the names of `expected`. Gives its time now; `None` where
/// it is gone or somebody else changed it too.
pub(super) fn restore(
    root: &RootDir,
    touched: &Touched,
    expected: Digest,
    to: Option<Timestamp>,
) -> Result<Option<Timestamp>, PromoteError> {
    let on_error = |e: Errno| PromoteError::io("set the time of", root.full(&touched.path), e);
    let dir = match root.dir(&touched.path.0) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => return Ok(None),
        Err(e) => return Err(on_error(e)),
    };
    let identity = Identity::from_stat(&fstat(&dir).map_err(on_error)?);
    debug_assert_eq!(identity.kind, FileKind::Directory);
    if touched.ino != 0 && identity.ino != touched.ino {
        return Ok(None);
    }
    let listed = dir.try_clone().map_err(|e| PromoteError::io("list", root.full(&touched.path), e))?;
    let names = entry::names_in(listed).map_err(|e| PromoteError::io("list", root.full(&touched.path), e))?;
    if digest(names) != expected {
        return Ok(None);
    }
    let Some(mtime) = to else { return Ok(Some(identity.mtime)) };
    let (tv_sec, tv_nsec) = mtime.parts();
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec },
    };
    futimens(&dir, &times).map_err(on_error)?;
    Ok(Some(mtime))
}
