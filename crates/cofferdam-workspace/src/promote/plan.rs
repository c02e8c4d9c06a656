//! The plan of a promotion: per path what will happen, as plain data.

use cofferdam_core::Bytes;
use cofferdam_core::change::{Digest, Entry};
use serde::{Deserialize, Serialize};

use super::Identity;

/// What the person asked for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The paths that were named, relative to the root; a directory names all below it, the empty path everything.
    /// `None`: nothing was named, and all that is promoted by itself is meant.
    pub paths: Option<Vec<Bytes>>,
    /// Paths, and all below them, that stay behind whatever else is said.
    pub exclude: Vec<Bytes>,
    /// Whether host-executing paths, set-id files and named git metadata are confirmed (`--yes`).
    pub confirmed: bool,
    /// What becomes of text that both sides changed at the same place.
    pub conflicts: ConflictStyle,
}

impl Selection {
    /// Whether the person named `path`, by itself or by a directory above it.
    pub fn names(&self, path: &Bytes) -> bool {
        self.paths.as_ref().is_some_and(|paths| covered(paths, path))
    }

    /// Whether the person excluded `path`.
    pub fn excludes(&self, path: &Bytes) -> bool {
        covered(&self.exclude, path)
    }
}

fn covered(prefixes: &[Bytes], path: &Bytes) -> bool {
    prefixes.iter().any(|p| {
        let prefix = p.0.strip_suffix(b"/").unwrap_or(&p.0);
        prefix.is_empty() || path.0.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    })
}

/// What becomes of text that both sides changed at the same place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictStyle {
    /// Nothing is promoted while there is such a path.
    #[default]
    Refuse,
    /// The file is written with git's conflict markers, the real tree's lines first.
    Markers {
        /// The text after `>>>>>>>`: `run k7m2`.
        label: String,
    },
}

/// Everything that a promotion would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The root that was looked at, as it was opened.
    pub root: Bytes,
    /// How conflicts are treated.
    pub conflicts: ConflictStyle,
    /// One entry for each change, in the order of the change set.
    pub paths: Vec<Planned>,
    /// Directories that must be made although no selected change says so, outermost first.
    pub parents: Vec<Parent>,
}

impl Plan {
    /// The paths that are in conflict and not resolved.
    pub fn conflicts(&self) -> impl Iterator<Item = &Planned> {
        self.paths.iter().filter(|p| matches!(p.decision, Decision::Conflict { .. }) && p.step.is_none())
    }

    /// The paths that a promotion would change.
    pub fn taken(&self) -> impl Iterator<Item = &Planned> {
        self.paths.iter().filter(|p| p.step.is_some())
    }

    /// How many changed paths would stay behind.
    pub fn left(&self) -> u64 {
        let left = |p: &&Planned| {
            matches!(p.decision, Decision::Left { .. } | Decision::NeedsConfirmation { .. })
                || (p.step.is_none() && matches!(p.decision, Decision::Conflict { .. }))
        };
        self.paths.iter().filter(left).count() as u64
    }
}

/// A directory above a promoted path that the real tree lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its path.
    pub path: Bytes,
    /// The workspace's permission bits for it; where the workspace has no such directory, the caller's umask decides.
    pub mode: Option<u32>,
}

/// One change and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Relative to the root.
    pub path: Bytes,
    /// The verdict.
    pub decision: Decision,
    /// What will be done; `None` where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// Whether what stands at the path is removed first, because it is of another kind.
    #[serde(default)]
    pub clears: bool,
    /// What the real tree held when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real: Option<Identity>,
    /// SHA-256 of the real tree's file, where its modification time was too recent to tell two versions apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real_digest: Option<Digest>,
    /// The workspace's entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Entry>,
    /// What a person should know about it, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The verdict on one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// The real tree still holds the base: the workspace's side is taken.
    Take,
    /// Both sides changed the text, at different places: both are kept.
    Merge,
    /// The real tree holds what the workspace holds.
    AlreadyThere,
    /// The sides contradict each other.
    Conflict {
        /// How.
        why: Conflict,
        /// Whether conflict markers can be written.
        markers: bool,
    },
    /// The change stays behind.
    Left {
        /// Why.
        why: Left,
    },
    /// The change stays behind until the person names or confirms it.
    NeedsConfirmation {
        /// What will run it, or what is special about it, as a clause.
        executes: String,
    },
}

/// Why a change stays behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Left {
    /// The project's ignore files cover it.
    Ignored,
    /// It lies in a git directory.
    GitMetadata,
    /// It is a socket, pipe or device, or bears the name of our own staging directory.
    Unpromotable,
    /// It lies in what a directory rename left that was cut off.
    HalfMoved,
    /// Other paths were named.
    NotNamed,
    /// The person excluded it.
    Excluded,
    /// A directory that the run deleted still holds entries that stay.
    NotEmpty {
        /// How many.
        entries: u64,
        /// One of them.
        first: Bytes,
    },
}

/// How the sides contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Conflict {
    /// Both changed the same lines.
    #[error("the run and the real tree changed the same lines")]
    SameLines,
    /// Both changed it, and it is not text.
    #[error("both sides changed it, and it is not text")]
    Binary,
    /// Both changed it, and it is too large to merge.
    #[error("both sides changed it, and it is too large to merge")]
    TooLarge,
    /// Both changed the permission bits, differently.
    #[error("both sides changed its permission bits")]
    Modes,
    /// Both added it, with different contents.
    #[error("both sides added it")]
    BothAdded,
    /// The run deleted what the real tree changed.
    #[error("the run deleted it, the real tree changed it")]
    DeletedHere,
    /// The run changed what the real tree deleted.
    #[error("the run changed it, the real tree deleted it")]
    DeletedThere,
    /// One side made something of another kind of it.
    #[error("it is of different kinds on the two sides")]
    Kinds,
    /// Both changed a symbolic link.
    #[error("both sides changed the symbolic link")]
    Link,
    /// The base was not captured, so that the sides cannot be told apart.
    #[error("the real tree changed it before its base was captured")]
    BaseUnknown,
    /// The real tree changed it after the change set was read.
    #[error("the real tree changed it after the change set was read")]
    Stale,
    /// It may have been on its way with a directory whose rename was cut off.
    #[error("the rename of a directory was cut off beside it: it may not be deleted but lie in the leftover")]
    HalfMoved,
    /// Something that is no directory stands where one is needed.
    #[error("the real tree has {what} at {at:?}")]
    Parent {
        /// Where.
        at: Bytes,
        /// What, with its article.
        what: String,
    },
}

/// What will be done at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// A file is written.
    Write {
        /// With which content.
        source: Source,
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link is made.
    Link,
    /// A directory is made.
    MakeDir {
        /// Its permission bits.
        mode: u32,
    },
    /// What stands there is removed; a directory only if nothing is left in it.
    Remove,
    /// The permission bits are changed, nothing else.
    Mode {
        /// `st_mode & 07777` before.
        from: u32,
        /// `st_mode & 07777` after.
        to: u32,
    },
}

/// Where the content of a written file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The workspace's file.
    Workspace,
    /// The merge of base, real tree and workspace, which gave this.
    Merged(Digest),
    /// The same with conflict markers.
    Marked(Digest),
}
