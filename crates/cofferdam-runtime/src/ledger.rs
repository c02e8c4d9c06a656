//! The keeper of budgets: a process that writes a run's use of models into the ledger.
//!
//! A process of its own because every request waits until its reservation is on the disk, and evidence does not wait for
//! that. It reads nothing that the enclosure wrote, and ends when the monitor does; what it has reserved by then stays.

use std::path::PathBuf;

use cofferdam_core::{Bytes, Timestamp};
use cofferdam_enclosure::{Channel, Received};
use cofferdam_models::budget::ask::{Answer, Ask};
use cofferdam_models::budget::ledger::{Ledger, User};
use cofferdam_policy::models::Budget;
use serde::{Deserialize, Serialize};

/// The name by which this program knows that it is to be the keeper (`argv[0]`).
pub const NAME: &str = "coffer-ledger";

/// Most questions that are answered with one write to the disk.
const TOGETHER: usize = 64;
const SECONDS: i64 = 24 * 60 * 60;

/// What it is to keep.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// The directory of the ledger.
    pub(crate) directory: Bytes,
    /// Who uses models.
    pub(crate) user: User,
    /// All budgets that hold.
    pub(crate) budgets: Vec<Budget>,
}

/// A question.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Stands in the answer.
    pub(crate) id: u64,
    /// What.
    pub(crate) what: Ask,
}

/// Its answer, or why there is none.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// To which question.
    pub(crate) id: u64,
    /// The answer.
    pub(crate) answer: Result<Answer, String>,
}

/// The whole life of a keeper; the exit status of its process. Its channel to the monitor is standard input.
pub fn main() -> i32 {
    rustix::thread::set_name(c"coffer-ledger").unwrap_or_default();
    let Ok(control) = rustix::stdio::stdin().try_clone_to_owned() else { return 1 };
    let channel = Channel::from(control);
    let Ok(Received::Message(start, _)) = channel.receive::<Start>() else { return 1 };
    let directory: PathBuf = start.directory.as_path().to_owned();
    let mut ledger = Ledger::new(&directory, start.user, start.budgets);
    // Everything that was said is heard, also when nobody waits for an answer any more.
    while let Ok(Received::Message(first, _)) = channel.receive::<Question>() {
        let mut questions = vec![first];
        while questions.len() < TOGETHER {
            match channel.receive_now() {
                Ok(Some(Received::Message(next, _))) => questions.push(next),
                _ => break,
            }
        }
        let asked: Vec<Ask> = questions.iter().map(|question| question.what).collect();
        let answers: Vec<Result<Answer, String>> = match ledger.answer(&asked, today()) {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(e) => vec![Err(e.to_string()); questions.len()],
        };
        for (question, answer) in questions.iter().zip(answers) {
            // A monitor that is gone does not wait.
            let _ = channel.send(&Answered { id: question.id, answer }, &[]);
        }
    }
    0
}

/// The day of the clock, in days since 1970-01-01, UTC.
pub fn today() -> u32 {
    u32::try_from(Timestamp::now().parts().0 / SECONDS).unwrap_or(0)
}
