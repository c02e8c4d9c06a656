//! One run from start to end: resolves the plan, wires enclosure, workspace and evidence, and settles.

pub mod agreement;
mod alive;
pub mod broker;
mod configuration;
pub mod control;
pub mod from;
pub mod gateway;
mod helper;
mod home_files;
pub mod keeper;
pub mod ledger;
pub mod listing;
pub mod monitor;
pub mod plan;
pub mod prepare;
pub mod promotion;
pub mod protocol;
pub mod publish;
pub mod recover;
mod removal;
pub mod rerun;
pub mod secrets;
pub mod split;
pub mod spoken;
pub mod store;
pub mod tripwires;
mod way;
