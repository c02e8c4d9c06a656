//! Ports of the enclosure that the host reaches, as the outlet knows them: asked for, handed to the gateway, ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cofferdam_core::event::{EventKind, NetUnpublished, PublishedBy};
use cofferdam_gateway::Hear;

use super::{NO_NETWORK, Outlet};
use crate::control::Reply;
use crate::monitor::book::Book;
use crate::monitor::record::{RecordError, Recorder};

impl Outlet {
    /// Publishes a port, by the listeners that who asks has made.
    pub(in crate::monitor) fn publish(
        &mut self,
        port: u16,
        listeners: Vec<OwnedFd>,
        by: PublishedBy,
        recorder: &mut Recorder,
        dial: impl Fn(u16) -> io::Result<OwnedFd>,
    ) -> Result<Reply, RecordError> {
        if self.sockets.is_empty() {
            let why = self.failed.clone().unwrap_or_else(|| NO_NETWORK.to_owned());
            return Ok(Reply::Refused(why));
        }
        let (number, event) = match self.published.add(port, listeners, by) {
            Ok(added) => added,
            Err(why) => return Ok(Reply::Refused(why)),
        };
        // Recorded before anybody can be answered.
        recorder.append(None, EventKind::NetPublished(event))?;
        if self.gateway.is_some()
            && let Err(e) = self.hand_over(Some(number), dial)
        {
            let ended = self.published.finished(number);
            self.record_unpublished(ended, recorder)?;
            return Ok(Reply::Refused(format!("the gateway cannot be told: {e}")));
        }
        let listens = self.listening.now().and_then(Result::ok).map(|ports| ports.contains(&port));
        Ok(Reply::Published { listens })
    }

    /// Ends the publishing of a port.
    pub(in crate::monitor) fn unpublish(&mut self, port: u16, recorder: &mut Recorder) -> Result<Reply, RecordError> {
        let numbers = self.published.end(port);
        if numbers.is_empty() {
            return Ok(Reply::Refused(format!("port {port} is not published")));
        }
        for number in numbers {
            match &self.gateway {
                // Its last word about it follows. One that cannot be told is left, and ends: it would go on listening.
                Some(gateway) => {
                    if let Err(e) = gateway.send_now(&Hear::Unpublish(number), &[]) {
                        self.lost(recorder, &format!("the gateway could not be told what to end: {e}"))?;
                    }
                }
                None => {
                    let ended = self.published.finished(number);
                    self.record_unpublished(ended, recorder)?;
                }
            }
        }
        Ok(Reply::Done)
    }

    /// The ports that listen inside now.
    pub(in crate::monitor) fn listening(&self) -> Reply {
        match self.listening.now() {
            Some(Ok(ports)) => Reply::Listening(ports),
            Some(Err(e)) => Reply::Refused(format!("the kernel does not say what listens: {e}")),
            None => Reply::Refused(NO_NETWORK.to_owned()),
        }
    }

    /// Looks what listens inside, so that it can be offered.
    pub(in crate::monitor) fn look_if_due(&mut self) {
        self.listening.look_if_due();
    }

    /// Hands one published port or all of them to the gateway, each with a dialer of its own.
    pub(super) fn hand_over(&self, number: Option<u64>, dial: impl Fn(u16) -> io::Result<OwnedFd>) -> io::Result<()> {
        let publications = self.published.publications(number);
        let (Some(gateway), false) = (&self.gateway, publications.is_empty()) else { return Ok(()) };
        let dialers = publications.iter().map(|(_, port, _)| dial(*port)).collect::<io::Result<Vec<_>>>()?;
        let files: Vec<BorrowedFd<'_>> = publications
            .iter()
            .zip(&dialers)
            .flat_map(|((_, _, listeners), dialer)| [dialer.as_fd()].into_iter().chain(listeners.iter().copied()))
            .collect();
        gateway.send_now(&Hear::Publish(publications.iter().map(|(publication, ..)| *publication).collect()), &files)
    }

    pub(super) fn record_unpublished(
        &mut self,
        ended: impl IntoIterator<Item = NetUnpublished>,
        recorder: &mut impl Book,
    ) -> Result<(), RecordError> {
        for ended in ended {
            let what = EventKind::NetUnpublished(ended);
            self.traffic.take(&what);
            recorder.append(None, what)?;
        }
        Ok(())
    }
}
