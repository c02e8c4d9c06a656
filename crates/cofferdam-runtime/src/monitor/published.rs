//! The published ports of a run, as the monitor sees them: where the host listens, and what came of it.
//!
//! The gateway accepts and relays; until there is one the listeners are polled here, so that a port that nobody asks costs
//! nothing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cofferdam_core::Publish;
use cofferdam_core::event::{NetPublished, NetUnpublished, PublishedBy, UnpublishedBy};
use cofferdam_gateway::Publication;
use rustix::net::SocketType;
use rustix::net::getsockname;
use rustix::net::sockopt::{socket_acceptconn, socket_type};

/// A published port.
#[derive(Debug)]
struct Entry {
    number: u64,
    /// None once it has ended.
    listeners: Vec<OwnedFd>,
    /// Connections that have not ended.
    open: u64,
    /// What its end will say.
    counts: NetUnpublished,
    ended: bool,
}

/// The published ports.
#[derive(Debug, Default)]
pub(super) struct Published {
    last: u64,
    entries: Vec<Entry>,
}

impl Published {
    /// One more, with the listeners that who asks has made; its event, and its number.
    ///
    /// # Errors
    /// Why it cannot be, for the person.
    pub(super) fn add(
        &mut self,
        port: u16,
        listeners: Vec<OwnedFd>,
        by: PublishedBy,
    ) -> Result<(u64, NetPublished), String> {
        if self.entries.iter().filter(|entry| !entry.ended).count() >= Publish::MOST {
            return Err(format!("{} ports are published already", Publish::MOST));
        }
        let addresses = listeners.iter().map(listens_at).collect::<io::Result<Vec<_>>>();
        let addresses = addresses.map_err(|e| format!("what was handed over does not listen: {e}"))?;
        if !(1..=2).contains(&addresses.len()) {
            return Err(format!("{} listeners were handed over for one port", addresses.len()));
        }
        self.last += 1;
        let counts = NetUnpublished {
            port,
            addresses: addresses.clone(),
            connections: 0,
            unanswered: 0,
            sent: 0,
            received: 0,
            lost: 0,
            by: UnpublishedBy::RunEnd,
        };
        self.entries.push(Entry { number: self.last, listeners, open: 0, counts, ended: false });
        let uid = rustix::process::getuid().as_raw();
        Ok((self.last, NetPublished { port, addresses, by, uid }))
    }

    /// The listeners of those that have not ended.
    pub(super) fn listeners(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.entries.iter().flat_map(|entry| &entry.listeners).map(AsFd::as_fd)
    }

    /// For the gateway: this one or all of them, each with its port and listeners.
    pub(super) fn publications(&self, number: Option<u64>) -> Vec<(Publication, u16, Vec<BorrowedFd<'_>>)> {
        let wanted = self.entries.iter().filter(|e| !e.ended && number.is_none_or(|number| e.number == number));
        wanted
            .map(|e| {
                let publication = Publication { number: e.number, listeners: e.listeners.len() };
                (publication, e.counts.port, e.listeners.iter().map(AsFd::as_fd).collect())
            })
            .collect()
    }

    /// A connection was taken; `false` where there is no such publication.
    pub(super) fn reached(&mut self, number: u64) -> bool {
        let Some(entry) = self.entries.iter_mut().find(|e| e.number == number) else { return false };
        entry.open += 1;
        entry.counts.connections += 1;
        true
    }

    /// A connection has ended; `false` where there is no such one.
    pub(super) fn passed(&mut self, number: u64, answered: bool, sent: u64, received: u64) -> bool {
        let Some(entry) = self.entries.iter_mut().find(|e| e.number == number && e.open > 0) else { return false };
        let counts = &mut entry.counts;
        entry.open -= 1;
        counts.unanswered += u64::from(!answered);
        counts.sent = counts.sent.saturating_add(sent);
        counts.received = counts.received.saturating_add(received);
        true
    }

    /// Ends the publications of a port; their numbers.
    pub(super) fn end(&mut self, port: u16) -> Vec<u64> {
        let of_port = self.entries.iter_mut().filter(|e| !e.ended && e.counts.port == port);
        of_port
            .map(|entry| {
                entry.end(UnpublishedBy::Person);
                entry.number
            })
            .collect()
    }

    /// Ends all of them.
    pub(super) fn end_all(&mut self, by: UnpublishedBy) {
        for entry in self.entries.iter_mut().filter(|e| !e.ended) {
            entry.end(by);
        }
    }

    /// The gateway says that one has ended; what is to be recorded, where there was one.
    pub(super) fn finished(&mut self, number: u64) -> Option<NetUnpublished> {
        let place = self.entries.iter().position(|e| e.number == number)?;
        let mut entry = self.entries.remove(place);
        if !entry.ended {
            entry.end(UnpublishedBy::Failure);
        }
        Some(entry.counts)
    }

    /// The gateway is gone, and its connections with it; what is to be recorded of publications that had ended.
    pub(super) fn lost(&mut self) -> Vec<NetUnpublished> {
        for entry in &mut self.entries {
            entry.counts.lost += std::mem::take(&mut entry.open);
        }
        let (ended, entries) = std::mem::take(&mut self.entries).into_iter().partition(|e: &Entry| e.ended);
        self.entries = entries;
        ended.into_iter().map(|entry: Entry| entry.counts).collect()
    }

    /// The run has ended; what is to be recorded.
    pub(super) fn finish(&mut self) -> Vec<NetUnpublished> {
        std::mem::take(&mut self.entries).into_iter().map(|entry| entry.counts).collect()
    }
}

impl Entry {
    fn end(&mut self, by: UnpublishedBy) {
        self.listeners.clear();
        self.counts.by = by;
        self.ended = true;
    }
}

/// Where a TCP socket listens: what was handed over is not taken on trust.
fn listens_at(socket: &OwnedFd) -> io::Result<SocketAddr> {
    if socket_type(socket)? != SocketType::STREAM || !socket_acceptconn(socket)? {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(SocketAddr::try_from(getsockname(socket)?)?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn listener() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    #[test]
    fn counts_are_folded_and_what_died_with_a_gateway_is_told() {
        let mut published = Published::default();
        let (number, event) = published.add(80, vec![listener()], PublishedBy::Live).unwrap();
        assert_eq!((event.port, event.addresses.len()), (80, 1));
        assert!(!published.reached(number + 1) && !published.passed(number, true, 1, 1));
        for _ in 0..3 {
            assert!(published.reached(number));
        }
        assert!(published.passed(number, true, 10, 20) && published.passed(number, false, 0, 0));
        assert!(published.lost().is_empty(), "it goes on with the next gateway");
        assert_eq!(published.publications(None).len(), 1);
        assert_eq!(published.end(80), [number]);
        assert_eq!(published.listeners().count(), 0);
        let ended = published.finished(number).unwrap();
        assert_eq!((ended.connections, ended.unanswered, ended.sent, ended.received, ended.lost), (3, 1, 10, 20, 1));
        assert_eq!(ended.by, UnpublishedBy::Person);
        assert!(published.finish().is_empty());
    }

    #[test]
    fn only_listeners_are_taken_and_no_more_than_can_be_handed_on() {
        let mut published = Published::default();
        for wrong in
            [vec![], vec![std::fs::File::open("/dev/null").unwrap().into()], vec![listener(), listener(), listener()]]
        {
            published.add(80, wrong, PublishedBy::Live).unwrap_err();
        }
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        published.add(80, vec![datagrams.into()], PublishedBy::Live).unwrap_err();
        for _ in 0..Publish::MOST {
            published.add(80, vec![listener()], PublishedBy::Live).unwrap();
        }
        published.add(80, vec![listener()], PublishedBy::Live).unwrap_err();
    }
}
