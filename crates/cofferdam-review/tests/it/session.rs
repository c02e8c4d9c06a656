//! A synthetic agent session: what the recorders would write of it, seeded.

use std::path::Path;

use cofferdam_core::change::{Digest, Entry, FileKind};
use cofferdam_core::event::{
    BlobRef, Body, CommandOutput, Cost, EndReason, Event, EventKind, Executable, ExitSource, FileChanged, HttpExchange,
    Link, ModelRequest, ModelResponse, NetDenied, ProcessExec, ProcessExit, Prompt, PromptSource, Protocol, RuleRef,
    RunEnded, RunStarted, Source, Stream, StreamKind, TestResult, ToolCall, ToolResult, Usage,
};
use cofferdam_core::{Bytes, RunId, Timestamp};
use cofferdam_evidence::{BlobStore, Log, RecorderKey};

pub const PROJECT: &str = "/home/dev/src/app";

/// Builds events one after another.
pub struct Session {
    pub run: RunId,
    pub events: Vec<Event>,
    clock: i64,
    pid: u32,
    store: Option<BlobStore>,
    blobs: u64,
    requests: u64,
    versions: std::collections::HashMap<String, Entry>,
}

/// A process that runs.
#[derive(Clone, Copy)]
pub struct Running {
    pub seq: u64,
    pub pid: u32,
    since: i64,
}

impl Session {
    /// The run of an agent; outputs go into the blobs of `evidence`, where there is one.
    pub fn new(argv: &[&str], evidence: Option<&Path>) -> Session {
        Session::named(RunId::from_random([7; 12]), argv, evidence)
    }

    pub fn named(run: RunId, argv: &[&str], evidence: Option<&Path>) -> Session {
        let store = evidence.map(|dir| {
            std::fs::create_dir_all(dir).unwrap();
            BlobStore::open(dir).unwrap()
        });
        let mut session = Session {
            run: run.clone(),
            events: Vec::new(),
            clock: 1_795_527_601_000_000_000,
            pid: 100,
            store,
            blobs: 0,
            requests: 0,
            versions: Default::default(),
        };
        session.push(None, started(&run, argv));
        session
    }

    pub fn push(&mut self, cause: Option<(u64, Link)>, what: EventKind) -> u64 {
        let seq = self.events.len() as u64;
        self.clock += 250_000;
        let (cause, link) = cause.unzip();
        self.events.push(Event { seq, time: Timestamp(self.clock), cause, link, what });
        seq
    }

    pub fn wait(&mut self, milliseconds: i64) {
        self.clock += milliseconds * 1_000_000;
    }

    pub fn blob(&mut self, content: &[u8]) -> BlobRef {
        if let Some(store) = &self.store {
            return store.put(content).unwrap();
        }
        self.blobs += 1;
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.blobs.to_be_bytes());
        BlobRef { digest: Digest(digest), size: content.len() as u64 }
    }

    pub fn exec(&mut self, parent: Option<Running>, argv: &[&str]) -> Running {
        self.exec_raw(parent, argv.iter().map(|w| Bytes::from(*w)).collect(), "/usr/bin/", Link::Parent)
    }

    pub fn exec_raw(&mut self, parent: Option<Running>, argv: Vec<Bytes>, dir: &str, link: Link) -> Running {
        let pid = match (link, parent) {
            (Link::Process, Some(parent)) => parent.pid,
            _ => {
                self.pid += 1;
                self.pid
            }
        };
        let base = argv.first().map_or(Vec::new(), |a| a.0.rsplit(|b| *b == b'/').next().unwrap().to_vec());
        let what = EventKind::ProcessExec(ProcessExec {
            pid,
            parent: parent.map_or(1, |p| p.pid),
            executable: Executable { path: Bytes([dir.as_bytes(), &base].concat()), digest: Some(Digest([3; 32])) },
            argv,
            cwd: PROJECT.into(),
            streams: [StreamKind::Null, StreamKind::Pipe, StreamKind::Pipe],
            ..ProcessExec::default()
        });
        let seq = self.push(parent.map(|p| (p.seq, link)), what);
        Running { seq, pid, since: self.clock }
    }

    pub fn exit(&mut self, process: Running, code: i32) -> u64 {
        let what = EventKind::ProcessExit(ProcessExit {
            pid: process.pid,
            code: Some(code),
            signal: None,
            microseconds: u64::try_from((self.clock - process.since) / 1000).unwrap(),
            memory: Some(4096),
            source: ExitSource::Pidfd,
        });
        self.push(Some((process.seq, Link::Process)), what)
    }

    pub fn output(&mut self, process: Running, stream: Stream, text: &[u8]) {
        let blob = self.blob(text);
        let what = EventKind::CommandOutput(CommandOutput {
            stream,
            source: Source::Pipe,
            bytes: blob.size,
            dropped: 0,
            head: blob.size,
            blob,
        });
        self.push(Some((process.seq, Link::Process)), what);
    }

    pub fn tests(&mut self, process: Running, framework: &str, passed: u64, failing: &[&str]) {
        let what = EventKind::TestResult(TestResult {
            framework: framework.into(),
            passed,
            failed: failing.len() as u64,
            failing: failing.iter().map(|n| (*n).to_owned()).collect(),
            ..TestResult::default()
        });
        self.push(Some((process.seq, Link::Process)), what);
    }

    /// A new content of a path; `None` deletes it.
    pub fn file(&mut self, path: &str, content: Option<&[u8]>, commands: &[u64]) -> u64 {
        let before = self.versions.get(path).cloned();
        let after = content.map(|content| entry(content, self.clock));
        let version = content.map(|content| self.blob(content));
        match &after {
            Some(entry) => drop(self.versions.insert(path.to_owned(), entry.clone())),
            None => drop(self.versions.remove(path)),
        }
        let change = FileChanged { path: path.into(), before, after, commands: commands.to_vec(), version };
        let cause = commands.first().map(|seq| (*seq, Link::Window));
        self.push(cause, EventKind::FileChanged(change))
    }

    /// What a path held before the run.
    pub fn base(&mut self, path: &str, content: &[u8]) {
        self.versions.insert(path.to_owned(), entry(content, 0));
    }

    pub fn prompt(&mut self, text: &str) {
        let blob = self.blob(text.as_bytes());
        let what = EventKind::Prompt(Prompt { source: PromptSource::Argument, bytes: blob.size, text: blob });
        self.push(None, what);
    }

    /// What the network of the `n`th command might be: a few requests to one of some hosts, and at times a denial.
    pub fn reach(&mut self, process: Running, n: usize) {
        let cause = Some((process.seq, Link::Socket));
        let host = ["registry.example", "api.example", "git.example"][n % 3];
        let rule = RuleRef { layer: "person".into(), file: Some("/p/policy.toml".into()), line: 3, name: None };
        for request in 0..n % 4 {
            let exchange = HttpExchange {
                connection: n as u64,
                method: "GET".into(),
                url: format!("https://{host}/{n}/{request}"),
                version: "HTTP/1.1".into(),
                status: Some(200),
                rule: rule.clone(),
                purpose: "fetch packages".into(),
                request: Vec::new(),
                sent: Body::default(),
                response: Vec::new(),
                received: Body::default(),
                answered: Some(10),
                microseconds: 20,
                upgrade: None,
                changed: Vec::new(),
                error: None,
            };
            self.push(cause, EventKind::HttpExchange(Box::new(exchange)));
        }
        if n.is_multiple_of(7) {
            let denied = NetDenied {
                host: format!("{}.example", HOSTILE[n % HOSTILE.len()]),
                port: 443,
                scheme: "https".into(),
                reason: "no-rule".into(),
                detail: "no rule is about this host".into(),
                ..NetDenied::default()
            };
            self.push(cause, EventKind::NetDenied(denied));
        }
    }

    /// A request to a model, and its answer with a text, where there is one. Returns the number of the request.
    pub fn ask(&mut self, text: Option<&str>) -> u64 {
        self.requests += 1;
        let request = self.requests;
        let asked = ModelRequest {
            request,
            connection: 1,
            host: "api.model.example".into(),
            provider: "anthropic".into(),
            protocol: Protocol::AnthropicMessages,
            model: "claude-test-4".into(),
            asked: None,
            stream: true,
            messages: 1,
            new: 1,
            tools: vec!["Bash".into(), "Write".into()],
            removed: Vec::new(),
            most: None,
            body: Body::default(),
        };
        let seq = self.push(None, EventKind::ModelRequest(Box::new(asked)));
        self.wait(900);
        let text = text.map(|text| self.blob(text.as_bytes()));
        let answer = ModelResponse {
            request,
            status: Some(200),
            bytes: text.as_ref().map_or(0, |text| text.size),
            text,
            usage: Some(Usage { input: 100, cached: 1000, output: 50, ..Usage::default() }),
            cost: Some(Cost { micro_usd: 1500, prices: "2026-11-24".into() }),
            microseconds: 900_000,
            ..ModelResponse::default()
        };
        self.push(Some((seq, Link::Exchange)), EventKind::ModelResponse(Box::new(answer)));
        request
    }

    /// A tool call of the last answer. Returns its event.
    pub fn call(&mut self, id: &str, name: &str, arguments: &serde_json::Value) -> u64 {
        let text = arguments.to_string();
        let blob = self.blob(text.as_bytes());
        let answer = self.events.iter().rposition(|e| matches!(e.what, EventKind::ModelResponse(_))).unwrap() as u64;
        let call = ToolCall {
            request: self.requests,
            id: id.into(),
            name: name.into(),
            bytes: blob.size,
            arguments: Some(blob),
        };
        self.push(Some((answer, Link::Exchange)), EventKind::ToolCall(call))
    }

    /// What the model is told of a call, by the request that comes next.
    pub fn told(&mut self, call: u64, text: &[u8], error: bool) -> u64 {
        let EventKind::ToolCall(ToolCall { id, .. }) = self.events[call as usize].what.clone() else {
            panic!("no call")
        };
        let blob = self.blob(text);
        let result = ToolResult { request: self.requests + 1, id, error, bytes: blob.size, content: Some(blob) };
        self.push(Some((call, Link::Id)), EventKind::ToolResult(result))
    }

    pub fn end(&mut self, code: i32) {
        let began = self.events[0].time.0;
        let what = EventKind::RunEnded(RunEnded {
            reason: EndReason::Exited,
            code: Some(code),
            signal: None,
            milliseconds: u64::try_from((self.clock - began) / 1_000_000).unwrap(),
            changed: 0,
            files: None,
            ignored: 0,
            execs: self.events.iter().filter(|e| matches!(e.what, EventKind::ProcessExec(_))).count() as u64,
            memory: None,
            network: None,
        });
        self.push(Some((0, Link::Parent)), what);
    }

    /// Writes the log, signed.
    pub fn write(&self, evidence: &Path, key: RecorderKey) {
        let EventKind::RunStarted(started) = self.events[0].what.clone() else { panic!("no beginning") };
        let mut log = Log::create(evidence, &self.run, key, started).unwrap();
        for event in &self.events[1..] {
            let seq = log.append(event.cause.zip(event.link), event.what.clone()).unwrap();
            assert_eq!(seq, event.seq);
        }
        log.checkpoint().unwrap();
        log.close().unwrap();
    }
}

pub fn entry(content: &[u8], time: i64) -> Entry {
    Entry {
        kind: FileKind::File,
        mode: 0o644,
        size: content.len() as u64,
        mtime: Timestamp(time),
        digest: Some(digest(content)),
    }
}

/// SHA-256 as the recorders have it.
pub fn digest(content: &[u8]) -> Digest {
    use sha2::Digest as _;
    Digest(sha2::Sha256::digest(content).into())
}

pub fn started(run: &RunId, argv: &[&str]) -> EventKind {
    EventKind::RunStarted(RunStarted {
        run: run.clone(),
        version: "0.1.0".into(),
        project: PROJECT.into(),
        cwd: PROJECT.into(),
        argv: argv.iter().map(|w| Bytes::from(*w)).collect(),
        environment: vec!["PATH".into()],
        uid: 1000,
        host: "host".into(),
        kernel: "6.18.0".into(),
        plan: Digest([1; 32]),
        boundary: vec!["seccomp".into()],
        boot: "boot".into(),
    })
}

/// How an agent's shell tool starts a command.
pub fn by_shell(session: &mut Session, agent: Running, command: &str) -> Running {
    let script = format!(
        "source /root/.claude/shell-snapshots/s.sh && shopt -u extglob 2>/dev/null || true && eval '{}' \\< /dev/null && \
         pwd -P >| /tmp/claude-1-cwd",
        command.replace('\'', "'\\''")
    );
    session.exec(Some(agent), &["/bin/bash", "-c", "-l", &script])
}

/// Text that would like to be more than text.
pub const HOSTILE: &[&str] = &[
    "\x1b[2J\x1b[H\x1b]0;owned\x07",
    "\n{\"seq\":9,\"time\":\"2026-11-24T13:40:01.000000000Z\",\"kind\":\"run.ended\",\"data\":{}}\n",
    "\u{202e}gpj.exe\u{2066}",
    "\u{9b}31m\r\x08\x08 ok",
    "\u{200b}\u{e0041}",
];

/// A session of so many commands: repeats, failures, fixes, builds, tests, looking around, hostile names.
pub fn generated(seed: u64, commands: usize, evidence: Option<&Path>) -> Session {
    generated_as(RunId::from_random([7; 12]), seed, commands, evidence)
}

/// As [`generated`], of this run.
pub fn generated_as(run: RunId, seed: u64, commands: usize, evidence: Option<&Path>) -> Session {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut s = Session::named(run, &["claude", "-p", "fix the flaky test"], evidence);
    let agent = s.exec(None, &["claude", "-p", "fix the flaky test"]);
    s.prompt("fix the flaky test\nand tell me why it was flaky");
    let fail_rate = random.u32(5..60);
    let prompt_rate = random.usize(20..400);
    for n in 0..commands {
        s.wait(random.i64(1..900));
        if n % prompt_rate == prompt_rate - 1 {
            s.prompt(&format!("now do part {n} {}", random.choice(HOSTILE).unwrap()));
        }
        let fails = random.u32(0..100) < fail_rate;
        match random.u32(0..100) {
            0..40 => {
                let look = ["ls -la", "cat src/main.rs | head -50", "rg -n flaky src", "git status", "git diff HEAD~1"];
                let c = by_shell(&mut s, agent, random.choice(look).unwrap());
                s.output(c, Stream::Stdout, b"a few\nlines of\noutput\n");
                s.exit(c, i32::from(fails && random.bool()));
            }
            40..55 => {
                let content = format!("fn main() {{ {} }}\n", random.u32(..));
                s.file(&format!("src/f{}.rs", random.u32(0..20)), Some(content.as_bytes()), &[agent.seq]);
                let c = by_shell(&mut s, agent, &format!("sed -i s/{n}/x/ src/f1.rs"));
                s.file("src/f1.rs", Some(format!("{n}\n").as_bytes()), &[c.seq, agent.seq]);
                s.exit(c, 0);
            }
            55..70 => {
                let c = by_shell(&mut s, agent, "cargo test --lib");
                let cargo = s.exec(Some(c), &["cargo", "test", "--lib"]);
                for _ in 0..random.usize(0..5) {
                    let rustc = s.exec(Some(cargo), &["rustc", "--crate-name", "x"]);
                    s.wait(random.i64(5..300));
                    s.exit(rustc, 0);
                }
                let failing: &[&str] = if fails { &["cache::expires", "cache::evicts"] } else { &[] };
                s.output(c, Stream::Both, b"running 214 tests\ntest cache::expires ... FAILED\nfailures:\n");
                s.tests(c, "cargo-test", 212, failing);
                s.exit(cargo, if fails { 101 } else { 0 });
                s.exit(c, if fails { 101 } else { 0 });
            }
            70..80 => {
                let c = by_shell(&mut s, agent, "make -j4 all");
                let make = s.exec(Some(c), &["make", "-j4", "all"]);
                for file in 0..random.usize(1..6) {
                    let sh = s.exec(Some(make), &["/bin/sh", "-c", &format!("cc -O2 -c f{file}.c")]);
                    let cc = s.exec_raw(Some(sh), vec!["cc".into(), "-O2".into()], "/usr/bin/", Link::Process);
                    let assembler = s.exec(Some(cc), &["as", "-o", "x.o"]);
                    s.exit(assembler, 0);
                    s.exit(cc, i32::from(fails && file == 0));
                }
                s.output(c, Stream::Stderr, b"f0.c:3:1: error: expected ';'\n");
                s.exit(make, if fails { 2 } else { 0 });
                s.exit(c, if fails { 2 } else { 0 });
            }
            80..90 => {
                let text = random.choice(HOSTILE).unwrap();
                let words = vec!["python3".into(), "-c".into(), Bytes::from(*text), Bytes(vec![0xff, 0xfe, 0x1b])];
                let c = s.exec_raw(Some(agent), words, "/usr/bin/", Link::Parent);
                s.output(c, Stream::Stderr, format!("Traceback {text}\n{text}").as_bytes());
                s.file(&format!("dir/{text}"), Some(b"x"), &[c.seq]);
                s.tests(c, text, 1, &[text]);
                s.exit(c, i32::from(fails));
            }
            _ => {
                let word = ["npm install", "curl -s https://example.org", "git commit -qm work", "python3 tool.py"];
                let c = by_shell(&mut s, agent, random.choice(word).unwrap());
                s.wait(random.i64(0..4000));
                s.reach(c, n);
                s.exit(c, if fails { 7 } else { 0 });
            }
        }
    }
    s.wait(100);
    s.exit(agent, 0);
    s.end(0);
    s
}
