//! 10,000 changed files: seeing them, taking them, taking them back, beside git and cp.
//!
//! `cargo bench --bench changes`. Rounds by `COFFER_BENCH_ROUNDS` (7).
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a bench")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{coffer, git, output, ratios, rounds, say, time};

/// The word after which this program is the command of a run, and changes the tree it stands in.
const CHANGE: &str = "--change";
const MODIFIED: usize = 8000;
const DELETED: usize = 1000;
const ADDED: usize = 1000;
const CHANGED: usize = MODIFIED + DELETED + ADDED;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if words.iter().any(|w| w == CHANGE) {
        return change(Path::new("."));
    }
    let work = tempfile::Builder::new().prefix("coffer-bench").tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let (project, state) = (work.path().join("tree"), work.path().join("state"));
    for n in 0..MODIFIED + DELETED {
        write(&project, n, "");
    }
    for words in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message=all"]] {
        time(&mut git(&project, words));
    }
    let itself = project.join(".git/change");
    std::fs::copy(std::env::current_exe().unwrap(), &itself).unwrap();
    let run = ["run", "-q", "--", itself.to_str().unwrap(), CHANGE];
    println!("run that changes {CHANGED} files: {:.2} s", time(&mut coffer(&project, &state, &run)).as_secs_f64());

    let patch = output(&mut coffer(&project, &state, &["diff"]));
    let patch_file = work.path().join("patch");
    std::fs::write(&patch_file, &patch).unwrap();
    let names = output(&mut coffer(&project, &state, &["diff", "--name-only", "--no-renames"]));
    assert_eq!(names.iter().filter(|b| **b == b'\n').count(), CHANGED);
    let by_hand = work.path().join("by-hand");
    time(&mut git(work.path(), &["clone", "--quiet", "tree", "by-hand"]));
    time(Command::new("cp").args(["-a", "by-hand", "copied"]).current_dir(work.path()));
    change(&by_hand);

    let quiet = |words: &[&str]| {
        let mut command = coffer(&project, &state, words);
        command.stdout(Stdio::null());
        command
    };
    let status = |tree: &Path| {
        let seen = output(
            git(tree, &["status", "--porcelain", "--no-renames", "--untracked-files=all"]).stdout(Stdio::piped()),
        );
        seen.iter().filter(|b| **b == b'\n').count()
    };
    let mut times: [Vec<_>; 8] = Default::default();
    let clone = work.path().join("clone");
    let rounds = rounds(7);
    for _ in 0..rounds {
        time(&mut git(work.path(), &["clone", "--quiet", "tree", "clone"]));
        time(&mut git(&clone, &["status"]));
        times[0].push(time(&mut quiet(&["diff", "--name-only"])));
        times[1].push(time(&mut quiet(&["diff", "--stat"])));
        times[2].push(time(&mut quiet(&["diff"])));
        times[3].push(time(&mut git(&by_hand, &["diff", "--stat"])));
        times[4].push(time(&mut quiet(&["promote", "--yes"])));
        assert_eq!(status(&project), CHANGED);
        times[5].push(time(&mut git(&clone, &["apply", patch_file.to_str().unwrap()])));
        assert_eq!(status(&clone), CHANGED);
        let copy = "rm -r copied/d* && cp -a by-hand/d* copied/ && sync -f copied";
        times[6].push(time(Command::new("sh").args(["-c", copy]).current_dir(work.path())));
        times[7].push(time(&mut quiet(&["undo"])));
        assert_eq!(status(&project), 0);
        std::fs::remove_dir_all(&clone).unwrap();
    }
    println!("{CHANGED} changed files, rounds {rounds}; median (10th to 90th percentile)");
    let names = [
        "coffer diff --name-only",
        "coffer diff --stat",
        "coffer diff",
        "git diff --stat of the modified and deleted",
        "coffer promote --yes, synced",
        "git apply, not synced",
        "rm, cp -a, sync of the same",
        "coffer undo, synced",
    ];
    for (name, times) in names.iter().zip(&times) {
        say(name, "s", seconds(times));
    }
    say("promote / git apply", "", ratios(&seconds(&times[4]), &seconds(&times[5])));
    say("promote / rm, cp -a, sync", "", ratios(&seconds(&times[4]), &seconds(&times[6])));
}

/// Durations in seconds.
fn seconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(Duration::as_secs_f64).collect()
}

/// A file of thirty lines, 100 a directory.
fn write(tree: &Path, n: usize, more: &str) {
    let dir = tree.join(format!("d{}/e{}", n / 1000, n / 100 % 10));
    std::fs::create_dir_all(&dir).unwrap();
    let lines: String = (0..30).map(|line| format!("line {line} of file {n}\n")).collect();
    std::fs::write(dir.join(format!("f{n}.txt")), lines + more).unwrap();
}

/// The same changes by whomever.
fn change(tree: &Path) {
    for n in 0..MODIFIED {
        write(tree, n, "one more\n");
    }
    for n in MODIFIED..MODIFIED + DELETED {
        std::fs::remove_file(tree.join(format!("d{}/e{}/f{n}.txt", n / 1000, n / 100 % 10))).unwrap();
    }
    for n in 20_000..20_000 + ADDED {
        write(tree, n, "");
    }
}
