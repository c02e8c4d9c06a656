//! TLS with a program: the gateway is the server that it wanted.

use std::io;

use cofferdam_policy::host::Host;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Leaves, LeavesError};

/// A handshake that succeeded.
pub(crate) struct Accepted<S> {
    /// The program.
    pub(crate) stream: TlsStream<S>,
    /// Whether HTTP/2 was agreed on.
    pub(crate) h2: bool,
    /// The name that the program gave, where it is another than it looked up. The handshake is finished nevertheless,
    /// so that the program can be told.
    pub(crate) other: Option<String>,
}

/// No handshake.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    /// The program, or the connection.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The certificate.
    #[error(transparent)]
    Leaf(#[from] LeavesError),
}

/// Reads the ClientHello and answers as this host.
///
/// # Errors
/// Those of the handshake; an alert of the program's is an [`io::Error`] that holds a [`rustls::Error`].
pub(crate) async fn accept<S>(leaves: &Leaves, stream: S, host: &str) -> Result<Accepted<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let started = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let other = started.client_hello().server_name().and_then(|name| match Host::parse(name) {
        Ok(named) if named.to_string() == host => None,
        _ => Some(name.to_ascii_lowercase()),
    });
    let config = leaves.of(other.as_deref().unwrap_or(host))?;
    let stream = started.into_stream(config).await?;
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Accepted { stream, h2, other })
}
