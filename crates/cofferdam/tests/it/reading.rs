//! `coffer log`, `blame`, `stats` and `index`, on runs that took place and on logs that the recorders would have written.

use std::process::Stdio;

use cofferdam_core::event::{CommandOutput, EventKind, Link, Source, Stream};
use cofferdam_evidence::{Proof, RecorderKey, VerifierKey, verify_proof};
use cofferdam_workspace::diff::is_hidden;

use crate::session::{HOSTILE, Session, by_shell, generated_as};
use crate::support::scene::finish_child;
use crate::support::{Repo, eventually};

/// A run of the store whose log is this one's.
fn planted(repo: &Repo, build: impl FnOnce(cofferdam_core::RunId, &std::path::Path) -> Session) -> (String, Session) {
    planted_over(repo, "true", build)
}

/// As [`planted`], of a run that really did something.
fn planted_over(
    repo: &Repo,
    script: &str,
    build: impl FnOnce(cofferdam_core::RunId, &std::path::Path) -> Session,
) -> (String, Session) {
    let run = repo.edit(script);
    let evidence = repo.run_dir(&run).join("evidence");
    std::fs::remove_dir_all(&evidence).unwrap();
    let session = build(run.parse().unwrap(), &evidence);
    session.write(&evidence, key(repo));
    (run, session)
}

fn key(repo: &Repo) -> RecorderKey {
    RecorderKey::load_or_create(&repo.scene.state.join("cofferdam/keys")).unwrap()
}

fn assert_safe(text: &str) {
    assert!(!text.chars().any(|c| c != '\n' && (c.is_control() || is_hidden(c))), "{}", text.escape_debug());
}

#[test]
fn a_thousand_commands_read_in_sixty_lines_and_all_of_them_on_demand() {
    let repo = Repo::new();
    let (run, session) = planted(&repo, |run, evidence| generated_as(run, 5, 1000, Some(evidence)));
    let told = repo.coffer(&["log"]);
    assert_eq!(told.code(), Some(0), "{}", told.all());
    assert!(told.stderr.is_empty());
    assert!(told.out().lines().count() <= 60, "{}", told.out());
    assert_safe(&told.out());
    assert!(told.out().contains("works now") && told.out().contains("» fix the flaky test"), "{}", told.out());
    assert!(told.out().contains(&format!("coffer log {} --all", &run[..4])));
    let fewer = repo.coffer(&["log", "--lines", "24"]).out();
    assert!(fewer.lines().count() <= 24, "{fewer}");
    let all = repo.coffer(&["log", &run[..5], "--all"]).out();
    assert_safe(&all);
    assert!(all.lines().count() > 1000);
    let log = std::fs::read(repo.run_dir(&run).join("evidence/log.jsonl")).unwrap();
    assert!(repo.coffer(&["log", "--json"]).stdout == log, "events as they stand, byte for byte");
    let tests = repo.coffer(&["log", "--kind", "test,prompt"]).out();
    let wanted = session.events.iter().filter(|e| matches!(e.what, EventKind::TestResult(_) | EventKind::Prompt(_)));
    assert_eq!(tests.lines().count(), wanted.count());
    assert_safe(&tests);
}

#[test]
fn events_are_picked_by_kind_time_and_pattern() {
    let repo = Repo::new();
    planted(&repo, |run, evidence| {
        let mut s = Session::named(run, &["claude"], Some(evidence));
        let agent = s.exec(None, &["claude"]);
        let early = by_shell(&mut s, agent, "echo early");
        s.exit(early, 0);
        let c = by_shell(&mut s, agent, "make all");
        s.output(c, Stream::Both, b"one\nerror[E0308]: mismatched\ntwo\nerror[E0425]: unknown\n\x1b[2J\n");
        s.file("src/error.rs", Some(b"x"), &[c.seq]);
        s.exit(c, 2);
        s.end(0);
        s
    });
    let found = repo.coffer(&["log", "--grep", r"error\["]).out();
    assert!(found.contains("command.output") && found.contains("│ error[E0308]: mismatched"), "{found}");
    assert!(!found.contains("file.changed"), "{found}");
    assert!(repo.coffer(&["log", "--grep", "error", "--kind", "file"]).out().contains("src/error.rs"));
    let json = repo.coffer(&["log", "--grep", r"error\[", "--json"]).out();
    assert_eq!(json.lines().count(), 1, "{json}");
    assert_safe(&repo.coffer(&["log", "--grep", "\\x1b"]).out());
    for (bad, word) in [
        (&["log", "--kind", "nonsense"][..], "test.result"),
        (&["log", "--grep", "("], "pattern"),
        (&["log", "--since", "yesterday"], "duration"),
        (&["log", "--lines", "3"], "20 lines"),
        (&["log", "nosuchrun"], "coffer list"),
        (&["log", "--output"], "--command"),
    ] {
        let said = repo.expect(125, bad);
        assert!(said.contains(word), "{bad:?}: {said}");
    }
    let made = repo.coffer(&["log", "--grep", "make all", "--kind", "process.exec", "--json"]).out();
    let made: serde_json::Value = serde_json::from_str(made.trim()).unwrap();
    let since = repo.coffer(&["log", "--since", made["time"].as_str().unwrap()]).out();
    assert!(since.contains("make all") && !since.contains("echo early"), "{since}");
}

#[test]
fn one_command_is_shown_in_full_and_its_output_is_what_it_printed() {
    let repo = Repo::new();
    let printed: Vec<u8> = HOSTILE.iter().flat_map(|text| [text.as_bytes(), b"\xff\nplain\n"].concat()).collect();
    let mut seqs = (0, 0);
    planted(&repo, |run, evidence| {
        let mut s = Session::named(run, &["claude"], Some(evidence));
        let agent = s.exec(None, &["claude"]);
        let words = vec!["printf".into(), HOSTILE[0].into(), "x".repeat(1 << 20).as_str().into()];
        let c = s.exec_raw(Some(agent), words, "/usr/bin/", Link::Parent);
        s.output(c, Stream::Stdout, &printed);
        s.exit(c, 3);
        let gap = by_shell(&mut s, agent, "flood");
        let blob = s.blob(b"headtail");
        s.push(
            Some((gap.seq, Link::Process)),
            EventKind::CommandOutput(CommandOutput {
                stream: Stream::Both,
                source: Source::Pipe,
                bytes: 5_000_008,
                dropped: 5_000_000,
                blob,
                head: 4,
            }),
        );
        s.exit(gap, 0);
        s.end(0);
        seqs = (c.seq, gap.seq);
        s
    });
    let (c, gap) = (seqs.0.to_string(), seqs.1.to_string());
    let page = repo.expect(0, &["log", "--command", &c]);
    for word in ["exit 3", "started by", "claude", "sha256", "0303", "printed"] {
        assert!(page.contains(word), "{word}: {page}");
    }
    let raw = repo.coffer(&["log", "--command", &c, "--output"]);
    assert!(raw.stdout == printed, "a pipe gets the bytes");
    let raw = repo.coffer(&["log", "--command", &gap, "--output"]);
    assert_eq!(raw.out(), "headtail");
    assert!(raw.all().contains("[5.0 MB not kept]"), "{}", raw.all());
    let mut session = repo.on_terminal(&["log", "--command", &gap, "--output"]);
    session.expect("[5.0 MB not kept]");
    assert_eq!(session.wait().code(), Some(0));
    let mut session = repo.on_terminal(&["log", "--command", &c, "--output"]);
    session.expect("<U+202E>");
    session.expect("^[[2J");
    assert_eq!(session.wait().code(), Some(0));
    let screen = session.screen();
    assert!(screen.contains("^[[2J") && screen.contains("<U+202E>"), "{}", screen.escape_debug());
    assert!(!screen.contains('\u{1b}') && !screen.contains('\u{202e}') && !screen.contains('\u{9b}'), "{screen:?}");
    let mut session = repo.on_terminal(&["log", "--json"]);
    session.expect("run.ended");
    assert_eq!(session.wait().code(), Some(0));
    assert!(!session.screen().contains('\u{1b}') && !session.screen().contains('\u{202e}'));
    let said = repo.expect(125, &["log", "--command", "0"]);
    assert!(said.contains("run.started") && said.contains("process.exec"), "{said}");
    assert!(repo.expect(125, &["log", "--command", "99999"]).contains("no event 99999"));
}

#[test]
fn a_proof_holds_for_whoever_has_the_key() {
    let repo = Repo::new();
    let run = repo.edit("echo x > x.txt");
    let got = repo.coffer(&["log", "--proof", "1"]);
    assert_eq!(got.code(), Some(0), "{}", got.all());
    let proof: Proof = got.out().parse().unwrap();
    let log = std::fs::read(repo.run_dir(&run).join("evidence/log.jsonl")).unwrap();
    let line = log.split(|b| *b == b'\n').nth(1).unwrap();
    verify_proof(line, &proof, &VerifierKey::parse(key(&repo).vkey(), "store").unwrap()).unwrap();
    assert!(got.all().contains("coffer verify"), "{}", got.all());
    repo.expect(125, &["log", "--proof", "99999"]);
}

#[test]
fn a_live_run_is_followed_to_its_end() {
    let repo = Repo::new();
    let mut run = repo.scene.coffer();
    run.args(["run", "-q", "--", "sh", "-c", "read word; echo $word > written.txt"]);
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(eventually(20, || repo.coffer(&["list"]).out().contains("running")));
    let mut follow = repo.scene.coffer();
    let mut follow = follow.args(["log", "--follow"]);
    follow = follow.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(follow.try_wait().unwrap().is_none(), "it goes on while the run does");
    std::io::Write::write_all(run.stdin.as_mut().unwrap(), b"word\n").unwrap();
    assert!(finish_child(run, b"").status.success());
    let got = finish_child(follow, b"");
    assert_eq!(got.code(), Some(0), "{}", got.all());
    for word in ["run.started", "written.txt", "run.ended"] {
        assert!(got.out().contains(word), "{word}: {}", got.all());
    }
    // Of a run that is over it is the whole at once.
    assert_eq!(repo.coffer(&["log", "--follow"]).out(), got.out());
}

#[test]
fn all_runs_are_searched_and_only_a_search_makes_the_index() {
    let repo = Repo::new();
    let (run, _) = planted(&repo, |run, evidence| {
        let mut s = Session::named(run, &["claude"], Some(evidence));
        let agent = s.exec(None, &["claude"]);
        s.prompt("fix the zebra");
        let c = by_shell(&mut s, agent, "cargo frobnicate");
        s.output(c, Stream::Both, b"\x1b[2Jthe lion was not found\n");
        s.exit(c, 1);
        s.end(0);
        s
    });
    let index = repo.scene.state.join("cofferdam/index.db");
    repo.expect(0, &["log"]);
    repo.expect(0, &["stats"]);
    assert!(!index.exists(), "nobody searched yet");
    let found = repo.expect(0, &["log", "--search", "lion"]);
    assert!(found.contains("cargo frobnicate") && found.contains("output: "), "{found}");
    assert!(found.contains(&format!("coffer log {} --command ", &run[..4])), "{found}");
    assert_safe(&repo.coffer(&["log", "--search", "lion"]).out());
    // From anywhere, in any run.
    repo.edit("true");
    let got = repo.coffer_in(&repo.scene.home, &["log", "--search", "zebra", "--json"]);
    let hits: serde_json::Value = serde_json::from_slice(&got.stdout).unwrap();
    assert_eq!((&hits[0]["run"], &hits[0]["where"]), (&run.as_str().into(), &"prompt".into()), "{}", got.all());
    assert!(repo.expect(0, &["log", "--search", "unicorn"]).contains("nothing of any run has `unicorn`"));
    assert!(repo.expect(125, &["log", "--search", "\"--\""]).contains("letters or digits"));
    std::fs::write(&index, b"this was an index once, was it not? it is none any more, alas, for sure").unwrap();
    let found = repo.expect(0, &["log", "--search", "lion"]);
    assert!(found.contains("the index was made anew: it was damaged") && found.contains("cargo frobnicate"), "{found}");
    assert_eq!(repo.coffer(&["index", "rebuild"]).out(), "indexed 2 runs\n");
    assert_eq!(repo.json(0, &["index", "rebuild", "--json"])["indexed"], 2);
    assert!(repo.expect(0, &["log", "--search", "lion"]).contains("cargo frobnicate"));
}

#[test]
fn a_promoted_line_leads_back_to_its_run() {
    let repo = Repo::new();
    let first = repo.edit("sed -i 's/^line 7$/line seven/' a.txt; echo new > fresh.txt");
    repo.expect(0, &["promote"]);
    let blamed = repo.coffer(&["blame", "a.txt"]).out();
    let line = |n: usize, text: &str| text.lines().nth(n - 1).unwrap().to_owned();
    assert!(line(7, &blamed).starts_with(&first[..4]) && line(7, &blamed).ends_with("line seven"), "{blamed}");
    assert!(line(8, &blamed).starts_with('—'), "{blamed}");
    // The person goes on, then another run.
    repo.write("a.txt", &repo.read("a.txt").replace("line 30\n", "line thirty\n"));
    let second = repo.edit("sed -i 's/^line 20$/line twenty/' a.txt");
    repo.expect(0, &["promote"]);
    let facts = repo.json(0, &["blame", "a.txt", "--json"]);
    let of = |n: usize| {
        let at = facts["lines"][n - 1]["origin"].as_u64();
        at.map(|at| facts["origins"][usize::try_from(at).unwrap()]["run"].as_str().unwrap().to_owned())
    };
    assert_eq!((of(7), of(20), of(30), of(1)), (Some(first.clone()), Some(second), None, None), "{facts}");
    let said = repo.expect(0, &["blame", "a.txt:7"]);
    assert!(said.contains(&format!("run       {}, promotion 1", &first[..4])), "{said}");
    assert!(repo.expect(0, &["blame", "a.txt:30"]).contains("not from any run"));
    let said = repo.coffer_in(&repo.path("src"), &["blame", "../fresh.txt:1"]);
    assert!(said.out().contains(&first[..4]), "{}", said.all());
    repo.expect(0, &["undo"]);
    let facts = repo.json(0, &["blame", "a.txt", "--json"]);
    assert_eq!(facts["lines"][19]["origin"], serde_json::Value::Null);
    for (bad, word) in [
        ("a.txt:4000", "no line 4000"),
        ("nothing.txt", "no file"),
        ("data.bin", "binary"),
        ("src", "regular file"),
        ("link", "cannot be read"),
        ("../outside", "no file"),
    ] {
        let said = repo.expect(125, &["blame", bad]);
        assert!(said.contains(word), "{bad}: {said}");
    }
    assert!(repo.expect(0, &["blame", "b.txt"]).contains("no promotion"));
}

#[test]
fn a_promoted_line_leads_to_its_command_prompt_and_tests() {
    let repo = Repo::new();
    let before = repo.read("a.txt");
    let first = before.replace("line 7\n", "line seven\n");
    let second = first.replace("line 20\n", "line twenty\n");
    let mut seqs = Vec::new();
    let edits = "sed -i 's/^line 7$/line seven/; s/^line 20$/line twenty/' a.txt";
    let (run, _) = planted_over(&repo, edits, |run, evidence| {
        let mut s = Session::named(run, &["claude"], Some(evidence));
        s.base("a.txt", before.as_bytes());
        let agent = s.exec(None, &["claude"]);
        s.prompt("write the numbers out\nin words");
        for (command, text) in [("sed -i 's/ 7$/ seven/' a.txt", &first), ("./words 20 a.txt", &second)] {
            let c = by_shell(&mut s, agent, command);
            s.file("a.txt", Some(text.as_bytes()), &[c.seq, agent.seq]);
            s.exit(c, 0);
            seqs.push(c.seq);
        }
        let c = by_shell(&mut s, agent, "pytest -q");
        s.tests(c, "pytest", 12, &[]);
        s.exit(c, 0);
        s.end(0);
        s
    });
    repo.expect(0, &["promote"]);
    repo.write("a.txt", &repo.read("a.txt").replace("line 33\n", "line 33, by hand\n"));
    let said = repo.expect(0, &["blame", "a.txt:20"]);
    for word in [&format!("{} ./words 20 a.txt", seqs[1])[..], "write the numbers out", "✓ 12 passed", &run[..4]] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains("doubt"), "{said}");
    assert!(repo.expect(0, &["blame", "a.txt:7"]).contains(&format!("{} sed -i", seqs[0])));
    assert!(repo.expect(0, &["blame", "a.txt:33"]).contains("not from any run"));
    let listed = repo.coffer(&["blame", "a.txt"]).out();
    assert_eq!(listed.lines().filter(|line| line.starts_with('—')).count(), 38, "{listed}");
}

#[test]
fn stats_count_what_the_logs_say() {
    let repo = Repo::new();
    assert!(repo.expect(0, &["stats"]).contains("no runs"));
    repo.edit("echo x > x.txt");
    repo.expect(0, &["promote"]);
    repo.edit("echo y > y.txt");
    repo.expect(0, &["discard", "--yes"]);
    planted(&repo, |run, evidence| {
        let mut s = Session::named(run, &["claude"], Some(evidence));
        let agent = s.exec(None, &["claude"]);
        s.push(None, EventKind::LimitReached { limit: "processes".into(), value: 1, action: "refused".into() });
        s.exit(agent, 0);
        s.end(0);
        s
    });
    let facts = repo.json(0, &["stats", "--json"]);
    let count = |name: &str| facts[name].as_u64().unwrap();
    assert_eq!((count("runs"), count("promoted"), count("discarded")), (3, 1, 1), "{facts}");
    assert_eq!((count("refusals"), count("refused_runs")), (1, 1), "{facts}");
    assert!(count("startup_known") >= 1 && facts["startup_p95"].as_u64().is_some(), "{facts}");
    assert!(facts["promotion_median"].as_u64().is_some(), "{facts}");
    let text = repo.expect(0, &["stats"]);
    assert!(text.contains("promoted") && text.contains("1 (33 %)"), "{text}");
    assert_eq!(repo.json(0, &["stats", "--since", "2100-01-01", "--json"])["runs"], 0);
}
