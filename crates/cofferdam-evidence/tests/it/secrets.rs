//! No secret in what a log and a store write.

use std::io::{Read, Write};

use cofferdam_core::bytes::hex;
use cofferdam_core::event::{EventKind, RunStarted};
use cofferdam_evidence::{BlobStore, Log, RecorderKey, Secrets, State, Striker, Writing, read_events};

use crate::support::{Run, changed, ended, output, random_id, started};

const VALUE: &str = "gh\"p_q\u{e9}Xz7\\/42 9kLm";

fn striker() -> Striker {
    let mut secrets = Secrets::default();
    secrets.add("TOKEN", VALUE.as_bytes()).unwrap();
    Striker::new(&secrets).unwrap()
}

/// A run whose writer knows the secret.
fn begun() -> (Run, Log, BlobStore) {
    let temporary = tempfile::tempdir().unwrap();
    let (id, key, dir) = (random_id(), RecorderKey::generate().unwrap(), temporary.path().join("evidence"));
    let writing = Writing { striker: striker(), ..Writing::default() };
    let argv = vec!["agent".into(), format!("--token={VALUE}").as_str().into()];
    let log = Log::create_with(&dir, &id, key.clone(), RunStarted { argv, ..started(&id) }, writing).unwrap();
    let blobs = BlobStore::open(&dir).unwrap().striking(striker());
    let blob = cofferdam_core::event::BlobRef { digest: cofferdam_core::change::Digest([0; 32]), size: 0 };
    (Run { _temporary: temporary, dir, id, key, blob }, log, blobs)
}

#[test]
fn events_from_the_first_on_and_statements_are_struck() {
    let (run, mut log, _) = begun();
    log.append(None, changed(&format!("dir/{VALUE}.txt"))).unwrap();
    let raw = [b"\xff", VALUE.as_bytes()].concat();
    let EventKind::FileChanged(mut data) = changed("x") else { unreachable!() };
    data.path = raw.clone().into();
    log.append(None, EventKind::FileChanged(data)).unwrap();
    log.append(None, EventKind::EvidenceGap { what: format!("of {}", hex(VALUE.as_bytes())), count: 1 }).unwrap();
    log.append(None, ended()).unwrap();
    let statement = serde_json::json!({"unexplained": 0, "notes": [format!("about {VALUE}")]});
    log.checkpoint_with(statement.as_object().unwrap()).unwrap();
    assert_eq!(run.verify().state, State::Verified);
    for name in ["log.jsonl", "checkpoints"] {
        let text = String::from_utf8(run.read(name)).unwrap();
        assert!(!text.contains("Xz7") && !text.contains(&hex(b"Xz7")), "{text}");
        assert!(text.contains("\u{27e6}secret:TOKEN\u{27e7}"), "{text}");
    }
    let events: Vec<_> = read_events(&run.dir).unwrap().map(Result::unwrap).collect();
    let EventKind::RunStarted(first) = &events[0].what else { panic!("{:?}", events[0]) };
    assert_eq!(first.argv[1], "--token=\u{27e6}secret:TOKEN\u{27e7}".into());
    let EventKind::FileChanged(data) = &events[2].what else { panic!("{:?}", events[2]) };
    assert_eq!(data.path.0, b"\xff[secret:TOKEN]");
}

#[test]
fn blobs_are_struck_wherever_they_are_cut() {
    let (run, mut log, blobs) = begun();
    let text = format!("before {VALUE} between {VALUE}{VALUE} after");
    for piece in [1, 2, 7, 1000] {
        let mut writer = blobs.writer().unwrap();
        text.as_bytes().chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
        let blob = writer.finish().unwrap();
        let mut content = String::new();
        blobs.get(&blob).unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "before [secret:TOKEN] between [secret:TOKEN][secret:TOKEN] after");
        assert_eq!(blob.size, content.len() as u64);
        log.append(None, output(blob)).unwrap();
    }
    log.append(None, ended()).unwrap();
    log.checkpoint().unwrap();
    assert_eq!((run.verify().state, run.verify().blobs.present), (State::Verified, 4));
}

#[test]
fn a_gap_ends_the_head_and_shows_no_half_of_a_secret() {
    let (_run, _log, blobs) = begun();
    let mut writer = blobs.writer().unwrap();
    let (head, tail) = VALUE.split_at(10);
    write!(writer, "head {head}").unwrap();
    let size = writer.gap().unwrap();
    write!(writer, "{tail} tail").unwrap();
    let blob = writer.finish().unwrap();
    let mut content = String::new();
    blobs.get(&blob).unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content.split_at(size as usize), ("head [secret:TOKEN]", "[secret:TOKEN] tail"));
}
