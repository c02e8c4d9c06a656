//! A run's evidence in forms that other tools read.
//!
//! Each form is a function that writes into what it is given. [`Record`] is what they read: the evidence, verified
//! once when it was opened. Forms that need the final diff take the one that `coffer diff` shows.

pub mod agent_trace;
pub mod asciicast;
mod error;
pub mod har;
pub mod html;
pub mod in_toto;
pub mod json;
pub mod ocsf;
pub mod patch;
mod record;
mod test_result;
mod text;
pub mod trailer;

#[cfg(test)]
pub(crate) mod samples;

pub use error::ExportError;
pub use record::{Content, Record, Summary};

/// The result of this module's functions.
pub type Result<T> = std::result::Result<T, ExportError>;
