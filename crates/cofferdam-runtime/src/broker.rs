//! The broker: a process that fetches one credential on the host, and ends.
//!
//! It alone has the person's environment and runs their commands; it reads nothing that the enclosure wrote. The monitor,
//! which asks it, holds the log; the gateway, which parses hostile bytes, can do neither.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;

use cofferdam_core::Bytes;
use cofferdam_credentials::{Surroundings, fetch};
use cofferdam_enclosure::{Channel, Received};
use cofferdam_policy::CredentialSource;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde::{Deserialize, Serialize};

/// The name by which this program knows that it is to be a broker (`argv[0]`).
pub const NAME: &str = "coffer-broker";

/// What the broker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Fetched {
    /// The value.
    Value(Bytes),
    /// There is none.
    Failed {
        /// Why, for the person and the evidence.
        why: String,
        /// Why, for the program inside.
        in_short: String,
    },
}

/// The whole life of a broker; the exit status of its process. Its channel to the monitor is standard input. It ends, and
/// what it runs with it, when the monitor does.
pub fn main(env: impl Iterator<Item = (OsString, OsString)>, home: PathBuf) -> i32 {
    // Values are in its memory: no core file holds them. Where this fails there is no core file by default either.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap_or_default();
    rustix::thread::set_name(c"coffer-broker").unwrap_or_default();
    let Ok(control) = rustix::stdio::stdin().try_clone_to_owned() else { return 1 };
    let channel = Channel::from(control);
    let Ok(Received::Message(source, _)) = channel.receive::<CredentialSource>() else { return 1 };
    let around = Surroundings { env: env.collect(), home };
    let fetched = match fetch(&source, &around, Some(channel.as_fd())) {
        Ok(value) => Fetched::Value(value[..].into()),
        Err(e) => Fetched::Failed { why: e.to_string(), in_short: e.in_short() },
    };
    i32::from(channel.send(&fetched, &[]).is_err())
}
