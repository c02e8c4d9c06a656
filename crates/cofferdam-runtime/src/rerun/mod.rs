//! Repeating the recorded test commands of a run on what it left.
//!
//! [`recorded`] finds the commands in a log, [`compare`] judges a repetition, [`Drift`] says what changed in between. The
//! repetition itself is a run that goes on from the tested one ([`crate::from`]).

mod compare;
mod drift;
mod obstacle;
mod recorded;
mod stamps;

pub use compare::{Difference, compare};
pub use drift::{Drift, DriftError};
pub use obstacle::Obstacle;
pub use recorded::{Recorded, RecordedError, Recording, recorded};
pub use stamps::Stamps;
