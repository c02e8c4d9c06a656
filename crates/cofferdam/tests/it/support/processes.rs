//! Processes as the host sees them.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// All process ids of the host.
pub fn all() -> Vec<i32> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// Processes, zombies excepted, with `marker` in their arguments.
pub fn with(marker: &str) -> Vec<i32> {
    all()
        .into_iter()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.windows(marker.len()).any(|w| w == marker.as_bytes()))
        })
        .collect()
}

/// The gateway of a run, which was born, among all processes below the one that started it.
pub fn gateway_below(of: u32) -> Pid {
    let mut all = vec![of];
    let mut at = 0;
    while at < all.len() {
        let path = format!("/proc/{0}/task/{0}/children", all[at]);
        let children = fs::read_to_string(path).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        at += 1;
    }
    let named =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "coffer-gateway\n");
    let pid = all.into_iter().find(named).expect("a gateway");
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// As [`with`], without our own client and monitor, whose arguments are those of the command as well.
pub fn inside(marker: &str) -> Vec<i32> {
    let own = env!("CARGO_BIN_EXE_coffer").as_bytes();
    // One that has ended meanwhile has no arguments any more.
    let is_other =
        |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|l| !l.is_empty() && !l.starts_with(own));
    with(marker).into_iter().filter(is_other).collect()
}

/// A field of /proc/PID/status.
pub fn status(pid: i32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':')).map(|v| v.trim().to_owned())
}

/// Whether it runs (a zombie does not).
pub fn alive(pid: i32) -> bool {
    status(pid, "State").is_some_and(|s| !s.starts_with('Z'))
}

/// The living children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|p| p.parse().ok())
        .collect()
}

/// The processes of a run, from its client down: client, monitor, init, command.
pub fn chain(client: i32) -> Vec<i32> {
    let mut chain = vec![client];
    while chain.len() < 4 {
        let Some(next) = children(chain[chain.len() - 1]).first().copied() else { break };
        chain.push(next);
    }
    chain
}

/// Sends a signal; a process that has just ended is none of our business.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Ends by their ids, when dropped, all processes that carry a marker: a failed test leaves nothing behind.
pub struct Cleared(pub String);

impl Drop for Cleared {
    fn drop(&mut self) {
        for pid in with(&self.0) {
            signal(pid, Signal::KILL);
        }
    }
}
