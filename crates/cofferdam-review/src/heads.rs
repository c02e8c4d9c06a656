//! The beginnings of blobs: outputs and prompts, bounded.

use std::io::Read;
use std::path::Path;

use cofferdam_core::event::BlobRef;
use cofferdam_evidence::BlobStore;

/// Reads blobs of one run, where it has any.
#[derive(Debug)]
pub struct Heads {
    store: Option<BlobStore>,
}

impl From<BlobStore> for Heads {
    fn from(store: BlobStore) -> Heads {
        Heads { store: Some(store) }
    }
}

impl Heads {
    /// The blobs of an evidence directory.
    ///
    /// # Errors
    /// Where the directory cannot be opened.
    pub fn open(evidence: &Path) -> crate::Result<Heads> {
        Ok(Heads { store: Some(BlobStore::open(evidence)?) })
    }

    /// Why nothing is read where there are no blobs at all.
    pub(crate) const NONE: &str = "not at hand";

    /// No blobs: outputs are not shown.
    pub fn none() -> Heads {
        Heads { store: None }
    }

    /// The first `most` bytes of a blob, or why there are none, as a short clause. What is returned has been checked
    /// against the blob's digest only where it is the whole of it.
    ///
    /// # Errors
    /// The clause.
    pub fn read(&self, blob: &BlobRef, most: u64) -> Result<Vec<u8>, &'static str> {
        let store = self.store.as_ref().ok_or(Self::NONE)?;
        let reader = match store.get(blob) {
            Ok(reader) => reader,
            Err(cofferdam_evidence::Error::BlobMissing { removed: true, .. }) => return Err("removed on purpose"),
            Err(cofferdam_evidence::Error::BlobMissing { .. }) => return Err("missing"),
            Err(_) => return Err("not readable"),
        };
        let mut head = Vec::new();
        match reader.take(most).read_to_end(&mut head) {
            Ok(_) => Ok(head),
            Err(_) => Err("not what was recorded"),
        }
    }
}
