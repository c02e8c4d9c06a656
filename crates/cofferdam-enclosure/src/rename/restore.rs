//! Taking back purifications that a killed enclosure left half done: on the upper layer itself, from outside, once nothing
//! inside lives any more.
//!
//! The undo of the helper works through the overlay, which is gone. Here the same is done on what the overlay keeps: a name that
//! had been moved away left a white-out (a character device 0:0), a directory that comes back to such a place is opaque
//! (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
//!
//! Names and attributes are the command's to forge. What a forged left-over brings about is a move within the layer, never over
//! anything, which the command could have made itself; whatever does not look as a purification leaves it stays where it is.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, XattrFlags, fgetxattr, fsetxattr, openat, openat2,
    statat, unlinkat,
};
use rustix::io::Errno;

use super::attributes::{Attributes, NAME};
use super::directory::{self, Entry, entries};
use super::purify::KEEP;
use super::undo::settle_below;
use super::{is_leftover, pending};

/// Most levels of directories that are gone down to; four descriptors each.
const DEEPEST: usize = 200;

/// `user.overlay.opaque`, with the value `y`: nothing of the lower layer shows through.
const OPAQUE: &str = "user.overlay.opaque";

/// What became of the left-overs of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Brought back whole, and gone.
    pub whole: u64,
    /// Still there, with what could not be brought back, or in its place and not settled.
    pub left: u64,
}

/// Brings the content of every left-over in `upper` back to where it was. `real` is the lower layer. Nothing may write into
/// the upper layer meanwhile.
///
/// # Errors
/// Where the top of one of the two cannot be opened. What is closed to its owner or too deep is passed over.
pub fn restore(upper: BorrowedFd<'_>, real: BorrowedFd<'_>) -> Result<Restored, Errno> {
    let mut restored = Restored::default();
    below(open(upper, c".")?, Some(open(real, c".")?), DEEPEST, &mut restored);
    Ok(restored)
}

/// Looks for left-overs in a directory and below it.
fn below(upper: OwnedFd, real: Option<OwnedFd>, depth: usize, restored: &mut Restored) {
    let Some(depth) = depth.checked_sub(1) else { return };
    if pending::resume(&upper).is_err() {
        restored.left += 1;
    }
    let Ok(listed) = entries(&upper) else { return };
    let directories: Vec<Entry> = listed.flatten().filter(Entry::is_directory).collect();
    for entry in directories.iter().filter(|e| is_leftover(e.name.to_bytes())) {
        match bring_home(&upper, real.as_ref(), &entry.name, depth) {
            Ok(()) => restored.whole += 1,
            Err(_) => restored.left += 1, // the change set says so, by the name
        }
    }
    for entry in directories.iter().filter(|e| !is_leftover(e.name.to_bytes())) {
        let Ok(inner) = open(upper.as_fd(), &entry.name) else { continue };
        let shows = if is_opaque(&inner) { None } else { open_in(real.as_ref(), &entry.name) };
        // In its place again, or for the first time, and not yet settled.
        let unsettled = !matches!(Attributes::recorded(&inner), Ok(None));
        below(inner, shows, depth, restored);
        if unsettled && settle_below(&upper, &entry.name).is_err() {
            restored.left += 1;
        }
    }
}

/// One left-over.
fn bring_home(parent: &OwnedFd, real: Option<&OwnedFd>, temporary: &CStr, depth: usize) -> Result<(), Errno> {
    let (from, now) = directory::open(parent, temporary)?;
    match unlinkat(&from, KEEP, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::NOTDIR) => {}
        Err(e) => return Err(e),
    }
    let Some(name) = named(&from)? else {
        // Not yet filled.
        return unlinkat(parent, temporary, AtFlags::REMOVEDIR);
    };
    let recorded = Attributes::recorded(&from)?;
    match there(parent, &name)? {
        There::Directory => {
            let (to, before) = directory::open(parent, &name)?;
            let shows = if is_opaque(&to) { None } else { open_in(real, &name) };
            let brought = bring_back(&from, &to, shows.as_ref(), depth);
            // The record goes with the left-over, so that whoever is killed before has it still.
            brought.and(recorded.unwrap_or(before).settle(parent, &name, &to))?;
            unlinkat(parent, temporary, AtFlags::REMOVEDIR)
        }
        // Nothing had moved yet: only the skeleton is there.
        There::Nothing if exists_in(real, &name)? => remove_skeleton(parent, temporary, depth),
        There::Nothing | There::Whiteout => {
            put_back(parent, temporary, parent, &name, Some(&from))?;
            settle_below(parent, &name)?;
            if recorded.is_none() { now.settle(parent, &name, &from) } else { Ok(()) }
        }
        There::Other => Err(Errno::EXIST),
    }
}

/// Moves everything in `from` into `to`; goes on after a failure. `real` is what shows through `to`.
fn bring_back(from: &OwnedFd, to: &OwnedFd, real: Option<&OwnedFd>, depth: usize) -> Result<(), Errno> {
    let depth = depth.checked_sub(1).ok_or(Errno::MFILE)?;
    let mut outcome = pending::resume(from).and(pending::resume(to));
    let moving: Vec<Entry> = entries(from)?.collect::<Result<_, _>>()?;
    for entry in &moving {
        outcome = outcome.and(bring_entry_back(from, to, real, entry, depth));
    }
    // What was opened up and has not moved.
    for entry in entries(to)? {
        let entry = entry?;
        if entry.is_directory() {
            outcome = outcome.and(settle_below(to, &entry.name));
        }
    }
    outcome
}

fn bring_entry_back(
    from: &OwnedFd,
    to: &OwnedFd,
    real: Option<&OwnedFd>,
    entry: &Entry,
    depth: usize,
) -> Result<(), Errno> {
    let name = &entry.name;
    if there(from, name)? == There::Whiteout {
        return unlinkat(from, name, AtFlags::empty()); // of an exchange that was cut off: see `put_back`
    }
    match there(to, name)? {
        There::Directory if entry.is_directory() => {
            let (below, _) = directory::open(from, name)?;
            let (original, before) = directory::open(to, name)?;
            // Without a record the twin was only just made, with a mode of its own, and the original is as it was.
            let attributes = Attributes::recorded(&below)?.unwrap_or(before);
            let shows = if is_opaque(&original) { None } else { open_in(real, name) };
            let brought = bring_back(&below, &original, shows.as_ref(), depth);
            brought.and(attributes.settle(to, name, &original))?;
            unlinkat(from, name, AtFlags::REMOVEDIR)
        }
        There::Nothing if exists_in(real, name)? => {
            if entry.is_directory() {
                remove_skeleton(from, name, depth)
            } else {
                Err(Errno::EXIST)
            }
        }
        There::Nothing | There::Whiteout => {
            let directory = if entry.is_directory() { Some(directory::open(from, name)?) } else { None };
            put_back(from, name, to, name, directory.as_ref().map(|(fd, _)| fd))?;
            if directory.is_some() { settle_below(to, name) } else { Ok(()) } // it may have been opened up
        }
        There::Directory | There::Other => Err(Errno::EXIST),
    }
}

/// Moves one name to a place where there is nothing, or a white-out. A directory hides what the lower layer has there.
fn put_back(from: &OwnedFd, old: &CStr, to: &OwnedFd, new: &CStr, directory: Option<&OwnedFd>) -> Result<(), Errno> {
    if let Some(directory) = directory {
        fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())?;
    }
    if there(to, new)? == There::Whiteout {
        // At once, so that the name is never without either.
        directory::rename(from, old, to, new, RenameFlags::EXCHANGE)?;
        return unlinkat(from, old, AtFlags::empty());
    }
    directory::rename(from, old, to, new, RenameFlags::NOREPLACE)
}

/// Removes directories in which there is nothing but such.
fn remove_skeleton(parent: &OwnedFd, name: &CStr, depth: usize) -> Result<(), Errno> {
    let depth = depth.checked_sub(1).ok_or(Errno::MFILE)?;
    let (directory, _) = directory::open(parent, name)?;
    let inner: Vec<Entry> = entries(&directory)?.collect::<Result<_, _>>()?;
    if inner.iter().any(|entry| !entry.is_directory()) {
        return Err(Errno::NOTEMPTY);
    }
    inner.iter().try_for_each(|entry| remove_skeleton(&directory, &entry.name, depth))?;
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// What a layer has at a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    Whiteout,
    Directory,
    Other,
}

fn there(directory: &OwnedFd, name: &CStr) -> Result<There, Errno> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(There::Nothing),
        Err(e) => Err(e),
        Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => There::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 => There::Whiteout,
            _ => There::Other,
        }),
    }
}

fn exists_in(real: Option<&OwnedFd>, name: &CStr) -> Result<bool, Errno> {
    real.map_or(Ok(false), |real| Ok(directory::kind_of(real, name)?.is_some()))
}

/// The name that a left-over stands for; `None` where it says none. A forged one may be anything.
fn named(leftover: &OwnedFd) -> Result<Option<CString>, Errno> {
    let mut raw = [0u8; 256];
    let got = match fgetxattr(leftover, NAME, &mut raw[..]) {
        Err(Errno::NODATA) => return Ok(None),
        other => other?,
    };
    let name = &raw[..got];
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || is_leftover(name) {
        return Err(Errno::INVAL);
    }
    CString::new(name).map(Some).map_err(|_| Errno::INVAL)
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0u8; 2];
    fgetxattr(directory, OPAQUE, &mut value[..]) == Ok(1) && value[0] == b'y'
}

fn open(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// The lower layer's directory of that name.
fn open_in(real: Option<&OwnedFd>, name: &CStr) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(real?, name, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn write(top: &Path, name: &str) {
        fs::create_dir_all(top.join(name).parent().unwrap()).unwrap();
        fs::write(top.join(name), name).unwrap();
    }

    fn name(top: &Path, leftover: &str, name: &[u8]) {
        fs::create_dir_all(top.join(leftover)).unwrap();
        fsetxattr(fs::File::open(top.join(leftover)).unwrap(), NAME, name, XattrFlags::empty()).unwrap();
    }

    fn restored(top: &Path) -> Restored {
        let [upper, real] = ["upper", "real"].map(|d| fs::File::open(top.join(d)).unwrap());
        restore(upper.as_fd(), real.as_fd()).unwrap()
    }

    #[test]
    fn what_moved_returns_and_a_skeleton_goes() {
        let top = tempfile::tempdir().unwrap();
        let (upper, real) = (top.path().join("upper"), top.path().join("real"));
        for file in ["src/d/a", "src/d/sub/b", "src/d/still/lower", "idle/x"] {
            write(&real, file);
        }
        write(&upper, "src/d/a");
        fs::create_dir_all(upper.join("src/d/sub")).unwrap();
        for file in ["sub/made", "pure/deep/c"] {
            write(&upper.join("src/.coffer-mv.9.0"), file);
        }
        fs::create_dir_all(upper.join("src/.coffer-mv.9.0/still")).unwrap();
        name(&upper, "src/.coffer-mv.9.0", b"d");
        // Nothing has moved: `idle` is in the lower layer alone.
        fs::create_dir_all(upper.join(".coffer-mv.9.1/inner")).unwrap();
        name(&upper, ".coffer-mv.9.1", b"idle");
        // Not yet named.
        fs::create_dir_all(upper.join(".coffer-mv.9.2").join(KEEP.to_str().unwrap())).unwrap();
        assert_eq!(restored(top.path()), Restored { whole: 3, left: 0 });
        for file in ["src/d/a", "src/d/sub/made", "src/d/pure/deep/c"] {
            assert!(upper.join(file).is_file(), "{file}");
        }
        for gone in ["src/.coffer-mv.9.0", ".coffer-mv.9.1", ".coffer-mv.9.2", "src/d/still", "idle"] {
            assert!(!upper.join(gone).exists(), "{gone}");
        }
        assert!(is_opaque(&fs::File::open(upper.join("src/d/pure")).unwrap().into()));
        assert!(!is_opaque(&fs::File::open(upper.join("src/d/sub")).unwrap().into()));
        assert_eq!(restored(top.path()), Restored::default());
    }

    #[test]
    fn a_forged_leftover_reaches_nothing_beside_it_and_replaces_nothing() {
        let top = tempfile::tempdir().unwrap();
        let (upper, real) = (top.path().join("upper"), top.path().join("real"));
        write(top.path(), "outside/secret");
        write(&real, "d/shown");
        write(&upper, "d/kept");
        for (number, target) in
            [&b".."[..], b"../../outside", b"/", b".", b"", b".coffer-mv.0", b"link"].iter().enumerate()
        {
            let leftover = format!(".coffer-mv.{number}");
            write(&upper, &format!("{leftover}/secret"));
            name(&upper, &leftover, target);
        }
        std::os::unix::fs::symlink("../outside", upper.join("link")).unwrap();
        for file in ["kept", "shown"] {
            fs::create_dir_all(upper.join(".coffer-mv.d")).unwrap();
            fs::write(upper.join(".coffer-mv.d").join(file), "forged").unwrap();
        }
        rustix::fs::mkfifoat(rustix::fs::CWD, upper.join(".coffer-mv.d/pipe"), Mode::RWXU).unwrap();
        std::os::unix::fs::symlink("/", upper.join(".coffer-mv.d/root")).unwrap();
        name(&upper, ".coffer-mv.d", b"d");
        std::os::unix::fs::symlink(top.path().join("outside"), upper.join(".coffer-mv.link")).unwrap();
        assert_eq!(restored(top.path()), Restored { whole: 0, left: 8 });
        assert_eq!(fs::read_to_string(upper.join("d/kept")).unwrap(), "d/kept");
        assert!(!upper.join("d/shown").exists(), "what shows through is not covered");
        assert_eq!(fs::read_to_string(top.path().join("outside/secret")).unwrap(), "outside/secret");
        assert_eq!(fs::read_dir(top.path().join("outside")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 3);
        assert!(upper.join("d/root").is_symlink() && upper.join("link").is_symlink());
    }
}
