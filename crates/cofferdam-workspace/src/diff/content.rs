//! Reading one side of a change, bounded, with git's id of it.

use std::fs::File;
use std::io::{self, Read};

use cofferdam_core::Bytes;
use cofferdam_core::change::{BaseState, FileKind};
use serde::{Serialize, Serializer};
use sha1::{Digest, Sha1};

use crate::error::{Layer, WorkspaceError};
use crate::layers::Layers;

/// Largest content that is compared line by line, in bytes; larger files are treated as binary.
pub const LARGEST_TEXT: u64 = 64 << 20;
/// Largest content that is hashed, in bytes; larger files have no id.
pub const LARGEST_HASHED: u64 = 1 << 30;
/// Most lines of a text; files with more are treated as binary.
pub(crate) const MOST_LINES: usize = 4 << 20;

/// git's id of a blob: the SHA-1 of `blob LENGTH\0` and the content (gitformat-pack(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectId(pub [u8; 20]);

impl ObjectId {
    /// All zeros: git's sign for "no object", and ours for one that was too large to hash.
    pub const UNKNOWN: ObjectId = ObjectId([0; 20]);

    /// Lower-case hexadecimal.
    pub fn hex(&self) -> String {
        cofferdam_core::bytes::hex(&self.0)
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.hex())
    }
}

/// Where one side of a change lies.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub path: Bytes,
    pub kind: FileKind,
    /// git's mode: 100644, 100755 or 120000 (octal).
    pub mode: u32,
    pub which: Which,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Base(BaseState),
    Workspace,
}

/// One side as read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub id: ObjectId,
    pub size: u64,
    /// `None` where it is too large, or not to be had.
    pub content: Option<Vec<u8>>,
    pub note: Option<&'static str>,
}

const GONE: &str = "the base's content was not kept; only the workspace's side is known";
const GUESSED: &str = "the base is not known for sure; compared with the real tree as it is now";
const LARGE: &str = "too large to be compared line by line";

/// Reads one side.
pub(crate) fn load(layers: &Layers, at: &Location) -> Result<Loaded, WorkspaceError> {
    match (at.kind, at.which) {
        (FileKind::Symlink, Which::Workspace) => Ok(whole(layers.link_new(&at.path)?.0, None)),
        (FileKind::Symlink, Which::Base(state)) => match (layers.link_base(&at.path)?, state) {
            (Some(text), _) => Ok(whole(text.0, None)),
            (None, BaseState::Unknown) => present(layers.link_real(&at.path), |text| Ok(whole(text.0, Some(GUESSED)))),
            (None, _) => Ok(nothing()),
        },
        (_, Which::Workspace) => read(&at.path, Layer::Upper, layers.open_new(&at.path)?, None),
        (_, Which::Base(state)) => match (layers.open_base(&at.path)?, state) {
            (Some(file), _) => read(&at.path, Layer::Base, file, None),
            (None, BaseState::Unknown) => {
                present(layers.open_real(&at.path), |file| read(&at.path, Layer::Real, file, Some(GUESSED)))
            }
            (None, _) => Ok(nothing()),
        },
    }
}

/// Where even the real tree has nothing of the kind any more, the base is lost, and that is said.
fn present<T>(
    found: Result<T, WorkspaceError>,
    load: impl FnOnce(T) -> Result<Loaded, WorkspaceError>,
) -> Result<Loaded, WorkspaceError> {
    match found {
        Ok(found) => load(found),
        Err(WorkspaceError::WrongKind { .. }) => Ok(nothing()),
        Err(WorkspaceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(nothing()),
        Err(error) => Err(error),
    }
}

fn nothing() -> Loaded {
    Loaded { id: ObjectId::UNKNOWN, size: 0, content: None, note: Some(GONE) }
}

fn whole(content: Vec<u8>, note: Option<&'static str>) -> Loaded {
    let mut hash = header(content.len() as u64);
    hash.update(&content);
    let id = ObjectId(hash.finalize().into());
    Loaded { id, size: content.len() as u64, content: Some(content), note }
}

fn header(size: u64) -> Sha1 {
    let mut hash = Sha1::new();
    hash.update(format!("blob {size}\0"));
    hash
}

fn read(path: &Bytes, layer: Layer, file: File, note: Option<&'static str>) -> Result<Loaded, WorkspaceError> {
    let failed = || WorkspaceError::std("read", layer, path.clone());
    let size = file.metadata().map_err(failed())?.len();
    if size <= LARGEST_TEXT {
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        // One byte more than there should be shows a file that grows while it is read.
        (&file).take(LARGEST_TEXT + 1).read_to_end(&mut content).map_err(failed())?;
        if content.len() as u64 <= LARGEST_TEXT {
            return Ok(whole(content, note));
        }
    }
    let id = if size <= LARGEST_HASHED { hash(&file, size).map_err(failed())? } else { None };
    Ok(Loaded { id: id.unwrap_or(ObjectId::UNKNOWN), size, content: None, note: note.or(Some(LARGE)) })
}

/// `None` where the file changes its size meanwhile.
fn hash(file: &File, size: u64) -> io::Result<Option<ObjectId>> {
    use std::os::unix::fs::FileExt;
    let mut hash = header(size);
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < size {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(None),
            Ok(n) => {
                let n = n.min(usize::try_from(size - at).unwrap_or(usize::MAX));
                hash.update(&buffer[..n]);
                at += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(ObjectId(hash.finalize().into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_gits() {
        assert_eq!(whole(Vec::new(), None).id.hex(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(whole(b"hello\n".to_vec(), None).id.hex(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
