//! The broker: a process that fetches one credential on the host, and ends.
//!
//! It alone has the person's environment and runs their commands; it reads nothing that the enclosure wrote. The monitor,
//! which asks it, holds the log; the gateway, which parses hostile bytes, can do neither. What a sign-in needs it leaves to a
//! keeper ([`crate::keeper`]), which has nothing else.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;

use cofferdam_core::Bytes;
use cofferdam_credentials::oauth::Digest;
use cofferdam_credentials::{Surroundings, fetch};
use cofferdam_enclosure::{Channel, Received};
use cofferdam_policy::CredentialSource;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde::{Deserialize, Serialize};

use crate::keeper::{self, Task};

/// The name by which this program knows that it is to be a broker (`argv[0]`).
pub const NAME: &str = "coffer-broker";

/// What a broker is to fetch.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// What policy names.
    Fetch(CredentialSource),
    /// The access token of a sign-in.
    Keep(Box<Task>),
}

/// What the broker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Fetched {
    /// The value.
    Value(Bytes),
    /// The access token of a sign-in.
    Kept {
        /// The token.
        access: Bytes,
        /// When it is to be asked for again, in milliseconds since 1970.
        until: Option<i64>,
        /// Whether it was refreshed.
        refreshed: bool,
    },
    /// There is none.
    Failed {
        /// Why, for the person and the evidence.
        why: String,
        /// Why, for the program inside.
        in_short: String,
    },
}

/// What the gateway asks of the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    /// The name of a credential.
    pub(crate) credential: String,
    /// An access token that a server refused.
    #[serde(default)]
    pub(crate) not: Option<Digest>,
}

/// What the gateway is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Given {
    /// The value.
    pub(crate) value: Bytes,
    /// When it is to be asked for again, in milliseconds since 1970.
    pub(crate) until: Option<i64>,
}

/// The whole life of a broker; the exit status of its process. Its channel to the monitor is standard input. It ends, and
/// what it runs with it, when the monitor does.
pub fn main(env: impl Iterator<Item = (OsString, OsString)>, home: PathBuf) -> i32 {
    // Values are in its memory: no core file holds them. Where this fails there is no core file by default either.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap_or_default();
    rustix::thread::set_name(c"coffer-broker").unwrap_or_default();
    let Ok(control) = rustix::stdio::stdin().try_clone_to_owned() else { return 1 };
    let channel = Channel::from(control);
    let Ok(Received::Message(order, _)) = channel.receive::<Order>() else { return 1 };
    let fetched = match order {
        Order::Fetch(source) => match fetch(&source, &Surroundings { env: env.collect(), home }, Some(channel.as_fd()))
        {
            Ok(value) => Fetched::Value(value[..].into()),
            Err(e) => Fetched::Failed { why: e.to_string(), in_short: e.in_short() },
        },
        Order::Keep(task) => match keep(&task, &home, &channel) {
            Some(fetched) => fetched,
            // Nobody waits for it any more; the keeper finishes what it began.
            None => return 0,
        },
    };
    i32::from(channel.send(&fetched, &[]).is_err())
}

/// What a keeper says; `None` where the monitor has gone.
fn keep(task: &Task, home: &std::path::Path, monitor: &Channel) -> Option<Fetched> {
    let failed = |why: String| Some(Fetched::Failed { why, in_short: "nobody could look after it".to_owned() });
    let keeper = match keeper::start(task, home) {
        Ok(keeper) => keeper,
        Err(e) => return failed(format!("its keeper cannot be started: {e}")),
    };
    loop {
        let mut both = [PollFd::new(&keeper, PollFlags::IN), PollFd::new(monitor, PollFlags::IN)];
        match poll(&mut both, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(e) => return failed(format!("its keeper cannot be waited for: {e}")),
        }
        if !both[0].revents().is_empty() {
            return match keeper.receive() {
                Ok(Received::Message(fetched, _)) => Some(fetched),
                Ok(Received::Closed) => failed("its keeper ended without an answer".to_owned()),
                Err(e) => failed(format!("its keeper's answer does not read: {e}")),
            };
        }
        if !both[1].revents().is_empty() {
            return None;
        }
    }
}
