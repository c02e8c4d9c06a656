//! What interceptors are given of the gateway: a way to ask the monitor.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use cofferdam_core::Bytes;
use cofferdam_exchange::Waiting;
use tokio::sync::oneshot;

use crate::{Ledger, Say};

type Answer = Result<Bytes, String>;

/// Asks the monitor for what only it can get (a credential).
#[derive(Clone)]
pub struct Handle {
    ledger: Rc<Ledger>,
    open: Rc<Questions>,
}

#[derive(Default)]
struct Questions {
    last: Cell<u64>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Answer>>>,
}

/// Forgets a question that nobody waits for any more.
struct Waits(Rc<Questions>, u64);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.borrow_mut().remove(&self.1);
    }
}

impl Handle {
    pub(crate) fn new(ledger: Rc<Ledger>) -> Handle {
        Handle { ledger, open: Rc::default() }
    }

    /// Asks, in words that the interceptor and the monitor agree on; the answer, or why there is none.
    pub fn ask(&self, what: String) -> Waiting<'static, Answer> {
        let this = self.clone();
        Box::pin(async move {
            let id = this.open.last.get() + 1;
            this.open.last.set(id);
            let (sender, answer) = oneshot::channel();
            this.open.waiting.borrow_mut().insert(id, sender);
            let _waits = Waits(Rc::clone(&this.open), id);
            this.ledger
                .say(&Say::Ask { id, what }, &[])
                .await
                .map_err(|e| format!("the monitor cannot be asked: {e}"))?;
            answer.await.unwrap_or_else(|_| Err("the monitor has gone".to_owned()))
        })
    }

    /// Says something that needs no answer. Must be called within the gateway.
    pub fn tell(&self, what: String) {
        let asked = self.ask(what);
        tokio::task::spawn_local(async move {
            // Whoever says it goes on in any case.
            let _ = asked.await;
        });
    }

    /// The monitor's answer; one that nobody waits for is dropped.
    pub(crate) fn answered(&self, id: u64, value: Answer) {
        if let Some(sender) = self.open.waiting.borrow_mut().remove(&id) {
            // The other end may have been dropped in this very turn.
            let _ = sender.send(value);
        }
    }
}
