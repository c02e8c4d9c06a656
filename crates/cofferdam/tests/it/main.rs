//! The boundary, tried from end to end: every attack runs outside, where it must succeed, and inside an enclosure, where it
//! must not, judged from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(clippy::print_stderr, reason = "what a test user without privileges cannot prove is said on standard error")]

mod behaviour;
mod diff;
mod export;
mod files;
mod kernel;
mod kills;
mod lifetimes;
mod memory;
mod network;
mod privileged;
mod promote;
mod promotion_kills;
mod rename;
mod review_attacks;
mod store;
mod support;
mod terminal;
mod undo;
