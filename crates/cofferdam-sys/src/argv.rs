//! The argument and environment strings that the kernel put on this process's stack.
//!
//! Init is a copy of the process that a person started, with whatever secrets stood in its environment. It overwrites
//! these strings in place; a copy made by `std::env` would be missed, so this module also lets `main` look at its
//! arguments without copying them.

use std::ffi::{CStr, c_char, c_int};
use std::sync::atomic::{AtomicIsize, AtomicPtr, Ordering};

static ARGC: AtomicIsize = AtomicIsize::new(0);
static ARGV: AtomicPtr<*mut c_char> = AtomicPtr::new(std::ptr::null_mut());

/// Called by the C runtime before `main`, with `main`'s arguments (glibc and musl on Linux pass them to the functions
/// of `.init_array`; the standard library relies on the same for `std::env::args`).
extern "C" fn remember(argc: c_int, argv: *mut *mut c_char, _envp: *mut *mut c_char) {
    ARGC.store(argc as isize, Ordering::Relaxed);
    ARGV.store(argv, Ordering::Relaxed);
}

// SAFETY: `.init_array` holds function pointers that the C runtime calls with (argc, argv, envp); `remember` has that
// signature and touches only two atomics.
#[used]
#[unsafe(link_section = ".init_array.00098")]
static REMEMBER: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = remember;

/// This process's arguments, uncopied, `argv[0]` first. Empty after [`wipe`].
pub fn arguments() -> impl Iterator<Item = &'static CStr> {
    let argv = ARGV.load(Ordering::Relaxed);
    let count = if argv.is_null() { 0 } else { ARGC.load(Ordering::Relaxed) };
    (0..count).map_while(move |i| {
        // SAFETY: the kernel laid out `argc` pointers to NUL-terminated strings at `argv`; they live as long as the
        // process, and `wipe`, the only writer, sets the count to 0 first.
        let pointer = unsafe { *argv.offset(i) };
        (!pointer.is_null()).then(|| {
            // SAFETY: as above, not null.
            unsafe { CStr::from_ptr(pointer) }
        })
    })
}

/// Overwrites every argument and environment string of this process with zeros, and empties the environment.
///
/// For a freshly cloned, single-threaded process: nobody may hold a string of [`arguments`] or read the environment
/// at the same time.
pub fn wipe() {
    let argv = ARGV.swap(std::ptr::null_mut(), Ordering::Relaxed);
    let count = ARGC.swap(0, Ordering::Relaxed);
    // SAFETY: `argv` has `count` entries (see `arguments`); `environ` is a null-terminated array of NUL-terminated
    // strings. The process is single-threaded (checked by `clone`, whose child calls this), so nobody reads them
    // meanwhile, and clearing `environ` afterwards keeps later readers away from the emptied strings.
    unsafe {
        if !argv.is_null() {
            for i in 0..count {
                zero(*argv.offset(i));
            }
        }
        let mut entry = libc::environ;
        while !entry.is_null() && !(*entry).is_null() {
            zero(*entry);
            entry = entry.add(1);
        }
        libc::environ = std::ptr::null_mut();
    }
}

/// Overwrites a NUL-terminated string with zeros.
///
/// # Safety
/// `string` is null or points to a writable NUL-terminated string that nobody else uses.
unsafe fn zero(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: by the contract above; `explicit_bzero` is not optimised away.
        unsafe { libc::explicit_bzero(string.cast(), libc::strlen(string)) };
    }
}
