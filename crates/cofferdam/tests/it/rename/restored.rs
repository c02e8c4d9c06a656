//! Enclosures that are killed in the middle of a directory rename: the next look at the run finds no half tree.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::bench::{Bench, printed};
use crate::kills::{random, setting};
use crate::support::{eventually, processes};

const ROUNDS: u64 = 5;

/// Directories of every kind, the same eight times and once for comparison; then they are renamed.
const RENAMER: &str = r#"
for d in ["ref"] + [f"s{i}" for i in range(8)]:
    os.remove(f"{d}/0/f0"); open(f"{d}/1/f1", "w").write("edited")
    os.makedirs(f"{d}/pure/x"); open(f"{d}/pure/x/made", "w").write("made")
    shutil.rmtree(f"{d}/2"); os.makedirs(f"{d}/2/again"); open(f"{d}/2/f2", "w").write("again")
    os.symlink("nowhere", f"{d}/3/link"); os.chmod(f"{d}/3/f3", 0o444); os.chmod(f"{d}/4/deep", 0o555); os.chmod(f"{d}/5", 0o700)
print("begin", flush=True)
for i in range(8): assert rename(f"s{i}", f"t{i}") == "ok"
signal.pause()
"#;

/// What is where, seen through the same layers: prints how many of the eight had moved.
const JUDGE: &str = r#"
import os, stat
def picture(top):
    seen = {}
    for at, ds, fs in os.walk(top):
        for name in ds + fs:
            path = os.path.join(at, name); s = os.lstat(path)
            text = open(path, "rb").read().split(b"/", 1)[-1] if stat.S_ISREG(s.st_mode) else None
            seen[os.path.relpath(path, top)] = (s.st_mode, text)
    return seen
wanted = picture("ref")
assert len(wanted) > 100 and wanted["1/f1"][1] == b"edited", len(wanted)
moved = 0
for i in range(8):
    here = [d for d in (f"s{i}", f"t{i}") if os.path.exists(d)]
    assert len(here) == 1, (i, here)
    got = picture(here[0])
    assert got == wanted, (here, {k: (got.get(k), wanted.get(k)) for k in got.keys() | wanted.keys() if got.get(k) != wanted.get(k)})
    moved += here[0] == f"t{i}"
assert not [d for d in os.listdir(".") if d.startswith(".coffer-mv.")], os.listdir(".")
print(moved)
"#;

/// Runs a script over an overlay of the project and a run's upper layer, as the kernel shows it.
fn through_the_layers(bench: &Bench, upper: &Path, script: &str) -> String {
    let work = bench.state().join("work-of-the-test");
    std::fs::create_dir(&work).unwrap();
    let options = format!(
        "userxattr,volatile,lowerdir={},upperdir={},workdir={}",
        bench.project.display(),
        upper.display(),
        work.display()
    );
    let mount = "mount -t overlay overlay -o \"$1\" \"$2\" && cd \"$2\" && exec python3 -c \"$3\"";
    let seen = bench.state().join("seen-by-the-test");
    std::fs::create_dir(&seen).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", mount, "sh", &options]).arg(&seen).arg(script);
    printed(command.output().unwrap())
}

/// One run, killed while something is half moved; whether a left-over had been made, and taken back.
fn round(seed: &mut u64) -> bool {
    let bench = Bench::new();
    let tops = ["ref".to_owned()].into_iter().chain((0..8).map(|i| format!("s{i}")));
    bench.files(
        tops.flat_map(|top| {
            (0..120).map(move |k| format!("{top}/{}/{}f{k}", k % 6, if k > 90 { "deep/" } else { "" }))
        }),
    );
    let before = bench.picture();
    let mut child = bench.command(RENAMER).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "begin\n");
    // While one of the first five is under way: each takes some milliseconds.
    let which = random(seed) % 5;
    let begun = |dir: &Path| {
        let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_encoded_bytes());
        names.into_iter().any(|n| n.starts_with(b".coffer-mv.") && n.ends_with(format!(".{which}").as_bytes()))
    };
    assert!(eventually(20, || begun(&bench.run().join("layers/upper"))), "no rename number {which}");
    std::thread::sleep(Duration::from_micros(random(seed) % 6_000));
    let chain = processes::chain(child.id().cast_signed());
    assert!(chain.len() > 2, "{chain:?}");
    // Either the monitor is left to settle the run, or nobody is.
    let monitor_dies = random(seed).is_multiple_of(2);
    processes::signal(chain[if monitor_dies { 1 } else { 2 }], Signal::KILL);
    child.wait().unwrap();

    let mut list = Command::new(env!("CARGO_BIN_EXE_coffer"));
    list.args(["diff", "--stat"]);
    bench.surround(&mut list);
    let mut settled = || {
        let run = bench.run();
        list.output().unwrap();
        let log = std::fs::read_to_string(run.join("evidence/log.jsonl")).unwrap();
        log.contains("\"run.ended\"").then_some((run, log))
    };
    let mut found = None;
    assert!(eventually(20, || {
        found = settled();
        found.is_some()
    }));
    let (run, log) = found.unwrap();
    let left = bench.leftovers();
    let held: Vec<_> = left.iter().map(|l| std::fs::read_dir(l).unwrap().count()).collect();
    assert!(left.is_empty(), "{left:?} hold {held:?}; monitor killed: {monitor_dies}; {log}");
    assert!(!log.contains("not taken back"), "{log}");
    let moved: u32 = through_the_layers(&bench, &run.join("layers/upper"), JUDGE).trim().parse().unwrap();
    assert!(moved <= 8);
    assert_eq!(bench.picture(), before, "the real tree");
    log.contains("taken back")
}

#[test]
fn a_killed_enclosure_leaves_no_directory_in_two_halves() {
    if Command::new("unshare").args(["-rm", "true"]).status().map_or(true, |s| !s.success()) {
        eprintln!("not proven on this machine: unshare(1) is not installed");
        return;
    }
    let first = setting("COFFER_KILL_SEED", 1);
    let mut halves = 0;
    for number in 0..ROUNDS {
        let mut seed = first + number;
        eprintln!("COFFER_KILL_SEED={seed}");
        halves += u32::from(round(&mut seed));
    }
    assert!(halves >= 2, "{halves} of {ROUNDS} rounds met a rename half way: too few to prove anything");
}
