//! Start-up of `coffer run -- true` beside the bare command and bubblewrap with the same namespaces, in turn, in one run.
//!
//! `cargo bench --bench startup`. Rounds by `COFFER_BENCH_ROUNDS` (200). Prints medians and, pair by pair, ratios.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() {
    let rounds: usize = std::env::var("COFFER_BENCH_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(200);
    let work = tempfile::Builder::new().prefix("coffer-bench").tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let small = project(work.path(), "small", 5);
    let large = project(work.path(), "large", 200_000);
    let state = work.path().join("state");
    let state = state.as_path();

    println!("rounds {rounds}, one after the other in turn; milliseconds, median (10th to 90th percentile)");
    let report = compare(
        rounds,
        &[
            ("bare true", &|| bare()),
            ("bwrap, same namespaces", &|| bwrap(&small)),
            ("coffer run, 5 files", &|| coffer(&small, state)),
            ("coffer run, 200,000 files", &|| coffer(&large, state)),
        ],
    );
    report.ratio(2, 1);
    report.ratio(3, 2);
    println!("\nwhile another program dirties pages (400 MB at a time, never synced by it)");
    let dirt = Dirt::start(work.path());
    let report = compare(
        rounds / 4,
        &[("bwrap, same namespaces", &|| bwrap(&small)), ("coffer run, 5 files", &|| coffer(&small, state))],
    );
    drop(dirt);
    report.ratio(1, 0);
}

/// A git-like project of `files` small files, 500 a directory.
fn project(work: &Path, name: &str, files: usize) -> PathBuf {
    let root = work.join(name);
    for n in 0..files {
        let dir = root.join(format!("d{}", n / 500));
        if n % 500 == 0 {
            std::fs::create_dir_all(&dir).unwrap();
        }
        std::fs::write(dir.join(format!("f{n}")), "x").unwrap();
    }
    root
}

fn run(command: &mut Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let begun = Instant::now();
    let status = command.status().unwrap();
    let took = begun.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took
}

fn bare() -> Duration {
    run(&mut Command::new("/bin/true"))
}

fn bwrap(project: &Path) -> Duration {
    let mut command = Command::new("bwrap");
    command
        .args(["--unshare-user", "--unshare-all", "--die-with-parent", "--new-session"])
        .args(["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--bind"])
        .args([project, project])
        .arg("/bin/true");
    run(&mut command)
}

fn coffer(project: &Path, state: &Path) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coffer"));
    command.args(["run", "--", "/bin/true"]).current_dir(project).env("XDG_STATE_HOME", state);
    run(&mut command)
}

struct Report(Vec<(&'static str, Vec<Duration>)>);

type Case<'a> = (&'static str, &'a dyn Fn() -> Duration);

fn compare(rounds: usize, cases: &[Case<'_>]) -> Report {
    let mut report = Report(cases.iter().map(|(name, _)| (*name, Vec::new())).collect());
    for round in 0..rounds + 3 {
        for ((_, case), (_, times)) in cases.iter().zip(&mut report.0) {
            let took = case();
            if round >= 3 {
                times.push(took);
            }
        }
    }
    for (name, times) in &report.0 {
        let at = |p| percentile(times.clone(), p);
        println!("  {name:28} {:7.2} ({:.2} to {:.2})", at(50), at(10), at(90));
    }
    report
}

fn percentile(mut times: Vec<Duration>, p: usize) -> f64 {
    times.sort();
    times[(times.len() - 1) * p / 100].as_secs_f64() * 1e3
}

impl Report {
    fn ratio(&self, a: usize, b: usize) {
        let mut ratios: Vec<f64> =
            self.0[a].1.iter().zip(&self.0[b].1).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        println!("  {} / {}: {:.2} (median of pairs)", self.0[a].0, self.0[b].0, ratios[ratios.len() / 2]);
    }
}

/// Another program that writes and does not sync, for as long as this value lives.
struct Dirt(std::process::Child, PathBuf);

impl Dirt {
    fn start(work: &Path) -> Dirt {
        let file = work.join("dirt");
        let script = format!(
            "while :; do dd if=/dev/zero of='{}' bs=1M count=400 conv=notrunc 2>/dev/null; sleep 1; done",
            file.display()
        );
        let child = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        Dirt(child, file)
    }
}

impl Drop for Dirt {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        let _ = std::fs::remove_file(&self.1);
    }
}
