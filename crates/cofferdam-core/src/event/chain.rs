//! The chains that `file.changed` events form: which states a path went through.

use std::collections::BTreeMap;

use super::{BlobRef, FileChanged};
use crate::Bytes;
use crate::change::{Entry, FileKind};

/// One step of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The `seq` of its event.
    pub seq: u64,
    /// What the path held from then on; absent where there was nothing.
    pub after: Option<Entry>,
    /// The `process.exec` of each command that could have done it, the latest first.
    pub commands: Vec<u64>,
    /// The content, where it was kept.
    pub version: Option<BlobRef>,
}

/// The states of one path: its base, then a step for each event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// What the path held before the run; absent where there was nothing.
    pub base: Option<Entry>,
    /// Never empty.
    pub steps: Vec<Step>,
}

impl Chain {
    /// What the path holds after the last step.
    pub fn last(&self) -> Option<&Entry> {
        self.steps.last().map_or(self.base.as_ref(), |step| step.after.as_ref())
    }

    /// Whether the last state differs from the base; it does not where the path was changed back.
    pub fn is_change(&self) -> bool {
        !is_same(self.base.as_ref(), self.last())
    }
}

/// An event that does not begin where the one before it on the same path ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "event {seq} says that {path:?} held something else before than what event {earlier} says it held after; the log was altered or is incomplete"
)]
pub struct BrokenChain {
    /// The path.
    pub path: Bytes,
    /// The event.
    pub seq: u64,
    /// The event before it on this path.
    pub earlier: u64,
}

/// The `file.changed` events of a run, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chains {
    paths: BTreeMap<Bytes, Chain>,
}

impl Chains {
    /// Adds the next event of a log.
    ///
    /// # Errors
    /// [`BrokenChain`]; the event is added all the same, so that what follows is judged by it.
    pub fn add(&mut self, seq: u64, event: &FileChanged) -> Result<(), BrokenChain> {
        let step =
            Step { seq, after: event.after.clone(), commands: event.commands.clone(), version: event.version.clone() };
        let Some(chain) = self.paths.get_mut(&event.path) else {
            let chain = Chain { base: event.before.clone(), steps: vec![step] };
            self.paths.insert(event.path.clone(), chain);
            return Ok(());
        };
        let earlier = chain.steps.last().map_or(seq, |step| step.seq);
        let fits = chain.last() == event.before.as_ref();
        chain.steps.push(step);
        if fits { Ok(()) } else { Err(BrokenChain { path: event.path.clone(), seq, earlier }) }
    }

    /// The chain of a path, where it has one.
    pub fn get(&self, path: &Bytes) -> Option<&Chain> {
        self.paths.get(path)
    }

    /// All chains, by the bytes of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Chain)> {
        self.paths.iter()
    }

    /// The paths that differ from their base in the end: the change set that the events amount to.
    pub fn changed(&self) -> impl Iterator<Item = (&Bytes, &Chain)> {
        self.iter().filter(|(_, chain)| chain.is_change())
    }
}

/// Whether two states of a path are the same: kind, size, permission bits (those of links mean nothing, symlink(7)) and
/// content. Where a file's or link's digest is missing on either side, the time of its last modification stands for the
/// content.
pub fn is_same(one: Option<&Entry>, other: Option<&Entry>) -> bool {
    let (one, other) = match (one, other) {
        (None, None) => return true,
        (Some(one), Some(other)) => (one, other),
        _ => return false,
    };
    if one.kind != other.kind || one.size != other.size {
        return false;
    }
    if one.mode != other.mode && one.kind != FileKind::Symlink {
        return false;
    }
    match (one.kind, one.digest, other.digest) {
        (FileKind::File | FileKind::Symlink, Some(one), Some(other)) => one == other,
        (FileKind::File | FileKind::Symlink, _, _) => one.mtime == other.mtime,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::change::Digest;

    fn file(content: u8, mtime: i64) -> Entry {
        let digest = Some(Digest([content; 32]));
        Entry { kind: FileKind::File, mode: 0o644, size: 3, mtime: Timestamp(mtime), digest }
    }

    fn event(path: &str, before: Option<&Entry>, after: Option<&Entry>) -> FileChanged {
        FileChanged::new(path.into(), before.cloned(), after.cloned())
    }

    #[test]
    fn a_change_set_is_what_the_chains_amount_to() {
        let (a, b, c) = (file(1, 1), file(2, 2), file(3, 3));
        let mut chains = Chains::default();
        let events = [
            event("edited twice", Some(&a), Some(&b)),
            event("back again", Some(&a), Some(&b)),
            event("made and gone", None, Some(&a)),
            event("edited twice", Some(&b), Some(&c)),
            event("back again", Some(&b), Some(&file(1, 9))),
            event("deleted", Some(&c), None),
            event("made and gone", Some(&a), None),
        ];
        for (seq, event) in events.iter().enumerate() {
            chains.add(seq as u64, event).unwrap();
        }
        let changed: Vec<_> = chains.changed().map(|(path, chain)| (path.clone(), chain.last().cloned())).collect();
        assert_eq!(changed, [("deleted".into(), None), ("edited twice".into(), Some(c))]);
        assert_eq!(chains.iter().count(), 4);
        let twice = chains.get(&"edited twice".into()).unwrap();
        assert_eq!(twice.base, Some(a));
        assert_eq!(twice.steps.iter().map(|step| step.seq).collect::<Vec<_>>(), [0, 3]);
    }

    #[test]
    fn an_event_that_does_not_begin_where_the_last_one_ended_is_named() {
        let (a, b) = (file(1, 1), file(2, 2));
        let mut chains = Chains::default();
        chains.add(5, &event("p", None, Some(&a))).unwrap();
        let broken = chains.add(9, &event("p", Some(&b), None)).unwrap_err();
        assert_eq!(broken, BrokenChain { path: "p".into(), seq: 9, earlier: 5 });
        assert!(chains.add(10, &event("p", None, Some(&b))).is_ok());
    }

    #[test]
    fn states_are_the_same_by_kind_mode_size_and_content() {
        let a = file(1, 1);
        let same = |other: &Entry| is_same(Some(&a), Some(other));
        assert!(same(&file(1, 2)), "a touch is no change");
        assert!(!same(&file(2, 1)));
        assert!(!same(&Entry { mode: 0o755, ..a.clone() }));
        assert!(!same(&Entry { size: 4, ..a.clone() }));
        assert!(!same(&Entry { kind: FileKind::Fifo, ..a.clone() }));
        assert!(same(&Entry { digest: None, ..a.clone() }) && !same(&Entry { digest: None, ..file(1, 2) }));
        assert!(!is_same(Some(&a), None) && is_same(None, None));
        let link = Entry { kind: FileKind::Symlink, ..a.clone() };
        assert!(is_same(Some(&link), Some(&Entry { mode: 0o777, ..link.clone() })));
    }
}
