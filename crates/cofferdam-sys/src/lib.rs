//! The system calls that `rustix` does not offer, and with them every `unsafe` block of Cofferdam.
//!
//! Each module wraps one facility of Linux behind a safe function; each `unsafe` block states why it is sound.
#![allow(unsafe_code, reason = "the one crate that may: each block carries its safety argument")]
#![deny(clippy::undocumented_unsafe_blocks)]

pub mod argv;
pub mod clone;
pub mod connector;
pub mod exec;
pub mod landlock;
pub mod loopback;
pub mod memory;
pub mod mounts;
pub mod packet_info;
pub mod pidfd;
pub mod ptrace;
pub mod seccomp;
pub mod signals;

use std::io;

/// The result of a raw system call as `io::Result`.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
