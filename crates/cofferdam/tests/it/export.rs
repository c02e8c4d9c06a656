//! `coffer export`: what comes out of a real run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use html5ever::tendril::TendrilSink;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{NodeData, RcDom};
use serde_json::Value;

use crate::support::pty::Session;
use crate::support::{Repo, scene};

/// Edits, a name and a content that would act in a page or on a terminal, and output.
const EDITS: &str = r#"
sed -i 's/^line 7$/line seven/; 20a\inserted\nlines' a.txt
printf '%s\n' '</pre><script>alert(1)</script><img src=x onerror=alert(1)>' > '<img src=x onerror=alert(1)>.html'
printf 'esc \033[31m bidi \342\200\256\n' > acts.txt
printf 'raw\n' > "$(printf 'f\377.txt')"
rm b.txt
chmod 755 src/main.rs
echo '</script><script>alert(2)</script>'
"#;

fn lines(text: &[u8]) -> Vec<Value> {
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn exported(repo: &Repo, form: &str) -> Vec<u8> {
    let got = repo.coffer(&["export", "--format", form]);
    assert_eq!(got.code(), Some(0), "{form}: {}", got.all());
    assert!(!got.stdout.is_empty(), "{form}");
    got.stdout
}

#[test]
fn the_forms_say_what_the_log_says() {
    let repo = Repo::new();
    let run = repo.edit(EDITS);
    let json: Value = serde_json::from_slice(&exported(&repo, "json")).unwrap();
    let events = json["events"].as_array().unwrap();
    let log = fs::read(repo.run_dir(&run).join("evidence/log.jsonl")).unwrap();
    assert_eq!(*events, lines(&log));
    assert_eq!((&json["run"], &json["verification"]["state"]), (&run.as_str().into(), &"verified".into()));
    let mut kinds = BTreeMap::new();
    for event in events {
        *kinds.entry(event["kind"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert!(kinds["file.changed"] >= 6 && kinds["process.exec"] >= 4, "{kinds:?}");

    let ocsf = lines(&exported(&repo, "ocsf"));
    assert_eq!(ocsf.len(), events.len());
    let of = |class: u64, activity: Option<u64>| {
        let same = |e: &&Value| e["class_uid"] == class && activity.is_none_or(|activity| e["activity_id"] == activity);
        ocsf.iter().filter(same).count()
    };
    let kind = |name: &str| kinds.get(name).copied().unwrap_or(0);
    assert_eq!(of(1001, None), kind("file.changed"));
    assert_eq!((of(1007, Some(1)), of(1007, Some(2))), (kind("process.exec"), kind("process.exit")));
    assert_eq!((of(6002, Some(3)), of(6002, Some(4))), (1, 1));

    assert_eq!(exported(&repo, "patch"), repo.coffer(&["diff"]).stdout);

    let trace: Value = serde_json::from_slice(&exported(&repo, "agent-trace")).unwrap();
    let files = trace["files"].as_array().unwrap();
    let ranges = |name: &str| files.iter().find(|f| f["path"] == name).unwrap()["conversations"][0]["ranges"].clone();
    assert_eq!(
        ranges("a.txt"),
        serde_json::json!([{"start_line": 7, "end_line": 7}, {"start_line": 21, "end_line": 22}])
    );
    assert!(files.iter().all(|f| f["conversations"][0]["contributor"]["type"] == "unknown"), "sh is no agent");
    assert_eq!(trace["metadata"]["dev.cofferdam"]["paths_not_utf8"], serde_json::json!(["f\\xff.txt"]));

    let trailer = String::from_utf8(exported(&repo, "trailer")).unwrap();
    let witness = trailer.lines().nth(1).unwrap().strip_prefix("Cofferdam-Log: ").unwrap().replace(' ', ":");
    repo.expect(0, &["verify", &run, "--witness", &witness]);
    let other = witness.replace(&witness[witness.len() - 4..], "0123");
    repo.expect(2, &["verify", &run, "--witness", &other]);
}

/// The elements of a page, their attributes, and the text.
fn read(page: &str) -> (Vec<String>, Vec<String>, String) {
    let dom = parse_document(RcDom::default(), ParseOpts::default()).one(page);
    assert!(dom.errors.borrow().is_empty(), "{:?}", dom.errors);
    let (mut elements, mut attributes, mut text) = (Vec::new(), Vec::new(), String::new());
    let mut stack = vec![dom.document.clone()];
    while let Some(node) = stack.pop() {
        match &node.data {
            NodeData::Element { name, attrs, .. } => {
                elements.push(name.local.to_string());
                attributes.extend(attrs.borrow().iter().map(|a| a.name.local.to_string()));
            }
            NodeData::Text { contents } => text.push_str(&contents.borrow()),
            _ => {}
        }
        stack.extend(node.children.borrow().iter().rev().cloned());
    }
    (elements, attributes, text)
}

#[test]
fn the_page_holds_hostile_names_and_contents_as_text() {
    let repo = Repo::new();
    let run = repo.edit(EDITS);
    let page = String::from_utf8(exported(&repo, "html")).unwrap();
    let (elements, attributes, text) = read(&page);
    let count = |names: &[String], name: &str| names.iter().filter(|n| *n == name).count();
    assert_eq!((count(&elements, "script"), count(&elements, "img")), (1, 0));
    assert_eq!((count(&attributes, "onerror"), count(&attributes, "src")), (0, 0));
    for said in [
        run.as_str(),
        "Verified",
        "<img src=x onerror=alert(1)>.html",
        "+</pre><script>alert(1)</script>",
        "bidi <U+202E>",
        "-line 7",
        "+line seven",
        "exit 0",
        "rm b.txt",
        "</script><script>alert(2)</script>\n",
    ] {
        assert!(text.contains(said), "{said}");
    }
    assert!(!page.contains('\u{202e}') && !page.contains('\x1b'));
    // Without layers there is a page all the same, and no patch.
    repo.expect(0, &["discard", "--yes", &run]);
    let (_, _, text) = read(&String::from_utf8(exported(&repo, "html")).unwrap());
    assert!(text.contains("layers of this run are gone") && text.contains("a.txt"));
    let said = repo.expect(125, &["export", "-f", "patch"]);
    assert!(said.contains("discarded") && said.contains("--format json"), "{said}");
}

fn python_check(repo: &Repo, run: &str, bundle: &Path, patch: &Path) -> Option<(bool, String)> {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/python/attestation.py");
    let mut python = Command::new("python3");
    python.arg(tests).arg(repo.run_dir(run).join("evidence/key")).arg(bundle).arg(patch);
    match python.output() {
        Ok(got) => {
            let said = [got.stdout, got.stderr].concat();
            Some((got.status.success(), String::from_utf8_lossy(&said).into_owned()))
        }
        Err(e) => {
            eprintln!("not checked by another implementation, there is no python3 here: {e}");
            None
        }
    }
}

#[test]
fn another_implementation_verifies_the_statements() {
    let repo = Repo::new();
    // A test run that passes, and a file of the diff that changes after it.
    let test = "python3 -c 'import unittest\nclass T(unittest.TestCase):\n  def test_a(self): pass\nunittest.main(verbosity=2)' 2>&1 | cat";
    let run = repo.edit(&format!("{test}; {EDITS}"));
    let (bundle, patch) = (repo.scene.outside.join("run.intoto.jsonl"), repo.scene.outside.join("run.patch"));
    repo.expect(0, &["export", "-f", "in-toto", "-o", bundle.to_str().unwrap()]);
    repo.expect(0, &["export", "-f", "patch", "-o", patch.to_str().unwrap()]);
    let trailer = String::from_utf8(exported(&repo, "trailer")).unwrap();
    let log = trailer.lines().nth(1).unwrap().strip_prefix("Cofferdam-Log: ").unwrap();
    let Some((good, said)) = python_check(&repo, &run, &bundle, &patch) else { return };
    assert!(good, "{said}");
    assert!(said.contains(&format!("runtime-trace/v0.1 {log}")), "{said}");
    assert!(said.contains(&format!("test-result/v0.1 {log} WARNED")), "{said}");
    // A check that cannot fail would be none.
    fs::write(&patch, [fs::read(&patch).unwrap(), b"\n".to_vec()].concat()).unwrap();
    let (good, said) = python_check(&repo, &run, &bundle, &patch).unwrap();
    assert!(!good && said.contains("another patch"), "{said}");
    let text = fs::read_to_string(&bundle).unwrap();
    let at = text.find("\"payload\":\"").unwrap() + 40;
    let flipped = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    fs::write(&bundle, format!("{}{flipped}{}", &text[..at], &text[at + 1..])).unwrap();
    let (good, said) = python_check(&repo, &run, &bundle, &patch).unwrap();
    assert!(!good && said.contains("bad signature"), "{said}");
}

#[test]
fn evidence_that_was_tampered_with_is_shown_as_that_and_never_signed() {
    let repo = Repo::new();
    let run = repo.edit("echo x > x.txt");
    let log = repo.run_dir(&run).join("evidence/log.jsonl");
    fs::write(&log, fs::read_to_string(&log).unwrap().replace("x.txt", "y.txt")).unwrap();
    let out = repo.scene.outside.join("statement");
    fs::write(&out, "what was here before").unwrap();
    let said = repo.expect(125, &["export", "-f", "in-toto", "-o", out.to_str().unwrap()]);
    assert!(said.contains("does not verify"), "{said}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "what was here before");
    repo.expect(125, &["export", "-f", "trailer"]);
    let got = repo.coffer(&["export", "-f", "html"]);
    assert_eq!(got.code(), Some(2), "{}", got.all());
    assert!(got.out().contains("Tampered with") && got.all().contains("TAMPERED"));
}

#[test]
fn a_file_is_private_and_replaced_whole_and_a_terminal_gets_nothing() {
    let repo = Repo::new();
    repo.edit("echo x > x.txt");
    let out = repo.scene.outside.join("run.json");
    repo.expect(0, &["export", "-f", "json", "-o", out.to_str().unwrap()]);
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&out, "x".repeat(1_000_000)).unwrap();
    repo.expect(0, &["export", "-f", "json", "-o", out.to_str().unwrap()]);
    serde_json::from_slice::<Value>(&fs::read(&out).unwrap()).unwrap();
    // A run without a terminal has no recording, and the file stays as it is.
    let said = repo.expect(125, &["export", "-f", "asciicast", "-o", out.to_str().unwrap()]);
    assert!(said.contains("had no terminal"), "{said}");
    serde_json::from_slice::<Value>(&fs::read(&out).unwrap()).unwrap();
    for to in [&[][..], &["-o", "-"]] {
        let mut session = repo.on_terminal(&[&["export", "-f", "json"][..], to].concat());
        session.expect("not written to a terminal");
        assert_eq!(session.wait().code(), Some(125));
        assert!(!session.screen().contains("cofferdam-export"));
    }
    let mut piped = repo.scene.program("sh");
    piped.args(["-c", "\"$0\" export -f json | head -c 1", env!("CARGO_BIN_EXE_coffer")]);
    let got = scene::finish(piped, b"");
    assert_eq!((got.out().as_str(), got.stderr.len()), ("{", 0), "{}", got.all());
}

#[test]
fn the_terminal_is_exported_as_it_was_recorded() {
    let repo = Repo::new();
    let mut session = Session::start(&repo.scene, &["sh", "-c", "echo on the screen"]);
    session.expect("on the screen");
    assert!(session.wait().success());
    let cast = lines(&exported(&repo, "asciicast"));
    assert_eq!((&cast[0]["version"], &cast[0]["width"], &cast[0]["height"]), (&2.into(), &97.into(), &31.into()));
    let shown: String = cast[1..].iter().filter(|e| e[1] == "o").map(|e| e[2].as_str().unwrap()).collect();
    assert!(shown.contains("on the screen\r\n"), "{shown:?}");
}

#[test]
fn a_commit_is_bound_to_its_run_and_only_when_asked() {
    let repo = Repo::new();
    let dir = repo.scene.project.clone();
    let run = repo.edit("echo new > new.txt");
    let said = repo.expect(0, &["promote", "--trailer"]);
    let (_, trailer) = said.split_once("Cofferdam-Run: ").unwrap();
    assert!(trailer.starts_with(&run), "{said}");
    let log = said.lines().find_map(|line| line.strip_prefix("Cofferdam-Log: ")).unwrap().replace(' ', ":");
    repo.expect(0, &["verify", &run, "--witness", &log]);
    repo.commit();
    let notes = || repo.git(&dir, &["notes", "--ref=refs/notes/ai", "show", "HEAD"]);
    assert!(!notes().status.success(), "nothing is written unasked");
    // A hook in the tree, where the person has git look for hooks.
    repo.write(".githooks/reference-transaction", "#!/bin/sh\ntouch \"$HOME/hooked\"\n");
    fs::set_permissions(repo.path(".githooks/reference-transaction"), fs::Permissions::from_mode(0o755)).unwrap();
    repo.git(&dir, &["config", "core.hooksPath", ".githooks"]);
    repo.git(&dir, &["config", "user.name", "t"]);
    repo.git(&dir, &["config", "user.email", "t@example.org"]);
    repo.expect(0, &["export", "-f", "trailer", "--git-note", "HEAD"]);
    assert!(!repo.scene.home.join("hooked").exists(), "a hook ran");
    // It would have: git alone runs it.
    repo.git(&dir, &["notes", "--ref=refs/notes/other", "add", "-m", "x", "HEAD"]);
    assert!(repo.scene.home.join("hooked").exists());
    let noted = notes().out();
    assert!(noted.contains(&format!("Cofferdam-Run: {run}")) && noted.contains("Cofferdam-Log: "), "{noted}");
    // A note that is there is the person's, and stays.
    repo.expect(125, &["export", "-f", "trailer", "--git-note", "HEAD"]);
    assert_eq!(notes().out(), noted);
    for wrong in ["--help", "nosuchcommit"] {
        repo.expect(125, &["export", "-f", "trailer", &format!("--git-note={wrong}")]);
    }
}

#[test]
fn git_is_not_run_where_the_run_could_have_told_it_what_to_execute() {
    let repo = Repo::new();
    repo.edit("printf '[core]\\n\\tfsmonitor = touch ../evil\\n' >> .git/config; echo x > x.txt");
    repo.expect(0, &["promote", "--yes", ".git/config"]);
    let said = repo.expect(125, &["export", "-f", "trailer", "--git-note", "HEAD"]);
    assert!(said.contains("git is not run") && said.contains(".git/config"), "{said}");
    repo.expect(0, &["undo"]);
    repo.git(&repo.scene.project, &["config", "user.name", "t"]);
    repo.git(&repo.scene.project, &["config", "user.email", "t@example.org"]);
    repo.expect(0, &["export", "-f", "trailer", "--git-note", "HEAD"]);
}
