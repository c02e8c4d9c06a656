//! The runtime crate, by programs that really run.

#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

mod driver;
mod output;
