//! A look at a notified rename, from outside: is it about a directory that the kernel might refuse to move?
//!
//! The paths are hostile and may change at any time. What is opened here is opened by O_PATH, nothing is read or
//! written through it, and the worst a wrong answer does is a needless question to the helper or the EXDEV that the
//! caller would have had without us.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use cofferdam_core::Bytes;
use cofferdam_core::plan::{EnclosurePlan, Mount};
use cofferdam_sys::memory::read_string;
use cofferdam_sys::seccomp::{self, Notification};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::filter::renames;

/// `PATH_MAX` of `linux/limits.h`, the NUL included.
const PATH_MAX: usize = 4096;
/// `NAME_MAX` of `linux/limits.h`.
const NAME_MAX: usize = 255;

/// What a look found.
#[derive(Debug)]
pub(super) enum Seen {
    /// Nothing for the helper.
    Nothing,
    /// The caller has gone: there is nobody to answer.
    Gone,
    /// A directory that may come from a lower layer.
    Directory(Move),
}

/// A rename in the form in which the helper gets it.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) flags: u32,
    pub(super) old: Place,
    pub(super) new: Place,
}

/// A name and the directory it is in.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) parent: OwnedFd,
    pub(super) name: Bytes,
}

/// An overlay of the view.
#[derive(Debug)]
struct Overlay {
    target: PathBuf,
    device: u64,
    /// The real tree, and the layers of earlier runs over it.
    lowers: Vec<OwnedFd>,
}

/// Knows the view well enough to look.
#[derive(Debug)]
pub(super) struct Hint {
    root: OwnedFd,
    overlays: Vec<Overlay>,
}

impl Hint {
    /// `root` is the root directory inside. To be called before the command starts, while every target is what the
    /// plan says.
    pub(super) fn new(root: OwnedFd, plan: &EnclosurePlan) -> io::Result<Hint> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut overlays = Vec::new();
        for mount in &plan.mounts {
            let Mount::Overlay { lower, between, target, .. } = mount else { continue };
            let inside = openat2(&root, target.as_path(), flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
            let all = between.iter().chain([lower]);
            let lowers = all.map(|l| openat(CWD, l.as_path(), flags, Mode::empty())).collect::<Result<_, _>>()?;
            let target = target.as_path().to_owned();
            overlays.push(Overlay { target, device: fstat(&inside)?.st_dev, lowers });
        }
        Ok(Hint { root, overlays })
    }

    pub(super) fn look(&self, listener: BorrowedFd<'_>, call: &Notification) -> Seen {
        match self.examine(call) {
            // An error here is one that the kernel finds as well, and tells the caller.
            Ok(None) | Err(_) => Seen::Nothing,
            // Until here the caller's number might have been somebody else's already.
            Ok(Some(_)) if !seccomp::is_valid(listener, call.id) => Seen::Gone,
            Ok(Some(found)) => Seen::Directory(found),
        }
    }

    fn examine(&self, call: &Notification) -> Result<Option<Move>, Errno> {
        let Some(arguments) = renames::arguments(call.number, call.arguments) else { return Ok(None) };
        let pid = i32::try_from(call.pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let read =
            |address| read_string(pid, address, PATH_MAX).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::FAULT));
        let exchange = arguments.flags == RenameFlags::EXCHANGE.bits();
        let old_path = read(arguments.old.path)?;
        if !exchange {
            // Most renames are of files, and end here.
            let follow = if old_path.ends_with(b"/") { OFlags::empty() } else { OFlags::NOFOLLOW };
            let old = self.open(pid, arguments.old.directory, &old_path, follow)?;
            if self.overlay_of(&fstat(&old)?).is_none_or(|(_, directory)| !directory) {
                return Ok(None);
            }
        }
        let new_path = read(arguments.new.path)?;
        let (Some(old), Some(new)) = (
            self.place(pid, arguments.old.directory, &old_path)?,
            self.place(pid, arguments.new.directory, &new_path)?,
        ) else {
            return Ok(None);
        };
        let (Some((overlay, _)), Some(_)) =
            (self.overlay_of(&fstat(&old.parent)?), self.overlay_of(&fstat(&new.parent)?))
        else {
            return Ok(None);
        };
        if exchange {
            let either = [&old, &new].into_iter().any(|side| {
                statat(&side.parent, side.name.as_path(), AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|s| is_directory(&s))
            });
            if !either {
                return Ok(None);
            }
        } else if self.overlays[overlay].is_absent_below(&old)? {
            return Ok(None);
        }
        Ok(Some(Move { flags: arguments.flags, old, new }))
    }

    /// Which overlay something is on, and whether it is a directory (what is none may bear another device number).
    fn overlay_of(&self, stat: &Stat) -> Option<(usize, bool)> {
        let at = self.overlays.iter().position(|o| o.device == stat.st_dev)?;
        Some((at, is_directory(stat)))
    }

    /// Splits a path as rename(2) does, and opens the part before the name; `None` for what is no name.
    fn place(&self, pid: Pid, directory: i32, path: &[u8]) -> Result<Option<Place>, Errno> {
        let Some((parent, name)) = split(path) else { return Ok(None) };
        let parent = self.open(pid, directory, parent, OFlags::DIRECTORY)?;
        Ok(Some(Place { parent, name: name.into() }))
    }

    /// Opens a path of the caller by O_PATH.
    fn open(&self, pid: Pid, directory: i32, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        let in_view = |path: &[u8]| {
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            openat2(&self.root, path, flags, Mode::empty(), resolve)
        };
        if path.first() == Some(&b'/') {
            return in_view(path);
        }
        let base = match directory {
            AT_FDCWD => format!("/proc/{}/cwd", pid.as_raw_nonzero()),
            fd => format!("/proc/{}/fd/{fd}", pid.as_raw_nonzero()),
        };
        let base = openat(CWD, base, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match openat2(&base, path, flags, Mode::empty(), resolve) {
            // Leaves the directory by `..` or an absolute link.
            Err(Errno::XDEV) => {
                let mut full = path_of(&base)?;
                full.push(b'/');
                full.extend_from_slice(path);
                in_view(&full)
            }
            other => other,
        }
    }
}

/// `AT_FDCWD` of `linux/fcntl.h`.
const AT_FDCWD: i32 = -100;

impl Overlay {
    /// Whether no lower layer has anything at a place: then it exists in the upper layer alone, and the kernel moves it.
    fn is_absent_below(&self, place: &Place) -> Result<bool, Errno> {
        let parent = PathBuf::from(OsStr::from_bytes(&path_of(&place.parent)?));
        let Ok(inside) = parent.strip_prefix(&self.target) else { return Ok(false) };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let path = inside.join(place.name.as_path());
        Ok(self.lowers.iter().all(|lower| {
            let below = openat2(lower, &path, flags, Mode::empty(), resolve);
            matches!(below, Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
        }))
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// The path of an open directory, in its own view.
fn path_of(fd: &OwnedFd) -> Result<Vec<u8>, Errno> {
    Ok(readlinkat(CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?.into_bytes())
}

fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = path.iter().rposition(|b| *b != b'/')? + 1;
    let path = &path[..end];
    let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
        Some(at) => path.split_at(at + 1),
        None => (b".".as_slice(), path),
    };
    (!matches!(name, b"." | b"..") && name.len() <= NAME_MAX).then_some((parent, name))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_path_is_split_as_the_kernel_does() {
        for (path, parent, name) in [
            ("a", ".", "a"),
            ("a///", ".", "a"),
            ("/a", "/", "a"),
            ("x/../a/", "x/../", "a"),
            ("x//a", "x//", "a"),
            ("/x/...", "/x/", "..."),
        ] {
            assert_eq!(split(path.as_bytes()), Some((parent.as_bytes(), name.as_bytes())), "{path}");
        }
        for none in ["", "/", "//", ".", "a/.", "a/..", "../", &"n".repeat(256)] {
            assert_eq!(split(none.as_bytes()), None, "{none}");
        }
        assert!(split("n".repeat(255).as_bytes()).is_some());
    }
}
