//! The arguments of the notified calls (`execve(2)`, `execveat(2)`), as they lie in the caller's memory: hostile, and
//! free to change at any time.

use std::io;

use cofferdam_core::Bytes;
use cofferdam_sys::memory::{read_bytes, read_string};
use cofferdam_sys::seccomp::Notification;
use linux_raw_sys::general::__NR_execveat;
use rustix::io::Errno;
use rustix::process::Pid;

/// `PATH_MAX` of `linux/limits.h`.
const PATH_MAX: usize = 4096;
/// `MAX_ARG_STRLEN` of `linux/binfmts.h`, the NUL included.
const LONGEST_ARGUMENT: usize = 128 * 1024;
/// Most bytes of arguments that are read of an unconfirmed exec; the kernel takes no more (`execve(2)`, "Limits on size").
const MOST_ARGUMENTS: usize = 6 << 20;

/// Where path and arguments lie.
struct Addresses {
    path: u64,
    argv: u64,
}

fn addresses(call: &Notification) -> Addresses {
    let first = usize::from(u32::try_from(call.number) == Ok(__NR_execveat));
    Addresses { path: call.arguments[first], argv: call.arguments[first + 1] }
}

/// The path as given: `None` where it is empty (`AT_EMPTY_PATH`) or cannot be read because it is none (the call fails).
///
/// # Errors
/// `EPERM` where the caller's memory is closed to us, `ESRCH` where it is gone.
pub(super) fn path(caller: Pid, call: &Notification) -> io::Result<Option<Bytes>> {
    match read_string(caller, addresses(call).path, PATH_MAX) {
        Ok(path) => Ok((!path.is_empty()).then(|| path.into())),
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::FAULT | Errno::NAMETOOLONG)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The arguments, NUL-terminated one after the other, as /proc/PID/cmdline will have them. What cannot be read ends them.
pub(super) fn arguments(caller: Pid, call: &Notification) -> Vec<u8> {
    let mut all = Vec::new();
    let mut at = addresses(call).argv;
    let mut pointer = [0u8; size_of::<u64>()];
    while all.len() < MOST_ARGUMENTS && read_bytes(caller, at, &mut pointer).is_ok() {
        let address = u64::from_ne_bytes(pointer);
        if address == 0 {
            break;
        }
        let Ok(argument) = read_string(caller, address, LONGEST_ARGUMENT) else { break };
        all.extend(argument);
        all.push(0);
        at = at.wrapping_add(size_of::<u64>() as u64);
    }
    all
}
