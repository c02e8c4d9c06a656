//! What one run says of one path.

use std::path::Path;

use cofferdam_core::change::Entry as Side;
use cofferdam_core::event::{BlobRef, EventKind, FileChanged};
use cofferdam_core::{Bytes, Timestamp};
use cofferdam_evidence::read_events;

use crate::exposure::{Exposure, Watch};
use crate::story::{Collector, Entry, Place, Story};
use crate::{Heads, Result};

/// A state that the path went through.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub seq: u64,
    pub after: Option<Side>,
    pub commands: Vec<u64>,
    pub content: Option<BlobRef>,
}

/// A promotion of the path that stands.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub number: u32,
    pub time: Timestamp,
}

#[derive(Debug)]
pub(super) struct History {
    /// What it held before the run; the outer `None`: the run did not change it.
    pub base: Option<Option<Side>>,
    pub versions: Vec<Version>,
    pub taken: Vec<Taken>,
    pub story: Story,
    pub exposure: Exposure,
    /// The known agent that the run was of, with its version.
    pub agent: Option<String>,
    /// Execs, and the command each belongs to.
    owners: Vec<(u64, u64)>,
}

impl History {
    pub(super) fn read(evidence: &Path, path: &Bytes) -> Result<History> {
        let mut collector = Collector::new(Heads::open(evidence)?);
        let mut watch = Watch::default();
        let (mut base, mut versions, mut taken) = (None, Vec::new(), Vec::new());
        let mut owners: Vec<(u64, u64)> = Vec::new();
        let mut agent = None;
        for event in read_events(evidence)? {
            let event = match event {
                Err(cofferdam_evidence::Error::Malformed { .. }) => {
                    collector.unread();
                    continue;
                }
                event => event?,
            };
            let of_path = |change: &&FileChanged| change.path == *path;
            match &event.what {
                EventKind::FileChanged(change) if change.path == *path => {
                    base.get_or_insert_with(|| change.before.clone());
                    versions.push(Version {
                        seq: event.seq,
                        after: change.after.clone(),
                        commands: change.commands.clone(),
                        content: change.version.clone(),
                    });
                }
                EventKind::RunAgent(known) => agent = Some(crate::model::agent(known)),
                EventKind::PromotionApplied(data) => {
                    taken.extend(
                        data.paths.iter().find(of_path).map(|_| Taken { number: data.number, time: event.time }),
                    );
                }
                // An undo reverses the latest promotion that was not undone.
                EventKind::PromotionUndone(data) if data.paths.iter().any(|change| change.path == *path) => {
                    taken.pop();
                }
                _ => {}
            }
            let (seq, is_exec) = (event.seq, matches!(event.what, EventKind::ProcessExec(_)));
            watch.take(&collector, &event);
            let place = collector.push(event);
            if is_exec {
                let owner = match place {
                    Place::Command(command) | Place::Below(command) => command,
                    Place::Top => 0,
                };
                if owners.last().is_none_or(|(_, last)| *last != owner) {
                    owners.push((seq, owner));
                }
            }
        }
        let story = collector.finish();
        let exposure = Exposure::new(&story, watch);
        Ok(History { base, versions, taken, story, exposure, agent, owners })
    }

    /// The command that an exec belongs to, and its text; `None` where it is the agent itself.
    pub(super) fn command(&self, exec: u64) -> Option<(u64, &str)> {
        let at = self.owners.partition_point(|(from, _)| *from <= exec);
        let seq = self.owners.get(at.checked_sub(1)?)?.1;
        self.story.commands().find(|c| c.seq == seq).map(|c| (seq, c.text.as_str()))
    }

    /// The last prompt before an event.
    pub(super) fn prompt(&self, seq: u64) -> Option<(u64, &BlobRef)> {
        let before = self.story.entries.iter().take_while(|entry| entry.seq() < seq);
        before
            .filter_map(|entry| if let Entry::Prompt(said) = entry { Some((said.seq, &said.text)) } else { None })
            .last()
    }

    /// The first test run that ended after an event.
    pub(super) fn tests(&self, seq: u64) -> Option<(u64, String)> {
        let tested = self.story.commands().find(|c| c.tests.iter().any(|tests| tests.seq > seq))?;
        Some((tested.seq, crate::story::tests(&tested.tests)))
    }
}
