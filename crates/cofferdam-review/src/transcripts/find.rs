//! Transcripts in a home, found and read without following any link.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use cofferdam_core::Timestamp;
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use super::read::{self, Item};
use crate::text::{fit, one_line};
use crate::{Error, Result};

/// Where the known agents keep them, below the home; a `*` is any name, or any end of one.
pub const PLACES: &[&str] = &[".claude/projects/*/*.jsonl", ".codex/sessions/*/*/*/*.jsonl"];

/// Most entries of a directory that are looked at, and most files that are read.
const ENTRIES: usize = 10_000;
const FILES: usize = 64;
/// Most bytes of a file, and of all.
const LARGEST: u64 = 64 << 20;
const TOTAL: u64 = 128 << 20;

/// A transcript.
#[derive(Debug)]
pub(super) struct Transcript {
    /// Relative to the home, safe for a terminal.
    pub name: String,
    pub items: Vec<Item>,
}

#[derive(Debug, Default)]
pub(super) struct Found {
    /// The oldest first.
    pub files: Vec<Transcript>,
    pub unread: u64,
}

/// Reads those that were written since a time.
pub(super) fn find(home: &Path, since: Timestamp) -> Result<Found> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = match openat2(CWD, home, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(Found::default()),
        Err(e) => return Err(Error::io("open", home)(e.into())),
    };
    let mut walk = Walk { root: &root, since, candidates: Vec::new(), unread: 0 };
    for place in PLACES {
        let parts: Vec<&str> = place.split('/').collect();
        walk.walk("", &parts);
    }
    let Walk { mut candidates, unread, .. } = walk;
    // The newest are the run's.
    candidates.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    let mut found = Found { files: Vec::new(), unread: unread + candidates.len().saturating_sub(FILES) as u64 };
    let mut left = TOTAL;
    for (_, path) in candidates.into_iter().take(FILES) {
        match open(&root, &path, FileType::RegularFile) {
            Ok(fd) => {
                let mut content = Vec::new();
                let whole = File::from(fd).take(LARGEST.min(left)).read_to_end(&mut content);
                left = left.saturating_sub(content.len() as u64);
                let (items, unread) = read::read(&content);
                found.unread += unread + u64::from(whole.is_err() || content.len() as u64 == LARGEST || left == 0);
                found.files.push(Transcript { name: fit(&one_line(path.as_bytes()), 200), items });
            }
            Err(_) => found.unread += 1,
        }
    }
    found.files.reverse();
    Ok(found)
}

/// Opens what lies below, by names that were listed; no link, wherever it stands, is followed.
fn open(root: &OwnedFd, path: &str, wanted: FileType) -> std::result::Result<OwnedFd, Errno> {
    let directory = if wanted == FileType::Directory { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC | directory;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let fd = openat2(root, path, flags, Mode::empty(), resolve)?;
    if FileType::from_raw_mode(fstat(&fd)?.st_mode) == wanted { Ok(fd) } else { Err(Errno::NXIO) }
}

/// Looks for files; what cannot be listed is counted, what is another kind of thing is not meant.
struct Walk<'a> {
    root: &'a OwnedFd,
    since: Timestamp,
    candidates: Vec<(Timestamp, String)>,
    unread: u64,
}

impl Walk<'_> {
    fn walk(&mut self, at: &str, parts: &[&str]) {
        let Some((part, rest)) = parts.split_first() else { return };
        let join = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") };
        if !part.contains('*') {
            return self.walk(&join(part), rest);
        }
        let here = if at.is_empty() { "." } else { at };
        let entries = match open(self.root, here, FileType::Directory).and_then(Dir::read_from) {
            Ok(entries) => entries,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return,
            Err(_) => {
                self.unread += 1;
                return;
            }
        };
        let ending = part.trim_start_matches('*');
        for entry in entries.take(ENTRIES) {
            let Ok(entry) = entry else {
                self.unread += 1;
                return;
            };
            // Names that are no UTF-8 are none of the agents'.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.starts_with('.') || !name.ends_with(ending) || self.candidates.len() >= ENTRIES {
                continue;
            }
            let path = join(name);
            if rest.is_empty() {
                self.candidate(path);
            } else {
                self.walk(&path, rest);
            }
        }
    }

    fn candidate(&mut self, path: String) {
        match open(self.root, &path, FileType::RegularFile).and_then(|fd| fstat(&fd)) {
            Ok(stat) => {
                #[expect(clippy::useless_conversion, reason = "the width of these differs between targets")]
                let time = i64::from(stat.st_mtime)
                    .saturating_mul(1_000_000_000)
                    .saturating_add_unsigned(u64::from(stat.st_mtime_nsec));
                if time >= self.since.0 {
                    self.candidates.push((Timestamp(time), path));
                }
            }
            Err(Errno::NXIO | Errno::LOOP | Errno::NOENT | Errno::ISDIR) => {}
            Err(_) => self.unread += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"hello"}]}}"#;

    #[test]
    fn links_pipes_and_old_files_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let project = home.join(".claude/projects/p");
        std::fs::create_dir_all(&project).unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret.jsonl"), LINE).unwrap();
        std::fs::write(project.join("real.jsonl"), format!("{LINE}\nnot json\n")).unwrap();
        std::os::unix::fs::symlink(outside.join("secret.jsonl"), project.join("link.jsonl")).unwrap();
        std::os::unix::fs::symlink(&outside, home.join(".claude/projects/link")).unwrap();
        rustix::fs::mknodat(CWD, project.join("pipe.jsonl"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::fs::create_dir(project.join("dir.jsonl")).unwrap();
        let found = find(&home, Timestamp(0)).unwrap();
        assert_eq!(found.files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), [".claude/projects/p/real.jsonl"]);
        assert_eq!(found.unread, 1);
        let later = find(&home, Timestamp(i64::MAX)).unwrap();
        assert!(later.files.is_empty());
        assert!(find(&dir.path().join("none"), Timestamp(0)).unwrap().files.is_empty());
    }
}
