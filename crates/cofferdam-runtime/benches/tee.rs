//! What recording output costs: a long piped stream and small commands, bare, with the exec notice alone, and recorded,
//! in turns. `cargo bench -p cofferdam-runtime --bench tee`; `-- MIB COMMANDS ROUNDS` for other sizes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program: it prints, and a failure is the end of it"
)]

#[path = "../tests/it/driver.rs"]
mod driver;

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use driver::{Mode, record};

/// Writes 64 KiB blocks of zeros, as `dd` does, into the pipe that this program reads as an agent would.
fn stream(mib: u64) -> Duration {
    let begun = Instant::now();
    let mut child = Command::new("/usr/bin/head")
        .args(["-c", &format!("{mib}M"), "/dev/zero"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut reader, mut chunk, mut bytes) = (child.stdout.take().unwrap(), vec![0; 64 << 10], 0);
    loop {
        match reader.read(&mut chunk).unwrap() {
            0 => break,
            got => bytes += got as u64,
        }
    }
    assert_eq!(bytes, mib << 20);
    assert!(child.wait().unwrap().success());
    begun.elapsed()
}

/// One after another, each printing a line into a pipe that is read to its end; the time of one.
fn small(commands: u32) -> Duration {
    let begun = Instant::now();
    for _ in 0..commands {
        let output = Command::new("/bin/echo").arg("one line of output").stderr(Stdio::null()).output().unwrap();
        assert_eq!(output.stdout.len(), 19);
    }
    begun.elapsed() / commands
}

/// CPU time of this process: of the reader and the monitor, not of the commands.
fn cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.try_into().unwrap(), t.tv_nsec.try_into().unwrap())
}

/// Evidence directories stay until the end: ext4 searches past inodes that were deleted seconds ago, which no run does.
fn in_mode(mode: Option<Mode>, all: &Path, work: impl FnOnce() -> Duration + Send) -> Duration {
    let Some(mode) = mode else { return std::thread::scope(|s| s.spawn(work).join().unwrap()) };
    let dir = tempfile::tempdir_in(all).unwrap().keep();
    record(mode, &dir, work).0
}

fn median(mut times: Vec<Duration>) -> (Duration, Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() / 10], times[times.len() * 9 / 10])
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let [mib, commands, rounds] = [0, 1, 2].map(|i| numbers.get(i).copied().unwrap_or([2048, 500, 9][i]));
    let modes = [("bare", None), ("notice", Some(Mode::Notice)), ("recorded", Some(Mode::Record))];
    let mut streams = [const { Vec::new() }; 3];
    let mut smalls = [const { Vec::new() }; 3];
    let mut cpus = [const { Vec::new() }; 3];
    let all = tempfile::tempdir().unwrap();
    for _ in 0..rounds {
        for (i, (_, mode)) in modes.iter().enumerate() {
            streams[i].push(in_mode(*mode, all.path(), || stream(mib)));
            let (before, commands) = (cpu(), u32::try_from(commands).unwrap());
            smalls[i].push(in_mode(*mode, all.path(), || small(commands)));
            cpus[i].push((cpu() - before) / commands);
        }
    }
    println!("{mib} MiB piped, {rounds} rounds: median (10th and 90th percentile)");
    let bare = median(streams[0].clone()).0;
    for (i, (name, _)) in modes.iter().enumerate() {
        let (m, low, high) = median(streams[i].clone());
        let rate = mib as f64 / 1024.0 / m.as_secs_f64();
        let times = bare.as_secs_f64() / m.as_secs_f64();
        println!("  {name:<9} {rate:6.2} GiB/s  {times:5.2} x bare   {m:.2?} ({low:.2?} to {high:.2?})");
    }
    println!("{commands} small commands");
    let bare = median(smalls[0].clone()).0;
    for (i, (name, _)) in modes.iter().enumerate() {
        let (m, low, high) = median(smalls[i].clone());
        let more = (m.as_secs_f64() - bare.as_secs_f64()) * 1e6;
        let cpu = median(cpus[i].clone()).0;
        println!("  {name:<9} {m:.1?} each  {more:+7.1} µs   ({low:.1?} to {high:.1?})   {cpu:.1?} of CPU here");
    }
    let memory = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", memory.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default());
}
