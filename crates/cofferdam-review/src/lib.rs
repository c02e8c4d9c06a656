//! The reading side of evidence: what a run's log tells a person or another tool.
//!
//! Everything here reads a run as hostile data: whoever ran inside chose the arguments, outputs and names in it.

pub mod export;
pub mod story;
pub mod testrun;
