//! The ledger: what was used of models, by run, project and day, on this machine.
//!
//! One file of records, one a line, that only grows. Whoever writes holds a lock, and has read everything before; a
//! reservation is on the disk before its request may leave. What was reserved counts until it is settled: whoever dies in
//! between leaves it counted. A day once begun stays begun, whatever the clock says later.

mod book;
mod file;
mod record;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use cofferdam_core::{Bytes, RunId};
use cofferdam_policy::models::Budget;

use super::ask::{Answer, Ask, Exhausted, What};
pub use book::{Book, Line, day_text};
pub use file::LedgerError;
use file::LedgerFile;
use record::Record;

/// Where the ledger lies in the store.
pub const DIRECTORY: &str = "budgets";

/// Who uses models.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct User {
    /// The run.
    pub run: RunId,
    /// Its project's root.
    pub project: Bytes,
}

/// The ledger, for one run.
#[derive(Debug)]
pub struct Ledger {
    directory: PathBuf,
    user: User,
    budgets: Vec<Budget>,
    file: Option<LedgerFile>,
    book: Book,
}

impl Ledger {
    /// The one in a directory, which is made where it is not there yet.
    pub fn new(directory: &Path, user: User, budgets: Vec<Budget>) -> Ledger {
        Ledger { directory: directory.to_owned(), user, budgets, file: None, book: Book::default() }
    }

    /// Answers questions, in order, with one write to the disk for all of them. `today` is the day of the clock, in days since
    /// 1970-01-01, UTC.
    ///
    /// # Errors
    /// Where the ledger cannot be read or written: then nothing of it holds, and no request may leave.
    pub fn answer(&mut self, asked: &[Ask], today: u32) -> Result<Vec<Answer>, LedgerError> {
        let result = self.locked(asked, today);
        if result.is_err() {
            // What the disk has is not known: all of it is read again.
            (self.file, self.book) = (None, Book::default());
        }
        result
    }

    fn locked(&mut self, asked: &[Ask], today: u32) -> Result<Vec<Answer>, LedgerError> {
        let _lock = file::lock(&self.directory)?;
        file::read(&self.directory, &mut self.file, &mut self.book)?;
        let Some(file) = &mut self.file else { return Err(LedgerError::Gone) };
        let day = today.max(self.book.day());
        let mut records = Vec::new();
        let mut answers = Vec::new();
        let mut lasting = false;
        for ask in asked {
            let (record, answer) = match ask {
                Ask::Reserve(most) => match exhausted(&self.book, &self.budgets, &self.user, most, day) {
                    Some(mut exhausted) => {
                        exhausted.behind = day - today;
                        (None, Answer::Exhausted(Box::new(exhausted)))
                    }
                    None => {
                        let number = self.book.next(&self.user.run);
                        lasting = true;
                        let User { run, project } = self.user.clone();
                        let record = Record::Reserve { run, project, number, day, used: *most };
                        (Some(record), Answer::Reserved(number))
                    }
                },
                Ask::Settle { number, used } => {
                    let run = self.user.run.clone();
                    (Some(Record::Settle { run, number: *number, used: *used }), Answer::Settled)
                }
            };
            if let Some(record) = record {
                self.book.take(record.clone());
                records.push(record);
            }
            answers.push(answer);
        }
        file.append(&records, lasting)?;
        Ok(answers)
    }
}

/// Reads the ledger in a directory; what is not there is empty.
///
/// # Errors
/// Where it cannot be read.
pub fn read(directory: &Path) -> Result<Book, LedgerError> {
    let mut book = Book::default();
    if directory.join("ledger").exists() {
        let _lock = file::lock(directory)?;
        file::read(directory, &mut None, &mut book)?;
    }
    Ok(book)
}

/// The first budget that an amount does not fit into.
fn exhausted(book: &Book, budgets: &[Budget], user: &User, most: &super::ask::Used, day: u32) -> Option<Exhausted> {
    budgets.iter().find_map(|budget| {
        let (used, reserved) = book.used(budget, user, day);
        What::ALL.into_iter().find_map(|what| {
            let limit = what.limit(budget)?;
            let (used, reserved, asked) = (what.of(&used), what.of(&reserved), what.of(most));
            (used.saturating_add(asked) > limit).then(|| Exhausted {
                budget: budget.clone(),
                what,
                used,
                reserved,
                asked,
                behind: 0,
            })
        })
    })
}
