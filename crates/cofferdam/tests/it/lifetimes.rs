//! When a run ends everything in it ends; runs at once do not meet.

use std::fs;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::scene::{finish, finish_child};
use crate::support::{Scene, eventually, is_root, processes, unique};

#[test]
fn daemons_and_deaf_and_stopped_processes_end_with_the_run() {
    let scene = Scene::new();
    let marker = unique("HIVE");
    let _cleared = processes::Cleared(marker.clone());
    assert!(scene.attack_outside(&["hive", &marker]).status.success());
    // A daemon, a stopped process and a child stand.
    assert!(eventually(5, || processes::with(&marker).len() >= 3), "outside they survive");
    for pid in processes::with(&marker) {
        processes::signal(pid, Signal::KILL);
    }
    assert!(eventually(5, || processes::with(&marker).is_empty()));
    let got = scene.attack_inside(&["hive", &marker]);
    assert!(got.status.success(), "{}", got.all());
    assert_eq!(processes::inside(&marker), Vec::<i32>::new(), "when coffer returns nothing is left");
}

/// The monitor may still wait for the disk when the client returns; the next command finds home and run free.
#[test]
fn runs_one_after_the_other_share_their_home() {
    let scene = Scene::new();
    for number in 0..12 {
        let got = scene.script(&format!("echo {number} >> ~/log; head -c 8M /dev/zero > big"));
        assert!(got.status.success(), "{}", got.all());
    }
    assert_eq!(scene.script("wc -l < ~/log").out().trim(), "12");
}

#[test]
fn a_run_that_has_returned_is_not_busy() {
    let scene = Scene::new();
    for _ in 0..8 {
        assert!(scene.script("head -c 8M /dev/zero > big").status.success());
        let mut discard = scene.coffer();
        discard.args(["discard", "--yes"]);
        let got = finish(discard, b"");
        // The lock of the evidence is another one, which the monitor holds until the disk has it.
        assert!(!String::from_utf8_lossy(&got.stderr).contains("busy"), "{}", got.all());
    }
}

#[test]
fn two_runs_on_one_project_do_not_meet() {
    let scene = Scene::new();
    let word = unique("MEET");
    let first = format!(
        "echo {word} > shared.txt; echo {word} > /tmp/shared; echo {word} > /dev/shm/shared; \
         echo ready; read line; test ! -e from-second && test ! -e /tmp/second && test ! -e ~/second && echo alone"
    );
    let mut one = scene
        .coffer()
        .args(["run", "--", "sh", "-c", &first])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = one.id().cast_signed();
    let shown = scene.state.join("cofferdam/runs");
    assert!(
        eventually(15, || {
            fs::read_dir(&shown)
                .into_iter()
                .flatten()
                .flatten()
                .any(|r| r.path().join("layers/upper/shared.txt").exists())
        }),
        "{:?}",
        processes::chain(pid)
    );
    let second = "test ! -e shared.txt; echo a $?; test ! -e /tmp/shared; echo b $?; test ! -e /dev/shm/shared; echo c $?; \
                  echo x > from-second; echo x > /tmp/second; echo x > ~/second; ls /proc | grep -c '^[0-9]'";
    let two = scene.run(&["sh", "-c", second]);
    assert!(two.status.success(), "{}", two.all());
    for line in ["a 0", "b 0", "c 0"] {
        assert!(two.out().contains(line), "{}", two.all());
    }
    use std::io::Write;
    one.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    let got = finish_child(one, b"");
    assert!(got.out().contains("alone"), "{}", got.all());
}

#[test]
fn sockets_of_two_runs_do_not_meet() {
    let scene = Scene::new();
    let other = Scene::new();
    let port = "47811";
    let name = unique("abstract");
    // A server on loopback in one enclosure, a client in another: the same names, different places.
    let server = format!(
        "./hostile serve 127.0.0.1:{port} & ./hostile serve-abstract {name} & \
        for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; ./hostile tcp 127.0.0.1:{port} x && ./hostile abstract {name} x && break; \
        done; echo x > up; read line"
    );
    let mut one = scene
        .coffer()
        .args(["run", "--", "sh", "-c", &server])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let runs = scene.state.join("cofferdam/runs");
    let up = || fs::read_dir(&runs).into_iter().flatten().flatten().any(|r| r.path().join("layers/upper/up").exists());
    assert!(eventually(15, up));
    for words in [["tcp", &*format!("127.0.0.1:{port}"), "x"], ["abstract", &name, "x"]] {
        for got in [other.attack_inside(&words), other.attack_outside(&words)] {
            assert!(got.out().contains("refused"), "{}", got.all());
        }
    }
    drop(one.stdin.take());
    one.wait().unwrap();
}

/// A process in the background keeps the streams open: nobody waits for it.
#[test]
fn a_process_that_holds_the_output_open_holds_nobody_up() {
    let scene = Scene::new();
    let marker = unique("HOLD");
    let _cleared = processes::Cleared(marker.clone());
    let begun = std::time::Instant::now();
    let got =
        scene.script(&format!("./hostile linger {marker} deaf-daemon & ./hostile linger {marker} plain & echo done"));
    assert_eq!((got.out().as_str(), got.code()), ("done\n", Some(0)), "{}", got.all());
    assert!(begun.elapsed().as_secs() < 10);
    assert_eq!(processes::inside(&marker), Vec::<i32>::new());
}

/// SIGTSTP to a client without a terminal stops the command with it, SIGCONT continues both.
#[test]
fn a_run_without_a_terminal_can_be_stopped_and_continued() {
    let scene = Scene::new();
    let mut client = scene
        .coffer()
        .args(["run", "--", "sh", "-c", "read line; echo \"$line\""])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = client.id().cast_signed();
    let runs_shell = |chain: &[i32]| {
        chain.len() == 4 && fs::read(format!("/proc/{}/cmdline", chain[3])).is_ok_and(|c| c.starts_with(b"sh\0"))
    };
    assert!(eventually(10, || runs_shell(&processes::chain(pid))));
    let chain = processes::chain(pid);
    let stopped = |pid: i32| processes::status(pid, "State").is_some_and(|s| s.starts_with('T'));
    processes::signal(pid, Signal::TSTP);
    assert!(eventually(10, || stopped(pid) && stopped(chain[3])));
    processes::signal(pid, Signal::CONT);
    assert!(eventually(10, || !stopped(pid) && !stopped(chain[3])));
    use std::io::Write;
    client.stdin.as_mut().unwrap().write_all(b"on it goes\n").unwrap();
    assert_eq!(finish_child(client, b"").out(), "on it goes\n");
}

#[test]
fn a_fork_bomb_stops_at_the_limit_of_processes() {
    let scene = Scene::new();
    assert!(scene.attack_outside(&["fork-bomb", "150"]).status.success());
    if is_root() {
        eprintln!("not proven as root: the kernel exempts uid 0 of the host from RLIMIT_NPROC");
        return;
    }
    let mut command = scene.coffer();
    command.args(["run", "--processes", "60", "--", "./hostile", "fork-bomb", "150"]);
    let got = finish(command, b"");
    assert!(got.out().contains("lost fork-bomb: 5") && got.out().contains("children"), "{}", got.all());
}
