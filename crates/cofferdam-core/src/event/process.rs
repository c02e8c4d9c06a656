//! Processes: what they executed and how they ended.

use serde::{Deserialize, Serialize};

use super::BlobRef;
use crate::Bytes;
use crate::change::Digest;

/// Data of `process.exec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessExec {
    /// The process, as the host numbers it.
    pub pid: u32,
    /// Its parent, as the host numbers it; 0 where that was gone already.
    pub parent: u32,
    /// The arguments, read when the new program stood and had not run yet: nobody can have changed them. Cut at a
    /// bound, see `arguments`.
    pub argv: Vec<Bytes>,
    /// Set where the program could not be stopped at its start (it was being debugged, or the host forbids it): then
    /// `argv` is what the call was given, and another thread may have changed it meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unconfirmed: bool,
    /// The whole arguments, NUL-terminated as in `/proc/PID/cmdline`, where `argv` had to be cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<BlobRef>,
    /// The program that runs. Of a `#!` script: its interpreter.
    pub executable: Executable,
    /// The path that the call was given, where that is not the executable's: a `#!` script, a symbolic link. Read before
    /// the call, so it may have been changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Bytes>,
    /// The working directory.
    pub cwd: Bytes,
    /// How the names of its environment differ from those of the event that caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentChange>,
    /// What standard input, output and error are.
    pub streams: [StreamKind; 3],
}

/// A program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executable {
    /// Its path inside, as `/proc/PID/exe` reads: with ` (deleted)` at the end where it has no name any more.
    pub path: Bytes,
    /// SHA-256 of its content; absent where the program was too large to read at once (a `process.image` follows) or
    /// could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// How the names of an environment's variables differ from the one it came from. Never values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentChange {
    /// Names that came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<Bytes>,
    /// Names that went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Bytes>,
}

/// What a standard stream is connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamKind {
    /// It is closed, or could not be looked at.
    #[default]
    None,
    /// /dev/null.
    Null,
    /// A terminal.
    Terminal,
    /// A pipe or FIFO.
    Pipe,
    /// A socket.
    Socket,
    /// A regular file.
    File,
    /// Anything else.
    Other,
}

/// Data of `process.image`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessImage {
    /// The program.
    pub executable: Executable,
    /// Its size in bytes.
    pub size: u64,
}

/// Data of `process.exit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessExit {
    /// The process, as the host numbers it.
    pub pid: u32,
    /// Its exit code, where it exited and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that killed it, where one did and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// From its last exec to its end, in microseconds of the monotonic clock.
    pub microseconds: u64,
    /// The largest resident set seen of it, in KiB; a lower bound, for it is sampled. Absent where it ended too soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Where code and signal come from.
    pub source: ExitSource,
}

/// Where the end of a process is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitSource {
    /// Its pidfd (`PIDFD_GET_INFO`, Linux 6.15).
    Pidfd,
    /// The process connector (`PROC_EVENT_EXIT`).
    Connector,
    /// The enclosure's init, whose child it was.
    Init,
    /// Only that it ended is known.
    Unknown,
    /// It ended with the run: everything inside was killed.
    RunEnd,
}
