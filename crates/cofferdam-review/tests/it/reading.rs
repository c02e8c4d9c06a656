//! What models had read, and what agents' own transcripts say.

use std::path::Path;

use cofferdam_core::Bytes;
use cofferdam_core::event::{Body, EventKind, HttpExchange, Link, RuleRef, Stream};
use cofferdam_evidence::RecorderKey;
use cofferdam_review::exposure::{Exposure, Origin};
use cofferdam_review::transcripts::{Disagreement, compare};
use serde_json::{Value, json};

use crate::session::{HOSTILE, Running, Session, by_shell};

fn fetched(s: &mut Session, by: Running, url: &str) {
    let exchange = HttpExchange {
        connection: 1,
        method: "GET".into(),
        url: url.into(),
        version: "HTTP/1.1".into(),
        status: Some(200),
        rule: RuleRef { layer: "person".into(), file: None, line: 1, name: None },
        purpose: "read".into(),
        request: Vec::new(),
        sent: Body::default(),
        response: Vec::new(),
        received: Body::default(),
        answered: None,
        microseconds: 1,
        upgrade: None,
        changed: Vec::new(),
        error: None,
    };
    s.push(Some((by.seq, Link::Socket)), EventKind::HttpExchange(Box::new(exchange)));
}

#[test]
fn what_had_been_read_before_a_file_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = Session::new(&["claude"], Some(dir.path()));
    let agent = s.exec(None, &["claude"]);
    let step = |s: &mut Session, id: &str, tool: &str, arguments: Value| {
        s.ask(None);
        let call = s.call(id, tool, &arguments);
        if let Some(command) = arguments.get("command").and_then(Value::as_str) {
            let c = by_shell(s, agent, command);
            if command.starts_with("gh ") {
                fetched(s, c, "https://api.github.com/repos/a/b/issues/7?token=x");
            }
            s.output(c, Stream::Stdout, b"text\n");
            s.exit(c, 0);
        }
        s.told(call, b"text", false);
        call
    };
    step(&mut s, "r1", "Read", json!({"file_path": "/home/dev/src/app/src/a.rs"}));
    step(&mut s, "r2", "Bash", json!({"command": "cat node_modules/left-pad/README.md"}));
    step(&mut s, "r3", "Bash", json!({"command": "gh issue view 7"}));
    s.ask(None);
    let write = s.call("w1", "Write", &json!({"file_path": "src/a.rs", "content": "early\n"}));
    s.file("src/a.rs", Some(b"early\n"), &[agent.seq]);
    s.told(write, b"ok", false);
    let web = step(&mut s, "r4", "WebFetch", json!({"url": "https://evil.example/x"}));
    s.ask(None);
    let late = s.call("w2", "Write", &json!({"file_path": "src/b.rs", "content": "late\n"}));
    s.file("src/b.rs", Some(b"late\n"), &[agent.seq]);
    s.told(late, b"ok", false);
    s.end(0);
    s.write(dir.path(), RecorderKey::generate().unwrap());
    let exposure = Exposure::read(dir.path()).unwrap();
    let files = exposure.files(None);
    assert_eq!(files.len(), 2);
    let of = |n: usize| files[n].seen.iter().map(|seen| (seen.origin, seen.what.as_str())).collect::<Vec<_>>();
    let issue = (Origin::Issue, "https://api.github.com/repos/a/b/issues/7");
    let package = (Origin::Package, "node_modules/left-pad/README.md");
    assert_eq!(of(0), [issue, package, (Origin::Project, "src/a.rs")], "what came later is not among it");
    assert_eq!(files[0].call, Some(write));
    assert_eq!(of(1)[0], (Origin::Network, "https://evil.example/x"));
    assert_eq!((of(1).len(), files[1].seen[0].call), (4, web));
    let some = exposure.files(Some(&Bytes::from("src/b.rs")));
    assert_eq!(some.len(), 1);
    assert!(exposure.files(Some(&Bytes::from("sr"))).is_empty());
    assert_eq!(exposure.files(Some(&Bytes::from("src"))).len(), 2);
}

/// A run with two calls and a message, and a transcript of it as Claude Code keeps them.
fn transcribed(dir: &Path, change: impl FnOnce(&mut Vec<Value>)) -> cofferdam_review::transcripts::Compared {
    let evidence = dir.join("evidence");
    let mut s = Session::new(&["claude"], Some(&evidence));
    let agent = s.exec(None, &["claude"]);
    s.ask(Some("I will look."));
    let one = s.call("toolu_1", "Bash", &json!({"command": "cargo test"}));
    let c = by_shell(&mut s, agent, "cargo test");
    s.exit(c, 101);
    s.told(one, b"1 failed\n", true);
    s.ask(None);
    let two = s.call("toolu_2", "Bash", &json!({"command": "rm -rf build", "description": "x"}));
    s.told(two, b"", false);
    s.ask(Some("It fails."));
    s.end(0);
    s.write(&evidence, RecorderKey::generate().unwrap());
    let says = |blocks: Value| json!({"type": "assistant", "message": {"role": "assistant", "content": blocks}});
    let result = |id: &str, text: &str| json!({"type": "user", "message": {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": text}]}});
    let mut lines = vec![
        says(json!([{"type": "text", "text": "I will look."}])),
        says(json!([{"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "cargo test"}}])),
        result("toolu_1", "1 failed"),
        says(
            json!([{"type": "tool_use", "id": "toolu_2", "name": "Bash", "input": {"description": "x", "command": "rm -rf build"}}]),
        ),
        result("toolu_2", ""),
        says(json!([{"type": "text", "text": "It fails."}])),
    ];
    change(&mut lines);
    let home = dir.join("home");
    let project = home.join(".claude/projects/-home-dev");
    std::fs::create_dir_all(&project).unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(project.join("session.jsonl"), text).unwrap();
    let elsewhere = says(json!([{"type": "tool_use", "id": "other", "name": "Bash", "input": {}}]));
    std::fs::write(project.join("another-run.jsonl"), elsewhere.to_string()).unwrap();
    compare(&evidence, &home).unwrap().unwrap()
}

#[test]
fn a_faithful_transcript_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let found = transcribed(dir.path(), |_| {});
    assert_eq!((found.differences.as_slice(), found.alike, found.others), (&[][..], 6, 1));
    assert_eq!(found.last.as_deref(), Some(&b"It fails."[..]));
    assert_eq!(found.files, [".claude/projects/-home-dev/session.jsonl"]);
}

#[test]
fn a_forged_transcript_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let found = transcribed(dir.path(), |lines| {
        lines[2]["message"]["content"][0]["content"] = "214 passed\u{1b}[2J".into();
        lines.truncate(3);
        lines.push(json!({"type": "assistant", "message": {"content": [
            {"type": "text", "text": "All tests pass."},
            {"type": "tool_use", "id": "toolu_9", "name": "Bash", "input": {"command": "never ran"}},
        ]}}));
    });
    let got: Vec<_> = found.differences.iter().map(|d| (d.how, d.what, d.id.as_str())).collect();
    assert_eq!(
        got,
        [
            (Disagreement::Altered, "result", "toolu_1"),
            (Disagreement::Missing, "call", "toolu_2"),
            (Disagreement::Missing, "result", "toolu_2"),
            (Disagreement::Only, "call", "toolu_9"),
            (Disagreement::Only, "message", ""),
            (Disagreement::Missing, "message", ""),
        ]
    );
    assert_eq!(
        (found.differences[0].wire.as_str(), found.differences[0].transcript.as_str()),
        ("1 failed", "214 passed")
    );
}

#[test]
fn a_hostile_transcript_stays_text() {
    let dir = tempfile::tempdir().unwrap();
    let found = transcribed(dir.path(), |lines| {
        for text in HOSTILE {
            lines.push(json!({"type": "assistant", "message": {"content": [
                {"type": "text", "text": text}, {"type": "tool_use", "id": text, "name": text, "input": {*text: text}},
            ]}}));
        }
        for n in 0..5000 {
            lines
                .push(json!({"type": "assistant", "message": {"content": [{"type": "text", "text": format!("{n}")}]}}));
        }
        lines.push(Value::String("x".repeat(9 << 20)));
    });
    assert!(
        found.differences.len() <= 200 && found.more > 4000 && found.unread == 1,
        "{} {}",
        found.more,
        found.unread
    );
    for difference in &found.differences {
        for text in [&difference.wire, &difference.transcript, &difference.id] {
            assert!(!text.chars().any(|c| c.is_control() || cofferdam_workspace::diff::is_hidden(c)), "{text:?}");
        }
    }
}
