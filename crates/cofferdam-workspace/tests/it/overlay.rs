//! A real overlay, as the run mounts it, in a user namespace of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use cofferdam_core::Timestamp;
use cofferdam_core::change::{BaseState, FileKind};
use cofferdam_workspace::diff::{DiffOptions, compute};
use cofferdam_workspace::{Capture, ChangeOptions, change_set};

use crate::support::{Random, Workspace, tick};

/// A shell inside an overlay of the workspace.
struct Inside {
    shell: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Inside {
    /// `None` where user namespaces, or overlayfs in them, are not to be had.
    fn enter(workspace: &Workspace) -> Option<Inside> {
        let top = workspace.directory.path();
        for name in ["work", "view"] {
            fs::create_dir(top.join(name)).unwrap();
        }
        let script = r#"cd "$1" && mount -t overlay overlay -o \
            lowerdir=real,upperdir=upper,workdir=work,userxattr,volatile,xino=on view && cd view && echo ready && . /dev/stdin"#;
        let mut shell = Command::new("unshare")
            .args(["-Urm", "sh", "-c", script, "sh"])
            .arg(top)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut answers = BufReader::new(shell.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        if line != "ready\n" {
            let mut error = String::new();
            shell.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            println!("no overlay here, the layers made by hand have to do: {error}");
            shell.wait().unwrap();
            return None;
        }
        Some(Inside { shell, answers })
    }

    /// Runs a line inside and waits for it.
    fn run(&mut self, line: &str) {
        let input = self.shell.stdin.as_mut().unwrap();
        writeln!(input, "{{ {line}; }} && echo done || echo failed").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "{line}");
    }

    fn view(&self, workspace: &Workspace) -> std::os::fd::OwnedFd {
        let top = workspace.directory.path().canonicalize().unwrap();
        let path = format!("/proc/{}/root{}/view", self.shell.id(), top.display());
        rustix::fs::open(path, rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY, 0.into()).unwrap()
    }

    fn leave(mut self, workspace: &Workspace) {
        drop(self.shell.stdin.take());
        assert!(self.shell.wait().unwrap().success());
        // `work/work` is mode 000 and would be in the way of removing the workspace.
        let _ = fs::remove_dir(workspace.directory.path().join("work/work"));
    }
}

#[test]
fn what_the_person_edits_under_a_live_overlay_has_the_right_base() {
    let workspace = Workspace::new();
    let real = workspace.real();
    for path in ["edited", "saved", "kept", "d/x", "early", "again/x", "backed-up", "swapped/x", "other/x"] {
        fs::create_dir_all(real.join(path).parent().unwrap()).unwrap();
        fs::write(real.join(path), "start\n").unwrap();
    }
    workspace.begin();
    let t = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let started = Timestamp::from_parts(t.tv_sec, t.tv_nsec);
    let Some(mut inside) = Inside::enter(&workspace) else { return };
    let mut capture = Capture::start(&workspace.layers(), started).unwrap();
    capture.set_view(inside.view(&workspace));
    inside.run("cat edited saved kept d/x early again/x backed-up swapped/x > /dev/null");
    tick();
    // In place: the run sees it. By another inode: the run goes on with the old one.
    fs::write(real.join("edited"), "person\n").unwrap();
    fs::write(real.join("new-saved"), "person\n").unwrap();
    fs::rename(real.join("new-saved"), real.join("saved")).unwrap();
    // As vim saves with a backup: the old inode lives on under another name.
    fs::rename(real.join("backed-up"), real.join("backup")).unwrap();
    fs::write(real.join("backed-up"), "person\n").unwrap();
    // Another directory in the place of one, with files older than the run.
    fs::rename(real.join("swapped"), real.join("away")).unwrap();
    fs::rename(real.join("other"), real.join("swapped")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(80));
    inside.run("echo run >> backed-up; echo run >> swapped/x; echo run >> edited; echo run >> saved; echo run >> d/x; echo run >> early; rm -r again; mkdir again; echo run > again/x");
    let captured = capture.on_readable().unwrap();
    assert_eq!(captured.problems, []);
    fs::write(real.join("edited"), "person again\n").unwrap();
    fs::write(real.join("early"), "person\n").unwrap();
    inside.run("echo run >> kept");
    capture.on_readable().unwrap();
    inside.leave(&workspace);
    capture.finish().unwrap();
    let layers = workspace.layers();
    let set = change_set(&layers, &ChangeOptions::default()).unwrap();
    assert_eq!(set.problems, []);
    let base = |path: &str| {
        let state = set.changes.iter().find(|change| change.path == path.into()).unwrap().base;
        let mut text = String::new();
        if let Some(mut file) = layers.open_base(&path.into()).unwrap() {
            file.read_to_string(&mut text).unwrap();
        }
        (state, text)
    };
    let during = |path: &str| layers.base_edited_during_run(&path.into()).unwrap();
    assert!(during("edited") && !during("early") && !during("saved"));
    let (start, person) = ("start\n".to_owned(), "person\n".to_owned());
    assert_eq!(base("edited"), (BaseState::Moved, person), "the edit was copied up, and then came another");
    assert_eq!(base("backed-up"), (BaseState::Unknown, String::new()), "the old inode was copied up");
    assert_eq!(base("swapped/x"), (BaseState::Unknown, String::new()), "the old directory's file was copied up");
    assert_eq!(base("saved"), (BaseState::Unknown, String::new()), "the old inode was copied up");
    assert_eq!(base("early"), (BaseState::Moved, start.clone()));
    assert_eq!(base("kept"), (BaseState::Unchanged, start.clone()));
    assert_eq!(base("d/x"), (BaseState::Unchanged, start.clone()));
    assert_eq!(base("again/x"), (BaseState::Unchanged, start), "an opaque directory over an untouched one");
}

#[test]
fn a_real_overlays_upper_layer_reads_as_what_was_done_in_it() {
    let workspace = Workspace::new();
    let real = workspace.real();
    for path in ["a", "b", "moved", "old/x", "old/y", "again/x", "again/y", "mode", "linked", "kind/x", "touched"] {
        fs::create_dir_all(real.join(path).parent().unwrap()).unwrap();
        fs::write(real.join(path), format!("content of {path}\n").repeat(5)).unwrap();
    }
    workspace.begin();
    let Some(mut inside) = Inside::enter(&workspace) else { return };
    for line in [
        "echo more >> a; rm b; mv moved elsewhere; rm -r old; rm -r again; mkdir again; echo new > again/z",
        "chmod 755 mode; ln linked hard; rm -r kind; echo file > kind; touch touched; mkdir -p new/sub",
        "echo n > new/sub/f; ln -s a link; mkdir hollow; mkfifo pipe",
    ] {
        inside.run(line);
    }
    inside.leave(&workspace);
    let layers = workspace.layers();
    let set = change_set(&layers, &ChangeOptions::default()).unwrap();
    assert_eq!(set.problems, []);
    let lines: Vec<_> = set.changes.iter().map(|c| format!("{} {}", c.status(), c.path.0.escape_ascii())).collect();
    let expected = [
        "M a",
        "D again/x",
        "D again/y",
        "A again/z",
        "D b",
        "A elsewhere",
        "A hard",
        "A hollow",
        "T kind",
        "D kind/x",
        "A link",
        "M mode",
        "D moved",
        "A new/sub/f",
        "D old",
        "D old/x",
        "D old/y",
        "A pipe",
    ];
    assert_eq!(lines, expected);
    let diff = compute(&layers, &set, &DiffOptions::default()).unwrap();
    let mut out = Vec::new();
    diff.name_status(&mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("R100\tmoved\telsewhere\n"));
}

/// Appending inside keeps what was copied up as the beginning of the layer's file: that beginning is the true base.
#[test]
fn no_sure_base_is_wrong_however_the_person_edits_meanwhile() {
    let workspace = Workspace::new();
    let real = workspace.real();
    let path = |i: usize| format!("d{}/f{i}", i % 8);
    for i in 0..240 {
        fs::create_dir_all(real.join(path(i)).parent().unwrap()).unwrap();
        fs::write(real.join(path(i)), format!("{i} version 0\n")).unwrap();
    }
    workspace.begin();
    let t = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let Some(mut inside) = Inside::enter(&workspace) else { return };
    let mut capture = Capture::start(&workspace.layers(), Timestamp::from_parts(t.tv_sec, t.tv_nsec)).unwrap();
    capture.set_view(inside.view(&workspace));
    let mut random = Random::new(11);
    inside.run("cat d[0-3]/* > /dev/null");
    for version in 1..1200 {
        let i = random.below(240);
        let file = real.join(path(i));
        let text = format!("{i} version {version}\n");
        match random.below(12) {
            0 | 1 => fs::write(&file, text).unwrap(),
            2 => {
                fs::write(real.join("saving"), text).unwrap();
                fs::rename(real.join("saving"), &file).unwrap();
            }
            3 => {
                let _ = fs::remove_file(&file);
                fs::write(&file, text).unwrap();
            }
            4 => {
                fs::rename(&file, real.join("backup")).unwrap();
                fs::write(&file, text).unwrap();
            }
            5 if random.one_in(4) => {
                // A directory is swapped for a copy of it with other content.
                let directory = real.join(format!("d{}", i % 8));
                let other = real.join("other");
                fs::create_dir(&other).unwrap();
                for found in fs::read_dir(&directory).unwrap() {
                    let found = found.unwrap();
                    fs::write(other.join(found.file_name()), format!("swapped in {version}\n")).unwrap();
                }
                fs::rename(&directory, real.join(format!("away{version}"))).unwrap();
                fs::rename(&other, &directory).unwrap();
            }
            6 => std::thread::sleep(std::time::Duration::from_millis(30)),
            7 => inside.run(&format!("cat {} > /dev/null || :", path(i))),
            _ => {
                inside.run(&format!("echo run >> {}", path(i)));
                if random.below(3) > 0 {
                    assert_eq!(capture.on_readable().unwrap().problems, []);
                }
            }
        }
    }
    inside.leave(&workspace);
    capture.finish().unwrap();
    let layers = workspace.layers();
    let set = change_set(&layers, &ChangeOptions::default()).unwrap();
    let (mut sure, mut unknown) = (0, 0);
    for change in set.changes.iter().filter(|change| change.new.as_ref().is_some_and(|new| new.kind == FileKind::File))
    {
        let new = fs::read_to_string(workspace.upper().join(change.path.as_path())).unwrap();
        match layers.open_base(&change.path).unwrap() {
            Some(mut file) => {
                let mut base = String::new();
                file.read_to_string(&mut base).unwrap();
                let added = new.strip_prefix(&base);
                assert!(
                    added.is_some_and(|rest| rest.lines().all(|line| line == "run")),
                    "{:?}: {base:?} {new:?}",
                    change.path
                );
                sure += 1;
            }
            None => unknown += 1,
        }
    }
    println!("{sure} bases sure and right, {unknown} unknown");
    assert!(sure > 20, "{sure} sure, {unknown} unknown");
}
