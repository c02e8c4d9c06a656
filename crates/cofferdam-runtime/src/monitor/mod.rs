//! The monitor of a run: one thread that wires the enclosure, the evidence, the terminal and the client.
//!
//! It holds the log and the key, outlives the terminal, and when it dies the enclosure dies with it.

mod book;
mod brokers;
mod budgets;
mod cast;
mod commands;
mod completeness;
mod control;
mod datagrams;
mod ending;
mod files;
mod hearing;
mod images;
mod listening;
mod names;
mod outlet;
pub mod output;
mod owners;
mod processes;
mod prompts;
mod published;
mod record;
mod relay;
mod resident;
mod screen;
mod settle;
mod tally;
mod told;
mod traffic;
mod tripwires;
mod typing;

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use cofferdam_core::Timestamp;
use cofferdam_core::event::{EndReason, PublishedBy, Statement};
use cofferdam_core::plan::Stdio;
use cofferdam_enclosure::{Enclosure, EnclosureError, Namespaces, NetworkTier, Received, Renames, Report};
use cofferdam_gateway::Authority;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::alive;
use crate::control::Reply;
use crate::prepare::Prepared;
use crate::protocol::{Ask, Tell};
use crate::split::Link;
use crate::store::Store;
use brokers::Brokers;
use budgets::Budgets;
use commands::{Commands, ProcessWatch, is_readable};
use control::{Control, answer};
use outlet::Outlet;
use processes::agent::Sought;
use record::Recorder;
use relay::Relay;
use tripwires::Tripwires;

pub(crate) use record::RecordError;
pub(crate) use settle::{record_end, write_end_of_log};

/// How long a command gets to end by itself after its terminal went away.
const GRACE: Duration = Duration::from_millis(500);

/// The whole life of a monitor; the exit status of its process.
pub(crate) fn main(link: Link) -> i32 {
    let Link { channel, relay, terminal, enclosure } = link;
    // While the client decides what is to run: init has no children before it knows.
    let enclosure = enclosure.map(|enclosure| (ProcessWatch::begin(&enclosure), enclosure));
    // Meanwhile too: it takes as long as a tenth of what init does.
    let authority = Authority::generate();
    let (memory, locks, home, listeners) = match channel.receive::<Ask>() {
        Ok(Received::Message(Ask::Start { home, listeners }, fds)) => {
            let mut fds = fds.into_iter();
            let Some(memory) = fds.next() else { return 1 };
            (memory, fds.collect(), home, listeners)
        }
        // The client found that there is nothing to run (bad arguments, --help): init ends with this process.
        _ => return 0,
    };
    let run = match Prepared::taken(memory, locks, home, &listeners) {
        Ok(run) => run,
        Err(e) => return told(&channel, &Tell::NotRecorded(format!("the plan cannot be read: {e}"))),
    };
    let (watch, enclosure) = match enclosure {
        Ok(both) => both,
        Err(e) => {
            run.remove();
            return told(&channel, &Tell::NotEnclosed(e));
        }
    };
    let authority = match authority {
        Ok(authority) => authority,
        Err(e) => {
            run.remove();
            return told(&channel, &Tell::NotRecorded(e.to_string()));
        }
    };
    let mut monitor = Monitor {
        channel,
        enclosure,
        relay: relay.map(Relay::new),
        terminal,
        renames: None,
        commands: None,
        outlet: None,
        tripwires: None,
        control: None,
        begun: None,
        authority,
        run,
        recorder: None,
    };
    let told_of = match monitor.go_through(watch) {
        Ok(()) => return 0,
        Err(failure) => monitor.give_up(failure),
    };
    told(&monitor.channel, &told_of)
}

fn told(channel: &cofferdam_enclosure::Channel, what: &Tell) -> i32 {
    // Where this fails there is no client left to tell.
    i32::from(channel.send(what, &[]).is_err())
}

/// Reads what the terminal shows, where it matters which command showed it.
fn read_screen(relay: &mut Option<Relay>, recorder: &mut Recorder) -> Result<(), Failure> {
    match relay {
        Some(relay) if recorder.screen.is_active() => relay.read_on(recorder),
        _ => Ok(()),
    }
}

/// Appends to what is polled for; where it stands there.
fn add<'a>(fds: &mut Vec<PollFd<'a>>, more: impl IntoIterator<Item = PollFd<'a>>) -> Range<usize> {
    let first = fds.len();
    fds.extend(more);
    first..fds.len()
}

/// As `poll(2)` and its like take it.
fn timespec(wait: Duration) -> Timespec {
    Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() }
}

/// What ends a monitor before its run is settled.
enum Failure {
    Enclosure(EnclosureError),
    Record(String),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::Record(format!("the run's processes lost each other: {e}"))
    }
}

impl From<record::RecordError> for Failure {
    fn from(e: record::RecordError) -> Self {
        Failure::Record(e.to_string())
    }
}

struct Monitor {
    channel: cofferdam_enclosure::Channel,
    enclosure: Namespaces,
    relay: Option<Relay>,
    terminal: Option<(OwnedFd, rustix::termios::Termios)>,
    renames: Option<Renames>,
    commands: Option<Commands>,
    /// Once the boundary stands.
    outlet: Option<Outlet>,
    /// Once the boundary stands, where there are decoys.
    tripwires: Option<Tripwires>,
    /// Once the command runs.
    control: Option<Control>,
    /// When the command started; from then on the run is kept, whatever happens.
    begun: Option<Instant>,
    /// What the gateway is to sign certificates with.
    authority: Authority,
    run: Prepared,
    recorder: Option<Recorder>,
}

/// How the command ended.
#[derive(Clone, Copy, Debug)]
struct Ending {
    reason: EndReason,
    code: Option<i32>,
    signal: Option<i32>,
}

impl Ending {
    fn because(reason: EndReason) -> Ending {
        Ending { reason, code: None, signal: None }
    }
}

impl Monitor {
    fn go_through(&mut self, watch: io::Result<ProcessWatch>) -> Result<(), Failure> {
        // The clock that stamps inodes, before the overlay is mounted: what changed later may have been seen inside.
        let clock = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let before_mount = Timestamp::from_parts(clock.tv_sec, clock.tv_nsec);
        self.follow_processes(watch?)?;
        self.authority.certificate().clone_into(&mut self.run.plan.enclosure.authority);
        // Where init has failed already, its report says more than the broken channel.
        if self.enclosure.prepare(&self.run.plan.enclosure).is_err() {
            self.wait_ready()?;
        }
        // Init mounts meanwhile. No log, no run: the command starts only when event 0 stands.
        let recorder = self.recorder.insert(Recorder::open(&self.run, self.enclosure.boundary(), before_mount)?);
        if let Some(commands) = &mut self.commands {
            let (evidence, agent) = (self.run.directory.join("evidence"), Sought::of(&self.run.plan));
            commands.record_in(&evidence, recorder.striker(), recorder.origin(), agent)?;
        }
        self.wait_ready()?;
        self.publish()?;
        self.enclosure.go()?;
        let begun = Instant::now();
        self.begun = Some(begun);
        match Control::open(&self.run.directory) {
            Ok(control) => self.control = Some(control),
            Err(e) => self.run.plan.notes.push(format!("this run cannot be asked for anything while it goes on: {e}")),
        }
        let ending = self.watch()?;
        let running = self.commands.as_ref().map(Commands::running).unwrap_or_default();
        self.hear_rest()?;
        self.finish_renames()?;
        // All of it is gone before anything is read: nothing inside can change what is settled.
        self.end()?;
        self.run.release_home();
        self.finish_outlet()?;
        let opened = self.finish_tripwires(&running)?;
        self.drain_terminal()?;
        let (Some(recorder), Some(commands)) = (&mut self.recorder, &mut self.commands) else {
            return Err(Failure::Record("the recorder is gone".to_owned()));
        };
        let mut statement = Statement::default();
        let network = self.outlet.as_mut().and_then(|outlet| outlet.summary(commands.datagrams()));
        let totals = commands.finish(recorder, &mut statement)?;
        self.run.plan.notes.extend(commands.notes());
        let counted = settle::Counted { totals, tests: commands.tests(), network };
        let (mut summary, sync) = settle::settle(&self.run, recorder, ending, begun.elapsed(), counted, statement)?;
        summary.tripwires = opened;
        // Before the client returns: what the person types next must not find this run busy.
        self.run.release_run();
        // Where this fails there is no client left to tell.
        let _ = self.channel.send_large(&Tell::Ended, &summary, &[]);
        // The person goes on; only this process tidies up and waits for the disk.
        self.run.remove_scratch();
        commands.keep();
        recorder.capture.sync().map_err(|e| Failure::Record(e.to_string()))?;
        sync.sync().map_err(|e| Failure::Record(e.to_string()))
    }

    /// Before init knows what to do: it is known then who it is, and its children are heard of.
    fn follow_processes(&mut self, watch: ProcessWatch) -> Result<(), Failure> {
        let plan = &self.run.plan.enclosure;
        let environment: Vec<_> = plan.env.iter().map(record::name_of).collect();
        let kept = Store::of_run(&self.run.directory).executables();
        alive::note(&self.run.directory, watch.init())?;
        self.commands = Some(Commands::new(watch, &environment, &kept)?);
        Ok(())
    }

    /// Until the boundary stands.
    fn wait_ready(&mut self) -> Result<(), Failure> {
        let (network, fds) = match self.enclosure.report()? {
            Some((Report::Ready(network), fds)) => (network, fds),
            Some((Report::Failed(e), _)) => return Err(Failure::Enclosure(e)),
            Some(_) => return Err(Failure::Record("init spoke out of turn".to_owned())),
            None => return Err(Failure::Record("init died before the command started".to_owned())),
        };
        let mut fds = fds.into_iter();
        let (Some(listener), Some(root), Some(view)) = (fds.next(), fds.next(), fds.next()) else {
            return Err(Failure::Record("init came without its listener".to_owned()));
        };
        if let Some(recorder) = &mut self.recorder {
            recorder.capture.set_view(view);
        }
        self.watch_decoys(&root)?;
        if let Some(commands) = &mut self.commands {
            if matches!(network.tier, NetworkTier::None(_)) {
                commands.without_routes();
            }
            let notices = commands.listen(listener)?;
            self.renames = Some(Renames::new(notices, root, &self.run.plan.enclosure)?);
        }
        let master = match self.run.plan.enclosure.stdio {
            Stdio::Pty { .. } => fds.next(),
            Stdio::Pipes => None,
        };
        if let (Some(relay), Some(master)) = (&mut self.relay, master) {
            relay.attach(master)?;
        }
        self.run.plan.notes.extend(outlet::shortfall(&network));
        let (brokers, quiet) = (Brokers::new(&self.run)?, &self.run.plan.network.quiet);
        let (authority, budgets) = (self.authority.clone(), Budgets::new(&self.run.plan)?);
        self.outlet = Some(Outlet::new(network.sort(fds), authority, brokers, budgets, quiet));
        Ok(())
    }

    /// The ports that the plan publishes: recorded before the command starts.
    fn publish(&mut self) -> Result<(), Failure> {
        let (Some(outlet), Some(recorder)) = (&mut self.outlet, &mut self.recorder) else { return Ok(()) };
        for (what, listeners) in self.run.plan.network.publish.iter().zip(std::mem::take(&mut self.run.listeners)) {
            let dial = |port| self.enclosure.dialer(port);
            match outlet.publish(what.port, listeners, PublishedBy::CommandLine, recorder, dial)? {
                Reply::Refused(why) => return Err(Failure::Record(format!("{what} cannot be published: {why}"))),
                Reply::Done | Reply::Published { .. } | Reply::Listening(_) | Reply::View => {}
            }
        }
        Ok(())
    }

    /// Until the command ends or has to.
    fn watch(&mut self) -> Result<Ending, Failure> {
        let mut gone: Option<Instant> = None; // when the client went away
        loop {
            let (Some(recorder), Some(commands)) = (&mut self.recorder, &mut self.commands) else {
                return Err(Failure::Record("the recorder is gone".to_owned()));
            };
            let grace = gone.map(|since| GRACE.saturating_sub(since.elapsed()));
            let wait = [grace, recorder.due(), commands.due(), self.tripwires.as_ref().and_then(Tripwires::due)]
                .into_iter()
                .flatten()
                .min();
            let wait = wait.map(timespec);
            let client = if gone.is_none() { PollFlags::IN } else { PollFlags::empty() };
            let mut fds = vec![
                PollFd::from_borrowed_fd(self.enclosure.readable(), PollFlags::IN),
                PollFd::new(&self.channel, client),
                PollFd::from_borrowed_fd(recorder.capture.as_fd(), PollFlags::IN),
            ];
            let inside = add(&mut fds, commands.interests());
            let renames = self.renames.as_ref().map(|r| add(&mut fds, r.interests()));
            let relay = self.relay.as_ref().map(|r| add(&mut fds, r.interests()));
            let outlet = self.outlet.as_ref().map(|o| add(&mut fds, o.interests()));
            let control = self.control.as_ref().map(|c| add(&mut fds, c.interests()));
            let decoys = self.tripwires.as_ref().map(|t| add(&mut fds, t.interests()));
            match poll(&mut fds, wait.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(io::Error::from)?,
            };
            let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            drop(fds);

            read_screen(&mut self.relay, recorder)?;
            let ended = commands.turn(&ready[inside], recorder, self.renames.as_mut(), || self.enclosure.helper())?;
            if let Some(tripwires) = &mut self.tripwires {
                // An open comes before the end of whoever did it, and is looked at before that is settled.
                let told = decoys.is_some_and(|range| ready[range].iter().any(|flags| !flags.is_empty()));
                if told || ended || !ready[0].is_empty() || tripwires.due().is_some_and(|wait| wait.is_zero()) {
                    tripwires.turn(recorder, || commands.running())?;
                }
            }
            if !ready[2].is_empty() {
                recorder.files_changed()?;
            }
            recorder.files_if_due(|| commands.running())?;
            recorder.checkpoint_if_due()?;
            if let (Some(relay), Some(range)) = (&mut self.relay, relay) {
                relay.turn(&ready[range], recorder)?;
            }
            if let (Some(moves), Some(range)) = (&mut self.renames, renames) {
                moves.turn(&ready[range], || self.enclosure.helper())?;
            }
            // After the notices: whose connection it is, is known by then.
            if let (Some(outlet), Some(range)) = (&mut self.outlet, outlet) {
                outlet.refused(commands.refused(), recorder)?;
                outlet.look_if_due();
                let dial = |port| self.enclosure.dialer(port);
                outlet.turn(&ready[range], &self.run, recorder, |cookie| commands.owner(cookie), dial)?;
            }
            if let (Some(control), Some(range), Some(outlet)) = (&mut self.control, control, &mut self.outlet) {
                let dial = |port| self.enclosure.dialer(port);
                control.turn(&ready[range], |request, files| answer(request, files, outlet, recorder, dial))?;
            }
            if gone.is_none() && !ready[1].is_empty() && !self.hear_client()? {
                gone = Some(Instant::now());
                self.client_gone();
            }
            if gone.is_some_and(|since| since.elapsed() >= GRACE) {
                return Ok(Ending::because(EndReason::ClientGone));
            }
            if (!ready[0].is_empty() || ended && is_readable(self.enclosure.readable())?)
                && let Some(mut ending) = self.hear_init()?
            {
                if gone.is_some() {
                    ending.reason = EndReason::ClientGone;
                }
                return Ok(ending);
            }
            if let (Some(commands), Some(recorder)) = (&mut self.commands, &mut self.recorder) {
                read_screen(&mut self.relay, recorder)?;
                commands.settle_ends(recorder)?;
            }
        }
    }
}
