//! A purification killed at every instant at which it changes something, its recovery killed as well: the tree stays as it was.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, ExitStatus};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::is_leftover;
use super::purify::Purifier;
use super::restore::restore;
use super::undo::undo;

/// Names where a test that started itself again finds its directory.
const INSIDE: &str = "COFFERDAM_TEST_KILLED_INSIDE";
/// Names what such a test is to do there.
const TASK: &str = "COFFERDAM_TEST_KILLED_TASK";
const TEST: &str = "rename::killed::an_enclosure_killed_at_any_instant_leaves_the_tree_as_it_was";
/// Every call that changes a name, a mode, a time or an attribute.
const CHANGES: [&str; 11] = [
    "mkdirat",
    "renameat",
    "renameat2",
    "unlinkat",
    "fchmod",
    "fchmodat",
    "fsetxattr",
    "fremovexattr",
    "setxattr",
    "removexattr",
    "utimensat",
];
/// More than there are of one of them.
const ENOUGH: u32 = 1000;

#[test]
fn an_enclosure_killed_at_any_instant_leaves_the_tree_as_it_was() {
    match std::env::var_os(INSIDE) {
        None => outside("judge-restore"),
        Some(top) => inside(Path::new(&top)),
    }
}

#[test]
fn a_helper_killed_at_any_instant_leaves_the_tree_as_it_was() {
    outside("judge-undo");
}

fn inside(top: &Path) {
    match std::env::var(TASK).unwrap().as_str() {
        "judge-restore" => judge(top, Recovery::Restore),
        "judge-undo" => judge(top, Recovery::Undo),
        "purify" => {
            drop_capabilities();
            let parent = parent(top);
            Purifier::new(1, 100).purify(parent.as_fd(), c"s", |_| Ok(())).unwrap();
        }
        "restore" => {
            drop_capabilities();
            let [upper, real] = ["upper", "lower"].map(|d| fs::File::open(top.join(d)).unwrap());
            assert_eq!(restore(upper.as_fd(), real.as_fd()).unwrap().left, 0);
        }
        "undo" => {
            drop_capabilities();
            let parent = parent(top);
            undo(parent.as_fd(), c"s", c".coffer-mv.1.0").unwrap();
        }
        other => panic!("{other}"),
    }
}

/// As the monitor sends it.
fn parent(top: &Path) -> OwnedFd {
    openat(CWD, top.join("merged"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

/// A judge in namespaces in which it may mount.
fn outside(judge: &str) {
    if Command::new("strace").arg("--version").output().is_err() {
        eprintln!("not proven on this machine: strace(1) is not installed");
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount"]).arg(std::env::current_exe().unwrap());
    assert!(again(command, top.path(), judge).success());
    // What overlayfs made for itself is closed to an ordinary user.
    let opened = Command::new("chmod").args(["-R", "u+rwX"]).arg(top.path()).status();
    assert!(opened.unwrap().success());
}

fn again(mut command: Command, top: &Path, task: &str) -> ExitStatus {
    command.args([TEST, "--exact", "--nocapture"]).env(INSIDE, top).env(TASK, task).status().unwrap()
}

/// Does a task, killed when it is about to make its `number`th call of a kind.
fn killed(top: &Path, task: &str, call: &str, number: u32) -> ExitStatus {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]);
    command.arg(std::env::current_exe().unwrap());
    again(command, top, task)
}

/// The helper has none, and so what is closed to its owner is closed to it.
fn drop_capabilities() {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).unwrap();
}

/// Who recovers what was killed.
#[derive(Clone, Copy, PartialEq)]
enum Recovery {
    /// The whole enclosure was killed: `restore`, from outside.
    Restore,
    /// The helper was: another one's `undo`.
    Undo,
}

/// What became of one instant.
struct Instant {
    /// The purification had no such instant.
    done: bool,
    /// The first recovery was killed.
    interrupted: bool,
}

fn judge(top: &Path, recovery: Recovery) {
    let (mut instants, mut twice) = (0, 0);
    for (call, after) in CHANGES.into_iter().zip(CHANGES.into_iter().cycle().skip(4)) {
        // Up to the first number that there is not.
        let all = (1..ENOUGH).find(|number| {
            let top = top.join(format!("{call}-{number}"));
            let seen = one_instant(&top, recovery, (call, *number), (after, 1 + number % 7));
            instants += u32::from(!seen.done);
            twice += u32::from(seen.interrupted);
            seen.done
        });
        assert!(all.is_some());
    }
    eprintln!("{instants} instants, {twice} recovered twice");
    assert!(instants > 100 && twice > 30, "{instants} instants, {twice} recovered twice: too few to prove anything");
}

/// Kills a purification at a call, then its recovery at another, and lets a second recovery go through.
fn one_instant(top: &Path, recovery: Recovery, at: (&str, u32), then: (&str, u32)) -> Instant {
    make(top);
    mount_overlay(top);
    change(&top.join("merged/s"));
    let before = picture(&top.join("merged/s"));
    let done = killed(top, "purify", at.0, at.1).success();
    let task = if recovery == Recovery::Undo { "undo" } else { "restore" };
    if recovery == Recovery::Restore {
        unmount(top.join("merged"), UnmountFlags::DETACH).unwrap();
    }
    let interrupted = !killed(top, task, then.0, then.1).success();
    let through = again(Command::new(std::env::current_exe().unwrap()), top, task);
    assert!(through.success(), "killed at {at:?} and {then:?}");
    if recovery == Recovery::Restore {
        mount_overlay(top);
    }
    let after = picture(&top.join("merged/s"));
    let changed: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    assert!(changed.is_empty() && after.len() == before.len(), "killed at {at:?} and {then:?}: {changed:#?}");
    assert_eq!(written_by_us(&top.join("upper")), Vec::<String>::new(), "killed at {at:?} and {then:?}");
    if done {
        fs::rename(top.join("merged/s"), top.join("merged/t")).unwrap();
    }
    unmount(top.join("merged"), UnmountFlags::DETACH).unwrap();
    Instant { done, interrupted }
}

fn make(top: &Path) {
    for d in ["upper", "work", "merged", "lower/s"] {
        fs::create_dir_all(top.join(d)).unwrap();
    }
    for d in ["plain", "edited", "gone", "closed/below", "narrow/deep", "secret"] {
        fs::create_dir_all(top.join("lower/s").join(d)).unwrap();
        fs::write(top.join("lower/s").join(d).join("file"), d).unwrap();
    }
    for (d, mode) in [("closed/below", 0o500), ("closed", 0o555), ("plain", 0o2775), ("narrow/deep", 0o711)] {
        fs::set_permissions(top.join("lower/s").join(d), Permissions::from_mode(mode)).unwrap();
    }
    let before = |path: &str, days: u64| {
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(days * 86_400);
        fs::File::open(top.join("lower/s").join(path)).unwrap().set_modified(long_ago).unwrap();
    };
    for (days, d) in (1..).zip(["", "plain", "edited", "closed", "closed/below", "narrow", "narrow/deep"]) {
        before(d, days);
    }
}

/// What a command may have done to the tree before the rename.
fn change(s: &Path) {
    fs::write(s.join("edited/file"), "edited").unwrap();
    fs::remove_dir_all(s.join("gone")).unwrap();
    fs::create_dir_all(s.join("gone/again")).unwrap();
    fs::create_dir_all(s.join("pure/closed")).unwrap();
    fs::write(s.join("pure/closed/made"), "made").unwrap();
    std::os::unix::fs::symlink("nowhere", s.join("narrow/link")).unwrap();
    for (d, mode) in [("pure/closed", 0o555), ("secret", 0o311), ("pure", 0o500), ("", 0o555)] {
        fs::set_permissions(s.join(d), Permissions::from_mode(mode)).unwrap();
    }
}

fn mount_overlay(top: &Path) {
    let work = top.join("work");
    // What an earlier mount left there is closed.
    fs::remove_dir_all(&work).unwrap();
    fs::create_dir(&work).unwrap();
    let at = top.display();
    let layers = format!("lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work,userxattr,volatile");
    let layers = CString::new(layers).unwrap();
    mount("overlay", top.join("merged"), "overlay", MountFlags::empty(), Some(layers.as_c_str())).unwrap();
}

fn walk(path: &Path, see: &mut impl FnMut(&Path, &fs::Metadata)) {
    let meta = path.symlink_metadata().unwrap();
    see(path, &meta);
    if meta.is_dir() {
        fs::read_dir(path).unwrap().for_each(|e| walk(&e.unwrap().path(), see));
    }
}

fn picture(top: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk(top, &mut |path, meta| {
        let content = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        let (mode, seconds, nanos) = (meta.mode(), meta.mtime(), meta.mtime_nsec());
        lines.push(format!("{} {mode:o} {seconds}.{nanos} {}", path.display(), content.escape_ascii()));
    });
    lines.sort();
    lines
}

/// Left-overs and attributes of ours in a layer.
fn written_by_us(upper: &Path) -> Vec<String> {
    let mut found = Vec::new();
    walk(upper, &mut |path, meta| {
        if is_leftover(path.file_name().unwrap().as_encoded_bytes()) {
            found.push(path.display().to_string());
        }
        if meta.is_dir() {
            let mut list = [0u8; 4096];
            let size = rustix::fs::listxattr(path, &mut list[..]).unwrap();
            let ours = list[..size].split(|b| *b == 0).filter(|name| name.starts_with(b"user.coffer."));
            found.extend(ours.map(|name| format!("{} {}", path.display(), name.escape_ascii())));
        }
    });
    found
}
