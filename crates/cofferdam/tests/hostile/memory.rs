//! Other processes: their memory, their descriptors, their lives.

use std::fs::{self, File};
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

use crate::{Loot, check, nothing};

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    let pid = args.first().and_then(|p| p.parse::<i32>().ok());
    Some(match (name, args, pid) {
        ("memory-file", [_, needle], Some(pid)) => memory_file(pid, needle),
        ("memory-call", [_, needle], Some(pid)) => memory_call(pid, needle),
        ("trace", [_], Some(pid)) => trace(pid),
        ("kill", [_], Some(pid)) => kill(pid),
        ("take-descriptor", [_], Some(pid)) => take_descriptor(pid),
        ("write-memory", [_], Some(pid)) => write_memory(pid),
        ("kill-everything", [], _) => kill(-1),
        ("lower-core-limit", [], _) => lower_core_limit(),
        ("dump-core", [needle], _) => dump_core(needle),
        ("read-mappings", [_], Some(pid)) => fs::read_to_string(format!("/proc/{pid}/maps"))
            .and_then(|t| if t.is_empty() { Err(nothing("mappings")) } else { Ok(t) }),
        _ => return None,
    })
}

fn readable_ranges(pid: i32) -> io::Result<Vec<(u64, u64)>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    Ok(maps
        .lines()
        .filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (from, to) = range.split_once('-')?;
            rest.starts_with('r').then_some(())?;
            Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
        })
        .collect())
}

fn contains(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|w| w == needle.as_bytes())
}

fn memory_file(pid: i32, needle: &str) -> Loot {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    for (from, to) in readable_ranges(pid)? {
        let mut chunk = vec![0u8; usize::try_from((to - from).min(8 << 20)).unwrap_or(0)];
        if let Ok(got) = memory.read_at(&mut chunk, from)
            && contains(&chunk[..got], needle)
        {
            return Ok(format!("{needle} in {from:x}-{to:x}"));
        }
    }
    Err(nothing("the needle"))
}

fn memory_call(pid: i32, needle: &str) -> Loot {
    // Where the maps are closed, an address that every non-relocated or relocated program has: our own stack's.
    let ranges = readable_ranges(pid).or_else(|_| readable_ranges(std::process::id().cast_signed()))?;
    let mut last = nothing("the needle");
    for (from, to) in ranges {
        let mut chunk = vec![0u8; usize::try_from((to - from).min(8 << 20)).unwrap_or(0)];
        let local = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: chunk.len() };
        let remote = libc::iovec { iov_base: from as *mut libc::c_void, iov_len: chunk.len() };
        // SAFETY: `local` describes `chunk`.
        let got = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
        match check(got as libc::c_long) {
            Ok(got) if contains(&chunk[..usize::try_from(got).unwrap_or(0)], needle) => {
                return Ok(format!("{needle} in {from:x}-{to:x}"));
            }
            Ok(_) => {}
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Writes a byte over itself at the top of the stack.
fn write_memory(pid: i32) -> Loot {
    let ranges = readable_ranges(pid).or_else(|_| readable_ranges(std::process::id().cast_signed()))?;
    let mut last = nothing("a writable page");
    for (_, to) in ranges {
        let mut byte = [0u8];
        let local = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
        let remote = libc::iovec { iov_base: (to - 1) as *mut libc::c_void, iov_len: 1 };
        // SAFETY: one byte in both directions.
        let wrote = unsafe {
            libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0);
            libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0)
        };
        match check(wrote as libc::c_long) {
            Ok(_) => return Ok(format!("{to:x}")),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn trace(pid: i32) -> Loot {
    // SAFETY: attaches and detaches; no pointers.
    unsafe {
        check(libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0))?;
        check(libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0))?;
        let mut status = 0;
        libc::waitpid(pid, &raw mut status, libc::__WALL);
        check(libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0))?;
    }
    Ok(String::new())
}

fn kill(pid: i32) -> Loot {
    // SAFETY: no pointers.
    check(libc::c_long::from(unsafe { libc::kill(pid, libc::SIGKILL) })).map(|_| String::new())
}

fn take_descriptor(pid: i32) -> Loot {
    // SAFETY: no pointers but none; descriptors are owned below.
    unsafe {
        let pidfd = check(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        for number in 0..64 {
            if let Ok(fd) = check(libc::syscall(libc::SYS_pidfd_getfd, pidfd, number, 0)) {
                drop(File::from_raw_fd(i32::try_from(fd).unwrap_or(-1)));
                return Ok(format!("descriptor {number}"));
            }
        }
        check(libc::syscall(libc::SYS_pidfd_getfd, pidfd, 0, 0)).map(|_| String::new())
    }
}

/// A core limit of 0 lets a handler named in `core_pattern` run on the host; only 1 keeps it away (fs/coredump.c). Wins
/// where the limit really became 0.
fn lower_core_limit() -> Loot {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for both calls.
    unsafe {
        check(libc::c_long::from(libc::setrlimit(libc::RLIMIT_CORE, &raw const limit)))?;
        limit.rlim_cur = 77;
        check(libc::c_long::from(libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit)))?;
    }
    if limit.rlim_cur == 0 { Ok("0".to_owned()) } else { Err(io::Error::other(format!("it stays {}", limit.rlim_cur))) }
}

/// Dies with a core dump that carries `needle`, in a child whose limits are as high as they go.
fn dump_core(needle: &str) -> Loot {
    // SAFETY: a single-threaded process forks; the child only raises its limit and aborts.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let kept = format!("{needle}{needle}");
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit);
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_CORE, &raw const limit);
            std::hint::black_box(&kept);
            libc::abort();
        }
        let mut status = 0;
        check(libc::c_long::from(libc::waitpid(child, &raw mut status, 0)))?;
        if libc::WCOREDUMP(status) { Ok("core dumped".to_owned()) } else { Err(nothing("a core dump")) }
    }
}
