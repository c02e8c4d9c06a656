//! What models asked for, what came of it, and what they were told.

use std::path::Path;

use cofferdam_core::event::{Event, EventKind, Link, Stream};
use cofferdam_review::Heads;
use cofferdam_review::causes::{Call, Comparison, How};
use cofferdam_review::story::{Collector, Layout, Story};
use cofferdam_workspace::diff::is_hidden;
use serde_json::json;

use crate::session::{HOSTILE, Session, by_shell};

const LAYOUT: Layout<'_> = Layout { run: "7777", lines: Some(60), width: 100, theme: None, live: false };

pub fn story(session: &Session, evidence: &Path) -> Story {
    let mut collector = Collector::new(Heads::open(evidence).unwrap());
    for event in &session.events {
        collector.push(event.clone());
    }
    collector.finish()
}

fn render(session: &Session, evidence: &Path, layout: &Layout<'_>) -> String {
    let told = story(session, evidence).render(&Heads::open(evidence).unwrap(), layout);
    for line in told.lines() {
        assert!(!line.chars().any(|c| c.is_control() || is_hidden(c)), "{line:?}");
        assert!(cofferdam_review::text::columns(line) <= layout.width, "{line:?}");
    }
    told
}

fn calls(session: &Session, evidence: &Path) -> Vec<Call> {
    story(session, evidence).calls.iter().map(|call| Call::clone(call)).collect()
}

/// A command that a model asks for: call, process, output, end, result.
fn bash(
    s: &mut Session,
    agent: crate::session::Running,
    id: &str,
    command: &str,
    printed: &str,
    code: i32,
    told: &str,
) -> u64 {
    let call = s.call(id, "Bash", &json!({"command": command}));
    let c = by_shell(s, agent, command);
    s.output(c, Stream::Stdout, printed.as_bytes());
    s.exit(c, code);
    s.told(call, told.as_bytes(), code != 0);
    call
}

/// A run in which the agent edits, tests, and tells its model that the failing tests passed.
fn liar(evidence: &Path) -> Session {
    let mut s = Session::new(&["claude", "-p", "fix it"], Some(evidence));
    s.base("src/a.rs", b"fn a() {}\n");
    let agent = s.exec(None, &["claude", "-p", "fix it"]);
    s.prompt("fix it");
    s.ask(Some("I will look at the file first."));
    let read = s.call("t1", "Read", &json!({"file_path": "/home/dev/src/app/src/a.rs"}));
    s.told(read, b"1\tfn a() {}", false);
    s.ask(None);
    let edit = s.call("t2", "Edit", &json!({"file_path": "src/a.rs", "old_string": "{}", "new_string": "{ b() }"}));
    s.file("src/a.rs", Some(b"fn a() { b() }\n"), &[agent.seq]);
    s.told(edit, b"The file has been updated.", false);
    s.ask(None);
    bash(
        &mut s,
        agent,
        "t3",
        "cargo test",
        "running 2 tests\ntest result: FAILED. 1 passed; 1 failed\n",
        101,
        "Exit code 101\nrunning 2 tests\ntest result: ok. 2 passed; 0 failed",
    );
    s.ask(None);
    bash(&mut s, agent, "t4", "git status --short", " M src/a.rs\n", 0, "M src/a.rs");
    s.ask(Some("All tests pass.\n\nI changed `src/a.rs`.\nThird line."));
    s.exit(agent, 0);
    s.end(0);
    s
}

#[test]
fn the_story_reads_from_prompt_to_what_the_model_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let session = liar(dir.path());
    let told = render(&session, dir.path(), &LAYOUT);
    assert_eq!(told, include_str!("expected/liar.txt"), "\n{told}");
}

#[test]
fn links_say_how_they_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let session = liar(dir.path());
    let calls = calls(&session, dir.path());
    assert_eq!(calls.len(), 4);
    assert!(calls[0].ran.is_empty() && calls[0].changed.is_empty());
    let changed = &calls[1].changed[0];
    assert_eq!((changed.how, changed.ambiguous, changed.letter), (How::Content, false, 'M'));
    assert_eq!((calls[2].ran[0].how, calls[2].ran[0].ambiguous), (How::Argv, false));
    assert!(calls[2].differs() && !calls[3].differs());
    assert_eq!(calls[3].printed, Some(Comparison::Same));
}

#[test]
fn calls_that_cannot_be_told_apart_are_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = Session::new(&["claude"], Some(dir.path()));
    let agent = s.exec(None, &["claude"]);
    // Two of the same text at once.
    s.ask(None);
    let pair = [s.call("a1", "Bash", &json!({"command": "make"})), s.call("a2", "Bash", &json!({"command": "make"}))];
    for _ in 0..2 {
        let c = by_shell(&mut s, agent, "make");
        s.exit(c, 0);
    }
    for call in pair {
        s.told(call, b"", false);
    }
    // A tool whose process has other arguments: by time.
    s.ask(None);
    let grep = s.call("a3", "Grep", &json!({"pattern": "x"}));
    let c = s.exec(Some(agent), &["rg", "--json", "x"]);
    s.output(c, Stream::Stdout, b"{}\n");
    s.exit(c, 0);
    s.told(grep, b"a.rs:1:x", false);
    // Two such at once.
    s.ask(None);
    let two = [s.call("a4", "Grep", &json!({"pattern": "y"})), s.call("a5", "Glob", &json!({"pattern": "*.y"}))];
    for word in ["y", "z"] {
        let c = s.exec(Some(agent), &["rg", word]);
        s.exit(c, 0);
    }
    for call in two {
        s.told(call, b"", false);
    }
    // By id, and one for which nothing ran.
    s.ask(None);
    let by_id = s.call("toolu_0123456789", "Odd", &json!({}));
    let c = s.exec(Some(agent), &["helper", "--call=toolu_0123456789"]);
    s.exit(c, 0);
    s.told(by_id, b"", false);
    s.ask(None);
    let nothing = s.call("a7", "Bash", &json!({"command": "cargo test --all"}));
    s.told(nothing, b"test result: ok. 99 passed", false);
    s.end(0);
    let calls = calls(&s, dir.path());
    let links = |n: usize| calls[n].ran.iter().map(|ran| (ran.how, ran.ambiguous)).collect::<Vec<_>>();
    assert_eq!(links(0), [(How::Argv, true)]);
    assert_eq!(links(1), [(How::Argv, true)]);
    assert_ne!(calls[0].ran[0].seq, calls[1].ran[0].seq);
    assert_eq!(links(2), [(How::Window, false)]);
    assert_eq!(links(3), [(How::Window, true); 2]);
    assert_eq!(links(4), [(How::Window, true); 2]);
    assert_eq!(links(5), [(How::Id, false)]);
    assert!(calls[6].ran_nothing());
    assert!(matches!(calls[0].printed, Some(Comparison::Unknown { .. })));
    let told = render(&s, dir.path(), &Layout { lines: None, ..LAYOUT });
    assert!(told.contains("asked Bash: cargo test --all") && told.contains("no command that ran is known"), "{told}");
    assert!(told.contains("others could be meant"), "{told}");
}

#[test]
fn a_process_that_is_quicker_than_the_gateway_is_linked_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = Session::new(&["codex"], Some(dir.path()));
    let agent = s.exec(None, &["codex"]);
    s.ask(None);
    let c = s.exec(Some(agent), &["bash", "-lc", "ls -la"]);
    let call = s.call("q1", "shell", &json!({"command": ["bash", "-lc", "ls -la"]}));
    s.output(c, Stream::Stdout, b"total 0\n");
    s.exit(c, 0);
    s.told(call, br#"{"output":"total 0\n","metadata":{"exit_code":0}}"#, false);
    // So is its result, and the file that it wrote.
    s.ask(None);
    s.file("made.txt", Some(b"made\n"), &[agent.seq]);
    let blob = s.blob(b"done");
    s.push(
        None,
        EventKind::ToolResult(cofferdam_core::event::ToolResult {
            request: 3,
            id: "q0".into(),
            error: false,
            bytes: 4,
            content: Some(blob),
        }),
    );
    s.call("q0", "Write", &json!({"file_path": "made.txt", "content": "made\n"}));
    // Long before the call is no window.
    let early = s.exec(Some(agent), &["git", "status"]);
    s.exit(early, 0);
    s.ask(None);
    let other = s.call("q2", "update_plan", &json!({"plan": []}));
    s.told(other, b"ok", false);
    s.end(0);
    let calls = calls(&s, dir.path());
    assert_eq!((calls[0].ran[0].seq, calls[0].ran[0].how), (c.seq, How::Argv));
    assert_eq!(calls[0].printed, Some(Comparison::Same));
    assert_eq!(calls[1].changed.iter().map(|changed| changed.how).collect::<Vec<_>>(), [How::Content]);
    assert_eq!(calls[1].told.as_ref().map(|told| told.bytes), Some(4));
    assert!(calls[2].ran.is_empty());
}

#[test]
fn edits_are_linked_by_content_path_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = Session::new(&["claude"], Some(dir.path()));
    s.base("b.rs", b"x\n");
    let agent = s.exec(None, &["claude"]);
    let server = by_shell(&mut s, agent, "npm run dev");
    s.ask(None);
    let whole = s.call("e1", "Write", &json!({"file_path": "new/a.rs", "content": "fn new() {}\n"}));
    let other = s.call("e2", "Edit", &json!({"file_path": "b.rs", "old_string": "x", "new_string": "yy"}));
    // The recorder names what ran then; what the file holds says better.
    s.file("new/a.rs", Some(b"fn new() {}\n"), &[server.seq, agent.seq]);
    s.file("b.rs", Some(b"formatted differently\n"), &[agent.seq]);
    s.told(whole, b"ok", false);
    s.told(other, b"ok", false);
    s.ask(None);
    let notebook = s.call("e3", "MyTool", &json!({"x": 1}));
    s.file("c.txt", Some(b"z\n"), &[agent.seq]);
    s.told(notebook, b"ok", false);
    s.ask(None);
    let shell = s.call("e4", "Bash", &json!({"command": "sed -i s/x/y/ b.rs"}));
    let c = by_shell(&mut s, agent, "sed -i s/x/y/ b.rs");
    s.file("d.rs", Some(b"q\n"), &[c.seq, agent.seq]);
    s.exit(c, 0);
    s.told(shell, b"", false);
    s.end(0);
    let calls = calls(&s, dir.path());
    let how = |n: usize| {
        calls[n]
            .changed
            .iter()
            .map(|c| (String::from_utf8_lossy(&c.path.0).into_owned(), c.how, c.ambiguous))
            .collect::<Vec<_>>()
    };
    assert_eq!(how(0), [("new/a.rs".to_owned(), How::Content, false)]);
    assert_eq!(how(1), [("b.rs".to_owned(), How::Path, false)]);
    assert_eq!(how(2), [("c.txt".to_owned(), How::Window, false)]);
    assert_eq!(how(3), [("d.rs".to_owned(), How::Argv, false)]);
}

/// Everything that the model and the agent may choose is hostile.
fn hostile(evidence: &Path) -> Session {
    let mut s = Session::new(&["claude"], Some(evidence));
    let agent = s.exec(None, &["claude"]);
    let giant = "A".repeat(3 << 20);
    for (n, text) in HOSTILE.iter().copied().chain([giant.as_str()]).enumerate() {
        s.ask(Some(text));
        let call = s.call(text, text, &json!({"command": format!("echo {text}"), text: text}));
        let c = s.exec(Some(agent), &["sh", "-c", &format!("echo {}", &text[..text.floor_char_boundary(4000)])]);
        s.output(c, Stream::Stdout, format!("{text}\n").as_bytes());
        s.exit(c, 0);
        s.told(call, [b"\xff\xfe", text.as_bytes()].concat().as_slice(), n % 2 == 0);
        let edit = s.call("x", "Write", &json!({"file_path": text, "content": text}));
        s.told(edit, text.as_bytes(), true);
    }
    // Results and calls that fit nothing, and arguments that are no JSON.
    let raw = s.blob(b"\x00\xff{\"command\": ");
    s.push(
        None,
        EventKind::ToolCall(cofferdam_core::event::ToolCall {
            request: 99,
            id: String::new(),
            name: "Bash".into(),
            bytes: raw.size,
            arguments: Some(raw.clone()),
        }),
    );
    s.push(
        Some((0, Link::Id)),
        EventKind::ToolResult(cofferdam_core::event::ToolResult {
            request: 99,
            id: "never asked".into(),
            error: false,
            bytes: 1,
            content: Some(raw),
        }),
    );
    s.exit(agent, 0);
    s.end(0);
    s
}

#[test]
fn hostile_texts_stay_texts() {
    let dir = tempfile::tempdir().unwrap();
    let session = hostile(dir.path());
    for lines in [Some(60), Some(20), None] {
        let told = render(&session, dir.path(), &Layout { lines, ..LAYOUT });
        assert!(told.lines().count() <= lines.unwrap_or(usize::MAX), "{told}");
    }
}

/// A run of so many tool calls, each with a command.
fn many(commands: usize, evidence: Option<&Path>) -> Session {
    let mut s = Session::new(&["claude"], evidence);
    let agent = s.exec(None, &["claude"]);
    s.prompt("do all of it");
    for n in 0..commands {
        s.ask(Some(if n % 3 == 0 { "Now the next." } else { "And on." }));
        let command = match n % 5 {
            0 => format!("sed -i s/{n}/x/ src/f.rs"),
            1 => "cargo test".to_owned(),
            _ => format!("rg -n {n} src"),
        };
        let code = i32::from(n % 50 == 1);
        bash(&mut s, agent, &format!("toolu_{n:08}"), &command, "some\noutput\n", code, "some\noutput");
    }
    s.ask(Some("Done."));
    s.exit(agent, 0);
    s.end(0);
    s
}

#[test]
fn a_thousand_calls_read_in_sixty_lines() {
    let dir = tempfile::tempdir().unwrap();
    let session = many(1000, Some(dir.path()));
    let told = render(&session, dir.path(), &LAYOUT);
    assert!(told.lines().count() <= 60, "{} lines\n{told}", told.lines().count());
    assert!(told.contains("1,001 requests") && told.contains("1,000 tool calls") && told.contains("« Done."), "{told}");
    let linked = calls(&session, dir.path());
    assert!(linked.iter().all(|call| call.ran.len() == 1 && !call.ran[0].ambiguous && !call.differs()));
}

#[test]
fn a_hundred_thousand_calls_are_linked_in_bounded_memory() {
    // Without blobs nothing is known of what is asked: each is linked by its time.
    let session = many(2, None);
    let template: Vec<Event> = session.events[3..11].to_vec();
    let mut collector = Collector::default();
    for event in session.events.iter().take(3) {
        collector.push(event.clone());
    }
    let mut seq = 3;
    for round in 0..110_000u64 {
        let shift = seq - 3;
        for event in &template {
            let mut event = event.clone();
            event.seq = seq;
            event.time.0 += i64::try_from(round).unwrap() * 1_000_000_000;
            event.cause = event.cause.map(|cause| if cause >= 3 { cause + shift } else { cause });
            match &mut event.what {
                EventKind::ToolCall(call) => call.id = format!("toolu_{round:08}"),
                EventKind::ToolResult(result) => result.id = format!("toolu_{round:08}"),
                EventKind::ProcessExec(exec) => exec.pid += u32::try_from(round).unwrap(),
                _ => {}
            }
            collector.push(event);
            seq += 1;
        }
    }
    let story = collector.finish();
    assert_eq!(story.calls.len(), 100_000);
    assert_eq!(story.unkept, 20_000, "calls and answers beyond are counted");
    assert!(story.calls.iter().all(|call| call.ran.len() <= 1));
    assert!(story.calls.iter().filter(|call| call.ran.len() == 1).count() > 99_000);
}
