//! The host's end of a published port: its listeners, made by who asks and handed to the monitor.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cofferdam_core::Publish;
use rustix::io::Errno;

/// How often a number that is free for one family is looked for that is free for the other one too.
const ATTEMPTS: u32 = 16;

/// A port cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be published at {address}: {}", .why.kind())]
pub struct ListenError {
    what: Publish,
    address: SocketAddr,
    why: io::Error,
}

impl ListenError {
    /// Whether another program has the port.
    pub fn is_taken(&self) -> bool {
        self.why.kind() == io::ErrorKind::AddrInUse
    }
}

/// The listeners of a published port.
#[derive(Debug)]
pub struct Listening {
    /// What they are for.
    pub what: Publish,
    /// Where they listen.
    pub addresses: Vec<SocketAddr>,
    listeners: Vec<TcpListener>,
}

impl Listening {
    /// To be handed on.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.iter().map(AsFd::as_fd)
    }

    /// For who keeps them.
    pub(crate) fn into_descriptors(self) -> Vec<OwnedFd> {
        self.listeners.into_iter().map(OwnedFd::from).collect()
    }
}

/// Listens: where nothing else is asked for at 127.0.0.1 and `::1`, at the same number as inside where that is free, else at
/// a free one.
///
/// # Errors
/// Where a port that was named is taken, and those of `bind(2)`.
pub fn listen(what: &Publish) -> Result<Listening, ListenError> {
    let at = |port| try_listen(what, port);
    let opened = match what.host_port {
        Some(port) => at(port),
        // Taken, or kept for root (`ip_unprivileged_port_start` of ip(7)).
        None => at(what.port).or_else(|_| {
            let mut last = at(0);
            for _ in 1..ATTEMPTS {
                match &last {
                    Err(error) if error.is_taken() => last = at(0),
                    _ => break,
                }
            }
            last
        }),
    }?;
    let addresses = opened.iter().map(|(address, _)| *address).collect();
    Ok(Listening { what: what.clone(), addresses, listeners: opened.into_iter().map(|(_, l)| l).collect() })
}

/// Listens at one number, 0 for any.
fn try_listen(what: &Publish, port: u16) -> Result<Vec<(SocketAddr, TcpListener)>, ListenError> {
    let one = |ip: IpAddr, port| {
        let failed = |why| ListenError { what: what.clone(), address: (ip, port).into(), why };
        // Without SO_REUSEADDR, which it sets, a port would stay taken for a minute after its last connection.
        let listener = TcpListener::bind((ip, port)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok::<_, ListenError>((listener.local_addr().map_err(failed)?, listener))
    };
    if let Some(address) = what.address {
        return Ok(vec![one(address, port)?]);
    }
    let v4 = one(Ipv4Addr::LOCALHOST.into(), port)?;
    let v6 = match one(Ipv6Addr::LOCALHOST.into(), v4.0.port()) {
        // Without IPv6 the other one is enough.
        Err(e) if matches!(Errno::from_io_error(&e.why), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)) => None,
        v6 => Some(v6?),
    };
    Ok([v4].into_iter().chain(v6).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_an_error_where_it_was_named_and_another_one_where_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let named = Publish { address: None, host_port: Some(port), port: 80 };
        let error = listen(&named).unwrap_err();
        assert!(error.is_taken() && error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
        let same = Publish { address: None, host_port: None, port };
        let listening = listen(&same).unwrap();
        let ports: Vec<u16> = listening.addresses.iter().map(SocketAddr::port).collect();
        assert!(ports.iter().all(|got| *got == ports[0] && *got != port), "{ports:?}");
        assert!(listening.addresses.iter().all(|address| address.ip().is_loopback()));
        drop(taken);
        assert_eq!(listen(&same).unwrap().addresses[0], (Ipv4Addr::LOCALHOST, port).into(), "free again");
    }
}
