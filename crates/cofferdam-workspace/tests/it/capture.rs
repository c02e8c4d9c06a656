//! Bases captured while a run goes on. The overlay's own view is stood in for by the real tree, as it is while the
//! kernel's caches hold what the person edits.

use std::fs;
use std::io::Read;

use std::path::Path;
use std::time::Duration;

use cofferdam_core::change::BaseState;
use cofferdam_core::{Bytes, Timestamp};
use cofferdam_workspace::{Capture, ChangeOptions, ChangeSet, Layers, change_set};
use rustix::fs::{Mode, OFlags, XattrFlags};

use crate::support::{Workspace, tick, whiteout};

fn now() -> Timestamp {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Timestamp::from_parts(t.tv_sec, t.tv_nsec)
}

fn begin(workspace: &Workspace) -> Capture {
    workspace.begin();
    let mut capture = Capture::start(&workspace.layers(), now()).unwrap();
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    capture.set_view(rustix::fs::open(workspace.real(), flags, Mode::empty()).unwrap());
    tick();
    capture
}

/// A copy-up as overlayfs makes it: an inode born now, with the mark, renamed into place.
fn copy_up(workspace: &Workspace, path: &str, content: &str) {
    let to = workspace.upper().join(path);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let staged = workspace.directory.path().join("staged");
    fs::write(&staged, content).unwrap();
    rustix::fs::setxattr(&staged, c"user.overlay.origin", b"", XattrFlags::empty()).unwrap();
    fs::rename(&staged, to).unwrap();
}

fn changes(layers: &Layers) -> ChangeSet {
    let set = change_set(layers, &ChangeOptions::default()).unwrap();
    assert_eq!(set.problems, []);
    set
}

fn state(set: &ChangeSet, path: &str) -> BaseState {
    set.changes.iter().find(|change| change.path == path.into()).unwrap().base
}

fn text(layers: &Layers, path: &str) -> Option<String> {
    let mut text = String::new();
    layers.open_base(&path.into()).unwrap()?.read_to_string(&mut text).unwrap();
    Some(text)
}

fn readable(capture: &Capture) -> bool {
    let mut fds = [rustix::event::PollFd::new(capture, rustix::event::PollFlags::IN)];
    let wait = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&wait)).unwrap() == 1
}

#[test]
fn a_base_is_kept_when_the_person_edits_after_the_run() {
    let workspace = Workspace::new();
    for path in ["a", "d/e/b", "gone", "untouched", "rewritten"] {
        fs::create_dir_all(workspace.real().join(path).parent().unwrap()).unwrap();
        fs::write(workspace.real().join(path), "base\n").unwrap();
    }
    std::os::unix::fs::symlink("base", workspace.real().join("link")).unwrap();
    let mut capture = begin(&workspace);
    for path in ["a", "d/e/b", "untouched", "rewritten"] {
        copy_up(&workspace, path, "run\n");
    }
    whiteout(&workspace.upper().join("gone"));
    std::os::unix::fs::symlink("run", workspace.upper().join("link")).unwrap();
    assert!(readable(&capture));
    let captured = capture.on_readable().unwrap();
    assert_eq!(captured.problems, []);
    for path in ["a", "d/e/b", "gone", "link"] {
        assert!(captured.changed.contains(&Bytes::from(path)), "{path} in {:?}", captured.changed);
    }
    for path in ["a", "d/e/b", "gone"] {
        fs::write(workspace.real().join(path), "person\n").unwrap();
    }
    // The same content in a new inode still is the base.
    fs::write(workspace.real().join("saved"), "base\n").unwrap();
    fs::rename(workspace.real().join("saved"), workspace.real().join("rewritten")).unwrap();
    fs::remove_file(workspace.real().join("link")).unwrap();
    std::os::unix::fs::symlink("person", workspace.real().join("link")).unwrap();
    capture.finish().unwrap();
    let layers = workspace.layers();
    let set = changes(&layers);
    for path in ["a", "d/e/b", "gone"] {
        assert_eq!(state(&set, path), BaseState::Moved, "{path}");
        assert_eq!(text(&layers, path).as_deref(), Some("base\n"), "{path}");
    }
    assert_eq!(state(&set, "link"), BaseState::Moved);
    assert_eq!(layers.link_base(&"link".into()).unwrap(), Some("base".into()));
    for path in ["untouched", "rewritten"] {
        assert_eq!(state(&set, path), BaseState::Unchanged, "{path}");
        assert_eq!(text(&layers, path).as_deref(), Some("base\n"), "{path}");
    }
}

#[test]
fn an_edit_during_the_run_that_was_copied_up_is_the_base_and_one_that_was_not_is_unknown() {
    let workspace = Workspace::new();
    for path in ["copied", "replaced"] {
        fs::write(workspace.real().join(path), "start\n").unwrap();
    }
    let mut capture = begin(&workspace);
    for path in ["copied", "replaced"] {
        fs::write(workspace.real().join(path), "person\n").unwrap();
    }
    std::thread::sleep(Duration::from_millis(60));
    copy_up(&workspace, "copied", "run\n");
    // A file made inside and renamed over has no mark.
    fs::write(workspace.upper().join("replaced"), "run\n").unwrap();
    capture.on_readable().unwrap();
    fs::write(workspace.real().join("copied"), "person again\n").unwrap();
    capture.finish().unwrap();
    let layers = workspace.layers();
    let set = changes(&layers);
    assert_eq!(state(&set, "copied"), BaseState::Moved);
    assert_eq!(text(&layers, "copied").as_deref(), Some("person\n"));
    assert_eq!(state(&set, "replaced"), BaseState::Unknown);
    assert_eq!(text(&layers, "replaced"), None);
}

#[test]
fn with_a_complete_index_a_path_without_a_base_was_absent() {
    let workspace = Workspace::new();
    fs::write(workspace.real().join("x"), "x\n").unwrap();
    let mut capture = begin(&workspace);
    fs::write(workspace.upper().join("new"), "run\n").unwrap();
    capture.on_readable().unwrap();
    fs::write(workspace.real().join("new"), "person\n").unwrap();
    let before = changes(&workspace.layers());
    assert_eq!(state(&before, "new"), BaseState::Unknown, "the monitor may have died");
    capture.finish().unwrap();
    let set = changes(&workspace.layers());
    assert_eq!((set.changes[0].status(), set.changes[0].base), ('A', BaseState::Moved));
}

#[test]
fn an_index_with_gaps_does_not_claim_that_a_path_had_no_base() {
    let workspace = Workspace::new();
    // Root lists every directory, so that it finds no gap here.
    let mut capture = begin(&workspace);
    fs::write(workspace.upper().join("new"), "run\n").unwrap();
    let hidden = workspace.upper().join("hidden");
    fs::create_dir(&hidden).unwrap();
    fs::set_permissions(&hidden, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let problems = capture.on_readable().unwrap().problems;
    let root = rustix::process::geteuid().is_root();
    assert_eq!(problems.len(), usize::from(!root), "{problems:?}");
    fs::write(workspace.real().join("new"), "person\n").unwrap();
    capture.finish().unwrap();
    fs::set_permissions(&hidden, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let expected = if root { BaseState::Moved } else { BaseState::Unknown };
    assert_eq!(state(&changes(&workspace.layers()), "new"), expected);
}

#[test]
fn directories_made_in_a_hurry_are_scanned_and_a_torn_line_is_survived() {
    let workspace = Workspace::new();
    for i in 0..200 {
        let directory = workspace.real().join(format!("d{}/e{}", i % 10, i % 20));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("f{i}")), "base\n").unwrap();
    }
    let mut capture = begin(&workspace);
    std::thread::scope(|scope| {
        let hurry = scope.spawn(|| {
            for i in 0..200 {
                copy_up(&workspace, &format!("d{}/e{}/f{i}", i % 10, i % 20), "run\n");
            }
        });
        while !hurry.is_finished() {
            assert_eq!(capture.on_readable().unwrap().problems, []);
        }
    });
    capture.on_readable().unwrap();
    drop(capture);
    for i in 0..200 {
        fs::write(workspace.real().join(format!("d{}/e{}/f{i}", i % 10, i % 20)), "person\n").unwrap();
    }
    let index = workspace.directory.path().join("base/index.jsonl");
    let mut torn = fs::read(&index).unwrap();
    torn.extend_from_slice(b"{\"line\":\"base\",\"pa");
    fs::write(&index, torn).unwrap();
    let layers = workspace.layers();
    let set = changes(&layers);
    assert_eq!(set.changes.len(), 200);
    for change in &set.changes {
        assert_eq!(change.base, BaseState::Moved, "{:?}", change.path);
        assert_eq!(text(&layers, std::str::from_utf8(&change.path.0).unwrap()).as_deref(), Some("base\n"));
    }
}

#[test]
fn ignored_and_large_files_are_not_copied_and_a_late_edit_of_them_is_unknown() {
    let workspace = Workspace::new();
    let real = workspace.real();
    fs::write(real.join(".gitignore"), "*.o\n").unwrap();
    fs::write(real.join("a.o"), "base\n").unwrap();
    fs::write(real.join("large"), vec![b'x'; usize::try_from(cofferdam_workspace::COPY_LIMIT).unwrap() + 1]).unwrap();
    let mut capture = begin(&workspace);
    copy_up(&workspace, "a.o", "run\n");
    copy_up(&workspace, "large", "run\n");
    capture.on_readable().unwrap();
    capture.finish().unwrap();
    let set = changes(&workspace.layers());
    assert_eq!([state(&set, "a.o"), state(&set, "large")], [BaseState::Unchanged; 2]);
    assert!(copies(&workspace.directory.path().join("base")) <= usize::from(reflinks(&real)));
    fs::write(real.join("a.o"), "person\n").unwrap();
    assert_eq!(state(&changes(&workspace.layers()), "a.o"), BaseState::Unknown);
}

fn copies(base: &Path) -> usize {
    fs::read_dir(base.join("data")).map_or(0, Iterator::count)
}

fn reflinks(directory: &Path) -> bool {
    let (from, to) = (directory.join("large"), directory.join("clone"));
    let target = fs::File::create(&to).unwrap();
    let cloned = rustix::fs::ioctl_ficlone(&target, fs::File::open(from).unwrap()).is_ok();
    fs::remove_file(to).unwrap();
    cloned
}

#[test]
fn an_overflow_of_the_kernels_queue_loses_no_base() {
    let Ok(limit) = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events") else { panic!("no inotify here") };
    let limit: usize = limit.trim().parse().unwrap();
    let workspace = Workspace::new();
    fs::write(workspace.real().join("f"), "base\n").unwrap();
    let mut capture = begin(&workspace);
    let noise = workspace.upper().join("noise");
    // Two notices that differ in each round, since the kernel joins equal ones.
    for _ in 0..limit / 2 + 10 {
        fs::write(&noise, "").unwrap();
        fs::remove_file(&noise).unwrap();
    }
    copy_up(&workspace, "f", "run\n");
    capture.on_readable().unwrap();
    fs::write(workspace.real().join("f"), "person\n").unwrap();
    drop(capture);
    let layers = workspace.layers();
    assert_eq!(state(&changes(&layers), "f"), BaseState::Moved);
    assert_eq!(text(&layers, "f").as_deref(), Some("base\n"));
}

#[test]
fn an_empty_layer_writes_nothing_and_a_new_monitor_goes_on_after_the_last_copy() {
    let workspace = Workspace::new();
    for name in ["a", "b"] {
        fs::write(workspace.real().join(name), format!("{name}\n")).unwrap();
    }
    let capture = begin(&workspace);
    assert_eq!(fs::read_dir(workspace.directory.path().join("base")).unwrap().count(), 0);
    drop(capture);
    for name in ["a", "b"] {
        let mut capture = Capture::start(&workspace.layers(), now()).unwrap();
        copy_up(&workspace, name, "run\n");
        capture.on_readable().unwrap();
        fs::write(workspace.real().join(name), "person\n").unwrap();
    }
    let layers = workspace.layers();
    assert_eq!((text(&layers, "a").as_deref(), text(&layers, "b").as_deref()), (Some("a\n"), Some("b\n")));
}
