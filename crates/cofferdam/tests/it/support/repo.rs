//! A git repository in which runs work, with a reference beside it in which git says what is right.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Scene;
use super::pty::Session;
use super::scene::{self, Finished};

/// What there is of one entry: type and mode, modification time in nanoseconds, content.
pub type Facts = (u32, i128, Vec<u8>);

/// A scene whose project is a git repository.
pub struct Repo {
    pub scene: Scene,
}

impl Repo {
    /// A repository with one commit of text, a program, a link, binary data and an ignore file.
    pub fn new() -> Repo {
        let scene = Scene::new();
        let repo = Repo { scene };
        for name in ["hostile", "doomed.txt", "kept.txt", "dir/inner.txt"] {
            fs::remove_file(repo.path(name)).unwrap();
        }
        fs::remove_dir(repo.path("dir")).unwrap();
        let lines: String = (1..=40).map(|n| format!("line {n}\n")).collect();
        repo.write("a.txt", &lines);
        repo.write("b.txt", "one\ntwo\nthree\n");
        repo.write("src/main.rs", "fn main() {\n    println!(\"hello\");\n}\n");
        repo.write("src/old.rs", &lines.replace("line", "old"));
        repo.write("tool.sh", "#!/bin/sh\necho tool\n");
        repo.write(".gitignore", "target\n*.log\n");
        fs::write(repo.path("data.bin"), b"x\0y\0z").unwrap();
        symlink("a.txt", repo.path("link")).unwrap();
        repo.commit();
        repo
    }

    /// Commits everything there is.
    pub fn commit(&self) {
        let dir = self.scene.project.clone();
        for words in [&["init", "-q", "."][..], &["add", "-A"], &["commit", "-q", "-m", "work"]] {
            let got = self.git(&dir, words);
            assert!(got.status.success(), "{words:?}: {}", got.all());
        }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.scene.project.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: impl AsRef<Path>) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// git, with a configuration of its own only.
    pub fn git(&self, dir: &Path, words: &[&str]) -> Finished {
        let mut command = self.scene.program("git");
        command.current_dir(dir).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]);
        scene::finish(
            {
                command.args(words);
                command
            },
            b"",
        )
    }

    /// `coffer WORDS…` in the project, without a terminal.
    pub fn coffer<W: AsRef<OsStr>>(&self, words: &[W]) -> Finished {
        self.scene.finished(words)
    }

    /// `coffer WORDS…` in some directory.
    pub fn coffer_in<W: AsRef<OsStr>>(&self, dir: &Path, words: &[W]) -> Finished {
        let mut command = self.scene.coffer();
        command.current_dir(dir).args(words);
        scene::finish(command, b"")
    }

    /// As [`Repo::coffer`], which must end with `code`; what it printed.
    pub fn expect<W: AsRef<OsStr> + std::fmt::Debug>(&self, code: i32, words: &[W]) -> String {
        let got = self.coffer(words);
        assert_eq!(got.code(), Some(code), "{words:?}: {}", got.all());
        got.all()
    }

    /// `coffer WORDS…` before a person's eyes; no pager.
    pub fn on_terminal(&self, words: &[&str]) -> Session {
        let mut command = self.scene.program(scene::hostile());
        command.env("PAGER", "cat").args(["on-terminal", env!("CARGO_BIN_EXE_coffer")]).args(words);
        Session::of(command)
    }

    /// A script as a run, which must succeed; the run's id.
    pub fn edit(&self, script: &str) -> String {
        let got = self.scene.script(script);
        assert_eq!(got.code(), Some(0), "{}", got.all());
        self.latest()
    }

    /// What `coffer … --json` printed.
    pub fn json(&self, code: i32, words: &[&str]) -> Value {
        let got = self.coffer(words);
        assert_eq!(got.code(), Some(code), "{words:?}: {}", got.all());
        serde_json::from_slice(&got.stdout).unwrap_or_else(|e| panic!("{words:?}: {e}: {}", got.all()))
    }

    /// The id of the latest run.
    pub fn latest(&self) -> String {
        self.json(0, &["list", "--json"])[0]["run"].as_str().unwrap().to_owned()
    }

    /// Where a run lies in the store.
    pub fn run_dir(&self, run: &str) -> PathBuf {
        self.scene.state.join("cofferdam/runs").join(run)
    }

    /// A run's upper layer.
    pub fn upper(&self, run: &str) -> PathBuf {
        self.run_dir(run).join("layers/upper")
    }

    /// A copy of the repository in which the same script ran without any enclosure, everything added to the index.
    pub fn reference(&self, script: &str) -> PathBuf {
        let copy = self.scene.outside.join("reference");
        assert!(
            std::process::Command::new("cp").arg("-a").arg(&self.scene.project).arg(&copy).status().unwrap().success()
        );
        let mut command = self.scene.program("sh");
        command.current_dir(&copy).args(["-c", script]);
        let got = scene::finish(command, b"");
        assert!(got.status.success(), "{}", got.all());
        let got = self.git(&copy, &["add", "-A"]);
        assert!(got.status.success(), "{}", got.all());
        copy
    }

    /// Everything in the project but what lies in .git.
    pub fn tree(&self) -> BTreeMap<OsString, Facts> {
        tree(&self.scene.project)
    }

    /// Everything in the project, .git included.
    pub fn whole(&self) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
        self.scene.tree()
    }

    /// Whether a staging directory of a promotion is left.
    pub fn staging(&self) -> bool {
        self.path(".cofferdam-promotion").symlink_metadata().is_ok()
    }
}

/// Everything below a directory but what lies in .git, by the path from there; the directory itself too.
pub fn tree(top: &Path) -> BTreeMap<OsString, Facts> {
    let mut all = BTreeMap::new();
    let mut stack = vec![top.to_owned()];
    while let Some(path) = stack.pop() {
        let meta = path.symlink_metadata().unwrap();
        let content = if meta.is_dir() {
            let names = fs::read_dir(&path).unwrap().map(|e| e.unwrap().path());
            stack.extend(names.filter(|p| p.file_name() != Some(OsStr::new(".git"))));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if meta.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let time = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        all.insert(path.strip_prefix(top).unwrap().as_os_str().to_owned(), (meta.mode(), time, content));
    }
    all
}

/// A tree without its modification times.
pub fn timeless(tree: BTreeMap<OsString, Facts>) -> BTreeMap<OsString, (u32, Vec<u8>)> {
    tree.into_iter().map(|(path, (mode, _, content))| (path, (mode, content))).collect()
}
