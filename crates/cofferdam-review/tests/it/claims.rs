//! What an agent says that it did, beside what the record says.

use std::path::Path;

use cofferdam_core::event::{EventKind, Link, Stream};
use cofferdam_evidence::RecorderKey;
use cofferdam_review::claims::{Claims, Source, Verdict, claims};

use crate::session::{HOSTILE, Running, Session, by_shell};

fn begun(evidence: &Path) -> (Session, Running) {
    let mut s = Session::new(&["claude", "-p", "fix it"], Some(evidence));
    let agent = s.exec(None, &["claude", "-p", "fix it"]);
    s.prompt("fix it");
    (s, agent)
}

fn tests(s: &mut Session, agent: Running, passed: u64, failing: &[&str]) -> u64 {
    let c = by_shell(s, agent, "cargo test");
    s.tests(c, "cargo-test", passed, failing);
    s.exit(c, if failing.is_empty() { 0 } else { 101 });
    c.seq
}

fn said(mut s: Session, evidence: &Path, text: &str) -> Claims {
    s.ask(Some(text));
    s.end(0);
    s.write(evidence, RecorderKey::generate().unwrap());
    claims(evidence, None).unwrap().expect("a message")
}

/// Builds a run, lets the agent say a text, and gives each claim's word, verdict and whether there is an event.
fn check(build: impl FnOnce(&mut Session, Running), text: &str) -> Vec<(&'static str, Verdict, bool)> {
    let dir = tempfile::tempdir().unwrap();
    let (mut s, agent) = begun(dir.path());
    build(&mut s, agent);
    let claims = said(s, dir.path(), text);
    claims.claims.iter().map(|claim| (claim.about, claim.verdict, claim.event.is_some())).collect()
}

use Verdict::{NoEvidence, Refuted, Supported};

#[test]
fn a_planted_lie_a_true_claim_and_one_without_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let (mut s, agent) = begun(dir.path());
    s.base("src/a.rs", b"old\n");
    s.file("src/a.rs", Some(b"new\n"), &[agent.seq]);
    tests(&mut s, agent, 213, &["cache::expires"]);
    let text = "I updated `src/a.rs`. All 214 tests pass. I also updated `/etc/app.conf`. It was a pleasure.";
    let claims = said(s, dir.path(), text);
    let got: Vec<_> = claims.claims.iter().map(|c| (c.sentence.as_str(), c.verdict)).collect();
    assert_eq!(
        got,
        [
            ("I updated `src/a.rs`.", Supported),
            ("All 214 tests pass.", Refuted),
            ("I also updated `/etc/app.conf`.", NoEvidence)
        ]
    );
    assert_eq!(claims.unchecked, 1);
    assert!(claims.claims[1].why.contains("✗ 1 of 214 failed"), "{:?}", claims.claims[1]);
    assert!(matches!(claims.source, Source::Model { .. }));
}

#[test]
fn tests_are_judged_by_the_last_run_after_the_last_change() {
    type Build = fn(&mut Session, Running);
    let nothing: Build = |_, _| {};
    let passed: Build = |s, a| {
        tests(s, a, 214, &[]);
    };
    let failed: Build = |s, a| {
        tests(s, a, 213, &["x"]);
    };
    let mended: Build = |s, a| {
        tests(s, a, 213, &["x"]);
        s.file("src/a.rs", Some(b"1\n"), &[a.seq]);
        tests(s, a, 214, &[]);
    };
    let stale: Build = |s, a| {
        tests(s, a, 214, &[]);
        s.file("src/a.rs", Some(b"1\n"), &[a.seq]);
    };
    let narrowed: Build = |s, a| {
        tests(s, a, 213, &["x"]);
        tests(s, a, 1, &[]);
    };
    let own_files: Build = |s, a| {
        let c = by_shell(s, a, "pytest");
        s.tests(c, "pytest", 3, &[]);
        s.file("report.txt", Some(b"1\n"), &[c.seq, a.seq]);
        s.exit(c, 0);
    };
    let unread: Build = |s, a| {
        let c = by_shell(s, a, "make test");
        s.exit(c, 2);
    };
    for (build, text, wanted) in [
        (nothing, "All tests pass.", (NoEvidence, false)),
        (passed, "All tests pass.", (Supported, true)),
        (passed, "The full test suite passes (214 passed, 0 failed).", (Supported, true)),
        (passed, "214/214 tests passing", (Supported, true)),
        (passed, "All 300 tests pass.", (Refuted, true)),
        (failed, "All tests pass.", (Refuted, true)),
        (failed, "The tests are green.", (Refuted, true)),
        (failed, "No test failures remain.", (Refuted, true)),
        (failed, "1 test still fails.", (Supported, true)),
        (passed, "Two of the tests fail.", (Refuted, true)),
        (mended, "I fixed the failing test; now everything in the tests passes.", (Supported, true)),
        (stale, "All tests pass.", (NoEvidence, true)),
        (narrowed, "All tests pass.", (NoEvidence, true)),
        (own_files, "Tests pass.", (Supported, true)),
        (unread, "All tests pass.", (Refuted, true)),
        (passed, "I did not run the tests.", (Refuted, true)),
        (nothing, "I was not able to run the tests.", (Supported, false)),
    ] {
        let got = check(build, text);
        assert_eq!(got, [("tests", wanted.0, wanted.1)], "{text}");
    }
    for text in ["Tests should pass.", "Do all tests pass?", "You can run the tests: they will pass.", "It is a test."]
    {
        assert_eq!(check(failed, text), [], "{text}");
    }
}

#[test]
fn files_are_judged_by_what_changed() {
    let build = |s: &mut Session, agent: Running| {
        s.base("src/x.rs", b"old\n");
        s.base("src/back.rs", b"same\n");
        s.base("gone.txt", b"x\n");
        s.file("src/x.rs", Some(b"new\n"), &[agent.seq]);
        s.file("tests/new.rs", Some(b"new\n"), &[agent.seq]);
        s.file("src/back.rs", Some(b"other\n"), &[agent.seq]);
        s.file("src/back.rs", Some(b"same\n"), &[agent.seq]);
        s.file("gone.txt", None, &[agent.seq]);
        s.file("a/twin.rs", Some(b"1\n"), &[agent.seq]);
        s.file("b/twin.rs", Some(b"1\n"), &[agent.seq]);
        s.file("target/debug/x.d", Some(b"1\n"), &[agent.seq]);
    };
    for (text, about, wanted) in [
        ("I updated src/x.rs.", "file", Supported),
        ("Updated `x.rs` to do it.", "file", Supported),
        ("- `src/x.rs`: now returns early, fixed", "file", Supported),
        ("Created `tests/new.rs`.", "file", Supported),
        ("I created src/x.rs.", "file", Refuted),
        ("Added a check to `src/x.rs`.", "file", Supported),
        ("I updated `src/y.rs`.", "file", Refuted),
        ("I modified src/back.rs.", "file", Refuted),
        ("Deleted gone.txt.", "file", Supported),
        ("Removed `src/x.rs`.", "file", Refuted),
        ("I changed `twin.rs`.", "file", NoEvidence),
        ("I edited ~/notes/x.txt.", "file", NoEvidence),
        ("I did not change src/x.rs.", "file", Refuted),
        ("I left src/z.rs unchanged.", "file", Supported),
        ("No other files were changed.", "nothing-else", Refuted),
        ("I only changed `src/x.rs`.", "nothing-else", Refuted),
        ("No files were changed.", "nothing-else", Refuted),
    ] {
        let got = check(build, text);
        assert!(got.iter().any(|(a, v, _)| (*a, *v) == (about, wanted)), "{text}: {got:?}");
    }
    let one = |s: &mut Session, agent: Running| {
        s.file("src/x.rs", Some(b"new\n"), &[agent.seq]);
        s.file("target/y", Some(b"new\n"), &[agent.seq]);
    };
    assert_eq!(check(one, "I wrote src/x.rs. Nothing else was changed.")[1].1, Supported);
    assert_eq!(check(|_, _| {}, "I made no changes; no files were modified.")[0].1, Supported);
    for text in ["See src/x.rs for more.", "This fixes it like `src/x.rs` does.", "Update src/y.rs if you want to."] {
        assert_eq!(check(one, text), [], "{text}");
    }
}

#[test]
fn commands_dependencies_and_the_network() {
    let build = |s: &mut Session, agent: Running| {
        for (command, code) in
            [("cargo fmt --all", 0), ("cargo clippy -- -D warnings", 101), ("git add -A && git commit -m x", 0)]
        {
            let c = by_shell(s, agent, command);
            s.exit(c, code);
        }
        s.base("Cargo.toml", b"[dependencies]\n");
        s.file("Cargo.toml", Some(b"[dependencies]\nserde = \"1\"\n"), &[agent.seq]);
    };
    for (text, about, wanted) in [
        ("I ran `cargo fmt`.", "command", Supported),
        ("I ran `cargo clippy` and it is clean.", "command", Refuted),
        ("`cargo clippy` passes.", "command", Refuted),
        ("I ran `cargo clippy`.", "command", Supported),
        ("I ran `npm test`.", "command", Refuted),
        ("The project builds successfully.", "build", Refuted),
        ("I committed the changes.", "command", Supported),
        ("Added the `serde` dependency.", "dependency", Supported),
        ("I added the `tokio` crate.", "dependency", Refuted),
        ("No new dependencies were added.", "dependency", NoEvidence),
        ("No network access was used.", "network", Supported),
    ] {
        let got = check(build, text);
        assert!(got.iter().any(|(a, v, _)| (*a, *v) == (about, wanted)), "{text}: {got:?}");
    }
    let gap = |s: &mut Session, _: Running| {
        s.push(None, EventKind::EvidenceGap { what: "execs".into(), count: 3 });
    };
    assert_eq!(check(gap, "I ran `npm test`.")[0].1, NoEvidence, "where execs are missing nothing is refuted");
}

#[test]
fn the_message_is_the_models_or_what_the_agent_printed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut s, agent) = begun(dir.path());
    s.ask(Some("All tests pass, I think. Let me run them."));
    s.call("t", "Bash", &serde_json::json!({"command": "cargo test"}));
    s.output(agent, Stream::Stdout, b"All tests pass.\n");
    s.exit(agent, 0);
    s.end(0);
    s.write(dir.path(), RecorderKey::generate().unwrap());
    let found = claims(dir.path(), None).unwrap().unwrap();
    assert!(matches!(found.source, Source::Output { .. }), "an answer that goes on is not the last word");
    assert_eq!(found.claims[0].verdict, NoEvidence);
    let found = claims(dir.path(), Some(b"Nothing to check.".to_vec())).unwrap().unwrap();
    assert_eq!((found.source, found.unchecked), (Source::Transcript, 1));
}

#[test]
fn hostile_messages_stay_texts() {
    let dir = tempfile::tempdir().unwrap();
    let (mut s, agent) = begun(dir.path());
    for text in HOSTILE {
        s.file(&format!("src/{text}.rs"), Some(b"x\n"), &[agent.seq]);
    }
    s.push(Some((agent.seq, Link::Socket)), EventKind::EvidenceGap { what: "x".into(), count: 1 });
    let mut text: String = HOSTILE
        .iter()
        .map(|text| format!("All tests {text} pass. I updated `src/{text}.rs`. I ran `git {text}`.\n"))
        .collect();
    text.push_str(&"All tests pass. ".repeat(50_000));
    let claims = said(s, dir.path(), &text);
    assert!(claims.claims.len() <= 200 && !claims.claims.is_empty());
    for claim in &claims.claims {
        for text in [&claim.sentence, &claim.why] {
            assert!(!text.chars().any(|c| c.is_control() || cofferdam_workspace::diff::is_hidden(c)), "{text:?}");
        }
    }
}
