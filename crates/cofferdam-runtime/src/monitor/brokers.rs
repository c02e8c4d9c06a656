//! The brokers of a run, as the monitor sees them: born when the gateway needs a credential, one for each fetch.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use cofferdam_core::Bytes;
use cofferdam_core::event::{CredentialFetch, EventKind};
use cofferdam_core::plan::PlannedSignIn;
use cofferdam_credentials::oauth::Wanted;
use cofferdam_enclosure::{Channel, Received};
use cofferdam_policy::Credential;
use rustix::event::{PollFd, PollFlags};
use serde::Deserialize;

use super::book::Book;
use super::record::RecordError;
use crate::broker::{Fetched, Given, NAME, Order, Question};
use crate::helper;
use crate::keeper::Task;
use crate::prepare::Prepared;
use crate::store::Store;

/// How long a failure is answered again without another try: what a program inside repeats must not make the person's
/// commands run, and their screen ask, again and again.
const AGAIN: Duration = Duration::from_secs(10);

/// What the gateway is answered: to which question, and what.
pub(super) type Answer = (u64, Result<Bytes, String>);

/// Fetches under way, and what failed.
#[derive(Default)]
pub(super) struct Brokers {
    /// Those that the plan lists; none else can be asked for.
    credentials: Vec<Own>,
    /// What keepers need.
    store: Option<Store>,
    roots: Vec<Bytes>,
    proxy: Vec<String>,
    fetching: Vec<Fetching>,
    failed: HashMap<String, (Instant, String)>,
    notes: Vec<String>,
}

/// A credential of the plan.
struct Own {
    credential: Credential,
    sign_in: Option<PlannedSignIn>,
}

struct Fetching {
    credential: usize,
    channel: Channel,
    /// The questions that wait for it.
    waiting: Vec<u64>,
}

impl Brokers {
    /// For the credentials of a run's plan.
    ///
    /// # Errors
    /// Where the plan holds what is no credential.
    pub(super) fn new(run: &Prepared) -> Result<Brokers, RecordError> {
        let network = &run.plan.network;
        let credentials = network.credentials.iter().map(|planned| {
            let credential = Credential::deserialize(&planned.credential)?;
            Ok(Own { credential, sign_in: planned.sign_in.clone() })
        });
        Ok(Brokers {
            credentials: credentials.collect::<Result<_, RecordError>>()?,
            store: Some(Store::of_run(&run.directory)),
            roots: network.roots.clone(),
            proxy: run.proxy.clone(),
            fetching: Vec::new(),
            failed: HashMap::new(),
            notes: Vec::new(),
        })
    }

    /// What to poll for; [`Brokers::turn`] takes what came of it, in the same order.
    pub(super) fn interests(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.fetching.iter().map(|fetching| PollFd::new(&fetching.channel, PollFlags::IN))
    }

    /// The gateway asks for a credential; the answer, where there is one at once.
    pub(super) fn ask(
        &mut self,
        id: u64,
        what: Question,
        recorder: &mut impl Book,
    ) -> Result<Option<Answer>, RecordError> {
        let Question { credential: name, not } = what;
        let Some(credential) = self.credentials.iter().position(|own| own.credential.name == name) else {
            return Ok(Some((id, Err("this run has no such credential".to_owned()))));
        };
        if let Some(fetching) = self.fetching.iter_mut().find(|fetching| fetching.credential == credential) {
            fetching.waiting.push(id);
            return Ok(None);
        }
        match self.failed.get(&name) {
            Some((since, why)) if since.elapsed() < AGAIN => return Ok(Some((id, Err(why.clone())))),
            _ => self.failed.remove(&name),
        };
        match self.order(credential, Wanted { not }).and_then(|order| born(&order)) {
            Ok(channel) => {
                self.fetching.push(Fetching { credential, channel, waiting: vec![id] });
                Ok(None)
            }
            Err(e) => {
                let (why, in_short) = (format!("the broker cannot be started: {e}"), "nobody can fetch it".to_owned());
                let answer = self.settle(credential, Fetched::Failed { why, in_short }, recorder)?;
                Ok(Some((id, answer)))
            }
        }
    }

    /// What a broker is told.
    fn order(&self, credential: usize, wanted: Wanted) -> io::Result<Order> {
        let Own { credential, sign_in } = &self.credentials[credential];
        match (sign_in, &self.store) {
            (Some(sign_in), Some(store)) => {
                let task = Task::new(sign_in, store, &self.roots, &self.proxy, wanted);
                Ok(Order::Keep(Box::new(task.map_err(io::Error::other)?)))
            }
            _ => Ok(Order::Fetch(credential.source.clone())),
        }
    }

    /// Takes what the brokers found, and what the gateway is to be answered.
    pub(super) fn turn(&mut self, ready: &[PollFlags], recorder: &mut impl Book) -> Result<Vec<Answer>, RecordError> {
        let mut answers = Vec::new();
        // From the end: those before keep their places.
        for at in (0..self.fetching.len()).rev() {
            if ready.get(at).is_none_or(|flags| flags.is_empty()) {
                continue;
            }
            let failed = |why: String| Fetched::Failed { why, in_short: "nobody could fetch it".to_owned() };
            let fetched = match self.fetching[at].channel.receive_now::<Fetched>() {
                Ok(None) => continue,
                Ok(Some(Received::Message(fetched, _))) => fetched,
                Ok(Some(Received::Closed)) => failed("the broker ended without an answer".to_owned()),
                Err(e) => failed(format!("the broker's answer does not read: {e}")),
            };
            let Fetching { credential, waiting, .. } = self.fetching.swap_remove(at);
            let answer = self.settle(credential, fetched, recorder)?;
            answers.extend(waiting.into_iter().map(|id| (id, answer.clone())));
        }
        Ok(answers)
    }

    /// Records how a fetch ended. A value is struck out of all evidence before anybody else has it.
    fn settle(
        &mut self,
        credential: usize,
        fetched: Fetched,
        recorder: &mut impl Book,
    ) -> Result<Result<Bytes, String>, RecordError> {
        let Credential { name, source, .. } = &self.credentials[credential].credential;
        let (fetched, until, refreshed) = match fetched {
            Fetched::Value(value) => (Ok(value), None, false),
            Fetched::Kept { access, until, refreshed } => (Ok(access), until, refreshed),
            Fetched::Failed { why, in_short } => (Err((why, in_short)), None, false),
        };
        let fetched = match fetched {
            Ok(value) => match recorder.learn(name, &value.0)? {
                Ok(()) => Ok(value),
                Err(why) => {
                    let why = format!("its value could not be kept out of the evidence: {why}");
                    Err((why.clone(), why))
                }
            },
            Err(failed) => Err(failed),
        };
        let error = fetched.as_ref().err().map(|(why, _)| why.clone());
        let event =
            CredentialFetch { name: name.clone(), source: source.kind().to_owned(), error: error.clone(), refreshed };
        recorder.append(
            None,
            match &fetched {
                Ok(_) => EventKind::CredentialFetched(event),
                Err(_) => EventKind::CredentialFailed(event),
            },
        )?;
        if let Some(error) = error {
            let striker = recorder.striker();
            let note = format!("credential {name}: {}; coffer credential test {name}", striker.text(&error));
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        let given = match fetched {
            Ok(value) => serde_json::to_vec(&Given { value, until })?.into(),
            Err((_, in_short)) => {
                self.failed.insert(name.clone(), (Instant::now(), in_short.clone()));
                return Ok(Err(in_short));
            }
        };
        Ok(Ok(given))
    }

    /// The gateway is gone, and its questions with it: the next one counts its own from 1.
    pub(super) fn forget(&mut self) {
        self.fetching.iter_mut().for_each(|fetching| fetching.waiting.clear());
    }

    /// Nobody needs anything any more: brokers end with their channels.
    pub(super) fn end(&mut self) {
        self.fetching.clear();
    }

    /// What the person is to know.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Starts a broker, with the person's environment, which this process has inherited.
fn born(order: &Order) -> io::Result<Channel> {
    // Reaped with whatever else ends.
    let ours = helper::born(NAME, |_| ())?;
    ours.send_now(order, &[])?;
    Ok(ours)
}
