//! A request of the host's own, by the gateway's way out: its proxy, its roots, its checks of addresses. For a process that
//! sends one and ends.

use std::time::Duration;

use bytes::Bytes;
use cofferdam_policy::Rule;
use cofferdam_policy::host::in_authority;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::outside::Outside;
use crate::place::Place;
use crate::{roots, tls};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of an answer.
const LARGEST: usize = 256 * 1024;
const AGENT: &str = concat!("cofferdam/", env!("CARGO_PKG_VERSION"));

/// How the host goes out.
#[derive(Debug)]
pub struct Way<'a> {
    /// Files of PEM certificates by which servers are verified.
    pub roots: &'a [cofferdam_core::Bytes],
    /// The host's proxy, as [`crate::Settings::proxy`] has it.
    pub proxy: &'a [String],
}

/// A request that is posted.
#[derive(Debug)]
pub struct Posted<'a> {
    /// The rule that names its host, and says over which scheme and port.
    pub rule: &'a Rule,
    /// Its host, as policy compares it.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// Whether TLS protects it.
    pub tls: bool,
    /// Its path.
    pub path: &'a str,
    /// Its media type.
    pub media: &'a str,
    /// Its body.
    pub body: &'a [u8],
}

/// Posts; the answer's status and body, whatever it is. Redirects are not followed: a body goes where it was meant to go, and
/// nowhere else.
///
/// # Errors
/// Where there is no answer, in words.
pub fn post(way: &Way<'_>, posted: &Posted<'_>) -> Result<(u16, Zeroizing<Vec<u8>>), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let all = async { timeout(PATIENCE, send(way, posted)).await };
    let result = runtime.block_on(all);
    // A look-up that still waits for its answer must not hold up the end.
    runtime.shutdown_background();
    result.unwrap_or_else(|_| Err(format!("there was no answer within {} seconds", PATIENCE.as_secs())))
}

async fn send(way: &Way<'_>, posted: &Posted<'_>) -> Result<(u16, Zeroizing<Vec<u8>>), String> {
    let outside = Outside::new(way.proxy).map_err(|e| e.to_string())?;
    let place = Place { host: posted.host.to_owned(), port: posted.port };
    let to = outside.connect(&place, posted.rule).await.map_err(|e| format!("{}: {e}", posted.host))?;
    if !posted.tls {
        return exchange(TokioIo::new(to.stream), posted).await;
    }
    let roots = roots::read(way.roots).map_err(|e| e.to_string())?;
    let servers = tls::Servers::new(roots).map_err(|e| e.to_string())?;
    let stream = servers.connect(to.stream, posted.host, false).await;
    let (stream, _) = stream.map_err(|e| format!("{}: {e}", posted.host))?;
    exchange(TokioIo::new(stream), posted).await
}

async fn exchange<S: Read + Write + Unpin + Send + 'static>(
    stream: S,
    posted: &Posted<'_>,
) -> Result<(u16, Zeroizing<Vec<u8>>), String> {
    let (mut sender, connection) = http1::handshake(stream).await.map_err(|e| e.to_string())?;
    let standard = posted.port == if posted.tls { 443 } else { 80 };
    let host = in_authority(posted.host);
    let host = if standard { host.into_owned() } else { format!("{host}:{}", posted.port) };
    let request = Request::post(posted.path)
        .header(HOST, host)
        .header(CONTENT_TYPE, posted.media)
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .header(USER_AGENT, HeaderValue::from_static(AGENT))
        .body(Full::new(Bytes::copy_from_slice(posted.body)))
        .map_err(|e| e.to_string())?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|e| e.to_string())?;
        Ok((status, Zeroizing::new(body.to_bytes().to_vec())))
    };
    tokio::pin!(connection, asking);
    tokio::select! {
        answered = &mut asking => answered,
        // What was read before it ended is still there to be taken.
        ended = &mut connection => match ended {
            Ok(()) => asking.await,
            Err(e) => Err(e.to_string()),
        },
    }
}
