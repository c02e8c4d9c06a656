//! What a log survives: being killed at any instant, a full medium, a clock that goes back.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use cofferdam_core::Timestamp;
use cofferdam_core::event::{EventKind, Link};
use cofferdam_evidence::{BlobStore, Error, Log, Options, RecorderKey, State, Writing, read_events, verify};

use crate::support::{changed, ended, output, random_id, started};

/// The directory in which a child of a test works.
const PLACE: &str = "EVIDENCE_TEST_PLACE";

/// This test binary once more, with one test alone.
fn child(test: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(PLACE, place).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn place() -> Option<PathBuf> {
    std::env::var_os(PLACE).map(PathBuf::from)
}

/// Appends as fast as it can, until it is killed.
fn append_for_ever(place: &Path) {
    let key = RecorderKey::load_or_create(&place.join("keys")).unwrap();
    let run = random_id();
    let dir = place.join("evidence");
    let mut log = Log::create(&dir, &run, key, started(&run)).unwrap();
    let blobs = BlobStore::open(&dir).unwrap();
    for n in 1u64.. {
        match n % 100 {
            50 => {
                let blob = blobs.put(&b"some output\n"[..]).unwrap();
                log.append(Some((0, Link::Process)), output(blob)).unwrap();
            }
            99 => log.checkpoint().unwrap(),
            _ => drop(log.append(Some((0, Link::Window)), changed(&format!("src/file-{n}.rs"))).unwrap()),
        }
        if n % 1000 == 0 {
            log.checkpoint_with(serde_json::json!({"unexplained": n}).as_object().unwrap()).unwrap();
        }
    }
}

#[test]
fn killed_at_any_instant_the_log_goes_on_from_its_last_whole_line() {
    if let Some(place) = place() {
        return append_for_ever(&place);
    }
    let mut random = fastrand::Rng::with_seed(42);
    let (mut events, mut unsigned, mut torn) = (0, 0, 0);
    for round in 0..50 {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("evidence");
        let mut child =
            child("survival::killed_at_any_instant_the_log_goes_on_from_its_last_whole_line", temporary.path())
                .spawn()
                .unwrap();
        let begun = Instant::now();
        while std::fs::metadata(dir.join("checkpoints")).map_or(0, |m| m.len()) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "round {round}: the child never began");
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
        child.kill().unwrap();
        let last = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&last.stderr);
        assert_eq!(last.status.signal(), Some(9), "round {round}: it was killed, not ended: {said}");

        let raw = std::fs::read(dir.join("log.jsonl")).unwrap();
        let whole = raw.iter().filter(|byte| **byte == b'\n').count() as u64;
        let found = verify(&dir, &Options::default()).unwrap();
        assert_eq!((&found.state, found.events), (&State::Cut, whole), "round {round}");
        let key = RecorderKey::load_or_create(&temporary.path().join("keys")).unwrap();
        let (mut log, recovery) = Log::reopen(&dir, key).unwrap();
        assert_eq!((recovery.events, recovery.unsigned), (whole, found.unsigned()), "round {round}");
        BlobStore::open(&dir).unwrap().salvage().unwrap();
        log.append(None, ended()).unwrap();
        log.checkpoint().unwrap();
        let report = verify(&dir, &Options::default()).unwrap();
        assert_eq!((&report.state, report.events), (&State::Verified, whole + 1), "round {round}");
        assert!(report.blobs.missing.is_empty(), "round {round}: a blob is there before its event");
        (events, unsigned) = (events + whole, unsigned + recovery.unsigned);
        torn += u64::from(recovery.torn_line.is_some() || recovery.torn_checkpoint.is_some());
    }
    println!("50 kills: {events} events kept, {unsigned} of them unsigned, {torn} torn ends");
    assert!(events > 50 * 10, "the children were killed while they wrote: {events} events");
}

/// Fills a small file system with events and blobs, and goes on when there is room again.
fn fill(place: &Path) {
    let key = RecorderKey::generate().unwrap();
    let run = random_id();
    let dir = place.join("evidence");
    let ballast = place.join("ballast");
    std::fs::write(&ballast, vec![0; 256 << 10]).unwrap();
    let mut log = Log::create(&dir, &run, key.clone(), started(&run)).unwrap();
    let blobs = BlobStore::open(&dir).unwrap();
    let mut kept = 1;
    let full = loop {
        match log.append(None, changed(&format!("src/{kept}-{}.rs", "x".repeat(300)))) {
            Ok(seq) => {
                assert_eq!(seq, kept);
                kept += 1;
            }
            Err(e) => break e,
        }
    };
    assert!(matches!(&full, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull), "{full:?}");
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(64 << 10).collect();
    let blob = blobs.put(&noise[..]);
    assert!(blob.is_err(), "there is no room for a blob: {blob:?}");
    // What was recorded is whole, and the next event says what is missing.
    let report = verify(&dir, &Options::default()).unwrap();
    assert_eq!((report.state, report.events, report.torn), (State::Cut, kept, 0));
    std::fs::remove_file(&ballast).unwrap();
    log.append(None, EventKind::EvidenceGap { what: "events while the disk was full".into(), count: 1 }).unwrap();
    let blob = blobs.put(&noise[..]).unwrap();
    log.append(None, output(blob)).unwrap();
    log.append(None, ended()).unwrap();
    log.checkpoint().unwrap();
    let report = verify(&dir, &Options::default()).unwrap();
    assert_eq!((report.state, report.events, report.blobs.present), (State::Verified, kept + 3, 1));
    std::fs::write(place.join("filled"), b"").unwrap();
}

#[test]
fn a_full_file_system_leaves_whole_events_and_the_log_goes_on() {
    if let Some(place) = place() {
        return fill(&place);
    }
    let temporary = tempfile::tempdir().unwrap();
    let place = temporary.path().join("small");
    std::fs::create_dir(&place).unwrap();
    // `filled` is written inside the small file system, so its exit status is passed on by a file beside it.
    let script = "mount -t tmpfs -o size=1m,mode=700 small \"$1\" || exit 77; \
                  \"$0\" --exact survival::a_full_file_system_leaves_whole_events_and_the_log_goes_on --nocapture \
                  && test -e \"$1/filled\"";
    let unshared = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(&place)
        .env(PLACE, &place)
        .output();
    match unshared {
        Err(e) => println!("skipped: no unshare(1) here: {e}"),
        Ok(got) if got.status.code() == Some(77) || got.stderr.starts_with(b"unshare:") => {
            println!("skipped: no file system of one's own here: {}", String::from_utf8_lossy(&got.stderr));
        }
        Ok(got) => assert!(
            got.status.success(),
            "{}{}",
            String::from_utf8_lossy(&got.stdout),
            String::from_utf8_lossy(&got.stderr)
        ),
    }
}

#[test]
fn a_clock_that_goes_back_and_forth_changes_no_order() {
    static NOW: AtomicI64 = AtomicI64::new(1_795_527_601_000_000_000);
    const HOUR: i64 = 3_600_000_000_000;
    fn clock() -> Timestamp {
        Timestamp(NOW.load(Ordering::Relaxed))
    }

    let temporary = tempfile::tempdir().unwrap();
    let (run, dir) = (random_id(), temporary.path().join("evidence"));
    let writing = Writing { clock, ..Writing::default() };
    let key = RecorderKey::generate().unwrap();
    let mut log = Log::create_with(&dir, &run, key.clone(), started(&run), writing.clone()).unwrap();
    for step in [1, -HOUR, 5, 3 * HOUR, -2 * HOUR, 0] {
        NOW.fetch_add(step, Ordering::Relaxed);
        log.append(None, changed("a")).unwrap();
    }
    log.checkpoint().unwrap();
    drop(log);
    // Before 1970, and after a restart.
    NOW.store(-1, Ordering::Relaxed);
    let (mut log, _) = Log::reopen(&dir, key).unwrap();
    log.write_with(writing);
    log.append(None, ended()).unwrap();
    log.checkpoint().unwrap();
    let report = verify(&dir, &Options::default()).unwrap();
    let last = 1_795_527_601_000_000_000 + HOUR / HOUR - HOUR + 5 + 3 * HOUR - 2 * HOUR;
    assert_eq!(
        (report.state, report.clock.unwrap().seq, report.clock.unwrap().nanoseconds),
        (State::Verified, 7, last + 1)
    );
    let times: Vec<i64> = read_events(&dir).unwrap().map(|event| event.unwrap().time.0).collect();
    assert_eq!(times.len(), 8);
    assert_eq!((times[2] - times[1], times[7]), (-HOUR, -1));
}
