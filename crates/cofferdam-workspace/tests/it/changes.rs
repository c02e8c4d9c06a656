//! The change set, against layers made by hand.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use cofferdam_core::change::{BaseState, Change, Class, FileKind};
use cofferdam_workspace::diff::{DiffOptions, PatchStyle, compute};
use cofferdam_workspace::{ChangeOptions, ChangeSet, change_set};

use crate::support::{Workspace, opaque, tick, whiteout};

fn put(root: &Path, path: &str, content: &str) {
    let to = root.join(path);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(to, content).unwrap();
}

fn changes(workspace: &Workspace) -> ChangeSet {
    change_set(&workspace.layers(), &ChangeOptions::default()).unwrap()
}

/// `letter path` of each change, with a slash after directories.
fn listed(set: &ChangeSet) -> Vec<String> {
    let line = |change: &Change| {
        let directory = change.new.as_ref().or(change.old.as_ref()).unwrap().kind == FileKind::Directory;
        let slash = if directory { "/" } else { "" };
        format!("{} {}{slash}", change.status(), change.path.0.escape_ascii())
    };
    set.changes.iter().map(line).collect()
}

#[test]
fn every_kind_of_change_is_found_and_nothing_else() {
    let workspace = Workspace::new();
    let (real, upper) = (workspace.real(), workspace.upper());
    for path in [
        "same",
        "touched",
        "edited",
        "mode",
        "gone",
        "d/a",
        "d/b",
        "d/e/f",
        "o/x",
        "o/y",
        "tofile/in",
        "todir",
        "deep/er/z",
    ] {
        put(&real, path, "old\n");
    }
    symlink("one", real.join("link")).unwrap();
    symlink("one", real.join("samelink")).unwrap();
    fs::create_dir(real.join("plain")).unwrap();
    fs::set_permissions(real.join("plain"), fs::Permissions::from_mode(0o755)).unwrap();
    workspace.begin();
    put(&upper, "same", "old\n");
    put(&upper, "touched", "old\n");
    let past = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::options().write(true).open(upper.join("touched")).unwrap().set_times(past).unwrap();
    put(&upper, "edited", "new\n");
    put(&upper, "mode", "old\n");
    fs::set_permissions(upper.join("mode"), fs::Permissions::from_mode(0o755)).unwrap();
    whiteout(&upper.join("gone"));
    whiteout(&upper.join("never-there"));
    whiteout(&upper.join("d"));
    opaque(&upper.join("o"));
    put(&upper, "o/x", "old\n");
    put(&upper, "o/new", "new\n");
    put(&upper, "tofile", "now a file\n");
    put(&upper, "todir/in", "now a directory\n");
    put(&upper, "fresh/very/f", "new\n");
    fs::create_dir(upper.join("hollow")).unwrap();
    symlink("two", upper.join("link")).unwrap();
    symlink("one", upper.join("samelink")).unwrap();
    fs::create_dir(upper.join("plain")).unwrap();
    fs::set_permissions(upper.join("plain"), fs::Permissions::from_mode(0o700)).unwrap();
    let set = changes(&workspace);
    assert_eq!(set.problems, []);
    let expected = [
        "D d/",
        "D d/a",
        "D d/b",
        "D d/e/",
        "D d/e/f",
        "M edited",
        "A fresh/very/f",
        "D gone",
        "A hollow/",
        "M link",
        "M mode",
        "A o/new",
        "D o/y",
        "M plain/",
        "T todir/",
        "A todir/in",
        "T tofile",
        "D tofile/in",
    ];
    assert_eq!(listed(&set), expected);
    assert!(set.changes.iter().all(|change| change.base == BaseState::Unchanged));
    let diff = compute(&workspace.layers(), &set, &DiffOptions::default()).unwrap();
    let mut out = Vec::new();
    diff.name_only(true, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("\nhollow/\n"));
}

#[test]
fn whiteouts_by_attribute_are_deletions() {
    let workspace = Workspace::new();
    put(&workspace.real(), "d/f", "old\n");
    put(&workspace.real(), "d/kept", "");
    workspace.begin();
    let directory = workspace.upper().join("d");
    put(&workspace.upper(), "d/f", "");
    put(&workspace.upper(), "d/kept", "");
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&directory, c"user.overlay.opaque", b"x", none).unwrap();
    rustix::fs::setxattr(directory.join("f"), c"user.overlay.whiteout", b"", none).unwrap();
    assert_eq!(listed(&changes(&workspace)), ["D d/f"]);
}

#[test]
fn an_edit_of_the_real_tree_without_a_captured_base_is_unknown() {
    let workspace = Workspace::new();
    for path in ["edited", "equal", "unseen", "below/f"] {
        put(&workspace.real(), path, "old\n");
    }
    workspace.begin();
    put(&workspace.upper(), "edited", "run\n");
    put(&workspace.upper(), "equal", "same\n");
    put(&workspace.upper(), "below/f", "run\n");
    put(&workspace.upper(), "both", "run\n");
    put(&workspace.real(), "edited", "person\n");
    put(&workspace.real(), "equal", "same\n");
    put(&workspace.real(), "both", "person\n");
    put(&workspace.real(), "below/other", "person\n");
    let set = changes(&workspace);
    assert_eq!(listed(&set), ["M below/f", "M both", "M edited"], "what is equal on both sides is no change");
    // In `below` the person made a file: without the overlay's view, it may be another directory.
    assert!(set.changes.iter().all(|change| change.base == BaseState::Unknown));
    let layers = workspace.layers();
    assert!(layers.open_base(&"edited".into()).unwrap().is_none());
    let diff = compute(&layers, &set, &DiffOptions::default()).unwrap();
    assert!(diff.files.iter().all(|file| file.note.as_deref().is_some_and(|note| note.contains("not known"))));
    let mut out = Vec::new();
    diff.patch(&PatchStyle::default(), &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("-person\n+run\n"));
}

#[test]
fn classes_come_in_their_order_and_say_what_runs() {
    let workspace = Workspace::new();
    let (real, upper) = (workspace.real(), workspace.upper());
    put(&real, ".gitignore", "*.log\n.env\n");
    put(&real, "sub/.gitignore", "local\n");
    put(&real, "package.json", r#"{"name":"a","version":"1.0.0","scripts":{"test":"x"}}"#);
    put(&real, "web/package.json", r#"{"name":"b","scripts":{"test":"x"}}"#);
    put(&real, "bad/package.json", r#"{"name":"c"}"#);
    put(&real, "gone/.gitignore", "f\n");
    workspace.begin();
    for path in [
        ".git/hooks/pre-commit",
        "vendor/.git/config",
        ".GIT/config",
        "git~1/config",
        "a.log",
        "sub/local",
        "local",
        ".env",
        ".envrc",
        "src/lib.rs",
        "Makefile",
        "sub/.vscode/tasks.json",
        ".git/x.log",
        "gone/f",
        "new/ignored",
        "run.sh",
    ] {
        put(&upper, path, "x\n");
    }
    put(&upper, "new/.gitignore", "ignored\n");
    whiteout(&upper.join("gone/.gitignore"));
    put(&upper, "package.json", r#"{"scripts":{"test":"x"},"version":"2.0.0"}"#);
    put(&upper, "web/package.json", r#"{"name":"b","scripts":{"test":"x","postinstall":"evil"}}"#);
    put(&upper, "bad/package.json", "{");
    put(&upper, "setuid", "x\n");
    fs::set_permissions(upper.join("setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(upper.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, upper.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let set = changes(&workspace);
    let class = |path: &str| {
        let change = set.changes.iter().find(|change| change.path == path.into()).unwrap();
        assert_eq!(change.executes.is_some(), change.class == Class::HostExecution, "{path}");
        change.class
    };
    for path in [".git/hooks/pre-commit", "vendor/.git/config", ".GIT/config", "git~1/config", ".git/x.log"] {
        assert_eq!(class(path), Class::GitMetadata, "{path}");
    }
    for path in ["a.log", "sub/local", ".env", "new/ignored"] {
        assert_eq!(class(path), Class::Ignored, "{path}");
    }
    for path in ["Makefile", "sub/.vscode/tasks.json", ".envrc", "web/package.json", "bad/package.json", "setuid"] {
        assert_eq!(class(path), Class::HostExecution, "{path}");
    }
    for path in ["src/lib.rs", "local", "package.json", "gone/f", "run.sh"] {
        assert_eq!(class(path), Class::Ordinary, "{path}");
    }
    assert_eq!(class("pipe"), Class::Unpromotable);
    let excludes = ChangeOptions { excludes: Some(b"lib.rs\n".to_vec()), ..ChangeOptions::default() };
    let set = change_set(&workspace.layers(), &excludes).unwrap();
    assert!(set.changes.iter().any(|change| change.path == "src/lib.rs".into() && change.class == Class::Ignored));
}

#[test]
fn digests_and_json_name_both_sides() {
    let workspace = Workspace::new();
    put(&workspace.real(), "f", "old\n");
    workspace.begin();
    put(&workspace.upper(), "f", "new\n");
    let options = ChangeOptions { digests: true, ..ChangeOptions::default() };
    let set = change_set(&workspace.layers(), &options).unwrap();
    let digest = |entry: &Option<cofferdam_core::change::Entry>| entry.as_ref().unwrap().digest.unwrap().to_string();
    assert_eq!(digest(&set.changes[0].new), "7aa7a5359173d05b63cfd682e3c38487f3cb4f7f1d60659fe59fab1505977d4c");
    assert_ne!(digest(&set.changes[0].old), digest(&set.changes[0].new));
    let diff = compute(&workspace.layers(), &set, &DiffOptions::default()).unwrap();
    let json = serde_json::to_value(&diff.files[0]).unwrap();
    assert_eq!(json["status"], "modified");
    assert_eq!(json["old"]["mode"], "100644");
    assert_eq!(json["old"]["id"], "3367afdbbf91e638efe983616377c60477cc6612");
    assert_eq!((&json["added"], &json["deleted"]), (&1.into(), &1.into()));
}

#[test]
fn the_staging_directory_of_promotion_is_never_a_change() {
    let workspace = Workspace::new();
    put(&workspace.real(), "f", "old\n");
    workspace.begin();
    put(&workspace.upper(), ".cofferdam-promotion/evil", "x\n");
    tick();
    let set = changes(&workspace);
    assert!(set.changes.is_empty());
    assert_eq!(set.problems.len(), 1);
}
