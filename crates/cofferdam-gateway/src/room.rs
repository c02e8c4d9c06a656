//! Room for connections: bounded, and where there is none left the oldest that does nothing makes place. A program that
//! only opens connections cannot keep the others' from being served.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long to wait for one that was told to leave, before another is.
const BREATH: Duration = Duration::from_millis(50);

/// The room.
pub(crate) struct Room {
    size: u32,
    free: Arc<Semaphore>,
    /// Who may be told to leave, in the order in which they came.
    seats: RefCell<BTreeMap<u64, Weak<Seat>>>,
    count: Cell<u64>,
}

/// A connection's place.
pub(crate) struct Seat {
    doing: RefCell<Doing>,
    told: Cell<bool>,
    leave: Notify,
    _permit: Option<OwnedSemaphorePermit>,
}

/// What a connection is doing.
enum Doing {
    /// It has not said enough to be served: it can be dropped.
    Nothing,
    /// It has requests now and then, which this knows. It ends by itself when it is told.
    Requests(Box<dyn Fn() -> bool>),
    /// It is relayed, or refused: it ends by itself.
    Served,
}

impl Room {
    /// For so many connections.
    pub(crate) fn new(size: usize) -> Room {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let free = Arc::new(Semaphore::new(size as usize));
        Room { size, free, seats: RefCell::default(), count: Cell::new(0) }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// Never: the semaphore is not closed.
    pub(crate) async fn enter(&self) -> Result<Rc<Seat>, AcquireError> {
        let permit = loop {
            if self.free.available_permits() == 0 {
                self.make_place();
            }
            if let Ok(permit) = timeout(BREATH, Arc::clone(&self.free).acquire_owned()).await {
                break permit?;
            }
        };
        let seat = Rc::new(Seat::with(Some(permit)));
        let number = self.count.get() + 1;
        self.count.set(number);
        let mut seats = self.seats.borrow_mut();
        seats.retain(|_, seat| seat.strong_count() > 0);
        seats.insert(number, Rc::downgrade(&seat));
        Ok(seat)
    }

    /// Tells the oldest that does nothing to leave.
    fn make_place(&self) {
        let mut seats = self.seats.borrow_mut();
        let idle =
            seats.iter().find_map(|(number, seat)| Some((*number, seat.upgrade().filter(|seat| seat.is_idle())?)));
        if let Some((number, seat)) = idle {
            seats.remove(&number);
            seat.told.set(true);
            seat.leave.notify_waiters();
        }
    }

    /// Waits until all have left.
    pub(crate) async fn empty(&self) {
        // Never closed: there is no other outcome.
        let _all = self.free.acquire_many(self.size).await;
    }
}

impl Seat {
    fn with(permit: Option<OwnedSemaphorePermit>) -> Seat {
        Seat { doing: RefCell::new(Doing::Nothing), told: Cell::new(false), leave: Notify::new(), _permit: permit }
    }

    /// One that nobody wants.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn alone() -> Rc<Seat> {
        Rc::new(Seat::with(None))
    }

    /// From now on it has requests; `busy` knows whether one is under way. Who says so waits for [`Seat::left`].
    pub(crate) fn has_requests(&self, busy: impl Fn() -> bool + 'static) {
        self.doing.replace(Doing::Requests(Box::new(busy)));
    }

    /// From now on it is relayed or refused, and keeps its place until that is over and recorded.
    pub(crate) fn is_served(&self) {
        self.doing.replace(Doing::Served);
    }

    fn is_idle(&self) -> bool {
        match &*self.doing.borrow() {
            Doing::Nothing => true,
            Doing::Requests(busy) => !busy(),
            Doing::Served => false,
        }
    }

    /// Waits until it is told to leave.
    pub(crate) async fn left(&self) {
        let told = self.leave.notified();
        if !self.told.get() {
            told.await;
        }
    }

    /// Waits until it is told to leave while it does nothing: it can just be dropped.
    pub(crate) async fn dropped(&self) {
        self.left().await;
        if !matches!(*self.doing.borrow(), Doing::Nothing) {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_that_does_nothing_makes_place_and_nobody_else() {
        let room = Room::new(3);
        let relayed = room.enter().await.unwrap();
        relayed.is_served();
        let asks = room.enter().await.unwrap();
        let busy = Rc::new(Cell::new(true));
        let knows = Rc::clone(&busy);
        asks.has_requests(move || knows.get());
        let silent = room.enter().await.unwrap();
        let enters = async {
            tokio::join!(room.enter(), async {
                silent.dropped().await;
                drop(silent);
            })
        };
        let fourth = timeout(Duration::from_secs(1), enters).await.unwrap().0.unwrap();
        fourth.is_served();
        assert!(timeout(Duration::from_secs(5), room.enter()).await.is_err(), "all three do something");
        busy.set(false);
        let enters = async {
            tokio::join!(room.enter(), async {
                asks.left().await;
                drop(asks);
            })
        };
        assert!(timeout(Duration::from_secs(1), enters).await.is_ok(), "its request is over");
        assert!(room.seats.borrow().len() <= 3);
        drop((relayed, fourth));
        assert!(timeout(Duration::from_secs(1), room.empty()).await.is_ok());
    }
}
