//! A credential's value while the gateway has it.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use cofferdam_core::Timestamp;
use http::request;
use tokio::sync::Mutex;

use super::{Planned, Value};
use crate::oauth::Digest;

/// How long nobody is asked again for another value than one that a server refused: what a program inside provokes by requests
/// that are answered so must not keep the person's machine busy.
const AGAIN: Duration = Duration::from_secs(10);

pub(super) struct Held {
    pub(super) planned: Planned,
    kept: RefCell<Option<Kept>>,
    /// When a server last refused one.
    last: Cell<Option<Instant>>,
    /// Held by the request that fetches it: one that came a moment later must not have it fetched again.
    pub(super) fetches: Mutex<()>,
}

struct Kept {
    value: Value,
    since: Instant,
    /// How long its source says that it is good.
    good: Option<Duration>,
    /// Whether a server refused it since.
    refused: Cell<bool>,
}

impl Held {
    pub(super) fn new(planned: Planned) -> Held {
        Held { planned, kept: RefCell::default(), last: Cell::default(), fetches: Mutex::default() }
    }

    /// The value, while it may be used.
    pub(super) fn value(&self) -> Option<Value> {
        let kept = self.kept.borrow();
        let kept = kept.as_ref()?;
        let lifetime = kept.good.into_iter().chain(self.planned.credential.lifetime()).min();
        let good = !kept.refused.get() && lifetime.is_none_or(|lifetime| kept.since.elapsed() < lifetime);
        good.then(|| kept.value.clone())
    }

    /// Whether there is one, that may be used or not.
    pub(super) fn has_value(&self) -> bool {
        self.kept.borrow().is_some()
    }

    /// The value that a server refused, where it is still the last one.
    pub(super) fn refused(&self) -> Option<Digest> {
        self.kept.borrow().as_ref().filter(|kept| kept.refused.get()).map(|kept| Digest::of(&kept.value))
    }

    /// Keeps a value that was fetched; `until` as [`super::Fetched`] has it.
    pub(super) fn keep(&self, value: Value, until: Option<i64>) {
        let (seconds, nanoseconds) = Timestamp::now().parts();
        let now = seconds * 1000 + nanoseconds / 1_000_000;
        let good = until.map(|until| Duration::from_millis(u64::try_from(until - now).unwrap_or(0)));
        self.kept.replace(Some(Kept { value, since: Instant::now(), good, refused: Cell::new(false) }));
    }

    /// A server refused the request that went out with this head: another value is to be had, where the request carried this
    /// one.
    pub(super) fn refuse(&self, head: &request::Parts) {
        let kept = self.kept.borrow();
        let Some(kept) = kept.as_ref() else { return };
        if self.last.get().is_some_and(|last| last.elapsed() < AGAIN) {
            return;
        }
        let carried = head.headers.values().any(|field| memchr::memmem::find(field.as_bytes(), &kept.value).is_some());
        if carried {
            kept.refused.set(true);
            self.last.set(Some(Instant::now()));
        }
    }
}
