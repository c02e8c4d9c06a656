//! Which known agent the run is of, with the digest of its program: written when that is there, and never waited for.

use cofferdam_core::Bytes;
use cofferdam_core::event::{EventKind, Link, RunAgent};
use cofferdam_core::plan::RunPlan;
use cofferdam_enclosure::open_regular;

use crate::monitor::images::{Found, Image, Images, Ticket};
use crate::monitor::record::{RecordError, Recorder};

/// An agent that is not on record yet.
#[derive(Debug)]
pub(in crate::monitor) struct Sought {
    event: RunAgent,
    ticket: Option<Ticket>,
}

impl Sought {
    /// The known agent of a plan.
    pub(in crate::monitor) fn of(plan: &RunPlan) -> Option<Sought> {
        let known = plan.known.as_ref()?;
        let path = known.executable.clone().or_else(|| plan.enclosure.argv.first().cloned()).unwrap_or_default();
        let event = RunAgent { name: known.name.clone(), version: known.version.clone(), path, digest: None };
        Some(Sought { event, ticket: None })
    }
}

/// The command has started: looks for the digest of its agent.
pub(super) fn look(
    agent: &mut Option<Sought>,
    images: &mut Images,
    recorder: &mut Recorder,
) -> Result<(), RecordError> {
    let Some(sought) = agent.as_mut().filter(|sought| sought.ticket.is_none()) else { return Ok(()) };
    // What cannot be opened has no digest.
    let found = match open_regular(sought.event.path.as_path()) {
        Ok(file) if is_absolute(&sought.event.path) => images.find(file).map_err(RecordError::Processes)?,
        _ => Found::Nothing,
    };
    match found {
        Found::Later(ticket) => sought.ticket = Some(ticket),
        Found::Digest(digest) => {
            sought.event.digest = Some(digest);
            return write(agent, recorder);
        }
        Found::Nothing => return write(agent, recorder),
    }
    Ok(())
}

/// A program has been read: perhaps it is the agent's.
pub(super) fn came(agent: &mut Option<Sought>, image: &Image, recorder: &mut Recorder) -> Result<(), RecordError> {
    match agent.as_mut().filter(|sought| sought.ticket.as_ref().is_some_and(|ticket| image.is(ticket))) {
        Some(sought) => {
            sought.event.digest = image.digest;
            write(agent, recorder)
        }
        None => Ok(()),
    }
}

/// Writes it as it is known by now.
pub(super) fn write(agent: &mut Option<Sought>, recorder: &mut Recorder) -> Result<(), RecordError> {
    if let Some(sought) = agent.take() {
        recorder.append(Some((0, Link::Parent)), EventKind::RunAgent(sought.event))?;
    }
    Ok(())
}

fn is_absolute(path: &Bytes) -> bool {
    path.0.starts_with(b"/")
}
