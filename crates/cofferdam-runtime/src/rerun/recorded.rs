//! The test commands of a run, found in its log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use cofferdam_core::event::{Event, EventKind, Link, ProcessExec, Stream, StreamKind, TestOutcome, TestResult};
use cofferdam_core::{Bytes, Timestamp};
use cofferdam_evidence::read_events;

use super::Obstacle;

/// Variables that shells set by themselves.
const SHELLS_OWN: &[&[u8]] = &[b"_", b"OLDPWD", b"PWD", b"SHLVL"];

/// A recorded test command.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its `process.exec`.
    pub command: u64,
    /// The words to repeat it with: as recorded, but for the program, which is named by the path that was executed.
    pub argv: Vec<Bytes>,
    /// Where it ran.
    pub cwd: Bytes,
    /// How it ended and what its tests said.
    pub was: TestOutcome,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; of a command without an end, the end of the run.
    pub ended: Timestamp,
    /// Whether its output and error went to one place.
    pub joined: bool,
    /// Whether it could read something on standard input, which is not recorded.
    pub input: bool,
    /// Names of variables that were set inside after the run's start: their values are not recorded.
    pub variables: Vec<Bytes>,
    /// Why it cannot be repeated, where it cannot.
    pub obstacle: Option<Obstacle>,
}

/// What of a log matters for repeating its test commands.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// The commands, in the order of their last execution.
    pub commands: Vec<Recorded>,
    /// Names of the variables that the run started with.
    pub environment: Vec<Bytes>,
}

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    /// The log.
    #[error(transparent)]
    Log(#[from] cofferdam_evidence::Error),
}

/// Finds the test commands of a run: those whose output or report was recognised as that of tests. Of commands inside each
/// other the outermost counts, a known agent being none; of executions with equal arguments and directory the last. Reads
/// the log twice and keeps, beside the commands, two numbers an exec.
///
/// # Errors
/// [`RecordedError`]
pub fn recorded(evidence: &Path) -> Result<Recording, RecordedError> {
    let outline = Outline::read(evidence)?;
    let mut wanted: BTreeSet<u64> = BTreeSet::new();
    for command in outline.results.keys() {
        wanted.extend(outline.ancestors(*command));
    }
    let mut execs: HashMap<u64, (Timestamp, ProcessExec)> = HashMap::new();
    for event in read_events(evidence)? {
        let event = event?;
        if let EventKind::ProcessExec(exec) = event.what
            && wanted.contains(&event.seq)
        {
            execs.insert(event.seq, (event.time, exec));
        }
    }
    let is_agent = |seq: &u64| execs.get(seq).is_some_and(|(_, exec)| cofferdam_models::profile::is_known(&exec.argv));
    let tests: BTreeSet<u64> = outline.results.keys().copied().filter(|seq| !is_agent(seq)).collect();
    let mut last: HashMap<(Vec<Bytes>, Bytes), Recorded> = HashMap::new();
    for command in &tests {
        if outline.ancestors(*command).skip(1).any(|outer| tests.contains(&outer)) {
            continue;
        }
        let Some((began, exec)) = execs.get(command) else { continue };
        let recorded = outline.recorded(*command, *began, exec, &execs);
        last.insert((exec.argv.clone(), exec.cwd.clone()), recorded);
    }
    let mut commands: Vec<Recorded> = last.into_values().collect();
    commands.sort_by_key(|recorded| recorded.command);
    Ok(Recording { commands, environment: outline.environment })
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
struct Exit {
    time: Timestamp,
    code: Option<i32>,
    signal: Option<i32>,
}

/// What is kept of the first reading.
#[derive(Debug, Default)]
struct Outline {
    environment: Vec<Bytes>,
    /// The cause of each exec, where it is an exec.
    causes: HashMap<u64, (u64, bool)>,
    execs: BTreeSet<u64>,
    results: BTreeMap<u64, Vec<TestResult>>,
    exits: HashMap<u64, Exit>,
    joined: BTreeSet<u64>,
    over: Timestamp,
}

impl Outline {
    fn read(evidence: &Path) -> Result<Outline, RecordedError> {
        let mut outline = Outline::default();
        for event in read_events(evidence)? {
            outline.take(event?);
        }
        Ok(outline)
    }

    fn take(&mut self, event: Event) {
        let Event { seq, time, cause, link, what } = event;
        match (what, cause) {
            (EventKind::RunStarted(started), _) => self.environment = started.environment,
            (EventKind::RunEnded(_), _) => self.over = time,
            (EventKind::ProcessExec(_), cause) => {
                self.execs.insert(seq);
                if let Some(cause) = cause.filter(|cause| self.execs.contains(cause)) {
                    self.causes.insert(seq, (cause, link == Some(Link::Process)));
                }
            }
            (EventKind::TestResult(result), Some(cause)) if self.execs.contains(&cause) => {
                self.results.entry(cause).or_default().push(result);
            }
            (EventKind::CommandOutput(output), Some(cause)) if output.stream == Stream::Both => {
                self.joined.insert(cause);
            }
            (EventKind::ProcessExit(exit), Some(cause)) => {
                let exit = Exit { time, code: exit.code, signal: exit.signal };
                // The end of a process is that of every program it executed, one after another.
                let mut at = Some(cause);
                while let Some(exec) = at {
                    self.exits.insert(exec, exit);
                    at = self.causes.get(&exec).filter(|(_, same)| *same).map(|(cause, _)| *cause);
                }
            }
            _ => {}
        }
    }

    /// A command and those around it, itself first.
    fn ancestors(&self, command: u64) -> impl Iterator<Item = u64> + '_ {
        // A cause is always earlier: this ends.
        std::iter::successors(Some(command), |seq| self.causes.get(seq).map(|(cause, _)| *cause))
    }

    fn recorded(
        &self,
        command: u64,
        began: Timestamp,
        exec: &ProcessExec,
        execs: &HashMap<u64, (Timestamp, ProcessExec)>,
    ) -> Recorded {
        let exit = self.exits.get(&command);
        let milliseconds = exit.map(|exit| u64::try_from((exit.time.0 - began.0) / 1_000_000).unwrap_or(0));
        let mut variables: Vec<Bytes> = self
            .ancestors(command)
            .filter_map(|seq| execs.get(&seq)?.1.environment.as_ref())
            .flat_map(|change| change.added.iter().cloned())
            .filter(|name| !SHELLS_OWN.contains(&name.as_ref()) && !self.environment.contains(name))
            .collect();
        variables.sort();
        variables.dedup();
        let was = TestOutcome {
            code: exit.and_then(|exit| exit.code),
            signal: exit.and_then(|exit| exit.signal),
            milliseconds,
            results: self.results.get(&command).cloned().unwrap_or_default(),
        };
        Recorded {
            command,
            argv: words(exec),
            cwd: exec.cwd.clone(),
            was,
            began,
            ended: exit.map_or(self.over, |exit| exit.time),
            joined: self.joined.contains(&command),
            input: matches!(exec.streams[0], StreamKind::Pipe | StreamKind::Socket | StreamKind::File),
            variables,
            obstacle: Obstacle::of(exec),
        }
    }
}

/// The arguments, the program by the path that was executed: the caller's PATH is not recorded.
fn words(exec: &ProcessExec) -> Vec<Bytes> {
    let mut argv = exec.argv.clone();
    let base = |path: &[u8]| path.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
    if let Some(first) = argv.first_mut().filter(|first| !first.0.contains(&b'/')) {
        let given = exec.given.as_ref().filter(|given| given.0.starts_with(b"/"));
        let executed = Some(&exec.executable.path).filter(|path| path.0.starts_with(b"/"));
        if let Some(path) = given.or(executed).filter(|path| base(&path.0) == base(&first.0)) {
            *first = path.clone();
        }
    }
    argv
}

#[cfg(test)]
mod tests {
    use cofferdam_core::RunId;
    use cofferdam_core::change::Digest;
    use cofferdam_core::event::{EnvironmentChange, Executable, ExitSource, ProcessExit, RunStarted};
    use cofferdam_evidence::{Log, RecorderKey};

    use super::*;

    /// A log that is written as the recorder would.
    struct Desk {
        dir: tempfile::TempDir,
        log: Log,
    }

    impl Desk {
        fn new() -> Desk {
            let dir = tempfile::tempdir().unwrap();
            let key = RecorderKey::load_or_create(&dir.path().join("keys")).unwrap();
            let run = RunId::from_random([7; 12]);
            let started = RunStarted {
                run: run.clone(),
                version: String::new(),
                project: "/p".into(),
                cwd: "/p".into(),
                argv: vec![],
                environment: vec!["PATH".into()],
                uid: 0,
                host: String::new(),
                kernel: String::new(),
                plan: Digest([0; 32]),
                boundary: vec![],
                boot: String::new(),
            };
            let log = Log::create(&dir.path().join("evidence"), &run, key, started).unwrap();
            Desk { dir, log }
        }

        fn exec(&mut self, cause: u64, link: Link, words: &[&str]) -> u64 {
            let argv = words.iter().map(|word| Bytes::from(*word)).collect();
            let executable = Executable { path: "/usr/bin/python3.11".into(), digest: None };
            let added = vec!["PATH".into(), "DEBUG".into(), "PWD".into()];
            let environment = Some(EnvironmentChange { added, removed: vec![] });
            let given = Some("/p/.venv/bin/python".into());
            let exec = ProcessExec { argv, executable, given, environment, cwd: "/p".into(), ..ProcessExec::default() };
            self.log.append(Some((cause, link)), EventKind::ProcessExec(exec)).unwrap()
        }

        fn result(&mut self, cause: u64, passed: u64) {
            let result = TestResult { framework: "pytest".into(), passed, ..TestResult::default() };
            self.log.append(Some((cause, Link::Process)), EventKind::TestResult(result)).unwrap();
        }

        fn exit(&mut self, cause: u64, code: i32) {
            let exit = ProcessExit {
                pid: 1,
                code: Some(code),
                signal: None,
                microseconds: 5,
                memory: None,
                source: ExitSource::Pidfd,
            };
            self.log.append(Some((cause, Link::Process)), EventKind::ProcessExit(exit)).unwrap();
        }

        fn read(&self) -> Vec<Recorded> {
            recorded(&self.dir.path().join("evidence")).unwrap().commands
        }
    }

    #[test]
    fn the_outermost_command_counts_and_its_last_execution() {
        let mut desk = Desk::new();
        let agent = desk.exec(0, Link::Parent, &["claude", "-p", "fix it"]);
        for passed in [1, 2] {
            let make = desk.exec(agent, Link::Parent, &["make", "test"]);
            let pytest = desk.exec(make, Link::Parent, &["pytest"]);
            desk.result(pytest, passed);
            desk.result(make, passed);
            desk.exit(pytest, 0);
            desk.exit(make, 0);
        }
        desk.result(agent, 2);
        desk.exit(agent, 0);
        let found = desk.read();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].argv, ["make".into(), "test".into()]);
        assert_eq!((found[0].was.results[0].passed, found[0].was.code), (2, Some(0)));
    }

    #[test]
    fn a_shell_that_becomes_its_command_ends_with_it() {
        let mut desk = Desk::new();
        let shell = desk.exec(0, Link::Parent, &["sh", "-c", "exec python t.py"]);
        let python = desk.exec(shell, Link::Process, &["python", "t.py"]);
        desk.result(shell, 3);
        desk.exit(python, 4);
        let found = desk.read();
        assert_eq!((found[0].command, found[0].was.code), (shell, Some(4)));
        assert!(found[0].was.milliseconds.is_some());
    }

    #[test]
    fn the_program_is_named_by_the_path_that_was_executed() {
        let mut desk = Desk::new();
        let bare = desk.exec(0, Link::Parent, &["python", "t.py"]);
        let other = desk.exec(0, Link::Parent, &["something", "else"]);
        [bare, other].into_iter().for_each(|seq| desk.result(seq, 1));
        let found = desk.read();
        assert_eq!(found[0].argv[0], "/p/.venv/bin/python".into());
        assert_eq!(found[1].argv[0], "something".into(), "the name says what the program is to be");
        assert_eq!(found[0].variables, ["DEBUG".into()]);
        assert_eq!((found[0].was.code, found[0].was.milliseconds), (None, None), "no end is recorded");
    }
}
