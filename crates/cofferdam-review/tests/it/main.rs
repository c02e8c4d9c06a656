//! Reading logs: synthetic ones, written and signed like real ones.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod blame;
mod index;
mod page;
mod session;
mod story;
