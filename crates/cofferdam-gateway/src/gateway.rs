//! The gateway of one run: what its parts share, and its life from the sockets to the monitor's end.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use cofferdam_core::event::EventKind;
use cofferdam_exchange::{Interceptor, Waiting};
use cofferdam_policy::{Layer, Policy, Rule};
use rustls::RootCertStore;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::accept::{Destinations, Redirected};
use crate::error::GatewayError;
use crate::handle::Handle;
use crate::http::{Bodies, Services, Unreachable};
use crate::names::Names;
use crate::outside::{ConnectError, Outgoing, Outside};
use crate::owner::Owners;
use crate::pipes::Pipes;
use crate::publish::Published;
use crate::room::Room;
use crate::tls::{Leaves, Servers};
use crate::{Connection, Hear, Ledger, Place, Say, Settings, Sockets, accept, confine, dns, lanes, roots};

/// Most connections at once; what comes beyond waits in the listener's queue until one that does nothing has made place.
const CONNECTIONS: usize = 4096;
/// Descriptors that are for other things than connections: pipes, bodies that are kept, look-ups, published ports.
const OTHER: u64 = 352;
/// How long connections get to end after everything inside has.
const ENDING: Duration = Duration::from_millis(500);
/// Threads for look-ups outside: `getaddrinfo(3)` blocks.
const RESOLVERS: usize = 8;

/// What the parts of a gateway share. One thread.
pub struct Gateway {
    policy: RefCell<Rc<Policy>>,
    /// Names and the addresses that stand for them inside.
    pub(crate) names: RefCell<Names>,
    /// The way out.
    pub(crate) outside: Outside,
    /// Whose a socket is.
    pub(crate) owners: Owners,
    /// The monitor.
    pub(crate) ledger: Rc<Ledger>,
    /// Certificates towards programs.
    leaves: Leaves,
    /// TLS towards servers.
    servers: Servers,
    /// Who sees requests, in order.
    pub(crate) interceptors: Vec<Box<dyn Interceptor>>,
    /// Room for bodies that are held as a whole.
    bodies: Bodies,
    /// Pipes for relayed connections.
    pub(crate) pipes: Pipes,
    connections: Cell<u64>,
    /// Where connections have their places.
    pub(crate) room: Room,
}

impl Gateway {
    /// The rules that apply now. A request is judged by one value of this, not by two that may differ.
    pub(crate) fn policy(&self) -> Rc<Policy> {
        Rc::clone(&self.policy.borrow())
    }

    /// Lets more rules apply, after all others.
    fn allow(&self, rules: Vec<Rule>) {
        let before = Layer { rules: self.policy().rules().to_vec() };
        self.policy.replace(Rc::new(Policy::new([before, Layer { rules }])));
    }

    /// The next connection, accepted now.
    pub(crate) fn connection(&self, owner: Option<u64>) -> Connection {
        let number = self.connections.get() + 1;
        self.connections.set(number);
        Connection { number, owner, since: Instant::now() }
    }

    /// Records an event that a connection caused.
    ///
    /// # Errors
    /// Where the monitor is gone: what cannot be recorded must not happen.
    pub(crate) async fn record(&self, connection: &Connection, what: EventKind) -> io::Result<()> {
        self.ledger.record(connection.owner, what).await
    }

    /// Says that a connection is about to leave; its `net.connect` must follow.
    ///
    /// # Errors
    /// As [`Gateway::record`].
    pub(crate) async fn opened(
        &self,
        connection: &Connection,
        connect: cofferdam_core::event::NetConnect,
    ) -> io::Result<()> {
        self.ledger.say(&Say::Opened { owner: connection.owner, connect }, &[]).await
    }
}

impl Services for Gateway {
    fn policy(&self) -> Rc<Policy> {
        Gateway::policy(self)
    }

    fn interceptors(&self) -> &[Box<dyn Interceptor>] {
        &self.interceptors
    }

    fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    fn servers(&self) -> &Servers {
        &self.servers
    }

    fn connect<'a>(&'a self, place: &'a Place, rule: &'a Rule) -> Waiting<'a, Result<Outgoing, Unreachable>> {
        Box::pin(async move {
            self.outside.connect(place, rule).await.map_err(|error| match (error.refusal(place, rule), &error) {
                (Some(refusal), _) => Unreachable::Refused(refusal),
                (None, ConnectError::Timeout) => Unreachable::Timeout(error.to_string()),
                (None, _) => Unreachable::Failed(error.to_string()),
            })
        })
    }

    fn say<'a>(&'a self, what: &'a Say, files: &'a [OwnedFd]) -> Waiting<'a, io::Result<()>> {
        Box::pin(async move {
            let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
            self.ledger.say(what, &files).await
        })
    }
}

/// Runs the gateway in this process, which must have one thread and nothing open but what it is given: reads the roots,
/// confines itself for good, and serves until the other end of `control` closes. `interceptors` are made after
/// confinement, in the order in which they are asked.
///
/// # Errors
/// Where it cannot be set up or confined (nothing was served then), or a socket fails for good.
pub fn serve(
    settings: Settings,
    sockets: Sockets,
    control: OwnedFd,
    interceptors: impl FnOnce(Handle) -> Result<Vec<Box<dyn Interceptor>>, String>,
) -> Result<(), GatewayError> {
    let roots = roots::read(&settings.roots)?;
    confine::limits()?;
    let room = Places::within(confine::descriptors()?);
    confine::confine()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(RESOLVERS)
        .build()
        .map_err(GatewayError::Runtime)?;
    let served = run(settings, roots, room, sockets, control, Redirected, interceptors);
    let result = LocalSet::new().block_on(&runtime, served);
    // A look-up that still waits for its answer must not hold up the end.
    runtime.shutdown_background();
    result
}

/// How much there can be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Connections, each with a socket inside and one outside.
    pub(crate) connections: usize,
    /// Lanes, each with two pipes besides.
    pub(crate) lanes: usize,
}

impl Places {
    /// By the limit of descriptors.
    fn within(descriptors: u64) -> Places {
        let few = |number: u64, most: usize| usize::try_from(number).map_or(most, |number| number.min(most));
        let lanes = few(descriptors / 64, lanes::MOST);
        let room = descriptors.saturating_sub(OTHER + 4 * lanes as u64) / 2;
        Places { connections: few(room, CONNECTIONS).max(1), lanes }
    }
}

/// What [`serve`] does after confinement, with `room` for so much. Must run in a [`LocalSet`].
///
/// # Errors
/// As [`serve`].
pub(crate) async fn run(
    settings: Settings,
    roots: RootCertStore,
    room: Places,
    sockets: Sockets,
    control: OwnedFd,
    destinations: impl Destinations + 'static,
    interceptors: impl FnOnce(Handle) -> Result<Vec<Box<dyn Interceptor>>, String>,
) -> Result<(), GatewayError> {
    let ledger = Rc::new(Ledger::new(control).map_err(GatewayError::Monitor)?);
    let handle = Handle::new(Rc::clone(&ledger));
    let gateway = Rc::new(Gateway {
        policy: RefCell::new(Rc::new(Policy::new([Layer { rules: settings.rules }]))),
        names: RefCell::new(Names::new(&settings.names, settings.before.names)),
        outside: Outside::new(&settings.proxy)?,
        owners: Owners::new(sockets.diag),
        ledger,
        leaves: Leaves::new(&settings.authority).map_err(|e| GatewayError::Certificates(e.to_string()))?,
        servers: Servers::new(roots)?,
        interceptors: interceptors(handle.clone()).map_err(GatewayError::Interceptors)?,
        bodies: Bodies::default(),
        pipes: Pipes::new(room.lanes),
        connections: Cell::new(settings.before.connections),
        room: Room::new(room.connections),
    });
    let destinations: Rc<dyn Destinations> = Rc::new(destinations);
    let mut servers = JoinSet::new();
    for socket in sockets.tcp {
        let listener = TcpListener::from_std(socket.into()).map_err(GatewayError::Socket)?;
        servers.spawn_local(accept::serve(Rc::clone(&gateway), listener, Rc::clone(&destinations)));
    }
    for socket in sockets.udp {
        let socket = UdpSocket::from_std(socket.into()).map_err(GatewayError::Socket)?;
        servers.spawn_local(dns::serve(Rc::clone(&gateway), socket));
    }
    let mut published = Published::default();
    loop {
        tokio::select! {
            heard = gateway.ledger.hear() => match heard.map_err(GatewayError::Monitor)? {
                None => break,
                Some((Hear::Allow(rules), _)) => gateway.allow(rules),
                Some((Hear::Answer { id, value }, _)) => handle.answered(id, value),
                Some((Hear::Publish(publications), files)) => published.add(&gateway, publications, files)?,
                Some((Hear::Unpublish(number), _)) => published.remove(number),
            },
            Some(ended) = published.ended() => match ended {
                Err(GatewayError::Monitor(_)) => {}
                result => result?,
            },
            Some(ended) = servers.join_next() => match ended {
                // The monitor is gone: the other branch sees its end, or why.
                Ok(Err(GatewayError::Monitor(_))) => {}
                Ok(result) => result?,
                Err(e) => return Err(GatewayError::Runtime(io::Error::other(e))),
            },
        }
    }
    // Everything inside has ended: so do its connections, each with its record.
    servers.shutdown().await;
    published.finish(ENDING).await;
    // What has not ended by then the monitor records.
    let _ = timeout(ENDING, gateway.room.empty()).await;
    Ok(())
}

#[cfg(test)]
mod tests;
