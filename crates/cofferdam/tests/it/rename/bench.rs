//! A project, a store and a home of their own, and scripts that run in an enclosure over them.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What every script starts with: `rename(old, new, flags)` gives "ok" or the error's name.
const PRELUDE: &str = r#"
import ctypes, errno, hashlib, json, os, random, shutil, signal, socket, stat, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def rename(old, new, flags=0):
    old, new = (p if isinstance(p, ctypes.Array) else os.fsencode(p) for p in (old, new))
    if libc.renameat2(-100, old, -100, new, flags) == 0: return "ok"
    return errno.errorcode[ctypes.get_errno()]
def leftovers(): return [d for _, ds, _ in os.walk(".") for d in ds if d.startswith(".coffer-mv.")]
"#;

pub struct Bench {
    directory: tempfile::TempDir,
    pub project: PathBuf,
}

impl Bench {
    pub fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let project = directory.path().canonicalize().unwrap().join("work/project");
        std::fs::create_dir_all(&project).unwrap();
        std::fs::create_dir(directory.path().join("home")).unwrap();
        Bench { directory, project }
    }

    /// Files of the project, with their names as content; parents are made.
    pub fn files(&self, names: impl IntoIterator<Item = String>) {
        for name in names {
            let path = self.project.join(&name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
    }

    /// Runs a script outside, in the project.
    pub fn outside(&self, script: &str) {
        let status =
            Command::new("python3").args(["-c", &format!("{PRELUDE}{script}")]).current_dir(&self.project).status();
        assert!(status.unwrap().success());
    }

    /// `coffer run` of a Python script, from the project.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coffer"));
        command.args(["run", "--quiet", "--", "python3", "-c", &format!("{PRELUDE}{script}")]);
        self.surround(&mut command);
        command
    }

    pub fn surround(&self, command: &mut Command) {
        command
            .current_dir(&self.project)
            .env("HOME", self.directory.path().join("home"))
            .env("XDG_STATE_HOME", self.state())
            .stdin(Stdio::null());
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The directory of the only run there is.
    pub fn run(&self) -> PathBuf {
        let mut runs = std::fs::read_dir(self.state().join("cofferdam/runs")).unwrap();
        runs.next().unwrap().unwrap().path()
    }

    /// Runs a script in an enclosure; what it printed, once it has succeeded.
    pub fn inside(&self, script: &str) -> String {
        printed(self.command(script).output().unwrap())
    }

    /// Names of temporary directories in the upper layers of all runs.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for run in std::fs::read_dir(self.state().join("cofferdam/runs")).unwrap() {
            walk(&run.unwrap().path().join("layers/upper"), &mut |path, _| {
                if cofferdam_enclosure::is_leftover(path.file_name().unwrap().as_bytes()) {
                    found.push(path.to_owned());
                }
            });
        }
        found
    }

    /// The real tree: every path with what a change would change.
    pub fn picture(&self) -> Vec<String> {
        let mut picture = Vec::new();
        walk(&self.project, &mut |path, meta| {
            let content = if meta.is_file() { std::fs::read(path).unwrap() } else { Vec::new() };
            picture.push(format!(
                "{} {:o} {} {}.{} {}",
                path.display(),
                meta.mode(),
                meta.ino(),
                meta.mtime(),
                meta.mtime_nsec(),
                content.escape_ascii()
            ));
        });
        picture.sort();
        picture
    }
}

impl Drop for Bench {
    /// Opens what has mode 000 (an overlay's scratch directory among it), so that an ordinary user can remove it.
    fn drop(&mut self) {
        // Not judged: the monitor of the last run may still be removing that directory.
        let _ = Command::new("chmod").args(["-R", "-f", "u+rwX"]).arg(self.directory.path()).status();
    }
}

pub fn printed(output: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

fn walk(directory: &Path, see: &mut impl FnMut(&Path, &std::fs::Metadata)) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        see(&path, &meta);
        // A directory of mode 000 hides its content from an ordinary user; it is one that the test made.
        if meta.is_dir() && meta.mode() & 0o500 == 0o500 {
            walk(&path, see);
        }
    }
}
