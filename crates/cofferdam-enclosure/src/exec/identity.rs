//! Whether another program stands in a process, where no exec stop says so.
//!
//! The kernel gives each program that it starts 16 fresh random bytes (`AT_RANDOM` of `getauxval(3)`). They differ after
//! every exec, address randomisation or not; only a program that takes part in it can make them look the same.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use cofferdam_sys::memory::read_bytes;
use rustix::process::Pid;

use super::image::{open_process, read_all};

const AT_RANDOM: u64 = 25;
/// An auxiliary vector has some 20 pairs of words.
const MOST: usize = 4096;

/// The program in a process, as far as it can be told from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    auxiliary: Vec<u8>,
    random: Option<[u8; 16]>,
}

/// The identity of the program that runs in `process`; `None` where it has ended.
pub(super) fn identity(process: Pid) -> Option<Identity> {
    let directory = open_process(process).ok()?;
    let auxiliary = read_all(&directory, "auxv", MOST).ok()?;
    if auxiliary.is_empty() {
        return None; // a zombie, or a leader that has left its other threads alone
    }
    let mut random = [0u8; 16];
    let found = word_of(&auxiliary, AT_RANDOM).is_some_and(|at| read_bytes(process, at, &mut random).is_ok());
    Some(Identity { auxiliary, random: found.then_some(random) })
}

fn word_of(auxiliary: &[u8], wanted: u64) -> Option<u64> {
    auxiliary.chunks_exact(16).find_map(|pair| {
        let (kind, value) = pair.split_at(8);
        (u64::from_ne_bytes(kind.try_into().ok()?) == wanted).then_some(())?;
        value.try_into().ok().map(u64::from_ne_bytes)
    })
}

/// Whether a thread is still in the call with this number (/proc/PID/syscall).
pub(super) fn is_in_call(thread: Pid, number: i32) -> bool {
    let now = open_process(thread).and_then(|directory: OwnedFd| {
        let mut text = String::new();
        let file = rustix::fs::openat(
            &directory,
            "syscall",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        File::from(file).take(64).read_to_string(&mut text)?;
        Ok(text)
    });
    now.is_ok_and(|text| text.split(' ').next().and_then(|n| n.parse().ok()) == Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_until_it_executes() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "read line; exec sleep 100"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        // `spawn` returns once the old program is gone, a moment before the new one stands.
        let begun = std::time::Instant::now();
        let first = loop {
            match identity(pid) {
                Some(first) if first.random.is_some() => break first,
                _ => assert!(begun.elapsed().as_secs() < 10, "the shell begins"),
            }
        };
        assert_eq!(identity(pid), Some(first.clone()));
        drop(child.stdin.take());
        let begun = std::time::Instant::now();
        while identity(pid) == Some(first.clone()) {
            assert!(begun.elapsed().as_secs() < 10, "the exec is seen");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(identity(pid), None);
    }
}
