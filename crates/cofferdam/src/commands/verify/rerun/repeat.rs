//! Repeating one command: the enclosure, what comes of it, and clearing it away.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use cofferdam_core::event::{EndReason, TestOutcome, TestResult};
use cofferdam_core::{Bytes, RunId};
use cofferdam_review::testrun;
use cofferdam_runtime::plan::{Host, new_run};
use cofferdam_runtime::promotion::{Held, layers};
use cofferdam_runtime::recover::recover;
use cofferdam_runtime::rerun::Recorded;
use cofferdam_runtime::secrets;
use cofferdam_runtime::store::{Run, Store, StoreError};
use rustix::process::Signal;

use super::child::{self, End, Left};
use super::{confined, shown};
use crate::failure::Failure;
use crate::output;

/// Variables that coffer sets in each enclosure.
const OWN: &[&[u8]] =
    &[b"COFFER_RUN", b"GIT_CONFIG_NOSYSTEM", b"GIT_CONFIG_SYSTEM", b"HOME", b"LOGNAME", b"PATH", b"SHELL", b"USER"];
/// The shortest time limit of itself.
const SHORTEST: Duration = Duration::from_secs(60);
/// The time limit of a command whose end is not recorded.
const UNKNOWN: Duration = Duration::from_secs(600);
/// How long the monitor of a repetition gets to settle it after its client ended.
const SETTLING: Duration = Duration::from_secs(60);
/// Most bytes of a report that are read.
const LARGEST_REPORT: u64 = 64 << 20;

/// Where commands are repeated.
pub(super) struct Workshop<'a> {
    host: &'a Host,
    store: &'a Store,
    run: &'a Run,
    /// Names of variables to pass.
    passed: Vec<Bytes>,
    /// Names that the run had and that are not set here.
    missing: Vec<Bytes>,
    signals: OwnedFd,
    interrupted: Cell<Option<i32>>,
}

/// What came of a repetition.
pub(super) enum Repeated {
    /// It ran.
    Done { run: RunId, now: TestOutcome, note: Option<String> },
    /// There was no run, and why.
    Not(String),
    /// The person ended it.
    Interrupted,
}

impl<'a> Workshop<'a> {
    /// `environment` holds the names of the variables that the run started with.
    pub(super) fn new(
        host: &'a Host,
        store: &'a Store,
        run: &'a Run,
        environment: &[Bytes],
    ) -> Result<Workshop<'a>, Failure> {
        let asked = environment.iter().filter(|name| !OWN.contains(&name.as_ref())).cloned();
        let is_set = |name: &Bytes| host.env.iter().any(|(set, _)| set == name);
        let (passed, missing) = asked.partition(is_set);
        let numbers = [Signal::INT, Signal::TERM, Signal::HUP].map(Signal::as_raw);
        let signals = cofferdam_sys::signals::signal_fd(&numbers)?;
        Ok(Workshop { host, store, run, passed, missing, signals, interrupted: Cell::new(None) })
    }

    /// Names of variables that the run had and a repetition has not.
    pub(super) fn missing(&self) -> &[Bytes] {
        &self.missing
    }

    /// The signal that ended the work.
    pub(super) fn interrupted(&self) -> Option<i32> {
        self.interrupted.get()
    }

    /// Repeats a command. Nothing of it stays but its evidence.
    pub(super) fn repeat(
        &self,
        command: &Recorded,
        timeout: Option<u64>,
        (number, total): (usize, usize),
    ) -> Result<Repeated, Failure> {
        let id = new_run()?;
        let limit = limit(command, timeout);
        let progress = Progress::new(format!("repeating {number} of {total}: {}", shown(&command.argv)), limit);
        let words = self.words(command, &id);
        let project = self.run.record.project.as_path();
        let left = child::run(&words, project, command.joined, limit, &self.signals, |so_far| progress.tick(so_far))
            .map_err(|e| Failure::new(format!("the repetition cannot be started or watched: {e}")))?;
        drop(progress);
        let settled = self.settled(&id)?;
        let Some(run) = settled else {
            return Ok(match left.end {
                End::Signal(signal) => {
                    self.interrupted.set(Some(signal));
                    Repeated::Interrupted
                }
                _ => Repeated::Not(why(&left)),
            });
        };
        let repeated = match left.end {
            End::Signal(signal) => {
                self.interrupted.set(Some(signal));
                Repeated::Interrupted
            }
            end => {
                let (mut now, mut note) = outcome(&run);
                if end == End::Late {
                    note = Some(format!("it took longer than {} and was ended", seconds(limit)));
                }
                now.results = confined(|| results(command, &left, &run))?;
                Repeated::Done { run: id, now, note }
            }
        };
        let unpromoted = run.record.ended.as_ref().map_or(0, |ended| ended.facts.changed);
        Held::take(run, secrets::of_host(self.host).secrets)?.discard(unpromoted)?;
        Ok(repeated)
    }

    fn words(&self, command: &Recorded, id: &RunId) -> Vec<OsString> {
        let run = &self.run.record;
        let mut words: Vec<OsString> = ["run", "--quiet", "--no-record-typing", "--from-purpose", "rerun", "--from"]
            .map(OsString::from)
            .into_iter()
            .chain([run.run.as_str().into(), "--id".into(), id.as_str().into()])
            .collect();
        let os = |bytes: &Bytes| OsString::from_vec(bytes.0.clone());
        words.extend(["--project".into(), os(&run.project), "--cwd".into(), os(&command.cwd)]);
        for name in &self.passed {
            words.extend(["--env".into(), os(name)]);
        }
        words.push("--".into());
        words.extend(command.argv.iter().map(os));
        words
    }

    /// The run of a repetition once nobody works on it any more; `None` where there was none.
    fn settled(&self, id: &RunId) -> Result<Option<Run>, Failure> {
        let begun = Instant::now();
        loop {
            let mut run = match self.store.find(id.as_str(), self.run.record.project.as_path()) {
                Ok(run) => run,
                Err(StoreError::Unknown(_)) => return Ok(None),
                Err(e) => return Err(e.into()),
            };
            if !run.is_live()? {
                recover(&mut run, || secrets::of_host(self.host).secrets)?;
                return Ok(run.record.ended.is_some().then_some(run));
            }
            if begun.elapsed() > SETTLING {
                return Err(Failure::new(format!("run {id}, the repetition, does not come to its end"))
                    .next("coffer list shows it; its monitor may wait for a disk"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn limit(command: &Recorded, timeout: Option<u64>) -> Duration {
    let recorded = command.was.milliseconds.map(Duration::from_millis);
    match (timeout, recorded) {
        (Some(seconds), _) => Duration::from_secs(seconds),
        (None, Some(recorded)) => recorded.saturating_mul(10).max(SHORTEST),
        (None, None) => UNKNOWN,
    }
}

fn seconds(limit: Duration) -> String {
    output::duration(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
}

/// Why there was no run, in coffer's own words: nothing of the command's was printed yet.
fn why(left: &Left) -> String {
    let printed = if left.stderr.head.is_empty() { &left.stdout.head } else { &left.stderr.head };
    let text = String::from_utf8_lossy(printed);
    let line = text.lines().next().unwrap_or("coffer run said nothing");
    line.strip_prefix("coffer: ").unwrap_or(line).to_owned()
}

/// How the command ended, by the record of its run.
fn outcome(run: &Run) -> (TestOutcome, Option<String>) {
    let Some(ended) = run.record.ended.as_ref().map(|ended| &ended.facts) else {
        return (TestOutcome::default(), Some("its run has no end".to_owned()));
    };
    let now = TestOutcome {
        code: ended.code,
        signal: ended.signal,
        milliseconds: Some(ended.milliseconds),
        results: Vec::new(),
    };
    let note = match ended.reason {
        EndReason::Exited => None,
        EndReason::NotExecuted => Some("its program cannot be executed there now".to_owned()),
        _ => Some("its enclosure was ended from outside".to_owned()),
    };
    (now, note)
}

/// What its output and its reports say of tests.
fn results(command: &Recorded, left: &Left, run: &Run) -> Result<Vec<TestResult>, Failure> {
    cofferdam_enclosure::confine_reader(&[&run.directory, run.record.project.as_path()])?;
    let mut all = testrun::recognise(&command.argv, &left.stdout.head, &left.stdout.tail);
    all.extend(testrun::recognise(&command.argv, &left.stderr.head, &left.stderr.tail));
    let mut reports = command.was.results.iter().filter_map(|result| result.report.as_ref()).peekable();
    if reports.peek().is_none() {
        return Ok(all);
    }
    let layers = layers(run)?;
    for path in reports {
        // Where it wrote none, the recorded one has no counterpart, and that is said.
        let Ok(file) = layers.open_new(path) else { continue };
        let mut content = Vec::new();
        file.take(LARGEST_REPORT).read_to_end(&mut content)?;
        all.extend(testrun::report(path, &content));
    }
    Ok(all)
}

/// A line that says what is going on, from the second second on, on a terminal only.
struct Progress {
    bar: std::cell::RefCell<Option<indicatif::ProgressBar>>,
    text: String,
    limit: Duration,
}

impl Progress {
    fn new(text: String, limit: Duration) -> Progress {
        Progress { bar: std::cell::RefCell::new(None), text, limit }
    }

    fn tick(&self, so_far: Duration) {
        if so_far < Duration::from_secs(1) {
            return;
        }
        let mut bar = self.bar.borrow_mut();
        let bar = bar.get_or_insert_with(indicatif::ProgressBar::new_spinner);
        bar.set_message(format!("{}  {} of at most {}", self.text, seconds(so_far), seconds(self.limit)));
        bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get_mut() {
            bar.finish_and_clear();
        }
    }
}
