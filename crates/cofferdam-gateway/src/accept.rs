//! Connections from inside: where each wanted to go, whose it is, and who serves it.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cofferdam_core::plan::NetworkPlan;
use rustix::net::sockopt::{ip_original_dst, ipv6_original_dst};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::error::GatewayError;
use crate::names::{Names, is_synthetic};
use crate::room::Seat;
use crate::{Gateway, Place, classify, dns, refuse};

/// How long to wait where there are no descriptors left.
const BREATH: Duration = Duration::from_millis(50);

/// Where an accepted connection wanted to go.
pub(crate) trait Destinations {
    /// The address that the program connected to.
    ///
    /// # Errors
    /// Where the kernel does not know it.
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr>;
}

/// What the kernel's redirect remembers (`SO_ORIGINAL_DST`, `IP6T_SO_ORIGINAL_DST`); the listener's own address where it
/// was connected to itself.
pub(crate) struct Redirected;

impl Destinations for Redirected {
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        let local = stream.local_addr()?;
        if local.port() != NetworkPlan::REDIRECT_PORT {
            return Ok(local);
        }
        match local {
            SocketAddr::V4(_) => Ok(ip_original_dst(stream)?.into()),
            SocketAddr::V6(_) => Ok(ipv6_original_dst(stream)?.into()),
        }
    }
}

/// Accepts, and serves each connection in a task of its own.
///
/// # Errors
/// Where the listener fails for good.
pub(crate) async fn serve(
    gateway: Rc<Gateway>,
    listener: TcpListener,
    destinations: Rc<dyn Destinations>,
) -> Result<(), GatewayError> {
    loop {
        let (stream, program, seat) = next(&gateway, &listener).await?;
        let (gateway, destinations) = (Rc::clone(&gateway), Rc::clone(&destinations));
        tokio::task::spawn_local(async move {
            // What cannot be recorded ends with the monitor, which is gone then.
            tokio::select! {
                _ = connection(gateway, stream, program, &*destinations, &seat) => {}
                () = seat.dropped() => {}
            }
        });
    }
}

/// The next connection, whose it is by its address, and its place among those that there may be at once.
///
/// # Errors
/// Where the listener fails for good.
pub(crate) async fn next(
    gateway: &Gateway,
    listener: &TcpListener,
) -> Result<(TcpStream, SocketAddr, Rc<Seat>), GatewayError> {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // Only now: nobody makes place for a connection that does not come.
                let seat = gateway.room.enter().await.map_err(|e| GatewayError::Runtime(io::Error::other(e)))?;
                return Ok((stream, from, seat));
            }
            Err(e) if is_passing(&e) => sleep(BREATH).await,
            Err(e) => return Err(GatewayError::Socket(e)),
        }
    }
}

/// Errors of one connection, or of a moment (`accept(2)`).
fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOBUFS
                | Errno::NOMEM
                | Errno::PROTO
                | Errno::INTR
        )
    )
}

async fn connection(
    gateway: Rc<Gateway>,
    stream: TcpStream,
    program: SocketAddr,
    destinations: &dyn Destinations,
    seat: &Rc<Seat>,
) -> io::Result<()> {
    let Ok(destination) = destinations.of(&stream) else {
        refuse::reset(stream);
        return Ok(());
    };
    let ip = destination.ip().to_canonical();
    // Straight to the listener, where nothing of the enclosure's own listens.
    if ip.is_loopback() || ip.is_unspecified() {
        refuse::reset(stream);
        return Ok(());
    }
    let owner = gateway.owners.of_connection(program, destination);
    let connection = gateway.connection(owner);
    if destination.port() == 53 {
        return dns::serve_stream(&gateway, stream, connection, seat).await;
    }
    let held = Names::hold(&gateway.names, ip);
    let (host, forgotten) = match &held {
        Some((name, _)) => (name.clone(), false),
        // It stands for no name any more: it leads nowhere, whatever a rule says.
        None => (ip.to_string(), is_synthetic(ip)),
    };
    let place = Place { host, port: destination.port() };
    if forgotten {
        seat.is_served();
        return refuse::direct(&gateway, stream, &place, &connection).await;
    }
    classify::serve(&gateway, stream, place, connection, seat).await
}
