//! TLS with a server: verified as the host's own programs would.

use std::io;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What TLS with servers needs.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    /// For programs that speak HTTP/1.1.
    h1: Arc<ClientConfig>,
    /// For programs that speak HTTP/2.
    either: Arc<ClientConfig>,
}

impl Servers {
    /// Verifies servers by these roots: TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// Where the provider has no protocol version, which ring has.
    pub(crate) fn new(roots: RootCertStore) -> Result<Servers, rustls::Error> {
        let mut h1 = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut either = h1.clone();
        h1.alpn_protocols = vec![b"http/1.1".to_vec()];
        either.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Servers { h1: Arc::new(h1), either: Arc::new(either) })
    }

    /// A handshake with this host over an open connection; whether HTTP/2 was agreed on.
    ///
    /// # Errors
    /// Those of the handshake: an [`io::Error`] that holds a [`rustls::Error`] where it was not the connection.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        h2: bool,
    ) -> io::Result<(TlsStream<TcpStream>, bool)> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let config = if h2 { &self.either } else { &self.h1 };
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
        let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((stream, agreed))
    }
}
