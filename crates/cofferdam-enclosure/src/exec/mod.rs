//! Each successful exec inside, exactly: what runs, read while it stands at its first instruction.
//!
//! An exec is notified before it happens, when its arguments are still the caller's to change and it may still fail. So
//! the notice only attaches to the caller (`PTRACE_SEIZE`) and lets the call go on; the record is made at the **exec
//! stop**, when the new program stands and nobody has been able to touch its memory; then the monitor lets go.
//! `docs/design/exec-stop.md` has the state machine and what it was tried against.
//!
//! A caller that is being traced inside (gdb, strace) cannot be seized. Its record is made of the notice's arguments and
//! marked unconfirmed, once its [`identity`] shows that another program stands in its place.

mod call;
mod execs;
mod identity;
mod image;
mod stack;

pub(crate) use execs::process_of;
pub use execs::{Execs, Seen};
pub use image::Executed;
