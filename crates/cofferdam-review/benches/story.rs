//! How long a story of many events takes, and how much memory: `cargo bench -p cofferdam-review`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a bench prints")]
#![allow(missing_docs, dead_code, reason = "the sessions are those of the tests")]

use std::time::Instant;

use cofferdam_evidence::RecorderKey;
use cofferdam_review::Heads;
use cofferdam_review::stats::run_facts;
use cofferdam_review::story::{Layout, Story};

#[path = "../tests/it/session.rs"]
mod session;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    // In a process of its own: what generating needs is not what reading needs.
    let events = match std::env::var_os("COFFERDAM_BENCH_LOG") {
        Some(log) => return measure(std::path::Path::new(&log)),
        None => {
            let session = session::generated(1, 165_000, None);
            session.write(dir.path(), RecorderKey::generate().unwrap());
            session.events.len()
        }
    };
    println!("{events} events, {} bytes of log", std::fs::metadata(dir.path().join("log.jsonl")).unwrap().len());
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    assert!(child.env("COFFERDAM_BENCH_LOG", dir.path()).status().unwrap().success());
}

fn measure(log: &std::path::Path) {
    let begun = Instant::now();
    let story = Story::read(log).unwrap();
    println!("story read      {:?}", begun.elapsed());
    let begun = Instant::now();
    let layout = Layout { run: "7777", lines: Some(60), width: 100, theme: None, live: false };
    let text = story.render(&Heads::none(), &layout);
    println!("story laid out  {:?}, {} lines", begun.elapsed(), text.lines().count());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
    let begun = Instant::now();
    run_facts(log).unwrap();
    println!("stats read      {:?}", begun.elapsed());
}
