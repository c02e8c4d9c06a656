//! Keeping the contents that texts had on the way, within bounds.

use cofferdam_core::event::BlobRef;
use cofferdam_evidence::BlobStore;

use super::chains::Chain;
use crate::monitor::RecordError;

/// Most versions of one path.
const MOST_OF_A_PATH: u8 = 64;
/// Most bytes of all versions of a run, before compression.
const MOST_BYTES: u64 = 256 << 20;

#[derive(Debug, Default)]
pub(super) struct Versions {
    pub(super) bytes: u64,
    /// Versions that a bound kept out.
    pub(super) refused: u64,
}

impl Versions {
    /// Keeps a text as the next version of a path; `None` where there is none, or a bound is reached.
    pub(super) fn keep(
        &mut self,
        blobs: &BlobStore,
        chain: &mut Chain,
        text: Option<&[u8]>,
    ) -> Result<Option<BlobRef>, RecordError> {
        let Some(text) = text else { return Ok(None) };
        if chain.versions >= MOST_OF_A_PATH || self.bytes + text.len() as u64 > MOST_BYTES {
            self.refused += 1;
            return Ok(None);
        }
        let blob = blobs.put(text)?;
        chain.versions += 1;
        self.bytes += blob.size;
        Ok(Some(blob))
    }
}
