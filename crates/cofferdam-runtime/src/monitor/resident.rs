//! The memory of processes, sampled at a bounded cost, and other looks at /proc by number.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

/// Most processes looked at in one go, some 15 µs each.
const MOST: usize = 64;
/// Younger processes are not looked at.
const YOUNG: Duration = Duration::from_millis(100);

/// The last samples of living processes.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Resident now, in KiB.
    resident: HashMap<u32, u64>,
    /// The number up to which the last round came.
    cursor: u32,
}

impl Samples {
    /// Looks at some of the processes, given in the order of their numbers, and at others the next time. Raises their
    /// peaks.
    pub(super) fn take<'a>(&mut self, processes: impl Iterator<Item = (u32, Instant, &'a mut Option<u64>)>) {
        let mut taken = 0;
        let from = std::mem::take(&mut self.cursor);
        for (pid, begun, peak) in processes {
            if pid <= from || begun.elapsed() < YOUNG {
                continue;
            }
            if taken == MOST {
                return;
            }
            taken += 1;
            self.cursor = pid;
            if let Some((high, now)) = memory(pid) {
                *peak = (*peak).max(Some(high));
                self.resident.insert(pid, now);
            }
        }
        self.cursor = 0; // all of them: the next round begins anew
    }

    /// A process has ended.
    pub(super) fn forget(&mut self, pid: u32) {
        self.resident.remove(&pid);
    }

    /// What all processes together hold, by their last samples, in KiB.
    pub(super) fn sum(&self) -> Option<u64> {
        (!self.resident.is_empty()).then(|| self.resident.values().sum())
    }
}

/// `VmHWM` and `VmRSS` of /proc/PID/status, in KiB.
fn memory(pid: u32) -> Option<(u64, u64)> {
    let text = read(pid, "status")?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    Some((field("VmHWM:")?, field("VmRSS:")?))
}

/// The parent of a living process, as the host numbers it.
pub(super) fn parent(pid: u32) -> Option<u32> {
    read(pid, "status")?.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// Whether no process has this number.
pub(super) fn is_gone(pid: u32) -> bool {
    rustix::fs::stat(format!("/proc/{pid}")).is_err()
}

fn read(pid: u32, name: &str) -> Option<String> {
    let mut text = Vec::with_capacity(2048);
    File::open(format!("/proc/{pid}/{name}")).ok()?.take(64 * 1024).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_sampled_and_only_when_it_is_not_young() {
        let own = std::process::id();
        let mut samples = Samples::default();
        let mut peak = None;
        samples.take([(own, Instant::now(), &mut peak)].into_iter());
        assert_eq!((peak, samples.sum()), (None, None));
        let old = Instant::now().checked_sub(YOUNG * 2).unwrap();
        samples.take([(own, old, &mut peak)].into_iter());
        assert!(peak >= samples.sum() && samples.sum() > Some(100));
        samples.forget(own);
        assert_eq!(samples.sum(), None);
    }

    #[test]
    fn many_processes_take_turns() {
        let old = Instant::now().checked_sub(YOUNG * 2).unwrap();
        let mut samples = Samples::default();
        let mut peaks = vec![None; MOST + 10];
        let mut take = |samples: &mut Samples| {
            samples.take((u32::MAX - 100..).zip(&mut peaks).map(|(pid, peak)| (pid, old, peak)));
            samples.cursor
        };
        assert_eq!(take(&mut samples), u32::MAX - 100 + 63);
        assert_eq!(take(&mut samples), 0);
    }

    #[test]
    fn parents_are_found_and_the_gone_are_gone() {
        let parent_of = std::os::unix::process::parent_id();
        assert_eq!(parent(std::process::id()), Some(parent_of));
        assert!(!is_gone(std::process::id()) && is_gone(u32::MAX));
    }
}
