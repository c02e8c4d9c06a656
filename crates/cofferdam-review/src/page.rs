//! Everything about one command.

use std::collections::HashSet;
use std::path::Path;

use cofferdam_core::Timestamp;
use cofferdam_core::event::{CommandOutput, Event, EventKind, FileChanged, Link, ProcessExec, ProcessExit, TestResult};
use cofferdam_evidence::read_events;

use crate::event_line::kind_of;
use crate::{Error, Result};

/// Most descendants, files and ancestors listed; the counts are of all.
const LISTED: usize = 200;

/// A process that stands in a command's family.
#[derive(Clone, Debug)]
pub struct Relative {
    /// Its `process.exec`.
    pub seq: u64,
    /// What it executed.
    pub exec: ProcessExec,
    /// Whether it is the same process, before or after it executed another program.
    pub same: bool,
    /// How it ended; `None` where that is not in the log.
    pub exit: Option<ProcessExit>,
}

/// What the log says of one command.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its `process.exec`.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// What it executed.
    pub exec: ProcessExec,
    /// How its cause is known.
    pub link: Option<Link>,
    /// What caused it, the nearest first.
    pub ancestors: Vec<Relative>,
    /// How it ended.
    pub exit: Option<(u64, ProcessExit)>,
    /// The digest of its program, where that came later.
    pub image: Option<cofferdam_core::event::ProcessImage>,
    /// What it and the processes below it printed.
    pub outputs: Vec<(u64, u64, CommandOutput)>,
    /// What its tests said.
    pub tests: Vec<(u64, TestResult)>,
    /// Processes below it; a bounded number.
    pub below: Vec<Relative>,
    /// How many there are.
    pub below_count: u64,
    /// What changed while it or a process below it ran, and could have been its doing; a bounded number.
    pub files: Vec<(u64, FileChanged)>,
    /// How many there are.
    pub files_count: u64,
    /// What it and the processes below it looked up, let out, or tried to (`net.*`, `http.exchange`); a bounded number.
    pub network: Vec<(u64, EventKind)>,
    /// How many there are.
    pub network_count: u64,
}

/// Reads what the log says of the command that event `seq` started.
///
/// # Errors
/// [`Error::NoEvent`], [`Error::NotACommand`], and where the log cannot be read.
pub fn page(evidence: &Path, seq: u64) -> Result<Page> {
    let (mut causes, mut page, mut family) = (Vec::new(), None, HashSet::new());
    let mut last = 0;
    for event in read_events(evidence)? {
        let event = match event {
            Err(cofferdam_evidence::Error::Malformed { .. }) => continue,
            event => event?,
        };
        last = event.seq;
        if event.seq < seq {
            if let (EventKind::ProcessExec(_), Some(cause)) = (&event.what, event.cause) {
                causes.push((event.seq, cause));
            }
        } else if event.seq == seq {
            page = Some(begun(event)?);
            family.insert(seq);
        } else if let Some(page) = &mut page {
            page.take(event, &mut family);
        }
    }
    let mut page: Page = page.ok_or(Error::NoEvent { seq, last })?;
    page.ancestors = ancestors(evidence, &page, &causes)?;
    Ok(page)
}

fn begun(event: Event) -> Result<Page> {
    let EventKind::ProcessExec(exec) = event.what else {
        return Err(Error::NotACommand { seq: event.seq, kind: kind_of(&event.what) });
    };
    let first = Relative { seq: event.cause.unwrap_or(0), exec: ProcessExec::default(), same: false, exit: None };
    Ok(Page {
        seq: event.seq,
        time: event.time,
        exec,
        link: event.link,
        // The cause's number; what it is comes with a second reading.
        ancestors: vec![first],
        exit: None,
        image: None,
        outputs: Vec::new(),
        tests: Vec::new(),
        below: Vec::new(),
        below_count: 0,
        files: Vec::new(),
        files_count: 0,
        network: Vec::new(),
        network_count: 0,
    })
}

impl Page {
    fn take(&mut self, event: Event, family: &mut HashSet<u64>) {
        let of_family = event.cause.is_some_and(|cause| family.contains(&cause));
        match event.what {
            EventKind::FileChanged(change) => {
                let named = change.commands.iter().any(|seq| family.contains(seq));
                if !(named || (of_family && change.commands.is_empty())) {
                    return;
                }
                self.files_count += 1;
                if self.files.len() < LISTED {
                    self.files.push((event.seq, change));
                }
            }
            _ if !of_family => {}
            EventKind::ProcessExec(exec) => {
                family.insert(event.seq);
                let same = event.link == Some(Link::Process);
                self.below_count += u64::from(!same);
                if self.below.len() < LISTED {
                    self.below.push(Relative { seq: event.seq, exec, same, exit: None });
                }
            }
            EventKind::ProcessExit(exit) if exit.pid == self.exec.pid && self.exit.is_none() => {
                self.exit = Some((event.seq, exit));
            }
            EventKind::ProcessExit(exit) => {
                let of = |relative: &&mut Relative| relative.exec.pid == exit.pid && relative.exit.is_none();
                if let Some(relative) = self.below.iter_mut().rev().find(of) {
                    relative.exit = Some(exit);
                }
            }
            EventKind::ProcessImage(image) if event.cause == Some(self.seq) => self.image = Some(image),
            EventKind::CommandOutput(output) => self.outputs.push((event.seq, event.cause.unwrap_or(0), output)),
            what @ (EventKind::NetLookup(_)
            | EventKind::NetConnect(_)
            | EventKind::NetDenied(_)
            | EventKind::HttpExchange(_)) => {
                self.network_count += 1;
                if self.network.len() < LISTED {
                    self.network.push((event.seq, what));
                }
            }
            EventKind::TestResult(result) => self.tests.push((event.seq, result)),
            _ => {}
        }
    }
}

/// The chain of causes, read again for what they are.
fn ancestors(evidence: &Path, page: &Page, causes: &[(u64, u64)]) -> Result<Vec<Relative>> {
    let mut chain = Vec::new();
    let mut next = page.ancestors.first().map_or(0, |first| first.seq);
    while next > 0 && chain.len() < LISTED {
        chain.push(next);
        next = causes.binary_search_by_key(&next, |(seq, _)| *seq).map_or(0, |at| causes[at].1);
    }
    let Some(newest) = chain.first().copied() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let mut same = page.link == Some(Link::Process);
    for event in read_events(evidence)? {
        match event {
            Ok(event) if event.seq > newest => break,
            Ok(Event { seq, link, what: EventKind::ProcessExec(exec), .. }) if chain.contains(&seq) => {
                found.push((Relative { seq, exec, same: false, exit: None }, link));
            }
            Ok(_) | Err(cofferdam_evidence::Error::Malformed { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    found.reverse();
    let relative = |(mut relative, link): (Relative, Option<Link>)| {
        relative.same = same;
        same = link == Some(Link::Process);
        relative
    };
    Ok(found.into_iter().map(relative).collect())
}
