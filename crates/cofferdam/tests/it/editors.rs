//! Agents that an editor starts and speaks to on standard input, and the workspace that an editor is shown.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::scene::wait;
use crate::support::{Scene, eventually};

/// An agent of the Agent Client Protocol: answers each message with its id, and works in the project on a prompt.
const AGENT: &str = r#"
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "session/prompt":
        open("work", "a").write(message["params"]["prompt"][0]["text"] + "\n")
    print(json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": {"of": line}}), flush=True)
"#;

/// A run with open streams.
struct Live {
    child: Child,
    keys: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Live {
    fn start(scene: &Scene, options: &[&str], command: &[&str]) -> Live {
        let mut coffer = scene.coffer();
        coffer.arg("run").args(options).arg("--").args(command);
        let mut child = coffer.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (keys, said) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Live { child, keys, said }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    /// Ends it; what it printed on standard error.
    fn end(self) -> String {
        let Live { mut child, keys, said } = self;
        drop((keys, said));
        assert!(wait(&mut child, Duration::from_secs(20)).success());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        stderr
    }
}

fn python(scene: &Scene) -> bool {
    let found = scene.program("sh").args(["-c", "command -v python3"]).output().unwrap().status.success();
    if !found {
        eprintln!("not proven on this machine: there is no python3");
    }
    found
}

#[test]
fn an_editors_messages_pass_byte_for_byte_and_its_prompts_are_recorded() {
    let scene = Scene::new();
    if !python(&scene) {
        return;
    }
    fs::write(scene.project.join("agent.py"), AGENT).unwrap();
    let mut live = Live::start(&scene, &["--quiet"], &["python3", "agent.py"]);
    let long = "long ".repeat(6000);
    let prompt = |id: u64, text: &str| {
        serde_json::json!({ "jsonrpc": "2.0", "id": id, "method": "session/prompt",
                            "params": { "sessionId": "s", "prompt": [{ "type": "text", "text": text }] } })
    };
    let messages = [
        serde_json::json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": 1 } }),
        prompt(1, "mend \"it\"\u{fc}"),
        serde_json::json!({ "jsonrpc": "2.0", "id": 2, "result": { "outcome": "x".repeat(100_000) } }),
        prompt(3, &long),
    ];
    for message in &messages {
        let line = format!("{message}\n");
        live.keys.write_all(line.as_bytes()).unwrap();
        let answer: Value = serde_json::from_str(&live.line()).unwrap();
        assert_eq!(answer["result"]["of"], line, "not what was sent");
    }
    assert_eq!(live.end(), "", "nothing of ours");
    let kept: Vec<Value> = scene.events("prompt").into_iter().map(|event| event["data"].clone()).collect();
    let facts: Vec<_> = kept.iter().map(|p| (p["source"].as_str().unwrap(), p["bytes"].as_u64().unwrap())).collect();
    assert_eq!(facts, [("message", 11), ("message", 30_000)], "{kept:?}");
    // What it did came of the prompt.
    let log = scene.finished(&["log", "--all"]).out();
    assert!(log.contains("mend \"it\"ü") && log.contains("work"), "{log}");
}

#[test]
fn a_workspace_is_shown_while_the_run_goes_on() {
    let scene = Scene::new();
    fs::write(scene.project.join("mine"), "the real tree's\n").unwrap();
    let mut live = Live::start(&scene, &[], &["sh", "-c", "echo of the run >theirs; echo up; read x; cat both"]);
    assert_eq!(live.line(), "up\n");
    // An editor that stays in the foreground.
    let look = "cat \"$1/mine\" \"$1/theirs\" && echo from the editor >\"$1/both\"";
    let got = scene.finished(&["open", "@", "--", "sh", "-c", look, "editor"]);
    assert_eq!(got.out(), "the real tree's\nof the run\n", "{}", got.all());
    assert_eq!(scene.finished(&["open", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    let missing = scene.finished(&["open", "--", "no-such-editor"]);
    assert!(missing.all().contains("`no-such-editor` cannot be started"), "{}", missing.all());
    // A path for programs that are there already.
    let mut path = scene.coffer();
    let mut path = path.args(["open", "--path"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = String::new();
    BufReader::new(path.stdout.as_mut().unwrap()).read_line(&mut shown).unwrap();
    let shown = PathBuf::from(shown.trim());
    assert_eq!(fs::read_to_string(shown.join("theirs")).unwrap(), "of the run\n");
    assert!(!scene.project.join("theirs").exists() && !scene.project.join("both").exists(), "the real tree");
    live.keys.write_all(b"go\n").unwrap();
    assert_eq!(live.line(), "from the editor\n");
    live.end();
    assert!(wait(&mut path, Duration::from_secs(20)).success(), "it ends with the run");
    assert!(eventually(10, || fs::read_dir(&shown).is_err()));
    let over = scene.finished(&["open"]);
    assert!(
        !over.status.success() && over.all().contains("not going on") && over.all().contains("coffer diff"),
        "{}",
        over.all()
    );
    let log = scene.finished(&["log", "--all"]).out();
    assert!(log.contains("opened the workspace: changes from here on may be theirs"), "{log}");
}

/// Nothing inside reaches the socket by which the workspace is asked for, nor the path of an editor's.
#[test]
fn nothing_inside_asks_for_a_workspace() {
    let scene = Scene::new();
    let mut live = Live::start(
        &scene,
        &[],
        &["sh", "-c", "echo up; read path; ls \"$path\"; /run/coffer/bin/coffer open --path; true"],
    );
    assert_eq!(live.line(), "up\n");
    let mut path = scene.coffer();
    let mut path = path.args(["open", "--path"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = String::new();
    BufReader::new(path.stdout.as_mut().unwrap()).read_line(&mut shown).unwrap();
    assert!(fs::read_dir(shown.trim()).unwrap().next().is_some(), "outside it is there");
    live.keys.write_all(shown.as_bytes()).unwrap();
    let said = live.end();
    assert!(said.contains("No such file") && said.contains("coffer: "), "{said}");
    assert!(wait(&mut path, Duration::from_secs(20)).success());
    assert_eq!(scene.events("workspace.opened").len(), 1, "the person's alone");
}
