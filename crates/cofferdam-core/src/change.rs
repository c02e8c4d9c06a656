//! A change set: what a workspace adds, changes and deletes against the base.

use serde::{Deserialize, Serialize};

use crate::{Bytes, Timestamp};

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A device node (which an enclosure cannot make; listed so that nothing is passed over).
    Device,
}

/// One side of a change: the entry before, or after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, set-id and sticky bits: `st_mode & 07777`.
    pub mode: u32,
    /// Bytes of a file, length of a link's text; 0 otherwise.
    pub size: u64,
    /// `st_mtim`.
    pub mtime: Timestamp,
    /// SHA-256 of a file's bytes or of a link's text, where it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::bytes::hex(&self.0))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(d: Digest) -> String {
        d.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        crate::bytes::unhex(&text)
            .and_then(|raw| raw.try_into().ok())
            .map(Digest)
            .ok_or_else(|| format!("`{text}` is not a SHA-256 digest of 64 lower-case hexadecimal digits"))
    }
}

/// How the real tree stands to the base of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseState {
    /// The real tree still holds the base.
    Unchanged,
    /// The real tree moved on; the base's content was captured.
    Moved,
    /// The real tree moved on and the base's content was not captured in time: nothing can be merged by itself.
    Unknown,
}

/// Why a change needs a person to name or confirm it, or stays behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// An ordinary change: promoted.
    Ordinary,
    /// Ignored by the project's `.gitignore` files, or generated (below a directory with a `CACHEDIR.TAG`,
    /// `node_modules`, `__pycache__`): stays behind unless named.
    Ignored,
    /// Inside a git directory (`.git/…`): stays behind unless named, and then needs confirmation.
    GitMetadata,
    /// Executes on the host later (hook, CI, editor task, direnv, agent instructions, build or lifecycle script):
    /// needs naming or confirmation.
    HostExecution,
    /// Cannot be promoted (socket, device, FIFO).
    Unpromotable,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Relative to the project's root, without a leading `./`.
    pub path: Bytes,
    /// The base; `None` where the run added the path.
    pub old: Option<Entry>,
    /// The workspace's entry; `None` where the run deleted the path.
    pub new: Option<Entry>,
    /// How the real tree stands to `old`.
    pub base: BaseState,
    /// What kind of path it is for promotion.
    pub class: Class,
    /// For [`Class::HostExecution`]: what will run it, and when, as a short clause ("git runs it at commit").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executes: Option<String>,
}

impl Change {
    /// Added, modified, deleted or of another kind now, as git's status letters have it.
    pub fn status(&self) -> char {
        match (&self.old, &self.new) {
            (None, _) => 'A',
            (_, None) => 'D',
            (Some(old), Some(new)) if old.kind != new.kind => 'T',
            _ => 'M',
        }
    }
}
