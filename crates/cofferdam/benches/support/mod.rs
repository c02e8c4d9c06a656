//! What the benches of whole commands share: times taken in turn, and what is said of them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program under test.
pub fn coffer(project: &Path, state: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(coffer_file());
    command.args(words).current_dir(project).env("XDG_STATE_HOME", state).stdin(Stdio::null());
    command
}

/// `COFFER_BENCH_BINARY`, for a user who cannot read where it was built, else what cargo built.
fn coffer_file() -> std::ffi::OsString {
    std::env::var_os("COFFER_BENCH_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_coffer").into())
}

/// How often everything is done: `COFFER_BENCH_ROUNDS`.
pub fn rounds(default: usize) -> usize {
    std::env::var("COFFER_BENCH_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Runs a command to its end, which must be a good one.
pub fn time(command: &mut Command) -> Duration {
    let begun = Instant::now();
    let status = command.status().unwrap();
    let took = begun.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took
}

/// What a command prints; it must end well.
pub fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}

/// Runs `git` where no configuration of a person reaches, and without its maintenance, which would go on in the background.
pub fn git(tree: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(tree)
        .args(["-c", "maintenance.auto=false", "-c", "gc.auto=0"])
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["GIT_AUTHOR", "GIT_COMMITTER"] {
        command.env(format!("{who}_NAME"), "bench").env(format!("{who}_EMAIL"), "bench@localhost");
    }
    command
}

/// Prints the median and the 10th and 90th percentile.
pub fn say(name: &str, unit: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let at = |p: usize| values[(values.len() - 1) * p / 100];
    println!("  {name:44} {:9.3} {unit:3} ({:.3} to {:.3}, {} values)", at(50), at(10), at(90), values.len());
}

/// Pair by pair.
pub fn ratios(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a / b).collect()
}
