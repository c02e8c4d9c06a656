//! Searching all runs.

use cofferdam_runtime::plan::Host;
use cofferdam_runtime::store::Store;

use super::LogArgs;
use crate::commands::Answer;
use crate::output::Colour;

/// Prints where a text occurs.
pub fn search(_args: &LogArgs, _text: &str, _host: &Host, _store: &Store, _colour: Colour) -> Answer {
    Err(crate::failure::Failure::new("not yet"))
}
