//! What a directory that is closed to its owner is to be, said on its parent while it cannot be said on itself.
//!
//! Only who may write to a directory can write or remove its `user` attributes (xattr(7)), so that a mode such as 0555
//! excludes a record: one has to go before the other comes. Whoever is killed between the two leaves this.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};
use rustix::io::Errno;

use super::attributes::{Attributes, ENCODED};
use super::directory;

/// On a parent: [`Attributes`] and the name of the entry they belong to.
const PENDING: &str = "user.coffer.p";

/// Says what `name` in `parent` is to be. An earlier word is replaced: one entry of a directory is under way at a time.
///
/// Where there is no room for it, or the parent is a sticky directory of somebody else (xattr(7)), nothing is said: an undo
/// has to succeed without room, and lacks no more than the protection of one instant.
pub(super) fn set(parent: impl AsFd, name: &CStr, attributes: &Attributes) -> Result<(), Errno> {
    let value = [&attributes.encode()[..], name.to_bytes()].concat();
    match setxattr(by_descriptor(&parent), PENDING, &value, XattrFlags::empty()) {
        Err(Errno::NOSPC | Errno::DQUOT | Errno::PERM) => Ok(()),
        other => other,
    }
}

/// Takes the word back.
pub(super) fn clear(parent: impl AsFd) -> Result<(), Errno> {
    match removexattr(by_descriptor(&parent), PENDING) {
        Err(Errno::NODATA | Errno::PERM) => Ok(()), // see `set`
        other => other,
    }
}

/// Makes what was said on `parent` a record on the entry itself, for whoever settles it; opens it up for that.
///
/// # Errors
/// What stands in the way; the word is still there then.
pub(super) fn resume(parent: impl AsFd) -> Result<(), Errno> {
    let Some((name, attributes)) = said(&parent)? else { return Ok(()) };
    match directory::open_up(&parent, &name) {
        Ok((directory, _)) => {
            if Attributes::recorded(&directory)?.is_none() {
                attributes.record(&directory)?;
            }
        }
        Err(Errno::NOENT | Errno::NOTDIR) => {} // gone
        Err(e) => return Err(e),
    }
    clear(parent)
}

/// What `parent` says; `None` where it says nothing, or something forged that is no name.
fn said(parent: impl AsFd) -> Result<Option<(CString, Attributes)>, Errno> {
    let mut raw = [0u8; ENCODED + 255];
    let got = match getxattr(by_descriptor(&parent), PENDING, &mut raw[..]) {
        Ok(got) => got,
        // One that its owner may not read (xattr(7)) is as one that says nothing.
        Err(Errno::NODATA | Errno::RANGE | Errno::NOTSUP | Errno::ACCESS) => return Ok(None),
        Err(e) => return Err(e),
    };
    let Some((attributes, name)) = raw[..got].split_at_checked(ENCODED) else { return Ok(None) };
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return Ok(None);
    }
    Ok(CString::new(name).ok().zip(Attributes::decode(attributes)))
}

/// fsetxattr(2) and the like refuse O_PATH, which is what the monitor sends.
fn by_descriptor(parent: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", parent.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_said_becomes_a_record_and_a_forged_word_reaches_nothing() {
        let top = tempfile::tempdir().unwrap();
        let parent = top.path().join("parent");
        for d in ["parent/closed", "outside"] {
            fs::create_dir_all(top.path().join(d)).unwrap();
        }
        std::os::unix::fs::symlink("../outside", parent.join("link")).unwrap();
        fs::set_permissions(parent.join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
        let fd = fs::File::open(&parent).unwrap();
        let closed = Attributes::of(&rustix::fs::stat(parent.join("closed")).unwrap());
        for forged in [c"..", c".", c"", c"../outside", c"link", c"missing"] {
            set(&fd, forged, &closed).unwrap();
            resume(&fd).unwrap();
        }
        let record = |name: &str| Attributes::recorded(fs::File::open(top.path().join(name)).unwrap()).unwrap();
        for untouched in [".", "outside", "parent", "parent/closed"] {
            assert_eq!(record(untouched), None, "{untouched}");
        }
        set(&fd, c"closed", &closed).unwrap();
        resume(&fd).unwrap();
        assert_eq!(record("parent/closed"), Some(closed));
        assert_eq!(said(&fd), Ok(None));
        let mode = |name: &str| fs::metadata(parent.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("closed"), 0o755);
        super::super::undo::settle_below(&fd, c"closed").unwrap();
        assert_eq!((mode("closed"), record("parent/closed"), said(&fd)), (0o555, None, Ok(None)));
    }
}
