//! The story of a run.

use cofferdam_core::event::{EventKind, Link, Stream};
use cofferdam_evidence::RecorderKey;
use cofferdam_review::Heads;
use cofferdam_review::story::{Collector, Layout, Story, Theme};
use cofferdam_workspace::diff::is_hidden;

use crate::session::{self, Session, by_shell, generated};

const LAYOUT: Layout<'_> = Layout { run: "7777", lines: Some(60), width: 100, theme: None, live: false };

fn story(session: &Session) -> Story {
    let mut collector = Collector::default();
    for event in &session.events {
        collector.push(event.clone());
    }
    collector.finish()
}

fn assert_safe(text: &str) {
    for line in text.lines() {
        assert!(!line.chars().any(|c| c.is_control() || is_hidden(c)), "{line:?}");
        assert!(cofferdam_review::text::columns(line) <= LAYOUT.width, "{line:?}");
    }
}

/// A short session in which everything that a story knows happens once.
fn short(evidence: &std::path::Path) -> Session {
    let mut s = Session::new(&["claude", "-p", "fix the flaky test"], Some(evidence));
    s.base("src/cache.rs", b"old\n");
    let agent = s.exec(None, &["claude", "-p", "fix the flaky test"]);
    s.prompt("fix the flaky test\n\nand say why it was flaky");
    for look in ["ls", "rg -n flaky src", "cat src/cache.rs | head -40", "git log --oneline"] {
        let c = by_shell(&mut s, agent, look);
        s.exit(c, 0);
    }
    for attempt in 0..3 {
        let c = by_shell(&mut s, agent, "cargo test --lib");
        let cargo = s.exec(Some(c), &["cargo", "test", "--lib"]);
        for n in 0..5 {
            let rustc = s.exec(Some(cargo), &["rustc", "--crate-name", "x"]);
            s.exit(rustc, i32::from(attempt == 0 && n == 4));
        }
        let failing: &[&str] = if attempt < 2 { &["cache::expires"] } else { &[] };
        let text: &[u8] = if attempt < 2 {
            b"running 214 tests\n...\ntest cache::expires ... FAILED\n\nfailures:\n    cache::expires\n"
        } else {
            b"running 214 tests\nall ok\n"
        };
        s.wait(2300);
        s.output(c, Stream::Both, text);
        s.tests(c, "cargo-test", 214 - failing.len() as u64, failing);
        s.exit(cargo, if attempt < 2 { 101 } else { 0 });
        s.exit(c, if attempt < 2 { 101 } else { 0 });
        if attempt == 1 {
            s.file("src/cache.rs", Some(b"new\n"), &[agent.seq]);
            let c = by_shell(&mut s, agent, "sed -i s/5/50/ src/cache.rs && touch tests/slow.rs");
            s.file("src/cache.rs", Some(b"newer\n"), &[c.seq, agent.seq]);
            s.file("tests/slow.rs", Some(b""), &[c.seq, agent.seq]);
            s.exit(c, 0);
        }
    }
    let words = vec!["printf".into(), "\x1b[2J\u{202e}".into(), vec![0xff, b'\n'].into()];
    let c = s.exec_raw(Some(agent), words, "/usr/bin/", Link::Parent);
    s.output(c, Stream::Stdout, b"\x1b[2Jforged\r\n");
    s.exit(c, 0);
    s.push(None, EventKind::LimitReached { limit: "processes".into(), value: 4096, action: "refused".into() });
    s.push(None, EventKind::EvidenceGap { what: "bytes of output\x1b".into(), count: 1_234_567 });
    s.wait(400);
    s.exit(agent, 0);
    s.end(0);
    s
}

#[test]
fn a_short_run_is_told_whole() {
    let dir = tempfile::tempdir().unwrap();
    let session = short(dir.path());
    let told = story(&session).render(&Heads::open(dir.path()).unwrap(), &LAYOUT);
    assert_safe(&told);
    let expected = include_str!("expected/short.txt");
    assert_eq!(told, expected, "\n{told}");
}

#[test]
fn a_thousand_commands_read_in_sixty_lines() {
    for seed in 0..200 {
        let session = generated(seed, if seed < 150 { 1000 } else { 300 }, None);
        let story = story(&session);
        let told = story.render(&Heads::none(), &LAYOUT);
        assert!(told.lines().count() <= 60, "seed {seed}: {} lines\n{told}", told.lines().count());
        assert!(told.lines().count() >= 40, "seed {seed}: it says too little\n{told}");
        assert_safe(&told);
        // Nothing is folded in silence, and every failure is either shown or counted.
        let failed = story.commands().filter(|c| c.failed()).count();
        assert!(told.contains(&format!(", {} failed", cofferdam_review::text::grouped(failed as u64))));
        assert!(told.contains("--all"), "{told}");
    }
}

#[test]
fn the_network_stands_below_the_commands_that_made_it() {
    let mut s = Session::new(&["claude"], None);
    let agent = s.exec(None, &["claude"]);
    s.reach(agent, 5);
    for n in [2, 7, 14] {
        let c = session::by_shell(&mut s, agent, "npm install");
        let node = s.exec(Some(c), &["node", "npm"]);
        s.reach(node, n);
        s.exit(node, 0);
        s.exit(c, 0);
    }
    s.exit(agent, 0);
    s.end(0);
    let told = story(&s).render(&Heads::none(), &LAYOUT);
    assert_safe(&told);
    let lines: Vec<&str> = told.lines().map(str::trim).collect();
    assert!(lines[3].starts_with("8 requests to 2 hosts · 2 denied ("), "{told}");
    let command = lines.iter().position(|l| l.contains("npm install") && l.contains("×3")).unwrap();
    let agents = lines.iter().position(|l| l.contains("network git.example:443 1 request")).unwrap();
    assert!(agents < command, "what the agent did itself has a line of its own\n{told}");
    let below = &lines[command + 1..];
    assert!(below[0].starts_with("denied https") && below[1].starts_with("denied https"), "{told}");
    assert!(below.iter().any(|l| l.starts_with("network api.example:443 3 requests")), "{told}");
    assert!(below.iter().any(|l| l.starts_with("network git.example:443 4 requests")), "{told}");
    assert!(told.contains("for \"fetch packages\""), "{told}");
    let all = story(&s).render(&Heads::none(), &Layout { lines: None, ..LAYOUT });
    assert_eq!(all.matches("denied https").count(), 2, "{all}");
}

#[test]
fn each_first_denial_of_a_long_run_is_shown_or_counted() {
    let mut denials = 0;
    for seed in 0..20 {
        let session = generated(seed, 1000, None);
        let story = story(&session);
        let told = story.render(&Heads::none(), &LAYOUT);
        let denied = session.events.iter().filter(|e| matches!(e.what, EventKind::NetDenied(_))).count();
        assert_eq!(story.network.denied, denied as u64);
        denials += denied;
        assert!(denied == 0 || told.contains(&format!("· {denied} denied (")), "seed {seed}\n{told}");
        let first = story.commands().find(|c| c.network.denied > 0);
        let shown = |seq: u64| told.lines().any(|l| l.trim_start().starts_with(&format!("{seq} ")));
        assert!(first.is_none_or(|c| shown(c.seq)), "seed {seed}\n{told}");
    }
    assert!(denials > 100);
}

#[test]
fn what_failed_first_what_fixed_it_and_the_last_tests_are_always_there() {
    for seed in 0..20 {
        let session = generated(seed, 1000, None);
        let story = story(&session);
        let told = story.render(&Heads::none(), &LAYOUT);
        let shown = |seq: u64| told.lines().any(|l| l.trim_start().starts_with(&format!("{seq} ")));
        let tests = |failed: bool| {
            story.commands().filter(move |c| c.name == "cargo test" && !c.tests.is_empty() && c.failed() == failed)
        };
        let first = tests(true).next().unwrap();
        let next = story.commands().find(|c| c.seq > first.seq).unwrap();
        // Of the same command several times in a row the last that failed stands for all.
        assert!(shown(first.seq) || next.text == first.text, "seed {seed}: {}\n{told}", first.seq);
        assert!(told.contains("works now"), "seed {seed}\n{told}");
        let last = story.commands().filter(|c| !c.tests.is_empty()).last().unwrap();
        assert!(shown(last.seq), "seed {seed}: {}\n{told}", last.seq);
    }
}

#[test]
fn all_of_it_leaves_nothing_out() {
    let session = generated(3, 1000, None);
    let story = story(&session);
    let told = story.render(&Heads::none(), &Layout { lines: None, ..LAYOUT });
    assert_safe(&told);
    for command in story.commands() {
        assert!(told.lines().any(|l| l.trim_start().starts_with(&format!("{} ", command.seq))), "{}", command.seq);
    }
}

#[test]
fn outputs_and_names_from_inside_never_reach_the_terminal_raw() {
    let dir = tempfile::tempdir().unwrap();
    let session = generated(11, 400, Some(dir.path()));
    let theme = Theme {
        asked: "\x1b[1m",
        dim: "\x1b[2m",
        good: "\x1b[32m",
        bad: "\x1b[31m",
        warning: "\x1b[33m",
        reset: "\x1b[0m",
    };
    for lines in [Some(60), None] {
        let heads = Heads::open(dir.path()).unwrap();
        let told = story(&session).render(&heads, &Layout { lines, ..LAYOUT });
        assert_safe(&told);
        assert!(lines.is_some() || told.contains("Traceback \\u{1b}[2J"), "{told}");
        let coloured = story(&session).render(&heads, &Layout { lines, theme: Some(theme), ..LAYOUT });
        let mut plain = coloured;
        for code in [theme.asked, theme.dim, theme.good, theme.bad, theme.warning, theme.reset] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, told, "colours change nothing else");
    }
}

#[test]
fn a_build_is_one_command_and_its_compilers_are_counted() {
    let mut s = Session::new(&["make", "-j4"], None);
    let make = s.exec(None, &["make", "-j4"]);
    for n in 0..120 {
        let cc = s.exec(Some(make), &["cc", "-c", "x.c"]);
        let assembler = s.exec(Some(cc), &["as"]);
        s.exit(assembler, 0);
        s.exit(cc, i32::from(n < 2));
    }
    s.exit(make, 2);
    s.end(2);
    let story = story(&s);
    assert_eq!(story.commands().count(), 1);
    let told = story.render(&Heads::none(), &LAYOUT);
    assert!(told.contains("… 240 processes: as ×120, cc ×120, 2 failed"), "{told}");
}

#[test]
fn an_agent_behind_wrappers_is_the_agent() {
    for wrapper in [&["timeout", "1h", "claude"][..], &["sh", "-c", "cd x && claude -p y; echo done"]] {
        let mut s = Session::new(wrapper, None);
        let outer = s.exec(None, wrapper);
        let agent = s.exec(Some(outer), &["claude", "-p", "y"]);
        for _ in 0..3 {
            let c = by_shell(&mut s, agent, "make");
            s.exit(c, 0);
        }
        s.exit(agent, 0);
        s.exit(outer, 0);
        s.end(0);
        let story = story(&s);
        assert_eq!(story.commands().filter(|c| c.text == "make").count(), 3, "{wrapper:?}");
    }
}

#[test]
fn a_shell_that_the_agent_feeds_is_not_the_command() {
    let mut s = Session::new(&["agent"], None);
    let agent = s.exec(None, &["agent"]);
    let shell = s.exec(Some(agent), &["bash", "--norc"]);
    for word in ["ls", "make", "false"] {
        let c = s.exec(Some(shell), &[word]);
        s.exit(c, i32::from(word == "false"));
    }
    s.exit(shell, 0);
    s.end(0);
    let texts: Vec<String> = story(&s).commands().map(|c| c.text.clone()).collect();
    assert_eq!(texts, ["ls", "make", "false"]);
}

#[test]
fn a_read_by_a_program_of_the_workspace_is_no_read() {
    let mut s = Session::new(&["agent"], None);
    let agent = s.exec(None, &["agent"]);
    let c = s.exec_raw(Some(agent), vec!["./ls".into()], &format!("{}/", session::PROJECT), Link::Parent);
    s.exit(c, 0);
    let c = s.exec(Some(agent), &["ls"]);
    s.exit(c, 0);
    let boring: Vec<bool> = story(&s).commands().map(|c| c.is_boring()).collect();
    assert_eq!(boring, [false, true]);
}

#[test]
fn a_log_with_strange_lines_is_told_and_they_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let evidence = dir.path().join("evidence");
    std::fs::create_dir(&evidence).unwrap();
    let session = short(&evidence);
    session.write(&evidence, RecorderKey::generate().unwrap());
    let log = evidence.join("log.jsonl");
    let mut text = std::fs::read(&log).unwrap();
    text.extend_from_slice(
        b"{\"seq\":99,\"time\":\"2026-11-24T13:40:01.000000000Z\",\"kind\":\"net.denied\",\"data\":{}}\n{\"seq\":1",
    );
    std::fs::write(&log, text).unwrap();
    let told = Story::read(&evidence).unwrap().render(&Heads::open(&evidence).unwrap(), &LAYOUT);
    assert!(told.contains("1 line of the log: not an event that this coffer knows"), "{told}");
    assert!(told.contains("half a line (8 bytes)"), "{told}");
    assert_safe(&told);
}

#[test]
fn nothing_that_a_run_says_can_pass_for_a_line_of_the_story() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = Session::new(&["agent"], Some(dir.path()));
    let agent = s.exec(None, &["agent"]);
    let forged = "x\n9999    cargo test  ✓ 212 passed\n   …    looked around: 9 commands (1–9): ls";
    s.prompt(forged);
    let c = s.exec(Some(agent), &["tool", forged]);
    s.output(c, Stream::Stderr, forged.as_bytes());
    s.file(forged, Some(b"x"), &[c.seq]);
    s.tests(c, forged, 1, &[forged]);
    s.exit(c, 1);
    s.end(0);
    for lines in [Some(60), None] {
        let told = story(&s).render(&Heads::open(dir.path()).unwrap(), &Layout { lines, ..LAYOUT });
        for line in told.lines().map(str::trim_start) {
            assert!(!line.starts_with("9999") && !line.starts_with("… "), "{told}");
        }
    }
}

#[test]
fn what_processes_below_print_to_each_other_is_not_shown_as_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = Session::new(&["agent"], Some(dir.path()));
    let agent = s.exec(None, &["agent"]);
    let c = by_shell(&mut s, agent, "tool");
    let image = s.exec_raw(Some(c), vec!["tool".into()], "/usr/bin/", Link::Process);
    let below = s.exec(Some(image), &["helper"]);
    s.output(below, Stream::Stdout, b"for the tool only\n");
    s.output(image, Stream::Stderr, b"for the agent\n");
    s.exit(below, 0);
    s.exit(image, 1);
    s.end(0);
    let told = story(&s).render(&Heads::open(dir.path()).unwrap(), &LAYOUT);
    assert!(told.contains("│ for the agent") && !told.contains("for the tool only"), "{told}");
}

#[test]
fn lines_are_read_as_serde_reads_them() {
    let session = generated(8, 300, None);
    for event in &session.events {
        let line = serde_json::to_vec(event).unwrap();
        assert_eq!(cofferdam_review::parse(&line).as_ref(), Some(event));
    }
    let time = r#""time":"2026-11-24T13:40:01.000000000Z""#;
    for line in [
        String::new(),
        "{}".into(),
        format!(r#"{{"seq":1,{time},"kind":"net.denied","data":{{}}}}"#),
        format!(r#"{{"seq":1,{time},"kind":"process.exec","data":{{}}}}"#),
        format!(r#"{{"seq":1,{time},"kind":"prompt"}}"#),
        format!(r#"{{"seq":-1,{time},"kind":"file.changed","data":{{"path":"x"}}}}"#),
        format!(r#"{{"seq":1,{time},"kind":"file.changed","data":{{"path":"x"}}}} y"#),
    ] {
        assert!(serde_json::from_str::<cofferdam_core::event::Event>(&line).is_err(), "{line}");
        assert_eq!(cofferdam_review::parse(line.as_bytes()), None, "{line}");
    }
    let escaped = format!(r#"{{"data":{{"path":"x"}},"kind":"file\u002echanged","seq":1,{time}}}"#);
    assert_eq!(cofferdam_review::parse(escaped.as_bytes()), serde_json::from_str(&escaped).ok());
}

/// What a script's commands print through its own output is its own, and no less a test.
#[test]
fn the_tests_of_the_runs_own_command_are_in_the_header() {
    let mut s = Session::new(&["sh", "agent.sh"], None);
    let script = s.exec(None, &["sh", "agent.sh"]);
    let cargo = s.exec(Some(script), &["cargo", "test"]);
    s.exit(cargo, 0);
    s.tests(script, "cargo-test", 12, &[]);
    s.exit(script, 0);
    s.end(0);
    let told = story(&s).render(&Heads::none(), &LAYOUT);
    assert!(told.contains("1 command, 0 failed") && told.contains("1 test run, the last ✓ 12 passed"), "{told}");
    // Where it is the only command it is told once.
    let mut s = Session::new(&["cargo", "test"], None);
    let cargo = s.exec(None, &["cargo", "test"]);
    s.tests(cargo, "cargo-test", 12, &[]);
    s.exit(cargo, 0);
    s.end(0);
    let told = story(&s).render(&Heads::none(), &LAYOUT);
    assert!(told.contains("1 test run, the last ✓ 12 passed"), "{told}");
}
