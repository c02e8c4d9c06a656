//! One connection of a program: what its requests share, and what is recorded of it.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cofferdam_core::event::{EventKind, HttpExchange, Mediation, NetConnect, NetDenied, RuleRef};
use cofferdam_exchange::{Records, Refusal, Waiting};
use cofferdam_policy::{Rule, Scheme};
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::sleep;

use super::heads;
use super::meter::memory;
use super::services::Services;
use super::stream::Traffic;
use crate::wire::PACKET;
use crate::{Connection, Place, Say};

/// Most requests of a connection that are not recorded yet: as many as it may have at once, and a few that wait for the
/// monitor.
const UNRECORDED: u32 = 128;
/// How long what is to be said waits for more, and at most for how much: the monitor wakes once for all of it, where it would take
/// the other processor from client and server for each exchange.
const PAUSE: Duration = Duration::from_millis(2);
const TOGETHER: usize = 32;
/// Most bytes of a packet of ours; the rest of [`PACKET`] is left for the monitor's additions.
const MOST: usize = PACKET - 4 * 1024;

/// The connection.
pub(crate) struct Session {
    pub(crate) services: Rc<dyn Services>,
    pub(crate) place: Place,
    pub(crate) connection: Connection,
    /// Whether it is TLS.
    pub(crate) tls: bool,
    /// The name that its ClientHello gave, where it is not the place's.
    pub(crate) other: Option<String>,
    traffic: Arc<Traffic>,
    noted: RefCell<Noted>,
    queue: mpsc::UnboundedSender<Item>,
    room: Arc<Semaphore>,
    /// Told when something could not be recorded.
    pub(crate) broken: Rc<Notify>,
}

/// What becomes part of its `net.connect`.
#[derive(Default)]
struct Noted {
    opened: bool,
    address: Option<String>,
    rule: Option<RuleRef>,
    purpose: String,
    exchanges: u64,
    allowed: bool,
    denied: bool,
    error: Option<String>,
}

/// What is done in order.
enum Item {
    /// Something is said. A request's permit returns when it was.
    Say { say: Say, files: Vec<OwnedFd>, text: Option<Bytes>, _permit: Option<OwnedSemaphorePermit> },
    /// Whoever waits for it learns that all before was said.
    Tell(oneshot::Sender<()>),
}

impl Session {
    /// Begins, in a [`tokio::task::LocalSet`].
    pub(crate) fn new(
        services: Rc<dyn Services>,
        place: Place,
        connection: Connection,
        tls: bool,
        other: Option<String>,
        traffic: Arc<Traffic>,
    ) -> Rc<Session> {
        let (queue, items) = mpsc::unbounded_channel();
        let broken = Rc::new(Notify::new());
        tokio::task::spawn_local(drain(Rc::clone(&services), items, Rc::clone(&broken)));
        let room = Arc::new(Semaphore::new(UNRECORDED as usize));
        let noted = RefCell::default();
        Rc::new(Session { services, place, connection, tls, other, traffic, noted, queue, room, broken })
    }

    /// What it is in policy.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.tls { Scheme::Https } else { Scheme::Http }
    }

    /// Waits until one more request can be recorded.
    ///
    /// # Errors
    /// Where nothing can be recorded any more.
    pub(crate) async fn room(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        let permit = Arc::clone(&self.room).acquire_owned().await?;
        self.noted.borrow_mut().exchanges += 1;
        Ok(permit)
    }

    /// Whether it has a request that is not recorded yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.room.available_permits() < UNRECORDED as usize
    }

    /// A request is let out by this rule.
    pub(crate) fn allowed(&self, rule: &Rule) {
        let mut noted = self.noted.borrow_mut();
        noted.allowed = true;
        noted.rule = Some(RuleRef::from(&rule.id));
        noted.purpose.clone_from(&rule.purpose);
    }

    /// What ended it; the first is what is recorded.
    pub(crate) fn failed(&self, error: impl Into<String>) {
        self.noted.borrow_mut().error.get_or_insert(error.into());
    }

    /// A request on it is refused. Its permit, where no exchange holds it, returns when that is recorded: a program that is
    /// refused faster than that waits.
    pub(crate) fn denied(&self, method: &str, path: &str, refusal: &Refusal, permit: Option<OwnedSemaphorePermit>) {
        self.noted.borrow_mut().denied = true;
        let denied = NetDenied {
            host: self.place.host.clone(),
            port: self.place.port,
            scheme: self.scheme().as_str().to_owned(),
            method: Some(cofferdam_exchange::cut(method, 256)),
            path: Some(heads::url(path)),
            reason: refusal.reason.clone(),
            detail: heads::url(&refusal.detail),
            rule: refusal.rule.clone(),
            allow: refusal.allow.clone(),
            connection: Some(self.connection.number),
        };
        self.event(EventKind::NetDenied(denied), permit);
    }

    /// Queues an event that a request on it causes.
    pub(crate) fn note(&self, what: EventKind) {
        self.event(what, None);
    }

    fn event(&self, what: EventKind, permit: Option<OwnedSemaphorePermit>) {
        let say = Say::Record { owner: self.connection.owner, kept: crate::Kept::default(), what: Box::new(what) };
        self.record(say, Vec::new(), permit);
    }

    /// Queues something to say.
    pub(crate) fn record(&self, say: Say, files: Vec<OwnedFd>, permit: Option<OwnedSemaphorePermit>) {
        self.queue(Item::Say { say, files, text: None, _permit: permit });
    }

    fn queue(&self, item: Item) {
        if self.queue.send(item).is_err() {
            // The monitor is gone; `drain` has said so when it ended.
            self.broken.notify_one();
        }
    }

    /// A connection outside is about to be made. Its first time is said before: no evidence, no connection.
    ///
    /// # Errors
    /// Where it cannot be said.
    pub(crate) async fn opening(&self) -> io::Result<()> {
        if self.noted.borrow().opened {
            return Ok(());
        }
        let say = Say::Opened { owner: self.connection.owner, connect: self.connect() };
        self.services.say(&say, &[]).await?;
        self.noted.borrow_mut().opened = true;
        Ok(())
    }

    /// It was made, to this address.
    pub(crate) fn opened(&self, address: String) {
        self.noted.borrow_mut().address = Some(address);
    }

    /// The end: waits until everything of it is recorded, and records it. Nothing is where it had only refusals, for
    /// nothing was let out then.
    ///
    /// # Errors
    /// Where it cannot be said.
    pub(crate) async fn finish(&self) -> io::Result<()> {
        let _all = self.room.acquire_many(UNRECORDED).await.map_err(io::Error::other)?;
        let only_refusals = {
            let noted = self.noted.borrow();
            noted.denied && !noted.allowed && noted.error.is_none()
        };
        if only_refusals {
            return Ok(());
        }
        let what = Box::new(EventKind::NetConnect(self.connect()));
        let say = Say::Record { owner: self.connection.owner, kept: crate::Kept::default(), what };
        self.services.say(&say, &[]).await
    }

    fn connect(&self) -> NetConnect {
        let noted = self.noted.borrow();
        NetConnect {
            connection: self.connection.number,
            host: self.place.host.clone(),
            port: self.place.port,
            mediation: Mediation::Http,
            address: noted.address.clone(),
            rule: noted.rule.clone(),
            purpose: noted.purpose.clone(),
            sent: self.traffic.sent.load(Ordering::Relaxed),
            received: self.traffic.received.load(Ordering::Relaxed),
            milliseconds: u64::try_from(self.connection.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            exchanges: noted.exchanges,
            error: noted.error.clone(),
        }
    }
}

impl Records for Session {
    fn record(&self, what: EventKind, text: Option<Bytes>) {
        let kept = crate::Kept { text: text.is_some(), ..crate::Kept::default() };
        let say = Say::Record { owner: self.connection.owner, kept, what: Box::new(what) };
        self.queue(Item::Say { say, files: Vec::new(), text, _permit: None });
    }

    fn turn(&self, request: u64, bytes: u64, text: Bytes) {
        let say = Say::Turn { request, bytes };
        self.queue(Item::Say { say, files: Vec::new(), text: Some(text), _permit: None });
    }

    fn settled(&self) -> Waiting<'_, Result<(), String>> {
        let (tell, told) = oneshot::channel();
        self.queue(Item::Tell(tell));
        Box::pin(async { told.await.map_err(|_| "the monitor is gone".to_owned()) })
    }
}

/// Says what is queued until the session ends.
async fn drain(services: Rc<dyn Services>, mut items: mpsc::UnboundedReceiver<Item>, broken: Rc<Notify>) {
    let mut some = Vec::new();
    while let Some(first) = items.recv().await {
        some.push(first);
        gather(&mut items, &mut some).await;
        for item in some.drain(..) {
            if said(&*services, item).await.is_err() {
                // The connection ends by this; that the monitor is gone ends the gateway, and is its error to tell.
                broken.notify_one();
                return;
            }
        }
    }
}

/// Waits a moment for more, unless somebody waits for what is there.
async fn gather(items: &mut mpsc::UnboundedReceiver<Item>, some: &mut Vec<Item>) {
    let mut over = pin!(sleep(PAUSE));
    while some.len() < TOGETHER && !matches!(some.last(), Some(Item::Tell(_))) {
        tokio::select! {
            () = &mut over => return,
            more = items.recv() => match more {
                Some(item) => some.push(item),
                None => return,
            },
        }
    }
}

async fn said(services: &dyn Services, item: Item) -> io::Result<()> {
    let (mut say, mut files, text, _permit) = match item {
        Item::Say { say, files, text, _permit } => (say, files, text, _permit),
        Item::Tell(tell) => {
            // Who does not wait any more needs no answer.
            let _ = tell.send(());
            return Ok(());
        }
    };
    shrink(&mut say);
    // A text becomes a file only now: descriptors are few.
    if let Some(text) = text {
        files.push(memory(&text)?);
    }
    services.say(&say, &files).await
}

/// Cuts the heads of an exchange until it fits into a packet.
fn shrink(say: &mut Say) {
    while let Say::Record { what, .. } = &mut *say {
        let EventKind::HttpExchange(exchange) = &mut **what else { return };
        if surely_fits(exchange) || serde_json::to_vec(&*say).map_or(true, |packet| packet.len() <= MOST) {
            return;
        }
        let Say::Record { what, .. } = &mut *say else { return };
        let EventKind::HttpExchange(exchange) = &mut **what else { return };
        let fields = exchange.request.len().max(exchange.response.len()) / 2;
        exchange.request.truncate(fields);
        exchange.response.truncate(fields);
        if fields == 0 {
            exchange.url = cofferdam_exchange::cut(&exchange.url, exchange.url.len() / 2);
        }
    }
}

/// Whether an exchange fits without a look at its JSON, in which no byte takes more than six (`\u0000`).
fn surely_fits(exchange: &HttpExchange) -> bool {
    /// More than names, numbers, digests and punctuation take, of an exchange and of a field.
    const FRAME: usize = 4 * 1024;
    const FIELD: usize = 8;
    let fields = exchange.request.iter().chain(&exchange.response);
    let fields: usize = fields.map(|(name, value)| FIELD + 6 * (name.len() + value.len())).sum();
    let file = exchange.rule.file.as_ref().map_or(0, |file| file.0.len());
    let texts = exchange.url.len() + exchange.purpose.len() + exchange.error.as_ref().map_or(0, String::len) + file;
    FRAME + fields + 6 * texts <= MOST
}

#[cfg(test)]
mod tests {
    use cofferdam_core::event::Body;

    use super::*;

    fn exchange(value: &str, fields: usize) -> Say {
        let fields = vec![("x-field".to_owned(), value.to_owned()); fields];
        let exchange = HttpExchange {
            connection: u64::MAX,
            method: "GET".into(),
            url: format!("https://a.example/{value}"),
            version: "HTTP/1.1".into(),
            status: Some(200),
            rule: RuleRef {
                layer: "person".into(),
                file: Some("/p".into()),
                line: u32::MAX,
                name: Some("n".repeat(64)),
            },
            purpose: "test".into(),
            request: fields.clone(),
            sent: Body::default(),
            response: fields,
            received: Body::default(),
            answered: Some(u64::MAX),
            microseconds: u64::MAX,
            upgrade: None,
            changed: vec!["credentials".into()],
            error: None,
        };
        let what = Box::new(EventKind::HttpExchange(Box::new(exchange)));
        Say::Record { owner: Some(u64::MAX), kept: crate::Kept::default(), what }
    }

    #[test]
    fn what_surely_fits_does_and_the_rest_is_cut() {
        for value in ["v", "\u{0}", "\"", "é"] {
            for (length, fields) in [(1, 1), (10, 100), (100, 40), (300, 16), (1, 2000), (5000, 20), (60_000, 1)] {
                let mut say = exchange(&value.repeat(length), fields);
                let Say::Record { what, .. } = &say else { unreachable!() };
                let EventKind::HttpExchange(inner) = &**what else { unreachable!() };
                let surely = surely_fits(inner);
                let before = serde_json::to_vec(&say).unwrap().len();
                assert!(!surely || before <= MOST, "{value:?} {length} {fields}: {before}");
                shrink(&mut say);
                let after = serde_json::to_vec(&say).unwrap().len();
                assert!(after <= MOST && (before > MOST || after == before), "{value:?} {length} {fields}: {after}");
            }
        }
        assert!(
            matches!(exchange("v", 12), Say::Record { what, .. } if matches!(&*what, EventKind::HttpExchange(e) if surely_fits(e)))
        );
    }
}
