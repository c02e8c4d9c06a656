//! Where promoted lines come from.

use std::path::Path;

use cofferdam_core::RunId;
use cofferdam_core::event::{EventKind, FileChanged, Promotion};
use cofferdam_evidence::RecorderKey;
use cofferdam_review::blame::{Blame, Candidate, blame};

use crate::session::{Session, by_shell, entry};

const PATH: &str = "src/cache.rs";

/// A run that changes the file step by step, each by a command of its own, and was promoted.
fn run(dir: &Path, seed: u8, base: Option<&[u8]>, steps: &[&[u8]]) -> Candidate {
    run_at(dir, seed, base, steps, true, None)
}

fn run_at(
    dir: &Path,
    seed: u8,
    base: Option<&[u8]>,
    steps: &[&[u8]],
    promoted: bool,
    then: Option<&[u8]>,
) -> Candidate {
    let run = RunId::from_random([seed; 12]);
    let evidence = dir.join(run.as_str());
    let mut s = Session::named(run.clone(), &["claude"], Some(&evidence));
    if let Some(base) = base {
        s.base(PATH, base);
    }
    let agent = s.exec(None, &["claude"]);
    s.prompt("make it faster\nplease");
    for (n, step) in steps.iter().enumerate() {
        let c = by_shell(&mut s, agent, &format!("step {n} of {seed}"));
        s.file(PATH, Some(step), &[c.seq, agent.seq]);
        s.exit(c, 0);
    }
    let c = by_shell(&mut s, agent, "cargo test");
    s.tests(c, "cargo-test", 12, &[]);
    s.exit(c, 0);
    s.end(0);
    let after = then.or(steps.last().copied()).map(|text| entry(text, 0));
    let change = FileChanged::new(PATH.into(), base.map(|b| entry(b, 0)), after);
    let data = Promotion { number: 1, paths: vec![change], left: 0, uid: 1000 };
    s.push(None, EventKind::PromotionApplied(data.clone()));
    if !promoted {
        s.push(None, EventKind::PromotionUndone(Promotion { number: 2, ..data }));
    }
    s.write(&evidence, RecorderKey::generate().unwrap());
    Candidate { run, evidence, base: base.map(<[u8]>::to_vec), left: None }
}

fn told(present: &[u8], candidates: &[Candidate]) -> (Vec<String>, Blame) {
    let got = blame(present, &PATH.into(), candidates).unwrap();
    let name = |origin: &Option<usize>| match origin.map(|at| &got.origins[at]) {
        None => "-".to_owned(),
        Some(origin) => format!("{}{}", origin.by, if origin.doubt.is_some() { "?" } else { "" }),
    };
    (got.lines.iter().map(|(_, origin)| name(origin)).collect(), got)
}

#[test]
fn each_line_leads_to_the_command_that_wrote_it_first() {
    let dir = tempfile::tempdir().unwrap();
    let base: &[u8] = b"a\nb\nc\n";
    let one = run(dir.path(), 1, Some(base), &[b"a\nB\nc\n", b"a\nB\nc\nd\n", b"top\na\nB\nc\nd\n"]);
    // Afterwards the person edited the last line and added one.
    let (lines, got) = told(b"top\na\nB\nc\nD!\nmine\n", &[one]);
    assert_eq!(lines, ["step 2 of 1", "-", "step 0 of 1", "-", "-", "-"]);
    let origin = &got.origins[got.lines[2].1.unwrap()];
    assert_eq!((origin.asked.as_str(), origin.promotion), ("make it faster", 1));
    assert_eq!(origin.tests, "✓ 12 passed");
    assert_eq!(got.promotions, 1);
}

#[test]
fn lines_lead_through_several_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second): (&[u8], &[u8]) = (b"a\nfirst\nc\n", b"a\nfirst\nc\nsecond\n");
    let one = run(dir.path(), 1, Some(b"a\nb\nc\n"), &[first]);
    let mut two = run(dir.path(), 2, Some(first), &[second]);
    let wanted = ["-", "step 0 of 1", "-", "step 0 of 2"];
    assert_eq!(told(second, &[one.clone(), two.clone()]).0, wanted);
    assert_eq!(told(second, &[two.clone(), one.clone()]).0, wanted, "in whatever order they are listed");
    // The second run's workspace is gone: its base is what the first run left.
    two.base = None;
    assert_eq!(told(second, &[two, one]).0, wanted);
}

#[test]
fn a_new_file_is_all_the_runs() {
    let dir = tempfile::tempdir().unwrap();
    let one = run(dir.path(), 1, None, &[b"a\n", b"a\nb\n"]);
    assert_eq!(told(b"a\nb\n", &[one]).0, ["step 0 of 1", "step 1 of 1"]);
}

#[test]
fn what_is_not_certain_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = run(dir.path(), 1, Some(b"a\nb\n"), &[b"a\nB\n", b"a\nB\nc\n"]);
    one.base = None;
    let (lines, got) = told(b"a\nB\nc\n", &[one]);
    assert_eq!(lines, ["step 0 of 1?", "step 0 of 1?", "step 1 of 1"]);
    assert!(got.origins.iter().any(|o| o.doubt.is_some_and(|d| d.contains("before this run is not known"))));
}

#[test]
fn without_recorded_versions_the_run_is_still_named() {
    let dir = tempfile::tempdir().unwrap();
    let one = run(dir.path(), 1, Some(b"a\n"), &[b"a\nx\n", b"a\nx\ny\n"]);
    std::fs::remove_dir_all(one.evidence.join("blobs")).unwrap();
    let (lines, _) = told(b"a\nx\ny\n", std::slice::from_ref(&one));
    assert_eq!(lines, ["-", "step 1 of 1?", "step 1 of 1?"]);
    // Nothing is known any more once the file was changed again, unless the workspace still has what the run left.
    let changed: &[u8] = b"a\nx\ny\nz\n";
    assert_eq!(told(changed, std::slice::from_ref(&one)).0, ["-"; 4]);
    let left = Some(b"a\nx\ny\n".to_vec());
    assert_eq!(told(changed, &[Candidate { left, ..one.clone() }]).0, ["-", "step 1 of 1?", "step 1 of 1?", "-"]);
    let other = Some(b"something else\n".to_vec());
    assert_eq!(told(changed, &[Candidate { left: other, ..one }]).0, ["-"; 4], "it is checked by its digest");
}

#[test]
fn what_was_taken_back_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let one = run_at(dir.path(), 1, Some(b"a\n"), &[b"a\nx\n"], false, None);
    let (lines, got) = told(b"a\nx\n", &[one]);
    assert_eq!((lines, got.promotions), (vec!["-".to_owned(); 2], 0));
}

#[test]
fn a_merge_keeps_the_persons_lines_the_persons() {
    let dir = tempfile::tempdir().unwrap();
    let merged: &[u8] = b"mine\na\nx\n";
    let one = run_at(dir.path(), 1, Some(b"a\n"), &[b"a\nx\n"], true, Some(merged));
    assert_eq!(told(merged, &[one]).0, ["-", "-", "step 0 of 1"]);
}
