//! What init and the monitor say to each other.

use serde::{Deserialize, Serialize};

use crate::{EnclosureError, Network};

/// From the monitor to init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The plan, as a memory file.
    Plan,
    /// The log is open: start the command.
    Go,
    /// A signal for the command's process group.
    Signal(i32),
    /// The person continued a stopped command.
    Resume,
    /// Start a helper for directory renames. Descriptor: its socket.
    Helper,
    /// Start a dialer for this port of loopback. Descriptor: its socket.
    Dialer(u16),
}

/// From init to the monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The boundary stands and the command waits to be started. Descriptors: the seccomp listener, the root directory
    /// of the view and the project in it (both `O_PATH`), then the pty's master where there is a pty, then the network's
    /// sockets.
    Ready(Network),
    /// A layer could not be set up. Nothing was started.
    Failed(EnclosureError),
    /// The command runs.
    Started,
    /// The command could not be executed; the `errno` of `execve(2)`.
    NotExecuted(i32),
    /// The command was stopped by this signal (`SIGTSTP`, …).
    Stopped(i32),
    /// The command exited.
    Exited(i32),
    /// The command was killed by this signal.
    Killed(i32),
}
