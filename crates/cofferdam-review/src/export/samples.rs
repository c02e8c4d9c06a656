//! Small real evidence for the tests.

use std::path::{Path, PathBuf};

use cofferdam_core::change::{Digest, Entry, FileKind};
use cofferdam_core::event::{
    BlobRef, Body, CommandOutput, EndReason, EventKind, Executable, ExitSource, FileChanged, HttpExchange, Link,
    Mediation, NetConnect, NetDenied, ProcessExec, ProcessExit, Prompt, PromptSource, RuleRef, RunEnded, RunStarted,
    Source, Stream, TestResult,
};
use cofferdam_core::{Bytes, RunId, Timestamp};
use cofferdam_evidence::{BlobStore, Log, RecorderKey, VerifierKey};
use tempfile::TempDir;

use super::Record;

/// A terminal's recording.
pub(super) const CAST: &[u8] = b"{\"version\":2,\"width\":80,\"height\":24}\n[0.1,\"o\",\"hi\\r\\n\"]\n";

/// Evidence in a temporary directory.
pub(super) struct Sample {
    _temporary: TempDir,
    evidence: PathBuf,
    pub id: RunId,
    pub key: RecorderKey,
    prompt: Option<BlobRef>,
}

pub(super) fn exec(pid: u32, argv: &[&[u8]]) -> EventKind {
    EventKind::ProcessExec(ProcessExec {
        pid,
        parent: 10,
        argv: argv.iter().map(|word| Bytes::from(*word)).collect(),
        executable: Executable { path: [b"/usr/bin/", argv[0]].concat().into(), digest: Some(Digest([9; 32])) },
        cwd: "/home/person/project".into(),
        ..ProcessExec::default()
    })
}

pub(super) fn exit(pid: u32, code: Option<i32>, signal: Option<i32>) -> EventKind {
    EventKind::ProcessExit(ProcessExit {
        pid,
        code,
        signal,
        microseconds: 1_234_567,
        memory: Some(2048),
        source: ExitSource::Pidfd,
    })
}

pub(super) fn output(stream: Stream, blob: BlobRef) -> EventKind {
    let source = if stream == Stream::Terminal { Source::Terminal } else { Source::Pipe };
    EventKind::CommandOutput(CommandOutput { stream, source, bytes: blob.size, dropped: 0, head: blob.size, blob })
}

pub(crate) fn connect(host: &str, port: u16, exchanges: u64, error: Option<&str>) -> EventKind {
    EventKind::NetConnect(NetConnect {
        connection: 1,
        host: host.to_owned(),
        port,
        mediation: Mediation::Http,
        address: Some(format!("192.0.2.1:{port}")),
        rule: Some(rule("person")),
        purpose: "fetch".to_owned(),
        sent: 10,
        received: 1000,
        milliseconds: 1,
        exchanges,
        error: error.map(str::to_owned),
    })
}

pub(crate) fn denial(host: &str, reason: &str) -> EventKind {
    EventKind::NetDenied(NetDenied {
        host: host.to_owned(),
        port: 443,
        scheme: "https".to_owned(),
        reason: reason.to_owned(),
        detail: "no rule".to_owned(),
        allow: Some("coffer run --allow x".to_owned()),
        ..NetDenied::default()
    })
}

pub(crate) fn exchange(method: &str, url: &str, purpose: &str) -> EventKind {
    EventKind::HttpExchange(Box::new(HttpExchange {
        connection: 1,
        method: method.to_owned(),
        url: url.to_owned(),
        version: "HTTP/1.1".to_owned(),
        status: Some(200),
        rule: rule("person"),
        purpose: purpose.to_owned(),
        request: vec![("host".to_owned(), "a.example".to_owned())],
        sent: Body::default(),
        response: vec![("content-type".to_owned(), "text/plain".to_owned())],
        received: Body { bytes: 5, ..Body::default() },
        answered: Some(900),
        microseconds: 1000,
        upgrade: None,
        changed: Vec::new(),
        error: None,
    }))
}

/// A rule of a layer.
pub(crate) fn rule(layer: &str) -> RuleRef {
    let file = (layer == "person").then(|| Bytes::from("/home/person/.config/cofferdam/policy.toml"));
    RuleRef { layer: layer.to_owned(), file, line: 3, name: None }
}

fn ended() -> EventKind {
    EventKind::RunEnded(RunEnded {
        reason: EndReason::Exited,
        code: Some(0),
        signal: None,
        milliseconds: 134_000,
        changed: 1,
        ignored: 0,
        execs: 4,
        memory: None,
        network: None,
        files: None,
    })
}

impl Sample {
    fn begin(argv: &[&[u8]]) -> (Sample, Log, BlobStore) {
        let temporary = tempfile::tempdir().unwrap();
        let evidence = temporary.path().join("evidence");
        let key = RecorderKey::generate().unwrap();
        let id = RunId::from_random([3; 12]);
        let started = RunStarted {
            run: id.clone(),
            version: "0.1.0".into(),
            project: "/home/person/project".into(),
            cwd: "/home/person/project".into(),
            argv: argv.iter().map(|word| Bytes::from(*word)).collect(),
            environment: vec!["PATH".into()],
            uid: 1000,
            host: "laptop".into(),
            kernel: "6.12.0".into(),
            plan: Digest([1; 32]),
            boundary: vec!["seccomp".into()],
            boot: "1b4e28ba-2fa1-11d2-883f-0016d3cca427".into(),
        };
        let log = Log::create(&evidence, &id, key.clone(), started).unwrap();
        let blobs = BlobStore::open(&evidence).unwrap();
        (Sample { _temporary: temporary, evidence, id, key, prompt: None }, log, blobs)
    }

    /// A run with nothing but its beginning and end.
    pub fn bare() -> Sample {
        Sample::with(Vec::new())
    }

    /// A run with these events before its end.
    pub fn with(events: Vec<EventKind>) -> Sample {
        Sample::built(&[b"agent"], |log, _| {
            for event in events {
                log.append(None, event).unwrap();
            }
        })
    }

    /// A run that `build` fills.
    pub fn built(argv: &[&[u8]], build: impl FnOnce(&mut Log, &BlobStore)) -> Sample {
        let (sample, mut log, blobs) = Sample::begin(argv);
        build(&mut log, &blobs);
        log.append(None, ended()).unwrap();
        log.checkpoint().unwrap();
        sample
    }

    /// A run that has not ended.
    pub fn unfinished() -> Sample {
        let (sample, mut log, _) = Sample::begin(&[b"agent"]);
        log.append(None, exec(11, &[b"agent"])).unwrap();
        log.checkpoint().unwrap();
        sample
    }

    /// A run with something of everything.
    pub fn whole() -> Sample {
        let (mut sample, mut log, blobs) = Sample::begin(&[b"agent", b"-p", b"fix it"]);
        let text = blobs.put(&b"fix it"[..]).unwrap();
        sample.prompt = Some(text.clone());
        let mut put = |cause: Option<(u64, Link)>, what| log.append(cause, what).unwrap();
        put(None, EventKind::Prompt(Prompt { source: PromptSource::Argument, bytes: 6, text }));
        put(Some((1, Link::Argv)), exec(11, &[b"agent", b"-p", b"fix it"]));
        put(Some((2, Link::Parent)), exec(12, &[b"cargo", b"test", b"f\xff"]));
        put(Some((3, Link::Parent)), exec(13, &[b"rustc", b"a.rs"]));
        put(Some((4, Link::Process)), exit(13, Some(0), None));
        let entry =
            Entry { kind: FileKind::File, mode: 0o644, size: 3, mtime: Timestamp(0), digest: Some(Digest([4; 32])) };
        let mut change = FileChanged::new("src/a.rs".into(), None, Some(entry));
        change.commands = vec![3];
        put(None, EventKind::FileChanged(change));
        let printed = blobs.put(&b"running 3 tests\ntests::broken FAILED\n"[..]).unwrap();
        put(Some((3, Link::Process)), output(Stream::Both, printed));
        let raw = blobs.put(&b"\xff\xfe\x00\x01 raw"[..]).unwrap();
        put(Some((3, Link::Process)), output(Stream::Stderr, raw));
        put(
            Some((3, Link::Process)),
            EventKind::TestResult(TestResult {
                framework: "cargo-test".into(),
                passed: 2,
                failed: 1,
                failing: vec!["tests::broken".into()],
                ..TestResult::default()
            }),
        );
        put(Some((3, Link::Process)), exit(12, Some(101), None));
        put(Some((2, Link::Parent)), exec(14, &[b"sleep", b"9"]));
        put(Some((11, Link::Process)), exit(14, None, Some(9)));
        put(Some((2, Link::Process)), exit(11, Some(0), None));
        put(None, EventKind::EvidenceGap { what: "outputs".into(), count: 2 });
        put(None, output(Stream::Terminal, blobs.put(CAST).unwrap()));
        put(None, ended());
        log.checkpoint().unwrap();
        sample
    }

    /// Removes the prompt's text; what was removed.
    pub fn remove_prompt(&self) -> BlobRef {
        let blob = self.prompt.clone().unwrap();
        BlobStore::open(&self.evidence).unwrap().remove(&blob, "private").unwrap();
        blob
    }

    pub fn dir(&self) -> &Path {
        &self.evidence
    }

    pub fn record(&self) -> Record {
        Record::open(&self.evidence, Some(&VerifierKey::parse(self.key.vkey(), "the key").unwrap())).unwrap()
    }
}
