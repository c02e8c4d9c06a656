//! Turning this process into another program, and the file descriptors it takes along.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::check;

/// Replaces this process by `program` (a path). Returns only with the error of `execve(2)`.
pub fn exec(program: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: NUL-terminated strings in null-terminated arrays, all alive during the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Makes `number` refer to what `fd` refers to, inherited by the next program (`dup2(2)`, and where both are the same,
/// clearing close-on-exec).
///
/// # Errors
/// Those of `dup2(2)` and `fcntl(2)`.
pub fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: plain integers; what `number` referred to before is closed, which callers use only for the standard
    // streams of a process about to exec, where nothing in Rust owns them.
    let result = unsafe {
        if fd.as_raw_fd() == number {
            libc::fcntl(number, libc::F_SETFD, 0)
        } else {
            libc::dup2(fd.as_raw_fd(), number)
        }
    };
    check(i64::from(result)).map(drop)
}

/// Marks every descriptor from `first` up close-on-exec (`close_range(2)`): nothing but the standard streams reaches
/// the next program, whatever this process inherited.
///
/// # Errors
/// Those of `close_range(2)`.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: only flags change; no descriptor is closed.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// Closes every descriptor that is not in `keep`. For a freshly cloned process, before anything in it owns others.
///
/// # Errors
/// Those of `close_range(2)`.
pub fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd >= 0).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut from = 0;
    for fd in keep.into_iter().chain([RawFd::MAX]) {
        if fd > from {
            // SAFETY: the caller is a fresh copy of a process and owns none of these descriptors as Rust values that
            // it will use again.
            check(unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) })?;
        }
        from = fd.saturating_add(1);
    }
    Ok(())
}

/// Ends this process at once (`_exit(2)`): for the copies of a process that `clone` makes, which must not run what the
/// original registered for its own exit.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: no pointers; does not return.
    unsafe { libc::_exit(status) }
}
