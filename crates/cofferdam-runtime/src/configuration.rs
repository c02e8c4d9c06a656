//! The configuration of a known agent, written into its home layer before anything runs.
//!
//! An earlier run may have left anything there: no symbolic link is followed, what is replaced is replaced by a rename, and what
//! is read is read as data. A file is written when what comes in is not what was written last, so that what the agent has made of
//! it inside stays as long as the person's own does not change.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use cofferdam_core::change::Digest;
use cofferdam_core::plan::PlannedFile;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::plan::agent::merge;
use crate::store::{StoreError, doing};

/// Beside the home, the digests of what was written last, by path.
const RECORD: &str = "configuration.json";
/// The file under which a new content is written.
const NEW: &str = ".coffer-new";
/// Largest file of the home that is completed instead of replaced, in bytes.
const LARGEST: u64 = 16 << 20;

type Written = BTreeMap<String, Digest>;

/// Writes the files into a home. `layers` are its layers, the one that takes the writes first, the home itself last; where that
/// is the same, the home is this run's alone and what is written is remembered. A place that something else has taken is left
/// to it and noted.
///
/// # Errors
/// Where the home cannot be opened, or what was written cannot be remembered.
pub(crate) fn bring(layers: &[&Path], files: &[PlannedFile], notes: &mut Vec<String>) -> Result<(), StoreError> {
    let (Some(upper), Some(home)) = (layers.first(), layers.last()) else { return Ok(()) };
    let record = home.with_file_name(RECORD);
    let known = read_record(&record);
    let open = |path: &&Path| Home::open(path).map_err(|e| doing("opening", path)(e.into()));
    let homes = layers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let ground = &homes[0];
    let mut written = Written::new();
    for file in files {
        let Some(path) = std::str::from_utf8(&file.path.0).ok() else { continue };
        let digest = Digest(Sha256::digest(&file.content.0).into());
        let news = known.get(path) != Some(&digest);
        match write(&homes, path, file, news) {
            Ok(()) => drop(written.insert(path.to_owned(), digest)),
            Err(e) => notes.push(format!(
                "~/{path} does not come in: something in the agent's home is in its way ({})",
                std::io::Error::from(e)
            )),
        }
    }
    if upper != home {
        return Ok(());
    }
    // What the person has no more goes, unless the agent has made something else of it.
    for (path, digest) in known.iter().filter(|(path, _)| !files.iter().any(|file| file.path.0 == path.as_bytes())) {
        if ground.content(path).is_ok_and(|text| text.is_some_and(|text| Sha256::digest(&text)[..] == digest.0)) {
            // What cannot be removed stays as it is: it holds nothing secret.
            let _ = ground.remove(path);
        }
    }
    if written != known { write_record(&record, &written) } else { Ok(()) }
}

fn write(homes: &[Home], path: &str, file: &PlannedFile, news: bool) -> rustix::io::Result<()> {
    let ground = &homes[0];
    let Some(set) = &file.merged else {
        return if news || !is_there(homes, path)? { ground.write(path, &file.content.0) } else { Ok(()) };
    };
    let own = match homes.iter().find_map(|home| home.content(path).transpose()).transpose() {
        Ok(text) => text.and_then(|text| serde_json::from_slice::<Value>(&text).ok()),
        // Too large, or no file at all: what comes in takes its place, or is told to be in the way.
        Err(_) => None,
    };
    let before = match own {
        Some(Value::Object(table)) => Some(table),
        _ => None,
    };
    let mut table = before.clone().unwrap_or_default();
    if news || before.is_none() {
        let keys: Option<Map<String, Value>> = serde_json::from_slice(&file.content.0).ok();
        table.extend(keys.unwrap_or_default());
    }
    merge(&mut table, set.clone());
    if before.as_ref() == Some(&table) {
        return Ok(());
    }
    let text = serde_json::to_vec_pretty(&table).map_err(|_| Errno::INVAL)?;
    ground.write(path, &text)
}

fn is_there(homes: &[Home], path: &str) -> rustix::io::Result<bool> {
    for home in homes {
        if home.is_file(path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_record(record: &Path) -> Written {
    // Where it does not read, everything is written again.
    std::fs::read(record).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn write_record(record: &Path, written: &Written) -> Result<(), StoreError> {
    let new = record.with_extension("new");
    let text = serde_json::to_vec(written).map_err(|e| doing("writing", record)(e.into()))?;
    let open = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new);
    open.and_then(|mut file| file.write_all(&text))
        .and_then(|()| std::fs::rename(&new, record))
        .map_err(doing("writing", record))
}

/// A layer of a home.
struct Home {
    root: OwnedFd,
}

impl Home {
    fn open(layer: &Path) -> rustix::io::Result<Home> {
        Ok(Home { root: openat(CWD, layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())? })
    }

    /// The directory of a path, one name at a time and no link on the way; made where `make` says so, and `None` where it is
    /// missing otherwise.
    fn directory(&self, path: &str, make: bool) -> rustix::io::Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = openat(&self.root, ".", flags, Mode::empty())?;
        let Some((directories, _)) = path.rsplit_once('/') else { return Ok(Some(at)) };
        for name in directories.split('/') {
            if make {
                match mkdirat(&at, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e),
                }
            }
            at = match openat(&at, name, flags, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::NOENT) if !make => return Ok(None),
                Err(e) => return Err(e),
            };
        }
        Ok(Some(at))
    }

    fn is_file(&self, path: &str) -> rustix::io::Result<bool> {
        let Some(directory) = self.directory(path, false)? else { return Ok(false) };
        match statat(&directory, name(path), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// A regular file's content; `None` where there is nothing.
    fn content(&self, path: &str) -> rustix::io::Result<Option<Vec<u8>>> {
        let Some(directory) = self.directory(path, false)? else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&directory, name(path), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e),
        };
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        let mut text = Vec::new();
        let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        File::from(file).take(LARGEST + 1).read_to_end(&mut text).map_err(errno)?;
        if text.len() as u64 > LARGEST { Err(Errno::FBIG) } else { Ok(Some(text)) }
    }

    /// Puts a file in its place, whatever file or link stands there.
    fn write(&self, path: &str, content: &[u8]) -> rustix::io::Result<()> {
        let Some(directory) = self.directory(path, true)? else { return Err(Errno::NOENT) };
        let made = make(directory.as_fd(), content).and_then(|()| renameat(&directory, NEW, &directory, name(path)));
        if made.is_err() {
            // It may not be there.
            let _ = unlinkat(&directory, NEW, AtFlags::empty());
        }
        made
    }

    fn remove(&self, path: &str) -> rustix::io::Result<()> {
        match self.directory(path, false)? {
            Some(directory) => unlinkat(&directory, name(path), AtFlags::empty()),
            None => Ok(()),
        }
    }
}

fn make(directory: BorrowedFd<'_>, content: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = match openat(directory, NEW, flags, mode) {
        // Left by a start that was cut off, or put there.
        Err(Errno::EXIST) => {
            unlinkat(directory, NEW, AtFlags::empty())?;
            openat(directory, NEW, flags, mode)?
        }
        other => other?,
    };
    File::from(file).write_all(content).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    fn file(path: &str, content: &str, merged: Option<Value>) -> PlannedFile {
        let merged = merged.map(|value| value.as_object().unwrap().clone());
        PlannedFile { source: None, path: path.into(), dropped: Vec::new(), content: content.into(), merged }
    }

    fn home() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        (dir, home)
    }

    fn brought(layers: &[&Path], files: &[PlannedFile]) -> Vec<String> {
        let mut notes = Vec::new();
        bring(layers, files, &mut notes).unwrap();
        notes
    }

    #[test]
    fn what_the_agent_makes_of_a_file_stays_until_the_persons_changes() {
        let (_dir, home) = home();
        let read = |path: &str| std::fs::read_to_string(home.join(path)).unwrap();
        let one = [file(".x/a.md", "1", None)];
        brought(&[&home], &one);
        assert_eq!(read(".x/a.md"), "1");
        std::fs::write(home.join(".x/a.md"), "its own").unwrap();
        brought(&[&home], &one);
        assert_eq!(read(".x/a.md"), "its own");
        brought(&[&home], &[file(".x/a.md", "2", None)]);
        assert_eq!(read(".x/a.md"), "2");
        brought(&[&home], &[]);
        assert!(!home.join(".x/a.md").exists(), "the person has it no more");

        let merged = |content: &str| [file("s.json", content, Some(json!({ "deep": { "set": "p1" } })))];
        std::fs::write(home.join("s.json"), r#"{"theme":"light","trusted":true,"deep":{"kept":1}}"#).unwrap();
        brought(&[&home], &merged(r#"{"theme":"dark"}"#));
        let now: Value = serde_json::from_str(&read("s.json")).unwrap();
        assert_eq!(now, json!({ "theme": "dark", "trusted": true, "deep": { "kept": 1, "set": "p1" } }));
        std::fs::write(home.join("s.json"), r#"{"theme":"blue","deep":{}}"#).unwrap();
        brought(&[&home], &merged(r#"{"theme":"dark"}"#));
        let now: Value = serde_json::from_str(&read("s.json")).unwrap();
        assert_eq!(now, json!({ "theme": "blue", "deep": { "set": "p1" } }));
        std::fs::write(home.join("s.json"), "{broken").unwrap();
        brought(&[&home], &merged(r#"{"theme":"dark"}"#));
        assert!(read("s.json").contains("dark"));
    }

    #[test]
    fn nothing_is_written_or_read_through_what_a_run_left_behind() {
        let (dir, home) = home();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("s.json"), r#"{"canary":1}"#).unwrap();
        symlink(&outside, home.join(".x")).unwrap();
        symlink(outside.join("s.json"), home.join("s.json")).unwrap();
        std::fs::create_dir_all(home.join("taken.md/full")).unwrap();
        std::fs::hard_link(outside.join("s.json"), home.join("hard.md")).unwrap();
        symlink(outside.join("s.json"), home.join(NEW)).unwrap();
        let files = [
            file(".x/a.md", "1", None),
            file("s.json", "{}", Some(json!({ "set": 1 }))),
            file("taken.md", "1", None),
            file("hard.md", "mine", None),
        ];
        let notes = brought(&[&home], &files);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("~/.x/a.md") && notes[1].contains("~/taken.md"), "{notes:?}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(std::fs::read_to_string(outside.join("s.json")).unwrap(), r#"{"canary":1}"#);
        assert!(home.join("s.json").symlink_metadata().unwrap().is_file());
        assert!(!std::fs::read_to_string(home.join("s.json")).unwrap().contains("canary"));
        assert_eq!(std::fs::read_to_string(home.join("hard.md")).unwrap(), "mine");
        assert!(home.join(NEW).symlink_metadata().is_err());
    }

    #[test]
    fn above_a_home_of_another_run_only_news_are_written() {
        let (dir, home) = home();
        let upper = dir.path().join("upper");
        std::fs::create_dir(&upper).unwrap();
        let files = [file("a.md", "1", None), file("s.json", "{}", Some(json!({ "set": "first" })))];
        brought(&[&home], &files);
        brought(&[&upper, &home], &files);
        assert_eq!(std::fs::read_dir(&upper).unwrap().count(), 0, "all of it shows through");
        brought(&[&upper, &home], &[file("a.md", "2", None), file("s.json", "{}", Some(json!({ "set": "second" })))]);
        let read = |layer: &Path, path: &str| std::fs::read_to_string(layer.join(path)).unwrap();
        assert_eq!((read(&home, "a.md"), read(&upper, "a.md")), ("1".to_owned(), "2".to_owned()));
        assert!(read(&upper, "s.json").contains("second") && read(&home, "s.json").contains("first"));
    }
}
