//! One file of a diff.

use std::sync::atomic::{AtomicU64, Ordering};

use cofferdam_core::Bytes;
use cofferdam_core::change::{BaseState, Class};
use serde::{Serialize, Serializer};

use super::DiffOptions;
use super::content::{self, Loaded, Location, MOST_LINES, ObjectId};
use super::hunks::{Hunk, hunks, is_binary};
use super::similarity::WHOLE;
use crate::error::WorkspaceError;
use crate::layers::Layers;

/// Both sides of one change, before it is compared; after a rename they have two paths.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub old: Option<Location>,
    pub new: Option<Location>,
    /// Of a rename, 0 to [`WHOLE`].
    pub score: Option<u64>,
    pub base: BaseState,
    pub class: Class,
}

impl Pair {
    pub fn path(&self) -> &Bytes {
        static NONE: Bytes = Bytes(Vec::new());
        self.new.as_ref().or(self.old.as_ref()).map_or(&NONE, |at| &at.path)
    }
}

/// What happened to a file, as git's status letters have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// `A`
    Added,
    /// `D`
    Deleted,
    /// `M`: content or mode.
    Modified,
    /// `R`
    Renamed,
    /// `T`: a file became a link or the reverse.
    TypeChanged,
}

impl Status {
    /// The letter.
    pub fn letter(self) -> char {
        match self {
            Status::Added => 'A',
            Status::Deleted => 'D',
            Status::Modified => 'M',
            Status::Renamed => 'R',
            Status::TypeChanged => 'T',
        }
    }
}

/// One side of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// git's mode; in JSON six octal digits: `"100644"`, `"100755"`, `"120000"`.
    #[serde(serialize_with = "octal")]
    pub mode: u32,
    /// Bytes of the content.
    pub size: u64,
    /// git's id of it; all zeros where it was not hashed.
    pub id: ObjectId,
}

fn octal<S: Serializer>(mode: &u32, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format!("{mode:06o}"))
}

/// One file of a diff.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileDiff {
    /// What happened.
    pub status: Status,
    /// The path in the base.
    pub old_path: Bytes,
    /// The path in the workspace; the same but for renames.
    pub new_path: Bytes,
    /// Absent for added files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Side>,
    /// Absent for deleted files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Side>,
    /// Not compared line by line.
    pub binary: bool,
    /// Lines.
    pub added: u64,
    /// Lines.
    pub deleted: u64,
    /// Of a rename, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<u8>,
    /// How the real tree stands to the base.
    pub base: BaseState,
    /// What kind of path it is for promotion.
    pub class: Class,
    /// What the reader must know of this comparison (too large, base not known).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(skip)]
    pub(crate) parts: Vec<Part>,
}

/// What is printed under one `diff --git` line. A change of type prints as a deletion and an addition.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub old: Option<Side>,
    pub new: Option<Side>,
    pub binary: bool,
    pub hunks: Vec<Hunk>,
}

const CROWDED: &str = "the diff is too large: the lines of this file are left out";

/// Compares both sides; `None` where git sees no difference. `budget` is what may still be kept of hunks, in bytes.
pub(crate) fn compare(
    layers: &Layers,
    pair: &Pair,
    options: &DiffOptions,
    budget: &AtomicU64,
) -> Result<Option<FileDiff>, WorkspaceError> {
    let old = pair.old.as_ref().map(|at| content::load(layers, at)).transpose()?;
    let new = pair.new.as_ref().map(|at| content::load(layers, at)).transpose()?;
    let side = |at: &Option<Location>, loaded: &Option<Loaded>| {
        at.as_ref().zip(loaded.as_ref()).map(|(at, loaded)| Side { mode: at.mode, size: loaded.size, id: loaded.id })
    };
    let (old_side, new_side) = (side(&pair.old, &old), side(&pair.new, &new));
    let status = match (&old_side, &new_side) {
        (None, _) => Status::Added,
        (_, None) => Status::Deleted,
        _ if pair.score.is_some() => Status::Renamed,
        (Some(old), Some(new)) if old.mode & 0o170_000 != new.mode & 0o170_000 => Status::TypeChanged,
        (Some(old), Some(new)) if old == new && old.id != ObjectId::UNKNOWN => return Ok(None),
        _ => Status::Modified,
    };
    let empty = Loaded { id: ObjectId::UNKNOWN, size: 0, content: Some(Vec::new()), note: None };
    let (before, after) = (old.as_ref().unwrap_or(&empty), new.as_ref().unwrap_or(&empty));
    let mut note = before.note.or(after.note);
    let mut whole = part(old_side, new_side, before, after, options);
    if whole.crowded {
        note = Some("too many lines to be compared");
    }
    let (added, deleted, binary) = (whole.added, whole.deleted, whole.part.binary);
    let mut parts = vec![];
    if status == Status::TypeChanged {
        parts.push(part(old_side, None, before, &empty, options).part);
        parts.push(part(None, new_side, &empty, after, options).part);
    } else {
        parts.push(std::mem::replace(&mut whole.part, Part { old: None, new: None, binary, hunks: Vec::new() }));
    }
    let bytes: u64 = parts.iter().flat_map(|part| &part.hunks).map(|hunk| hunk.body.len() as u64).sum();
    let take = |left: u64| left.checked_sub(bytes);
    if budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
        parts.iter_mut().for_each(|part| part.hunks.clear());
        note = Some(CROWDED);
    }
    let path = |at: &Option<Location>| at.as_ref().map_or_else(|| pair.path().clone(), |at| at.path.clone());
    Ok(Some(FileDiff {
        status,
        old_path: path(&pair.old),
        new_path: path(&pair.new),
        old: old_side,
        new: new_side,
        binary,
        added,
        deleted,
        // At most 100: the score is at most WHOLE.
        similarity: pair.score.and_then(|score| u8::try_from(score * 100 / WHOLE).ok()),
        base: pair.base,
        class: pair.class,
        note: note.map(str::to_owned),
        parts,
    }))
}

struct Compared {
    part: Part,
    added: u64,
    deleted: u64,
    /// Too many lines.
    crowded: bool,
}

fn part(old_side: Option<Side>, new_side: Option<Side>, old: &Loaded, new: &Loaded, options: &DiffOptions) -> Compared {
    let mut part = Part { old: old_side, new: new_side, binary: false, hunks: Vec::new() };
    if old.id == new.id && old.size == new.size && old.id != ObjectId::UNKNOWN {
        part.binary = old.content.as_ref().is_none_or(|content| is_binary(content));
        return Compared { part, added: 0, deleted: 0, crowded: false };
    }
    let crowded =
        |content: &[u8]| content.len() > MOST_LINES && content.iter().filter(|b| **b == b'\n').count() > MOST_LINES;
    let texts = match (&old.content, &new.content) {
        (Some(old), Some(new)) if !is_binary(old) && !is_binary(new) => Some((old, new)),
        _ => None,
    };
    let Some((before, after)) = texts.filter(|(old, new)| !crowded(old) && !crowded(new)) else {
        part.binary = true;
        return Compared { part, added: 0, deleted: 0, crowded: texts.is_some() };
    };
    let found = hunks(before, after, options.context, options.hunks);
    part.hunks = found.list;
    Compared { part, added: found.added, deleted: found.deleted, crowded: false }
}
