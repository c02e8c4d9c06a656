//! `coffer verify RUN --rerun` from end to end. What the recorder of commands and outputs would write is appended to a real
//! run's log by the test.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use cofferdam_core::Bytes;
use cofferdam_core::event::{Event, EventKind, ExitSource, Link, ProcessExec, ProcessExit, TestReproduced, TestResult};
use cofferdam_evidence::{Log, RecorderKey, read_events};
use serde_json::Value;

use crate::support::{Repo, scene};

/// Prints what `cargo test` prints: three tests, of which those named in `failing.txt` fail.
const CHECK: &str = r#"echo; echo "running 3 tests"
for t in a b c; do
  if grep -qx $t failing.txt 2>/dev/null; then echo "test tests::$t ... FAILED"; else echo "test tests::$t ... ok"; fi
done
n=$(grep -c . failing.txt 2>/dev/null || true); n=${n:-0}
if [ "$n" -gt 0 ]; then
  echo; echo "failures:"; echo; echo "failures:"; sed 's/^/    tests::/' failing.txt; echo
  echo "test result: FAILED. $((3 - n)) passed; $n failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s"; echo
  exit 101
fi
echo; echo "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s"; echo
"#;

/// A command as the recorder would have it.
struct Command<'a> {
    argv: &'a [&'a str],
    code: i32,
    results: Vec<TestResult>,
    inside: Option<u64>,
    unconfirmed: bool,
}

impl<'a> Command<'a> {
    fn new(argv: &'a [&'a str], code: i32, results: Vec<TestResult>) -> Command<'a> {
        Command { argv, code, results, inside: None, unconfirmed: false }
    }

    /// Appends its events; the `seq` of its `process.exec`.
    fn record(self, repo: &Repo, run: &str) -> u64 {
        let key = RecorderKey::load_or_create(&repo.scene.state.join("cofferdam/keys")).unwrap();
        let (mut log, _) = Log::reopen(&repo.run_dir(run).join("evidence"), key).unwrap();
        let exec = ProcessExec {
            pid: 7,
            argv: self.argv.iter().map(|word| Bytes::from(*word)).collect(),
            cwd: repo.scene.project.as_path().into(),
            unconfirmed: self.unconfirmed,
            ..ProcessExec::default()
        };
        let cause = Some((self.inside.unwrap_or(0), Link::Parent));
        let seq = log.append(cause, EventKind::ProcessExec(exec)).unwrap();
        for result in self.results {
            log.append(Some((seq, Link::Process)), EventKind::TestResult(result)).unwrap();
        }
        let exit = ProcessExit {
            pid: 7,
            code: Some(self.code),
            signal: None,
            microseconds: 1,
            memory: None,
            source: ExitSource::Pidfd,
        };
        log.append(Some((seq, Link::Process)), EventKind::ProcessExit(exit)).unwrap();
        log.checkpoint().unwrap();
        seq
    }
}

fn tests(framework: &str, passed: u64, failing: &[&str]) -> TestResult {
    TestResult {
        framework: framework.into(),
        passed,
        failed: failing.len() as u64,
        failing: failing.iter().map(|name| (*name).to_owned()).collect(),
        ..TestResult::default()
    }
}

fn events(repo: &Repo, run: &str) -> Vec<Event> {
    read_events(&repo.run_dir(run).join("evidence")).unwrap().map(Result::unwrap).collect()
}

fn stamps(repo: &Repo, run: &str) -> Vec<TestReproduced> {
    let stamp = |event: Event| match event.what {
        EventKind::TestReproduced(stamp) => {
            assert_eq!((event.cause, event.link), (Some(stamp.command), Some(Link::Argv)));
            Some(stamp)
        }
        _ => None,
    };
    events(repo, run).into_iter().filter_map(stamp).collect()
}

/// `coffer verify RUN --rerun --json`, which must end with `code`; what it says of the commands.
fn rerun(repo: &Repo, code: i32, run: &str) -> Vec<Value> {
    repo.json(code, &["verify", run, "--rerun", "--json"])["rerun"]["commands"].as_array().unwrap().clone()
}

fn verdicts(commands: &[Value]) -> Vec<&str> {
    commands.iter().map(|command| command["verdict"].as_str().unwrap()).collect()
}

/// The upper layer of a run, once its monitor has tidied up: white-outs are links to one in the scratch directory.
fn settled(repo: &Repo, run: &str) -> PathBuf {
    let scratch = repo.run_dir(run).join("layers/work");
    assert!(crate::support::eventually(20, || !scratch.exists()), "{} stays", scratch.display());
    repo.upper(run)
}

/// All that can be seen of a tree: numbers, modes, owners, all times but that of reading, attributes, content.
fn digest(top: &Path) -> BTreeMap<PathBuf, (String, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut stack = vec![top.to_owned()];
    while let Some(path) = stack.pop() {
        let meta = path.symlink_metadata().unwrap();
        let mut names = vec![0u8; 4096];
        let got = rustix::fs::llistxattr(&path, &mut names[..]).unwrap();
        let mut attributes = String::new();
        for name in names[..got].split(|b| *b == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0u8; 4096];
            let got = rustix::fs::lgetxattr(&path, name, &mut value[..]).unwrap();
            attributes.push_str(&format!("{}={:?} ", name.escape_ascii(), &value[..got]));
        }
        let content = if meta.is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if meta.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let facts = format!(
            "{} {:o} {} {} {} {} {}.{} {}.{} {attributes}",
            meta.ino(),
            meta.mode(),
            meta.uid(),
            meta.nlink(),
            meta.rdev(),
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec()
        );
        all.insert(path, (facts, content));
    }
    all
}

/// The runs that repeated something, by what lies in the store.
fn repetitions(repo: &Repo) -> Vec<(OsString, Value)> {
    fs::read_dir(repo.scene.state.join("cofferdam/runs"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter_map(|entry| {
            // Empty where its run begins just now.
            let text = fs::read_to_string(entry.path().join("run.json")).ok()?;
            let record: Value = serde_json::from_str(text.lines().last()?).ok()?;
            (record["from"]["purpose"] == "rerun").then_some((entry.file_name(), record))
        })
        .collect()
}

#[test]
fn a_unittest_run_is_reproduced_and_nothing_of_the_repetition_stays_but_its_evidence() {
    let repo = Repo::new();
    repo.write("app.py", "def double(n):\n    return n + n + 1\n");
    repo.write(
        "test_app.py",
        "import unittest, pathlib\nfrom app import double\nclass T(unittest.TestCase):\n    def test_two(self):\n        \
         self.assertEqual(double(2), 4)\n    def test_home(self):\n        \
         (pathlib.Path.home() / 'left-by-a-test').write_text('x')\n",
    );
    repo.commit();
    let run =
        repo.edit("sed -i 's/ + 1//' app.py; mkdir new; echo x > new/x; python3 -m unittest 2>/dev/null; rm ~/left-*");
    Command::new(&["python3", "-m", "unittest"], 0, vec![tests("unittest", 2, &[])]).record(&repo, &run);
    let (upper, real) = (digest(&settled(&repo, &run)), repo.whole());

    let text = repo.expect(0, &["verify", &run, "--rerun"]);
    assert!(text.contains("reproduced") && text.contains("2 passed, exit 0"), "{text}");
    assert_eq!(digest(&repo.upper(&run)), upper, "the run's own layer was touched");
    assert_eq!(repo.whole(), real);

    let done = stamps(&repo, &run);
    assert_eq!(done.len(), 1);
    assert!(done[0].reproduced, "{done:?}");
    assert_eq!((done[0].now.code, done[0].now.results[0].passed), (Some(0), 2));
    let inner = done[0].run.to_string();
    assert!(!repo.run_dir(&inner).join("layers").exists(), "its layers are thrown away");
    let first: Vec<EventKind> = events(&repo, &inner).into_iter().take(2).map(|event| event.what).collect();
    assert!(matches!(&first[1], EventKind::RunFrom(from) if from.run.as_str() == run), "{first:?}");
    let list = repo.coffer(&["list"]).out();
    assert!(list.contains(&format!("rerun of {}", &run[..4])), "{list}");
    assert_eq!(repo.expect(0, &["verify", &inner]).matches("verified").count(), 1);
    assert!(repo.expect(0, &["verify", &run]).contains("verified"), "a stamped log still verifies");
    let homes = repo.scene.state.join("cofferdam/homes");
    for home in fs::read_dir(homes).unwrap() {
        assert!(!home.unwrap().path().join("home/left-by-a-test").exists(), "the home was written");
    }
    assert!(repo.expect(0, &["diff", "--name-only"]).contains("app.py"), "@ is still the person's run");
}

#[test]
fn failures_that_fail_again_are_reproduced_and_other_outcomes_are_told() {
    let repo = Repo::new();
    repo.write("check.sh", CHECK);
    repo.commit();
    let run = repo.edit("echo b > failing.txt");
    let argv = ["sh", "check.sh"];
    Command::new(&argv, 101, vec![tests("cargo-test", 2, &["tests::b"])]).record(&repo, &run);
    let done = rerun(&repo, 0, &run);
    assert_eq!(verdicts(&done), ["reproduced"], "{done:?}");

    // The same command later, with another outcome: the last one counts.
    Command::new(&argv, 0, vec![tests("cargo-test", 3, &[])]).record(&repo, &run);
    let text = repo.expect(1, &["verify", &run, "--rerun"]);
    assert!(text.contains("NOT REPRODUCED"), "{text}");
    assert!(text.contains("3 passed then, 2 passed and 1 failed now (tests::b)"), "{text}");
    assert!(text.contains("exit 0 then, exit 101 now"), "{text}");
    assert_eq!(stamps(&repo, &run).iter().map(|stamp| stamp.reproduced).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_flaky_test_is_not_reproduced() {
    let repo = Repo::new();
    repo.write("check.sh", CHECK);
    // Passes in the run that wrote the file, and fails in every other.
    repo.write("flaky.sh", "[ \"$COFFER_RUN\" = \"$(cat seen)\" ] || echo c > failing.txt\n. ./check.sh\n");
    repo.commit();
    let run = repo.edit("echo $COFFER_RUN > seen");
    Command::new(&["sh", "flaky.sh"], 0, vec![tests("cargo-test", 3, &[])]).record(&repo, &run);
    let done = rerun(&repo, 1, &run);
    assert_eq!(verdicts(&done), ["not-reproduced"]);
    assert_eq!(done[0]["now"]["results"][0]["failing"][0], "tests::c");
}

#[test]
fn a_repetition_sees_what_the_run_left_and_can_rename_its_directories() {
    let repo = Repo::new();
    repo.write("gone/a", "a");
    repo.write("replaced/old", "old");
    repo.write("check.sh", CHECK);
    repo.write(
        "look.sh",
        "[ ! -e gone ] && [ ! -e data.bin ] && [ \"$(ls replaced)\" = new ] && [ \"$(cat made/deep/x)\" = x ] &&\n\
         [ \"$(readlink link)\" = b.txt ] && [ -x a.txt ] && mv made moved && [ \"$(cat moved/deep/x)\" = x ] &&\n\
         [ ! -e made ] && rm -r replaced && mkdir gone && [ -z \"$(ls gone)\" ] && echo y >> moved/deep/x || echo a > failing.txt\n\
         . ./check.sh\n",
    );
    repo.commit();
    let run = repo.edit(
        "rm -r gone replaced data.bin; mkdir replaced; echo n > replaced/new; mkdir -p made/deep; echo x > made/deep/x; \
         ln -sfn b.txt link; chmod +x a.txt; mkfifo pipe",
    );
    Command::new(&["sh", "look.sh"], 0, vec![tests("cargo-test", 3, &[])]).record(&repo, &run);
    let upper = digest(&settled(&repo, &run));
    assert_eq!(verdicts(&rerun(&repo, 0, &run)), ["reproduced"]);
    assert_eq!(digest(&repo.upper(&run)), upper);
}

#[test]
fn a_promoted_run_is_reproduced_and_a_tree_that_moved_on_is_told() {
    let repo = Repo::new();
    repo.write("check.sh", CHECK);
    repo.commit();
    let run = repo.edit("echo b > failing.txt; echo more >> a.txt");
    Command::new(&["sh", "check.sh"], 101, vec![tests("cargo-test", 2, &["tests::b"])]).record(&repo, &run);
    repo.expect(0, &["promote", &run, "--yes"]);
    assert_eq!(repo.read("failing.txt"), "b\n");
    let done = rerun(&repo, 0, &run);
    assert_eq!(verdicts(&done), ["reproduced"]);
    assert_eq!(done[0]["since"]["moved"], 0, "{done:?}");
    assert_eq!(done[0]["since"]["newer"], 0, "{done:?}");

    // The test changes in the real tree, and so does another file: said, and the run's own version still counts.
    repo.write("failing.txt", "");
    repo.write("b.txt", "changed\n");
    repo.write("x.log", "ignored\n");
    let done = rerun(&repo, 0, &run);
    assert_eq!(verdicts(&done), ["reproduced"]);
    let since = &done[0]["since"];
    assert_eq!((&since["moved"], &since["newer"], &since["head"]), (&1.into(), &1.into(), &false.into()), "{since}");
    assert_eq!(stamps(&repo, &run)[1].since.moved, 1);
    let text = repo.expect(0, &["verify", &run, "--rerun"]);
    assert!(text.contains("1 file that the run changed is not in the real tree as it was"), "{text}");
    repo.commit();
    assert_eq!(rerun(&repo, 0, &run)[0]["since"]["head"], true);
}

#[test]
fn a_test_that_goes_for_the_runs_layer_does_not_get_there() {
    let repo = Repo::new();
    repo.write("check.sh", CHECK);
    repo.commit();
    let run = repo.edit("echo content > victim; mkdir d; echo e > d/e");
    let upper = settled(&repo, &run);
    let script = format!(
        "U={}; ok=; for f in $U/victim $U/d/e $U/../../run.json; do \
           if echo evil > $f || rm -f $f && [ -e $f ] || mv $f $f.x; then ok=1; fi; done 2>/dev/null; \
         echo evil > victim; rm -rf d; chmod 000 victim; setfattr -n user.overlay.opaque -v y . 2>/dev/null; \
         for p in /proc/[0-9]*; do echo evil > $p/root$U/victim; echo evil > $p/cwd/victim; done 2>/dev/null; \
         [ -z \"$ok\" ] || echo a > failing.txt; . ./check.sh",
        upper.display()
    );
    Command::new(&["sh", "-c", &script], 0, vec![tests("cargo-test", 3, &[])]).record(&repo, &run);
    let (before, real) = (digest(&upper), repo.whole());
    let done = rerun(&repo, 0, &run);
    assert_eq!(verdicts(&done), ["reproduced"], "{done:?}");
    assert_eq!(digest(&upper), before);
    assert_eq!(repo.whole(), real);
}

#[test]
fn what_cannot_be_repeated_is_said_and_of_commands_inside_each_other_the_outermost_is() {
    let repo = Repo::new();
    repo.write("check.sh", CHECK);
    repo.write("outer.sh", "sh check.sh\n");
    repo.commit();
    let run = repo.edit("echo x > x");
    let three = || vec![tests("cargo-test", 3, &[])];
    let agent = Command::new(&["claude", "-p", "fix it"], 0, three()).record(&repo, &run);
    let mut outer = Command::new(&["sh", "outer.sh"], 0, three());
    outer.inside = Some(agent);
    let outer = outer.record(&repo, &run);
    let mut inner = Command::new(&["sh", "check.sh"], 0, three());
    inner.inside = Some(outer);
    inner.record(&repo, &run);
    let mut rewritten = Command::new(&["sh", "check.sh", "again"], 0, three());
    rewritten.unconfirmed = true;
    rewritten.record(&repo, &run);
    Command::new(&["/no/such/program"], 0, three()).record(&repo, &run);
    let done = rerun(&repo, 1, &run);
    assert_eq!(verdicts(&done), ["reproduced", "not-repeated", "not-reproduced"], "{done:?}");
    assert_eq!(done[0]["argv"][1], "outer.sh");
    assert!(done[1]["why"].as_str().unwrap().contains("confirmed"));
    assert!(done[2]["note"].as_str().unwrap().contains("cannot be executed"), "{done:?}");
    assert_eq!(repetitions(&repo).len(), 2);

    let nothing = repo.edit("echo y > y");
    let text = repo.expect(1, &["verify", &nothing, "--rerun"]);
    assert!(text.contains("no test command is recorded"), "{text}");
}

#[test]
fn a_tampered_log_is_not_repeated_and_a_discarded_run_cannot_be() {
    let repo = Repo::new();
    repo.write("check.sh", CHECK);
    repo.commit();
    let run = repo.edit("echo x > x");
    Command::new(&["sh", "check.sh"], 0, vec![tests("cargo-test", 3, &[])]).record(&repo, &run);
    let log = repo.run_dir(&run).join("evidence/log.jsonl");
    let good = fs::read_to_string(&log).unwrap();
    fs::write(&log, good.replace("check.sh", "chick.sh")).unwrap();
    let text = repo.expect(2, &["verify", &run, "--rerun"]);
    assert!(text.contains("TAMPERED") && text.contains("nothing was repeated"), "{text}");
    assert!(repetitions(&repo).is_empty());
    fs::write(&log, good).unwrap();
    repo.expect(0, &["discard", &run, "--yes"]);
    assert!(repo.expect(125, &["verify", &run, "--rerun"]).contains("discarded"));
}

#[test]
fn a_repetition_ends_at_its_time_limit_and_with_the_person() {
    let repo = Repo::new();
    repo.write("slow.sh", "echo; echo 'running 1 test'; sleep 600\n");
    repo.commit();
    let run = repo.edit("echo x > x");
    Command::new(&["sh", "slow.sh"], 0, vec![tests("cargo-test", 1, &[])]).record(&repo, &run);
    let begun = Instant::now();
    let text = repo.expect(1, &["verify", &run, "--rerun", "--timeout", "1"]);
    assert!(text.contains("it took longer than 1.0 s and was ended"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(stamps(&repo, &run).len(), 1);

    let before = repetitions(&repo).len();
    let mut command = repo.scene.coffer();
    command.args(["verify", &run, "--rerun"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    assert!(crate::support::eventually(20, || repetitions(&repo).len() > before), "it never began");
    let busy = repo.expect(125, &["discard", &run, "--yes"]);
    assert!(busy.contains("busy"), "{busy}");
    std::thread::sleep(Duration::from_millis(300));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let got = scene::finish_child(child, b"");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&got.status), Some(2), "{}", got.all());
    assert_eq!(stamps(&repo, &run).len(), 1, "an interrupted repetition says nothing");
    for (name, record) in repetitions(&repo) {
        assert!(record["discarded"].is_string(), "{record}");
        assert!(!repo.run_dir(name.to_str().unwrap()).join("layers").exists());
    }
}

#[test]
fn nothing_goes_on_from_a_run_that_runs_and_a_repetition_is_not_promoted() {
    let repo = Repo::new();
    let run = repo.edit("echo x > x");
    // As if coffer had been killed before it could throw the layers of a repetition away.
    let words = ["run", "-q", "--from-purpose", "rerun", "--from", &run, "--", "sh", "-c", "cat x; echo y > y"];
    let got = repo.coffer(&words);
    assert_eq!((got.code(), got.out().as_str()), (Some(0), "x\n"), "{}", got.all());
    let (left, record) = repetitions(&repo).remove(0);
    assert_eq!(record["from"]["run"], run.as_str());
    let left = left.into_string().unwrap();
    let text = repo.expect(125, &["promote", &left, "--yes"]);
    assert!(text.contains("only repeated a test of run"), "{text}");
    assert!(!repo.path("y").exists());
    assert_eq!(repo.coffer(&["diff", "--name-only"]).out(), "x\n", "@ is the person's run");

    let mut live = repo.scene.coffer();
    live.args(["run", "-q", "--", "sh", "-c", "echo up; read line"]);
    let mut live = live.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    std::io::Read::read_exact(live.stdout.as_mut().unwrap(), &mut up).unwrap();
    let text = repo.expect(125, &["run", "-q", "--from", &repo.latest(), "--", "true"]);
    assert!(text.contains("has not ended"), "{text}");
    assert_eq!(scene::finish_child(live, b"\n").code(), Some(0));
}

#[test]
fn a_command_is_repeated_as_the_recorder_saw_it() {
    let repo = Repo::new();
    repo.write("check.sh", CHECK);
    repo.write(
        "tool/test_it.py",
        "import os, unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n        self.fail()\n    \
         def test_that(self):\n        self.assertTrue(os.environ.get('ONCE'))\n",
    );
    repo.commit();
    // The first directory is the run's own.
    let run = repo.edit(
        "mkdir -p sub/deep; cp check.sh sub; echo b > sub/deep/failing.txt; cd sub/deep\n\
         DEBUG=1 sh ../check.sh 2>&1 | cat > /dev/null\n\
         cd ../../tool; ONCE=1 python3 -m unittest 2>&1 | cat > /dev/null; true",
    );
    let done = rerun(&repo, 1, &run);
    assert_eq!(verdicts(&done), ["reproduced", "not-reproduced"], "{done:#?}");
    assert_eq!((&done[0]["was"]["code"], &done[0]["now"]["code"]), (&101.into(), &101.into()));
    assert_eq!(done[0]["was"]["results"][0]["failing"], serde_json::json!(["tests::b"]));
    assert!(done[0]["cwd"].as_str().unwrap().ends_with("/sub/deep"));
    assert!(done[0]["variables"].as_array().unwrap().contains(&"DEBUG".into()), "{:?}", done[0]);
    assert!(done[1]["argv"][0].as_str().unwrap().starts_with('/'), "{:?}", done[1]);
    let told = done[1]["differences"][0].as_str().unwrap();
    assert!(told.starts_with("1 passed and 1 failed then, 0 passed and 2 failed now (test_that"), "{told}");
    let text = repo.expect(1, &["verify", &run, "--rerun"]);
    assert!(text.contains("variables set inside, whose values are not recorded: ONCE"), "{text}");
}
