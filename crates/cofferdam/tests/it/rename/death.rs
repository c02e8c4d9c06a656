//! Callers and helpers that die in the middle.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use super::bench::Bench;

#[test]
fn a_killed_caller_leaves_the_tree_here_or_there() {
    let bench = Bench::new();
    bench.files((0..20).flat_map(|i| (0..60).map(move |k| format!("s{i}/{}/f{k}", k % 5))));
    let before = bench.picture();
    let out = bench.inside(
        r#"
random.seed(7); here = there = 0
for i in range(20):
    child = os.fork()
    if child == 0:
        os.rename(f"s{i}", f"t{i}"); os._exit(0)
    time.sleep(random.random() * 0.03 * (i % 4)); os.kill(child, signal.SIGKILL); os.waitpid(child, 0)
    while leftovers(): time.sleep(0.005)  # the helper finishes what it began
    src, dst = os.path.exists(f"s{i}"), os.path.exists(f"t{i}")
    assert src != dst, (i, src, dst)
    top = f"s{i}" if src else f"t{i}"
    files = sorted(p + "/" + f for p, _, fs in os.walk(top) for f in fs)
    assert len(files) == 60 and all(open(f).read() == "s" + f[1:] for f in files), files
    here += src; there += dst
print(here + there)
"#,
    );
    assert_eq!(out, "20\n");
    assert_eq!(bench.picture(), before, "the real tree");
    assert!(bench.leftovers().is_empty());
}

#[test]
fn a_killed_helper_loses_nothing_and_is_replaced() {
    let bench = Bench::new();
    bench.files((0..40).flat_map(|i| (0..80).map(move |k| format!("s{i}/{}/f{k}", k % 4))));
    let mut child = bench
        .command(
            r#"
print("begin", flush=True); moved = copied = 0
for i in range(40):
    answer = rename(f"s{i}", f"t{i}")
    assert answer in ("ok", "EXDEV"), answer
    moved += answer == "ok"; copied += answer == "EXDEV"
    assert os.path.exists(f"s{i}") == (answer == "EXDEV") and os.path.exists(f"t{i}") == (answer == "ok"), (i, answer)
    top = f"s{i}" if answer == "EXDEV" else f"t{i}"
    files = sorted(p + "/" + f for p, _, fs in os.walk(top) for f in fs)
    assert len(files) == 80 and all(open(f).read() == "s" + f[1:] for f in files), files
assert not leftovers(), leftovers()
print("kills", flush=True)
time.sleep(1)  # until the killer has read that
assert rename("t0" if os.path.exists("t0") else "s0", "last") == "ok"
print(moved, copied)
"#,
        )
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "begin\n");
    let client = child.id();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut rest, kills) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut kills = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                kills += kill_helper(client);
                std::thread::sleep(std::time::Duration::from_millis(23));
            }
            kills
        });
        let mut rest = String::new();
        out.read_line(&mut rest).unwrap();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (rest, killer.join().unwrap())
    });
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    let counts: Vec<u32> = rest.split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u32>(), 40, "{rest}");
    assert!(kills >= 3 && counts[1] >= 1, "{kills} kills, {rest}: too few to prove anything");
    assert!(bench.leftovers().is_empty());
}

#[test]
fn a_command_that_ends_in_the_middle_of_a_rename_leaves_no_half_tree() {
    let bench = Bench::new();
    bench.files((0..600).map(|k| format!("s/{}/f{k}", k % 6)));
    bench.inside(
        r#"
if os.fork() == 0:
    rename("s", "t"); signal.pause()
while not leftovers(): pass
os._exit(0)
"#,
    );
    assert!(bench.leftovers().is_empty(), "{:?}", bench.leftovers());
}

/// Kills the helper of a client's run: the child of init that has its name. The number of those killed.
fn kill_helper(client: u32) -> u32 {
    let processes: Vec<(u32, u32, String)> =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| stat(&entry.ok()?.path())).collect();
    let children = |of: u32| processes.iter().filter(move |(_, parent, _)| *parent == of);
    let mut killed = 0;
    for (monitor, ..) in children(client) {
        for (init, ..) in children(*monitor) {
            for (helper, ..) in children(*init).filter(|(_, _, name)| name == "coffer-helper") {
                let pid = rustix::process::Pid::from_raw(helper.cast_signed()).unwrap();
                killed += u32::from(rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok());
            }
        }
    }
    killed
}

/// Pid, parent and name of a living process (proc_pid_stat(5)).
fn stat(directory: &Path) -> Option<(u32, u32, String)> {
    let pid = directory.file_name()?.to_str()?.parse().ok()?;
    let text = std::fs::read_to_string(directory.join("stat")).ok()?;
    let (name, rest) = text.split_once('(')?.1.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    (state != "Z").then_some((pid, fields.next()?.parse().ok()?, name.to_owned()))
}
