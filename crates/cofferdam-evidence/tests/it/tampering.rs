use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cofferdam_core::RunId;
use cofferdam_core::change::Digest;
use cofferdam_core::event::{EventKind, RunStarted};
use cofferdam_evidence::{Check, Commitment, Error, Log, Options, RecorderKey, SignedBy, State, VerifierKey, verify};

use crate::support::{Run, changed, copy_tree, ended, fault, long_output, started};

/// Verifies the run with this log and these checkpoints in its place.
fn altered(run: &Run, log: &[u8], checkpoints: &[u8]) -> cofferdam_evidence::Report {
    run.write("log.jsonl", log);
    run.write("checkpoints", checkpoints);
    run.verify()
}

#[test]
fn flipped_bytes_all_over_the_log_are_found_and_bracketed() {
    let run = Run::finished();
    let (log, notes) = (run.read("log.jsonl"), run.read("checkpoints"));
    // Every newline, and every fifth byte: each costs four signature checks, slow where nothing is optimised.
    for at in (0..log.len()).filter(|&at| at % 5 == 0 || log[at] == b'\n') {
        let mut bad = log.clone();
        bad[at] ^= if at % 2 == 0 { 0x01 } else { 0x20 };
        let report = altered(&run, &bad, &notes);
        let found = fault(&report);
        assert!(found.range.start <= at as u64 && found.range.end > at as u64, "{at}: {found:?}");
    }
}

#[test]
fn flipped_bytes_all_over_the_checkpoints_are_found() {
    let run = Run::finished();
    let (log, notes) = (run.read("log.jsonl"), run.read("checkpoints"));
    // The whole last note, newlines, and every fourth byte of the others.
    let last = notes.len() - run.notes()[3].len();
    for at in (0..notes.len()).filter(|&at| at >= last || at % 4 == 0 || notes[at] == b'\n') {
        let mut bad = notes.clone();
        bad[at] ^= 0x01;
        let report = altered(&run, &log, &bad);
        if at + 1 == notes.len() {
            // The last newline: half a note is what a crash leaves. The run is then no longer verified.
            assert_eq!((report.state, report.signed), (State::Cut, 6));
        } else {
            fault(&report);
        }
    }
}

#[test]
fn dropped_swapped_repeated_and_inserted_lines_are_found_at_their_place() {
    let run = Run::finished();
    let (lines, notes) = (run.lines(), run.read("checkpoints"));
    let offset = |n: usize| lines[..n].iter().map(Vec::len).sum::<usize>() as u64;
    for n in 1..lines.len() - 1 {
        let mut dropped = lines.clone();
        dropped.remove(n);
        let mut swapped = lines.clone();
        swapped.swap(n, n + 1);
        let mut repeated = lines.clone();
        repeated.insert(n, lines[n - 1].clone());
        for bad in [dropped, swapped, repeated] {
            let report = altered(&run, &bad.concat(), &notes);
            let found = fault(&report);
            assert_eq!((found.check, found.range.start, found.seq), (Check::Sequence, offset(n), Some(n as u64)));
            assert_eq!(report.events, n as u64);
        }
        let mut inserted = lines.clone();
        inserted.insert(n, b"\n".to_vec());
        let report = altered(&run, &inserted.concat(), &notes);
        assert_eq!((fault(&report).check, fault(&report).range.clone()), (Check::Line, offset(n)..offset(n) + 1));
    }
}

#[test]
fn a_changed_value_is_bracketed_by_the_checkpoints_around_it() {
    let run = Run::finished();
    let (lines, notes) = (run.lines(), run.read("checkpoints"));
    let mut bad = lines.clone();
    bad[4] = String::from_utf8(bad[4].clone()).unwrap().replace("src/c.rs", "src/x.rs").into_bytes();
    assert_ne!(bad[4], lines[4]);
    let report = altered(&run, &bad.concat(), &notes);
    let offset = |n: usize| lines[..n].iter().map(Vec::len).sum::<usize>() as u64;
    let found = fault(&report);
    assert_eq!((found.check, found.range.clone()), (Check::Root, offset(3)..offset(6)));
    assert_eq!((report.signed, report.checkpoints), (3, 2), "what stands before is still good");
}

#[test]
fn truncations_of_the_log_are_found() {
    let run = Run::finished();
    let (log, notes) = (run.read("log.jsonl"), run.read("checkpoints"));
    for end in (0..log.len()).filter(|&end| end % 4 == 0 || log[end] == b'\n' || end + 1 == log.len()) {
        let report = altered(&run, &log[..end], &notes);
        assert_eq!(fault(&report).check, Check::Length, "{end}");
    }
}

#[test]
fn two_runs_of_one_key_cannot_be_spliced() {
    let key = RecorderKey::generate().unwrap();
    let (one, two) = (Run::with_key(key.clone()), Run::with_key(key));
    let (log, notes) = (one.read("log.jsonl"), one.read("checkpoints"));
    let (one_lines, two_lines) = (one.lines(), two.lines());

    let tail = [&one_lines[..3], &two_lines[3..]].concat().concat();
    assert_eq!(fault(&altered(&one, &tail, &notes)).check, Check::Root);
    let notes_of_two = two.read("checkpoints");
    assert_eq!(fault(&altered(&one, &log, &notes_of_two)).check, Check::Origin);
    let mixed = [one.notes()[..2].concat(), two.notes()[2..].concat()].concat();
    assert_eq!(fault(&altered(&one, &log, mixed.as_bytes())).check, Check::Origin);

    // All of the other run in the place of this one: only who asks for this run can notice.
    let report = altered(&one, &two.read("log.jsonl"), &notes_of_two);
    assert_eq!((fault(&report).check, fault(&report).seq), (Check::Origin, Some(0)));
}

/// Another history for the same run, of one piece, under a key.
fn forged(dir: &Path, run: &RunId, key: &RecorderKey) {
    let mut log = Log::create(dir, run, key.clone(), RunStarted { host: "elsewhere".into(), ..started(run) }).unwrap();
    log.append(None, changed("innocent.rs")).unwrap();
    log.append(None, ended()).unwrap();
    log.checkpoint().unwrap();
}

#[test]
fn another_key_is_only_found_by_who_trusts_one() {
    let run = Run::finished();
    fs::remove_dir_all(&run.dir).unwrap();
    let other = RecorderKey::generate().unwrap();
    forged(&run.dir, &run.id, &other);
    let report = run.verify();
    assert_eq!((fault(&report).check, &report.signed_by), (Check::Key, &SignedBy::Claimed(other.vkey().into())));
    let report = verify(&run.dir, &Options::default()).unwrap();
    assert_eq!((report.state, report.signed_by), (State::Verified, SignedBy::Claimed(other.vkey().into())));
    // With the honest key's text put into the file, the signatures are not its.
    run.write("key", run.key.vkey());
    assert_eq!(fault(&run.verify()).check, Check::Signature);
    assert_eq!(fault(&verify(&run.dir, &Options::default()).unwrap()).check, Check::Signature);
}

#[test]
fn the_holder_of_the_key_cannot_go_behind_a_witness() {
    let run = Run::finished();
    let published = run.verify().commitment.unwrap();
    let witnessed = |commitment| {
        let trusted = VerifierKey::parse(run.key.vkey(), "test").unwrap();
        let options = Options { trusted: Some(&trusted), witness: Some(commitment), ..Options::default() };
        verify(&run.dir, &options).unwrap()
    };
    assert_eq!(witnessed(published).state, State::Verified);
    assert_eq!(fault(&witnessed(Commitment { root: Digest([9; 32]), ..published })).check, Check::Witness);
    fs::remove_dir_all(&run.dir).unwrap();
    forged(&run.dir, &run.id, &run.key);
    assert_eq!(run.verify().state, State::Verified, "the honest limit");
    assert_eq!(fault(&witnessed(published)).check, Check::Witness, "shorter than what was published");
    let (mut log, _) = Log::reopen(&run.dir, run.key.clone()).unwrap();
    for n in 0..6 {
        log.append(None, changed(&n.to_string())).unwrap();
    }
    log.checkpoint().unwrap();
    drop(log);
    assert_eq!(fault(&witnessed(published)).check, Check::Witness, "as long, and another");
}

#[test]
fn checkpoints_that_are_dropped_or_go_back_are_found() {
    let run = Run::finished();
    let (log, notes) = (run.read("log.jsonl"), run.notes());
    assert_eq!(notes.len(), 4);
    // Rolled back to an older checkpoint: the end is no longer signed.
    for kept in 1..4 {
        let report = altered(&run, &log, notes[..kept].concat().as_bytes());
        assert_eq!((report.state, report.ended, report.signed), (State::Cut, false, [1, 3, 6][kept - 1]), "{kept}");
    }
    let back = [&notes[0][..], &notes[2], &notes[1], &notes[3]].concat();
    assert_eq!(fault(&altered(&run, &log, back.as_bytes())).check, Check::CheckpointOrder);
    assert_eq!(fault(&altered(&run, &log, b"")).check, Check::Unsigned);
    assert_eq!(fault(&altered(&run, &log, b"garbage\n\n\n")).check, Check::CheckpointFormat);
    // A checkpoint of the right log at the same size may stand twice (a statement follows the last event).
    let twice = [&notes.concat()[..], &notes[3]].concat();
    assert_eq!(altered(&run, &log, twice.as_bytes()).state, State::Verified);
    fs::remove_file(run.path("checkpoints")).unwrap();
    assert_eq!(fault(&run.verify()).check, Check::Unsigned);
}

#[test]
fn a_key_that_is_missing_or_no_key_is_found() {
    let run = Run::finished();
    for bad in [&b""[..], b"x", b"\xff", &[b'k'; 4096]] {
        run.write("key", bad);
        assert_eq!((fault(&run.verify()).check, run.verify().signed_by), (Check::Key, SignedBy::Nobody));
    }
    fs::remove_file(run.path("key")).unwrap();
    assert_eq!(fault(&run.verify()).check, Check::Key);
}

#[test]
fn altered_blobs_are_found_and_absent_ones_listed() {
    let run = Run::with_long_output();
    let path = run.blob_path();
    let blob = fs::read(&path).unwrap();
    for at in 0..blob.len() {
        let mut bad = blob.clone();
        bad[at] ^= 0x10;
        fs::write(&path, &bad).unwrap();
        let report = run.verify();
        // Some header bits of zstd say nothing about the content; then the content is what was signed.
        if let State::Tampered(fault) = &report.state {
            assert_eq!((fault.check, fault.seq), (Check::Blob, Some(2)), "{at}");
        } else {
            let store = cofferdam_evidence::BlobStore::open(&run.dir).unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut store.get(&run.blob).unwrap(), &mut content).unwrap();
            assert_eq!(content, long_output().as_bytes(), "{at}");
            assert!((32..40).contains(&at), "{at}");
        }
    }
    for end in 0..blob.len() {
        fs::write(&path, &blob[..end]).unwrap();
        assert_eq!(fault(&run.verify()).check, Check::Blob, "{end}");
    }
    fs::remove_file(&path).unwrap();
    let report = run.verify();
    assert_eq!(
        (report.state, report.blobs.missing, report.blobs.removed),
        (State::Verified, vec![run.blob.clone()], vec![])
    );
    fs::write(&path, &blob).unwrap();
    cofferdam_evidence::BlobStore::open(&run.dir).unwrap().remove(&run.blob, "held a password").unwrap();
    assert!(!path.exists());
    let report = run.verify();
    assert_eq!(
        (report.state, report.blobs.removed, report.blobs.missing),
        (State::Verified, vec![run.blob.clone()], vec![])
    );
}

#[test]
fn altered_packs_are_found_and_what_is_not_there_any_more_is_listed() {
    let run = Run::finished();
    let (path, blobs) = (run.pack_path(), || cofferdam_evidence::BlobStore::open(&run.dir).unwrap());
    let pack = fs::read(&path).unwrap();
    // Digest and length are no content: where they are wrong the blob cannot be found.
    for at in 0..pack.len() {
        let mut bad = pack.clone();
        bad[at] ^= 0x10;
        fs::write(&path, &bad).unwrap();
        let report = run.verify();
        match &report.state {
            State::Tampered(fault) => assert_eq!((fault.check, fault.seq), (Check::Blob, Some(2)), "{at}"),
            _ if report.blobs.missing == std::slice::from_ref(&run.blob) => assert!(at < 36, "{at}"),
            // Some header bits of zstd say nothing about the content.
            _ => assert!((68..76).contains(&at), "{at}"),
        }
    }
    for end in 0..pack.len() {
        fs::write(&path, &pack[..end]).unwrap();
        assert_eq!(run.verify().blobs.missing, std::slice::from_ref(&run.blob), "{end}");
    }
    // What a dead writer left at the end hides nothing.
    fs::write(&path, [&pack[..], &pack[..50]].concat()).unwrap();
    assert_eq!((run.verify().state, run.verify().blobs.missing), (State::Verified, vec![]));
    // Two records of one name: the first counts, whatever the other holds.
    let mut twice = pack.clone();
    twice.extend_from_slice(&pack);
    let last = twice.len() - 1;
    twice[last] ^= 1;
    fs::write(&path, &twice).unwrap();
    assert_eq!(run.verify().state, State::Verified);
    fs::write(&path, &pack).unwrap();
    blobs().remove(&run.blob, "held a password").unwrap();
    assert_eq!(fs::read(&path).unwrap()[36..], vec![0; pack.len() - 36], "nothing of it is left");
    let report = run.verify();
    assert_eq!(
        (report.state, report.blobs.removed, report.blobs.missing),
        (State::Verified, vec![run.blob.clone()], vec![])
    );
    fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert_eq!(run.verify().state, State::Verified, "a link is no pack");
}

#[test]
fn links_pipes_and_directories_in_the_place_of_files_do_no_harm() {
    let run = Run::with_long_output();
    let honest = run.dir.with_file_name("honest");
    copy_tree(&run.dir, &honest);
    for name in ["log.jsonl", "checkpoints", "key"] {
        let path = run.path(name);
        fs::remove_file(&path).unwrap();
        symlink(honest.join(name), &path).unwrap();
        assert!(matches!(verify(&run.dir, &Options::default()), Err(Error::Io { .. })), "{name}: a link");
        fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(verify(&run.dir, &Options::default()), Err(Error::NotRegular { .. })), "{name}: a pipe");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(verify(&run.dir, &Options::default()).is_err(), "{name}: a directory");
        fs::remove_dir(&path).unwrap();
        fs::copy(honest.join(name), &path).unwrap();
    }
    let path = run.blob_path();
    let target = honest.join("blobs").join(path.strip_prefix(run.path("blobs")).unwrap());
    fs::remove_file(&path).unwrap();
    symlink(&target, &path).unwrap();
    assert_eq!(fault(&run.verify()).check, Check::Blob);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    symlink(target.parent().unwrap(), path.parent().unwrap()).unwrap();
    assert_eq!(fault(&run.verify()).check, Check::Blob);
}

#[test]
fn a_clock_that_was_set_back_is_said_and_is_no_tampering() {
    let run = Run::finished();
    let report = run.verify();
    assert_eq!(report.clock, None);
    // The recorder's own clock: signed anew over a log with one time in the past.
    let mut lines = run.lines();
    let text = String::from_utf8(lines[6].clone()).unwrap();
    let at = text.find("\"time\":\"").unwrap() + 8;
    lines[6] = format!("{}1999{}", &text[..at], &text[at + 4..]).into_bytes();
    let unsigned = run.notes()[..3].concat();
    let report = altered(&run, &lines.concat(), unsigned.as_bytes());
    assert_eq!((report.state, report.clock.unwrap().seq), (State::Cut, 6));
    assert!(report.clock.unwrap().nanoseconds > 20 * 365 * 86_400 * 1_000_000_000);
}

#[test]
fn forged_text_inside_an_event_stays_inside_it() {
    let (run, mut log) = Run::begun(RecorderKey::generate().unwrap());
    let line = "\"}}\n{\"seq\":2,\"time\":\"2026-11-24T13:40:01.000000000Z\",\"kind\":\"run.ended\",\"data\":{}}\n";
    log.append(None, EventKind::EvidenceGap { what: line.into(), count: 1 }).unwrap();
    log.checkpoint().unwrap();
    let report = run.verify();
    assert_eq!((report.state, report.events, report.ended), (State::Cut, 2, false));
}
