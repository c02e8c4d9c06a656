//! Reading logs: synthetic ones, written and signed like real ones.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod blame;
mod claims;
mod index;
mod models;
mod page;
mod reading;
mod session;
mod story;
