//! File changes while they happen: what the log says of them, beside what was done and what the layer holds in the end.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cofferdam_core::Bytes;
use cofferdam_core::change::{Change, Class, FileKind};
use cofferdam_core::event::{BlobRef, Chain, Chains, Event, EventKind, TestResult, is_same};
use cofferdam_evidence::{BlobStore, read_events};
use cofferdam_workspace::{ChangeOptions, Layers, change_set};
use rustix::process::Signal;

use crate::support::scene::{finish, wait};
use crate::support::{Repo, eventually, processes, unique};

/// A run whose script goes on where it reads a line, when the test has seen what it waits for.
struct Steps<'a> {
    repo: &'a Repo,
    child: Child,
}

impl<'a> Steps<'a> {
    fn begin(repo: &'a Repo, script: &str) -> Steps<'a> {
        let mut command = repo.scene.coffer();
        command.args(["run", "--", "sh", "-c", script]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        Steps { repo, child }
    }

    /// Where the one run of the repository has its evidence.
    fn evidence(&self) -> Option<PathBuf> {
        let runs = fs::read_dir(self.repo.scene.state.join("cofferdam/runs")).ok()?;
        runs.flatten().map(|run| run.path().join("evidence")).find(|at| at.join("log.jsonl").exists())
    }

    /// Waits until the log shows a path in this state (kind letter, mode, content or size), then lets the script go on.
    fn after(&mut self, path: &str, state: &str) {
        self.await_state(path, state);
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn await_state(&self, path: &str, state: &str) {
        let shown = || {
            let Some(evidence) = self.evidence() else { return false };
            let log = Log::read(&evidence);
            log.states(path).last().is_some_and(|last| last == state)
        };
        assert!(
            eventually(20, shown),
            "{path} was never {state}: {:?}",
            self.evidence().map(|e| Log::read(&e).states(path))
        );
    }

    fn end(mut self) -> String {
        assert!(wait(&mut self.child, Duration::from_secs(30)).success());
        self.repo.latest()
    }
}

/// The events of a log.
struct Log {
    events: Vec<Event>,
    chains: Chains,
    blobs: BlobStore,
}

impl Log {
    /// Reads a log; its chains must be whole.
    fn read(evidence: &std::path::Path) -> Log {
        let events: Vec<Event> = read_events(evidence).unwrap().map(Result::unwrap).collect();
        let mut chains = Chains::default();
        for event in &events {
            if let EventKind::FileChanged(change) = &event.what {
                chains.add(event.seq, change).unwrap();
                assert!(!is_same(change.before.as_ref(), change.after.as_ref()) || change.before != change.after);
            }
        }
        Log { events, chains, blobs: BlobStore::open(evidence).unwrap() }
    }

    fn of(repo: &Repo, run: &str) -> Log {
        Log::read(&repo.run_dir(run).join("evidence"))
    }

    fn content(&self, blob: &BlobRef) -> String {
        let mut all = Vec::new();
        self.blobs.get(blob).unwrap().read_to_end(&mut all).unwrap();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// The states of a path after its base: `-` for nothing, otherwise kind, mode and what is known of the content.
    fn states(&self, path: impl Into<Bytes>) -> Vec<String> {
        let Some(chain) = self.chains.get(&path.into()) else { return Vec::new() };
        let mut states = Vec::new();
        for step in &chain.steps {
            states.push(match (&step.after, &step.version) {
                (None, _) => "-".to_owned(),
                (Some(entry), Some(version)) => {
                    assert_eq!(entry.size, version.size);
                    format!("{:?} {:o} {}", entry.kind, entry.mode, self.content(version))
                }
                (Some(entry), None) => format!("{:?} {:o} #{}", entry.kind, entry.mode, entry.size),
            });
        }
        states
    }

    fn all(&self) -> BTreeMap<Bytes, Vec<String>> {
        self.chains.iter().map(|(path, _)| (path.clone(), self.states(path.clone()))).collect()
    }

    fn gaps(&self) -> Vec<&EventKind> {
        self.events.iter().map(|e| &e.what).filter(|w| matches!(w, EventKind::EvidenceGap { .. })).collect()
    }
}

/// What the chains amount to must be the change set, and of files and links what `diff --json` lists; and all verifies.
fn settled(repo: &Repo, run: &str) -> Log {
    let log = Log::of(repo, run);
    let at = repo.run_dir(run);
    let layers = Layers::open(&repo.scene.project, at.join("layers/upper"), at.join("base")).unwrap();
    let set = change_set(&layers, &ChangeOptions { digests: true, excludes: None }).unwrap();
    let shown = |change: &&Change| !matches!(change.class, Class::Ignored | Class::GitMetadata);
    let expected: BTreeMap<_, _> =
        set.changes.iter().filter(shown).map(|c| (c.path.clone(), (c.old.clone(), c.new.clone()))).collect();
    let got: Vec<_> = log.chains.changed().map(|(path, _)| path.clone()).collect();
    assert_eq!(got, expected.keys().cloned().collect::<Vec<_>>(), "{expected:?}");
    for (path, chain) in log.chains.changed() {
        let (old, new) = &expected[path];
        assert!(is_same(chain.base.as_ref(), old.as_ref()), "{path:?}: {:?} {old:?}", chain.base);
        assert!(is_same(chain.last(), new.as_ref()), "{path:?}: {:?} {new:?}", chain.last());
        let digest = |entry: Option<&cofferdam_core::change::Entry>| entry.and_then(|entry| entry.digest);
        assert_eq!(digest(chain.last()), digest(new.as_ref()), "{path:?}");
    }
    let printed = repo.json(0, &["diff", "--json", "--no-renames", run]);
    let name = |file: &serde_json::Value| serde_json::from_value::<Bytes>(file["new-path"].clone()).unwrap();
    let listed: Vec<Bytes> = printed["files"].as_array().unwrap().iter().map(name).collect();
    let git = |kind: FileKind| matches!(kind, FileKind::File | FileKind::Symlink);
    let sides = |chain: &Chain| [chain.base.clone(), chain.last().cloned()];
    let of_git = log.chains.changed().filter(|(_, chain)| sides(chain).into_iter().flatten().any(|e| git(e.kind)));
    assert_eq!(of_git.map(|(path, _)| path.clone()).collect::<Vec<_>>(), listed, "{printed}");
    repo.expect(0, &["verify", run]);
    log
}

/// Whether the states that a path had for a while are seen in their order, the last of them last. Shorter ones may be seen
/// between: when they are looked at depends on which commands end.
fn leads_through(seen: &[String], states: &[&str]) -> bool {
    let mut at = seen.iter();
    states.iter().all(|state| at.any(|s| s == state)) && seen.last().map(String::as_str) == states.last().copied()
}

#[test]
fn each_state_between_is_seen_and_its_text_kept() {
    let repo = Repo::new();
    repo.write("three.txt", "1\n2\n3\n");
    repo.write("dir/one", "one\n");
    repo.write("dir/sub/two", "two\n");
    let mut steps = Steps::begin(
        &repo,
        "echo first > b.txt; chmod 755 tool.sh; echo made > made; mkdir empty; echo -n >> three.txt; read _
         echo second >> b.txt; chmod 644 tool.sh; mv made moved; rm -r dir; read _
         printf 'one\\ntwo\\nthree\\n' > b.txt; mkdir dir; echo other > dir/one; echo in > empty/in; read _
         sed -i s/2/two/ three.txt; printf 'new\\n' > .b.swp; mv .b.swp b.txt; ln -sf b.txt link; read _
         rm moved link; mkfifo fifo; printf 'a\\0b' > data.bin; rm empty/in; touch a.txt; read _
         rm fifo; rm -r dir; mkdir -p dir/sub; echo two > dir/sub/two",
    );
    // The last of each list lets the script go on.
    let rounds: [&[(&str, &str)]; 5] = [
        &[
            ("b.txt", "File 644 first\n"),
            ("tool.sh", "File 755 #!/bin/sh\necho tool\n"),
            ("empty", "Directory 755 #0"),
            ("made", "File 644 made\n"),
        ],
        &[
            ("b.txt", "File 644 first\nsecond\n"),
            ("dir/one", "-"),
            ("dir", "-"),
            ("made", "-"),
            ("moved", "File 644 made\n"),
        ],
        &[("b.txt", "File 644 #14"), ("dir/one", "File 644 other\n"), ("empty", "-"), ("empty/in", "File 644 in\n")],
        &[("three.txt", "File 644 1\ntwo\n3\n"), ("link", "Symlink 777 #5"), ("b.txt", "File 644 new\n")],
        &[("moved", "-"), ("empty/in", "-"), ("data.bin", "File 644 #3"), ("fifo", "Fifo 644 #0")],
    ];
    for round in rounds {
        let Some(((path, state), others)) = round.split_last() else { continue };
        for (path, state) in others {
            steps.await_state(path, state);
        }
        steps.after(path, state);
    }
    let log = settled(&repo, &steps.end());
    let expected: &[(&str, &[&str])] = &[
        ("b.txt", &["File 644 first\n", "File 644 first\nsecond\n", "File 644 #14", "File 644 new\n"]),
        ("data.bin", &["File 644 #3"]),
        ("dir", &["-", "Directory 755 #0"]),
        ("dir/one", &["-", "File 644 other\n", "-"]),
        ("dir/sub", &["-", "Directory 755 #0"]),
        ("dir/sub/two", &["-", "File 644 #4"]),
        ("empty", &["Directory 755 #0", "-", "Directory 755 #0"]),
        ("empty/in", &["File 644 in\n", "-"]),
        ("fifo", &["Fifo 644 #0", "-"]),
        ("link", &["Symlink 777 #5", "-"]),
        ("made", &["File 644 made\n", "-"]),
        ("moved", &["File 644 made\n", "-"]),
        ("three.txt", &["File 644 1\ntwo\n3\n"]),
        // Its text is the base's own, whose version with another mode is kept as well.
        ("tool.sh", &["File 755 #!/bin/sh\necho tool\n", "File 644 #20"]),
    ];
    let got = log.all();
    for (path, states) in expected {
        assert!(leads_through(&got[&Bytes::from(*path)], states), "{path}: {:?}", got[&Bytes::from(*path)]);
    }
    let mut others = got.keys().filter(|path| !expected.iter().any(|(known, _)| **path == Bytes::from(*known)));
    // Temporary names (of `sed -i`, `ln -sf`, an editor's save) are seen where a command ends just then; none stays.
    assert!(others.all(|path| log.chains.get(path).is_some_and(|chain| !chain.is_change())), "{:?}", got.keys());
    assert!(log.gaps().is_empty(), "{:?}", log.gaps());
}

#[test]
fn names_that_are_no_text_large_files_and_directories_that_move() {
    let repo = Repo::new();
    fs::write(repo.path("large"), vec![7; 17 << 20]).unwrap();
    let mut steps = Steps::begin(
        &repo,
        "printf x > \"$(printf 'caf\\377')\"; head -c 20000000 /dev/zero > big; touch large; head -c 300000 /dev/zero | tr '\\0' a > long
         mkdir -p here/deep; echo f > here/deep/f; echo mark > mark; read _
         mv here there; echo x >> big; mv mark mark2; read _
         mv there/deep deep; printf y | dd of=large conv=notrunc bs=1 seek=5 2>/dev/null; rm big",
    );
    steps.after("mark", "File 644 mark\n");
    steps.after("mark2", "File 644 mark\n");
    let log = settled(&repo, &steps.end());
    assert_eq!(log.states(&b"caf\xff"[..]), ["File 644 x"]);
    let big = log.states("big");
    assert!(leads_through(&big, &["File 644 #20000000", "File 644 #20000002", "-"]), "{big:?}");
    assert_eq!(log.states("large"), [format!("File 644 #{}", 17 << 20)], "a touch of it is no change");
    assert!(leads_through(&log.states("long"), &["File 644 #300000"]), "{:?}", log.states("long").len());
    assert!(leads_through(&log.states("here/deep/f"), &["File 644 f\n", "-"]));
    assert_eq!(log.states("there/deep/f"), ["File 644 f\n", "-"]);
    assert_eq!(log.states("deep/f"), ["File 644 f\n"]);
    assert_eq!(log.states("there"), ["Directory 755 #0"]);
}

#[test]
fn what_is_ignored_or_generated_is_not_looked_at() {
    let repo = Repo::new();
    let mut steps = Steps::begin(
        &repo,
        "mkdir -p target/debug web/node_modules/m; for i in 1 2 3; do echo $i > target/debug/$i; echo $i > web/node_modules/m/$i.js; echo $i > $i.log; done
         git -c user.name=a -c user.email=b@c commit -qm more --allow-empty; echo mark > mark; read _
         echo '!keep.log' >> .gitignore; echo later > keep.log; read _
         echo end > end",
    );
    steps.after("mark", "File 644 mark\n");
    steps.after("keep.log", "File 644 later\n");
    let log = settled(&repo, &steps.end());
    let paths: Vec<_> = log.all().into_keys().collect();
    assert_eq!(paths, [".gitignore", "end", "keep.log", "mark"].map(Bytes::from));
}

#[test]
fn three_thousand_files_at_once() {
    let repo = Repo::new();
    let begun = Instant::now();
    let script = "mkdir many; i=0; while [ $i -lt 3000 ]; do echo $i > many/$i; i=$((i+1)); done; read _
                  i=0; while [ $i -lt 1000 ]; do echo again >> many/$i; i=$((i+1)); done; i=2000; while [ $i -lt 3000 ]; do rm many/$i; i=$((i+1)); done";
    let mut steps = Steps::begin(&repo, script);
    steps.after("many/7", "File 644 7\n");
    let log = settled(&repo, &steps.end());
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    // Of so many, not each has its last text kept: the layer has it.
    let twice = log.states("many/7");
    assert!(twice[0] == "File 644 7\n" && matches!(&*twice[1], "File 644 7\nagain\n" | "File 644 #8"), "{twice:?}");
    let kept = log.states("many/1500");
    assert!(kept == ["File 644 1500\n"] || kept == ["File 644 #5"], "{kept:?}");
    assert_ne!(log.states("many/2222").first(), Some(&"-".to_owned()), "seen or not, it begins with what it held");
    let changed = log.chains.changed().count();
    assert_eq!(changed, 2000);
}

#[test]
fn a_file_that_grows_all_the_time_holds_nobody_up() {
    let repo = Repo::new();
    let begun = Instant::now();
    let script = "(while :; do echo more and more and more; done > grows) & sleep 2; kill $!; echo done > finished";
    let mut command = repo.scene.coffer();
    command.args(["run", "--", "sh", "-c", script]);
    assert!(finish(command, b"").status.success());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let log = settled(&repo, &repo.latest());
    let chain = log.chains.get(&"grows".into()).unwrap();
    let sizes: Vec<u64> = chain.steps.iter().map(|step| step.after.as_ref().unwrap().size).collect();
    assert!(sizes.len() >= 2 && sizes.is_sorted(), "{sizes:?}");
}

#[test]
fn a_parent_that_swaps_with_a_link_shows_nothing_from_outside() {
    let repo = Repo::new();
    let secret = repo.scene.home.join("notes.txt");
    let outside = secret.parent().unwrap();
    symlink(outside, repo.path("away")).unwrap();
    crate::support::scene::copy_program(&crate::support::scene::hostile(), &repo.path("hostile"));
    let script = format!(
        "mkdir kept; echo inside > kept/notes.txt; ln -s {} link; ./hostile swap-names kept link 3000",
        outside.display()
    );
    // On a busy machine all the swaps may fall between two looks: then they are made again.
    let looked = (0..10).any(|_| swapped(&repo, &secret, &script) > 1);
    assert!(looked, "never looked at while they swapped");
}

/// Runs the swaps, and sees that nothing of the secret is recorded; how often the name was seen to change.
fn swapped(repo: &Repo, secret: &Path, script: &str) -> usize {
    let got = repo.scene.script(script);
    assert!(got.out().contains("won swap-names"), "{}", got.all());
    let log = settled(repo, &repo.latest());
    for (path, chain) in log.chains.iter() {
        for version in chain.steps.iter().filter_map(|step| step.version.as_ref()) {
            assert!(!log.content(version).contains(&repo.scene.canary), "{path:?}");
        }
        let size = fs::metadata(secret).unwrap().len();
        assert!(
            chain.steps.iter().all(|s| s.after.as_ref().is_none_or(|e| e.kind != FileKind::File || e.size != size)),
            "{path:?}"
        );
    }
    log.chains.get(&"kept".into()).map_or(0, |chain| chain.steps.len())
}

fn test_results(log: &Log) -> impl Iterator<Item = &TestResult> {
    log.events.iter().filter_map(|e| if let EventKind::TestResult(result) = &e.what { Some(result) } else { None })
}

#[test]
fn a_report_of_tests_is_read() {
    let repo = Repo::new();
    let xml = r#"<testsuite name="s" tests="3" failures="1" skipped="1"><testcase classname="c" name="a"/><testcase classname="c" name="b"><failure message="no"/></testcase><testcase classname="c" name="d"><skipped/></testcase></testsuite>"#;
    let mut steps =
        Steps::begin(&repo, &format!("echo '{xml}' > report.xml; echo '<svg/>' > a.svg; echo mark > mark; read _"));
    steps.after("mark", "File 644 mark\n");
    let log = settled(&repo, &steps.end());
    let results: Vec<_> = test_results(&log).collect();
    let [result] = results[..] else { panic!("{results:?}") };
    assert_eq!((result.framework.as_str(), &result.report), ("junit", &Some("report.xml".into())));
    assert_eq!((result.passed, result.failed, result.skipped), (1, 1, 1));
}

/// Most reports lie where git does not look; what else lies there is not looked at, nor is what other people's packages
/// bring, nor what a link leads to.
#[test]
fn a_report_in_an_ignored_directory_is_read() {
    let repo = Repo::new();
    repo.write(".gitignore", "target/\nnode_modules/\n");
    let xml = |n: u32| {
        let case = |k| format!(r#"<testcase classname="c" name="t{k}"/>"#);
        let cases: String = (0..n).map(case).collect();
        format!(r#"<testsuite name="s" tests="{n}" failures="0">{cases}</testsuite>"#)
    };
    let outside = repo.scene.outside.join("junit.xml");
    fs::write(&outside, xml(7)).unwrap();
    let script = format!(
        "mkdir -p target/nextest node_modules/x; echo '{}' > target/nextest/junit.xml; echo '{}' > node_modules/x/junit.xml; \
         echo '{}' > target/other.xml; ln -s '{}' target/junit.xml; echo mark > mark; read _; echo '{}' > target/nextest/junit.xml",
        xml(1),
        xml(2),
        xml(3),
        outside.display(),
        xml(5)
    );
    let mut steps = Steps::begin(&repo, &script);
    steps.after("mark", "File 644 mark\n");
    let log = settled(&repo, &steps.end());
    let results: Vec<_> = test_results(&log).map(|result| (result.report.clone().unwrap(), result.passed)).collect();
    let report = cofferdam_core::Bytes::from("target/nextest/junit.xml");
    assert_eq!(results, [(report.clone(), 1), (report, 5)]);
}

#[test]
fn forty_versions_are_all_kept() {
    let repo = Repo::new();
    let script = "i=0; while [ $i -lt 40 ]; do echo $i > b.txt; echo $i > c.txt; read _; i=$((i+1)); done";
    let mut steps = Steps::begin(&repo, script);
    for round in 0..40 {
        steps.after("c.txt", &format!("File 644 {round}\n"));
    }
    let log = settled(&repo, &steps.end());
    let versions: Vec<String> = (0..40).map(|round| format!("File 644 {round}\n")).collect();
    assert_eq!(log.states("c.txt"), versions);
    assert!(log.gaps().is_empty());
}

#[test]
fn chains_go_on_where_a_monitor_died() {
    let repo = Repo::new();
    let marker = unique("CHAIN");
    let _cleared = processes::Cleared(marker.clone());
    let script = format!(
        "echo first > b.txt; echo gone > gone; read _; rm gone; echo second > b.txt; echo {marker} > up; sleep 100"
    );
    let mut steps = Steps::begin(&repo, &script);
    steps.after("gone", "File 644 gone\n");
    let upper = |run: &std::path::Path| fs::read(run.join("layers/upper/up")).is_ok_and(|text| !text.is_empty());
    assert!(eventually(20, || steps.evidence().is_some_and(|at| upper(at.parent().unwrap()))));
    let chain = processes::chain(steps.child.id().cast_signed());
    processes::signal(chain[1], Signal::KILL);
    assert!(!wait(&mut steps.child, Duration::from_secs(20)).success());
    assert!(eventually(10, || !chain.iter().any(|p| processes::alive(*p))), "{chain:?}");
    repo.expect(0, &["diff", "--name-status"]);
    let log = settled(&repo, &repo.latest());
    assert_eq!(log.states("b.txt"), ["File 644 first\n", "File 644 second\n"]);
    assert_eq!(log.states("gone"), ["File 644 gone\n", "-"]);
}
