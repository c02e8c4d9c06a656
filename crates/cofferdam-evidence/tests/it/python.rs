//! The verifier in Python follows `docs/evidence-format.md` and shares no code with this crate.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use cofferdam_evidence::{State, prove};

use crate::corpus::{Files, corpus, judge};
use crate::support::Run;

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python/verify.py")
}

fn have_python() -> bool {
    let have = Command::new("python3").arg("--version").output().is_ok_and(|o| o.status.success());
    if !have {
        println!("skipped: there is no python3 here");
    }
    have
}

fn run_script(run: &Run, more: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new("python3")
        .arg(script())
        .arg(&run.dir)
        .args(["--key", run.key.vkey()])
        .args(more)
        .output()
        .unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn it_agrees_on_a_good_log_and_on_bad_ones() {
    if !have_python() {
        return;
    }
    let run = Run::finished();
    assert_eq!(run.verify().state, State::Verified);
    let (code, said) = run_script(&run, &[]);
    assert_eq!((code, said.trim()), (Some(0), "verified: 7 events, 7 signed, 4 checkpoints"));

    let (log, notes) = (run.read("log.jsonl"), run.read("checkpoints"));
    let text = String::from_utf8(log.clone()).unwrap();
    let texts = run.notes();
    let lines = run.lines();
    let swapped = [&lines[..3], &lines[4..5], &lines[3..4], &lines[5..]].concat().concat();
    let signature = |note: &str| {
        let at = note.len() - 10;
        let other = if note.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &note[..at], &note[at + 1..])
    };
    let corpus: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("a changed value", text.replace("src/b.rs", "src/x.rs").into_bytes(), notes.clone()),
        ("a dropped line", [&lines[..2], &lines[3..]].concat().concat(), notes.clone()),
        ("swapped lines", swapped, notes.clone()),
        ("a truncated log", log[..log.len() - 5].to_vec(), notes.clone()),
        ("an altered signature", log.clone(), [texts[..3].concat(), signature(&texts[3])].concat().into_bytes()),
        ("checkpoints that go back", log.clone(), [&*texts[0], &texts[2], &texts[1]].concat().into_bytes()),
        ("no checkpoint", log.clone(), Vec::new()),
        (
            "a flipped size",
            log.clone(),
            String::from_utf8(notes.clone()).unwrap().replace("\n3\n", "\n2\n").into_bytes(),
        ),
    ];
    for (what, log, notes) in &corpus {
        run.write("log.jsonl", log);
        run.write("checkpoints", notes);
        assert!(matches!(run.verify().state, State::Tampered(_)), "{what}");
        let (code, said) = run_script(&run, &[]);
        assert_eq!(code, Some(1), "{what}: {said}");
        assert!(said.starts_with("tampered: "), "{what}: {said}");
    }

    run.write("log.jsonl", &log);
    run.write("checkpoints", texts[..3].concat());
    assert_eq!(run.verify().state, State::Cut);
    let (code, said) = run_script(&run, &[]);
    assert_eq!((code, said.trim()), (Some(2), "cut: 7 events, 6 signed, 3 checkpoints"));

    run.write("checkpoints", &notes);
    let other = Run::finished();
    run.write("key", other.read("key"));
    assert_eq!(run_script(&run, &[]).0, Some(1), "another key");
}

#[test]
fn it_checks_proofs() {
    if !have_python() {
        return;
    }
    let run = Run::finished();
    for seq in 0..7 {
        let (line, proof) = prove(&run.dir, seq).unwrap();
        let (event, path) = (run.path("event"), run.path("event.tlog-proof"));
        fs::write(&event, &line).unwrap();
        fs::write(&path, proof.to_string()).unwrap();
        let arguments = ["--proof", path.to_str().unwrap(), event.to_str().unwrap()];
        let (code, said) = run_script(&run, &arguments);
        assert_eq!((code, said.trim()), (Some(0), &*format!("proven: event {seq} of 7")));
        let text = String::from_utf8(line).unwrap().replacen("2026", "2025", 1).replacen("20", "21", 1);
        fs::write(&event, text).unwrap();
        assert_eq!(run_script(&run, &arguments).0, Some(1));
    }
}

#[test]
fn both_verifiers_judge_a_corpus_of_altered_runs_alike() {
    let key = cofferdam_evidence::RecorderKey::generate().unwrap();
    let (one, two) = (Run::long(key.clone()), Run::long(key.clone()));
    let temporary = tempfile::tempdir().unwrap();
    let published = one.verify().commitment.unwrap();
    let (source, other) = (Files::read(&one.dir), Files::read(&two.dir));
    // More than one for who has the time: `EVIDENCE_TEST_SEEDS=50 cargo test -p cofferdam-evidence both`.
    let seeds = std::env::var("EVIDENCE_TEST_SEEDS").map_or(1, |n| n.parse().unwrap());
    for seed in 0..seeds {
        let place = temporary.path().join(format!("seed-{seed}"));
        let cases = corpus(&source, &other, published, seed, &place);
        assert!(cases.len() >= 200, "{}", cases.len());
        judge(&cases, key.vkey(), &script(), &place);
        std::fs::remove_dir_all(&place).unwrap();
    }
}
