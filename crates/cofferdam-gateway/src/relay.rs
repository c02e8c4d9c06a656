//! Connections whose bytes are passed on unread, by `splice(2)`.

use std::io;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cofferdam_core::event::{EventKind, Mediation, NetConnect, RuleRef};
use cofferdam_policy::Rule;
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::lanes;
use crate::passthrough::{self, Begun, Retried};
use crate::pipes::{Pipe, Pipes};
use crate::{Connection, Gateway, Place, refuse};

/// Turns of one direction before others get one.
const TURNS: u32 = 16;

/// Passes on the bytes of a connection that a rule allows; where TLS passes through, it has begun already.
///
/// # Errors
/// Where the monitor is gone.
pub(crate) async fn serve(
    gateway: &Gateway,
    mut stream: TcpStream,
    place: &Place,
    connection: &Connection,
    rule: &Rule,
    begun: Option<Begun>,
) -> io::Result<()> {
    let mediation = if begun.is_some() { Mediation::Passthrough } else { Mediation::Relay };
    let mut connect = record_of(place, connection, rule, mediation);
    // No evidence, no connection.
    gateway.opened(connection, connect.clone()).await?;
    match gateway.outside.connect(place, rule).await {
        Ok(mut outgoing) => {
            connect.address = Some(outgoing.address.to_string());
            let counts = Counts::default();
            let begun = match begun {
                Some(begun) => passthrough::begin(&mut stream, &mut outgoing.stream, &place.host, begun, &counts).await,
                None => Ok(Retried::No),
            };
            let error = match begun {
                Ok(Retried::Otherwise(why)) => {
                    refuse::reset(outgoing.stream);
                    let refusal = passthrough::mismatch(place, rule, &why);
                    refuse::refuse(gateway, stream, place, connection, "https", refusal).await?;
                    Some(why)
                }
                Ok(Retried::No | Retried::Same) => {
                    let result = both(stream, outgoing.stream, &gateway.pipes, &counts).await;
                    result.err().map(|error| error.to_string())
                }
                Err(error) => {
                    refuse::reset(stream);
                    refuse::reset(outgoing.stream);
                    Some(error.to_string())
                }
            };
            (connect.sent, connect.received) = (counts.sent.get(), counts.received.get());
            connect.error = error;
        }
        Err(error) => {
            connect.error = Some(error.to_string());
            match error.refusal(place, rule) {
                Some(refusal) => refuse::refuse(gateway, stream, place, connection, "tcp", refusal).await?,
                None => refuse::reset(stream),
            }
        }
    }
    connect.milliseconds = u64::try_from(connection.since.elapsed().as_millis()).unwrap_or(u64::MAX);
    gateway.record(connection, EventKind::NetConnect(connect)).await
}

/// What is known of a connection before it is made.
fn record_of(place: &Place, connection: &Connection, rule: &Rule, mediation: Mediation) -> NetConnect {
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
    /// From the program.
    pub(crate) sent: Count,
    /// To it.
    pub(crate) received: Count,
}

/// Bytes of a direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a direction ended before its source did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    /// The source was reset.
    #[error(transparent)]
    Source(io::Error),
    /// The destination takes nothing any more. What it had sent before may still be on its way here.
    #[error(transparent)]
    Destination(io::Error),
}

/// Passes bytes both ways until both ends have ended; a half that ends is ended on the other side. In a lane, where one is
/// free.
///
/// # Errors
/// Why it ended otherwise; both ends are reset then: each hears what the other did.
pub(crate) async fn both(program: TcpStream, server: TcpStream, pipes: &Pipes, counts: &Counts) -> io::Result<()> {
    for end in [&program, &server] {
        // Who sent the bytes decided when: held back here, an answer in two small pieces would wait for an acknowledgement.
        end.set_nodelay(true)?;
    }
    let (program, server) = match lanes::both(program, server, pipes, counts).await {
        Ok(result) => return result,
        Err(ends) => ends,
    };
    let sending = one_way(&program, &server, pipes, &counts.sent);
    let receiving = one_way(&server, &program, pipes, &counts.received);
    let result = joined(sending, receiving, || ()).await;
    if result.is_err() {
        refuse::reset(program);
        refuse::reset(server);
    }
    result
}

/// Waits for two directions, as long as what they pass has a use; `end` ends the one that has none.
pub(crate) async fn joined(
    sending: impl Future<Output = Result<(), Cut>>,
    receiving: impl Future<Output = Result<(), Cut>>,
    end: impl FnOnce(),
) -> io::Result<()> {
    let (mut sending, mut receiving) = (pin!(sending), pin!(receiving));
    let (first, other): (_, Way<'_>) = tokio::select! {
        first = &mut sending => (first, receiving),
        first = &mut receiving => (first, sending),
    };
    match first {
        Ok(()) => other.await.map_err(|(Cut::Source(e) | Cut::Destination(e))| e),
        // Who was reset sends no more, and has no use for more.
        Err(Cut::Source(e)) => {
            end();
            Err(e)
        }
        // Its last words (why it closes) pass before the end does: a server may close in the middle of an upload.
        Err(Cut::Destination(e)) => {
            let _ = other.await;
            Err(e)
        }
    }
}

/// A direction.
type Way<'w> = Pin<&'w mut dyn Future<Output = Result<(), Cut>>>;

async fn one_way(from: &TcpStream, to: &TcpStream, pipes: &Pipes, count: &Count) -> Result<(), Cut> {
    loop {
        from.readable().await.map_err(Cut::Source)?;
        // Held only while bytes are in it: idle connections have none.
        let pipe = pipes.take().map_err(Cut::Source)?;
        let over = flow(from, to, &pipe, count).await?;
        pipe.give_back();
        if over {
            break;
        }
    }
    ended(to)
}

/// The source has ended: so does this half.
pub(crate) fn ended(to: impl AsFd) -> Result<(), Cut> {
    match shutdown(to, Shutdown::Write) {
        // It has gone altogether.
        Err(rustix::io::Errno::NOTCONN) | Ok(()) => Ok(()),
        Err(e) => Err(Cut::Destination(e.into())),
    }
}

/// Passes on what is there; whether that was the end. The pipe is empty afterwards.
async fn flow(from: &TcpStream, to: &TcpStream, pipe: &Pipe<'_>, count: &Count) -> Result<bool, Cut> {
    let (reader, writer, size) = pipe.ends().map_err(Cut::Source)?;
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let would_block = |e: &io::Error| e.kind() == io::ErrorKind::WouldBlock;
    for turn in 1.. {
        let take = || splice(from, None, writer, None, size, flags).map_err(Into::into);
        let mut left = match from.try_io(Interest::READABLE, take) {
            Ok(0) => return Ok(true),
            Ok(taken) => taken,
            Err(e) if would_block(&e) => return Ok(false),
            Err(e) => return Err(Cut::Source(e)),
        };
        while left > 0 {
            let put = || splice(reader, None, to, None, left, flags).map_err(Into::into);
            match to.try_io(Interest::WRITABLE, put) {
                Ok(put) => {
                    left -= put;
                    count.add(put);
                }
                Err(e) if would_block(&e) => to.writable().await.map_err(Cut::Destination)?,
                Err(e) => return Err(Cut::Destination(e)),
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

    /// In a lane, then without one.
    fn run<F: Future<Output = ()>>(test: impl Fn(Pipes) -> F) {
        for pipes in [Pipes::new(1), Pipes::new(0)] {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test(pipes));
        }
    }

    #[test]
    fn bytes_pass_both_ways_and_a_half_that_ends_leaves_the_other() {
        run(|pipes| async move {
            let ((mut program, inside), (outside, mut server)) = (pair().await, pair().await);
            let counts = Counts::default();
            let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
            let relay = both(inside, outside, &pipes, &counts);
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
            assert!(pipes.counts().0 >= 1, "pipes come back");
        });
    }

    #[test]
    fn small_answers_do_not_wait() {
        run(|pipes| async move {
            let ((_program, inside), (outside, _server)) = (pair().await, pair().await);
            // The same sockets under other numbers: what is set on one holds for both.
            let same = [inside.as_fd(), outside.as_fd()].map(|fd| fd.try_clone_to_owned().unwrap());
            let counts = Counts::default();
            let relayed = both(inside, outside, &pipes, &counts);
            assert!(tokio::time::timeout(Duration::from_millis(20), relayed).await.is_err());
            for end in same {
                assert!(rustix::net::sockopt::tcp_nodelay(&end).unwrap());
            }
        });
    }

    #[test]
    fn a_reset_ends_it_with_an_error() {
        run(|pipes| async move {
            let ((program, inside), (outside, server)) = (pair().await, pair().await);
            let counts = Counts::default();
            refuse::reset(server);
            let relayed = tokio::time::timeout(Duration::from_secs(5), both(inside, outside, &pipes, &counts)).await;
            assert!(relayed.unwrap().is_err());
            drop(program);
        });
    }

    /// Bytes that wait for whoever takes nothing do not keep a thread, nor a connection, for ever.
    #[test]
    fn a_connection_that_nobody_waits_for_ends() {
        run(|pipes| async move {
            let ((mut program, inside), (outside, server)) = (pair().await, pair().await);
            let counts = Counts::default();
            let fill = async { while program.write_all(&[0; 1 << 16]).await.is_ok() {} };
            let relayed = async {
                tokio::select! {
                    result = both(inside, outside, &pipes, &counts) => panic!("{result:?}"),
                    () = tokio::time::sleep(Duration::from_millis(300)) => {}
                }
            };
            tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(fill, relayed) }).await.unwrap();
            drop(server);
        });
    }

    /// A server that closes while the program still sends: what it said before reaches the program.
    #[test]
    fn last_words_pass_before_the_end() {
        run(|pipes| async move {
            let ((mut program, inside), (outside, mut server)) = (pair().await, pair().await);
            let counts = Counts::default();
            // Unread bytes make of the server's end a reset.
            program.write_all(b"first").await.unwrap();
            inside.readable().await.unwrap();
            assert_eq!(outside.try_write(b"first").unwrap(), 5);
            server.readable().await.unwrap();
            server.write_all(b"too much").await.unwrap();
            drop(server);
            tokio::time::sleep(Duration::from_millis(20)).await;
            program.write_all(b"second").await.unwrap();
            let relayed = both(inside, outside, &pipes, &counts).await;
            assert!(relayed.is_err());
            assert_eq!(counts.received.get(), 8);
            let mut words = [0; 8];
            program.read_exact(&mut words).await.unwrap();
            assert_eq!(&words, b"too much");
        });
    }

    #[test]
    fn a_pipe_with_bytes_in_it_is_closed_and_forgotten() {
        run(|pipes| async move {
            let ((mut program, inside), (outside, server)) = (pair().await, pair().await);
            let counts = Counts::default();
            // Nobody reads: sooner or later the bytes stay in the pipe.
            let fill = async {
                let piece = vec![0; 1 << 20];
                loop {
                    program.write_all(&piece).await.unwrap();
                }
            };
            let stuck = async {
                tokio::select! {
                    result = both(inside, outside, &pipes, &counts) => panic!("{result:?}"),
                    () = fill => {}
                }
            };
            assert!(tokio::time::timeout(Duration::from_millis(300), stuck).await.is_err());
            assert_eq!(pipes.counts().1, 0, "not counted");
            drop(server);
        });
    }
}
