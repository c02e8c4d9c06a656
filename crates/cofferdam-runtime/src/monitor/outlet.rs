//! The run's way out, as the monitor sees it: sockets that wait, and the gateway once something arrived there.

mod bodies;
mod models;
mod publishing;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cofferdam_core::Bytes;
use cofferdam_core::event::{EventKind, Link, NetConnect, NetDenied, UnpublishedBy};
use cofferdam_enclosure::{Channel, Network, NetworkSockets, NetworkTier, Received};
use cofferdam_gateway::{Authority, Before, Hear, Say};
use cofferdam_policy::Rule;
use rustix::event::{PollFd, PollFlags, poll};

use bodies::keep;
use models::Models;

use super::book::Book;
use super::brokers::Brokers;
use super::budgets::Budgets;
use super::listening::Listening;
use super::published::Published;
use super::record::{RecordError, Recorder};
use super::timespec;
use super::traffic::Traffic;
use crate::control::Reply;
use crate::gateway::{Birth, Cover, NAME, Wanted};
use crate::helper;
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
/// What is recorded where it says what cannot be.
const UNKNOWABLE: &str = "the gateway reported what it cannot know";
/// What is recorded where it hands over something else than a memory file.
const NO_MEMORY: &str = "the gateway handed over a body that is no memory file";
/// Most gateways of a run: what brings one down brings the next down too.
const BIRTHS: u64 = 16;
/// Connections are numbered from here on by the next gateway: no two of a run have one number.
const NUMBERS: u64 = 1 << 32;

/// Why there is nothing to publish.
const NO_NETWORK: &str = "this run has no network of its own (coffer doctor)";

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
    /// Ports of the enclosure that can be reached from the host.
    published: Published,
    /// What listens inside.
    listening: Listening,
    /// Why there is no gateway any more.
    failed: Option<String>,
    brokers: Brokers,
    budgets: Budgets,
    models: Models,
    traffic: Traffic,
}

impl Outlet {
    /// From the sockets that init made; where there are none nothing arrives.
    pub(super) fn new(
        sockets: Option<NetworkSockets>,
        authority: Authority,
        brokers: Brokers,
        budgets: Budgets,
        quiet: &[serde_json::Value],
    ) -> Outlet {
        let (tcp, udp, diag, listeners) =
            sockets.map_or_else(Default::default, |s| (s.tcp, s.udp, Some(s.diag), Some(s.listeners)));
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
            published: Published::default(),
            listening: Listening::new(listeners),
            failed: None,
            brokers,
            budgets,
            models: Models::default(),
            traffic: Traffic::new(quiet),
        }
    }

    /// What to poll for; [`Outlet::turn`] takes what came of it, in the same order.
    pub(super) fn interests(&self) -> Vec<PollFd<'_>> {
        let mut all: Vec<PollFd<'_>> = match &self.gateway {
            Some(gateway) => vec![PollFd::new(gateway, PollFlags::IN)],
            // The last one is only asked.
            None => {
                let arrivals = self.sockets.iter().take(self.cover.tcp + self.cover.udp).map(AsFd::as_fd);
                let arrivals = arrivals.chain(self.published.listeners());
                arrivals.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)).collect()
            }
        };
        all.extend(self.brokers.interests());
        all.extend(self.budgets.interest());
        all
    }

    /// Serves: gives birth to the run's gateway where something arrived, and records what it says. `owner` knows the
    /// `process.exec` of a socket by its cookie, `dial` starts dialers.
    pub(super) fn turn(
        &mut self,
        ready: &[PollFlags],
        run: &Prepared,
        recorder: &mut Recorder,
        owner: impl Fn(u64) -> Option<u64>,
        dial: impl Fn(u16) -> io::Result<OwnedFd>,
    ) -> Result<(), RecordError> {
        if ready.iter().all(|flags| flags.is_empty()) {
            return Ok(());
        }
        let own = match &self.gateway {
            Some(_) => 1,
            None => (self.cover.tcp + self.cover.udp).min(self.sockets.len()) + self.published.listeners().count(),
        };
        let (own, others) = ready.split_at(own.min(ready.len()));
        let (brokers, keeper) = others.split_at(self.brokers.interests().count().min(others.len()));
        for (id, value) in self.budgets.turn(keeper.first().copied().unwrap_or(PollFlags::empty()), recorder)? {
            self.answer(id, value, recorder)?;
        }
        for (id, value) in self.brokers.turn(brokers, recorder)? {
            self.answer(id, value, recorder)?;
        }
        if own.iter().all(|flags| flags.is_empty()) {
            return Ok(());
        }
        if self.gateway.is_none() {
            self.born(run, recorder, dial);
            return Ok(());
        }
        self.hear(recorder, owner)
    }

    /// Answers a question of the gateway's.
    fn answer(&mut self, id: u64, value: Result<Bytes, String>, recorder: &mut impl Book) -> Result<(), RecordError> {
        let Some(gateway) = &self.gateway else { return Ok(()) };
        match gateway.send_now(&Hear::Answer { id, value }, &[]) {
            Ok(()) => Ok(()),
            // Whoever waits for the answer would wait for ever.
            Err(e) => self.lost(recorder, &format!("the gateway cannot be told: {e}")),
        }
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
    fn born(&mut self, run: &Prepared, recorder: &Recorder, dial: impl Fn(u16) -> io::Result<OwnedFd>) {
        if self.births == BIRTHS {
            return self.give_up(format!("{BIRTHS} gateways of this run have died"));
        }
        self.before.connections = self.births * NUMBERS;
        let birth = Birth::of(run, recorder.secrets(), self.authority.clone(), &self.added, self.before);
        self.births += 1;
        match birth.and_then(|birth| self.start(&birth).map_err(|e| e.to_string())) {
            Ok(channel) => {
                self.gateway = Some(channel);
                if let Err(e) = self.hand_over(None, dial) {
                    self.gateway = None;
                    self.give_up(format!("the gateway cannot be told what is published: {e}"));
                }
            }
            Err(why) => self.give_up(format!("the gateway cannot be started: {why}")),
        }
    }

    fn start(&self, birth: &Birth) -> io::Result<Channel> {
        // Reaped with whatever else ends.
        let ours = helper::born(NAME, helper::bare)?;
        let sockets: Vec<BorrowedFd<'_>> = self.sockets.iter().map(AsFd::as_fd).collect();
        ours.send_large(&self.cover, birth, &sockets)?;
        Ok(ours)
    }

    fn give_up(&mut self, why: String) {
        self.sockets.clear(); // connections are refused from now on
        self.published.end_all(UnpublishedBy::Failure);
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
                        let Some(keeps) = keep(kept, files, recorder)? else {
                            return self.lost(recorder, NO_MEMORY);
                        };
                        (exchange.sent.kept, exchange.received.kept) = (keeps.sent, keeps.received);
                        opened(exchange.connection)
                    }
                    EventKind::CredentialUsed(used) => opened(used.connection),
                    EventKind::ModelRequest(_)
                    | EventKind::ModelResponse(_)
                    | EventKind::ToolCall(_)
                    | EventKind::ToolResult(_) => {
                        let cause = match &*what {
                            EventKind::ModelRequest(request) => opened(request.connection),
                            _ => None,
                        };
                        let cause = cause.or_else(|| owner.and_then(&owner_of));
                        return self.of_model(*what, kept, files, cause, recorder);
                    }
                    _ => return self.lost(recorder, UNKNOWABLE),
                };
                self.traffic.take(&what);
                let cause = cause.or_else(|| owner.and_then(owner_of));
                recorder.append(cause.map(|seq| (seq, Link::Socket)), *what)?;
            }
            Say::Turn { request, bytes } => self.turn_of_person(request, bytes, files, recorder)?,
            Say::Reached { number } => {
                if !self.published.reached(number) {
                    return self.lost(recorder, UNKNOWABLE);
                }
            }
            Say::Passed { number, answered, sent, received } => {
                if !self.published.passed(number, answered, sent, received) {
                    return self.lost(recorder, UNKNOWABLE);
                }
            }
            Say::Unpublished { number } => {
                let ended = self.published.finished(number);
                self.record_unpublished(ended, recorder)?;
            }
            Say::Ask { id, what } => {
                let answer = match serde_json::from_str::<Wanted>(&what) {
                    Ok(Wanted::Credential(question)) => self.brokers.ask(id, question, recorder)?,
                    Ok(Wanted::Budget(ask)) => self.budgets.ask(id, ask),
                    Err(_) => return self.lost(recorder, "the gateway asked for what nobody knows"),
                };
                if let Some((id, value)) = answer {
                    self.answer(id, value, recorder)?;
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
        let ended = self.published.lost();
        self.record_unpublished(ended, recorder)?;
        self.brokers.forget();
        self.budgets.forget();
        self.models.lost(why, recorder)?;
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
        self.brokers.end();
        self.published.end_all(UnpublishedBy::RunEnd);
        self.end_gateway(recorder, owner)?;
        self.budgets.end();
        let ended = self.published.finish();
        self.record_unpublished(ended, recorder)
    }

    fn end_gateway(&mut self, recorder: &mut impl Book, owner: impl Fn(u64) -> Option<u64>) -> Result<(), RecordError> {
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
        self.traffic.finish(datagrams, self.listening.stayed())
    }

    /// What the person is to know.
    pub(super) fn notes(&self) -> Vec<String> {
        let failed = self.failed.iter().map(|why| format!("nothing could leave: {why}"));
        failed.chain(self.brokers.notes().iter().chain(self.budgets.notes()).cloned()).collect()
    }
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
