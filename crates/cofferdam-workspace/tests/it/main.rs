//! Integration tests: whole layers on disk, compared with git where git is the reference, and promotion from them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "figures, and what this machine lacks")]

mod capture;
mod changes;
mod git;
mod hostile;
mod live;
mod overlay;
mod promote_cases;
mod promote_crash;
mod promote_race;
mod promote_random;
mod promote_world;
mod speed;
mod support;
