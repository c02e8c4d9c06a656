//! A real tree, a workspace and a base as plain directories, and the change set between them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cofferdam_core::change::{BaseState, Change, Class, Entry, FileKind};
use cofferdam_core::{Bytes, Timestamp};
use cofferdam_workspace::promote::{
    Contents, Fault, Outcome, Plan, PromoteError, RootDir, Selection, StageOptions, Undone, apply, no_fault, plan,
    stage, undo,
};

/// What an entry is, to the last bit that promotion and undo answer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: FileKind,
    pub mode: u32,
    pub content: Vec<u8>,
    pub mtime: i64,
}

pub type Tree = BTreeMap<PathBuf, Seen>;

pub struct World {
    pub dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    /// In memory, where syncing costs nothing: for races, which need many rounds.
    pub fn in_memory() -> Self {
        Self::within(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    fn within(dir: tempfile::TempDir) -> Self {
        for name in ["real", "new", "base", "run"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        World { dir }
    }

    pub fn real(&self) -> PathBuf {
        self.dir.path().join("real")
    }

    pub fn new_tree(&self) -> PathBuf {
        self.dir.path().join("new")
    }

    pub fn run(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub fn root(&self) -> RootDir {
        RootDir::open(&self.real()).unwrap()
    }

    /// The run begins: base and workspace are what the real tree is.
    pub fn begin(&self) {
        for name in ["base", "new"] {
            let to = self.dir.path().join(name);
            fs::remove_dir_all(&to).unwrap();
            copy_tree(&self.real(), &to);
        }
    }

    pub fn changes(&self) -> Vec<Change> {
        let base = tree(&self.dir.path().join("base"));
        let new = tree(&self.new_tree());
        let real = tree(&self.real());
        let mut out = Vec::new();
        let paths: std::collections::BTreeSet<_> = base.keys().chain(new.keys()).collect();
        for path in paths.into_iter().filter(|p| !p.as_os_str().is_empty()) {
            let (old, now) = (base.get(path), new.get(path));
            if same(old, now) {
                continue;
            }
            let state = if same(old, real.get(path)) && old.map(|o| o.mtime) == real.get(path).map(|r| r.mtime)
                || old.is_some_and(|o| o.kind == FileKind::Directory)
            {
                BaseState::Unchanged
            } else {
                BaseState::Moved
            };
            out.push(Change {
                path: Bytes::from(path.as_path()),
                old: old.map(entry),
                new: now.map(entry),
                base: state,
                class: Class::Ordinary,
                executes: None,
            });
        }
        out.sort_by(|a, b| a.path.cmp(&b.path));
        out
    }

    pub fn plan(&self, selection: &Selection) -> Plan {
        self.plan_of(&self.changes(), selection).unwrap()
    }

    pub fn plan_of(&self, changes: &[Change], selection: &Selection) -> Result<Plan, PromoteError> {
        plan(&self.root(), self, changes, selection)
    }

    pub fn promote(&self, plan: &Plan) -> Result<Outcome, PromoteError> {
        self.promote_with(plan, &mut no_fault)
    }

    pub fn options<'a>(&self, run_dir: &'a Path) -> StageOptions<'a> {
        StageOptions { run_dir, umask: 0o022 }
    }

    pub fn promote_with(&self, plan: &Plan, fault: &mut Fault<'_>) -> Result<Outcome, PromoteError> {
        let staged = stage(plan, &self.root(), self, self.options(&self.run()), fault)?;
        apply(staged, fault)
    }

    pub fn undo(&self, number: u32) -> Result<Undone, PromoteError> {
        undo(&self.run(), number, &self.root(), &mut no_fault)
    }

    pub fn tree(&self) -> Tree {
        tree(&self.real())
    }
}

impl Drop for World {
    /// Directories without write permission would outlive the temporary directory where the tests are not root's.
    fn drop(&mut self) {
        let mut todo = vec![self.dir.path().to_owned()];
        while let Some(dir) = todo.pop() {
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap_or_default();
            // Names and kinds only: a test may have left a pipe, which would block whoever opens it.
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
            todo.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        }
    }
}

impl Contents for World {
    fn open_new(&self, path: &Bytes) -> io::Result<File> {
        File::open(self.new_tree().join(path.as_path()))
    }

    fn link_new(&self, path: &Bytes) -> io::Result<Bytes> {
        Ok(fs::read_link(self.new_tree().join(path.as_path()))?.into())
    }

    fn directory_mode(&self, path: &Bytes) -> io::Result<Option<u32>> {
        match fs::symlink_metadata(self.new_tree().join(path.as_path())) {
            Ok(meta) => Ok(meta.is_dir().then(|| meta.permissions().mode() & 0o777)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn open_base(&self, path: &Bytes) -> io::Result<Option<File>> {
        match File::open(self.dir.path().join("base").join(path.as_path())) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Whether two entries are the same but for their times; the mode of a link means nothing.
pub fn same(a: Option<&Seen>, b: Option<&Seen>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => (a.kind, a.mode, &a.content) == (b.kind, b.mode, &b.content),
        _ => false,
    }
}

fn entry(seen: &Seen) -> Entry {
    Entry {
        kind: seen.kind,
        mode: seen.mode,
        size: seen.content.len() as u64,
        mtime: Timestamp(seen.mtime),
        digest: None,
    }
}

/// Everything below a directory, and itself as the empty path.
pub fn tree(root: &Path) -> Tree {
    let mut out = Tree::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let (kind, content) = if meta.is_dir() {
            for entry in fs::read_dir(&full).unwrap() {
                todo.push(path.join(entry.unwrap().file_name()));
            }
            (FileKind::Directory, Vec::new())
        } else if meta.is_symlink() {
            (FileKind::Symlink, fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec())
        } else {
            (FileKind::File, fs::read(&full).unwrap())
        };
        let mtime = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
        out.insert(path, Seen { kind, mode: meta.mode() & 0o7777, content, mtime });
    }
    out
}

/// The same without modification times, which a promotion sets anew.
pub fn timeless(mut tree: Tree) -> Tree {
    tree.values_mut().for_each(|s| s.mtime = 0);
    tree
}

/// A copy of a tree to the last bit that [`Seen`] has. In this process: a child between fork and exec would hold the locks
/// of other tests' promotions.
fn copy_tree(from: &Path, to: &Path) {
    let all = tree(from);
    for (path, seen) in &all {
        let full = to.join(path);
        match seen.kind {
            FileKind::Directory => fs::create_dir_all(&full).unwrap(),
            FileKind::Symlink => symlink(std::ffi::OsStr::from_bytes(&seen.content), &full).unwrap(),
            _ => fs::write(&full, &seen.content).unwrap(),
        }
    }
    for (path, seen) in all.iter().rev() {
        let full = to.join(path);
        if seen.kind != FileKind::Symlink {
            fs::set_permissions(&full, fs::Permissions::from_mode(seen.mode)).unwrap();
        }
        set_mtime(&full, seen.mtime);
    }
}

pub fn set_mtime(path: &Path, nanoseconds: i64) {
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: rustix::fs::Timespec {
            tv_sec: nanoseconds.div_euclid(1_000_000_000),
            tv_nsec: nanoseconds.rem_euclid(1_000_000_000),
        },
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let full = root.join(path);
    fs::create_dir_all(full.parent().unwrap()).unwrap();
    fs::write(full, content).unwrap();
}

pub fn chmod(root: &Path, path: &str, mode: u32) {
    fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
}

pub fn link(root: &Path, path: &str, text: &str) {
    let full = root.join(path);
    fs::create_dir_all(full.parent().unwrap()).unwrap();
    symlink(text, full).unwrap();
}

/// Sets the modification times of everything below to some of the past, so that each is told apart and none is recent.
pub fn age(root: &Path) {
    for (at, path) in tree(root).keys().rev().enumerate() {
        set_mtime(&root.join(path), 1_600_000_000_123_456_789 + at as i64 * 977_000_000_001);
    }
}

/// A difference between two trees that a person can read.
pub fn difference(a: &Tree, b: &Tree) -> Vec<String> {
    let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let show = |s: Option<&Seen>| match s {
        None => "absent".to_owned(),
        Some(s) => format!("{:?} {:o} {:?} {}", s.kind, s.mode, String::from_utf8_lossy(&s.content), s.mtime),
    };
    keys.into_iter()
        .filter(|k| a.get(*k) != b.get(*k))
        .map(|k| format!("{}: {} -> {}", k.display(), show(a.get(k)), show(b.get(k))))
        .collect()
}

#[track_caller]
pub fn assert_same(a: &Tree, b: &Tree, what: &str) {
    let difference = difference(a, b);
    assert!(difference.is_empty(), "{what}:\n{}", difference.join("\n"));
}
