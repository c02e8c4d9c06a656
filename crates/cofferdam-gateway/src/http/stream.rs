//! A program's connection: what was already read of it comes first, and its bytes are counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How a client begins HTTP/2 without TLS (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of a TLS record that holds a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 0x16;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// TLS.
    Tls,
    /// HTTP/1 in the clear, or what is none of the others.
    H1,
    /// HTTP/2 in the clear, begun with prior knowledge.
    H2,
}

/// Bytes that crossed a connection. Shared with what outlives it; atomic because hyper wants its streams `Send`.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// From the program.
    pub(crate) sent: AtomicU64,
    /// To the program.
    pub(crate) received: AtomicU64,
}

/// The connection.
#[derive(Debug)]
pub(crate) struct Inside {
    first: Bytes,
    stream: TcpStream,
    traffic: Arc<Traffic>,
}

impl Inside {
    /// Reads as much of a connection as shows what is spoken.
    ///
    /// # Errors
    /// Those of reading; `UnexpectedEof` where nothing comes.
    pub(crate) async fn new(mut stream: TcpStream, traffic: Arc<Traffic>) -> io::Result<(Inside, Spoken)> {
        let mut first = BytesMut::with_capacity(PREFACE.len());
        let spoken = loop {
            let mut rest = [0; PREFACE.len()];
            let read = stream.read(&mut rest[first.len()..]).await?;
            let before = first.len();
            first.extend_from_slice(&rest[before..before + read]);
            match first.first() {
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(&HANDSHAKE) => break Spoken::Tls,
                Some(_) if first == PREFACE => break Spoken::H2,
                Some(_) if read > 0 && PREFACE.starts_with(&first) => {}
                Some(_) => break Spoken::H1,
            }
        };
        traffic.sent.fetch_add(first.len() as u64, Ordering::Relaxed);
        Ok((Inside { first: first.freeze(), stream, traffic }, spoken))
    }
}

impl AsyncRead for Inside {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.has_remaining() {
            let some = this.first.len().min(into.remaining());
            into.put_slice(&this.first.split_to(some));
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, into))?;
        this.traffic.sent.fetch_add((into.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Inside {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        this.traffic.received.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, pieces))?;
        this.traffic.received.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
