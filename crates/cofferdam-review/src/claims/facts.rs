//! What the record says that claims are checked against.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use cofferdam_core::Bytes;
use cofferdam_core::change::Entry as Side;
use cofferdam_core::event::{BlobRef, Event, EventKind, FileChanged, is_same};

use crate::story::{Collector, Command, Story};
use crate::testrun::runs_tests;
use crate::{Result, argv, shell};

/// Most paths, and most of other things.
const MOST: usize = 100_000;
/// Directories that tools fill: nobody means them who says that nothing else changed, and no test is older than them.
const GENERATED: &[&str] = &[
    "target",
    "node_modules",
    "__pycache__",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    "dist",
    "build",
    ".git",
    "coverage",
    ".tox",
    ".venv",
    "venv",
    ".next",
    ".cache",
    "htmlcov",
];

/// A path over the whole run.
#[derive(Clone, Debug)]
pub(super) struct Touched {
    pub before: Option<Side>,
    pub after: Option<Side>,
    pub last: u64,
    pub version: Option<BlobRef>,
}

impl Touched {
    /// It holds what it held before the run.
    pub(super) fn is_back(&self) -> bool {
        is_same(self.before.as_ref(), self.after.as_ref())
    }
}

/// What the record says.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub story: Story,
    /// Each changed path.
    pub paths: BTreeMap<Bytes, Touched>,
    /// Changes of what is not generated: the event, and the commands that it may be of.
    pub changes: Vec<(u64, Vec<u64>)>,
    /// Commands that test by their arguments.
    pub testers: HashSet<u64>,
    /// Connections and requests that left, but for those to models: the event, the host.
    pub left: Vec<(u64, String)>,
    /// Execs are missing from the record.
    pub gap: bool,
    /// Paths beyond [`MOST`].
    pub beyond: u64,
    models: HashSet<String>,
}

impl Facts {
    pub(super) fn read(evidence: &Path) -> Result<Facts> {
        let mut facts = Facts::default();
        facts.story = Story::read_watched(evidence, |collector, event| facts.take(collector, event))?;
        let models = std::mem::take(&mut facts.models);
        facts.left.retain(|(_, host)| !models.contains(host));
        Ok(facts)
    }

    fn take(&mut self, _: &Collector, event: &Event) {
        match &event.what {
            EventKind::FileChanged(change) => self.changed(event.seq, change),
            EventKind::ProcessExec(exec) if self.testers.len() < MOST && tests(&exec.argv) => {
                self.testers.insert(event.seq);
            }
            EventKind::ModelRequest(request) => drop(self.models.insert(request.host.clone())),
            EventKind::NetConnect(connect) if self.left.len() < MOST => {
                self.left.push((event.seq, connect.host.clone()));
            }
            EventKind::EvidenceGap { .. } => self.gap = true,
            _ => {}
        }
    }

    fn changed(&mut self, seq: u64, change: &FileChanged) {
        if let Some(known) = self.paths.get_mut(&change.path) {
            (known.after, known.last, known.version) = (change.after.clone(), seq, change.version.clone());
        } else if self.paths.len() < MOST {
            let (before, after) = (change.before.clone(), change.after.clone());
            let touched = Touched { before, after, last: seq, version: change.version.clone() };
            self.paths.insert(change.path.clone(), touched);
        } else {
            self.beyond += 1;
        }
        if !is_generated(&change.path) && self.changes.len() < MOST {
            self.changes.push((seq, change.commands.clone()));
        }
    }

    /// The commands, the run's own among them.
    pub(super) fn commands(&self) -> impl Iterator<Item = &Command> {
        let root = self.story.root.iter().filter(|root| self.story.commands().all(|c| c.seq != root.seq));
        root.chain(self.story.commands())
    }

    /// Paths that hold something else than before, generated ones left out.
    pub(super) fn differing(&self) -> impl Iterator<Item = (&Bytes, &Touched)> {
        self.paths.iter().filter(|(path, touched)| !touched.is_back() && !is_generated(path))
    }

    /// The last change after an event that is not of a command itself.
    pub(super) fn changed_since(&self, seq: u64, command: &Command) -> Option<u64> {
        let other = |commands: &[u64]| !commands.contains(&command.seq) && !commands.contains(&command.image);
        self.changes
            .iter()
            .rev()
            .take_while(|(change, _)| *change > seq)
            .find(|(_, by)| other(by))
            .map(|(change, _)| *change)
    }

    /// What is known of a path as a person writes it: whole, or its end where that is one path's only.
    pub(super) fn path(&self, name: &str) -> Place<'_> {
        let project = self.story.started.as_ref().map_or(&b""[..], |started| started.project.0.as_slice());
        let name = name.as_bytes();
        let inside = match name.strip_prefix(project) {
            Some(rest) if !project.is_empty() && rest.first() == Some(&b'/') => &rest[1..],
            _ if name.starts_with(b"/") || name.starts_with(b"~") || name.starts_with(b"../") => return Place::Outside,
            _ => name,
        };
        if let Some((path, touched)) = self.paths.get_key_value(&Bytes(inside.to_vec())) {
            return Place::Is(path, touched);
        }
        let ends = |path: &Bytes| path.0.strip_suffix(inside).is_some_and(|before| before.ends_with(b"/"));
        let mut hits = self.paths.iter().filter(|(path, _)| ends(path));
        match (hits.next(), hits.next()) {
            (Some((path, touched)), None) => Place::Is(path, touched),
            (Some(_), Some(_)) => Place::Several,
            (None, _) => Place::Untouched,
        }
    }
}

/// Whether a command tests by its arguments, those of a shell's script among them.
fn tests(argv: &[Bytes]) -> bool {
    let words = |words: &Vec<String>| words.iter().map(|word| Bytes::from(word.as_str())).collect::<Vec<_>>();
    let script = || argv::texts(argv).into_iter().next().unwrap_or_default();
    runs_tests(argv) || shell::simple_commands(&script()).commands.iter().any(|command| runs_tests(&words(command)))
}

/// What a name of a path leads to.
#[derive(Debug)]
pub(super) enum Place<'a> {
    Is(&'a Bytes, &'a Touched),
    /// No changed path is called so.
    Untouched,
    /// Several are.
    Several,
    /// It does not lie in the project.
    Outside,
}

/// Whether a path lies in what tools fill.
pub(super) fn is_generated(path: &Bytes) -> bool {
    path.0.split(|b| *b == b'/').any(|part| GENERATED.iter().any(|name| name.as_bytes() == part))
}
