#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::PathBuf;

use cofferdam_core::change::Digest;
use cofferdam_core::event::{Counted, EventKind, FileChanged, RunStarted};
use cofferdam_core::{RunId, Timestamp};
use cofferdam_evidence::{RecorderKey, read_events};
use cofferdam_workspace::{Capture, ChangeOptions, change_set};

use super::*;

/// A run's directories, with what the monitor holds of them.
struct Stage {
    directory: tempfile::TempDir,
    layers: Layers,
    capture: Capture,
    log: Log,
    blobs: BlobStore,
    files: Files,
}

impl Stage {
    /// A run that begins with these files in the real tree.
    fn new(real: &[(&str, &str)]) -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["real", "upper", "base"] {
            fs::create_dir(at(name)).unwrap();
        }
        for (name, text) in real {
            fs::write(at("real").join(name), text).unwrap();
        }
        std::thread::sleep(Duration::from_millis(25));
        let clock = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let layers = Layers::open(at("real"), at("upper"), at("base")).unwrap();
        let capture = Capture::start(&layers, Timestamp::from_parts(clock.tv_sec, clock.tv_nsec)).unwrap();
        let run = RunId::from_random([7; 12]);
        let key = RecorderKey::load_or_create(&at("keys")).unwrap();
        let started = RunStarted {
            run: run.clone(),
            version: String::new(),
            project: Bytes::from("/p"),
            cwd: Bytes::from("/p"),
            argv: Vec::new(),
            environment: Vec::new(),
            uid: 0,
            host: String::new(),
            kernel: String::new(),
            plan: Digest([0; 32]),
            boundary: Vec::new(),
            boot: String::new(),
        };
        let mut log = Log::create(&at("evidence"), &run, key, started).unwrap();
        for _ in 0..40 {
            log.append(None, EventKind::EvidenceGap { what: "stands for a command".to_owned(), count: 1 }).unwrap();
        }
        let blobs = BlobStore::open(&at("evidence")).unwrap();
        let files = Files::new(&layers).unwrap();
        Stage { layers, capture, log, blobs, files, directory }
    }

    fn upper(&self, name: &str) -> PathBuf {
        self.directory.path().join("upper").join(name)
    }

    fn notice(&mut self) {
        let captured = self.capture.on_readable().unwrap();
        self.files.touched(captured);
    }

    /// A command has ended, with no rest before the look.
    fn command_ended(&mut self, running: &[u64]) {
        self.notice();
        self.files.rests_until = Instant::now();
        self.files.scan(&mut self.log, &self.blobs, running).unwrap();
    }

    fn settle(&mut self) -> Counted {
        self.capture.finish().unwrap();
        // The index of the layers held is that of before the end.
        let at = |name: &str| self.directory.path().join(name);
        self.layers = Layers::open(at("real"), at("upper"), at("base")).unwrap();
        let changes = change_set(&self.layers, &ChangeOptions { digests: true, excludes: None }).unwrap();
        let to = Settled { log: &mut self.log, blobs: &self.blobs, layers: &self.layers, changes: &changes };
        self.files.settle(&mut { to }, &[]).unwrap()
    }

    fn events(&self) -> Vec<(Option<u64>, FileChanged)> {
        let events = read_events(&self.directory.path().join("evidence")).unwrap().map(Result::unwrap);
        let changes = events.filter_map(|event| match event.what {
            EventKind::FileChanged(change) => Some((event.cause, change)),
            _ => None,
        });
        changes.collect()
    }

    fn gaps(&self) -> Vec<(String, u64)> {
        let events = read_events(&self.directory.path().join("evidence")).unwrap().map(Result::unwrap);
        let gaps = events.filter_map(|event| match event.what {
            EventKind::EvidenceGap { what, count } if what != "stands for a command" => Some((what, count)),
            _ => None,
        });
        gaps.collect()
    }
}

#[test]
fn a_change_names_the_commands_that_could_have_made_it() {
    let mut stage = Stage::new(&[]);
    stage.command_ended(&[3]);
    fs::write(stage.upper("a"), "one").unwrap();
    let many: Vec<u64> = (4..34).collect();
    stage.command_ended(&many);
    fs::write(stage.upper("b"), "two").unwrap();
    // The look rests after a long one; who ran meanwhile is remembered.
    stage.notice();
    stage.files.rests_until = Instant::now() + Duration::from_secs(60);
    stage.files.scan(&mut stage.log, &stage.blobs, &[35]).unwrap();
    assert_eq!(stage.events().len(), 1);
    stage.command_ended(&[36]);
    let events = stage.events();
    assert_eq!(events[0].1.commands, (18..34).rev().collect::<Vec<u64>>(), "the latest sixteen, and not 3");
    assert_eq!(events[0].0, Some(33));
    assert_eq!(events[1].1.commands, [36, 35]);
}

#[test]
fn what_was_changed_back_after_the_last_look_ends_at_its_base() {
    let mut stage = Stage::new(&[("f", "base")]);
    fs::write(stage.upper("f"), "other").unwrap();
    fs::write(stage.upper("new"), "new").unwrap();
    fs::write(stage.upper("stays"), "one").unwrap();
    stage.command_ended(&[1]);
    fs::write(stage.upper("f"), "base").unwrap();
    fs::remove_file(stage.upper("new")).unwrap();
    fs::write(stage.upper("stays"), "two").unwrap();
    let counted = stage.settle();
    assert_eq!(counted, Counted { recorded: 1, counted: Some(1), unexplained: 0 });
    let of = |path: &str| -> Vec<_> {
        stage.events().into_iter().map(|(_, change)| change).filter(|c| c.path == Bytes::from(path)).collect()
    };
    let f = of("f");
    assert_eq!((f.len(), &f[0].before, &f[1].before), (2, &f[1].after, &f[0].after));
    let new = of("new");
    assert_eq!((new.len(), &new[0].before, &new[1].after), (2, &None, &None));
    assert_eq!(of("stays").len(), 2);
    assert_eq!(stage.gaps(), []);
}

#[test]
fn versions_beyond_the_bounds_are_a_gap() {
    let mut stage = Stage::new(&[]);
    for round in 0..70 {
        fs::write(stage.upper("f"), format!("{round}")).unwrap();
        stage.command_ended(&[]);
    }
    let kept = stage.events().iter().filter(|(_, change)| change.version.is_some()).count();
    assert_eq!((stage.events().len(), kept), (70, 64));
    stage.settle();
    assert_eq!(stage.gaps(), [("versions of files beyond the bounds".to_owned(), 6)]);

    let mut versions = Versions { bytes: (256 << 20) - 2, refused: 0 };
    let mut chain = chains::Chain::new(None);
    assert!(versions.keep(&stage.blobs, &mut chain, Some(b"abc")).unwrap().is_none());
    assert!(versions.keep(&stage.blobs, &mut chain, Some(b"ab")).unwrap().is_some());
    assert_eq!((versions.refused, chain.versions), (1, 1));
}

#[test]
fn too_many_paths_at_once_are_a_gap_and_end_right() {
    let mut stage = Stage::new(&[]);
    stage.files.most_waiting = 50;
    for n in 0..120 {
        fs::write(stage.upper(&format!("f{n}")), "x").unwrap();
    }
    stage.command_ended(&[2]);
    let seen = stage.events().len();
    assert!(seen < 120, "{seen}");
    let counted = stage.settle();
    assert_eq!(counted, Counted { recorded: 120, counted: Some(120), unexplained: 0 });
    assert_eq!(stage.gaps().len(), 1);
    assert_eq!(stage.gaps()[0].1, 100, "{:?}", stage.gaps());
}

#[test]
fn what_was_made_and_is_gone_again_has_a_chain_and_is_no_change() {
    let mut stage = Stage::new(&[]);
    fs::write(stage.upper("f"), "x").unwrap();
    stage.command_ended(&[1]);
    fs::remove_file(stage.upper("f")).unwrap();
    stage.command_ended(&[1]);
    assert_eq!(stage.events().len(), 2);
    assert_eq!(stage.settle(), Counted { recorded: 0, counted: Some(0), unexplained: 0 });
}

#[test]
fn work_is_bounded_by_time_and_rests_after_it() {
    let mut stage = Stage::new(&[]);
    for n in 0..2000 {
        fs::write(stage.upper(&format!("f{n}")), vec![b'x'; 100_000]).unwrap();
    }
    stage.notice();
    assert!(stage.files.due().unwrap() <= INTERVAL);
    let mut turns = 0;
    while !stage.files.is_idle() {
        stage.files.rests_until = Instant::now();
        let begun = Instant::now();
        stage.files.scan(&mut stage.log, &stage.blobs, &[]).unwrap();
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        if !stage.files.is_idle() {
            let rest = stage.files.due().unwrap();
            assert!(rest > TURN, "{rest:?} after {took:?}");
        }
        turns += 1;
    }
    assert!(turns > 2, "{turns}");
    assert_eq!(stage.events().len(), 2000);
    assert_eq!(stage.files.due(), None);
}

#[test]
fn chains_read_from_a_log_go_on_where_it_ends() {
    let mut stage = Stage::new(&[("f", "base")]);
    fs::write(stage.upper("f"), "one").unwrap();
    stage.command_ended(&[1]);
    fs::write(stage.upper("f"), "two").unwrap();
    let chains = Chains::of_log(&stage.directory.path().join("evidence")).unwrap();
    stage.files.chains = chains;
    assert_eq!(stage.settle(), Counted { recorded: 1, counted: Some(1), unexplained: 0 });
    let events = stage.events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].1.before, events[0].1.after);
}
