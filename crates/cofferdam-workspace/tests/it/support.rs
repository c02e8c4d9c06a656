//! Trees on disk, upper directories made by hand, and a seeded generator of edits.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use cofferdam_workspace::Layers;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

/// xorshift64*: enough to spread edits, and the same on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// One entry of a tree in memory; directories are implied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    File { content: Vec<u8>, executable: bool },
    Link(Vec<u8>),
}

/// A tree by path.
pub type Tree = BTreeMap<Vec<u8>, Node>;

pub fn at(root: &Path, path: &[u8]) -> PathBuf {
    root.join(Path::new(std::ffi::OsStr::from_bytes(path)))
}

pub fn write_node(root: &Path, path: &[u8], node: &Node) {
    let to = at(root, path);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    match node {
        Node::File { content, executable } => {
            fs::write(&to, content).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(if *executable { 0o755 } else { 0o644 })).unwrap();
        }
        Node::Link(text) => symlink(std::ffi::OsStr::from_bytes(text), &to).unwrap(),
    }
}

pub fn write_tree(root: &Path, tree: &Tree) {
    fs::create_dir_all(root).unwrap();
    for (path, node) in tree {
        write_node(root, path, node);
    }
}

pub fn whiteout(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

pub fn opaque(path: &Path) {
    fs::create_dir_all(path).unwrap();
    rustix::fs::setxattr(path, c"user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
}

fn has_below(tree: &Tree, directory: &[u8]) -> bool {
    let prefix = [directory, b"/"].concat();
    tree.range(prefix.clone()..).next().is_some_and(|(path, _)| path.starts_with(&prefix))
}

fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(slash, _)| &path[..slash])
}

/// The upper directory that overlayfs would have after the edits from `old` to `new`: some files copied up without a
/// change, some directories removed and made again.
pub fn write_upper(upper: &Path, old: &Tree, new: &Tree, random: &mut Random) {
    fs::create_dir_all(upper).unwrap();
    let mut opaques: Vec<Vec<u8>> = Vec::new();
    let directories: std::collections::BTreeSet<&[u8]> = new.keys().flat_map(|path| parents(path)).collect();
    for directory in directories {
        if has_below(old, directory) && random.one_in(8) {
            opaque(&at(upper, directory));
            opaques.push(directory.to_vec());
        }
    }
    for (path, node) in new {
        let hidden = parents(path).any(|directory| opaques.iter().any(|o| o == directory));
        if hidden || old.get(path) != Some(node) || random.one_in(8) {
            write_node(upper, path, node);
        }
    }
    for path in old.keys() {
        // The topmost name that is gone gets the whiteout.
        let gone = parents(path).chain([path.as_slice()]).find(|p| !new.contains_key(*p) && !has_below(new, p));
        let Some(gone) = gone else { continue };
        let covered =
            parents(path).any(|p| new.contains_key(p) || opaques.iter().any(|o| o == p && p.len() < gone.len()));
        if !covered && fs::symlink_metadata(at(upper, gone)).is_err() {
            whiteout(&at(upper, gone));
        }
    }
}

/// Directories for the layers of one workspace.
pub struct Workspace {
    pub directory: tempfile::TempDir,
}

impl Workspace {
    pub fn new() -> Workspace {
        Workspace { directory: tempfile::tempdir().unwrap() }
    }

    pub fn real(&self) -> PathBuf {
        self.sub("real")
    }

    pub fn upper(&self) -> PathBuf {
        self.directory.path().join("upper")
    }

    fn sub(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The run begins: what is written to the real tree from now on counts as an edit during the run.
    pub fn begin(&self) {
        self.real();
        tick();
        self.sub("upper");
        tick();
    }

    pub fn layers(&self) -> Layers {
        Layers::open(self.real(), self.sub("upper"), self.sub("base")).unwrap()
    }
}

/// Longer than the clock of inodes takes for one step (4 ms at 250 Hz, 10 ms at 100 Hz).
pub fn tick() {
    std::thread::sleep(std::time::Duration::from_millis(25));
}

pub fn git(directory: &Path, work_tree: &Path, args: &[&str]) -> Vec<u8> {
    let output = Command::new("git")
        .args([
            "-c",
            "core.abbrev=7",
            "-c",
            "core.quotePath=true",
            "-c",
            "core.fileMode=true",
            "-c",
            "core.autocrlf=false",
        ])
        .args(["-c", "core.safecrlf=false", "-c", "diff.renames=true", "-c", "core.symlinks=true"])
        .arg("--git-dir")
        .arg(directory)
        .arg("--work-tree")
        .arg(work_tree)
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("LC_ALL", "C")
        .current_dir(work_tree)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

const WORDS: &[&str] = &[
    "",
    "",
    "}",
    "    }",
    "{",
    "    return x;",
    "fn alpha() {",
    "\tint b = 1;",
    "  if (c)",
    "else",
    "foo(bar)",
    "_end:",
    "$x",
    "// note",
];

pub fn text(random: &mut Random, lines: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let unique = random.below(3);
    for _ in 0..lines {
        if random.below(3) < unique {
            out.extend_from_slice(
                format!("{:indent$}line {}", "", random.below(5000), indent = random.below(9)).as_bytes(),
            );
        } else {
            out.extend_from_slice(random.pick(WORDS).as_bytes());
        }
        out.push(b'\n');
    }
    out
}

pub fn content(random: &mut Random) -> Vec<u8> {
    let lines = match random.below(10) {
        0 => 0,
        1 => 1,
        2..8 => 1 + random.below(40),
        _ => 50 + random.below(300),
    };
    let mut out = text(random, lines);
    match random.below(9) {
        0 => out = out.split_inclusive(|b| *b == b'\n').flat_map(|l| [&l[..l.len() - 1], b"\r\n"].concat()).collect(),
        1 => drop(out.pop()),
        2 => out.insert(random.below(out.len() + 1), 0),
        3 => out.extend((0..random.below(200)).map(|_| random.below(256) as u8).collect::<Vec<_>>()),
        _ => {}
    }
    out
}

fn edit_content(content: &mut Vec<u8>, random: &mut Random) {
    let mut lines: Vec<Vec<u8>> = content.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    for _ in 0..1 + random.below(5) {
        let position = random.below(lines.len() + 1);
        match random.below(6) {
            0 | 1 => {
                let n = 1 + random.below(4);
                let added = text(random, n);
                lines.splice(position..position, added.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec));
            }
            2 | 3 => {
                let end = (position + 1 + random.below(4)).min(lines.len());
                lines.drain(position..end);
            }
            4 if position < lines.len() => {
                let block: Vec<_> = lines[position..(position + 3).min(lines.len())].to_vec();
                lines.splice(position..position, block);
            }
            _ if position < lines.len() => lines[position] = text(random, 1),
            _ => {}
        }
    }
    *content = lines.concat();
    if random.one_in(8) && content.last() == Some(&b'\n') {
        content.pop();
    }
}

const NAMES: &[&[u8]] = &[
    b"a",
    b"b.rs",
    b"c.txt",
    b"main.c",
    b"with space",
    b"tab\there",
    b"new\nline",
    b"quote\"d",
    b"back\\slash",
    b"caf\xc3\xa9",
    b"bad\xff\xfe",
    b"x.y.z",
    b"lib.rs",
    b"mod.rs",
    b"\x01ctl",
    b"README",
];
const DIRECTORIES: &[&[u8]] = &[b"", b"src/", b"src/deep/er/", b"d ir/", b"docs/", b"\xc3\xa9t/", b"src-x/"];

fn new_path(random: &mut Random) -> Vec<u8> {
    [*random.pick(DIRECTORIES), *random.pick(NAMES)].concat()
}

fn insert(tree: &mut Tree, path: Vec<u8>, node: Node) {
    // A file at a parent, or a directory at the path, would have to go first.
    if parents(&path).any(|p| tree.contains_key(p)) || has_below(tree, &path) {
        return;
    }
    tree.insert(path, node);
}

pub fn random_tree(random: &mut Random) -> Tree {
    let mut tree = Tree::new();
    for _ in 0..4 + random.below(14) {
        let node = if random.one_in(9) {
            Node::Link(format!("to/{}", random.below(4)).into_bytes())
        } else {
            Node::File { content: content(random), executable: random.one_in(6) }
        };
        let path = new_path(random);
        insert(&mut tree, path, node);
    }
    tree
}

pub fn edited(old: &Tree, random: &mut Random) -> Tree {
    let mut tree = old.clone();
    for _ in 0..1 + random.below(8) {
        let Some(path) = (!tree.is_empty()).then(|| {
            let keys: Vec<_> = tree.keys().cloned().collect();
            random.pick(&keys).clone()
        }) else {
            break;
        };
        match random.below(12) {
            0..4 => {
                if let Some(Node::File { content, .. }) = tree.get_mut(&path) {
                    edit_content(content, random);
                }
            }
            4 => drop(tree.remove(&path)),
            5 | 6 => {
                let mut node = tree.remove(&path).unwrap();
                if let Node::File { content, .. } = &mut node
                    && random.below(3) > 0
                {
                    edit_content(content, random);
                }
                let mut to = new_path(random);
                if random.one_in(2) {
                    let name = path.rsplit(|b| *b == b'/').next().unwrap();
                    to = [*random.pick(DIRECTORIES), name].concat();
                }
                insert(&mut tree, to, node);
            }
            7 => {
                if let Some(Node::File { executable, .. }) = tree.get_mut(&path) {
                    *executable = !*executable;
                }
            }
            8 => {
                let node = match &tree[&path] {
                    Node::File { .. } => Node::Link(b"elsewhere".to_vec()),
                    Node::Link(_) => Node::File { content: content(random), executable: false },
                };
                tree.insert(path, node);
            }
            9 => {
                // A file becomes a directory.
                let node = tree.remove(&path).unwrap();
                insert(&mut tree, [path.as_slice(), b"/inner"].concat(), node);
            }
            10 => {
                // A directory goes, or becomes a file.
                if let Some(directory) = parents(&path).next().map(<[u8]>::to_vec) {
                    let prefix = [directory.as_slice(), b"/"].concat();
                    tree.retain(|p, _| !p.starts_with(&prefix));
                    if random.one_in(2) {
                        tree.insert(directory, Node::File { content: content(random), executable: false });
                    }
                }
            }
            _ => {
                let node = Node::File { content: content(random), executable: random.one_in(5) };
                let to = new_path(random);
                if !tree.contains_key(&to) {
                    insert(&mut tree, to, node);
                }
            }
        }
    }
    tree
}
