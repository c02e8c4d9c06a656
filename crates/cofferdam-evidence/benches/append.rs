//! What recording costs: CPU and wall time of a new log with its first checkpoint, of events, of checkpoints, of blobs.
//! `TMPDIR` chooses the file system.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program: it prints, and a failure is the end of it"
)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use cofferdam_core::change::{Digest, Entry, FileKind};
use cofferdam_core::event::{EventKind, FileChanged, Link, RunStarted};
use cofferdam_core::{RunId, Timestamp};
use cofferdam_evidence::{BlobStore, Log, Options, RecorderKey, Secrets, State, Striker, Writing, verify};
use rustix::time::{ClockId, clock_gettime};

fn cpu() -> Duration {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.try_into().unwrap(), t.tv_nsec.try_into().unwrap())
}

fn per(what: &str, count: u32, (wall, used): (Duration, Duration)) {
    let rate = f64::from(count) / wall.as_secs_f64();
    println!("{what:<44} {:>10.2?} CPU  {:>10.2?} wall  {rate:>12.0}/s", used / count, wall / count);
}

fn timed(work: impl FnOnce()) -> (Duration, Duration) {
    let (wall, used) = (Instant::now(), cpu());
    work();
    (wall.elapsed(), cpu() - used)
}

fn add(sum: &mut (Duration, Duration), more: (Duration, Duration)) {
    sum.0 += more.0;
    sum.1 += more.1;
}

fn make_bare(dir: &Path) {
    std::fs::create_dir(dir).unwrap();
    for name in ["log.jsonl", "checkpoints", "key"] {
        File::create_new(dir.join(name)).unwrap();
    }
}

fn started(run: &RunId) -> RunStarted {
    RunStarted {
        run: run.clone(),
        version: "0.1.0".into(),
        project: "/home/person/project".into(),
        cwd: "/home/person/project".into(),
        argv: vec!["agent".into(), "--print".into(), "do it".into()],
        environment: ["PATH", "HOME", "LANG", "TERM"].map(Into::into).to_vec(),
        uid: 1000,
        host: "host".into(),
        kernel: "6.12.0".into(),
        plan: Digest([1; 32]),
        boundary: vec!["user-namespace".into(), "seccomp".into()],
        boot: "00000000-0000-0000-0000-000000000000".into(),
    }
}

fn changed(n: u32) -> EventKind {
    let entry = Entry {
        kind: FileKind::File,
        mode: 0o644,
        size: u64::from(n),
        mtime: Timestamp(1_795_527_601_000_000_000),
        digest: Some(Digest([n as u8; 32])),
    };
    let path = format!("crates/part/src/module_{n}.rs").as_str().into();
    EventKind::FileChanged(FileChanged::new(path, Some(entry.clone()), Some(entry)))
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let key_dir = dir.path().join("keys");
    RecorderKey::load_or_create(&key_dir).unwrap();

    const LOGS: u32 = 500;
    per("load the key", LOGS, timed(|| (0..LOGS).for_each(|_| drop(RecorderKey::load_or_create(&key_dir).unwrap()))));
    let key = RecorderKey::load_or_create(&key_dir).unwrap();
    let runs: Vec<RunId> = (0..LOGS).map(|_| random_id()).collect();
    // The file system's share: the same directory and three files, bare, in turn with the logs. On ext4 it can be ten
    // times ours, where many inodes were deleted in the last minutes (`recently_deleted` in fs/ext4/ialloc.c).
    let (mut bare, mut create) = (Default::default(), Default::default());
    for run in &runs {
        let empty = dir.path().join(format!("bare-{run}"));
        add(&mut bare, timed(|| make_bare(&empty)));
        let evidence = dir.path().join(run.as_str());
        add(&mut create, timed(|| drop(Log::create(&evidence, run, key.clone(), started(run)).unwrap())));
    }
    per("a directory and three empty files, bare", LOGS, bare);
    per("create, first event, first checkpoint", LOGS, create);

    const EVENTS: u32 = 200_000;
    let run = random_id();
    let evidence = dir.path().join("long");
    let mut log = Log::create(&evidence, &run, key.clone(), started(&run)).unwrap();
    let append = timed(|| {
        for n in 0..EVENTS {
            log.append(Some((0, Link::Window)), changed(n)).unwrap();
        }
    });
    per("append an event (file.changed, ~500 bytes)", EVENTS, append);
    const SIGNED: u32 = 5_000;
    let checkpoints = timed(|| {
        for n in 0..SIGNED {
            log.append(None, changed(n)).unwrap();
            log.checkpoint().unwrap();
        }
    });
    per("append an event and sign a checkpoint", SIGNED, checkpoints);
    drop(log);
    let total = EVENTS + SIGNED + 1;
    let check = timed(|| {
        let report = verify(&evidence, &Options::default()).unwrap();
        assert_eq!((report.state, report.events), (State::Cut, u64::from(total)));
    });
    per("verify, per event", total, check);
    per("reopen, per event", total, timed(|| drop(Log::reopen(&evidence, key.clone()).unwrap())));

    per("prepare the search for 20 secrets", 100, timed(|| (0..100).for_each(|_| drop(striker()))));
    let before = status("VmHWM");
    per("prepare the search for 8 KiB of secrets", 1, timed(|| drop(Striker::new(&most_secrets()).unwrap())));
    println!("  most memory {} KiB, before {before} KiB", status("VmHWM"));
    sustained(dir.path(), &key);

    const LINES: u32 = 1_000_000;
    let store = BlobStore::open(&evidence).unwrap();
    let blob = timed(|| {
        let mut writer = store.writer().unwrap();
        for n in 0..LINES {
            writeln!(writer, "test module_{}::case_{n} ... ok ({} ms)", n % 97, n % 13).unwrap();
        }
        writer.finish().unwrap();
    });
    per("a line of output into a blob (~45 bytes)", LINES, blob);
    let store = store.striking(striker());
    let blob = timed(|| {
        let mut writer = store.writer().unwrap();
        for n in 0..LINES {
            writeln!(writer, "test module_{}::case_{n} ... ok ({} ms)", n % 97, n % 13).unwrap();
        }
        writer.finish().unwrap();
    });
    per("the same, 20 secrets struck", LINES, blob);
}

/// As the monitor writes under load: secrets struck, a checkpoint a second, another thread that syncs after each.
fn sustained(dir: &Path, key: &RecorderKey) {
    const EVENTS: u32 = 1_000_000;
    let run = random_id();
    let evidence = dir.join("sustained");
    let writing = Writing { striker: striker(), ..Writing::default() };
    let mut log = Log::create_with(&evidence, &run, key.clone(), started(&run), writing).unwrap();
    let handle = log.sync_handle().unwrap();
    let (wake, woken) = std::sync::mpsc::channel::<()>();
    let syncing = std::thread::spawn(move || {
        let mut syncs = 0;
        while woken.recv().is_ok() {
            handle.sync().unwrap();
            syncs += 1;
        }
        syncs
    });
    let mut signed = Instant::now();
    let mut syncs = 0;
    let append = timed(|| {
        for n in 1..EVENTS {
            log.append(Some((0, Link::Window)), changed(n)).unwrap();
            if signed.elapsed() >= Duration::from_secs(1) {
                log.checkpoint().unwrap();
                wake.send(()).unwrap();
                signed = Instant::now();
            }
        }
        log.checkpoint().unwrap();
        wake.send(()).unwrap();
        drop(wake);
        syncs = syncing.join().unwrap();
    });
    per("1,000,000 events to the medium, 20 secrets", EVENTS, append);
    let bytes = std::fs::metadata(evidence.join("log.jsonl")).unwrap().len();
    println!("  {bytes} bytes, {syncs} syncs; most memory {} KiB", status("VmHWM"));
    drop(log);
    let check = timed(|| {
        let report = verify(&evidence, &Options::default()).unwrap();
        assert_eq!((report.state, report.events), (State::Cut, u64::from(EVENTS)));
    });
    per("verify these, per event", EVENTS, check);
    println!("  {:.2?} for all", check.0);
}

fn striker() -> Striker {
    let mut secrets = Secrets::default();
    for n in 0..20u32 {
        let value = format!("ghp_{:016x}{n:08x}xYz", 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(n) + 1));
        secrets.add(&format!("TOKEN_{n}"), value.as_bytes()).unwrap();
    }
    Striker::new(&secrets).unwrap()
}

/// As much as is taken, in short values, which have the most forms: 32 of 250 bytes.
fn most_secrets() -> Secrets {
    let mut secrets = Secrets::default();
    for n in 0..32u8 {
        let value: Vec<u8> =
            (0..250u32).map(|at| b'!' + ((at * at + at / 7 + u32::from(n) * 31 * at) % 90) as u8).collect();
        secrets.add(&format!("LONG_{n}"), &value).unwrap();
    }
    secrets
}

fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let value = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':')).unwrap();
    value.trim().trim_end_matches(" kB").parse().unwrap()
}

fn random_id() -> RunId {
    let mut raw = [0u8; 12];
    rustix::rand::getrandom(&mut raw, rustix::rand::GetRandomFlags::empty()).unwrap();
    RunId::from_random(raw)
}
