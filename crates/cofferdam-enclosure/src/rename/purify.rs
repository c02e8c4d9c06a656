//! Making a directory one of the upper layer alone, in place.

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, XattrFlags, fsetxattr, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use super::LEFTOVER_PREFIX;
use super::attributes::NAME;
use super::directory::{self, is_hard};
use super::shift::{PASSES, shift};
use super::skeleton::{self, Found, Probe};
use super::undo::undo;

/// Keeps a temporary directory from being empty while it serves as a probe.
pub(super) const KEEP: &CStr = c".k";

/// Why a directory was not purified. It is as it was, unless `left`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// What happened.
    pub(super) errno: Errno,
    /// Whether the temporary directory could not be emptied.
    pub(super) left: bool,
}

impl Refused {
    /// The error that the caller of the rename sees; `None` where the kernel is to answer (with EXDEV, as for any
    /// directory of a lower layer: programs then copy).
    pub(super) fn for_caller(&self) -> Option<Errno> {
        (is_hard(self.errno) || self.errno == Errno::BUSY).then_some(self.errno)
    }
}

/// Purifies directories and names the temporary ones.
#[derive(Debug)]
pub(super) struct Purifier {
    process: u32,
    next: u32,
    depth: usize,
}

impl Purifier {
    /// `process` makes names different from those of other helpers; `depth` is how many levels of directories may be
    /// open at once, three descriptors each.
    pub(super) fn new(process: u32, depth: usize) -> Purifier {
        Purifier { process, next: 0, depth }
    }

    /// Makes the directory `name` in `parent` one of the upper layer alone. `begun` is told the temporary directory's
    /// name before anything is made, and where it fails nothing is.
    pub(super) fn purify(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        mut begun: impl FnMut(&CStr) -> Result<(), Errno>,
    ) -> Result<(), Refused> {
        let refused = |errno| Refused { errno, left: false };
        let (temporary, twin) = self.temporary(parent, &mut begun).map_err(refused)?;
        match self.fill(parent, name, &temporary, &twin) {
            Ok(()) => Ok(()),
            Err(errno) => Err(Refused { errno, left: undo(parent, name, &temporary).is_err() }),
        }
    }

    fn temporary(
        &mut self,
        parent: BorrowedFd<'_>,
        begun: &mut impl FnMut(&CStr) -> Result<(), Errno>,
    ) -> Result<(CString, OwnedFd), Errno> {
        loop {
            let name = format!("{LEFTOVER_PREFIX}{}.{}", self.process, self.next);
            let name = CString::new(name).map_err(|_| Errno::INVAL)?;
            self.next = self.next.wrapping_add(1);
            if directory::kind_of(parent, &name)?.is_some() {
                continue; // left by a helper of an earlier run
            }
            begun(&name)?;
            mkdirat(parent, &name, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = openat(parent, &name, flags, Mode::empty())
                .and_then(|twin| mkdirat(&twin, KEEP, Mode::RWXU).map(|()| twin));
            return match made {
                Ok(twin) => Ok((name, twin)),
                Err(e) => {
                    unlinkat(parent, &name, AtFlags::REMOVEDIR)?;
                    Err(e)
                }
            };
        }
    }

    fn fill(&self, parent: BorrowedFd<'_>, name: &CStr, temporary: &CStr, twin: &OwnedFd) -> Result<(), Errno> {
        let probe = Probe { parent, temporary };
        match probe.look(parent, name)? {
            Found::Lower => {}
            Found::Pure | Found::Closed | Found::Other(_) => {
                // The kernel can do it, or has something to say to the caller.
                unlinkat(twin, KEEP, AtFlags::REMOVEDIR)?;
                return unlinkat(parent, temporary, AtFlags::REMOVEDIR);
            }
        }
        fsetxattr(twin, NAME, name.to_bytes(), XattrFlags::empty())?;
        let (original, attributes) = directory::open(parent, name)?;
        skeleton::build(&original, twin, attributes, probe, self.depth)?;
        unlinkat(twin, KEEP, AtFlags::REMOVEDIR)?;
        for _ in 0..PASSES {
            shift(&original, twin, self.depth)?;
            attributes.prepare(twin)?;
            // Replaces the emptied directory by the full one, at once. It keeps its name and record until then: without
            // them, what was cut off here could not be taken back.
            match directory::rename(parent, temporary, parent, name, RenameFlags::empty()) {
                Err(Errno::NOTEMPTY) => {} // something arrived in the original at the last moment
                Err(e) => return Err(e),
                Ok(()) => return attributes.finish(parent, name, twin),
            }
        }
        Err(Errno::BUSY)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    use super::*;

    /// Names where a test that started itself again, in namespaces in which it may mount, finds its directory.
    const INSIDE: &str = "COFFERDAM_TEST_INSIDE";

    /// An overlay whose upper layer has this much room.
    fn overlay(top: &Path, kib: u32) {
        let data = |text: String| CString::new(text).unwrap();
        let size = data(format!("size={kib}k"));
        mount("tmpfs", top.join("scratch"), "tmpfs", MountFlags::empty(), Some(size.as_c_str())).unwrap();
        for d in ["upper", "work"] {
            fs::create_dir(top.join("scratch").join(d)).unwrap();
        }
        let at = top.display();
        let layers = format!("lowerdir={at}/lower,upperdir={at}/scratch/upper,workdir={at}/scratch/work,userxattr");
        mount("overlay", top.join("merged"), "overlay", MountFlags::empty(), Some(data(layers).as_c_str())).unwrap();
    }

    fn picture(directory: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        let mut waiting = vec![directory.to_owned()];
        while let Some(path) = waiting.pop() {
            let meta = path.symlink_metadata().unwrap();
            let mut content = Vec::new();
            if meta.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            } else {
                content = fs::read(&path).unwrap();
            }
            let (mode, seconds, nanos) = (meta.mode(), meta.mtime(), meta.mtime_nsec());
            lines.push(format!("{} {mode:o} {seconds}.{nanos} {}", path.display(), content.escape_ascii()));
        }
        lines.sort();
        lines
    }

    #[test]
    fn whatever_room_there_is_the_tree_stays_the_same() {
        let Some(top) = std::env::var_os(INSIDE).map(PathBuf::from) else {
            let top = tempfile::tempdir().unwrap();
            let status = std::process::Command::new("unshare")
                .args(["--user", "--map-root-user", "--mount"])
                .arg(std::env::current_exe().unwrap())
                .args(["rename::purify::tests::whatever_room_there_is_the_tree_stays_the_same", "--exact"])
                .env(INSIDE, top.path())
                .status();
            assert!(status.unwrap().success());
            return;
        };
        for d in ["scratch", "merged"] {
            fs::create_dir(top.join(d)).unwrap();
        }
        for d in 0..8 {
            fs::create_dir_all(top.join(format!("lower/s/{d}/below"))).unwrap();
            for f in 0..4u8 {
                fs::write(top.join(format!("lower/s/{d}/below/{f}")), [f; 5000]).unwrap();
            }
        }
        let (mut refused, mut done) = (0, 0);
        for kib in (8..500).step_by(12) {
            overlay(&top, kib);
            let merged = top.join("merged");
            let before = picture(&merged.join("s"));
            let parent: OwnedFd = fs::File::open(&merged).unwrap().into();
            match Purifier::new(1, 100).purify(parent.as_fd(), c"s", |_| Ok(())) {
                Ok(()) => {
                    done += 1;
                    fs::rename(merged.join("s"), merged.join("t")).unwrap();
                    fs::rename(merged.join("t"), merged.join("s")).unwrap();
                }
                Err(why) => {
                    refused += 1;
                    assert_eq!(why, Refused { errno: Errno::NOSPC, left: false }, "{kib} KiB");
                    assert_eq!(why.for_caller(), Some(Errno::NOSPC));
                }
            }
            assert_eq!(picture(&merged.join("s")), before, "{kib} KiB");
            assert_eq!(fs::read_dir(&merged).unwrap().count(), 1, "{kib} KiB: a temporary directory is left");
            drop(parent);
            for mounted in ["merged", "scratch"] {
                unmount(top.join(mounted), UnmountFlags::DETACH).unwrap();
            }
        }
        assert!(refused >= 5 && done >= 5, "{refused} refused, {done} done: the sizes prove nothing");
    }
}
