//! What recording costs an exec and a build: inside `coffer run`, where each exec is recorded, beside bubblewrap with the
//! same namespaces and beside no enclosure, in turn, in one run.
//!
//! `cargo bench --bench exec`. Rounds by `COFFER_BENCH_ROUNDS` (15), execs a round by `COFFER_BENCH_EXECS` (1000).
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a bench")]

#[allow(dead_code, reason = "shared by the benches, each of which uses its part")]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use support::{coffer, output, ratios, rounds, say, time};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "spawn") {
        return spawn(words[2].parse().unwrap());
    }
    let rounds = rounds(15);
    let execs = std::env::var("COFFER_BENCH_EXECS").unwrap_or_else(|_| "1000".to_owned());
    let work = tempfile::Builder::new().prefix("coffer-bench").tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let (project, state) = (work.path().join("project"), work.path().join("state"));
    std::fs::create_dir(&project).unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), project.join("spawn")).unwrap();

    println!("posix_spawn and wait of /bin/true, {execs} times a round, {rounds} rounds");
    let spawned =
        |command: &mut Command| -> f64 { String::from_utf8(output(command)).unwrap().trim().parse().unwrap() };
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..=rounds {
        let taken = [
            spawned(bare(&project).args(["./spawn", "spawn", &execs])),
            spawned(bwrap(&project).args(["./spawn", "spawn", &execs])),
            spawned(&mut coffer(&project, &state, &["run", "--", "./spawn", "spawn", &execs])),
        ];
        if round > 0 {
            times.iter_mut().zip(taken).for_each(|(all, one)| all.push(one));
        }
    }
    let [none, other, ours] = &times;
    for (name, values) in [("bare", none), ("bwrap, same namespaces", other), ("coffer run, recorded", ours)] {
        say(name, "µs", values.clone());
    }
    say("recorded less bwrap", "µs", ours.iter().zip(other).map(|(a, b)| a - b).collect());
    say("recorded less bare", "µs", ours.iter().zip(none).map(|(a, b)| a - b).collect());

    let rounds = rounds.div_ceil(2);
    println!("make -j2 of 100 C files, from nothing, {rounds} rounds");
    sources(&project);
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..=rounds {
        let make = ["make", "-s", "-j2", "-B"];
        let taken = [
            time(bare(&project).args(make)),
            time(bwrap(&project).args(make)),
            time(&mut coffer(&project, &state, &[&["run", "--"], &make[..]].concat())),
        ];
        if round > 0 {
            times.iter_mut().zip(taken).for_each(|(all, one)| all.push(one.as_secs_f64() * 1e3));
        }
    }
    let [none, other, ours] = &times;
    for (name, values) in [("bare", none), ("bwrap, same namespaces", other), ("coffer run, recorded", ours)] {
        say(name, "ms", values.clone());
    }
    say("recorded / bwrap", "", ratios(ours, other));
    say("recorded / bare", "", ratios(ours, none));
}

/// Prints the mean time of one exec, in microseconds.
fn spawn(execs: u32) {
    let begun = Instant::now();
    for _ in 0..execs {
        assert!(Command::new("/bin/true").stdin(Stdio::null()).status().unwrap().success());
    }
    println!("{}", begun.elapsed().as_secs_f64() * 1e6 / f64::from(execs));
}

fn bare(project: &Path) -> Command {
    let mut command = Command::new("env");
    command.current_dir(project).stdin(Stdio::null());
    command
}

fn bwrap(project: &PathBuf) -> Command {
    let mut command = Command::new("bwrap");
    command
        .args(["--unshare-user", "--unshare-all", "--die-with-parent", "--new-session"])
        .args(["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--bind"])
        .args([project, project])
        .current_dir(project)
        .stdin(Stdio::null());
    command
}

fn sources(project: &Path) {
    let mut objects = Vec::new();
    for n in 0..100 {
        let body = format!(
            "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
             int part{n}(const char *s) {{ char b[64]; snprintf(b, sizeof b, \"%s{n}\", s); return atoi(b) + (int)strlen(b); }}\n"
        );
        std::fs::write(project.join(format!("part{n}.c")), body).unwrap();
        objects.push(format!("part{n}.o"));
    }
    std::fs::write(project.join("main.c"), "int part7(const char *);\nint main(void) { return part7(\"\") != 8; }\n")
        .unwrap();
    objects.push("main.o".to_owned());
    let makefile = format!("program: {0}\n\tcc -o $@ {0}\n%.o: %.c\n\tcc -O2 -c $< -o $@\n", objects.join(" "));
    std::fs::write(project.join("Makefile"), makefile).unwrap();
}
