use std::fs;

use cofferdam_core::event::EventKind;
use cofferdam_evidence::{Error, Log, RecorderKey, State, Torn};

use crate::support::{Run, changed, copy_tree, ended, fault};

/// A log whose last line (event 2) no checkpoint covers.
fn crashed() -> Run {
    let (run, mut log) = Run::begun(RecorderKey::generate().unwrap());
    log.append(None, changed("a")).unwrap();
    log.checkpoint().unwrap();
    log.append(None, changed("torn \u{e9}")).unwrap();
    run
}

#[test]
fn every_torn_end_of_the_log_is_set_aside() {
    let run = crashed();
    let whole = run.read("log.jsonl");
    let start = whole.len() - run.lines()[2].len();
    for cut in start..whole.len() {
        let copy = Run { dir: run.dir.with_file_name(format!("cut-{cut}")), ..clone(&run) };
        copy_tree(&run.dir, &copy.dir);
        copy.write("log.jsonl", &whole[..cut]);
        let report = copy.verify();
        assert_eq!((report.state, report.events, report.torn), (State::Cut, 2, (cut - start) as u64), "{cut}");

        let (mut log, recovery) = Log::reopen(&copy.dir, copy.key.clone()).unwrap();
        let torn = Torn { file: "torn-1".into(), bytes: (cut - start) as u64 };
        assert_eq!(recovery.torn_line, (cut > start).then_some(torn), "{cut}");
        assert_eq!((recovery.events, recovery.unsigned), (2, 0));
        assert_eq!(copy.read("log.jsonl"), &whole[..start]);
        if cut > start {
            assert_eq!(copy.read("torn-1"), &whole[start..cut]);
        }
        let gap = EventKind::EvidenceGap { what: "a torn line".into(), count: 1 };
        assert_eq!(log.append(None, gap).unwrap(), 2);
        log.append(None, ended()).unwrap();
        log.checkpoint().unwrap();
        drop(log);
        assert_eq!(copy.verify().state, State::Verified, "{cut}");
    }
}

#[test]
fn every_torn_end_of_the_checkpoints_is_set_aside() {
    let run = crashed();
    let whole = run.read("checkpoints");
    let start = run.notes()[0].len();
    for cut in start + 1..whole.len() {
        run.write("checkpoints", &whole[..cut]);
        let report = run.verify();
        assert_eq!((report.state, report.torn_checkpoint), (State::Cut, (cut - start) as u64), "{cut}");
        let (mut log, recovery) = Log::reopen(&run.dir, run.key.clone()).unwrap();
        let torn = recovery.torn_checkpoint.unwrap();
        assert_eq!(run.read(&torn.file), &whole[start..cut]);
        assert_eq!(recovery.unsigned, 2);
        log.checkpoint().unwrap();
        assert_eq!(run.verify().signed, 3);
    }
}

#[test]
fn a_log_that_contradicts_its_checkpoints_is_not_reopened() {
    let run = Run::finished();
    let (log, checkpoints) = (run.read("log.jsonl"), run.read("checkpoints"));
    let lines = run.lines();
    let shorter = lines[..6].concat();
    let torn = &log[..log.len() - 3];
    let swapped = [&lines[..3], &lines[4..5], &lines[3..4], &lines[5..]].concat().concat();
    let mut flipped = log.clone();
    let at = flipped.windows(8).position(|w| w == b"src/b.rs").unwrap();
    flipped[at] = b't';
    for bad in [&shorter[..], torn, &swapped, &flipped, b""] {
        run.write("log.jsonl", bad);
        assert!(matches!(Log::reopen(&run.dir, run.key.clone()), Err(Error::Contradiction { .. })));
        assert_eq!(run.read("log.jsonl"), bad, "nothing was changed");
        assert_eq!(run.read("checkpoints"), checkpoints);
    }
    run.write("log.jsonl", &log);
    run.write("checkpoints", b"");
    assert!(matches!(Log::reopen(&run.dir, run.key.clone()), Err(Error::Contradiction { .. })), "never sign unseen");
    fault(&run.verify());
    run.write("checkpoints", checkpoints);
    fs::metadata(run.path("torn-1")).unwrap_err();
    assert_eq!(run.verify().state, State::Verified);
}

fn clone(run: &Run) -> Run {
    Run {
        _temporary: tempfile::tempdir().unwrap(),
        dir: run.dir.clone(),
        id: run.id.clone(),
        key: run.key.clone(),
        blob: run.blob.clone(),
    }
}
