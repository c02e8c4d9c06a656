//! What work costs inside: `git status`, a build, and a stream through pipes, each beside the same outside, in turn.
//!
//! `cargo bench --bench workload [status] [build] [stream]`. Rounds by `COFFER_BENCH_ROUNDS` (9). This program runs itself as the command, inside
//! and outside alike, and measures from there: so start-up stays out of the first ratio, and is in the second.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a bench")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{coffer, git, output, ratios, rounds, say, time};

type Part = fn(&Path, &Path, usize);

/// The word after which this program is the command of a run.
const MEASURE: &str = "--measure";

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let Some(at) = words.iter().position(|w| w == MEASURE) {
        return measure(&words[at + 1..]);
    }
    let work = tempfile::Builder::new().prefix("coffer-bench").tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let state = work.path().join("state");
    let rounds = rounds(9);
    println!("rounds {rounds}, inside and outside in turn; median (10th to 90th percentile)");
    let parts: [(&str, Part); 3] = [("status", status), ("build", build), ("stream", stream)];
    let asked: Vec<&String> = words[1..].iter().filter(|w| !w.starts_with('-')).collect();
    for (name, part) in parts {
        if asked.is_empty() || asked.iter().any(|word| *word == name) {
            part(work.path(), &state, rounds);
        }
    }
}

/// `TIMES PROGRAM ARGUMENTS…`: runs a program once to warm up, where it is to run more than once, then prints how long it
/// took each time and what processor time it used, in seconds.
fn measure(words: &[String]) {
    let times: usize = words[0].parse().unwrap();
    let run = || {
        let status = Command::new(&words[1]).args(&words[2..]).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{words:?}: {status}");
    };
    if times > 1 {
        run();
    }
    for _ in 0..times {
        let (used, begun) = (processor(), Instant::now());
        run();
        println!("{} {}", begun.elapsed().as_secs_f64(), processor() - used);
    }
}

/// Processor time of the children that ended, in seconds (proc_pid_stat(5): cutime and cstime, in ticks of 10 ms).
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// One side of a comparison, a value a round.
#[derive(Default)]
struct Side {
    wall: Vec<f64>,
    processor: Vec<f64>,
    with_start: Vec<f64>,
}

impl Side {
    /// Takes in what the measuring half printed, and how long all of it took.
    fn add(&mut self, printed: &[u8], whole: Duration) {
        let lines = std::str::from_utf8(printed).unwrap().lines();
        let pairs: Vec<(f64, f64)> = lines
            .map(|l| l.split_once(' ').unwrap())
            .map(|(wall, used)| (wall.parse().unwrap(), used.parse().unwrap()))
            .collect();
        let mut walls: Vec<f64> = pairs.iter().map(|p| p.0).collect();
        walls.sort_by(f64::total_cmp);
        self.wall.push(walls[walls.len() / 2]);
        self.processor.push(pairs.iter().map(|p| p.1).sum());
        self.with_start.push(whole.as_secs_f64());
    }
}

fn compare(name: &str, inside: &Side, outside: &Side) {
    say(&format!("{name}, outside"), "s", outside.wall.clone());
    say(&format!("{name}, inside"), "s", inside.wall.clone());
    say("inside / outside", "", ratios(&inside.wall, &outside.wall));
    say("inside / outside, processor time", "", ratios(&inside.processor, &outside.processor));
    say("inside / outside, start and end of the run too", "", ratios(&inside.with_start, &outside.with_start));
}

/// A copy of this program in the project, where it can be seen from inside.
fn itself_in(directory: &Path) -> PathBuf {
    let copy = directory.join("measure");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    copy
}

fn measured(command: &mut Command, side: &mut Side) {
    let begun = Instant::now();
    let printed = output(command);
    side.add(&printed, begun.elapsed());
}

fn status(work: &Path, state: &Path, rounds: usize) {
    let project = work.join("tree");
    for n in 0..20_000 {
        let dir = project.join(format!("d{}/e{}", n / 1000, n / 100 % 10));
        if n % 100 == 0 {
            std::fs::create_dir_all(&dir).unwrap();
        }
        std::fs::write(dir.join(format!("f{n}.txt")), format!("file {n}\n")).unwrap();
    }
    for words in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message=all"], &["status"]] {
        time(&mut git(&project, words));
    }
    let itself = itself_in(&project.join(".git"));
    let itself = itself.to_str().unwrap();
    let (mut inside, mut outside) = (Side::default(), Side::default());
    let words = [MEASURE, "15", "git", "status", "--porcelain"];
    let run = [&["run", "-q", "--", itself][..], &words].concat();
    for round in 0..=rounds {
        let (mut i, mut o) = (Side::default(), Side::default());
        measured(&mut coffer(&project, state, &run), &mut i);
        measured(Command::new(itself).args(words).current_dir(&project), &mut o);
        if round > 0 {
            inside.merge(i);
            outside.merge(o);
        }
    }
    compare("git status, 20,000 files", &inside, &outside);
    let once = ["run", "-q", "--", "git", "status", "--porcelain"];
    let mut pairs = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        pairs.0.push(time(&mut coffer(&project, state, &once)).as_secs_f64());
        pairs.1.push(time(&mut git(&project, &["status", "--porcelain"])).as_secs_f64());
    }
    say("one status in a run of its own, first look", "s", pairs.0);
    say("the same outside", "s", pairs.1);
}

impl Side {
    fn merge(&mut self, other: Side) {
        self.wall.extend(other.wall);
        self.processor.extend(other.processor);
        self.with_start.extend(other.with_start);
    }
}

fn build(work: &Path, state: &Path, rounds: usize) {
    let project = work.join("program");
    sources(&project, 200);
    let itself = itself_in(&project);
    let itself = itself.to_str().unwrap();
    let words = [MEASURE, "1", "make", "--silent"];
    let run = [&["run", "-q", "--", itself][..], &words].concat();
    let (mut inside, mut outside) = (Side::default(), Side::default());
    let mut memory = Vec::new();
    for round in 0..=rounds {
        let (mut i, mut o) = (Side::default(), Side::default());
        let begun = Instant::now();
        let child = coffer(&project, state, &run).stdout(Stdio::piped()).spawn().unwrap();
        let (printed, peak) = watched(child);
        i.add(&printed, begun.elapsed());
        measured(Command::new(itself).args(words).current_dir(&project), &mut o);
        time(Command::new("make").args(["--silent", "clean"]).current_dir(&project));
        if round > 0 {
            inside.merge(i);
            outside.merge(o);
            memory.push(peak);
        }
    }
    compare("make, 200 C files", &inside, &outside);
    say("monitor, most resident memory during it", "MiB", memory);
}

/// A program of `files` small C files with a few headers of the system each.
fn sources(project: &Path, files: usize) {
    std::fs::create_dir_all(project).unwrap();
    let mut calls = String::new();
    for n in 0..files {
        let text = format!(
            "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include \"all.h\"\n\
             int part{n}(const char *word) {{\n    char copy[64];\n    int sum = {n};\n    \
             snprintf(copy, sizeof copy, \"%s-%d\", word, sum);\n    \
             for (size_t i = 0; i < strlen(copy); i++) sum = sum * 31 + copy[i];\n    return abs(sum);\n}}\n"
        );
        std::fs::write(project.join(format!("part{n}.c")), text).unwrap();
        calls.push_str(&format!("    sum ^= part{n}(\"x\");\n"));
    }
    let declared: String = (0..files).map(|n| format!("int part{n}(const char *word);\n")).collect();
    std::fs::write(project.join("all.h"), declared).unwrap();
    let program = format!(
        "#include <stdio.h>\n#include \"all.h\"\nint main(void) {{\n    int sum = 0;\n{calls}    printf(\"%d\\n\", sum);\n}}\n"
    );
    std::fs::write(project.join("main.c"), program).unwrap();
    let makefile = "OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))\nCFLAGS := -O1 -g\n\
                    program: $(OBJECTS)\n\t$(CC) -o $@ $^\n%.o: %.c all.h\n\t$(CC) $(CFLAGS) -c -o $@ $<\n\
                    clean:\n\trm -f program *.o\n";
    std::fs::write(project.join("Makefile"), makefile).unwrap();
}

/// What a client prints until it ends, and the most resident memory of its monitor until then, in MiB. The monitor is the
/// client's only child (proc_pid_status(5): VmHWM).
fn watched(client: Child) -> (Vec<u8>, f64) {
    let children = format!("/proc/{0}/task/{0}/children", client.id());
    let waiting = std::thread::spawn(move || client.wait_with_output().unwrap());
    let mut peak = 0.0f64;
    while !waiting.is_finished() {
        // Both are gone when the run is: the last look that worked counts.
        let monitors = std::fs::read_to_string(&children).unwrap_or_default();
        for monitor in monitors.split_whitespace() {
            let status = std::fs::read_to_string(format!("/proc/{monitor}/status")).unwrap_or_default();
            let kib = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
            peak = peak.max(kib.map_or(0.0, |kib| kib.parse::<f64>().unwrap() / 1024.0));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = waiting.join().unwrap();
    assert!(output.status.success() && peak > 0.0, "{}, {peak} MiB", output.status);
    (output.stdout, peak)
}

fn stream(work: &Path, state: &Path, rounds: usize) {
    const MIB: u64 = 2048;
    let (project, big) = (work.join("streams"), work.join("big"));
    std::fs::create_dir(&project).unwrap();
    let mut bytes = std::fs::File::create(&big).unwrap();
    let mut chunk = vec![0u8; 1 << 20];
    for n in 0..MIB {
        chunk[..8].copy_from_slice(&n.to_le_bytes());
        std::io::Write::write_all(&mut bytes, &chunk).unwrap();
    }
    let input = || Stdio::from(std::fs::File::open(&big).unwrap());
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", coffer(&project, state, &[]).get_program().to_str().unwrap()]);
        command.current_dir(&project).env("XDG_STATE_HOME", state).stdin(input()).stdout(Stdio::null());
        command
    };
    let (to_null, piped) = ("\"$1\" run -q -- cat > /dev/null", "\"$1\" run -q -- cat | cat > /dev/null");
    let cases = [to_null, "cat | cat > /dev/null", piped, "cat | cat | cat > /dev/null"];
    let mut rates = cases.map(|_| Vec::new());
    for round in 0..=rounds {
        for (script, rates) in cases.iter().zip(&mut rates) {
            let took = time(&mut shell(script));
            if round > 0 {
                rates.push(MIB as f64 / 1024.0 / took.as_secs_f64());
            }
        }
    }
    println!("  2 GB in the cache, GiB a second:");
    for (script, rates) in cases.iter().zip(&rates) {
        say(&script.replace("\"$1\"", "coffer"), "", rates.clone());
    }
    say("rate of the first / the second", "", ratios(&rates[0], &rates[1]));
    say("rate of the third / the fourth", "", ratios(&rates[2], &rates[3]));
}
