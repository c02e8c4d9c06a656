//! Budgets, as the monitor sees them: it hands what the gateway asks to the keeper of the ledger, and records where one is
//! used up.

use std::collections::{HashMap, HashSet};
use std::io;

use cofferdam_core::event::EventKind;
use cofferdam_core::plan::RunPlan;
use cofferdam_enclosure::{Channel, Received};
use cofferdam_models::budget::ask::{Answer, Ask, Exhausted};
use cofferdam_models::budget::ledger::User;
use cofferdam_policy::models::ModelPolicy;
use rustix::event::{PollFd, PollFlags};
use serde::Deserialize;

use super::book::Book;
use super::brokers::Answer as Told;
use super::record::RecordError;
use crate::helper;
use crate::ledger::{Answered, NAME, Question, Start};

/// Most keepers of a run: what ends one may end the next too.
const BIRTHS: u32 = 16;
const NONE: &str = "no budget holds for this run";

/// Questions under way.
#[derive(Default)]
pub(super) struct Budgets {
    start: Option<Start>,
    keeper: Option<Channel>,
    births: u32,
    last: u64,
    /// The gateway's numbers by ours.
    waiting: HashMap<u64, u64>,
    told: HashSet<String>,
    notes: Vec<String>,
}

impl Budgets {
    /// Of a plan.
    pub(super) fn new(plan: &RunPlan) -> Result<Budgets, RecordError> {
        let Some(models) = &plan.network.models else { return Ok(Budgets::default()) };
        let policy = ModelPolicy::deserialize(&models.policy)?;
        let user = User { run: plan.run.clone(), project: plan.project.clone() };
        let start = Start { directory: models.ledger.clone(), user, budgets: policy.budgets().cloned().collect() };
        Ok(Budgets { start: (!start.budgets.is_empty()).then_some(start), ..Budgets::default() })
    }

    /// What to poll for; [`Budgets::turn`] takes what came of it.
    pub(super) fn interest(&self) -> Option<PollFd<'_>> {
        self.keeper.as_ref().map(|keeper| PollFd::new(keeper, PollFlags::IN))
    }

    /// The gateway asks; the answer, where there is one at once.
    pub(super) fn ask(&mut self, id: u64, what: Ask) -> Option<Told> {
        match self.hand_on(id, what) {
            Ok(()) => None,
            Err(why) => Some((id, Err(why))),
        }
    }

    fn hand_on(&mut self, id: u64, what: Ask) -> Result<(), String> {
        let start = self.start.as_ref().ok_or(NONE)?;
        if self.keeper.is_none() {
            if self.births == BIRTHS {
                return Err(format!("{BIRTHS} keepers of the ledger have ended"));
            }
            self.births += 1;
            self.keeper = Some(born(start).map_err(|e| format!("the keeper of the ledger cannot be started: {e}"))?);
        }
        let Some(keeper) = &self.keeper else { return Err(NONE.to_owned()) };
        self.last += 1;
        let question = Question { id: self.last, what };
        // One that is behind is not waited for: it writes to a disk.
        keeper.send_now(&question, &[]).map_err(|e| format!("the keeper of the ledger cannot be asked: {e}"))?;
        self.waiting.insert(self.last, id);
        Ok(())
    }

    /// Takes what the keeper answers, and what the gateway is to be told.
    pub(super) fn turn(&mut self, ready: PollFlags, recorder: &mut impl Book) -> Result<Vec<Told>, RecordError> {
        let mut told = Vec::new();
        if ready.is_empty() {
            return Ok(told);
        }
        while let Some(keeper) = &self.keeper {
            let why = match keeper.receive_now::<Answered>() {
                Ok(None) => break,
                Ok(Some(Received::Message(Answered { id, answer }, _))) => {
                    if let Ok(Answer::Exhausted(exhausted)) = &answer {
                        self.record(exhausted, recorder)?;
                    }
                    // Of a gateway that is gone: what it was promised stays reserved.
                    if let Some(asked) = self.waiting.remove(&id) {
                        let words = answer.and_then(|answer| serde_json::to_vec(&answer).map_err(|e| e.to_string()));
                        told.push((asked, words.map(Into::into)));
                    }
                    continue;
                }
                Ok(Some(Received::Closed)) => "the keeper of the ledger has ended".to_owned(),
                Err(e) => format!("the keeper of the ledger does not make sense: {e}"),
            };
            self.keeper = None;
            told.extend(self.waiting.drain().map(|(_, asked)| (asked, Err(why.clone()))));
        }
        Ok(told)
    }

    /// Records that a budget is used up, once of each of its bounds.
    fn record(&mut self, exhausted: &Exhausted, recorder: &mut impl Book) -> Result<(), RecordError> {
        let Exhausted { budget, what, .. } = exhausted;
        let limit = format!("models {} per {}", what.as_str(), budget.per.as_str());
        let value = what.limit(budget).unwrap_or_default();
        if !self.told.insert(format!("{limit} {value}")) {
            return Ok(());
        }
        self.notes.push(format!("the budget for models of {budget} is used up: coffer budget"));
        recorder.append(None, EventKind::LimitReached { limit, value, action: "refused".to_owned() })?;
        Ok(())
    }

    /// The gateway is gone, and its questions with it: the next one counts its own from 1.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Nobody needs anything any more. The keeper still writes what it was told, and ends.
    pub(super) fn end(&mut self) {
        self.keeper = None;
    }

    /// What the person is to know.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Starts a keeper.
fn born(start: &Start) -> io::Result<Channel> {
    // Reaped with whatever else ends.
    let ours = helper::born(NAME, helper::bare)?;
    ours.send_now(start, &[])?;
    Ok(ours)
}
