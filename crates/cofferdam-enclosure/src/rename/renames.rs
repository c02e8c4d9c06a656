//! The monitor's side: looks at notified renames, asks the helper where there is something to ask, answers.
//!
//! One request is under way at a time, and nothing here waits: what comes meanwhile is kept as its notification alone,
//! without descriptors, and looked at again when its turn comes. Renames of files and of directories that the command
//! made itself are answered at once, whatever the helper does.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use cofferdam_core::Bytes;
use cofferdam_core::plan::EnclosurePlan;
use cofferdam_sys::seccomp::{self, Answer, Notification};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::hint::{Hint, Move, Seen};
use super::protocol::{Reply, Request};
use crate::EnclosureError;
use crate::channel::{Channel, Received};
use crate::notices::Notices;

/// How many helpers may die over one rename.
const DEATHS: u32 = 3;

/// A temporary directory that holds part of another one, because an undo failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its name.
    pub temporary: Bytes,
    /// The directory beside it to which its content belongs.
    pub name: Bytes,
}

/// The renames of one enclosure.
#[derive(Debug)]
pub struct Renames {
    /// To answer on; absent once the run is over.
    listener: Option<Rc<OwnedFd>>,
    hint: Hint,
    helper: Option<Channel>,
    current: Option<Job>,
    waiting: VecDeque<Notification>,
    leftovers: Vec<Leftover>,
    unconfined: Option<EnclosureError>,
}

/// A request under way.
#[derive(Debug)]
struct Job {
    id: u64,
    begun: Option<Begun>,
    undoing: bool,
    deaths: u32,
}

/// What there is to undo.
#[derive(Debug)]
struct Begun {
    parent: OwnedFd,
    leftover: Leftover,
}

impl Renames {
    /// From the notices and the root directory of [`crate::Report::Ready`], before the command starts.
    ///
    /// # Errors
    /// Where the plan's overlays cannot be opened.
    pub fn new(notices: &Notices, root: OwnedFd, plan: &EnclosurePlan) -> io::Result<Renames> {
        Ok(Renames {
            listener: notices.shared(),
            hint: Hint::new(root, plan)?,
            helper: None,
            current: None,
            waiting: VecDeque::new(),
            leftovers: Vec::new(),
            unconfined: None,
        })
    }

    /// What to poll for; [`Renames::turn`] takes what came of it, in the same order.
    pub fn interests(&self) -> Vec<PollFd<'_>> {
        self.helper.iter().map(|channel| PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN)).collect()
    }

    /// Hears the helper where it says something. `helper` has init start a helper and gives the socket to it.
    ///
    /// # Errors
    /// Those of the listener. A helper's failures end its requests, never the run.
    pub fn turn(&mut self, ready: &[PollFlags], helper: impl Fn() -> io::Result<Channel>) -> io::Result<()> {
        if ready.iter().any(|flags| !flags.is_empty()) {
            self.hear(&helper)?;
        }
        Ok(())
    }

    /// A rename was notified. `helper` as for [`Renames::turn`].
    ///
    /// # Errors
    /// Those of the listener.
    pub fn notice(&mut self, call: Notification, helper: impl Fn() -> io::Result<Channel>) -> io::Result<()> {
        self.take(call, &helper)
    }

    /// Takes no more renames: the run is over, and only what is in two halves is still to be brought to an end.
    pub fn close(&mut self) {
        self.listener = None;
        self.waiting.clear();
    }

    /// Whether a directory is in two halves just now.
    pub fn is_busy(&self) -> bool {
        self.current.as_ref().is_some_and(|job| job.begun.is_some())
    }

    /// What could not be undone so far, what is being worked on included: to be asked when everything inside is gone.
    pub fn leftovers(&self) -> Vec<Leftover> {
        let under_way = self.current.iter().filter_map(|job| job.begun.as_ref()).map(|begun| &begun.leftover);
        self.leftovers.iter().chain(under_way).cloned().collect()
    }

    /// Why no helper could be had, where one could not confine itself: renames of directories of the real tree then
    /// failed with EXDEV.
    pub fn unconfined(&self) -> Option<&EnclosureError> {
        self.unconfined.as_ref()
    }

    fn take(&mut self, call: Notification, helper: &impl Fn() -> io::Result<Channel>) -> io::Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        match self.hint.look(listener.as_fd(), &call) {
            Seen::Nothing => self.answer(call.id, Answer::Continue),
            Seen::Gone => Ok(()),
            Seen::Directory(_) if self.current.is_some() => {
                self.waiting.push_back(call);
                Ok(())
            }
            Seen::Directory(found) => self.ask(call.id, found, helper),
        }
    }

    fn ask(&mut self, id: u64, found: Move, helper: &impl Fn() -> io::Result<Channel>) -> io::Result<()> {
        let Move { flags, old, new } = found;
        let request = Request::Prepare { id, flags, old: old.name, new: new.name };
        if self.send(&request, &[&old.parent, &new.parent], helper) {
            self.current = Some(Job { id, begun: None, undoing: false, deaths: 0 });
            Ok(())
        } else {
            self.answer(id, Answer::Continue)
        }
    }

    /// Gives a request to the helper, a new one where there is none or it has died unnoticed; `false` where there is none
    /// to be had.
    fn send(&mut self, request: &Request, fds: &[&OwnedFd], helper: &impl Fn() -> io::Result<Channel>) -> bool {
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        for _ in 0..2 {
            let channel = match self.helper.take() {
                Some(channel) => channel,
                None => match helper() {
                    Ok(channel) => channel,
                    Err(_) => return false, // init is gone, which ends the run
                },
            };
            if channel.send_now(request, &fds).is_ok() {
                self.helper = Some(channel);
                return true;
            }
        }
        false
    }

    fn hear(&mut self, helper: &impl Fn() -> io::Result<Channel>) -> io::Result<()> {
        let Some(channel) = &self.helper else { return Ok(()) };
        match channel.receive_now::<Reply>() {
            Ok(None) => Ok(()),
            // What is no reply comes from a helper that is not itself any more.
            Ok(Some(Received::Closed)) | Err(_) => self.died(helper),
            Ok(Some(Received::Message(Reply::Unconfined(e), _))) => {
                self.unconfined = Some(e);
                self.died(helper)
            }
            Ok(Some(Received::Message(Reply::Begun { id, name, temporary }, mut fds))) => {
                if let (Some(job), Some(parent)) = (self.current.as_mut().filter(|job| job.id == id), fds.pop()) {
                    job.begun = Some(Begun { parent, leftover: Leftover { temporary, name } });
                }
                Ok(())
            }
            Ok(Some(Received::Message(Reply::Done { id, errno, left }, _))) => {
                match self.current.take_if(|job| job.id == id) {
                    Some(job) => self.finish(job, errno, left, helper),
                    None => Ok(()),
                }
            }
        }
    }

    fn finish(
        &mut self,
        job: Job,
        errno: i32,
        left: bool,
        helper: &impl Fn() -> io::Result<Channel>,
    ) -> io::Result<()> {
        if left {
            self.leftovers.extend(job.begun.map(|begun| begun.leftover));
        }
        self.answer(job.id, verdict(errno, job.undoing))?;
        self.go_on(helper)
    }

    /// The helper has died: what it had begun is undone by the next one.
    fn died(&mut self, helper: &impl Fn() -> io::Result<Channel>) -> io::Result<()> {
        self.helper = None;
        let Some(mut job) = self.current.take() else { return Ok(()) };
        let Some(begun) = job.begun.take() else {
            self.answer(job.id, Answer::Continue)?;
            return self.go_on(helper);
        };
        job.deaths += 1;
        let Leftover { temporary, name } = begun.leftover.clone();
        let request = Request::Undo { id: job.id, name, temporary };
        if job.deaths <= DEATHS && self.send(&request, &[&begun.parent], helper) {
            self.current = Some(Job { begun: Some(begun), undoing: true, ..job });
            return Ok(());
        }
        self.leftovers.push(begun.leftover);
        self.answer(job.id, Answer::Fail(Errno::IO.raw_os_error()))?;
        self.go_on(helper)
    }

    /// Takes up what waited, until one of them is for the helper.
    fn go_on(&mut self, helper: &impl Fn() -> io::Result<Channel>) -> io::Result<()> {
        while self.current.is_none()
            && let Some(call) = self.waiting.pop_front()
        {
            self.take(call, helper)?;
        }
        Ok(())
    }

    fn answer(&self, id: u64, answer: Answer) -> io::Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        seccomp::answer(listener.as_fd(), id, answer).map(drop) // `false`: its caller was killed
    }
}

/// The answer to a caller. Of what a helper says only errors that a rename can have are passed on.
fn verdict(errno: i32, undone: bool) -> Answer {
    const PASSED: [Errno; 5] = [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::BUSY, Errno::NOTEMPTY];
    match errno {
        0 => Answer::Continue,
        known if !undone && PASSED.iter().any(|e| e.raw_os_error() == known) => Answer::Fail(known),
        _ => Answer::Fail(Errno::IO.raw_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_chooses_among_the_errors_of_a_rename() {
        assert_eq!(verdict(0, false), Answer::Continue);
        assert_eq!(verdict(0, true), Answer::Continue);
        assert_eq!(verdict(Errno::NOSPC.raw_os_error(), false), Answer::Fail(28));
        assert_eq!(verdict(Errno::PERM.raw_os_error(), false), Answer::Fail(5));
        assert_eq!(verdict(-1, false), Answer::Fail(5));
        assert_eq!(verdict(Errno::NOSPC.raw_os_error(), true), Answer::Fail(5), "part of it is elsewhere");
    }
}
