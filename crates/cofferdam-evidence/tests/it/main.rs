//! The evidence from outside: written, read back, altered in every way, and verified by a program in another language.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy.toml allows these in tests; the helpers of this test binary are outside its `#[test]` functions"
)]

mod blobs;
mod corpus;
mod keys;
mod logs;
mod proofs;
mod python;
mod secrets;
mod support;
mod survival;
mod tampering;
mod torn;
