//! The runs of a store, those among them whose record is damaged too.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use cofferdam_core::event::{Event, EventKind};
use cofferdam_core::{Bytes, RunId, Timestamp};

use crate::store::{Run, Store, StoreError, doing, read_record};

/// Longest first line of a log that is read, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// What lies in a store.
#[derive(Debug, Default)]
pub struct Listing {
    /// Runs, newest first.
    pub runs: Vec<Run>,
    /// Runs whose `run.json` does not read.
    pub broken: Vec<Broken>,
}

/// A run whose `run.json` does not read.
#[derive(Debug)]
pub struct Broken {
    /// The run, by the name of its directory.
    pub run: RunId,
    /// What is wrong, and with which file.
    pub error: StoreError,
    /// The project and start that its log tells; `None` where the log does not read either.
    started: Option<(Bytes, Timestamp)>,
}

impl Broken {
    /// Whether it may be a run of this project.
    pub fn may_be_of(&self, project: &Path) -> bool {
        self.started.as_ref().is_none_or(|(its, _)| its.as_path() == project)
    }
}

impl Listing {
    /// The newest run of `project` that is `wanted`.
    ///
    /// # Errors
    /// Where a damaged one may be it: an older run must not pass for the latest. What `wanted` returns.
    pub fn latest<E: From<StoreError>>(
        self,
        project: &Path,
        mut wanted: impl FnMut(&Run) -> Result<bool, E>,
    ) -> Result<Option<Run>, E> {
        let mut latest = None;
        for run in self.runs {
            if run.record.project.as_path() == project && wanted(&run)? {
                latest = Some(run);
                break;
            }
        }
        let newer = |broken: &Broken| match (&broken.started, &latest) {
            (Some((_, started)), Some(run)) => *started >= run.record.started,
            _ => true,
        };
        match self.broken.into_iter().find(|broken| broken.may_be_of(project) && newer(broken)) {
            Some(broken) => Err(broken.error.into()),
            None => Ok(latest),
        }
    }

    /// The one whose id begins with `prefix`.
    ///
    /// # Errors
    /// Where there is none, more than one, or its record is damaged.
    pub fn named(self, prefix: &str) -> Result<Run, StoreError> {
        let runs = self.runs.into_iter().map(|run| (run.record.run.clone(), Ok(run)));
        let all = runs.chain(self.broken.into_iter().map(|broken| (broken.run, Err(broken.error))));
        let mut hits: Vec<_> = all.filter(|(id, _)| id.as_str().starts_with(prefix)).collect();
        match (hits.pop(), hits.len()) {
            (None, _) => Err(StoreError::Unknown(prefix.to_owned())),
            (Some((_, run)), 0) => run,
            (Some((last, _)), _) => Err(StoreError::Ambiguous {
                prefix: prefix.to_owned(),
                candidates: hits.iter().map(|(id, _)| id).chain([&last]).map(ToString::to_string).collect(),
            }),
        }
    }
}

impl Store {
    /// All runs. A directory that is not a run, or of one that never began, is passed over.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn runs(&self) -> Result<Listing, StoreError> {
        let dir = self.root().join("runs");
        let entries = match dir.read_dir() {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
            Err(e) => return Err(doing("reading", &dir)(e)),
        };
        let mut found = Listing::default();
        for entry in entries {
            let entry = entry.map_err(doing("reading", &dir))?;
            let Some(id) = entry.file_name().to_str().and_then(|n| n.parse::<RunId>().ok()) else { continue };
            match read_record(&entry.path()) {
                Ok(Some(record)) => found.runs.push(Run { directory: entry.path(), record }),
                Ok(None) => {}
                Err(error) => {
                    let log = entry.path().join("evidence/log.jsonl");
                    // Without a log it never ran.
                    if log.symlink_metadata().is_ok() {
                        found.broken.push(Broken { run: id, error, started: first_event(&log) });
                    }
                }
            }
        }
        found.runs.sort_by_key(|run| std::cmp::Reverse(run.record.started));
        Ok(found)
    }
}

/// Project and start, as the log's first event has them.
fn first_event(log: &Path) -> Option<(Bytes, Timestamp)> {
    let mut line = Vec::new();
    BufReader::new(File::open(log).ok()?.take(LONGEST_LINE)).read_until(b'\n', &mut line).ok()?;
    let event: Event = serde_json::from_slice(&line).ok()?;
    match event.what {
        EventKind::RunStarted(started) => Some((started.project, event.time)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str, project: &str, started: i64) -> Run {
        let text = format!(
            "{{\"run\":\"{id}\",\"project\":\"{project}\",\"agent\":\"a\",\"argv\":[],\"started\":\"2026-11-24T13:40:{started:02}Z\"}}"
        );
        Run { directory: id.into(), record: serde_json::from_str(&text).unwrap() }
    }

    fn broken(id: &str, started: Option<(&str, i64)>) -> Broken {
        let of = |(project, second)| (Bytes::from(project), run(id, "/", second).record.started);
        Broken { run: id.parse().unwrap(), error: StoreError::None(id.to_owned()), started: started.map(of) }
    }

    fn listing(broken: Vec<Broken>) -> Listing {
        let (new, old) = (run("aaaaaaaaaaa2", "/p", 20), run("aaaaaaaaaaa1", "/p", 10));
        Listing { runs: vec![new, old], broken }
    }

    #[test]
    fn a_damaged_run_is_in_the_way_only_where_it_may_be_the_one() {
        let id = "bbbbbbbbbbb1";
        let latest = |of, project: &str| {
            let found = listing(vec![broken(id, of)]).latest(Path::new(project), |_| Ok::<_, StoreError>(true));
            found.map(|run| run.map(|run| run.record.run.to_string()))
        };
        assert_eq!(latest(Some(("/p", 15)), "/p").unwrap().unwrap(), "aaaaaaaaaaa2", "it is older");
        assert_eq!(latest(Some(("/q", 30)), "/p").unwrap().unwrap(), "aaaaaaaaaaa2", "it is another project's");
        assert!(latest(Some(("/p", 30)), "/p").is_err(), "it is newer");
        assert!(latest(None, "/p").is_err(), "nobody knows");
        assert!(latest(Some(("/q", 1)), "/q").is_err(), "the only one");
        assert_eq!(listing(vec![broken(id, None)]).named("aaaaaaaaaaa1").unwrap().record.run.as_str(), "aaaaaaaaaaa1");
        assert!(matches!(listing(vec![broken(id, None)]).named("b"), Err(StoreError::None(_))));
        assert!(
            matches!(listing(vec![]).named("a"), Err(StoreError::Ambiguous { candidates, .. }) if candidates.len() == 2)
        );
        assert!(matches!(listing(vec![]).named("c"), Err(StoreError::Unknown(_))));
    }
}
