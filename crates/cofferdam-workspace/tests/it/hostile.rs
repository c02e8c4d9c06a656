//! Layers as an adversary leaves them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use cofferdam_core::change::FileKind;
use cofferdam_workspace::diff::{DiffOptions, ObjectId, PatchStyle, Theme, compute};
use cofferdam_workspace::{ChangeOptions, WorkspaceError, change_set};
use rustix::fs::{CWD, FileType};

use crate::support::{Workspace, whiteout};

#[test]
fn a_fifo_in_the_place_of_a_file_blocks_nobody() {
    let workspace = Workspace::new();
    fs::create_dir_all(workspace.real().join("src")).unwrap();
    fs::write(workspace.real().join("src/main.rs"), "fn main() {}\n").unwrap();
    workspace.begin();
    fs::create_dir(workspace.upper().join("src")).unwrap();
    for name in ["src/main.rs", "new.rs", ".gitignore", "package.json"] {
        rustix::fs::mknodat(CWD, workspace.upper().join(name), FileType::Fifo, 0o600.into(), 0).unwrap();
    }
    let layers = workspace.layers();
    let options = ChangeOptions { digests: true, ..ChangeOptions::default() };
    let set = change_set(&layers, &options).unwrap();
    assert_eq!(set.changes.len(), 4);
    let error = layers.open_new(&"src/main.rs".into()).unwrap_err();
    assert!(matches!(error, WorkspaceError::WrongKind { found: FileKind::Fifo, .. }), "{error}");
    let diff = compute(&layers, &set, &DiffOptions::default()).unwrap();
    let mut out = Vec::new();
    diff.name_status(&mut out).unwrap();
    assert_eq!(out, b"D\tsrc/main.rs\n", "git has no FIFOs");
}

#[test]
fn a_parent_swapped_for_a_link_never_leads_outside() {
    let workspace = Workspace::new();
    let outside = workspace.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "canary\n").unwrap();
    workspace.begin();
    let upper = workspace.upper();
    fs::create_dir(upper.join("kept")).unwrap();
    fs::write(upper.join("kept/f"), "inside\n").unwrap();
    symlink(&outside, upper.join("link")).unwrap();
    let layers = workspace.layers();
    let done = AtomicBool::new(false);
    let (mut opened, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // kept and link change places, in one step each time.
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            while !done.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, upper.join("kept"), CWD, upper.join("link"), flags).unwrap();
            }
        });
        for round in 0..20_000 {
            for path in ["kept/f", "link/f"] {
                match layers.open_new(&path.into()) {
                    Ok(mut file) => {
                        let mut text = String::new();
                        file.read_to_string(&mut text).unwrap();
                        assert_eq!(text, "inside\n");
                        opened += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
            if round % 1000 == 0 {
                let set = change_set(&layers, &ChangeOptions { digests: true, ..ChangeOptions::default() }).unwrap();
                let diff = compute(&layers, &set, &DiffOptions::default()).unwrap();
                let mut out = Vec::new();
                diff.patch(&PatchStyle::default(), &mut out).unwrap();
                assert!(!String::from_utf8_lossy(&out).contains("canary"));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(opened > 0 && refused > 0, "the race never ran: {opened} opened, {refused} refused");
}

#[test]
fn paths_that_leave_the_root_are_refused() {
    let workspace = Workspace::new();
    workspace.begin();
    let layers = workspace.layers();
    for path in ["../x", "/etc/passwd", "a/../../x", "", ".", "a//b"] {
        assert!(matches!(layers.open_new(&path.into()), Err(WorkspaceError::BadPath { .. })), "{path}");
        assert!(matches!(layers.real_entry(&path.into()), Err(WorkspaceError::BadPath { .. })), "{path}");
    }
}

#[test]
fn a_sparse_file_of_ten_gigabytes_costs_neither_memory_nor_time() {
    let workspace = Workspace::new();
    fs::write(workspace.real().join("f"), "small\n").unwrap();
    workspace.begin();
    for name in ["f", "huge"] {
        fs::File::create(workspace.upper().join(name)).unwrap().set_len(10 << 30).unwrap();
    }
    let begun = std::time::Instant::now();
    let layers = workspace.layers();
    let set = change_set(&layers, &ChangeOptions::default()).unwrap();
    let diff = compute(&layers, &set, &DiffOptions::default()).unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    assert_eq!(diff.files.len(), 2);
    for file in &diff.files {
        assert!(file.binary && file.note.as_deref().is_some_and(|note| note.contains("too large")));
        assert_eq!((file.new.unwrap().size, file.new.unwrap().id), (10 << 30, ObjectId::UNKNOWN));
    }
}

#[test]
fn two_thousand_directories_deep_is_walked() {
    let workspace = Workspace::new();
    workspace.begin();
    // Built from the inside, since no single path may be longer than PATH_MAX.
    let mut at = fs::File::open(workspace.upper()).unwrap();
    for _ in 0..2000 {
        rustix::fs::mkdirat(&at, "deep", 0o755.into()).unwrap();
        at = rustix::fs::openat(&at, "deep", rustix::fs::OFlags::DIRECTORY, 0.into()).unwrap().into();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    rustix::io::write(rustix::fs::openat(&at, "f", flags, 0o644.into()).unwrap(), b"bottom\n").unwrap();
    let layers = workspace.layers();
    let set = change_set(&layers, &ChangeOptions { digests: true, ..ChangeOptions::default() }).unwrap();
    assert_eq!(set.problems, []);
    assert_eq!(set.changes.len(), 1);
    assert_eq!(set.changes[0].path.0.len(), 2000 * 5 + 1);
    let diff = compute(&layers, &set, &DiffOptions::default()).unwrap();
    assert_eq!(diff.files[0].added, 1);
    remove_deep(&workspace.upper());
}

/// Moves the levels up one by one: removing by recursion would need as many descriptors.
fn remove_deep(top: &std::path::Path) {
    let next = top.join("next");
    while top.join("deep/deep").exists() {
        fs::rename(top.join("deep/deep"), &next).unwrap();
        fs::remove_dir(top.join("deep")).unwrap();
        fs::rename(&next, top.join("deep")).unwrap();
    }
}

#[test]
fn what_acts_on_a_terminal_is_written_out_and_names_are_quoted() {
    let workspace = Workspace::new();
    workspace.begin();
    fs::write(workspace.upper().join("a\x1b[2Jb"), "x\x1b]0;title\x07\u{202e}y\n").unwrap();
    let layers = workspace.layers();
    let set = change_set(&layers, &ChangeOptions::default()).unwrap();
    let diff = compute(&layers, &set, &DiffOptions::default()).unwrap();
    let mut out = Vec::new();
    let style = PatchStyle { sanitize: true, theme: Some(Theme::GIT), ..PatchStyle::default() };
    diff.patch(&style, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\x1b[32m+x^[]0;title^G<U+202E>y\x1b[m\n"), "{text:?}");
    assert!(text.contains("a/a\\033[2Jb"), "{text:?}");
}

#[test]
fn a_whiteout_where_the_real_tree_has_a_link_to_a_directory_deletes_the_link_only() {
    let workspace = Workspace::new();
    let outside = workspace.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "canary\n").unwrap();
    symlink(&outside, workspace.real().join("link")).unwrap();
    workspace.begin();
    whiteout(&workspace.upper().join("link"));
    fs::create_dir(workspace.upper().join("other")).unwrap();
    let set = change_set(&workspace.layers(), &ChangeOptions::default()).unwrap();
    let paths: Vec<_> = set.changes.iter().map(|change| change.path.0.escape_ascii().to_string()).collect();
    assert_eq!(paths, ["link", "other"]);
}
