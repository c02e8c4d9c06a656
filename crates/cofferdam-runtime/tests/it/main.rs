//! The runtime crate, by programs that really run.

mod driver;
mod output;
