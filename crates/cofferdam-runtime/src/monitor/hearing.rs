//! What a monitor hears of its init and of its client.

use std::io;

use cofferdam_core::event::EndReason;
use cofferdam_enclosure::{Enclosure, Received, Report};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Ending, Failure, Monitor, told};
use crate::protocol::{Ask, Tell};

impl Monitor {
    /// One message of init; the ending where it was that.
    pub(super) fn hear_init(&mut self) -> Result<Option<Ending>, Failure> {
        Ok(match self.enclosure.report()? {
            None => Some(Ending::because(EndReason::InitDied)),
            Some((Report::Started, _)) => {
                told(&self.channel, &Tell::Started);
                None
            }
            Some((Report::Stopped(signal), _)) => {
                told(&self.channel, &Tell::Stopped(signal));
                None
            }
            Some((Report::NotExecuted(errno), _)) => {
                told(&self.channel, &Tell::NotExecuted(errno));
                Some(Ending::because(EndReason::NotExecuted))
            }
            Some((Report::Exited(code), _)) => {
                Some(Ending { reason: EndReason::Exited, code: Some(code), signal: None })
            }
            Some((Report::Killed(signal), _)) => {
                Some(Ending { reason: EndReason::Exited, code: None, signal: Some(signal) })
            }
            Some((Report::Failed(e), _)) => return Err(Failure::Enclosure(e)),
            Some((Report::Ready(_), _)) => return Err(Failure::Record("init spoke out of turn".to_owned())),
        })
    }

    /// One message of the client; `false` where it is gone.
    pub(super) fn hear_client(&mut self) -> Result<bool, Failure> {
        // What an orphaned init does not take any more shows as its end.
        match self.channel.receive::<Ask>()? {
            Received::Closed => return Ok(false),
            Received::Message(Ask::Signal(number), _) => drop(self.enclosure.signal(number)),
            Received::Message(Ask::Resume, _) => drop(self.enclosure.resume()),
            Received::Message(Ask::Resize { rows, columns }, _) => {
                if let (Some(relay), Some(recorder)) = (&mut self.relay, &mut self.recorder) {
                    relay.resize(rows, columns)?;
                    recorder.resized(rows, columns)?;
                }
            }
            Received::Message(Ask::Input(piece), _) => {
                if let Some(recorder) = &mut self.recorder {
                    recorder.input(&piece.0);
                }
            }
            Received::Message(Ask::Message { text, bytes }, _) => {
                if let Some(recorder) = &mut self.recorder {
                    recorder.message(&text.0, bytes)?;
                }
            }
            Received::Message(Ask::InputEnded { total }, _) => {
                if let Some(recorder) = &mut self.recorder {
                    recorder.input_ended(Some(total))?;
                }
            }
            Received::Message(Ask::Start { .. }, _) => return Ok(false),
        }
        Ok(true)
    }

    /// What the client said before it could know of the end.
    pub(super) fn hear_rest(&mut self) -> Result<(), Failure> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            match poll(&mut [PollFd::new(&self.channel, PollFlags::IN)], Some(&now)) {
                Ok(0) => return Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(io::Error::from)?,
            };
            if !self.hear_client()? {
                return Ok(());
            }
        }
    }

    /// The client died: puts the person's terminal back, and hangs up on the command as a closed terminal would.
    pub(super) fn client_gone(&mut self) {
        if let Some((terminal, state)) = &self.terminal {
            // A terminal that is gone as well needs no restoring.
            let _ = rustix::termios::tcsetattr(terminal, rustix::termios::OptionalActions::Now, state);
        }
        let _ = self.enclosure.signal(rustix::process::Signal::HUP.as_raw());
        let _ = self.enclosure.resume();
    }
}
