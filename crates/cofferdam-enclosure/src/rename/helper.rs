//! The helper: a process inside the enclosure, started at the first rename of a directory, that purifies directories.
//!
//! It is confined as [`servant`] says.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use cofferdam_core::Bytes;
use cofferdam_sys::clone::{self, Cloned};
use cofferdam_sys::exec;
use landlock::RulesetCreated;
use rustix::fs::{Mode, fstat};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use super::decide::{Need, Side, need};
use super::protocol::{Reply, Request};
use super::purify::{Purifier, Refused};
use super::undo::undo;
use crate::channel::{Channel, Received};
use crate::error::{Doing, EnclosureError, Step};
use crate::servant;

/// Most levels of directories in one move, whatever the limit of descriptors: each level is a stack frame as well.
const DEEPEST: u64 = 1000;

/// Forks the helper from init. `devices` are the overlays it may work in.
///
/// # Errors
/// Those of `clone3(2)`; the monitor sees the socket close then.
pub(crate) fn start(channel: Channel, rules: &RulesetCreated, devices: &[u64]) -> io::Result<()> {
    match clone::clone(clone::Namespaces::Shared)? {
        Cloned::Parent { .. } => Ok(()),
        Cloned::Child => {
            // For ps(1) and top(1); where it cannot be set init's name stays.
            rustix::thread::set_name(c"coffer-helper").unwrap_or_default();
            let status = match confine(&channel, rules) {
                // An error of the channel is the end of the monitor, and with it of the enclosure.
                Ok(purifier) => i32::from(serve(&channel, purifier, devices).is_err()),
                Err(e) => {
                    // Where this fails the monitor sees the closed socket instead.
                    let _ = channel.send(&Reply::Unconfined(e), &[]);
                    1
                }
            };
            exec::exit_now(status)
        }
    }
}

fn confine(channel: &Channel, rules: &RulesetCreated) -> Result<Purifier, EnclosureError> {
    let limits = || "preparing the helper for directory renames".to_owned();
    rustix::process::umask(Mode::empty());
    let files = rustix::process::getrlimit(Resource::Nofile).maximum;
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files })
        .doing(Step::Limits, limits)?;
    servant::confine(channel, rules, "the helper for directory renames")?;
    // Three descriptors a level, and a few of its own.
    let depth = files.map_or(DEEPEST, |n| (n / 3).saturating_sub(8).min(DEEPEST));
    let process = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    Ok(Purifier::new(process, usize::try_from(depth).unwrap_or(usize::MAX)))
}

/// Answers one request after the other, until the monitor closes the socket.
fn serve(channel: &Channel, mut purifier: Purifier, devices: &[u64]) -> io::Result<()> {
    loop {
        let (request, fds) = match channel.receive::<Request>()? {
            Received::Closed => return Ok(()),
            Received::Message(request, fds) => (request, fds),
        };
        let reply = match request {
            Request::Prepare { id, flags, old, new } => {
                let (errno, left) = match prepare(channel, &mut purifier, id, flags, [&old, &new], &fds, devices) {
                    Ok(errno) => (errno, false),
                    Err(refused) => (refused.for_caller().map_or(0, Errno::raw_os_error), refused.left),
                };
                Reply::Done { id, errno, left }
            }
            Request::Undo { id, name, temporary } => {
                let errno = take_back(&name, &temporary, &fds, devices).err().map_or(0, Errno::raw_os_error);
                Reply::Done { id, errno, left: errno != 0 }
            }
        };
        drop(fds);
        channel.send(&reply, &[])?;
    }
}

/// Does what the rename needs; the error for its caller, 0 where the kernel is to answer.
fn prepare(
    channel: &Channel,
    purifier: &mut Purifier,
    id: u64,
    flags: u32,
    [old, new]: [&Bytes; 2],
    fds: &[OwnedFd],
    devices: &[u64],
) -> Result<i32, Refused> {
    let refused = |errno| Refused { errno, left: false };
    let [old_parent, new_parent] = fds else { return Err(refused(Errno::INVAL)) };
    let (old, new) = (component(old).map_err(refused)?, component(new).map_err(refused)?);
    let old = Side { parent: old_parent.as_fd(), name: &old };
    let new = Side { parent: new_parent.as_fd(), name: &new };
    let sides = match need(old, new, flags, devices).map_err(refused)? {
        Need::Nothing => return Ok(0),
        Need::Answer(errno) => return Ok(errno.raw_os_error()),
        Need::Purify { old: with_old, new: with_new } => [(old, with_old), (new, with_new)],
    };
    for (side, wanted) in sides {
        if wanted {
            purifier.purify(side.parent, side.name, |temporary| {
                let reply =
                    Reply::Begun { id, name: side.name.to_bytes().into(), temporary: temporary.to_bytes().into() };
                channel.send(&reply, &[side.parent]).map_err(|_| Errno::PIPE)
            })?;
        }
    }
    Ok(0)
}

fn take_back(name: &Bytes, temporary: &Bytes, fds: &[OwnedFd], devices: &[u64]) -> Result<(), Errno> {
    let [parent] = fds else { return Err(Errno::INVAL) };
    let (name, temporary) = (component(name)?, component(temporary)?);
    if !super::is_leftover(temporary.to_bytes()) || !devices.contains(&fstat(parent)?.st_dev) {
        return Err(Errno::INVAL);
    }
    undo(parent.as_fd(), &name, &temporary)
}

/// A name that stays where it is resolved.
fn component(name: &Bytes) -> Result<CString, Errno> {
    if name.0.is_empty() || name.0.contains(&b'/') || matches!(name.0.as_slice(), b"." | b"..") {
        return Err(Errno::INVAL);
    }
    CString::new(name.0.clone()).map_err(|_| Errno::INVAL)
}
