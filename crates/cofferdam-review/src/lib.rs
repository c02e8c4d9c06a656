//! The reading side of evidence: what a run's log tells a person or another tool.
//!
//! Everything here reads a run as hostile data: whoever ran inside chose the arguments, outputs and names in it. Text that
//! these functions make is safe for a terminal; nothing here is verified, `cofferdam_evidence::verify` does that.

mod argv;
pub mod blame;
pub mod causes;
pub mod claims;
pub mod document;
mod error;
mod event_line;
pub mod export;
pub mod exposure;
mod filter;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod heads;
pub mod index;
mod model;
pub mod network;
mod page;
mod parse;
mod shell;
pub mod stats;
pub mod story;
pub mod suggest;
mod tail;
pub mod testrun;
pub mod text;
pub mod transcripts;

pub use error::{Error, Result};
pub use event_line::{KINDS, event_line, kind_of, letter, stream_name};
pub use filter::{Filter, since};
pub use heads::Heads;
pub use page::{Page, Relative, page};
pub use parse::parse;
pub use tail::{Tail, log_size};
