//! What came of a repetition, written into the evidence of the run that was tested.

use cofferdam_core::event::{EventKind, Link, TestReproduced};
use cofferdam_evidence::Log;

use crate::promotion::{Held, PromotionError};

/// The log of a tested run, open for stamps.
#[derive(Debug)]
pub struct Stamps(Log);

impl Stamps {
    /// Opens the log: before anything is repeated, for what cannot be recorded is not done.
    ///
    /// # Errors
    /// Where the log contradicts itself or cannot be written.
    pub fn open(held: &Held) -> Result<Stamps, PromotionError> {
        held.log().map(Stamps)
    }

    /// Adds one, signs it, and waits for the disk. Its `seq`.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn add(&mut self, stamp: TestReproduced) -> Result<u64, PromotionError> {
        let cause = (stamp.command, Link::Argv);
        let seq = self.0.append(Some(cause), EventKind::TestReproduced(stamp))?;
        self.0.checkpoint()?;
        self.0.sync_handle()?.sync()?;
        Ok(seq)
    }
}
