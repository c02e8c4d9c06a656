//! Executing in every way there is, and in ways that are meant to break whoever watches.

use std::ffi::{CStr, CString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::{Loot, check};

const ECHO: &CStr = c"/bin/echo";
const TRUE: &CStr = c"/bin/true";

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    let number = |text: &str| text.parse::<u32>().map_err(io::Error::other);
    Some(match (name, args) {
        ("exec-forge", [rounds]) => number(rounds).and_then(forge),
        ("exec-race", [rounds]) => number(rounds).and_then(race),
        ("exec-storm", [execs, _marker]) => number(execs).and_then(storm),
        ("exec-chain", [left]) => number(left).and_then(chain),
        ("exec-ways", []) => ways(),
        ("exec-fails", []) => fails(),
        ("exec-search", []) => search(),
        ("exec-filtered", []) => filtered(),
        ("exec-odd", []) => odd(),
        ("exec-large", []) => large(),
        ("exec-orphan", []) => orphan(),
        ("exec-stops", [rounds]) => number(rounds).and_then(stops),
        ("exec-idle", []) => {
            std::thread::sleep(Duration::from_millis(600));
            Ok(String::new())
        }
        _ => return None,
    })
}

/// In a child of its own: what never returns where it succeeds.
fn in_child(body: impl FnOnce()) -> io::Result<libc::c_int> {
    io::stdout().flush()?;
    // SAFETY: this process has one thread; the child runs `body` and ends.
    let pid = check(libc::c_long::from(unsafe { libc::fork() }))?;
    if pid == 0 {
        body();
        // SAFETY: no pointers.
        unsafe { libc::_exit(99) };
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    check(libc::c_long::from(unsafe { libc::waitpid(pid as libc::pid_t, &raw mut status, 0) }))?;
    Ok(status)
}

fn execute(path: &CStr, argument: *const libc::c_char) {
    let argv = [path.as_ptr(), argument, std::ptr::null()];
    // SAFETY: NUL-terminated strings in a NULL-terminated list; where it succeeds nothing returns.
    unsafe { libc::execv(path.as_ptr(), argv.as_ptr()) };
}

fn execute_true() {
    execute(TRUE, std::ptr::null());
}

/// Executes `echo` while a sibling thread writes another argument over the one it was given, again and again. Each line
/// printed is what really ran.
fn forge(rounds: u32) -> Loot {
    static ARGUMENT: [AtomicU8; 9] = [const { AtomicU8::new(0) }; 9];
    let put = |word: &[u8; 8]| {
        for (place, byte) in ARGUMENT.iter().zip(word) {
            place.store(*byte, Ordering::Relaxed);
        }
    };
    for _ in 0..rounds {
        in_child(|| {
            put(b"innocent");
            std::thread::spawn(move || {
                loop {
                    for word in [b"evil4242", b"innocent"] {
                        put(word);
                        for _ in 0..300 {
                            std::hint::spin_loop();
                        }
                    }
                }
            });
            execute(ECHO, ARGUMENT.as_ptr().cast());
        })?;
    }
    Ok(String::new())
}

/// Four threads of one process execute at once.
fn race(rounds: u32) -> Loot {
    let mut odd = 0;
    for _ in 0..rounds {
        let status = in_child(|| {
            for _ in 0..4 {
                // EAGAIN where the person's processes are at their limit just now.
                while std::thread::Builder::new().spawn(execute_true).is_err() {
                    std::thread::yield_now();
                }
            }
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        })?;
        odd += u32::from(status != 0);
    }
    Ok(format!("odd={odd}"))
}

fn storm(execs: u32) -> Loot {
    for _ in 0..execs {
        let status = Command::new("/bin/true").stdin(Stdio::null()).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("true: {status}")));
        }
    }
    Ok(String::new())
}

/// Replaces itself by itself.
fn chain(left: u32) -> Loot {
    if left == 0 {
        return Ok(String::new());
    }
    Err(Command::new(std::env::current_exe()?).args(["exec-chain", &(left - 1).to_string()]).exec())
}

/// vfork, posix_spawn, a thread that is not the first, execveat by descriptor, a program in memory, a script, and a
/// process whose first thread has left.
fn ways() -> Loot {
    // posix_spawn(3), which the standard library uses, is a vfork.
    let spawned = Command::new("/bin/echo").arg("spawned").status()?;
    let threaded = in_child(|| {
        std::thread::spawn(|| std::thread::sleep(Duration::from_secs(9)));
        let _ = std::thread::spawn(|| execute(ECHO, c"threaded".as_ptr())).join();
    })?;
    let empty_path = |fd: libc::c_int, argument: &CStr| {
        let argv = [c"by-descriptor".as_ptr(), argument.as_ptr(), std::ptr::null()];
        let env = [std::ptr::null::<libc::c_char>()];
        // SAFETY: as `execute`.
        unsafe {
            libc::syscall(libc::SYS_execveat, fd, c"".as_ptr(), argv.as_ptr(), env.as_ptr(), libc::AT_EMPTY_PATH);
        }
    };
    // SAFETY: a NUL-terminated path.
    let echo = check(libc::c_long::from(unsafe { libc::open(ECHO.as_ptr(), libc::O_RDONLY) }))? as libc::c_int;
    let described = in_child(|| empty_path(echo, c"described"))?;
    // SAFETY: a NUL-terminated name.
    let memory = check(libc::c_long::from(unsafe { libc::memfd_create(c"kept-nowhere".as_ptr(), 0) }))? as libc::c_int;
    let mut program = Vec::new();
    std::fs::File::open("/bin/echo")?.read_to_end(&mut program)?;
    std::fs::write(format!("/proc/self/fd/{memory}"), &program)?;
    let remembered = in_child(|| empty_path(memory, c"remembered"))?;
    std::fs::write("script", "#!/bin/sh -e\nexit 5\n")?;
    std::fs::set_permissions("script", std::fs::Permissions::from_mode(0o755))?;
    let script = Command::new("./script").arg("scripted").status()?;
    let leaderless = in_child(|| {
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            execute(ECHO, c"leaderless".as_ptr());
        });
        // SAFETY: no pointers; ends this thread alone.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    })?;
    Ok(format!("{} {threaded} {described} {remembered} {:?} {leaderless}", spawned.success(), script.code()))
}

fn errno_of(path: &CStr, argument: &CStr) -> i32 {
    execute(path, argument.as_ptr());
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Every way to fail, from one process; then it sleeps and reads undisturbed.
fn fails() -> Loot {
    for (name, content, mode) in
        [("noexec", "x", 0o644), ("junk", "junk\n", 0o755), ("badint", "#!/nonexistent/int\n", 0o755)]
    {
        std::fs::write(name, content)?;
        std::fs::set_permissions(name, std::fs::Permissions::from_mode(mode))?;
    }
    let long = CString::new(vec![b'x'; 300_000]).map_err(io::Error::other)?;
    let errors = [
        errno_of(c"/nope", c"x"),
        errno_of(c"./noexec", c"x"),
        errno_of(c"./junk", c"x"),
        errno_of(c"./badint", c"x"),
        errno_of(ECHO, &long),
    ];
    let begun = std::time::Instant::now();
    let pause = libc::timespec { tv_sec: 0, tv_nsec: 30_000_000 };
    // SAFETY: `pause` is initialised; a remainder is not asked for.
    check(libc::c_long::from(unsafe { libc::nanosleep(&raw const pause, std::ptr::null_mut()) }))?;
    // SAFETY: as `storm` of an unforked process: PTRACE_TRACEME takes no pointers.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    Ok(format!("{errors:?} slept={} traceme={traced}", begun.elapsed().as_millis() >= 30))
}

/// A search by PATH with five directories that have no such program.
fn search() -> Loot {
    let status = Command::new("env")
        .args(["PATH=/nope1:/nope2:/nope3:/nope4:/nope5:/bin", "sh", "-c", "exec echo sought"])
        .status()?;
    Ok(format!("{status}"))
}

/// Under a filter of the program's own.
fn filtered() -> Loot {
    let program = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 }];
    let header = libc::sock_fprog { len: 1, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel reads one instruction.
    check(unsafe { libc::syscall(libc::SYS_seccomp, 1, 0, &raw const header) })?;
    // SAFETY: as above; a second listener in one tree is refused.
    let second = unsafe { libc::syscall(libc::SYS_seccomp, 1, 1 << 3, &raw const header) };
    let refused = io::Error::last_os_error();
    Command::new("/bin/echo").arg("filtered").status()?;
    Ok(format!("listener={second} {refused}"))
}

/// Arguments that are no text, empty, or none at all.
fn odd() -> Loot {
    Command::new("/bin/true").arg(std::ffi::OsStr::from_bytes(b"\xff\xfe\n\"")).arg("").arg("{\"seq\":0}").status()?;
    let status = in_child(|| {
        let none = [std::ptr::null::<libc::c_char>()];
        // SAFETY: an empty NULL-terminated list.
        unsafe { libc::execv(TRUE.as_ptr(), none.as_ptr()) };
    })?;
    Ok(format!("{status}"))
}

/// A million bytes of arguments.
fn large() -> Loot {
    let status = Command::new("/bin/true").args((0..10).map(|n| format!("{n}").repeat(100_000))).status()?;
    Ok(format!("{status}"))
}

/// A grandchild whose parent is gone when it executes.
fn orphan() -> Loot {
    in_child(|| {
        // SAFETY: as `in_child`.
        if unsafe { libc::fork() } == 0 {
            std::thread::sleep(Duration::from_millis(50));
            execute(ECHO, c"orphan".as_ptr());
        }
    })?;
    std::thread::sleep(Duration::from_millis(300));
    Ok(String::new())
}

/// A child is stopped and continued at random instants around its exec; its parent sees a stop, and its end.
fn stops(rounds: u32) -> Loot {
    let mut odd = 0;
    for round in 0..rounds {
        // SAFETY: this process has one thread; the child executes or ends.
        let pid = check(libc::c_long::from(unsafe { libc::fork() }))? as libc::pid_t;
        if pid == 0 {
            execute_true();
            // SAFETY: no pointers.
            unsafe { libc::_exit(99) };
        }
        std::thread::sleep(Duration::from_micros(u64::from(round % 40) * 25));
        let (mut status, mut seen) = (0, 0);
        // SAFETY: `status` outlives the calls; signals go to our own child, which is not reaped yet.
        unsafe {
            libc::kill(pid, libc::SIGSTOP);
            seen += libc::waitpid(pid, &raw mut status, libc::WUNTRACED);
            if libc::WIFSTOPPED(status) {
                std::thread::sleep(Duration::from_millis(1));
                libc::kill(pid, libc::SIGCONT);
                seen += libc::waitpid(pid, &raw mut status, 0) - pid;
            }
        }
        odd += u32::from(seen != pid || status != 0);
    }
    Ok(format!("odd={odd}"))
}
