//! HTTP, with and without TLS: each request is judged before anything of it goes out, and each exchange is recorded.

mod destination;
mod exchange;
#[cfg(any(test, feature = "fuzz"))]
mod fake;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod heads;
mod hops;
mod limits;
mod meter;
mod out;
mod passing;
mod refusal;
mod reply;
mod request;
mod services;
mod session;
mod stream;
mod upstream;
mod whole;

#[cfg(test)]
mod tests;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) use refusal::by_policy;
pub(crate) use services::{Services, Unreachable};
pub(crate) use whole::Bodies;

use crate::room::Seat;
use crate::tls::{self, AcceptError};
use crate::{Connection, Place};
use limits::LocalExecutor;
use reply::Reply;
use session::Session;
use stream::{Inside, Spoken, Traffic};
use upstream::Upstream;

/// How long a program's handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves a connection that speaks HTTP or TLS, from its first byte to its end, in a [`tokio::task::LocalSet`]. Records
/// `net.connect`, `net.denied` and `http.exchange`.
///
/// # Errors
/// Where its end cannot be recorded: the monitor is gone.
pub(crate) async fn serve(
    services: Rc<dyn Services>,
    stream: TcpStream,
    place: Place,
    connection: Connection,
    seat: &Rc<Seat>,
) -> io::Result<()> {
    let traffic = Arc::new(Traffic::default());
    let session =
        |tls, other| Session::new(Rc::clone(&services), place.clone(), connection, tls, other, Arc::clone(&traffic));
    let begun = match stream.set_nodelay(true) {
        Ok(()) => Inside::new(stream, Arc::clone(&traffic)).await,
        Err(error) => Err(error),
    };
    let (inside, spoken) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            seat.is_served();
            let session = session(false, None);
            session.failed(format!("the program's connection: {error}"));
            return session.finish().await;
        }
    };
    if spoken != Spoken::Tls {
        return converse(session(false, None), TokioIo::new(inside), spoken == Spoken::H2, seat).await;
    }
    let error = match timeout(HANDSHAKE, tls::accept(services.leaves(), inside, &place.host)).await {
        Ok(Ok(accepted)) => {
            return converse(session(true, accepted.other), TokioIo::new(accepted.stream), accepted.h2, seat).await;
        }
        Ok(Err(AcceptError::Io(error))) => tls::of_program(&error),
        Ok(Err(AcceptError::Leaf(error))) => error.to_string(),
        Err(_) => "the program did not finish the TLS handshake".to_owned(),
    };
    seat.is_served();
    let session = session(true, None);
    session.failed(error);
    session.finish().await
}

async fn converse<S>(session: Rc<Session>, stream: S, h2: bool, seat: &Seat) -> io::Result<()>
where
    S: Read + Write + Unpin + Send + 'static,
{
    let upstream = Upstream::new(h2);
    let known = Rc::downgrade(&session);
    seat.has_requests(move || known.upgrade().is_some_and(|session| session.is_busy()));
    let service = service_fn(|request| {
        // hyper leaves the body out of an answer to HEAD where it speaks HTTP/1; clients of HTTP/2 take one for an error.
        let bare = h2 && request.method() == Method::HEAD;
        let answered = request::answer(Rc::clone(&session), Rc::clone(&upstream), request);
        async move { answered.await.map(|answer| if bare { answer.map(Reply::bare) } else { answer }) }
    });
    let served = async {
        if h2 {
            http2::Builder::new(LocalExecutor)
                .timer(TokioTimer::new())
                .initial_stream_window_size(limits::WINDOW)
                .initial_connection_window_size(limits::CONNECTION_WINDOW)
                .max_concurrent_streams(limits::STREAMS)
                .max_header_list_size(limits::HEAD)
                .max_send_buf_size(limits::BUFFER)
                .auto_date_header(false)
                .serve_connection(stream, service)
                .await
        } else {
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                .preserve_header_case(true)
                .half_close(true)
                .max_headers(limits::FIELDS)
                .max_buf_size(limits::BUFFER)
                .auto_date_header(false)
                .serve_connection(stream, service)
                .with_upgrades()
                .await
        }
    };
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                session.failed(format!("the program's connection: {}", upstream::words(&error)));
            }
        }
        // What came so far has ended; so has a head that never does.
        () = seat.left() => session.failed("it did nothing, and others needed its place"),
        () = session.broken.notified() => session.failed("it could not be recorded any more"),
    }
    upstream.close();
    session.finish().await
}
