//! Evidence from end to end: secrets stay out of it, proofs hold, and layers that are not what the log says are found.

use std::fs;
use std::path::{Path, PathBuf};

use cofferdam_core::bytes::hex;
use cofferdam_evidence::{Bundle, Options, verify};

use crate::corpus::{Files, corpus, judge};
use crate::support::pty::Session;
use crate::support::{Repo, Scene, unique};

/// What a file of blobs holds: 32 bytes of salt and zstd, or, in a pack, such records behind digest and length.
fn blobs(path: &Path, mut stored: &[u8]) -> Vec<u8> {
    let unpacked = |record: &[u8]| zstd::stream::decode_all(&record[32..]).unwrap();
    if !path.file_name().unwrap().as_encoded_bytes().starts_with(b"pack-") {
        return unpacked(stored);
    }
    let mut all = Vec::new();
    while let Some((header, rest)) = stored.split_at_checked(36) {
        let length = u32::from_be_bytes(header[32..].try_into().unwrap()) as usize;
        all.extend(unpacked(&rest[..length]));
        stored = &rest[length..];
    }
    assert!(stored.is_empty(), "{} ends within a record", path.display());
    all
}

/// Every file below a directory, blobs decompressed, and the names.
fn everything(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut all, mut stack) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = stack.pop() {
        if path.is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        // Sockets of the store, and what an overlay has in the place of a removed file, hold nothing.
        if path.metadata().is_ok_and(|facts| !facts.is_file()) {
            continue;
        }
        let mut content = fs::read(&path).unwrap();
        if path.components().any(|part| part.as_os_str() == "blobs") {
            content = blobs(&path, &content);
        }
        all.push((path, content));
    }
    assert!(all.len() >= 3, "there is evidence: {all:?}");
    all
}

/// The files that show eight bytes of a value in a row, plain, in hexadecimal digits, or in base64.
pub fn showing(dir: &Path, value: &str) -> Vec<PathBuf> {
    let encoded = |before: &str| base64(format!("{before}{value}").as_bytes());
    let wholes = [encoded(""), encoded("x"), encoded("xy")];
    // A group of three bytes at either end holds something else too.
    let forms = wholes.iter().map(|whole| &whole[4..whole.len() - 4]);
    let windows = value.as_bytes().windows(8).flat_map(|part| [part.to_vec(), hex(part).into_bytes()]);
    let needles: Vec<Vec<u8>> = windows.chain(forms.map(|form| form.as_bytes().to_vec())).collect();
    let shows = |content: &[u8]| needles.iter().any(|n| content.windows(n.len()).any(|part| part == n));
    let all = everything(dir).into_iter();
    all.filter(|(path, content)| shows(content) || shows(path.as_os_str().as_encoded_bytes()))
        .map(|(path, _)| path)
        .collect()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for n in 0..4 {
            let symbol = char::from(ALPHABET[(bits >> (18 - 6 * n) & 63) as usize]);
            out.push(if n <= group.len() { symbol } else { '=' });
        }
    }
    out
}

/// What a command does that wants to see a value in the evidence.
fn leak(value: &str) -> String {
    format!(
        "v='{value}'; echo \"plain $v\"; half=\"${{v%????????????}}\"; printf %s \"$half\"; sleep 0.1; \
         printf '%s\\n' \"${{v#\"$half\"}}\"; \
         printf %s '{value}' | base64; printf 'x%s' '{value}' | base64; printf 'xy%s' '{value}' | base64; \
         printf %s '{value}' | od -An -v -tx1 | tr -d ' \\n'; echo; \
         echo '{{\"token\": \"{value}\"}}' > kept.txt; echo x > 'a {value}.txt'; mkdir '{value}'; echo y > '{value}/y'; \
         ln -s '{value}' link; sh -c 'exit 3' '{value}'; true"
    )
}

pub fn evidence_of_latest(scene: &Scene) -> PathBuf {
    let runs = fs::read_dir(scene.state.join("cofferdam/runs")).unwrap().map(|entry| entry.unwrap().path());
    runs.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).unwrap().join("evidence")
}

#[test]
fn no_byte_of_a_secret_stands_anywhere_in_the_evidence() {
    let scene = Scene::new();
    for words in [["sh", "-c"], ["env", "sh"]] {
        // A word that nobody calls a secret is kept wherever it turns up: the search finds what there is.
        let ordinary = unique("ORDINARY");
        for (value, secret) in [(&ordinary, false), (&scene.canary, true)] {
            let script = leak(value);
            let words = if words[1] == "-c" { vec!["sh", "-c", &script] } else { vec!["env", "sh", "-c", &script] };
            let mut session = Session::start(&scene, &words);
            session.expect(value);
            assert_eq!(session.wait().code(), Some(0), "{}", session.screen());
            fs::remove_dir_all(scene.state.join("cofferdam/homes")).ok();
            let evidence = evidence_of_latest(&scene);
            let shown = showing(&evidence, value);
            if secret {
                assert_eq!(shown, Vec::<PathBuf>::new());
                let log = fs::read_to_string(evidence.join("log.jsonl")).unwrap();
                assert!(log.contains("\u{27e6}secret:GITHUB_TOKEN\u{27e7}"), "{log}");
                assert!(log.contains("a \u{27e6}secret:GITHUB_TOKEN\u{27e7}.txt"), "{log}");
                let cast = everything(&evidence).into_iter().filter(|(path, _)| path.components().count() > 2);
                let marks =
                    |content: Vec<u8>| String::from_utf8_lossy(&content).matches("[secret:GITHUB_TOKEN]").count();
                assert!(cast.map(|(_, content)| marks(content)).max().unwrap() >= 6);
            } else {
                assert!(shown.iter().any(|path| path.ends_with("log.jsonl")), "{shown:?}");
                assert!(shown.len() >= 2, "log and terminal: {shown:?}");
            }
            let verify = crate::support::scene::finish(
                {
                    let mut command = scene.coffer();
                    command.args(["verify", "--json"]);
                    command
                },
                b"",
            );
            assert_eq!(verify.code(), Some(0), "{}", verify.all());
        }
    }
}

#[test]
fn an_argument_to_env_is_a_secret_too_and_pipes_carry_it_on() {
    let scene = Scene::new();
    let value = unique("GIVEN");
    let mut command = scene.coffer();
    command.args(["run", "--env", &format!("DEPLOY_TOKEN={value}"), "--"]);
    command.args(["sh", "-c", "printf '%s' \"$DEPLOY_TOKEN\"; echo \"$DEPLOY_TOKEN\" > kept.txt"]);
    let got = crate::support::scene::finish(command, b"");
    assert_eq!(got.out(), value, "what the command prints is the person's: {}", got.all());
    assert_eq!(showing(&evidence_of_latest(&scene), &value), Vec::<PathBuf>::new());
}

#[test]
fn a_value_that_cannot_be_struck_is_named_and_not_shown() {
    let scene = Scene::new();
    let mut command = scene.coffer();
    command.args(["run", "--env", "SHORT_TOKEN=q9X", "--dry-run", "--", "true"]);
    let plan: serde_json::Value = serde_json::from_slice(&crate::support::scene::finish(command, b"").stdout).unwrap();
    let notes = plan["notes"].to_string();
    assert!(notes.contains("SHORT_TOKEN (it is shorter than 8 bytes)") && !notes.contains("q9X"), "{notes}");
}

#[test]
fn a_proof_of_one_event_is_verified_without_the_log() {
    let repo = Repo::new();
    let run = repo.edit("echo x > x.txt");
    let facts = repo.json(0, &["verify", &run, "--json"]);
    let bundle = Bundle::of(&repo.run_dir(&run).join("evidence"), 1).unwrap().to_string();
    let file = repo.scene.outside.join("event.tlog-proof");
    fs::write(&file, &bundle).unwrap();
    let words = ["verify", file.to_str().unwrap(), "--json"];
    let proven = repo.json(0, &words);
    assert_eq!((&proven["state"], &proven["seq"], &proven["size"]), (&"proven".into(), &1.into(), &facts["events"]));
    assert_eq!(proven["run"], run.as_str());
    assert!(repo.expect(0, &["verify", file.to_str().unwrap()]).contains("proven"));

    let key = fs::read_to_string(repo.run_dir(&run).join("evidence/key")).unwrap();
    repo.expect(0, &["verify", file.to_str().unwrap(), "--key", key.trim()]);
    let other = cofferdam_evidence::RecorderKey::generate().unwrap();
    let got = repo.json(2, &["verify", file.to_str().unwrap(), "--key", other.vkey(), "--json"]);
    assert_eq!(got["state"], "not-proven");
    fs::write(&file, bundle.replace("\nindex 1\n", "\nindex 0\n")).unwrap();
    assert!(repo.expect(2, &words).contains("not-proven"));
}

#[test]
fn layers_that_are_not_what_the_log_says_are_found() {
    let repo = Repo::new();
    let run = repo.edit("echo changed > a.txt; echo new > new.txt; rm b.txt; mkdir target; echo x > target/x");
    let facts = repo.json(0, &["verify", &run, "--json"]);
    assert_eq!((&facts["layers"]["agree"], &facts["layers"]["differences"]), (&true.into(), &serde_json::json!([])));
    assert!(repo.expect(0, &["verify", &run]).contains("changed paths as the log says"));

    let upper = repo.upper(&run);
    fs::write(upper.join("a.txt"), "tampered\n").unwrap();
    fs::write(upper.join("added.txt"), "added\n").unwrap();
    fs::remove_file(upper.join("new.txt")).unwrap();
    let facts = repo.json(3, &["verify", &run, "--json"]);
    let differing: Vec<&str> =
        facts["layers"]["differences"].as_array().unwrap().iter().map(|d| d["path"].as_str().unwrap()).collect();
    assert_eq!((facts["state"].as_str(), differing), (Some("verified"), vec!["a.txt", "added.txt", "new.txt"]));
    let said = repo.expect(3, &["verify", &run]);
    assert!(said.contains("NOT AS THE LOG SAYS: new.txt is gone, and the log has it"), "{said}");
}

#[test]
fn layers_agree_after_a_promotion_and_when_the_tree_moves_on() {
    let repo = Repo::new();
    let run = repo.edit("echo changed > a.txt; echo new > new.txt; rm b.txt");
    repo.expect(0, &["promote", &run]);
    assert_eq!(repo.json(0, &["verify", &run, "--json"])["layers"]["agree"], true);
    repo.expect(0, &["undo", &run]);
    assert_eq!(repo.json(0, &["verify", &run, "--json"])["layers"]["agree"], true);
    repo.write("a.txt", "somebody else\n");
    fs::remove_file(repo.path("b.txt")).unwrap();
    assert_eq!(repo.json(0, &["verify", &run, "--json"])["layers"]["agree"], true);
    repo.expect(0, &["discard", &run, "--yes"]);
    assert!(repo.json(0, &["verify", &run, "--json"])["layers"].is_null());
}

/// A run long enough for several checkpoints, on a terminal, so that its output is kept.
fn real_run(repo: &Repo) -> PathBuf {
    let script = "for n in 1 2 3 4 5 6 7 8; do echo line $n; echo $n > file-$n.txt; done; sleep 1.2; \
                  rm file-3.txt; echo again > a.txt; echo ok";
    let mut session = repo.on_terminal(&["run", "--", "sh", "-c", script]);
    assert_eq!(session.wait().code(), Some(0), "{}", session.screen());
    repo.run_dir(&repo.latest()).join("evidence")
}

#[test]
fn altered_evidence_of_real_runs_is_judged_alike_by_an_independent_verifier() {
    let repo = Repo::new();
    let (one, two) = (real_run(&repo), real_run(&repo));
    let key = fs::read_to_string(one.join("key")).unwrap();
    let published = verify(&one, &Options::default()).unwrap().commitment.unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let cases = corpus(&Files::read(&one), &Files::read(&two), published, 11, temporary.path());
    assert!(cases.len() >= 200, "{}", cases.len());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cofferdam-evidence/tests/python/verify.py");
    judge(&cases, key.trim(), &script, temporary.path());
}
