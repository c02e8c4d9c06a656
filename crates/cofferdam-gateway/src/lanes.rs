//! Relaying by threads: two a connection, each of which waits in `splice(2)` itself. A byte costs two system calls then,
//! where a turn of the one thread that serves all costs four; and connections use more than one processor.
//!
//! There are few lanes, and a connection keeps its one: the others are passed on by turns.

use std::io;
use std::net::TcpStream as Blocking;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_timeout};
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{SpliceFlags, splice};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::pipes::{Ends, Pipe, Pipes};
use crate::relay::{Count, Counts, Cut, ended, joined};

/// Most connections that have one: each takes two threads and two pipes.
pub(crate) const MOST: usize = 128;
/// Memory of a thread's stack, in bytes; little of it is touched.
const STACK: usize = 64 * 1024;
/// How long a thread waits for somebody who takes nothing before it looks whether anybody wants it to.
const LOOK: Duration = Duration::from_secs(1);

/// A connection in its lane. Whoever drops the last one closes both ends.
struct Lane {
    program: OwnedFd,
    server: OwnedFd,
    stop: AtomicBool,
}

impl Lane {
    /// Nothing is read any more; what waits to be taken is let go.
    fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        for end in [&self.program, &self.server] {
            // An end that is gone already wakes whoever waits for it.
            let _ = shutdown(end, Shutdown::Read);
        }
    }
}

/// Ends a lane whose connection nobody waits for any more.
struct Ending(Arc<Lane>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// As [`crate::relay::both`], in a lane.
///
/// # Errors
/// The two ends, as they were, where there is no lane.
pub(crate) async fn both(
    program: TcpStream,
    server: TcpStream,
    pipes: &Pipes,
    counts: &Counts,
) -> Result<io::Result<()>, (TcpStream, TcpStream)> {
    let Some(place) = pipes.lane() else { return Err((program, server)) };
    let (Ok(out), Ok(back)) = (pipes.take(), pipes.take()) else { return Err((program, server)) };
    let result = relay(program, server, (out, back), counts).await;
    drop(place);
    Ok(result)
}

async fn relay(
    program: TcpStream,
    server: TcpStream,
    (out, back): (Pipe<'_>, Pipe<'_>),
    counts: &Counts,
) -> io::Result<()> {
    // Not known to the runtime any more: what arrives would wake it for nothing.
    let (program, server) = (blocking(program)?, blocking(server)?);
    let lane = Arc::new(Lane { program: program.into(), server: server.into(), stop: AtomicBool::new(false) });
    let ending = Ending(Arc::clone(&lane));
    let sending = start(&lane, true, out, counts.sent.clone())?;
    let receiving = start(&lane, false, back, counts.received.clone())?;
    let result = joined(sending, receiving, || lane.end()).await;
    if result.is_err() {
        for end in [&lane.program, &lane.server] {
            // Where this fails it is closed in the ordinary way.
            let _ = set_socket_linger(end, Some(Duration::ZERO));
        }
    }
    drop(ending);
    result
}

fn blocking(stream: TcpStream) -> io::Result<Blocking> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    set_socket_timeout(&stream, Timeout::Send, Some(LOOK))?;
    Ok(stream)
}

/// Starts a direction's thread; what came of it. The pipe comes back where it is empty.
fn start(
    lane: &Arc<Lane>,
    out: bool,
    mut pipe: Pipe<'_>,
    count: Count,
) -> io::Result<impl Future<Output = Result<(), Cut>>> {
    let ends = pipe.lend()?;
    let lane = Arc::clone(lane);
    let (told, result) = oneshot::channel();
    let thread = move || {
        let (from, to) = if out { (&lane.program, &lane.server) } else { (&lane.server, &lane.program) };
        let result = pass(from, to, &ends, &lane.stop, &count);
        let empty = result.is_ok().then_some(ends);
        drop(lane);
        // Whoever waited may have gone.
        let _ = told.send((result, empty));
    };
    std::thread::Builder::new().name("coffer-lane".to_owned()).stack_size(STACK).spawn(thread)?;
    Ok(async move {
        match result.await {
            Ok((result, empty)) => {
                if let Some(ends) = empty {
                    pipe.returned(ends);
                    pipe.give_back();
                }
                result
            }
            Err(_) => Err(Cut::Source(io::Error::other("the thread that relays it ended"))),
        }
    })
}

/// Passes on until the source ends.
fn pass(from: &OwnedFd, to: &OwnedFd, pipe: &Ends, stop: &AtomicBool, count: &Count) -> Result<(), Cut> {
    loop {
        let mut left = match splice(from, None, &pipe.writer, None, pipe.size, SpliceFlags::MOVE) {
            Ok(0) if stop.load(Ordering::Relaxed) => return Err(Cut::Source(io::ErrorKind::Interrupted.into())),
            Ok(0) => return ended(to),
            Ok(taken) => taken,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(Cut::Source(e.into())),
        };
        while left > 0 {
            match splice(&pipe.reader, None, to, None, left, SpliceFlags::MOVE) {
                Ok(put) => {
                    left -= put;
                    count.add(put);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if !stop.load(Ordering::Relaxed) => {}
                Err(e) => return Err(Cut::Destination(e.into())),
            }
        }
    }
}
