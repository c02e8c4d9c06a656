//! Bringing the index up to date with the runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cofferdam_core::{RunId, Timestamp};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};

use super::schema::Database;
use super::uses::{self, Times, Use, Uses};
use crate::story::{Entry, Story};
use crate::text::one_line;
use crate::{Error, Heads, Result, log_size};

/// Most bytes of an output, or of a prompt, that are indexed.
const HEAD: u64 = 4 << 10;
/// Most bytes of outputs that are indexed of one run, the first ones; its commands are in the index all the same.
const OUTPUTS: usize = 64 << 20;

/// A run as the store has it.
#[derive(Clone, Debug)]
pub struct Indexed {
    /// Its name.
    pub run: RunId,
    /// Its evidence.
    pub evidence: PathBuf,
}

/// What bringing up to date did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// Runs that were read.
    pub read: u64,
    /// Runs that are gone from the store.
    pub gone: u64,
    /// Runs whose log could not be read, and why.
    pub unread: Vec<(RunId, String)>,
}

pub(super) fn update(database: &mut Database, runs: &[Indexed], progress: &mut dyn FnMut(u64, u64)) -> Result<Updated> {
    let mut updated = Updated { gone: remove_gone(database, runs)?, ..Updated::default() };
    let mut due = Vec::new();
    for run in runs {
        match log_size(&run.evidence) {
            Ok(size) if known_size(database, &run.run)? == Some(size) => {}
            Ok(_) => due.push(run),
            Err(e) => updated.unread.push((run.run.clone(), e.to_string())),
        }
    }
    for (n, run) in due.iter().enumerate() {
        progress(n as u64, due.len() as u64);
        match index_run(database, run) {
            Ok(()) => updated.read += 1,
            // The index itself is no good; everything else concerns this run only.
            Err(e @ Error::Index { .. }) => return Err(e),
            Err(e) => updated.unread.push((run.run.clone(), e.to_string())),
        }
    }
    Ok(updated)
}

fn known_size(database: &Database, run: &RunId) -> Result<Option<u64>> {
    let size = database
        .connection
        .query_row("SELECT size FROM runs WHERE run = ?1", [run.as_str()], |row| row.get::<_, i64>(0))
        .optional()
        .map_err(database.failed())?;
    Ok(size.and_then(|size| u64::try_from(size).ok()))
}

fn remove_gone(database: &mut Database, runs: &[Indexed]) -> Result<u64> {
    let path = database.path.clone();
    let failed = |source| Error::Index { path: path.clone(), source };
    let known: Vec<String> = {
        let mut statement = database.connection.prepare("SELECT run FROM runs").map_err(&failed)?;
        let rows = statement.query_map([], |row| row.get(0)).map_err(&failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(&failed)?
    };
    let mut gone = 0;
    for run in known.iter().filter(|known| !runs.iter().any(|run| run.run.as_str() == **known)) {
        let transaction = begin(database)?;
        remove(&transaction, run).and_then(|()| transaction.commit()).map_err(&failed)?;
        gone += 1;
    }
    Ok(gone)
}

/// Takes the write lock at once: a transaction that begins by reading cannot wait for another's end.
fn begin(database: &mut Database) -> Result<Transaction<'_>> {
    let path = database.path.clone();
    let transaction = database.connection.transaction_with_behavior(TransactionBehavior::Immediate);
    transaction.map_err(|source| Error::Index { path, source })
}

/// Forgets every run.
pub(super) fn clear(database: &mut Database) -> Result<()> {
    let path = database.path.clone();
    let transaction = begin(database)?;
    transaction
        .execute_batch("DELETE FROM entries; DELETE FROM hosts; DELETE FROM runs;")
        .and_then(|()| transaction.commit())
        .map_err(|source| Error::Index { path, source })
}

fn remove(transaction: &Transaction<'_>, run: &str) -> rusqlite::Result<()> {
    transaction.execute(
        "DELETE FROM entries WHERE rowid BETWEEN (SELECT first FROM runs WHERE run = ?1) AND \
         (SELECT last FROM runs WHERE run = ?1)",
        [run],
    )?;
    transaction.execute("DELETE FROM hosts WHERE run = ?1", [run])?;
    transaction.execute("DELETE FROM runs WHERE run = ?1", [run]).map(drop)
}

/// One thing that can be found.
struct Found {
    what: &'static str,
    text: String,
    seq: u64,
    time: Timestamp,
    command: String,
}

/// Reads a run before the lock is taken: that can last.
fn index_run(database: &mut Database, run: &Indexed) -> Result<()> {
    // The size first: what is written meanwhile is read again next time.
    let size = log_size(&run.evidence)?;
    let (found, uses) = found(&run.evidence)?;
    let path = database.path.clone();
    let transaction = begin(database)?;
    write(&transaction, run, size, &found)
        .and_then(|()| write_uses(&transaction, run, &uses))
        .and_then(|()| transaction.commit())
        .map_err(|source| Error::Index { path, source })
}

fn write(transaction: &Transaction<'_>, run: &Indexed, size: u64, found: &[Found]) -> rusqlite::Result<()> {
    remove(transaction, run.run.as_str())?;
    let last: i64 = transaction.query_row("SELECT coalesce(max(last), 0) FROM runs", [], |row| row.get(0))?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO entries (rowid, text, what, run, seq, time, command) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut at = last;
    for one in found {
        at += 1;
        insert.execute(params![at, one.text, one.what, run.run.as_str(), signed(one.seq), one.time.0, one.command])?;
    }
    // A run in which nothing can be found has an empty range.
    let values = params![run.run.as_str(), signed(size), last + 1, at.max(last)];
    transaction.execute("INSERT INTO runs (run, size, first, last) VALUES (?1, ?2, ?3, ?4)", values).map(drop)
}

fn write_uses(transaction: &Transaction<'_>, run: &Indexed, uses: &HashMap<Use, Times>) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO hosts (run, host, port, scheme, method, rule, purpose, reason, allow, program, count, last) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for (used, times) in uses {
        let rule = used.rule.as_ref().map(serde_json::to_string).transpose();
        let rule = rule.map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        insert.execute(params![
            run.run.as_str(),
            used.host,
            used.port,
            used.scheme,
            used.method,
            rule,
            used.purpose,
            used.reason,
            used.allow,
            used.program,
            signed(times.count),
            times.last.0,
        ])?;
    }
    Ok(())
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn found(evidence: &Path) -> Result<(Vec<Found>, HashMap<Use, Times>)> {
    let mut uses = Uses::default();
    let story = Story::read_watched(evidence, |collector, event| uses.take(collector, event))?;
    let heads = Heads::open(evidence)?;
    let (mut all, mut outputs) = (Vec::new(), 0);
    if let Some(started) = &story.started {
        let text = crate::argv::as_typed(&started.argv);
        all.push(Found { what: "run", command: text.clone(), text, seq: 0, time: story.began });
    }
    for entry in &story.entries {
        let (seq, time) = (entry.seq(), entry.time());
        let mut add = |what, text: String, command: &str| {
            if !text.trim().is_empty() {
                all.push(Found { what, text, seq, time, command: command.to_owned() });
            }
        };
        match entry {
            Entry::Prompt(said) => {
                add("prompt", heads.read(&said.text, HEAD).map(|text| safe(&text)).unwrap_or_default(), "");
            }
            Entry::Answer(answer) => {
                let text = answer.text.as_ref().and_then(|text| heads.read(text, HEAD).ok());
                add("answer", text.map(|text| safe(&text)).unwrap_or_default(), "");
            }
            Entry::Call(call) => add("tool", format!("{} {}", call.tool, call.text), ""),
            Entry::Files(files) => add("files", paths(&files.changes), ""),
            Entry::Remark(remark) => add("remark", remark.text.clone(), ""),
            Entry::Command(command) => {
                add("command", command.text.clone(), &command.text);
                add("files", paths(&command.files), &command.text);
                for output in &command.outputs {
                    if outputs > OUTPUTS {
                        break;
                    }
                    let head = heads.read(&output.blob, HEAD).map(|text| safe(&text)).unwrap_or_default();
                    outputs += head.len();
                    add("output", head, &command.text);
                }
                for tests in &command.tests {
                    let text = format!("{} {}", tests.framework, tests.failing.join(" "));
                    add("tests", text, &command.text);
                }
            }
        }
    }
    let Uses { rows, found, .. } = uses;
    all.extend(found.into_iter().map(|uses::Found { text, seq, time, command }| Found {
        what: "network",
        text,
        seq,
        time,
        command,
    }));
    Ok((all, rows))
}

fn paths(changes: &crate::story::Changes) -> String {
    changes.named.iter().map(|change| one_line(&change.path.0)).collect::<Vec<_>>().join("  ")
}

/// Text as it may be shown, with its lines kept as spaces.
fn safe(text: &[u8]) -> String {
    let lines: Vec<String> = text.split(|b| *b == b'\n').map(one_line).collect();
    lines.join(" ")
}
