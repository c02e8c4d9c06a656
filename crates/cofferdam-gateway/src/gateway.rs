//! The gateway of one run: what its parts share, and its life from the sockets to the monitor's end.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use cofferdam_core::Timestamp;
use cofferdam_core::event::EventKind;
use cofferdam_exchange::Interceptor;
use cofferdam_policy::{Layer, Policy, Rule};
use rustls::RootCertStore;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::accept::{Destinations, Redirected};
use crate::error::GatewayError;
use crate::handle::Handle;
use crate::names::Names;
use crate::outside::Outside;
use crate::owner::Owners;
use crate::pipes::Pipes;
use crate::{Authority, Connection, Hear, Ledger, Settings, Sockets, Say, accept, confine, dns, roots};

/// Most connections at once; what comes beyond waits in the listener's queue.
const CONNECTIONS: usize = 4096;
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
    /// What certificates inside are signed by.
    pub(crate) authority: Authority,
    /// What servers outside are verified by.
    pub(crate) roots: Arc<RootCertStore>,
    /// Who sees requests, in order.
    pub(crate) interceptors: Vec<Box<dyn Interceptor>>,
    /// Pipes for relayed connections.
    pub(crate) pipes: Pipes,
    connections: Cell<u64>,
    /// A permit a connection.
    pub(crate) room: Arc<Semaphore>,
}

impl Gateway {
    /// The rules that apply now. A request is judged by one value of this, not by two that may differ.
    pub(crate) fn policy(&self) -> Rc<Policy> {
        Rc::clone(&self.policy.borrow())
    }

    /// Replaces the rules.
    fn set_rules(&self, rules: Vec<Rule>) {
        self.policy.replace(Rc::new(Policy::new([Layer { rules }])));
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

    /// Whether anything about a host could be allowed now.
    pub(crate) fn may_any(&self, host: &str) -> bool {
        self.policy.borrow().may_any(host, Timestamp::now())
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
    interceptors: impl FnOnce(Handle) -> Vec<Box<dyn Interceptor>>,
) -> Result<(), GatewayError> {
    let roots = roots::read(&settings.roots)?;
    let pipes = Pipes::new();
    confine::limits()?;
    confine::confine()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(RESOLVERS)
        .build()
        .map_err(GatewayError::Runtime)?;
    let served = run(settings, roots, pipes, sockets, control, Redirected, interceptors);
    let result = LocalSet::new().block_on(&runtime, served);
    // A look-up that still waits for its answer must not hold up the end.
    runtime.shutdown_background();
    result
}

/// What [`serve`] does after confinement. Must run in a [`LocalSet`].
///
/// # Errors
/// As [`serve`].
pub(crate) async fn run(
    settings: Settings,
    roots: RootCertStore,
    pipes: Pipes,
    sockets: Sockets,
    control: OwnedFd,
    destinations: impl Destinations,
    interceptors: impl FnOnce(Handle) -> Vec<Box<dyn Interceptor>>,
) -> Result<(), GatewayError> {
    let ledger = Rc::new(Ledger::new(control).map_err(GatewayError::Monitor)?);
    let handle = Handle::new(Rc::clone(&ledger));
    let gateway = Rc::new(Gateway {
        policy: RefCell::new(Rc::new(Policy::new([Layer { rules: settings.rules }]))),
        names: RefCell::new(Names::new()),
        outside: Outside::new(&settings.proxy)?,
        owners: Owners::new(sockets.diag),
        ledger,
        authority: settings.authority,
        roots: Arc::new(roots),
        interceptors: interceptors(handle.clone()),
        pipes,
        connections: Cell::new(0),
        room: Arc::new(Semaphore::new(CONNECTIONS)),
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
    loop {
        tokio::select! {
            heard = gateway.ledger.hear() => match heard.map_err(GatewayError::Monitor)? {
                None => return Ok(()),
                Some(Hear::Rules(rules)) => gateway.set_rules(rules),
                Some(Hear::Answer { id, value }) => handle.answered(id, value),
            },
            Some(ended) = servers.join_next() => match ended {
                // The monitor is gone: the other branch sees its end, or why.
                Ok(Err(GatewayError::Monitor(_))) => {}
                Ok(result) => result?,
                Err(e) => return Err(GatewayError::Runtime(io::Error::other(e))),
            },
        }
    }
}
