//! What the person asks for is in the evidence, and what they type unseen is not.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cofferdam_core::event::{Event, EventKind, PromptSource};
use cofferdam_evidence::BlobStore;

use crate::support::pty::Session;
use crate::support::scene::{self, finish, finish_child};
use crate::support::{Scene, eventually};

/// A stand-in for an agent, in the project.
fn agent(scene: &Scene, name: &str, script: &str) {
    // Written by another process: see `scene::copy_program`.
    let path = scene.project.join(name);
    fs::write(path.with_extension("text"), format!("#!/bin/sh\n{script}\n")).unwrap();
    scene::copy_program(&path.with_extension("text"), &path);
    assert!(std::process::Command::new("chmod").arg("755").arg(&path).status().unwrap().success());
}

/// The evidence of the only run.
fn evidence(scene: &Scene) -> PathBuf {
    let runs: Vec<_> = fs::read_dir(scene.state.join("cofferdam/runs")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].join("evidence")
}

/// The events of a log. A monitor may still be at the end of it.
fn events(evidence: &Path) -> Vec<Event> {
    let log = fs::read_to_string(evidence.join("log.jsonl")).unwrap();
    log.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// The prompts of the only run: how they came, how long they are, what they say; and that the evidence holds.
fn prompts(scene: &Scene) -> Vec<(PromptSource, u64, String)> {
    let evidence = evidence(scene);
    assert!(eventually(10, || events(&evidence).iter().any(|e| matches!(e.what, EventKind::RunEnded(_)))));
    let mut verify = scene.coffer();
    verify.arg("verify");
    let verified = finish(verify, b"");
    assert!(verified.status.success(), "{}", verified.all());
    let blobs = BlobStore::open(&evidence).unwrap();
    let text = |blob| {
        let mut text = String::new();
        blobs.get(blob).unwrap().read_to_string(&mut text).unwrap();
        text
    };
    events(&evidence)
        .iter()
        .filter_map(|e| match &e.what {
            EventKind::Prompt(prompt) => Some((prompt.source, prompt.bytes, text(&prompt.text))),
            _ => None,
        })
        .collect()
}

fn typed(text: &str) -> (PromptSource, u64, String) {
    (PromptSource::Typed, text.len() as u64, text.to_owned())
}

#[test]
fn an_agents_argument_is_a_prompt() {
    let scene = Scene::new();
    agent(&scene, "claude", "echo \"asked: $2\"");
    let got = scene.run(&["./claude", "-p", "mend the flaky test"]);
    assert_eq!(got.out(), "asked: mend the flaky test\n", "{}", got.all());
    assert_eq!(prompts(&scene), [(PromptSource::Argument, 19, "mend the flaky test".to_owned())]);
    // Right behind the start: what it caused comes after it.
    assert!(matches!(events(&evidence(&scene))[1].what, EventKind::Prompt(_)));
}

#[test]
fn what_is_piped_into_an_agent_is_a_prompt_and_arrives_whole() {
    let scene = Scene::new();
    agent(&scene, "claude", "wc -c");
    let input = "why? ".repeat(200_000);
    let mut command = scene.coffer();
    command.args(["run", "--", "./claude", "-p"]);
    let got = finish(command, input.as_bytes());
    assert_eq!(got.out().trim(), "1000000", "{}", got.all());
    let all = prompts(&scene);
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].0, all[0].1, all[0].2.len()), (PromptSource::Stdin, 1_000_000, 65_536));
    assert!(input.starts_with(&all[0].2));
}

#[test]
fn turns_on_an_open_input_are_prompts_of_their_own() {
    let scene = Scene::new();
    agent(&scene, "claude", "while read line; do echo \"heard $line\"; done");
    let mut command = scene.coffer();
    command.args(["run", "--", "./claude", "-p", "--input-format", "stream-json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let runs = scene.state.join("cofferdam/runs");
    child.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
    assert!(eventually(15, || runs.is_dir()
        && fs::read_dir(&runs).unwrap().count() == 1
        && evidence(&scene).join("log.jsonl").is_file()
        && fs::read_to_string(evidence(&scene).join("log.jsonl")).unwrap().contains("\"prompt\"")));
    let got = finish_child(child, b"two\n");
    assert_eq!(got.out(), "heard one\nheard two\n", "{}", got.all());
    let texts: Vec<String> = prompts(&scene).into_iter().map(|p| p.2).collect();
    assert_eq!(texts, ["one\n", "two\n"]);
}

#[test]
fn what_is_piped_into_any_other_command_is_data() {
    let scene = Scene::new();
    let mut command = scene.coffer();
    command.args(["run", "--", "sort"]);
    let got = finish(command, b"b\na\n");
    assert_eq!(got.out(), "a\nb\n", "{}", got.all());
    assert_eq!(prompts(&scene), []);
}

#[test]
fn typed_lines_are_prompts() {
    let scene = Scene::new();
    let mut session = Session::start(&scene, &["sh", "-c", "echo up; read a; echo one; read b; echo two"]);
    session.expect("up");
    session.type_in("mend thee\u{7f} test\r");
    session.expect("one");
    session.type_in("yes\r");
    session.expect("two");
    assert_eq!(session.wait().code(), Some(0), "{}", session.screen());
    assert_eq!(prompts(&scene), [typed("mend the test"), typed("yes")]);
}

#[test]
fn lines_typed_at_a_full_screen_program_are_prompts() {
    let scene = Scene::new();
    let script = "stty raw -echo; echo up; dd bs=1 count=22 of=/dev/null 2>/dev/null; echo done";
    let mut session = Session::start(&scene, &["sh", "-c", script]);
    session.expect("up");
    session.type_in("\u{1b}[200~two\nlines\u{1b}[201~\r");
    session.expect("done");
    assert_eq!(session.wait().code(), Some(0), "{}", session.screen());
    assert_eq!(prompts(&scene), [typed("two\nlines")]);
}

#[test]
fn passwords_are_not_kept() {
    let hidden = "(until stty -F /dev/pts/0 -a | grep -q ' -echo '; do sleep 0.01; done; echo hidden) &";
    for (shell, ask) in [("sh", "stty -echo; read x; stty echo"), ("bash", "read -s x")] {
        let scene = Scene::new();
        let script = format!("{hidden} {ask}; echo got-${{#x}}; read y; echo end");
        let mut session = Session::start(&scene, &[shell, "-c", &script]);
        session.expect("hidden");
        let secret = scene.canary.clone();
        for key in secret.chars() {
            session.type_in(&key.to_string());
        }
        session.type_in("\r");
        session.expect(&format!("got-{}", secret.len()));
        session.type_in("not a secret\r");
        session.expect("end");
        assert_eq!(session.wait().code(), Some(0), "{shell}: {}", session.screen());
        assert!(!session.screen().contains(&secret), "{shell}");
        assert_eq!(prompts(&scene), [typed("not a secret")], "{shell}");
        for event in events(&evidence(&scene)) {
            assert!(!serde_json::to_string(&event).unwrap().contains(&secret), "{shell}: {event:?}");
        }
    }
}

#[test]
fn typing_is_not_kept_where_the_person_says_so() {
    let scene = Scene::new();
    let mut command = scene.program(scene::hostile());
    let coffer = env!("CARGO_BIN_EXE_coffer");
    command.args(["on-terminal", coffer, "run", "--no-record-typing", "--", "sh", "-c", "echo up; read a; echo end"]);
    let mut session = Session::of(command);
    session.expect("up");
    session.type_in("mend the test\r");
    session.expect("end");
    assert_eq!(session.wait().code(), Some(0), "{}", session.screen());
    assert_eq!(prompts(&scene), []);
}
