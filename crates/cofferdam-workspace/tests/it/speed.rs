//! Figures, to be read in release: `cargo test --release -p cofferdam-workspace -- --ignored --nocapture speed`.

use std::fs;
use std::time::{Duration, Instant};

use cofferdam_core::Timestamp;
use cofferdam_workspace::diff::{DiffOptions, PatchStyle, compute};
use cofferdam_workspace::{Capture, ChangeOptions, change_set};

use crate::support::{Random, Workspace, text};

#[test]
#[ignore = "a figure of a release build, on a quiet machine"]
fn speed_of_ten_thousand_changed_files() {
    let workspace = Workspace::new();
    let mut random = Random::new(5);
    let mut paths = Vec::new();
    for i in 0..10_000 {
        let path = format!("src/d{}/f{i}.rs", i % 200);
        let content = text(&mut random, 60);
        let real = workspace.real().join(&path);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::write(real, &content).unwrap();
        paths.push((path, content));
    }
    workspace.begin();
    for (path, content) in &mut paths {
        content.extend_from_slice(b"one more\n");
        let upper = workspace.upper().join(path);
        fs::create_dir_all(upper.parent().unwrap()).unwrap();
        fs::write(upper, content).unwrap();
    }
    let layers = workspace.layers();
    let begun = Instant::now();
    let set = change_set(&layers, &ChangeOptions::default()).unwrap();
    let listed = begun.elapsed();
    assert_eq!(set.changes.len(), 10_000);
    let begun = Instant::now();
    let diff = compute(&layers, &set, &DiffOptions::default()).unwrap();
    let mut out = Vec::new();
    diff.patch(&PatchStyle::default(), &mut out).unwrap();
    let compared = begun.elapsed();
    println!("change set {listed:?}, diff and patch {compared:?}, {} bytes", out.len());
    assert!(listed < Duration::from_millis(500), "{listed:?}");
}

#[test]
#[ignore = "a figure of a release build, on a quiet machine"]
fn speed_of_the_monitor_beside_a_build() {
    let workspace = Workspace::new();
    workspace.begin();
    let layers = workspace.layers();
    let begun = Instant::now();
    let mut capture = Capture::start(&layers, Timestamp::now()).unwrap();
    println!("start {:?}", begun.elapsed());
    let mut busy = Duration::ZERO;
    for directory in 0..100 {
        let target = workspace.upper().join(format!("target/debug/{directory}"));
        fs::create_dir_all(&target).unwrap();
        for file in 0..100 {
            fs::write(target.join(format!("{file}.o")), "object").unwrap();
        }
        let begun = Instant::now();
        capture.on_readable().unwrap();
        busy += begun.elapsed();
    }
    let begun = Instant::now();
    capture.finish().unwrap();
    println!("10,000 new files: {busy:?} of the monitor, final scan {:?}", begun.elapsed());
    assert!(busy < Duration::from_millis(500), "{busy:?}");
}
