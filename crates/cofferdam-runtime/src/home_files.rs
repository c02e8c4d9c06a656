//! Files that a run's home gets before it starts.
//!
//! An earlier run may have left anything in the home: links are never followed, and what stands in the way is left there.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use cofferdam_core::plan::HomeFile;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, open, openat, openat2, renameat, unlinkat};
use rustix::io::Errno;

/// The name of a file until it is whole.
const NEW: &str = ".coffer-new";

/// Writes a file into a layer of the home, over a file that is there. Nothing that runs sees that layer yet.
///
/// # Errors
/// Those of the system's; `NOTDIR` or `LOOP` where something else is in the way.
pub(crate) fn write(layer: &Path, file: &HomeFile) -> rustix::io::Result<()> {
    let mut directory = open(layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = file.path.as_path();
    let name = path.file_name().ok_or(Errno::INVAL)?;
    for part in path.parent().into_iter().flat_map(Path::components) {
        let Component::Normal(part) = part else { return Err(Errno::INVAL) };
        directory = below(&directory, Path::new(part))?;
    }
    match unlinkat(&directory, NEW, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut new = File::from(openat(&directory, NEW, flags, Mode::RUSR | Mode::WUSR)?);
    new.write_all(&file.content.0).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    renameat(&directory, NEW, &directory, name)
}

/// The directory of this name, made where there is none.
fn below(directory: &OwnedFd, name: &Path) -> rustix::io::Result<OwnedFd> {
    match mkdirat(directory, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(directory, name, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn file(path: &str) -> HomeFile {
        HomeFile { path: path.into(), content: "{}".into() }
    }

    #[test]
    fn they_are_written_over_what_is_there_and_through_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (home, outside) = (dir.path().join("home"), dir.path().join("outside"));
        std::fs::create_dir(&home).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("auth.json"), "the person's").unwrap();
        write(&home, &file(".local/share/x/auth.json")).unwrap();
        let made = home.join(".local/share/x/auth.json");
        assert_eq!(std::fs::read(&made).unwrap(), b"{}");
        assert_eq!(made.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        // A link in the file's place is replaced, one on the way to it stays in the way.
        std::fs::remove_file(&made).unwrap();
        symlink(outside.join("auth.json"), &made).unwrap();
        symlink(outside.join("auth.json"), home.join(".local/share/x").join(NEW)).unwrap();
        write(&home, &file(".local/share/x/auth.json")).unwrap();
        assert!(!made.is_symlink());
        symlink(&outside, home.join(".codex")).unwrap();
        assert!(matches!(write(&home, &file(".codex/auth.json")), Err(Errno::LOOP | Errno::NOTDIR)));
        assert!(matches!(write(&home, &file("../outside/auth.json")), Err(Errno::INVAL)));
        std::fs::create_dir_all(home.join(".gemini/oauth.json")).unwrap();
        assert!(write(&home, &file(".gemini/oauth.json")).is_err());
        assert_eq!(std::fs::read(outside.join("auth.json")).unwrap(), b"the person's");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    }
}
