//! What the project's `.gitignore` files ignore (gitignore(5)), read as data.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use cofferdam_core::change::FileKind;
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::beneath;
use crate::entry;

/// Largest `.gitignore` that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// Most patterns of one file: a hostile file must not make the compilation of its patterns the work of minutes.
const MOST_PATTERNS: usize = 10_000;

/// The patterns in force at each directory, read as they are needed.
#[derive(Debug, Default)]
pub(crate) struct Ignored {
    directories: HashMap<Vec<u8>, Directory>,
}

#[derive(Clone, Debug)]
struct Directory {
    /// The directory itself is ignored: nothing below it can be taken back in.
    ignored: bool,
    /// Weakest first, with the length of the path prefix that its patterns do not see.
    patterns: Arc<Vec<(usize, Gitignore)>>,
}

impl Ignored {
    /// With the person's own excludes (the content of a file in the form of gitignore(5)) as the weakest patterns,
    /// and those of `.git/info/exclude` above them.
    pub fn new(person: Option<&[u8]>, exclude: Option<&[u8]>, root: Option<&[u8]>) -> Ignored {
        let patterns = [person, exclude, root].into_iter().flatten().map(|text| (0, compile(text))).collect();
        let top = Directory { ignored: false, patterns: Arc::new(patterns) };
        Ignored { directories: HashMap::from([(Vec::new(), top)]) }
    }

    /// Whether a path is ignored; `read` gives the content of a `.gitignore` by its path.
    pub fn is_ignored(&mut self, path: &[u8], directory: bool, read: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>) -> bool {
        let state = self.directory(beneath::split(path).0, read);
        state.ignored || state.matches(path, directory)
    }

    /// Directories whose patterns are held.
    pub fn remembered(&self) -> usize {
        self.directories.len()
    }

    /// As [`Ignored::is_ignored`] for a file, by the real tree's own files alone.
    pub fn by_real_tree(&mut self, root: BorrowedFd<'_>, path: &[u8]) -> bool {
        self.is_ignored(path, false, &mut |path| read_bounded(root, path))
    }

    fn directory(&mut self, path: &[u8], read: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>) -> Directory {
        let mut missing = Vec::new();
        let mut at = path;
        let mut state = loop {
            if let Some(state) = self.directories.get(at) {
                break state.clone();
            }
            missing.push(at);
            if at.is_empty() {
                break Directory { ignored: false, patterns: Arc::default() };
            }
            at = beneath::split(at).0;
        };
        for directory in missing.into_iter().rev() {
            if !directory.is_empty() {
                state.ignored = state.ignored || state.matches(directory, true);
            }
            if !state.ignored
                && let Some(text) = read(&beneath::join(directory, b".gitignore"))
            {
                let hidden = if directory.is_empty() { 0 } else { directory.len() + 1 };
                Arc::make_mut(&mut state.patterns).push((hidden, compile(&text)));
            }
            self.directories.insert(directory.to_vec(), state.clone());
        }
        state
    }
}

impl Directory {
    fn matches(&self, path: &[u8], directory: bool) -> bool {
        use std::os::unix::ffi::OsStrExt;
        for (hidden, patterns) in self.patterns.iter().rev() {
            let seen = Path::new(std::ffi::OsStr::from_bytes(&path[*hidden..]));
            match patterns.matched(seen, directory) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }
}

/// Patterns that cannot be compiled ignore nothing, as in git.
fn compile(text: &[u8]) -> Gitignore {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    // Paths are given relative to the file's directory already.
    let mut builder = GitignoreBuilder::new(".");
    for line in text.split(|b| *b == b'\n').take(MOST_PATTERNS) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Ok(line) = std::str::from_utf8(line)
            && builder.add_line(None, line).is_err()
        {
            continue;
        }
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// The content of a regular file below a directory, where it is there and not too large.
pub(crate) fn read_bounded(at: BorrowedFd<'_>, path: &[u8]) -> Option<Vec<u8>> {
    let fd = beneath::open_read(at, path).ok()?;
    let found = entry::stat_fd(&fd).ok()?.entry;
    if found.kind != FileKind::File || found.size > LARGEST {
        return None;
    }
    let mut text = Vec::new();
    let read = std::fs::File::from(fd).take(LARGEST + 1).read_to_end(&mut text).ok()?;
    (read as u64 <= LARGEST).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &'static [(&'static str, &'static str)]) -> impl FnMut(&[u8]) -> Option<Vec<u8>> {
        move |path| list.iter().find(|(name, _)| name.as_bytes() == path).map(|(_, text)| text.as_bytes().to_vec())
    }

    #[test]
    fn nested_files_override_and_an_ignored_directory_cannot_be_reopened() {
        let mut read = files(&[
            (".gitignore", "*.log\n/target\nbuild/\n!keep.log\n"),
            ("sub/.gitignore", "!here.log\n/only\n"),
            ("target/.gitignore", "!*\n"),
        ]);
        let mut ignored = Ignored::default();
        let mut is = |path: &str, directory| ignored.is_ignored(path.as_bytes(), directory, &mut read);
        assert!(is("a.log", false) && is("x/y/a.log", false) && !is("keep.log", false));
        assert!(!is("sub/here.log", false) && is("sub/other.log", false));
        assert!(is("sub/only", false) && !is("only", false) && !is("sub/x/only", false));
        assert!(is("target/debug/a", false) && !is("sub/target", true));
        assert!(is("build", true) && !is("build", false) && is("x/build/f", false));
    }

    #[test]
    fn the_persons_excludes_are_the_weakest() {
        let mut read = files(&[]);
        let mut ignored = Ignored::new(Some(b"*.swp\n"), Some(b"!me.swp\nlocal\n"), Some(b"!local\n\xff\n[\n"));
        let mut is = |path: &str| ignored.is_ignored(path.as_bytes(), false, &mut read);
        assert!(is("a.swp") && !is("me.swp") && !is("local"));
    }
}
