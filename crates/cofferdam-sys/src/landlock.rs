//! The version of Landlock.

use std::io;

use crate::check;

/// `LANDLOCK_CREATE_RULESET_VERSION` of `landlock_create_ruleset(2)`.
const VERSION: u32 = 1;

/// The ABI that this kernel offers (`landlock_create_ruleset(2)`).
///
/// # Errors
/// `ENOSYS` where the kernel has none, `EOPNOTSUPP` where it was not enabled at boot.
pub fn abi() -> io::Result<u32> {
    // SAFETY: with this flag and a null attribute of size 0 the call only returns a number.
    let abi = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0usize, VERSION)
    })?;
    Ok(abi as u32)
}
