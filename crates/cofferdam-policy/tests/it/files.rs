//! Files that are none: nothing blocks, nothing is followed out of the project, nothing is larger than it may be.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use cofferdam_policy::FileError;
use cofferdam_policy::file::{IN_PROJECT, LARGEST, read, read_in_project};
use rustix::fs::{CWD, FileType, Mode, mknodat};

fn project() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(".cofferdam")).unwrap();
    let file = dir.path().join(IN_PROJECT);
    (dir, file)
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn a_file_is_read_and_none_is_none() {
    let (dir, file) = project();
    assert_eq!(read_in_project(dir.path()).unwrap(), None);
    fs::write(&file, "version = 1").unwrap();
    let source = read_in_project(dir.path()).unwrap().unwrap();
    assert_eq!((source.text.as_str(), &*source.path), ("version = 1", &*file));
    assert_eq!(read(&file).unwrap().unwrap().text, "version = 1");
    assert_eq!(read(&dir.path().join("none")).unwrap(), None);
    fs::remove_dir_all(dir.path().join(".cofferdam")).unwrap();
    fs::write(dir.path().join(".cofferdam"), "").unwrap();
    assert_eq!(read_in_project(dir.path()).unwrap(), None);
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let (dir, file) = project();
    fifo(&file);
    assert!(matches!(read_in_project(dir.path()), Err(FileError::NotRegular { .. })));
    assert!(matches!(read(&file), Err(FileError::NotRegular { .. })));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(matches!(read_in_project(dir.path()), Err(FileError::NotRegular { .. })));
    fs::remove_dir(&file).unwrap();
    let _listener = UnixListener::bind(&file).unwrap();
    assert!(matches!(read_in_project(dir.path()), Err(FileError::NotRegular { .. })));
    assert!(matches!(read(Path::new("/dev/null")), Err(FileError::NotRegular { .. })));
}

#[test]
fn no_link_is_followed_in_a_project() {
    let (dir, file) = project();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("policy.toml");
    fs::write(&target, "version = 1").unwrap();
    symlink(&target, &file).unwrap();
    assert!(matches!(read_in_project(dir.path()), Err(FileError::Link { .. })));
    assert!(read(&file).unwrap().is_some(), "a person may keep their own file behind a link");
    fs::remove_dir_all(dir.path().join(".cofferdam")).unwrap();
    symlink(elsewhere.path(), dir.path().join(".cofferdam")).unwrap();
    assert!(matches!(read_in_project(dir.path()), Err(FileError::Link { .. })));
    fs::remove_file(dir.path().join(".cofferdam")).unwrap();
    // Within the project too: what is trusted is the file that a person sees under this name.
    fs::create_dir(dir.path().join("inner")).unwrap();
    symlink("inner", dir.path().join(".cofferdam")).unwrap();
    assert!(matches!(read_in_project(dir.path()), Err(FileError::Link { .. })));
}

#[test]
fn size_and_encoding_are_bounded() {
    let (dir, file) = project();
    let largest = usize::try_from(LARGEST).unwrap();
    fs::write(&file, "#".repeat(largest)).unwrap();
    assert!(read_in_project(dir.path()).unwrap().is_some());
    fs::write(&file, "#".repeat(largest + 1)).unwrap();
    assert!(matches!(read_in_project(dir.path()), Err(FileError::TooLarge { .. })));
    fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(read_in_project(dir.path()), Err(FileError::TooLarge { .. })));
    fs::write(&file, b"version = 1\n# \xff").unwrap();
    assert!(matches!(read_in_project(dir.path()), Err(FileError::NotText { line: 2, .. })));
}
