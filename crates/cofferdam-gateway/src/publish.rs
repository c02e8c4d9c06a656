//! Published ports: connections from outside to a port of the enclosure's loopback, passed on unread.
//!
//! Only what the host's listeners accept is passed on; nothing that comes from inside makes a connection here. The sockets
//! that lead inside are made there, by a process that connects to that one port (`cofferdam-enclosure`'s dialer): one that
//! is made here lies outside.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram as StdUnixDatagram;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream, UnixDatagram};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::GatewayError;
use crate::relay::{Counts, both};
use crate::wire::{self, Publication, Say};
use crate::{Gateway, accept, refuse};

/// How long a server inside may take to take a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// The ports that are published now.
#[derive(Default)]
pub(crate) struct Published {
    /// Told anything, a publication takes no more connections; dropped, it ends those that it has.
    open: HashMap<u64, watch::Sender<()>>,
    /// The servers, until they have said how they ended.
    servers: JoinSet<Result<(), GatewayError>>,
}

impl Published {
    /// Serves more. `files` are, for each, the socket of its dialer and its listeners.
    ///
    /// # Errors
    /// Where a socket does not work.
    pub(crate) fn add(
        &mut self,
        gateway: &Rc<Gateway>,
        publications: Vec<Publication>,
        files: Vec<OwnedFd>,
    ) -> Result<(), GatewayError> {
        let mut files = files.into_iter();
        for Publication { number, listeners } in publications {
            let missing = || GatewayError::Monitor(io::ErrorKind::InvalidData.into());
            let dialer = files.next().ok_or_else(missing)?;
            let dialer = Rc::new(Dialer::new(dialer).map_err(GatewayError::Socket)?);
            let (stop, stopped) = watch::channel(());
            let mut accepting = JoinSet::new();
            for listener in files.by_ref().take(listeners) {
                let listener = TcpListener::from_std(listener.into()).map_err(GatewayError::Socket)?;
                let port = Port { gateway: Rc::clone(gateway), number, dialer: Rc::clone(&dialer) };
                accepting.spawn_local(port.serve(listener, stopped.clone()));
            }
            self.open.insert(number, stop);
            let gateway = Rc::clone(gateway);
            self.servers.spawn_local(async move {
                let mut result = Ok(());
                while let Some(ended) = accepting.join_next().await {
                    result = result.and(ended.unwrap_or_else(|e| Err(GatewayError::Runtime(io::Error::other(e)))));
                }
                gateway.ledger.say(&Say::Unpublished { number }, &[]).await.map_err(GatewayError::Monitor)?;
                result
            });
        }
        Ok(())
    }

    /// Ends one: its connections too.
    pub(crate) fn remove(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// How the next server ended; `None` where there is none.
    pub(crate) async fn ended(&mut self) -> Option<Result<(), GatewayError>> {
        let ended = self.servers.join_next().await?;
        Some(ended.unwrap_or_else(|e| Err(GatewayError::Runtime(io::Error::other(e)))))
    }

    /// Ends all, each with its record, once everything inside has ended: what was said there before passes first, for as
    /// long as `patience`.
    pub(crate) async fn finish(&mut self, patience: Duration) {
        for stop in self.open.values() {
            stop.send_replace(());
        }
        let _ = timeout(patience, self.all_ended()).await;
        self.open.clear();
        let _ = timeout(patience, self.all_ended()).await;
    }

    /// Where the monitor is gone there is nobody to tell.
    async fn all_ended(&mut self) {
        while self.ended().await.is_some() {}
    }
}

/// A published port, as one of its listeners sees it.
#[derive(Clone)]
struct Port {
    gateway: Rc<Gateway>,
    number: u64,
    dialer: Rc<Dialer>,
}

impl Port {
    /// Accepts until it is stopped, and waits for the last connection's record.
    async fn serve(self, listener: TcpListener, mut stopped: watch::Receiver<()>) -> Result<(), GatewayError> {
        let mut connections = JoinSet::new();
        loop {
            let (stream, from, seat) = tokio::select! {
                _ = stopped.changed() => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept::next(&self.gateway, &listener) => accepted?,
            };
            seat.is_served();
            let (port, stopped) = (self.clone(), stopped.clone());
            connections.spawn_local(async move {
                // What cannot be recorded ends with the monitor, which is gone then.
                let _ = port.connection(stream, from, stopped).await;
                drop(seat);
            });
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
        Ok(())
    }

    async fn connection(
        &self,
        outside: TcpStream,
        from: SocketAddr,
        mut stopped: watch::Receiver<()>,
    ) -> io::Result<()> {
        let number = self.number;
        // No evidence, no connection.
        self.gateway.ledger.say(&Say::Reached { number }, &[]).await?;
        let counts = Counts::default();
        let answered = tokio::select! {
            () = dropped(&mut stopped) => true,
            answered = self.relay(outside, from.ip(), &counts) => answered,
        };
        let (sent, received) = (counts.sent.get(), counts.received.get());
        self.gateway.ledger.say(&Say::Passed { number, answered, sent, received }, &[]).await
    }

    /// Passes the bytes of a connection; whether somebody answered inside.
    async fn relay(&self, outside: TcpStream, from: IpAddr, counts: &Counts) -> bool {
        // Different servers may listen by the two families: first the one that was asked by.
        let v6 = from.to_canonical().is_ipv6();
        let Some(inside) = self.inside([v6, !v6]).await else {
            refuse::reset(outside);
            return false;
        };
        // How it ended both ends know.
        let _ = both(inside, outside, &self.gateway.pipes, counts).await;
        true
    }

    /// A connection to whoever listens inside.
    async fn inside(&self, families: [bool; 2]) -> Option<TcpStream> {
        for v6 in families {
            if let Ok(Ok(stream)) = timeout(PATIENCE, self.dialer.connect(v6)).await {
                return Some(stream);
            }
        }
        None
    }
}

/// Waits for the end of the other side.
async fn dropped(stopped: &mut watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}

/// The process inside that makes sockets.
struct Dialer {
    // std knows no sequenced packets; for a connected socket the calls are the same.
    socket: UnixDatagram,
    /// Held from a question to its answer.
    turn: Mutex<()>,
}

impl Dialer {
    fn new(socket: OwnedFd) -> io::Result<Dialer> {
        let socket = StdUnixDatagram::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Dialer { socket: UnixDatagram::from_std(socket)?, turn: Mutex::new(()) })
    }

    /// A connection to the port inside over IPv6 or IPv4.
    async fn connect(&self, v6: bool) -> io::Result<TcpStream> {
        let stream = self.socket(v6).await?;
        stream.writable().await?;
        match stream.take_error()? {
            None => Ok(stream),
            Some(error) => Err(error),
        }
    }

    /// A socket that is being connected.
    async fn socket(&self, v6: bool) -> io::Result<TcpStream> {
        let _turn = self.turn.lock().await;
        self.socket.send(if v6 { b"6" } else { b"4" }).await?;
        let mut packet = [0u8; 16];
        let (length, mut files) =
            self.socket.async_io(Interest::READABLE, || wire::receive(self.socket.as_fd(), &mut packet)).await?;
        if length == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match (serde_json::from_slice(&packet[..length])?, files.pop()) {
            (0, Some(socket)) => TcpStream::from_std(socket.into()),
            (0, None) => Err(io::ErrorKind::InvalidData.into()),
            (errno, _) => Err(Errno::from_raw_os_error(errno).into()),
        }
    }
}
