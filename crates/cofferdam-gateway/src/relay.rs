//! Connections whose bytes are passed on unread, by `splice(2)`.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use cofferdam_core::event::{EventKind, Mediation, NetConnect, RuleRef};
use cofferdam_policy::Rule;
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use crate::pipes::{Pipe, Pipes};
use crate::{Connection, Gateway, Place, refuse};

/// Turns of one direction before others get one.
const TURNS: u32 = 16;

/// Relays a connection that a rule allows; `first` are bytes of the program's that were read already.
///
/// # Errors
/// Where the monitor is gone.
pub(crate) async fn serve(
    gateway: &Rc<Gateway>,
    stream: TcpStream,
    place: &Place,
    connection: &Connection,
    rule: &Rule,
    first: &[u8],
) -> io::Result<()> {
    let mut connect = record_of(place, connection, rule, Mediation::Relay);
    carry(gateway, stream, connection, rule, place, first, &mut connect).await
}

/// As [`serve`], for what is recorded otherwise.
pub(crate) async fn carry(
    gateway: &Rc<Gateway>,
    stream: TcpStream,
    connection: &Connection,
    rule: &Rule,
    place: &Place,
    first: &[u8],
    connect: &mut NetConnect,
) -> io::Result<()> {
    // No evidence, no connection.
    gateway.opened(connection, connect.clone()).await?;
    match gateway.outside.connect(place, rule).await {
        Ok(mut outgoing) => {
            connect.address = Some(outgoing.address.to_string());
            let counts = Counts::default();
            let result = match outgoing.stream.write_all(first).await {
                Ok(()) => both(&stream, &outgoing.stream, &gateway.pipes, &counts).await,
                Err(e) => Err(e),
            };
            (connect.sent, connect.received) = (counts.sent.get() + first.len() as u64, counts.received.get());
            if let Err(error) = result {
                connect.error = Some(error.to_string());
                // The other end hears what this one did.
                refuse::reset(stream);
                refuse::reset(outgoing.stream);
            }
        }
        Err(error) => {
            if let Some(refusal) = error.refusal(place, rule) {
                let denied = refuse::record_of(place, "tcp", refusal, connection);
                gateway.record(connection, EventKind::NetDenied(denied)).await?;
            }
            connect.error = Some(error.to_string());
            refuse::reset(stream);
        }
    }
    connect.milliseconds = u64::try_from(connection.since.elapsed().as_millis()).unwrap_or(u64::MAX);
    gateway.record(connection, EventKind::NetConnect(connect.clone())).await
}

/// What is known of a connection before it is made.
pub(crate) fn record_of(place: &Place, connection: &Connection, rule: &Rule, mediation: Mediation) -> NetConnect {
    NetConnect {
        connection: connection.number,
        host: place.host.clone(),
        port: place.port,
        mediation,
        address: None,
        rule: Some(RuleRef::from(&rule.id)),
        purpose: rule.purpose.clone(),
        sent: 0,
        received: 0,
        milliseconds: 0,
        exchanges: 0,
        error: None,
    }
}

/// Bytes that passed.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    sent: Cell<u64>,
    received: Cell<u64>,
}

/// Passes bytes both ways until both ends have ended; a half that ends is ended on the other side.
async fn both(program: &TcpStream, server: &TcpStream, pipes: &Pipes, counts: &Counts) -> io::Result<()> {
    tokio::try_join!(one_way(program, server, pipes, &counts.sent), one_way(server, program, pipes, &counts.received))?;
    Ok(())
}

async fn one_way(from: &TcpStream, to: &TcpStream, pipes: &Pipes, count: &Cell<u64>) -> io::Result<()> {
    loop {
        from.readable().await?;
        // Held only while bytes are in it: idle connections have none.
        let pipe = pipes.take()?;
        match flow(from, to, &pipe, count).await {
            Ok(over) => {
                pipes.give(pipe);
                if over {
                    break;
                }
            }
            Err(error) => {
                pipes.dropped(&pipe);
                return Err(error);
            }
        }
    }
    match shutdown(to, Shutdown::Write) {
        // It has gone altogether.
        Err(rustix::io::Errno::NOTCONN) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Passes on what is there; whether that was the end. The pipe is empty afterwards.
async fn flow(from: &TcpStream, to: &TcpStream, pipe: &Pipe, count: &Cell<u64>) -> io::Result<bool> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let would_block = |e: &io::Error| e.kind() == io::ErrorKind::WouldBlock;
    for turn in 1.. {
        let take = || splice(from, None, &pipe.writer, None, pipe.size, flags).map_err(Into::into);
        let mut left = match from.try_io(Interest::READABLE, take) {
            Ok(0) => return Ok(true),
            Ok(taken) => taken,
            Err(e) if would_block(&e) => return Ok(false),
            Err(e) => return Err(e),
        };
        while left > 0 {
            let put = || splice(&pipe.reader, None, to, None, left, flags).map_err(Into::into);
            match to.try_io(Interest::WRITABLE, put) {
                Ok(put) => {
                    left -= put;
                    count.set(count.get() + put as u64);
                }
                Err(e) if would_block(&e) => to.writable().await?,
                Err(e) => return Err(e),
            }
        }
        if turn % TURNS == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn bytes_pass_both_ways_and_a_half_that_ends_leaves_the_other() {
        run(async {
            let ((mut program, inside), (outside, mut server)) = (pair().await, pair().await);
            let (pipes, counts) = (Pipes::new(), Counts::default());
            let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
            let relay = both(&inside, &outside, &pipes, &counts);
            let ends = async {
                let (mut reader, mut writer) = program.split();
                let write = async {
                    writer.write_all(&sent).await.unwrap();
                    writer.shutdown().await.unwrap();
                };
                let mut got = Vec::new();
                let serve = async {
                    server.read_to_end(&mut got).await.unwrap();
                    server.write_all(b"all of it").await.unwrap();
                    server.shutdown().await.unwrap();
                };
                let mut answer = String::new();
                let (_, _, read) = tokio::join!(write, serve, reader.read_to_string(&mut answer));
                read.unwrap();
                assert_eq!(answer, "all of it");
                assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
            };
            let (relayed, ()) = tokio::join!(relay, ends);
            relayed.unwrap();
            assert_eq!((counts.sent.get(), counts.received.get()), (3_000_000, 9));
            assert!(pipes.kept_now() >= 1, "pipes come back");
        });
    }

    #[test]
    fn a_reset_ends_it_with_an_error() {
        run(async {
            let ((program, inside), (outside, server)) = (pair().await, pair().await);
            let (pipes, counts) = (Pipes::new(), Counts::default());
            refuse::reset(server);
            let relayed = tokio::time::timeout(Duration::from_secs(5), both(&inside, &outside, &pipes, &counts)).await;
            assert!(relayed.unwrap().is_err());
            drop(program);
        });
    }
}
