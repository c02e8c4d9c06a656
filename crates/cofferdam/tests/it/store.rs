//! `coffer list`, `discard`, `verify`, the settling of dead runs, bad options, and a store that somebody damaged.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::scene::wait;
use crate::support::{Repo, eventually, processes, unique};

#[test]
fn a_list_tells_how_runs_ended() {
    let repo = Repo::new();
    assert!(repo.expect(0, &["list"]).contains("no runs yet"));
    assert_eq!(repo.json(0, &["list", "--json"]), serde_json::json!([]));
    let first = repo.edit("echo x > x.txt; mkdir target; echo y > target/y");
    assert_eq!(repo.scene.script("exit 7").code(), Some(7));
    assert_eq!(repo.scene.script("kill -9 $$").code(), Some(137));
    let rows = repo.json(0, &["list", "--json"]);
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert_eq!(rows[0]["ended"]["signal"], 9);
    assert_eq!(rows[1]["ended"]["code"], 7);
    let row = &rows[2];
    assert_eq!((&row["run"], &row["state"], &row["agent"]), (&first.as_str().into(), &"ended".into(), &"sh".into()));
    assert_eq!((&row["ended"]["changed"], &row["ended"]["ignored"]), (&1.into(), &1.into()), "{row}");
    assert_eq!(row["project"], repo.scene.project.to_str().unwrap());
    repo.expect(0, &["discard", &first, "--yes"]);
    let text = repo.coffer(&["list"]).out();
    let cells = |id: &str| text.lines().find(|l| l.starts_with(id)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert!(cells(&first).contains(&"discarded"), "{text}");
    assert!(cells(rows[1]["run"].as_str().unwrap()).contains(&"7"), "{text}");
    // Elsewhere it is another project's.
    let got = repo.coffer_in(&repo.scene.outside, &["list", "--json"]);
    assert_eq!(got.out(), "[]\n", "{}", got.all());
    assert_eq!(repo.coffer_in(&repo.scene.outside, &["list", "--all", "--json"]).out().matches("\"run\"").count(), 3);
}

/// A list, the end of a run and `diff --stat` count the same things.
#[test]
fn a_list_counts_what_the_diff_counts() {
    let repo = Repo::new();
    for (script, files) in [
        ("git mv src/old.rs src/new.rs; mkfifo pipe; mkdir -p empty/er; echo x > x.txt; chmod 600 a.txt", 2),
        ("rm -r src; ln -s a.txt other", 3),
        ("mkdir many; for n in $(seq 300); do echo $n > many/$n; done", 300),
        ("mkdir only", 0),
        ("for n in $(seq 600); do echo $n > $n.new; done; mv b.txt c.txt; chmod 600 a.txt; mkfifo pipe", 601),
    ] {
        let run = repo.edit(script);
        let stat = repo.coffer(&["diff", &run, "--stat"]).out();
        let told = stat.lines().last().map_or("0", |l| l.split_whitespace().next().unwrap());
        assert_eq!(told, files.to_string(), "{script}: {stat}");
        let list = repo.coffer(&["list"]).out();
        let row = list.lines().find(|l| l.starts_with(&run)).unwrap();
        assert!(row.contains(&format!("  {files} file{}  ", if files == 1 { "" } else { "s" })), "{row}");
        assert_eq!(repo.json(0, &["list", "--json"])[0]["ended"]["files"], files, "{script}");
    }
}

#[test]
fn nothing_is_discarded_unasked() {
    let repo = Repo::new();
    let run = repo.edit("echo x > x.txt; mkdir target; echo y > target/y; echo z > target/z");
    let said = repo.expect(0, &["discard", "--dry-run"]);
    assert!(said.contains("1 changed path and 2 paths ignored or generated"), "{said}");
    let said = repo.expect(125, &["discard"]);
    assert!(
        said.contains("nothing was removed") && said.contains(&format!("coffer discard {} --yes", &run[..4])),
        "{said}"
    );
    let mut session = repo.on_terminal(&["discard"]);
    session.expect("throw it away? [y/N]");
    session.type_in("n\n");
    assert_eq!(session.wait().code(), Some(125));
    assert!(repo.upper(&run).join("x.txt").exists());
    let mut session = repo.on_terminal(&["discard"]);
    session.expect("throw it away? [y/N]");
    session.type_in("y\n");
    assert_eq!(session.wait().code(), Some(0), "{}", session.screen());
    for gone in ["layers", "base"] {
        assert!(!repo.run_dir(&run).join(gone).exists(), "{gone}");
    }
    assert!(repo.expect(0, &["verify", &run]).contains("verified"), "the evidence stays");
    let log = fs::read_to_string(repo.run_dir(&run).join("evidence/log.jsonl")).unwrap();
    assert!(log.lines().last().unwrap().contains("run.discarded"), "{log}");
}

#[test]
fn one_byte_of_the_log_is_noticed() {
    let repo = Repo::new();
    let run = repo.edit("echo x > x.txt; echo y > y.txt");
    repo.expect(0, &["promote"]);
    let facts = repo.json(0, &["verify", "--json"]);
    assert_eq!((&facts["state"], &facts["signed_by"]), (&"verified".into(), &"trusted-key".into()), "{facts}");
    let log = repo.run_dir(&run).join("evidence/log.jsonl");
    let good = fs::read(&log).unwrap();
    for at in [good.len() / 5, good.len() / 2, good.len() - 20] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&log, &bad).unwrap();
        let said = repo.expect(2, &["verify"]);
        assert!(said.contains("TAMPERED"), "{said}");
        assert_eq!(repo.json(2, &["verify", "--json"])["state"], "tampered");
        // Nothing is added to evidence that contradicts itself, and the tree is left alone for it.
        let before = repo.whole();
        let said = repo.expect(125, &["undo"]);
        assert!(said.contains("evidence") && said.contains("nothing was done"), "{said}");
        assert_eq!(repo.whole(), before);
    }
    // Signed events are missing at the end.
    let lines = good.split_inclusive(|b| *b == b'\n').count();
    let cut: Vec<u8> = good.split_inclusive(|b| *b == b'\n').take(lines - 2).flatten().copied().collect();
    fs::write(&log, &cut).unwrap();
    repo.expect(2, &["verify"]);
    fs::write(&log, &good).unwrap();
    repo.expect(0, &["verify"]);
    let said = repo.expect(125, &["verify", "--witness", "nonsense"]);
    assert!(said.contains("SIZE:ROOT"), "{said}");
}

/// A run whose monitor was killed while the command worked.
fn orphaned(repo: &Repo) -> String {
    let marker = unique("ORPHAN");
    let _cleared = processes::Cleared(marker.clone());
    let script = format!("echo one > one.txt; sed -i 's/line 7/line seven/' a.txt; echo {marker} > up; sleep 100");
    let mut client = repo
        .scene
        .coffer()
        .args(["run", "--", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let runs = repo.scene.state.join("cofferdam/runs");
    let written = |at: &Path| fs::read(at.join("layers/upper/up")).is_ok_and(|t| !t.is_empty());
    assert!(eventually(20, || fs::read_dir(&runs).is_ok_and(|all| all.flatten().any(|r| written(&r.path())))));
    let chain = processes::chain(client.id().cast_signed());
    processes::signal(chain[1], Signal::KILL);
    assert_eq!(wait(&mut client, std::time::Duration::from_secs(20)).code(), Some(125));
    assert!(eventually(10, || !chain.iter().any(|p| processes::alive(*p))), "{chain:?}");
    repo.latest()
}

#[test]
fn a_run_that_lost_its_monitor_is_settled_by_the_next_command() {
    let repo = Repo::new();
    let before = repo.whole();
    let run = orphaned(&repo);
    assert_eq!(repo.json(0, &["list", "--json"])[0]["state"], "died");
    // Looked at as a file nothing is settled: the record stops early, and what is signed is good.
    let evidence = repo.run_dir(&run).join("evidence");
    let said = repo.expect(1, &["verify", evidence.to_str().unwrap()]);
    assert!(said.contains("cut"), "{said}");
    let said = repo.expect(0, &["diff", "--name-status"]);
    assert!(said.contains("A\tone.txt") && said.contains("M\ta.txt"), "{said}");
    assert!(said.contains("had lost its monitor: settled now"), "{said}");
    assert!(!repo.expect(0, &["diff", "--name-status"]).contains("monitor"), "settled once");
    let ended = &repo.json(0, &["list", "--json"])[0]["ended"];
    assert_eq!((&ended["reason"], &ended["changed"]), (&"monitor-died".into(), &3.into()), "{ended}");
    let log = fs::read_to_string(evidence.join("log.jsonl")).unwrap();
    let end = log.lines().find(|l| l.contains("\"run.ended\"")).unwrap();
    assert!(end.contains("\"reason\":\"monitor-died\""), "{end}");
    repo.expect(0, &["verify"]);
    repo.expect(0, &["promote"]);
    assert!(repo.read("a.txt").contains("line seven\n"));
    repo.expect(0, &["undo"]);
    assert_eq!(repo.whole(), before);
    repo.expect(0, &["verify"]);
}

#[test]
fn every_command_settles_it() {
    for words in [&["promote"][..], &["verify"], &["discard", "--yes"]] {
        let repo = Repo::new();
        let run = orphaned(&repo);
        repo.expect(0, words);
        let log = fs::read_to_string(repo.run_dir(&run).join("evidence/log.jsonl")).unwrap();
        assert_eq!(log.matches("monitor-died").count(), 1, "{words:?}: {log}");
        repo.expect(0, &["verify"]);
    }
}

#[test]
fn a_mistyped_option_is_ours_and_not_the_commands() {
    let repo = Repo::new();
    for words in [&["run", "--mistyped", "x"][..], &["run", "--processes", "many", "true"], &["run"], &["promot", "x"]]
    {
        let said = repo.expect(125, words);
        assert!(said.contains("--help"), "{said}");
    }
    assert!(repo.expect(125, &["run", "--mistyped", "x"]).contains("--mistyped"));
    assert!(repo.expect(125, &["promot", "x"]).contains("promote"));
    assert_eq!(repo.json(0, &["list", "--json"]), serde_json::json!([]), "nothing ran");
    // What comes after the command is the command's.
    let got = repo.coffer(&["run", "ls", "-la", "--color=never"]);
    assert!(got.status.success() && got.out().contains("a.txt"), "{}", got.all());
    for words in [
        &["run", "--", "ls", "-la"][..],
        &["run", "-q", "ls", "-q"],
        &["run", "git", "--version"],
        &["run", "--", "echo", "--"],
    ] {
        let got = repo.coffer(words);
        assert!(got.status.success() && !got.stdout.is_empty(), "{words:?}: {}", got.all());
    }
}

#[test]
fn a_damaged_store_is_named_and_nothing_is_touched() {
    let repo = Repo::new();
    let run = repo.edit("sed -i 's/line 7/line seven/' a.txt; echo n > new.txt");
    // So that there is a base to be read, not the real tree's own file.
    repo.write("a.txt", &repo.read("a.txt").replace("line 30\n", "line thirty\n"));
    repo.expect(0, &["promote", "new.txt"]);
    let before = repo.whole();
    let dir = repo.run_dir(&run);
    let hostile: &[&[u8]] = &[
        b"{",
        b"\xff\xfe\0\0",
        b"[]\n",
        b"{\"run\":\"../../../etc\",\"project\":\"/\",\"agent\":\"a\",\"argv\":[],\"started\":\"2026-11-24T13:40:01Z\"}\n{}\n",
        b"{\"line\":\"base\",\"path\":\"../../x\"}\n",
    ];
    for (file, commands) in [
        ("run.json", &["diff", "promote", "undo", "discard", "verify"][..]),
        ("base/index.jsonl", &["diff", "promote"]),
        ("promotions/1/journal.jsonl", &["promote", "undo", "discard"]),
    ] {
        let path = dir.join(file);
        let good = fs::read(&path).unwrap();
        for bad in hostile {
            // A last line without its end is what a crash leaves; these are whole.
            let bad = [bad, &b"\n"[..]].concat();
            fs::write(&path, &bad).unwrap();
            if file == "run.json" {
                let said = repo.expect(0, &["list"]);
                assert!(said.contains(&format!("run {run} is left out")) && said.contains(file), "{said}");
            }
            for command in commands {
                let said = repo.expect(125, &[command]);
                assert!(said.contains(file), "{command} of {}: {said}", bad.escape_ascii());
                assert!(!said.contains("panicked"), "{said}");
            }
        }
        fs::write(&path, good).unwrap();
    }
    assert_eq!(repo.whole(), before);
    repo.expect(0, &["promote"]);
    assert!(repo.read("a.txt").contains("line seven\n") && repo.read("a.txt").contains("line thirty\n"));
}

/// One damaged record stops nobody who does not mean that run.
#[test]
fn a_damaged_record_is_in_the_way_of_its_own_run_only() {
    let repo = Repo::new();
    let old = repo.edit("echo old > old.txt");
    let new = repo.edit("echo new > new.txt");
    let record = |run: &str| repo.run_dir(run).join("run.json");
    let good = [&old, &new].map(|run| fs::read(record(run)).unwrap());

    fs::write(record(&old), b"{").unwrap();
    let listed = repo.coffer(&["list"]);
    assert!(listed.out().contains(&new) && !listed.out().contains(&old), "{}", listed.all());
    assert!(listed.all().contains(record(&old).to_str().unwrap()), "the warning names the file: {}", listed.all());
    assert_eq!(repo.json(0, &["list", "--json"]).as_array().unwrap().len(), 1);
    for words in [&["diff"][..], &["diff", &new], &["verify"], &["promote", "--dry-run"], &["diff", &new, "new.txt"]] {
        let said = repo.expect(0, words);
        assert!(!said.contains("run.json"), "{words:?}: {said}");
    }
    for words in [&["diff", &old], &["promote", &old], &["verify", &old], &["discard", &old]] {
        assert!(repo.expect(125, words).contains("run.json"), "{words:?}");
    }
    fs::write(record(&old), &good[0]).unwrap();

    // The latest is damaged: the one before it must not pass for it.
    fs::write(record(&new), b"{").unwrap();
    for words in [&["diff"][..], &["promote"], &["undo"], &["discard", "--yes"]] {
        let said = repo.expect(125, words);
        assert!(said.contains("run.json"), "{words:?}: {said}");
    }
    assert!(repo.expect(0, &["diff", &old, "--name-only"]).contains("old.txt"));
    // A run of another project is none of ours, whatever state its record is in.
    let elsewhere = repo.scene.outside.join("elsewhere");
    fs::create_dir_all(elsewhere.join(".git")).unwrap();
    let got = repo.coffer_in(&elsewhere, &["list"]);
    assert!(got.code() == Some(0) && !got.all().contains("run.json"), "{}", got.all());
    fs::write(record(&new), &good[1]).unwrap();
    repo.expect(0, &["promote"]);
    assert_eq!(repo.read("new.txt"), "new\n");
}

#[test]
fn outside_a_project_one_is_told_that_a_run_can_be_named() {
    let repo = Repo::new();
    let run = repo.edit("echo new > new.txt");
    for dir in [&repo.scene.home, &repo.scene.outside] {
        let got = repo.coffer_in(dir, &["diff"]);
        assert_eq!(got.code(), Some(125));
        assert!(got.all().contains("coffer diff RUN") && got.all().contains("coffer list --all"), "{}", got.all());
        let got = repo.coffer_in(dir, &["diff", &run, "--name-only"]);
        assert_eq!(got.out(), "new.txt\n", "{}", got.all());
    }
}
