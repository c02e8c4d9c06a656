//! A person's home with a project, secrets and a store, in a temporary directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::unique;

/// Where programs of a scene are looked up.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The longest that any one command of a test may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// Places of a home where secrets lie, relative to it.
pub const SECRETS: &[&str] = &[
    ".ssh/id_ed25519",
    ".aws/credentials",
    ".netrc",
    ".config/gh/hosts.yml",
    ".bash_history",
    ".mozilla/firefox/profile/logins.json",
    ".gnupg/private-keys-v1.d/key",
    ".config/unheard-of/token",
    ".cargo/credentials.toml",
    "src/other/.env",
    "notes.txt",
];

/// A home, a project in it, and planted secrets that all contain [`Scene::canary`].
pub struct Scene {
    base: tempfile::TempDir,
    pub home: PathBuf,
    pub project: PathBuf,
    pub state: PathBuf,
    /// Where attacks run without an enclosure: beside the project, with the same attack program.
    pub outside: PathBuf,
    pub canary: String,
}

/// What a command left.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Finished {
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn all(&self) -> String {
        format!("{:?}\n{}\n{}", self.status, self.out(), String::from_utf8_lossy(&self.stderr))
    }
}

impl Scene {
    pub fn new() -> Scene {
        let base = tempfile::Builder::new().prefix("coffer-it-").tempdir().unwrap();
        let root = base.path().canonicalize().unwrap();
        let home = root.join("home/me");
        let scene = Scene {
            project: home.join("src/app"),
            state: home.join(".local/state"),
            outside: root.join("outside"),
            canary: unique("CANARY"),
            home,
            base,
        };
        for secret in SECRETS {
            scene.plant(&scene.home.join(secret));
        }
        for dir in [scene.project.join("dir"), scene.outside.join("dir"), scene.state.clone()] {
            fs::create_dir_all(dir).unwrap();
        }
        for place in [&scene.project, &scene.outside] {
            for (name, text) in [("kept.txt", "kept\n"), ("doomed.txt", "doomed\n"), ("dir/inner.txt", "inner\n")] {
                fs::write(place.join(name), text).unwrap();
            }
            copy_program(&hostile(), &place.join("hostile"));
        }
        scene
    }

    /// The directory that all of it lies in.
    pub fn root(&self) -> PathBuf {
        self.base.path().canonicalize().unwrap()
    }

    /// Writes a file with the canary in it.
    pub fn plant(&self, path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("secret = {}\n", self.canary)).unwrap();
    }

    fn dressed(&self, mut command: Command, cwd: &Path) -> Command {
        command
            .current_dir(cwd)
            .env_clear()
            .env("HOME", &self.home)
            .env("XDG_STATE_HOME", &self.state)
            .env("PATH", PATH)
            .env("USER", "me")
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .env("GITHUB_TOKEN", &self.canary);
        command
    }

    /// `coffer`, in the project.
    pub fn coffer(&self) -> Command {
        self.dressed(Command::new(env!("CARGO_BIN_EXE_coffer")), &self.project)
    }

    /// Some other program, in the project, as the person would start it.
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.dressed(Command::new(program), &self.project)
    }

    /// `coffer WORDS…` in the project, to its end.
    pub fn finished<W: AsRef<std::ffi::OsStr>>(&self, words: &[W]) -> Finished {
        let mut command = self.coffer();
        command.args(words);
        finish(command, b"")
    }

    /// The events of the latest run, of one kind.
    pub fn events(&self, kind: &str) -> Vec<serde_json::Value> {
        let all = self.finished(&["log", "--json", "@"]).out();
        let events = all.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        events.filter(|event| event["kind"] == kind).collect()
    }

    /// `coffer run -- WORDS…`, to its end.
    pub fn run(&self, words: &[&str]) -> Finished {
        self.finished(&[&["run", "--"], words].concat())
    }

    /// `coffer run -- WORDS…` with a rule of the command line for each host, without a summary.
    pub fn allowed(&self, hosts: &[&str], words: &[&str]) -> Finished {
        let mut all = vec!["run", "--quiet", "--purpose", "a test"];
        all.extend(hosts.iter().flat_map(|host| ["--allow", host]));
        all.push("--");
        self.finished(&[&all[..], words].concat())
    }

    /// Writes the person's policy.
    pub fn policy(&self, text: &str) {
        let directory = self.home.join(".config/cofferdam");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("policy.toml"), text).unwrap();
    }

    /// A shell script in an enclosure.
    pub fn script(&self, script: &str) -> Finished {
        self.run(&["sh", "-c", script])
    }

    /// The attack program inside.
    pub fn attack_inside(&self, words: &[&str]) -> Finished {
        let mut all = vec!["./hostile"];
        all.extend(words);
        self.run(&all)
    }

    /// The attack program outside.
    pub fn attack_outside(&self, words: &[&str]) -> Finished {
        let mut command = self.dressed(Command::new(self.outside.join("hostile")), &self.outside);
        command.args(words);
        finish(command, b"")
    }

    /// Everything in the real project: type and mode, modification time, content.
    pub fn tree(&self) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
        let mut all = BTreeMap::new();
        let mut stack = vec![self.project.clone()];
        while let Some(path) = stack.pop() {
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_dir() {
                stack.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
                Vec::new()
            } else if meta.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                fs::read(&path).unwrap()
            };
            all.insert(path, (meta.mode(), meta.mtime(), meta.mtime_nsec(), content));
        }
        all
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // The kernel's scratch directories and the placeholders are of mode 000.
        let mut stack = vec![self.root()];
        while let Some(path) = stack.pop() {
            if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
                let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
                stack.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
            }
        }
    }
}

/// Whether this machine has a program; a test that needs it proves nothing without, and says so.
pub fn has(program: &str) -> bool {
    let there = PATH.split(':').any(|directory| Path::new(directory).join(program).exists());
    if !there {
        eprintln!("not proven here: {program} is not installed");
    }
    there
}

/// The attack program, which `cargo test` builds beside `coffer`.
pub fn hostile() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_coffer")).with_file_name("examples").join("hostile");
    assert!(path.is_file(), "{} is missing: cargo build -p cofferdam --example hostile", path.display());
    path
}

/// Copies a program by another process: a descriptor that this one writes by may live on in a child that another test has
/// just forked, and then the program is busy (ETXTBSY of `execve(2)`).
pub fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// Runs a command to its end with this input; ends it where it takes too long.
pub fn finish(mut command: Command, input: &[u8]) -> Finished {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    finish_child(child, input)
}

/// As [`finish`], of a child whose three streams are piped.
pub fn finish_child(mut child: Child, input: &[u8]) -> Finished {
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feed = std::thread::spawn(move || {
        // A command that does not read its input closes it: no failure of the test's.
        let _ = stdin.write_all(&input);
    });
    let drain = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            if let Some(mut stream) = stream {
                stream.read_to_end(&mut all).unwrap();
            }
            all
        })
    };
    let stdout = drain(child.stdout.take().map(|s| Box::new(s) as _));
    let stderr = drain(child.stderr.take().map(|s| Box::new(s) as _));
    let status = wait(&mut child, PATIENCE);
    feed.join().unwrap();
    Finished { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Waits for a child; kills it and fails where it takes longer.
pub fn wait(child: &mut Child, patience: Duration) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > patience {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("process {} took longer than {patience:?}", child.id());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
