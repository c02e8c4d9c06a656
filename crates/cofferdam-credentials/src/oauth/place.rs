//! The agent's file outside: read, and replaced as a whole.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use serde_json::Value;
use zeroize::Zeroizing;

use super::SignInError;
use crate::placeholder::random_name;

/// Most bytes of such a file.
const LARGEST: u64 = 1 << 20;
/// How often a file that does not read is looked at again, and after how long.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(20);

/// Where a sign-in's tokens lie outside.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file, without symbolic links.
    pub(super) path: PathBuf,
    /// The directory that the agent makes while it refreshes, where it makes one.
    pub(super) lock: Option<PathBuf>,
}

impl Place {
    /// Finds the file, and the lock of the directory that the agent locks. Links are followed, those of the file to where the home
    /// or its own directory has it.
    ///
    /// # Errors
    /// Where there is none, or it lies elsewhere.
    pub fn find(file: &Path, locked: Option<&Path>, home: &Path) -> Result<Place, SignInError> {
        let path = match file.canonicalize() {
            Ok(path) => path,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(SignInError::Nobody(file.to_owned()));
            }
            Err(e) => return Err(system("finding", file)(e)),
        };
        let own = file.parent().and_then(|parent| parent.canonicalize().ok());
        if !path.starts_with(home) && !own.is_some_and(|own| path.starts_with(own)) {
            let why = format!("it leads out of the home, to {}", path.display());
            return Err(SignInError::File { path: file.to_owned(), why });
        }
        // Where there is no such directory nobody locks it.
        let locked = locked.and_then(|locked| locked.canonicalize().ok());
        let lock = locked.map(|locked| {
            let mut lock = locked.into_os_string();
            lock.push(".lock");
            lock.into()
        });
        Ok(Place { path, lock })
    }

    /// The file, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds.
    ///
    /// # Errors
    /// Where it cannot be read, or is no JSON.
    pub fn read(&self) -> Result<Value, SignInError> {
        // An agent outside may be writing it in place.
        for _ in 0..TRIES {
            match self.read_once() {
                Err(SignInError::File { .. }) => std::thread::sleep(BETWEEN),
                other => return other,
            }
        }
        self.read_once()
    }

    fn read_once(&self) -> Result<Value, SignInError> {
        let wrong = |why: &str| SignInError::File { path: self.path.clone(), why: why.to_owned() };
        // Never waits for the other end of a FIFO.
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY).bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(&self.path);
        let file = file.map_err(system("reading", &self.path))?;
        if !file.metadata().map_err(system("reading", &self.path))?.is_file() {
            return Err(wrong("it is no regular file"));
        }
        let mut text = Zeroizing::new(Vec::new());
        file.take(LARGEST + 1).read_to_end(&mut text).map_err(system("reading", &self.path))?;
        if text.len() as u64 > LARGEST {
            return Err(wrong("it is larger than 1 MiB"));
        }
        // What a parser says of it may quote it.
        serde_json::from_slice(&text).map_err(|e| wrong(&format!("it is no JSON, at line {}", e.line())))
    }

    /// Replaces it: whoever reads it, at any time, has all of the old or all of the new one. Mode and owner stay.
    ///
    /// # Errors
    /// Where it cannot be written; then it is as it was.
    pub(super) fn write(&self, value: &Value) -> Result<(), SignInError> {
        let failed = |e: io::Error| system("writing", &self.path)(e);
        let of = self.path.symlink_metadata().map_err(failed)?;
        let text = serde_json::to_vec_pretty(value).map_err(|e| failed(e.into()))?;
        replace(&self.path, &Zeroizing::new(text), |file| {
            let made = file.metadata()?;
            if (made.uid(), made.gid()) != (of.uid(), of.gid()) {
                fchown(file, Some(of.uid()), Some(of.gid()))?;
            }
            file.set_permissions(std::fs::Permissions::from_mode(of.mode() & 0o7777))
        })
        .map_err(failed)
    }
}

/// Puts a file of mode 0600 in the place of what may be there, at once and for good: written beside it, `prepare`d, flushed,
/// renamed, and the directory flushed.
pub(super) fn replace(path: &Path, text: &[u8], prepare: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(format!(".coffer-{}", random_name()?));
    let new = directory.join(name);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = prepare(&file)
        .and_then(|()| file.write_all(text))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        // Why it could not be written says more than why it could not be removed.
        let _ = std::fs::remove_file(&new);
    }
    written.and_then(|()| File::open(directory)?.sync_all())
}

pub(super) fn system<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> SignInError + 'a {
    move |error| SignInError::System { what, path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_replaced_behind_its_link_with_its_mode() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("dotfiles")).unwrap();
        let real = root.join("dotfiles/auth.json");
        std::fs::write(&real, "{\"a\": 1}").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink("dotfiles/auth.json", root.join("auth.json")).unwrap();
        let place = Place::find(&root.join("auth.json"), None, &root).unwrap();
        assert_eq!(place.read().unwrap(), json!({"a": 1}));
        place.write(&json!({"a": 2})).unwrap();
        assert!(root.join("auth.json").symlink_metadata().unwrap().is_symlink());
        assert_eq!(place.read().unwrap(), json!({"a": 2}));
        assert_eq!(real.metadata().unwrap().mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read_dir(root.join("dotfiles")).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_elsewhere_or_no_file_is_not_taken() {
        let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = home.path().canonicalize().unwrap();
        std::fs::write(other.path().join("x.json"), "{}").unwrap();
        symlink(other.path().join("x.json"), root.join("out.json")).unwrap();
        let said = Place::find(&root.join("out.json"), None, &root).unwrap_err().to_string();
        assert!(said.contains("out of the home"), "{said}");
        assert!(matches!(Place::find(&root.join("none"), None, &root), Err(SignInError::Nobody(_))));
        std::fs::write(root.join("bad.json"), "{\"token\": sk-fake-token}").unwrap();
        let said = Place::find(&root.join("bad.json"), None, &root).unwrap().read().unwrap_err().to_string();
        assert!(said.contains("no JSON") && !said.contains("sk-fake"), "{said}");
        let directory = Place::find(&root, None, &root).unwrap().read().unwrap_err().to_string();
        assert!(directory.contains("no regular file"), "{directory}");
    }
}
