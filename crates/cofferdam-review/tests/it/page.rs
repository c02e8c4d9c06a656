//! One command in full, and facts of a run.

use cofferdam_core::event::{EventKind, Link, Promotion, Stream};
use cofferdam_evidence::RecorderKey;
use cofferdam_review::{Error, page, stats::run_facts};

use crate::session::{Session, by_shell};

fn written(dir: &std::path::Path) -> (Session, u64, RecorderKey) {
    let mut s = Session::new(&["claude"], Some(dir));
    let agent = s.exec(None, &["claude"]);
    let shell = s.exec(Some(agent), &["bash", "--norc"]);
    let c = by_shell(&mut s, shell, "make");
    let make = s.exec_raw(Some(c), vec!["make".into()], "/usr/bin/", Link::Process);
    let cc = s.exec(Some(make), &["cc", "-c", "x.c"]);
    s.output(cc, Stream::Stderr, b"warning\n");
    s.file("x.o", Some(b"x"), &[cc.seq, make.seq]);
    s.reach(cc, 7);
    s.exit(cc, 0);
    s.output(make, Stream::Both, b"made\n");
    s.tests(make, "ctest", 3, &["a"]);
    s.exit(make, 2);
    let other = by_shell(&mut s, shell, "ls");
    s.reach(other, 14);
    s.file("y", Some(b"y"), &[other.seq]);
    s.exit(other, 0);
    s.push(None, EventKind::LimitReached { limit: "processes".into(), value: 1, action: "refused".into() });
    s.end(0);
    s.wait(5000);
    s.push(None, EventKind::PromotionApplied(Promotion { number: 1, paths: vec![], left: 0, uid: 0 }));
    let key = RecorderKey::generate().unwrap();
    s.write(dir, key.clone());
    (s, c.seq, key)
}

#[test]
fn a_page_has_all_of_the_family_and_nothing_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let (_, seq, _) = written(dir.path());
    let page = page(dir.path(), seq).unwrap();
    let words = |exec: &cofferdam_core::event::ProcessExec| exec.argv[0].clone();
    assert_eq!(page.ancestors.iter().map(|a| words(&a.exec)).collect::<Vec<_>>(), ["bash".into(), "claude".into()]);
    assert_eq!(
        page.below.iter().map(|b| (words(&b.exec), b.same)).collect::<Vec<_>>(),
        [("make".into(), true), ("cc".into(), false)]
    );
    assert_eq!(page.below_count, 1);
    assert_eq!(page.exit.as_ref().unwrap().1.code, Some(2));
    assert_eq!(page.outputs.len(), 2);
    assert_eq!(page.tests.len(), 1);
    let kinds: Vec<_> = page.network.iter().map(|(_, what)| cofferdam_review::kind_of(what)).collect();
    assert_eq!(kinds, ["http.exchange", "http.exchange", "http.exchange", "net.denied"]);
    assert_eq!(page.network_count, 4);
    assert_eq!(page.files.iter().map(|(_, c)| c.path.clone()).collect::<Vec<_>>(), ["x.o".into()]);
}

#[test]
fn what_is_no_command_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (session, ..) = written(dir.path());
    assert!(matches!(page(dir.path(), 0), Err(Error::NotACommand { seq: 0, kind: "run.started" })));
    let last = session.events.len() as u64 - 1;
    assert!(matches!(page(dir.path(), 10_000), Err(Error::NoEvent { last: l, .. }) if l == last));
}

#[test]
fn facts_of_a_run_are_counted_from_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let (session, ..) = written(dir.path());
    let facts = run_facts(dir.path()).unwrap();
    let execs = session.events.iter().filter(|e| matches!(e.what, EventKind::ProcessExec(_))).count() as u64;
    assert_eq!((facts.execs, facts.refusals, facts.gaps, facts.discarded), (execs, 1, 0, false));
    assert_eq!((facts.denied.values().sum::<u64>(), facts.denied.len()), (2, 2));
    assert!(facts.startup.is_some() && facts.ended.is_some() && facts.promoted.is_some());
}
