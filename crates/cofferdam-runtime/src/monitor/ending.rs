//! How a monitor brings its enclosure to an end.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use cofferdam_enclosure::Enclosure;
use rustix::event::{PollFd, PollFlags, poll};

use super::tripwires::Tripwires;
use super::{Failure, Monitor, timespec};
use crate::protocol::{Opened, Tell};

/// How long a directory rename under way gets to become whole after the command's end.
const RENAME_GRACE: Duration = Duration::from_secs(30);

impl Monitor {
    /// Lets a directory that is in two halves become whole, and notes for the person what could not.
    pub(super) fn finish_renames(&mut self) -> Result<(), Failure> {
        if let Some(commands) = &mut self.commands {
            commands.close();
        }
        let Some(renames) = &mut self.renames else { return Ok(()) };
        renames.close();
        let until = Instant::now() + RENAME_GRACE;
        while renames.is_busy() {
            let left = until.saturating_duration_since(Instant::now());
            let wait = timespec(left);
            let mut fds = renames.interests();
            match poll(&mut fds, Some(&wait)) {
                Ok(0) => break,
                Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(io::Error::from)?,
            };
            let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            drop(fds);
            renames.turn(&ready, || self.enclosure.helper())?;
        }
        let notes = &mut self.run.plan.notes;
        notes.extend(renames.leftovers().iter().map(|left| {
            format!(
                "a directory rename was cut short: part of {} is in {} beside it",
                left.name.0.escape_ascii(),
                left.temporary.0.escape_ascii()
            )
        }));
        notes.extend(renames.unconfined().map(|e| format!("directories could not be renamed in place: {e}")));
        Ok(())
    }

    /// Ends everything inside, and records the execs that are seen only now.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        match &mut self.commands {
            Some(commands) => commands.end(&self.enclosure, self.recorder.as_mut()),
            None => Ok(self.enclosure.end(&mut || Ok(()))?),
        }
    }

    /// Hears the rest of the gateway, where one was born.
    pub(super) fn finish_outlet(&mut self) -> Result<(), Failure> {
        let (Some(outlet), Some(recorder), Some(commands)) = (&mut self.outlet, &mut self.recorder, &self.commands)
        else {
            return Ok(());
        };
        outlet.finish(recorder, |cookie| commands.owner(cookie))?;
        self.run.plan.notes.extend(outlet.notes());
        Ok(())
    }

    /// Watches the decoys, and says where they stand; where that cannot be, the person is told that none are watched.
    pub(super) fn watch_decoys(&mut self, root: &OwnedFd) -> Result<(), Failure> {
        let Some(recorder) = &mut self.recorder else { return Ok(()) };
        match Tripwires::watch(root, &self.run.decoys, &self.run.plan) {
            Ok(Some(tripwires)) => {
                tripwires.placed(recorder)?;
                self.tripwires = Some(tripwires);
            }
            Ok(None) => {}
            Err(e) => self.run.plan.notes.push(format!("no tripwires: the decoys cannot be watched: {e}")),
        }
        Ok(())
    }

    /// Tells the rest of what was opened of decoys.
    pub(super) fn finish_tripwires(&mut self, running: &[u64]) -> Result<Vec<Opened>, Failure> {
        match (&mut self.tripwires, &mut self.recorder) {
            (Some(tripwires), Some(recorder)) => Ok(tripwires.finish(recorder, running)?),
            _ => Ok(Vec::new()),
        }
    }

    /// What the terminal still holds after the end.
    pub(super) fn drain_terminal(&mut self) -> Result<(), Failure> {
        let (Some(relay), Some(recorder)) = (&mut self.relay, &mut self.recorder) else { return Ok(()) };
        relay.drain(recorder)?;
        Ok(())
    }

    /// Ends everything after a failure. Before the command started there was no run, and nothing of it stays; afterwards all
    /// that it did stays, for the next command to settle.
    pub(super) fn give_up(&mut self, failure: Failure) -> Tell {
        self.recorder = None;
        let ended = self.end();
        if self.begun.is_none() {
            self.run.remove();
            return match failure {
                Failure::Enclosure(e) => Tell::NotEnclosed(e),
                Failure::Record(e) => Tell::NotRecorded(e),
            };
        }
        let mut why = match failure {
            Failure::Enclosure(e) => e.to_string(),
            Failure::Record(e) => e,
        };
        if let Err(Failure::Record(e)) = ended {
            why.push_str(&format!("; and its processes could not be waited for: {e}"));
        }
        self.run.release_home();
        self.run.release_run();
        Tell::Broken(why)
    }
}
