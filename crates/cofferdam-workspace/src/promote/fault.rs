//! The hook at every step boundary, through which tests stop a promotion as a crash would.

/// Called with the name of the step that comes next and its number within the step.
///
/// An `Err` makes the operation return [`PromoteError::Killed`](super::PromoteError::Killed) at once, with everything
/// left as it lies: no clean-up runs, as after `SIGKILL`.
pub type Fault<'a> = dyn FnMut(&'static str, u64) -> Result<(), Killed> + 'a;

/// The wish of a [`Fault`] hook to stop here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Killed;

/// The hook of production: goes on.
///
/// # Errors
/// Never.
pub fn no_fault(_step: &'static str, _number: u64) -> Result<(), Killed> {
    Ok(())
}

/// Asks the hook before a step.
pub(super) fn step(fault: &mut Fault<'_>, name: &'static str, number: u64) -> Result<(), super::PromoteError> {
    fault(name, number).map_err(|Killed| super::PromoteError::Killed { step: name, number })
}
