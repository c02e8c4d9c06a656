use std::os::unix::fs::PermissionsExt;

use cofferdam_core::event::{EventKind, Link};
use cofferdam_evidence::{Error, Log, MAX_LINE, Options, RecorderKey, SignedBy, State, read_events, verify};

use crate::support::{Run, changed, ended, started};

#[test]
fn a_finished_run_verifies_and_says_by_whose_key() {
    let run = Run::finished();
    let report = run.verify();
    assert_eq!(report.state, State::Verified);
    assert_eq!(report.signed_by, SignedBy::Trusted(run.key.vkey().into()));
    assert_eq!((report.events, report.signed, report.unsigned(), report.checkpoints), (7, 7, 0, 4));
    assert_eq!((report.torn, report.torn_checkpoint, report.ended), (0, 0, true));
    assert_eq!(report.run.as_ref(), Some(&run.id));
    assert_eq!(report.blobs.present, 1);
    assert_eq!(report.statement.unwrap()["unexplained"], 0);
    for place in [run.dir.clone(), run.path("log.jsonl")] {
        let report = verify(&place, &Options::default()).unwrap();
        assert_eq!((report.state, report.signed_by), (State::Verified, SignedBy::Claimed(run.key.vkey().into())));
    }
}

#[test]
fn events_come_back_with_every_byte() {
    let run = Run::finished();
    let mut events = read_events(&run.dir).unwrap();
    let first = events.next().unwrap().unwrap();
    assert_eq!(first.what, EventKind::RunStarted(started(&run.id)));
    let rest: Vec<_> = events.by_ref().map(Result::unwrap).collect();
    assert_eq!(rest.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!((rest[0].cause, rest[0].link), (Some(0), Some(Link::Window)));
    assert_eq!(rest[5].what, ended());
    assert_eq!(events.torn(), None);
}

#[test]
fn a_bad_line_is_named_and_the_next_one_read() {
    let run = Run::finished();
    let mut lines = run.lines();
    lines[2] = b"{\"seq\":2,\xff\n".to_vec();
    let mut log = lines.concat();
    log.extend_from_slice(b"{\"seq\":7");
    run.write("log.jsonl", log);
    let mut events = read_events(&run.dir).unwrap();
    let seen: Vec<_> = events.by_ref().collect();
    assert_eq!(seen.len(), 7);
    assert!(matches!(&seen[2], Err(Error::Malformed { line: 3, .. })), "{:?}", seen[2]);
    assert_eq!(seen[3].as_ref().unwrap().seq, 3);
    assert_eq!(events.torn(), Some(8));
}

#[test]
fn files_are_private_and_a_log_is_begun_once() {
    let run = Run::finished();
    for name in ["log.jsonl", "checkpoints", "key"] {
        assert_eq!(std::fs::metadata(run.path(name)).unwrap().permissions().mode() & 0o7777, 0o600, "{name}");
    }
    assert_eq!(std::fs::metadata(&run.dir).unwrap().permissions().mode() & 0o7777, 0o700);
    let before = run.read("log.jsonl");
    let again = Log::create(&run.dir, &run.id, run.key.clone(), started(&run.id));
    assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
    assert_eq!(run.read("log.jsonl"), before);
}

#[test]
fn a_live_log_is_cut_and_its_tail_counted() {
    let (run, mut log) = Run::begun(RecorderKey::generate().unwrap());
    log.append(None, changed("a")).unwrap();
    let report = run.verify();
    assert_eq!((report.state.clone(), report.events, report.unsigned()), (State::Cut, 2, 1));
    log.append(None, ended()).unwrap();
    assert_eq!(run.verify().state, State::Cut, "an end that nobody signed is no end");
    let notes = run.read("checkpoints").len();
    log.checkpoint().unwrap();
    assert_eq!(run.verify().state, State::Verified);
    let signed = run.read("checkpoints").len();
    assert!(signed > notes);
    log.checkpoint().unwrap();
    assert_eq!(run.read("checkpoints").len(), signed, "nothing happened, nothing is signed");
    assert_eq!(run.verify().commitment.unwrap(), log.commitment());
    log.append(None, changed("after the end")).unwrap();
    let report = run.verify();
    assert_eq!((report.state.clone(), report.unsigned()), (State::Cut, 1));
    let handle = log.sync_handle().unwrap();
    std::thread::spawn(move || handle.sync()).join().unwrap().unwrap();
}

#[test]
fn what_cannot_be_recorded_is_refused_and_leaves_no_trace() {
    let (run, mut log) = Run::begun(RecorderKey::generate().unwrap());
    let before = run.read("log.jsonl");
    assert!(matches!(log.append(Some((1, Link::Argv)), changed("a")), Err(Error::Cause { cause: 1, seq: 1 })));
    let huge = "x".repeat(MAX_LINE);
    assert!(matches!(log.append(None, changed(&huge)), Err(Error::TooLong { .. })));
    assert_eq!(run.read("log.jsonl"), before);
    assert_eq!(log.append(None, changed("a")).unwrap(), 1);
}

#[test]
fn a_log_has_one_writer_and_goes_on_after_it() {
    let (run, mut log) = Run::begun(RecorderKey::generate().unwrap());
    log.append(None, changed("unsigned")).unwrap();
    assert!(matches!(Log::reopen(&run.dir, run.key.clone()), Err(Error::Busy { .. })));
    let handle = log.sync_handle().unwrap();
    drop(log);
    // A copy of the descriptor, here or in a child that has just been forked, does not keep the log locked.
    let other = Log::reopen(&run.dir, RecorderKey::generate().unwrap());
    assert!(matches!(other, Err(Error::OtherKey { .. })), "{other:?}");
    let (mut log, recovery) = Log::reopen(&run.dir, run.key.clone()).unwrap();
    handle.sync().unwrap();
    assert_eq!((recovery.events, recovery.unsigned), (2, 1));
    assert_eq!((recovery.torn_line, recovery.torn_checkpoint), (None, None));
    assert_eq!((log.append(None, ended()).unwrap(), log.run()), (2, &run.id));
    log.checkpoint().unwrap();
    assert_eq!(run.verify().state, State::Verified);
}

#[test]
fn a_full_medium_takes_back_the_half_line() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // The limit is the process's, so the test runs itself once more, alone, with the limit set.
    const NAME: &str = "logs::a_full_medium_takes_back_the_half_line";
    if std::env::var_os("EVIDENCE_TEST_LIMITED").is_none() {
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(NAME)
            .env("EVIDENCE_TEST_LIMITED", "1")
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        return;
    }
    let (run, mut log) = Run::begun(RecorderKey::generate().unwrap());
    let before = run.read("log.jsonl");
    let old = getrlimit(Resource::Fsize);
    let limit = before.len() as u64 + 20;
    setrlimit(Resource::Fsize, Rlimit { current: Some(limit), maximum: old.maximum }).unwrap();
    let refused = log.append(None, changed("a"));
    setrlimit(Resource::Fsize, old).unwrap();
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    assert_eq!(run.read("log.jsonl"), before);
    assert_eq!(log.append(None, ended()).unwrap(), 1);
    log.checkpoint().unwrap();
    drop(log);
    assert_eq!(run.verify().state, State::Verified);
}
