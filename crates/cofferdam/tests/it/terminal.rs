//! A run on a person's terminal.

use rustix::process::Signal;

use crate::support::evidence::Evidence;
use crate::support::pty::Session;
use crate::support::{Scene, eventually, processes};

#[test]
fn the_command_has_a_terminal_of_the_persons_size() {
    let scene = Scene::new();
    let mut session = Session::start(
        &scene,
        &["sh", "-c", "test -t 0 -a -t 1 -a -t 2 && echo all-terminals; stty size; tty; read x; stty size"],
    );
    session.expect("all-terminals");
    session.expect("31 97");
    session.expect("/dev/pts/0");
    session.resize(42, 111);
    // The new size is passed on by a signal: give it the moment that it takes.
    std::thread::sleep(std::time::Duration::from_millis(200));
    session.type_in("\n");
    session.expect("42 111");
    assert_eq!(session.wait().code(), Some(0));
}

#[test]
fn what_is_typed_arrives_and_end_of_file_too() {
    let scene = Scene::new();
    let mut session = Session::start(&scene, &["sh", "-c", "echo up; cat; echo after"]);
    session.expect("up");
    session.type_in("hello\n");
    session.expect("hello\r\nhello");
    session.type_in("\u{4}");
    session.expect("after");
    assert_eq!(session.wait().code(), Some(0));
}

#[test]
fn control_c_interrupts_the_command_and_not_only_us() {
    let scene = Scene::new();
    let mut session = Session::start(
        &scene,
        &["sh", "-c", "trap 'echo interrupted; exit 9' INT; echo up; while :; do sleep 0.05; done"],
    );
    session.expect("up");
    session.type_in("\u{3}");
    session.expect("interrupted");
    assert_eq!(session.wait().code(), Some(9));
}

#[test]
fn control_z_stops_both_and_continuing_resumes_both() {
    let scene = Scene::new();
    // exec: a shell in the middle of a vfork cannot be stopped, here as little as outside.
    let mut session = Session::start(&scene, &["sh", "-c", "echo up; exec cat"]);
    let before = session.state();
    session.expect("up");
    session.type_in("\u{1a}");
    let pid = session.pid();
    let stopped = |pid: i32| processes::status(pid, "State").is_some_and(|s| s.starts_with('T'));
    let states = || processes::chain(pid).iter().map(|p| processes::status(*p, "State")).collect::<Vec<_>>();
    assert!(eventually(10, || stopped(pid)), "{:?} {}", states(), session.screen());
    let command = processes::chain(pid)[3];
    assert!(stopped(command));
    assert_eq!(session.state(), before, "the terminal is the shell's while we are stopped");
    processes::signal(pid, Signal::CONT);
    assert!(eventually(10, || !stopped(command)));
    session.type_in("again\n");
    session.expect("again\r\nagain");
    session.type_in("\u{4}");
    assert_eq!(session.wait().code(), Some(0));
    assert_eq!(session.state(), before);
}

#[test]
fn the_terminal_is_as_before_whoever_dies() {
    let scene = Scene::new();
    for (victim, who, code) in
        [(0, "client", None), (1, "monitor", Some(125)), (2, "init", Some(125)), (3, "command", Some(137))]
    {
        // The command leaves its own terminal in raw mode; ours is another.
        let mut session = Session::start(&scene, &["sh", "-c", "stty raw -echo; echo up; read x"]);
        let before = session.state();
        session.expect("up");
        assert!(eventually(5, || session.state() != before), "raw while it runs");
        let chain = processes::chain(session.pid());
        processes::signal(chain[victim], Signal::KILL);
        let status = session.wait();
        assert_eq!(status.code(), code, "{who}: {}", session.screen());
        assert!(eventually(5, || session.state() == before), "{who}: {}", session.state());
        assert!(eventually(5, || !chain.iter().any(|p| processes::alive(*p))), "{who}: {chain:?}");
    }
}

#[test]
fn a_redirected_error_stream_stays_apart() {
    let scene = Scene::new();
    let file = scene.root().join("errors");
    let mut command = scene.program(crate::support::scene::hostile());
    let line =
        format!("{} run -- sh -c 'echo shown; echo kept-apart >&2' 2>{}", env!("CARGO_BIN_EXE_coffer"), file.display());
    command.args(["on-terminal", "sh", "-c", &line]);
    let mut session = Session::of(command);
    session.expect("shown");
    let status = session.wait();
    assert!(status.success(), "{status:?} {} {:?}", session.screen(), std::fs::read_to_string(&file));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept-apart\n");
    assert!(!session.screen().contains("kept-apart"));
}

/// Tests are found in what the terminal shows while a command runs that tests, and nowhere else on it.
#[test]
fn tests_on_the_terminal_are_recorded() {
    let scene = Scene::new();
    let script = "printf 'import unittest\\nclass T(unittest.TestCase):\\n  def test_a(self): pass\\n  def test_b(self): self.fail()\\n' > test_t.py
        python3 -m unittest test_t
        python3 -m unittest -k test_a test_t
        /bin/true; echo 'running 9 tests'; echo 'test result: ok. 9 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out'";
    let mut session = Session::start(&scene, &["sh", "-c", script]);
    session.expect("9 passed");
    assert_eq!(session.wait().code(), Some(0));
    let evidence = Evidence::of(&scene);
    let execs = evidence.of_kind("process.exec");
    let results = evidence.of_kind("test.result");
    let facts: Vec<_> = results
        .iter()
        .map(|event| {
            let exec = execs.iter().find(|exec| exec["seq"] == event["cause"]).unwrap();
            let data = &event["data"];
            (
                data["framework"].as_str().unwrap(),
                data["passed"].clone(),
                data["failed"].clone(),
                exec["data"]["argv"][3].clone(),
            )
        })
        .collect();
    assert_eq!(
        facts,
        [("unittest", 1.into(), 1.into(), "test_t".into()), ("unittest", 1.into(), 0.into(), "-k".into())]
    );
    assert_eq!(results[0]["data"]["failing"].as_array().unwrap().len(), 1);
}
