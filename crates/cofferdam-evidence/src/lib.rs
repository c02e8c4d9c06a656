//! The evidence of a run: an append-only log of events under signed checkpoints, and content-addressed blobs.
//!
//! The format is published in `docs/evidence-format.md`: a Merkle tree as in RFC 6962 §2.1 over the lines of
//! `log.jsonl`, checkpoints as in [C2SP tlog-checkpoint](https://c2sp.org/tlog-checkpoint), proofs as in
//! [C2SP tlog-proof](https://c2sp.org/tlog-proof).
//!
//! Writing: [`RecorderKey`], [`Log`], [`BlobStore`], without the [`Secrets`] that a [`Striker`] knows. Reading, of directories that anybody may have prepared:
//! [`read_events`], [`verify()`], [`prove`], [`verify_proof`],
//! [`Bundle`].

mod audit;
mod blob;
mod blob_writer;
mod bundle;
mod checkpoint;
mod checkpoint_file;
#[cfg(test)]
mod cuts;
mod dsse;
mod encodings;
mod error;
mod files;
mod held;
mod key;
mod lines;
mod log;
mod masked_stream;
mod packs;
mod proof;
mod read;
mod recovery;
mod report;
mod search;
mod secrets;
mod skeleton;
mod strike;
mod struck_stream;
mod sync;
mod tree;
mod verify;

pub use blob::{BlobReader, BlobStore};
pub use blob_writer::{BlobWriter, Salvaged};
pub use bundle::{Bundle, MAX_BUNDLE};
pub use checkpoint::Checkpoint;
pub use dsse::Envelope;
pub use error::Error;
pub use held::Held;
pub use key::{KEY_NAME, RecorderKey, VerifierKey};
pub use log::{Log, Writing};
pub use masked_stream::MaskedStream;
pub use proof::{Proof, prove, verify_proof};
pub use read::{Events, MAX_LINE, read_events};
pub use recovery::{Recovery, Torn};
pub use report::{BlobCount, Check, ClockStep, Commitment, Fault, Options, Report, SignedBy, State};
pub use search::{FoundValue, Search};
pub use secrets::{Refused, Secrets};
pub use strike::Striker;
pub use struck_stream::StruckStream;
pub use sync::SyncHandle;
pub use verify::verify;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
