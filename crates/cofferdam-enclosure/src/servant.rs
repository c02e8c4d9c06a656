//! What binds the processes that init starts inside for the monitor: everything that binds the command (mounts, user
//! namespace, Landlock, seccomp, no capabilities). They are not dumpable, and have no descriptor but their socket. The
//! command cannot signal them (a Landlock domain of their own, `LANDLOCK_SCOPE_SIGNAL`) nor read their memory.

use std::os::fd::{AsFd, AsRawFd};

use cofferdam_sys::{exec, seccomp, signals};
use landlock::RulesetCreated;
use rustix::process::DumpableBehavior;

use crate::channel::Channel;
use crate::error::{Doing, EnclosureError, Step};
use crate::filter::{Notify, program};
use crate::landlock::restrict;

/// Binds this process, a child of init. `who` is its name in words.
///
/// # Errors
/// Where a layer cannot be laid on: it must not serve then.
pub(crate) fn confine(channel: &Channel, rules: &RulesetCreated, who: &str) -> Result<(), EnclosureError> {
    let limits = || format!("preparing {who}");
    signals::reset_all();
    rustix::process::setsid().doing(Step::Limits, limits)?; // away from the command's terminal
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(Step::Limits, limits)?;
    restrict(rules)?;
    // 0 to 2 are /dev/null since init's start: a file under way never gets those numbers.
    exec::close_all_but(&[0, 1, 2, channel.as_fd().as_raw_fd()]).doing(Step::Limits, limits)?;
    seccomp::install(&program(Notify::Nothing), false)
        .doing(Step::Seccomp, || format!("installing the seccomp filter of {who}"))?;
    Ok(())
}
