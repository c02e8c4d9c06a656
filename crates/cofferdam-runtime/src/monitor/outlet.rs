//! The run's way out, as the monitor sees it: sockets that wait, and the gateway once something arrived there.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cofferdam_core::Bytes;
use cofferdam_core::event::{BlobRef, EventKind, Link, NetConnect, NetDenied};
use cofferdam_enclosure::{Channel, Network, NetworkSockets, NetworkTier, Received};
use cofferdam_gateway::wire::MOST_KEPT;
use cofferdam_gateway::{Authority, Before, Hear, Kept, Say};
use cofferdam_policy::Rule;
use rustix::event::{PollFd, PollFlags, poll};

use super::book::Book;
use super::record::{RecordError, Recorder};
use super::timespec;
use super::traffic::Traffic;
use crate::control::Reply;
use crate::gateway::{Birth, Cover, NAME};
use crate::prepare::Prepared;
use crate::protocol::NetworkSummary;

/// Most messages that are taken in one turn of the monitor: the enclosure's own are not to wait.
const TURN: usize = 64;
/// Most connections that one may have let out at once; an honest one has fewer.
const OPEN: usize = 8192;
/// How long a gateway gets to tell the rest after the end of everything inside.
const GRACE: Duration = Duration::from_secs(2);
/// What is recorded where it needs longer.
const LATE: &str = "the gateway did not end in time";
/// Most gateways of a run: what brings one down brings the next down too.
const BIRTHS: u64 = 16;
/// Connections are numbered from here on by the next gateway: no two of a run have one number.
const NUMBERS: u64 = 1 << 32;

/// Sockets of the enclosure's network, and who serves them.
pub(super) struct Outlet {
    /// Listeners, then datagram sockets, then the one that asks for owners; none where nothing leaves in any case.
    sockets: Vec<OwnedFd>,
    cover: Cover,
    authority: Authority,
    /// Rules that apply beside those of the plan.
    added: Vec<Rule>,
    births: u64,
    /// What the gateways so far gave out.
    before: Before,
    gateway: Option<Channel>,
    /// Connections that were let out and have not ended.
    open: HashMap<u64, (Option<u64>, NetConnect)>,
    /// Why there is no gateway any more.
    failed: Option<String>,
    traffic: Traffic,
}

impl Outlet {
    /// From the sockets that init made; where there are none nothing arrives.
    pub(super) fn new(sockets: Option<NetworkSockets>, authority: Authority) -> Outlet {
        let (tcp, udp, diag) = sockets.map_or_else(Default::default, |s| (s.tcp, s.udp, Some(s.diag)));
        let cover = Cover { tcp: tcp.len(), udp: udp.len() };
        let sockets = tcp.into_iter().chain(udp).chain(diag).collect();
        Outlet {
            sockets,
            cover,
            authority,
            added: Vec::new(),
            births: 0,
            before: Before::default(),
            gateway: None,
            open: HashMap::new(),
            failed: None,
            traffic: Traffic::default(),
        }
    }

    /// What to poll for; [`Outlet::turn`] takes what came of it, in the same order.
    pub(super) fn interests(&self) -> Vec<PollFd<'_>> {
        match &self.gateway {
            Some(gateway) => vec![PollFd::new(gateway, PollFlags::IN)],
            // The last one is only asked.
            None => {
                let arrivals = self.sockets.iter().take(self.cover.tcp + self.cover.udp);
                arrivals.map(|socket| PollFd::new(socket, PollFlags::IN)).collect()
            }
        }
    }

    /// Serves: gives birth to the run's gateway where something arrived, and records what it says. `owner` knows the
    /// `process.exec` of a socket by its cookie.
    pub(super) fn turn(
        &mut self,
        ready: &[PollFlags],
        run: &Prepared,
        recorder: &mut Recorder,
        owner: impl Fn(u64) -> Option<u64>,
    ) -> Result<(), RecordError> {
        if ready.iter().all(|flags| flags.is_empty()) {
            return Ok(());
        }
        if self.gateway.is_none() {
            self.born(run);
            return Ok(());
        }
        self.hear(recorder, owner)
    }

    fn hear(&mut self, recorder: &mut impl Book, owner: impl Fn(u64) -> Option<u64>) -> Result<(), RecordError> {
        for _ in 0..TURN {
            let Some(gateway) = &self.gateway else { break };
            match gateway.receive_now::<Say>() {
                Ok(None) => break,
                Ok(Some(Received::Message(said, files))) => self.take(said, files, recorder, &owner)?,
                Ok(Some(Received::Closed)) => self.lost(recorder, "the gateway ended")?,
                // It parses hostile bytes: what it says is not taken on trust.
                Err(e) => self.lost(recorder, &format!("the gateway said something that is none of its words: {e}"))?,
            }
        }
        Ok(())
    }

    /// Starts a gateway. Where that cannot be done nothing leaves, and the person is told.
    fn born(&mut self, run: &Prepared) {
        if self.births == BIRTHS {
            return self.give_up(format!("{BIRTHS} gateways of this run have died"));
        }
        self.before.connections = self.births * NUMBERS;
        let birth = Birth::of(run, self.authority.clone(), &self.added, self.before);
        self.births += 1;
        match birth.and_then(|birth| self.start(&birth).map_err(|e| e.to_string())) {
            Ok(channel) => self.gateway = Some(channel),
            Err(why) => self.give_up(format!("the gateway cannot be started: {why}")),
        }
    }

    fn start(&self, birth: &Birth) -> io::Result<Channel> {
        let (ours, theirs) = Channel::pair()?;
        // A program of its own, not a copy of this one: the log's key is in this one's memory.
        let child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // Reaped with whatever else ends; its end is seen by the channel's.
        drop(child);
        let sockets: Vec<BorrowedFd<'_>> = self.sockets.iter().map(AsFd::as_fd).collect();
        ours.send_large(&self.cover, birth, &sockets)?;
        Ok(ours)
    }

    fn give_up(&mut self, why: String) {
        self.sockets.clear(); // connections are refused from now on
        self.failed = Some(why);
    }

    fn take(
        &mut self,
        said: Say,
        files: Vec<OwnedFd>,
        recorder: &mut impl Book,
        owner_of: impl Fn(u64) -> Option<u64>,
    ) -> Result<(), RecordError> {
        match said {
            Say::Opened { .. } if self.open.len() >= OPEN => {
                self.lost(recorder, "the gateway let out more connections than it can have")?;
            }
            Say::Opened { owner, connect } => {
                self.open.insert(connect.connection, (owner.and_then(owner_of), connect));
            }
            Say::Record { owner, kept, mut what } => {
                // Of a connection that has been open for long, the socket may be forgotten.
                let opened = |number: u64| self.open.get(&number).and_then(|(cause, _)| *cause);
                let cause = match &mut *what {
                    EventKind::NetLookup(_) => {
                        self.before.names += 1;
                        None
                    }
                    EventKind::NetDenied(denied) => denied.connection.and_then(opened),
                    EventKind::NetConnect(connect) => {
                        self.open.remove(&connect.connection).and_then(|(cause, _)| cause)
                    }
                    EventKind::HttpExchange(exchange) => {
                        let Some(bodies) = keep(kept, files, recorder)? else {
                            return self.lost(recorder, "the gateway handed over a body that is no memory file");
                        };
                        (exchange.sent.kept, exchange.received.kept) = bodies;
                        opened(exchange.connection)
                    }
                    _ => return self.lost(recorder, "the gateway reported what it cannot know"),
                };
                self.traffic.take(&what);
                let cause = cause.or_else(|| owner.and_then(owner_of));
                recorder.append(cause.map(|seq| (seq, Link::Socket)), *what)?;
            }
            Say::Ask { id, what } => {
                let value: Result<Bytes, String> = Err(format!("nothing is known of {what}"));
                if let Some(gateway) = &self.gateway {
                    // Where this fails its end is seen next.
                    let _ = gateway.send_now(&Hear::Answer { id, value }, &[]);
                }
            }
            Say::Failed { why } => {
                self.lost(recorder, &why)?;
                self.give_up(why);
            }
        }
        Ok(())
    }

    /// Records what the kernel refused, each with its cause.
    pub(super) fn refused(
        &mut self,
        refused: Vec<(u64, NetDenied)>,
        recorder: &mut Recorder,
    ) -> Result<(), RecordError> {
        for (exec, denied) in refused {
            let what = EventKind::NetDenied(denied);
            self.traffic.take(&what);
            recorder.append(Some((exec, Link::Socket)), what)?;
        }
        Ok(())
    }

    /// Lets a rule apply too from now on.
    pub(super) fn allow(&mut self, rule: serde_json::Value, recorder: &mut Recorder) -> Result<Reply, RecordError> {
        let parsed: Rule = match serde_json::from_value(rule.clone()) {
            Ok(parsed) => parsed,
            Err(e) => return Ok(Reply::Refused(format!("this is no rule: {e}"))),
        };
        if let Some(why) = &self.failed {
            return Ok(Reply::Refused(why.clone()));
        }
        // Recorded before it can allow anything.
        let uid = rustix::process::getuid().as_raw();
        recorder.append(None, EventKind::PolicyChanged { added: vec![rule], uid })?;
        self.added.push(parsed.clone());
        if let Some(gateway) = &self.gateway
            && let Err(e) = gateway.send_now(&Hear::Allow(vec![parsed]), &[])
        {
            return Ok(Reply::Refused(format!("the gateway cannot be told: {e}")));
        }
        Ok(Reply::Done)
    }

    /// The gateway is gone: what it had let out has ended with it.
    fn lost(&mut self, recorder: &mut impl Book, why: &str) -> Result<(), RecordError> {
        self.gateway = None;
        let mut open: Vec<(Option<u64>, NetConnect)> = self.open.drain().map(|(_, open)| open).collect();
        open.sort_by_key(|(_, connect)| connect.connection);
        for (cause, connect) in open {
            let what = EventKind::NetConnect(NetConnect { error: Some(why.to_owned()), ..connect });
            self.traffic.take(&what);
            recorder.append(cause.map(|seq| (seq, Link::Socket)), what)?;
        }
        Ok(())
    }

    /// Everything inside is gone: hears the rest, and ends the gateway.
    pub(super) fn finish(
        &mut self,
        recorder: &mut impl Book,
        owner: impl Fn(u64) -> Option<u64>,
    ) -> Result<(), RecordError> {
        self.sockets.clear();
        let Some(gateway) = &self.gateway else { return Ok(()) };
        // It reads the end, closes what is open, and says so.
        let _ = rustix::net::shutdown(gateway.as_fd(), rustix::net::Shutdown::Write);
        let until = Instant::now() + GRACE;
        while let Some(gateway) = &self.gateway {
            let left = until.saturating_duration_since(Instant::now());
            // One that never stops talking has something to say at any time.
            if left.is_zero() {
                self.lost(recorder, LATE)?;
                break;
            }
            let wait = timespec(left);
            match poll(&mut [PollFd::from_borrowed_fd(gateway.as_fd(), PollFlags::IN)], Some(&wait)) {
                Ok(0) => self.lost(recorder, LATE)?,
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) => self.hear(recorder, &owner)?,
                Err(e) => return Err(RecordError::Processes(e.into())),
            }
        }
        Ok(())
    }

    /// What left and what did not; so many datagrams did not, where that is known.
    pub(super) fn summary(&mut self, datagrams: Option<u64>) -> Option<NetworkSummary> {
        self.traffic.finish(datagrams)
    }

    /// What the person is to know.
    pub(super) fn note(&self) -> Option<String> {
        self.failed.as_ref().map(|why| format!("nothing could leave: {why}"))
    }
}

/// What is kept of the body that was sent, and of the one that was received.
type Bodies = (Option<BlobRef>, Option<BlobRef>);

/// Keeps what is to be kept of the bodies of an exchange; `None` where a file of them is no memory file.
fn keep(kept: Kept, files: Vec<OwnedFd>, book: &impl Book) -> Result<Option<Bodies>, RecordError> {
    let mut files = files.into_iter();
    let mut next = |there: bool| -> Result<Option<Option<BlobRef>>, RecordError> {
        let Some(file) = there.then(|| files.next()).flatten() else { return Ok(Some(None)) };
        // Reading from anything else can wait for ever: a pipe, a socket, an eventfd.
        if !is_memory(&file) {
            return Ok(None);
        }
        let mut file = std::fs::File::from(file);
        io::Seek::rewind(&mut file).map_err(RecordError::recording)?;
        Ok(Some(Some(book.keep(&mut io::Read::take(file, MOST_KEPT as u64))?)))
    };
    let (Some(sent), Some(received)) = (next(kept.sent)?, next(kept.received)?) else { return Ok(None) };
    Ok(Some((sent, received)))
}

/// Whether it is a file of `memfd_create(2)`: these alone have seals (`F_GET_SEALS`, `fcntl(2)`); whether it can be read,
/// too.
fn is_memory(file: &OwnedFd) -> bool {
    let readable = rustix::fs::fcntl_getfl(file).is_ok_and(|flags| {
        matches!(flags & rustix::fs::OFlags::ACCMODE, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::RDWR)
            && !flags.contains(rustix::fs::OFlags::PATH)
    });
    readable && rustix::fs::fcntl_get_seals(file).is_ok()
}

/// What of the network cannot be mediated on this machine, for the person.
pub(super) fn shortfall(network: &Network) -> Option<String> {
    match &network.tier {
        NetworkTier::Redirect => None,
        NetworkTier::Routes(why) | NetworkTier::None(why) => {
            Some(format!("not every connection can leave here, whatever is allowed: {why} (coffer doctor)"))
        }
    }
}

#[cfg(test)]
mod tests;
