//! The listener of the command's seccomp filter: receives notified calls and says whom they concern.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use cofferdam_sys::seccomp::{self, Notification};
use rustix::event::PollFlags;

use crate::filter::{CONNECTS, EXECS};

/// A call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// For [`crate::Execs::notice`].
    Exec(Notification),
    /// For [`crate::Connects::notice`].
    Connect(Notification),
    /// For [`crate::Renames::notice`].
    Rename(Notification),
}

/// The notified calls of one enclosure.
#[derive(Debug)]
pub struct Notices {
    /// Absent once nobody inside is left to notify.
    listener: Option<Rc<OwnedFd>>,
}

impl Notices {
    /// From the listener of [`crate::Report::Ready`], before the command starts.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn new(listener: OwnedFd) -> io::Result<Notices> {
        seccomp::wake_up_in_step(listener.as_fd())?;
        Ok(Notices { listener: Some(Rc::new(listener)) })
    }

    /// To poll for, and to answer on.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(|fd| fd.as_fd())
    }

    pub(crate) fn shared(&self) -> Option<Rc<OwnedFd>> {
        self.listener.clone()
    }

    /// The next call, where polling found something.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn next(&mut self, ready: PollFlags) -> io::Result<Option<Notice>> {
        let Some(listener) = &self.listener else { return Ok(None) };
        if ready.contains(PollFlags::IN) {
            let call = seccomp::receive(listener.as_fd())?;
            return Ok(call.map(route));
        }
        if ready.intersects(PollFlags::HUP | PollFlags::ERR) {
            self.listener = None; // level-triggered: kept, it would spin
        }
        Ok(None)
    }

    /// Takes no more: the run is over.
    pub fn close(&mut self) {
        self.listener = None;
    }
}

fn route(call: Notification) -> Notice {
    let one_of = |numbers: &[u32]| u32::try_from(call.number).is_ok_and(|number| numbers.contains(&number));
    if one_of(EXECS) {
        Notice::Exec(call)
    } else if one_of(CONNECTS) {
        Notice::Connect(call)
    } else {
        Notice::Rename(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::RENAMES;

    #[test]
    fn calls_go_where_they_belong() {
        let call = |number: u32| Notification { id: 1, pid: 2, number: number.cast_signed(), arguments: [0; 6] };
        assert!(EXECS.iter().all(|n| route(call(*n)) == Notice::Exec(call(*n))));
        assert!(CONNECTS.iter().all(|n| route(call(*n)) == Notice::Connect(call(*n))));
        assert!(RENAMES.iter().all(|n| route(call(*n)) == Notice::Rename(call(*n))));
    }
}
