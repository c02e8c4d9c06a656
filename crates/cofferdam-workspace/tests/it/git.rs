//! The diff is git's, byte for byte.

use std::fs;
use std::path::Path;

use cofferdam_workspace::diff::{Diff, DiffOptions, PatchStyle, compute};
use cofferdam_workspace::{ChangeOptions, change_set};

use crate::support::{Node, Random, Tree, Workspace, edited, git, random_tree, write_tree, write_upper};

fn print(print: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Vec<u8> {
    let mut out = Vec::new();
    print(&mut out).unwrap();
    out
}

/// The first lines that differ, and what comes before and after.
fn first_difference(theirs: &[u8], ours: &[u8]) -> String {
    let lines = |text: &[u8]| text.split(|b| *b == b'\n').map(|l| l.escape_ascii().to_string()).collect::<Vec<_>>();
    let (theirs, ours) = (lines(theirs), lines(ours));
    let at = (0..).find(|i| theirs.get(*i) != ours.get(*i)).unwrap_or(0);
    let around = |lines: &[String]| {
        let (from, to) = (at.saturating_sub(25).min(lines.len()), (at + 15).min(lines.len()));
        lines[from..to].join("\n")
    };
    format!("line {at}\n--- git\n{}\n--- ours\n{}", around(&theirs), around(&ours))
}

/// Compares everything that is printed with what git prints for the same two trees.
fn check(seed: u64, workspace: &Workspace, new_tree: &Path, git_dir: &Path) {
    let _ = fs::remove_dir_all(git_dir.join("objects"));
    let _ = fs::remove_file(git_dir.join("index"));
    fs::create_dir_all(git_dir.join("objects")).unwrap();
    git(git_dir, &workspace.real(), &["add", "-A", "-f", "."]);
    let tree = String::from_utf8(git(git_dir, &workspace.real(), &["write-tree"])).unwrap();
    let tree = tree.trim();
    git(git_dir, new_tree, &["add", "-A", "-f", "."]);

    let layers = workspace.layers();
    let set = change_set(&layers, &ChangeOptions::default()).unwrap();
    assert_eq!(set.problems, []);
    let diff = |options: &DiffOptions| -> Diff {
        let diff = compute(&layers, &set, options).unwrap();
        assert_eq!(diff.problems, []);
        diff
    };
    let ours = diff(&DiffOptions::default());
    let expect = |args: &[&str], ours: Vec<u8>| {
        let theirs = git(git_dir, new_tree, &[&["diff", "--cached"], args, &[tree]].concat());
        assert!(ours == theirs, "seed {seed}: git diff {args:?}: {}", first_difference(&theirs, &ours));
    };
    let style = PatchStyle::default();
    expect(&[], print(|out| ours.patch(&style, out)));
    match seed % 6 {
        0 => expect(&["--stat=60"], print(|out| ours.stat(60, None, out))),
        1 => expect(&["--numstat", "--summary"], print(|out| ours.numstat(out).and_then(|()| ours.summary(out)))),
        2 => {
            let options = DiffOptions { renames: None, context: 0, ..DiffOptions::default() };
            expect(&["--no-renames", "-U0"], print(|out| diff(&options).patch(&style, out)));
        }
        3 => {
            let options = DiffOptions { renames: Some(80), context: 5, ..DiffOptions::default() };
            let style = PatchStyle { full_index: true, ..style };
            expect(&["-M80%", "-U5", "--full-index"], print(|out| diff(&options).patch(&style, out)));
        }
        4 => expect(&["--name-status"], print(|out| ours.name_status(out))),
        _ => expect(&["--stat=120", "--name-only"][..1], print(|out| ours.stat(120, None, out))),
    }
}

fn new_git_dir(at: &Path) -> std::path::PathBuf {
    let git_dir = at.join("git");
    git(&git_dir, at, &["init", "-q"]);
    git_dir
}

fn sequences(seeds: std::ops::Range<u64>) {
    let outer = tempfile::tempdir().unwrap();
    let git_dir = new_git_dir(outer.path());
    let mut prepared = Vec::new();
    for seed in seeds {
        let mut random = Random::new(seed);
        let old = random_tree(&mut random);
        let new = edited(&old, &mut random);
        let workspace = Workspace::new();
        write_tree(&workspace.real(), &old);
        prepared.push((seed, random, old, new, workspace));
    }
    check_all(prepared, &git_dir);
}

/// A seed, its random numbers, the trees before and after, and the workspace that has the first as its real tree.
type Prepared = (u64, Random, Tree, Tree, Workspace);

/// Writes the runs' layers, once the real trees are a tick old, and compares each with git.
fn check_all(prepared: Vec<Prepared>, git_dir: &Path) {
    crate::support::tick();
    for (seed, mut random, old, new, workspace) in prepared {
        write_upper(&workspace.upper(), &old, &new, &mut random);
        let new_tree = workspace.directory.path().join("new");
        write_tree(&new_tree, &new);
        check(seed, &workspace, &new_tree, git_dir);
    }
}

#[test]
fn random_edits_print_as_git_prints_them_first_part() {
    sequences(1..160);
}

#[test]
fn random_edits_print_as_git_prints_them_second_part() {
    sequences(160..320);
}

/// More seeds than a test run has time for: `COFFERDAM_SEEDS=FROM..TO cargo test -p cofferdam-workspace -- --ignored`.
#[test]
#[ignore = "as long as it is told to be"]
fn random_edits_print_as_git_prints_them_at_length() {
    let seeds = std::env::var("COFFERDAM_SEEDS").unwrap_or_else(|_| "1000..3000".to_owned());
    let (from, to) = seeds.split_once("..").unwrap();
    sequences(from.parse().unwrap()..to.parse().unwrap());
}

/// Long files, edited in many places: here git's shortcuts for expensive searches decide.
#[test]
fn long_files_print_as_git_prints_them() {
    let outer = tempfile::tempdir().unwrap();
    let git_dir = new_git_dir(outer.path());
    let mut prepared = Vec::new();
    for seed in [6u64, 12, 18, 24] {
        let mut random = Random::new(seed + 4242);
        let (mut old, mut new) = (Tree::new(), Tree::new());
        for (name, lines, edits) in [("a.c", 3000, 40), ("b.c", 3000, 700), ("c.c", 12_000, 300), ("d.c", 1500, 1400)] {
            let before = crate::support::text(&mut random, lines);
            let mut after: Vec<Vec<u8>> = before.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            for _ in 0..edits {
                let at = random.below(after.len());
                match random.below(3) {
                    0 => drop(after.remove(at)),
                    1 => after[at] = crate::support::text(&mut random, 1),
                    _ => after.insert(at, crate::support::text(&mut random, 1)),
                }
            }
            let node = |content: Vec<u8>| Node::File { content, executable: false };
            old.insert(name.as_bytes().to_vec(), node(before));
            new.insert(name.as_bytes().to_vec(), node(after.concat()));
        }
        let workspace = Workspace::new();
        write_tree(&workspace.real(), &old);
        prepared.push((seed, random, old, new, workspace));
    }
    check_all(prepared, &git_dir);
}

#[test]
fn many_renames_between_like_files_pair_as_git_pairs_them() {
    let outer = tempfile::tempdir().unwrap();
    let git_dir = new_git_dir(outer.path());
    for seed in 0..6 {
        let mut random = Random::new(seed + 77);
        let mut old = Tree::new();
        let mut new = Tree::new();
        let common = crate::support::text(&mut random, 30);
        for i in 0..40 {
            let n = random.below(30);
            let mut content = common.clone();
            content.extend(crate::support::text(&mut random, n));
            let node = |content: Vec<u8>| Node::File { content, executable: false };
            old.insert(format!("old/{i}/name{}", i % 25).into_bytes(), node(content.clone()));
            if random.below(4) > 0 {
                let n = random.below(8);
                content.extend(crate::support::text(&mut random, n));
            }
            new.insert(format!("new/{}/name{}", 40 - i, random.below(40)).into_bytes(), node(content));
        }
        let workspace = Workspace::new();
        write_tree(&workspace.real(), &old);
        workspace.begin();
        write_upper(&workspace.upper(), &old, &new, &mut random);
        let new_tree = workspace.directory.path().join("new");
        write_tree(&new_tree, &new);
        check(seed, &workspace, &new_tree, &git_dir);
    }
}
