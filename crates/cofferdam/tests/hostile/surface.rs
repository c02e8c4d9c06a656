//! The kernel's surface: calls that an enclosure has no business with.

use std::ffi::{CString, c_long};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::{Loot, check, nothing};

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    let done = |result: io::Result<c_long>| result.map(|n| n.to_string());
    // SAFETY: each call below either has no pointers, or points to NUL-terminated strings and initialised structures
    // that live until it returns.
    Some(unsafe {
        match (name, args) {
            ("unshare-user", []) => done(check(libc::unshare(libc::CLONE_NEWUSER).into())),
            ("unshare-mounts", []) => done(check(libc::unshare(libc::CLONE_NEWNS).into())),
            ("unshare-network", []) => done(check(libc::unshare(libc::CLONE_NEWNET).into())),
            ("clone-user", []) => cloned(libc::syscall(
                libc::SYS_clone,
                libc::CLONE_NEWUSER | libc::SIGCHLD,
                0usize,
                0usize,
                0usize,
                0usize,
            )),
            ("clone3-user", []) => clone3(libc::CLONE_NEWUSER),
            ("clone3-all", []) => clone3(libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID),
            ("enter-namespace", [file]) => {
                std::fs::File::open(file).and_then(|f| done(check(libc::setns(f.as_raw_fd(), 0).into())))
            }
            ("mount", []) => done(mount(c"tmpfs", c"tmpfs", 0)),
            ("mount-bind", []) => done(mount(c".", c"", libc::MS_BIND)),
            ("remount", []) => done(check(
                libc::mount(
                    c"".as_ptr(),
                    c"/".as_ptr(),
                    c"".as_ptr(),
                    libc::MS_REMOUNT | libc::MS_BIND,
                    std::ptr::null(),
                )
                .into(),
            )),
            ("unmount", [at]) => CString::new(*at)
                .map_err(io::Error::from)
                .and_then(|at| done(check(libc::umount2(at.as_ptr(), libc::MNT_DETACH).into()))),
            ("chroot", []) => done(check(libc::chroot(c".".as_ptr()).into())),
            ("fsopen", []) => done(check(libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0))),
            ("open-tree", []) => done(check(libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, c"dir".as_ptr(), 1))),
            ("pivot-root", []) => mount(c"tmpfs", c"tmpfs", 0)
                .and_then(|_| {
                    check(libc::chdir(c"scratch-mount".as_ptr()).into())?;
                    check(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))
                })
                .map(|n| n.to_string()),
            ("set-hostname", []) => done(check(libc::sethostname(c"hostile".as_ptr(), 7).into())),
            ("keyring", []) => done(check(libc::syscall(
                libc::SYS_add_key,
                c"user".as_ptr(),
                c"hostile".as_ptr(),
                c"x".as_ptr(),
                1,
                libc::KEY_SPEC_PROCESS_KEYRING,
            ))),
            // KEYCTL_GET_KEYRING_ID of the session keyring
            ("keyctl", []) => done(check(libc::syscall(libc::SYS_keyctl, 0, libc::KEY_SPEC_SESSION_KEYRING, 0))),
            ("request-key", []) => {
                present(libc::syscall(libc::SYS_request_key, c"user".as_ptr(), c"nobody-has-this".as_ptr(), 0usize, 0))
            }
            ("bpf", []) => bpf_map(),
            ("perf", []) => perf(),
            ("userfaultfd", []) => done(check(libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | 1))),
            ("io-uring", []) => {
                let mut params = [0u8; 120];
                done(check(libc::syscall(libc::SYS_io_uring_setup, 4, params.as_mut_ptr())))
            }
            ("open-by-handle", [path]) => by_handle(path),
            ("fanotify", []) => done(check(libc::syscall(libc::SYS_fanotify_init, 0x200, libc::O_RDONLY))),
            ("kernel-log", []) => {
                let mut text = [0u8; 256];
                done(check(libc::klogctl(3, text.as_mut_ptr().cast(), 256).into()))
            }
            ("adjtimex", []) => {
                let mut times: libc::timex = std::mem::zeroed(); // no mode bits: only looks
                done(check(libc::adjtimex(&raw mut times).into()))
            }
            ("read-implies-exec", []) => done(check(libc::personality(0x040_0000).into())),
            ("accounting", []) => done(check(libc::acct(std::ptr::null()).into())),
            #[cfg(target_arch = "x86_64")]
            ("segments", []) => modify_ldt(),
            #[cfg(target_arch = "x86_64")]
            ("ports", []) => done(check(libc::syscall(libc::SYS_ioperm, 0x80, 1, 1))),
            #[cfg(target_arch = "x86_64")]
            ("other-architecture", []) => other_architecture(),
            #[cfg(target_arch = "x86_64")]
            ("x32", []) => present(libc::syscall(libc::SYS_getpid | 0x4000_0000)),
            ("type-into-terminal", [word]) => word
                .bytes()
                .try_for_each(|b| check(libc::ioctl(0, libc::TIOCSTI, &raw const b).into()).map(drop))
                .map(|()| String::new()),
            ("console-selection", []) => {
                let mut request = [6u8, 0]; // TIOCL_GETSHIFTSTATE: only looks
                done(check(libc::ioctl(0, libc::TIOCLINUX, request.as_mut_ptr()).into()))
            }
            ("line-discipline", []) => {
                let discipline: i32 = 0; // N_TTY, which it has
                done(check(libc::ioctl(0, libc::TIOCSETD, &raw const discipline).into()))
            }
            ("become-root", []) => become_root(),
            ("from-memory", [program, rest @ ..]) => from_memory(program, rest),
            _ => return None,
        }
    })
}

/// For a test user without privileges: a root of namespaces of its own, who may do outside what root may.
pub fn become_root_of_own_namespaces() -> io::Result<()> {
    // SAFETY: no pointers.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    // SAFETY: as above.
    check(
        unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWNET) }
            .into(),
    )?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Mounts something on a directory of our own.
///
/// # Safety
/// None beyond that of a call with valid strings.
unsafe fn mount(source: &std::ffi::CStr, kind: &std::ffi::CStr, flags: libc::c_ulong) -> io::Result<c_long> {
    match std::fs::create_dir("scratch-mount") {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    // SAFETY: NUL-terminated strings.
    check(
        unsafe { libc::mount(source.as_ptr(), c"scratch-mount".as_ptr(), kind.as_ptr(), flags, std::ptr::null()) }
            .into(),
    )
}

/// The result of a clone whose child ends at once.
fn cloned(result: c_long) -> Loot {
    if result == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) }
    }
    check(result).map(|pid| pid.to_string())
}

fn clone3(namespaces: i32) -> Loot {
    // SAFETY: zeros are valid; the structure lives until the call returns; without CLONE_VM the child has its own stack.
    unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        args.flags = namespaces as u64;
        args.exit_signal = libc::SIGCHLD as u64;
        cloned(libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()))
    }
}

/// Whether a call exists and was let through, whatever it found.
fn present(result: c_long) -> Loot {
    match check(result) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Err(e),
        Err(e) => Ok(e.to_string()),
        Ok(n) => Ok(n.to_string()),
    }
}

fn bpf_map() -> Loot {
    // BPF_MAP_CREATE of a one-element array: type, key size, value size, entries
    let attr: [u32; 16] = [2, 4, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: 64 bytes of attributes.
    check(unsafe { libc::syscall(libc::SYS_bpf, 0, attr.as_ptr(), 64) }).map(|n| n.to_string())
}

fn perf() -> Loot {
    let mut attr = [0u64; 16];
    attr[0] = 1 | (128 << 32); // PERF_TYPE_SOFTWARE, size
    attr[5] = 1 | (1 << 5) | (1 << 6); // disabled, exclude_kernel, exclude_hv
    // SAFETY: 128 bytes of attributes.
    check(unsafe { libc::syscall(libc::SYS_perf_event_open, attr.as_ptr(), 0, -1, -1, 0) }).map(|n| n.to_string())
}

fn by_handle(path: &str) -> Loot {
    let path = CString::new(path)?;
    let mut handle = [0u8; 136];
    handle[..4].copy_from_slice(&128u32.to_ne_bytes());
    let mut mount = 0i32;
    // SAFETY: a handle of the stated size; the descriptors are owned below.
    unsafe {
        check(libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            handle.as_mut_ptr(),
            &raw mut mount,
            0,
        ))?;
        let root = std::fs::File::open("/")?;
        let fd =
            check(libc::syscall(libc::SYS_open_by_handle_at, root.as_raw_fd(), handle.as_mut_ptr(), libc::O_RDONLY))?;
        let mut text = String::new();
        std::fs::File::from_raw_fd(i32::try_from(fd).unwrap_or(-1)).read_to_string(&mut text)?;
        Ok(text)
    }
}

#[cfg(target_arch = "x86_64")]
fn modify_ldt() -> Loot {
    let mut table = [0u8; 64];
    // SAFETY: reads at most 64 bytes of the table into the buffer.
    check(unsafe { libc::syscall(libc::SYS_modify_ldt, 0, table.as_mut_ptr(), 64) }).map(|n| n.to_string())
}

/// A system call of 32-bit programs: `getpid` is 20 there.
#[cfg(target_arch = "x86_64")]
fn other_architecture() -> Loot {
    let result: u64;
    // SAFETY: int 0x80 preserves everything but rax (and r8 to r11 in old kernels).
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20u64 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    if i64::from(result as i32) == i64::from(std::process::id()) {
        Ok(result.to_string())
    } else {
        Err(io::Error::other(format!("{}", result as i32)))
    }
}

/// A set-id program of the system: `passwd -S` reads /etc/shadow for whoever asks for their own account. Without its rights
/// it says only what /etc/passwd says.
fn become_root() -> Loot {
    let out = Command::new("passwd").arg("-S").output()?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    if said.split_whitespace().count() > 2 {
        Ok(said)
    } else {
        Err(io::Error::other(format!("{said}{}", String::from_utf8_lossy(&out.stderr))))
    }
}

/// This program again, from a memory file, with the words of another attack: may run, and is confined all the same.
fn from_memory(attack: &str, args: &[&str]) -> Loot {
    // SAFETY: a NUL-terminated name; the descriptor is owned by the file.
    let mut file = unsafe {
        std::fs::File::from_raw_fd(
            i32::try_from(check(libc::memfd_create(c"hostile".as_ptr(), 0).into())?).unwrap_or(-1),
        )
    };
    file.write_all(&std::fs::read("/proc/self/exe")?)?;
    let error = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd())).arg(attack).args(args).exec();
    Err(if error.kind() == io::ErrorKind::NotFound { nothing("memory file") } else { error })
}
