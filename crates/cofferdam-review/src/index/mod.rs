//! Searching all runs: an index that is brought up to date when it is searched, and can be made anew at any time.
//!
//! It holds what a story holds: commands, the beginnings of what they printed, prompts, changed paths, failing tests, and
//! what the network was used for. It is made from the evidence alone. Nothing but a search, and the document of a policy,
//! opens it.

mod schema;
mod update;
mod uses;

use std::path::{Path, PathBuf};

use cofferdam_core::{RunId, Timestamp};
use rusqlite::params;

pub use update::{Indexed, Updated};
pub use uses::{Times, Use};

use self::schema::Database;
use crate::{Error, Result};

/// Marks where a match begins and ends while SQLite cuts the text around it: no text in the index has these.
const MARKS: [&str; 2] = ["\u{1}", "\u{2}"];

/// The index of a store.
#[derive(Debug)]
pub struct Index {
    database: Database,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// In which run.
    pub run: RunId,
    /// The event that tells of it.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// Where: `run`, `command`, `output`, `prompt`, `files`, `tests`, `network`, `remark`.
    pub what: String,
    /// The command it belongs to; empty where it belongs to none.
    pub command: String,
    /// The text around the match, safe for a terminal: before, the match, after, and so on.
    pub around: Vec<String>,
}

impl Index {
    /// Where a store has its index.
    pub fn path(store: &Path) -> PathBuf {
        store.join("index.db")
    }

    /// Opens the index of a store; makes it where there is none, or none that this version can use.
    ///
    /// # Errors
    /// [`Error::Index`], [`Error::Io`].
    pub fn open(store: &Path) -> Result<Index> {
        Ok(Index { database: Database::open(&Self::path(store))? })
    }

    /// Opens the index and forgets all that is in it. The file stays: others may have it open.
    ///
    /// # Errors
    /// As [`Index::open`].
    pub fn anew(store: &Path) -> Result<Index> {
        let mut index = Index::open(store)?;
        match update::clear(&mut index.database) {
            Err(e) if is_damage(&e) => index.database = Database::repaired(&Self::path(store), damaged(&e))?,
            cleared => cleared?,
        }
        Ok(index)
    }

    /// Why the index that was there was thrown away, in a clause; `None` where it was not.
    pub fn remade(&self) -> Option<&str> {
        self.database.remade.as_deref()
    }

    /// Reads the runs whose logs have changed their size, and forgets those that are gone; `progress` is told how many of
    /// how many are done. An index that turns out to be damaged is made anew.
    ///
    /// # Errors
    /// [`Error::Index`]. What concerns one run only is in [`Updated::unread`].
    pub fn update(&mut self, runs: &[Indexed], progress: &mut dyn FnMut(u64, u64)) -> Result<Updated> {
        match update::update(&mut self.database, runs, progress) {
            Err(e) if is_damage(&e) => {
                let path = self.database.path.clone();
                self.database = Database::repaired(&path, damaged(&e))?;
                update::update(&mut self.database, runs, progress)
            }
            other => other,
        }
    }

    /// What has all the words of a text, words by their beginnings; the best first, at most `most`.
    ///
    /// # Errors
    /// [`Error::NoWord`], [`Error::Index`].
    pub fn search(&self, text: &str, most: u32) -> Result<Vec<Hit>> {
        let query = query(text)?;
        let mut statement = self
            .database
            .connection
            .prepare_cached(
                "SELECT run, seq, time, what, command, snippet(entries, 0, ?3, ?4, '…', 24) FROM entries \
                 WHERE entries MATCH ?1 ORDER BY rank, time DESC LIMIT ?2",
            )
            .map_err(self.database.failed())?;
        let hits = statement
            .query_map(params![query, most, MARKS[0], MARKS[1]], |row| {
                let run: String = row.get(0)?;
                let around: String = row.get(5)?;
                let seq: i64 = row.get(1)?;
                Ok((run, seq, Timestamp(row.get(2)?), row.get(3)?, row.get(4)?, around))
            })
            .map_err(self.database.failed())?;
        let mut all = Vec::new();
        for hit in hits {
            let (run, seq, time, what, command, around) = hit.map_err(self.database.failed())?;
            // A name that is none was not written by us; the next update throws it away.
            let Ok(run) = run.parse() else { continue };
            let around = around.split(['\u{1}', '\u{2}']).map(|part| crate::text::one_line(part.as_bytes())).collect();
            all.push(Hit { run, seq: u64::try_from(seq).unwrap_or(0), time, what, command, around });
        }
        Ok(all)
    }

    /// What the network of a run was used for, and what was refused, the latest first.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn uses(&self, run: &RunId) -> Result<Vec<(Use, Times)>> {
        let mut statement = self
            .database
            .connection
            .prepare_cached(
                "SELECT host, port, scheme, method, rule, purpose, reason, allow, program, count, last FROM hosts \
                 WHERE run = ?1 ORDER BY last DESC, rowid",
            )
            .map_err(self.database.failed())?;
        let rows = statement
            .query_map([run.as_str()], |row| {
                let rule: Option<String> = row.get(4)?;
                let used = Use {
                    host: row.get(0)?,
                    port: row.get(1)?,
                    scheme: row.get(2)?,
                    method: row.get(3)?,
                    // One that does not read was not written by us.
                    rule: rule.and_then(|rule| serde_json::from_str(&rule).ok()),
                    purpose: row.get(5)?,
                    reason: row.get(6)?,
                    allow: row.get(7)?,
                    program: row.get(8)?,
                };
                let count: i64 = row.get(9)?;
                Ok((used, Times { count: u64::try_from(count).unwrap_or(0), last: Timestamp(row.get(10)?) }))
            })
            .map_err(self.database.failed())?;
        rows.collect::<rusqlite::Result<_>>().map_err(self.database.failed())
    }
}

fn is_damage(e: &Error) -> bool {
    matches!(e, Error::Index { source, .. } if schema::is_broken(source))
}

fn damaged(e: &Error) -> String {
    match e {
        Error::Index { source, .. } => format!("it was damaged ({source})"),
        other => other.to_string(),
    }
}

/// A text as a query of FTS5 (<https://sqlite.org/fts5.html>, section 3): each word a string, by its beginning. Whatever is
/// typed is a string, never syntax.
fn query(text: &str) -> Result<String> {
    let words: Vec<String> = text
        .split_whitespace()
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .map(|word| format!("\"{}\"*", word.replace('"', "\"\"").replace('\0', "")))
        .collect();
    if words.is_empty() {
        return Err(Error::NoWord(text.to_owned()));
    }
    Ok(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_never_syntax() {
        assert_eq!(query("flaky test").unwrap(), "\"flaky\"* \"test\"*");
        assert_eq!(query("a\" OR b NEAR(").unwrap(), "\"a\"\"\"* \"OR\"* \"b\"* \"NEAR(\"*");
        assert!(matches!(query(" \"' -- "), Err(Error::NoWord(_))));
    }
}
