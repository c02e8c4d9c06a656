//! One request that was let out, and its answer: what both directions note, and the event that comes of it.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use cofferdam_core::event::{EventKind, HttpExchange, RuleRef};
use cofferdam_exchange::Refusal;
use cofferdam_policy::rule::Record;
use http::{HeaderMap, StatusCode};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::heads;
use super::meter::Meter;
use super::session::Session;
use crate::{Kept, Say};

/// The exchange. Its end is when nothing holds it any more, however that came about: then it is recorded.
pub(crate) struct Exchange {
    pub(crate) session: Rc<Session>,
    /// What the program sends.
    pub(crate) sent: Meter,
    /// What it receives.
    pub(crate) received: Meter,
    began: Instant,
    asked: Asked,
    answer: OnceCell<Answered>,
    /// The protocol that the connection went on with.
    pub(crate) upgrade: RefCell<Option<String>>,
    changed: RefCell<Vec<String>>,
    error: RefCell<Option<String>>,
    refused: Cell<Option<Refusal>>,
    is_refused: Cell<bool>,
    /// Told when it is refused while its request is on its way.
    pub(crate) refusal: Notify,
    waker: Cell<Option<Waker>>,
    permit: Cell<Option<OwnedSemaphorePermit>>,
}

/// The head of an answer: its status, its fields, and after how many microseconds it came.
type Answered = (StatusCode, Vec<(String, String)>, u64);

/// A request as it was decided.
pub(crate) struct Asked {
    /// Its method.
    pub(crate) method: String,
    /// Its URL.
    pub(crate) url: String,
    /// The URL's path, without the query.
    pub(crate) path: String,
    /// The version that the program speaks.
    pub(crate) version: String,
    /// Its fields, as they are recorded.
    pub(crate) fields: Vec<(String, String)>,
    /// The rule that allows it.
    pub(crate) rule: RuleRef,
    /// Why.
    pub(crate) purpose: String,
    /// What is kept of its bodies.
    pub(crate) record: Record,
}

impl Exchange {
    /// Begins.
    pub(crate) fn new(
        session: Rc<Session>,
        asked: Asked,
        began: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Rc<Exchange> {
        Rc::new(Exchange {
            session,
            sent: Meter::new(asked.record),
            received: Meter::new(asked.record),
            began,
            asked,
            answer: OnceCell::new(),
            upgrade: RefCell::default(),
            changed: RefCell::default(),
            error: RefCell::default(),
            refused: Cell::default(),
            is_refused: Cell::new(false),
            refusal: Notify::new(),
            waker: Cell::default(),
            permit: Cell::new(Some(permit)),
        })
    }

    /// An interceptor changed something.
    pub(crate) fn changed(&self, by: &str) {
        let mut changed = self.changed.borrow_mut();
        if !changed.iter().any(|name| name == by) {
            changed.push(by.to_owned());
        }
    }

    /// The head of the answer.
    pub(crate) fn answered(&self, status: StatusCode, fields: &HeaderMap) {
        let after = micros(self.began);
        // A second head is one of the gateway's own, after the server's was refused: the first is what came.
        let _first = self.answer.set((status, heads::fields(fields), after));
    }

    /// Something went wrong; the first is what is recorded.
    pub(crate) fn failed(&self, error: impl Into<String>) {
        self.error.borrow_mut().get_or_insert(error.into());
    }

    /// A body must not go on. Both directions end.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.failed(format!("refused: {}", refusal.detail));
        if !self.is_refused.replace(true) {
            self.refused.set(Some(refusal));
        }
        self.refusal.notify_one();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether a body was refused.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.get()
    }

    /// Why, for who first asks: it has to be recorded once.
    pub(crate) fn take_refusal(&self) -> Option<Refusal> {
        self.refused.take()
    }

    /// Who is to be woken when a body is refused.
    pub(crate) fn wake(&self, waker: &Waker) {
        self.waker.set(Some(waker.clone()));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(refusal) = self.refused.take() {
            self.session.denied(&self.asked.method, &self.asked.path, &refusal, None);
        }
        let (status, response, answered) = match self.answer.take() {
            Some((status, fields, after)) => (Some(status.as_u16()), fields, Some(after)),
            None => (None, Vec::new(), None),
        };
        let mut files = Vec::new();
        let mut kept = Kept::default();
        for (meter, is_kept) in [(&self.sent, &mut kept.sent), (&self.received, &mut kept.received)] {
            match meter.kept() {
                Ok(Some(file)) => {
                    files.push(file);
                    *is_kept = true;
                }
                Ok(None) => {}
                Err(error) => self.failed(format!("a body cannot be kept: {error}")),
            }
        }
        let whole = self.received.is_whole() || self.upgrade.borrow().is_some();
        if status.is_some() && !whole {
            self.failed("the answer broke off");
        }
        let exchange = HttpExchange {
            connection: self.session.connection.number,
            method: cofferdam_exchange::cut(&self.asked.method, 256),
            url: heads::url(&self.asked.url),
            version: self.asked.version.clone(),
            status,
            rule: self.asked.rule.clone(),
            purpose: self.asked.purpose.clone(),
            request: std::mem::take(&mut self.asked.fields),
            sent: self.sent.body(),
            response,
            received: self.received.body(),
            answered,
            microseconds: micros(self.began),
            upgrade: self.upgrade.take(),
            changed: self.changed.take(),
            error: self.error.take(),
        };
        let owner = self.session.connection.owner;
        let say = Say::Record { owner, kept, what: Box::new(EventKind::HttpExchange(Box::new(exchange))) };
        self.session.record(say, files, self.permit.take());
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
