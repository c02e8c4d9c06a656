//! The boundary, tried from end to end: every attack runs outside, where it must succeed, and inside an enclosure, where it
//! must not, judged from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a test user without privileges cannot prove is said on standard error"
)]

mod agents;
#[path = "../../../cofferdam-credentials/src/oauth/fake.rs"]
mod authority;
mod behaviour;
mod budgets;
mod claims;
mod clients;
#[path = "../../../cofferdam-evidence/tests/it/corpus.rs"]
mod corpus;
mod credentials;
mod diff;
mod editors;
mod evidence;
mod execs;
mod execs_traced;
mod export;
mod file_changes;
mod files;
mod gateway;
mod hellos;
mod kernel;
mod kills;
mod lifetimes;
mod look_ups;
mod memory;
mod model_server;
mod models;
mod network;
mod network_attacks;
mod network_sockets;
mod owners;
mod policy;
mod privileged;
mod promote;
mod promotion_kills;
mod prompts;
mod publish;
mod reading;
mod rebinding;
mod rename;
mod rerun;
mod resolve;
mod review_attacks;
#[path = "../../../cofferdam-review/tests/it/session.rs"]
#[allow(dead_code, reason = "the sessions of cofferdam-review's own tests")]
mod session;
mod sign_ins;
mod store;
mod support;
mod terminal;
mod toolchains;
mod traffic;
mod tripwires;
mod undo;
