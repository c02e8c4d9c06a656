//! Small real logs.

use std::fs;
use std::path::{Path, PathBuf};

use cofferdam_core::RunId;
use cofferdam_core::change::Digest;
use cofferdam_core::event::{
    BlobRef, CommandOutput, EndReason, EventKind, FileChanged, Link, RunEnded, RunStarted, Source, Stream,
};
use cofferdam_evidence::{BlobStore, Log, Options, RecorderKey, Report, State, VerifierKey, verify};
use tempfile::TempDir;

pub fn started(run: &RunId) -> RunStarted {
    RunStarted {
        run: run.clone(),
        version: "0.1.0".into(),
        project: "/home/person/project".into(),
        cwd: "/home/person/project".into(),
        argv: vec!["agent".into(), b"caf\xe9\xff".as_slice().into(), "line\nbreak\u{2028}".into()],
        environment: vec!["PATH".into()],
        uid: 1000,
        host: "host".into(),
        kernel: "6.12.0".into(),
        plan: Digest([1; 32]),
        boundary: vec!["seccomp".into()],
        boot: "boot".into(),
    }
}

pub fn changed(path: &str) -> EventKind {
    EventKind::FileChanged(FileChanged::new(path.into(), None, None))
}

pub fn output(blob: BlobRef) -> EventKind {
    EventKind::CommandOutput(CommandOutput {
        stream: Stream::Stdout,
        source: Source::Pipe,
        bytes: blob.size,
        dropped: 0,
        head: blob.size,
        blob,
    })
}

pub fn ended() -> EventKind {
    EventKind::RunEnded(RunEnded {
        files: None,
        reason: EndReason::Exited,
        code: Some(0),
        signal: None,
        milliseconds: 12,
        changed: 3,
        ignored: 0,
        execs: 0,
        memory: None,
        network: None,
    })
}

/// The text of [`Run::with_long_output`].
pub fn long_output() -> String {
    "hello from a test\n".repeat(4000)
}

/// A finished run: events 0 to 6 under four checkpoints, one blob, a statement.
pub struct Run {
    pub _temporary: TempDir,
    pub dir: PathBuf,
    pub id: RunId,
    pub key: RecorderKey,
    pub blob: BlobRef,
}

impl Run {
    pub fn finished() -> Run {
        Run::with_key(RecorderKey::generate().unwrap())
    }

    pub fn with_key(key: RecorderKey) -> Run {
        Run::with_output(key, "hello from a test\n")
    }

    /// With an output that is too long for a pack: its blob has a file of its own.
    pub fn with_long_output() -> Run {
        Run::with_output(RecorderKey::generate().unwrap(), &long_output())
    }

    fn with_output(key: RecorderKey, text: &str) -> Run {
        let (mut run, mut log) = Run::begun(key);
        run.blob = BlobStore::open(&run.dir).unwrap().put(text.as_bytes()).unwrap();
        log.append(Some((0, Link::Window)), changed("src/a.rs")).unwrap();
        log.append(Some((1, Link::Parent)), output(run.blob.clone())).unwrap();
        log.checkpoint().unwrap();
        log.append(None, changed("src/b.rs")).unwrap();
        log.append(None, changed("src/c.rs")).unwrap();
        log.append(None, changed("src/d.rs")).unwrap();
        log.checkpoint().unwrap();
        log.append(None, ended()).unwrap();
        log.checkpoint_with(serde_json::json!({"unexplained": 0}).as_object().unwrap()).unwrap();
        run
    }

    /// A finished run of twenty events under eight checkpoints, with three blobs.
    pub fn long(key: RecorderKey) -> Run {
        let (run, mut log) = Run::begun(key);
        let blobs = BlobStore::open(&run.dir).unwrap();
        for n in 1..19u64 {
            let cause = Some((n / 2, Link::Window));
            match n % 6 {
                0 => {
                    // The first is too long for a pack.
                    let text = format!("output {n} of {}\n", run.id).repeat(if n == 6 { 4000 } else { 20 });
                    log.append(cause, output(blobs.put(text.as_bytes()).unwrap())).unwrap();
                    log.checkpoint().unwrap();
                }
                3 => {
                    log.append(cause, changed(&format!("src/{n} \u{e9}\"\\.rs"))).unwrap();
                    log.checkpoint().unwrap();
                }
                _ => drop(log.append(cause, changed(&format!("src/{n}.rs"))).unwrap()),
            }
        }
        log.append(None, ended()).unwrap();
        log.checkpoint_with(serde_json::json!({"unexplained": 0}).as_object().unwrap()).unwrap();
        run
    }

    /// Event 0 and its checkpoint.
    pub fn begun(key: RecorderKey) -> (Run, Log) {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("evidence");
        let id = random_id();
        let log = Log::create(&dir, &id, key.clone(), started(&id)).unwrap();
        let blob = BlobRef { digest: Digest([0; 32]), size: 0 };
        (Run { _temporary: temporary, dir, id, key, blob }, log)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The only pack.
    pub fn pack_path(&self) -> PathBuf {
        let packs = fs::read_dir(self.dir.join("blobs")).unwrap().map(|entry| entry.unwrap().path());
        let packs: Vec<PathBuf> = packs.filter(|path| path.is_file()).collect();
        assert_eq!(packs.len(), 1, "{packs:?}");
        packs[0].clone()
    }

    /// The file of a long output.
    pub fn blob_path(&self) -> PathBuf {
        let name = self.blob.digest.to_string();
        self.dir.join("blobs").join(&name[..2]).join(name)
    }

    /// Verified with the key that really recorded it.
    pub fn verify(&self) -> Report {
        let trusted = VerifierKey::parse(self.key.vkey(), "test").unwrap();
        verify(&self.dir, &Options { trusted: Some(&trusted), run: Some(&self.id), ..Options::default() }).unwrap()
    }

    /// The lines of the log, each with its newline.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.read("log.jsonl").split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
    }

    /// The notes of `checkpoints`.
    pub fn notes(&self) -> Vec<String> {
        let text = String::from_utf8(self.read("checkpoints")).unwrap();
        let starts: Vec<usize> = text.match_indices("cofferdam.dev/run/").map(|(at, _)| at).collect();
        let ends = starts.iter().skip(1).copied().chain([text.len()]);
        starts.iter().zip(ends).map(|(&from, to)| text[from..to].to_owned()).collect()
    }
}

pub fn fault(report: &Report) -> &cofferdam_evidence::Fault {
    match &report.state {
        State::Tampered(fault) => fault,
        other => panic!("not found out: {other:?}"),
    }
}

pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A run id that no other test has.
pub fn random_id() -> RunId {
    let mut raw = [0u8; 12];
    rustix::rand::getrandom(&mut raw, rustix::rand::GetRandomFlags::empty()).unwrap();
    RunId::from_random(raw)
}
