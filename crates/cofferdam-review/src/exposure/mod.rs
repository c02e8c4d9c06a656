//! What a model had read before it wrote: contents of the network, packages, issues, and files of the project.
//!
//! A model knows only what its requests tell it. What tool calls brought is told by their results; where these are from
//! is known by what the call asked for, and by what its commands let out. What was told before the call that changed a
//! file counts as read before the change; that it had an influence is not said.

mod origin;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use cofferdam_core::event::{Event, EventKind};
use cofferdam_core::{Bytes, Timestamp};
use serde::Serialize;

use crate::causes::{Call, Kind};
use crate::story::{Collector, Story};
use crate::text::{fit, one_line};
use crate::{Result, argv, shell};

pub use origin::Origin;
use origin::{of_address, of_path};

/// Most sources, and most changes, that are kept.
const MOST: usize = 100_000;
/// Most sources that one call has.
const OF_CALL: usize = 32;
/// Most sources told of one file.
const TOLD: usize = 200;

/// Something that a model read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The `tool.result` that told it.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// The `tool.call`.
    pub call: u64,
    /// The tool, safe for a terminal.
    pub tool: String,
    /// Where it is from.
    pub origin: Origin,
    /// The address, the path, or the tool; safe for a terminal, shortened.
    pub what: String,
}

/// A changed file, and what had been read before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exposed {
    /// The path, relative to the project.
    pub path: Bytes,
    /// The last `file.changed` of it.
    pub change: u64,
    /// When.
    pub time: Timestamp,
    /// The `tool.call` that changed it; absent where none is known: then the time of the change counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<u64>,
    /// What had been read, each source once, what nobody vouches for first; a bounded number.
    pub seen: Vec<Seen>,
    /// Sources that are not named.
    pub more: u64,
}

/// Takes what the story does not keep.
#[derive(Debug, Default)]
pub struct Watch {
    /// Requests of commands, by command: addresses without query.
    fetched: HashMap<u64, Vec<String>>,
    /// The last change of each path.
    changes: BTreeMap<Bytes, (u64, Timestamp)>,
}

impl Watch {
    /// Takes the next event, before the collector does.
    pub fn take(&mut self, collector: &Collector, event: &Event) {
        match &event.what {
            EventKind::HttpExchange(exchange) => {
                let Some(command) = collector.command_of(event.cause).map(|command| command.seq) else { return };
                let address = exchange.url.split(['?', '#']).next().unwrap_or_default();
                self.fetch(command, address);
            }
            // What no exchange tells of: relayed, or passed through.
            EventKind::NetConnect(connect) if connect.exchanges == 0 && connect.received > 0 => {
                let Some(command) = collector.command_of(event.cause).map(|command| command.seq) else { return };
                self.fetch(command, &format!("{}:{}", connect.host, connect.port));
            }
            EventKind::FileChanged(change) if self.changes.len() < MOST || self.changes.contains_key(&change.path) => {
                self.changes.insert(change.path.clone(), (event.seq, event.time));
            }
            _ => {}
        }
    }

    fn fetch(&mut self, command: u64, address: &str) {
        if self.fetched.len() == MOST && !self.fetched.contains_key(&command) {
            return;
        }
        let known = self.fetched.entry(command).or_default();
        let address = fit(&one_line(address.as_bytes()), 200);
        if known.len() < OF_CALL && !known.contains(&address) {
            known.push(address);
        }
    }
}

/// What was read when, of a whole run.
#[derive(Debug)]
pub struct Exposure {
    /// In the order in which it was told.
    seen: Vec<Seen>,
    /// Changes and the calls that they are of.
    calls: HashMap<u64, u64>,
    changes: BTreeMap<Bytes, (u64, Timestamp)>,
    /// Sources beyond the most that are kept.
    pub beyond: u64,
}

impl Exposure {
    /// Reads a run.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn read(evidence: &Path) -> Result<Exposure> {
        let mut watch = Watch::default();
        let story = Story::read_watched(evidence, |collector, event| watch.take(collector, event))?;
        Ok(Exposure::new(&story, watch))
    }

    /// Of a story and what was watched beside it.
    pub fn new(story: &Story, watch: Watch) -> Exposure {
        let project = story.started.as_ref().map_or(&b""[..], |started| started.project.0.as_slice());
        let mut exposure = Exposure { seen: Vec::new(), calls: HashMap::new(), changes: watch.changes, beyond: 0 };
        for call in &story.calls {
            for changed in &call.changed {
                exposure.calls.insert(changed.seq, call.seq);
            }
            let Some(told) = &call.told else { continue };
            for (origin, what) in sources(call, project, &watch.fetched) {
                if exposure.seen.len() == MOST {
                    exposure.beyond += 1;
                    continue;
                }
                let (seq, time, tool) = (told.seq, told.time, call.tool.clone());
                let what = fit(&one_line(what.as_bytes()), 200);
                exposure.seen.push(Seen { seq, time, call: call.seq, tool, origin, what });
            }
        }
        exposure.seen.sort_by_key(|seen| seen.seq);
        exposure
    }

    /// What had been read before a change was written, each source once, what nobody vouches for first; and how many more.
    pub fn before(&self, change: u64) -> (Vec<Seen>, u64) {
        let until = self.calls.get(&change).copied().unwrap_or(change);
        let read = &self.seen[..self.seen.partition_point(|seen| seen.seq < until)];
        let mut known = HashSet::new();
        let mut seen: Vec<&Seen> = read.iter().filter(|seen| known.insert((seen.origin, &seen.what))).collect();
        seen.sort_by_key(|seen| seen.origin);
        let more = seen.len().saturating_sub(TOLD) as u64;
        (seen.into_iter().take(TOLD).cloned().collect(), more)
    }

    /// Changed files, those of `path` or below it where there is one.
    pub fn files(&self, path: Option<&Bytes>) -> Vec<Exposed> {
        let is_below = |name: &Bytes| {
            path.is_none_or(|path| {
                let rest = name.0.strip_prefix(path.0.as_slice());
                path.0.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
            })
        };
        let files = self.changes.iter().filter(|(name, _)| is_below(name));
        files
            .map(|(path, (change, time))| {
                let (seen, more) = self.before(*change);
                let call = self.calls.get(change).copied();
                Exposed { path: path.clone(), change: *change, time: *time, call, seen, more }
            })
            .collect()
    }
}

/// What a call brought, by where it is from.
fn sources(call: &Call, project: &[u8], fetched: &HashMap<u64, Vec<String>>) -> Vec<(Origin, String)> {
    let lossy = |name: &Bytes| String::from_utf8_lossy(&name.0).into_owned();
    let mut all: Vec<(Origin, String)> = match call.kind {
        Kind::Fetch => call.names.iter().map(|name| (of_address(&lossy(name)), lossy(name))).collect(),
        Kind::Read => call.names.iter().map(|name| (of_path(&name.0, project), lossy(name))).collect(),
        Kind::Command => {
            arguments(&call.text).into_iter().map(|path| (of_path(path.as_bytes(), project), path)).collect()
        }
        // Servers of tools hand on what they fetched elsewhere.
        Kind::Other if call.tool.to_ascii_lowercase().contains("mcp") => vec![(Origin::Tool, call.tool.clone())],
        Kind::Edit | Kind::Other => Vec::new(),
    };
    for ran in &call.ran {
        let addresses = fetched.get(&ran.seq).into_iter().flatten();
        all.extend(addresses.map(|address| (of_address(address), address.clone())));
    }
    all.truncate(OF_CALL);
    all
}

/// Paths that a command which reads is given.
fn arguments(script: &str) -> Vec<String> {
    let commands = shell::simple_commands(script).commands;
    let reads = commands.into_iter().filter(|words| shell::is_read(words));
    let words = reads.flat_map(|words| words.into_iter().skip(1));
    // What is searched for is no path, however it looks.
    words
        .filter(|word| !word.starts_with('-') && (word.contains('/') || word.contains('.')) && !argv::is_pattern(word))
        .take(OF_CALL)
        .collect()
}
