//! Commands that work against the recorder.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{bash, python, recorded};

/// After whatever an insider did, the next command is recorded as any other.
fn lives() {
    assert_eq!(bash("echo alive").output().unwrap().stdout, b"alive\n");
}

#[test]
fn a_pipe_made_small_and_non_blocking_loses_nothing() {
    let script = "import fcntl, os, time\nfcntl.fcntl(1, 1031, 4096)\nos.set_blocking(1, False)\nn = 0\n\
                  while n < 3000000:\n  try: n += os.write(1, b'x' * min(9000, 3000000 - n))\n\
                  \x20 except BlockingIOError: time.sleep(0.0005)";
    let (output, recorded) = recorded(|| {
        let output = python(script).output().unwrap();
        lives();
        output
    });
    assert_eq!(output.stdout.len(), 3_000_000, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(recorded.counted.unexplained, 0);
    recorded.saying("alive\n");
}

#[test]
fn who_reads_its_own_output_back_steals_it_from_the_reader_alone() {
    // Takes from the start and from a stream of pages.
    let script = "import os\nr = os.open('/proc/self/fd/1', os.O_RDONLY | os.O_NONBLOCK)\nstolen = 0\n\
                  for i in range(2000):\n  os.write(1, b'y' * 20000)\n  try: stolen += len(os.read(r, 5000))\n\
                  \x20 except BlockingIOError: pass\nos.write(2, str(stolen).encode())";
    let (output, recorded) = recorded(|| {
        let output = python(script).output().unwrap();
        lives();
        output
    });
    let stolen: usize = String::from_utf8(output.stderr.clone()).unwrap().parse().unwrap();
    assert_eq!(output.stdout.len() + stolen, 40_000_000);
    let kept = recorded.outputs.iter().find(|o| o.head.starts_with(b"yyy")).unwrap();
    let passed = output.stdout.len() as u64;
    assert!(kept.output.bytes >= passed);
    assert_eq!(
        kept.output.bytes - passed,
        recorded.counted.unexplained,
        "what was kept and taken before it was handed on is said"
    );
}

#[test]
fn a_write_end_that_is_held_for_ever_ends_with_the_run() {
    let ((), recorded) = recorded(|| {
        let mut child = bash("echo out; exec sleep 100").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 4];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        lives();
        // The run ends while both ends are open.
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(2));
            child.kill().unwrap();
            child.wait().unwrap();
        });
    });
    recorded.saying("out\n");
}

#[test]
fn a_reader_outside_that_never_reads_is_given_up_on_and_said() {
    let (_child, recorded) = recorded(|| {
        let mut child = bash("exec head -c 1000000 /dev/zero").stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        child.kill().unwrap();
        child.wait().unwrap();
        child
    });
    assert_eq!(recorded.gaps.len(), 1);
    assert!(recorded.gaps[0].0.contains("not taken by their reader"), "{:?}", recorded.gaps);
    assert!(recorded.outputs[0].output.bytes >= 64 << 10);
    assert_eq!(recorded.counted.unexplained, 0);
}

#[test]
fn more_streams_than_are_recorded_run_untouched_and_are_counted() {
    let script = "import subprocess\nc = [subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE) \
                  for _ in range(540)]\nfor x in c: x.stdin.write(b'hello'); x.stdin.close()\n\
                  assert all(x.stdout.read() == b'hello' and x.wait() == 0 for x in c)";
    let (output, recorded) = recorded(|| python(script).output().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let missing: u64 = recorded.gaps.iter().map(|(_, count)| count).sum();
    assert!(recorded.gaps.iter().all(|(what, _)| what.contains("more at a time")), "{:?}", recorded.gaps);
    assert!(missing >= 28, "{missing}");
    assert_eq!(recorded.texts().iter().filter(|t| *t == "hello").count() as u64, 540 - missing);
}

#[test]
fn many_writers_into_one_stream_are_all_heard() {
    let script = "for i in {1..20}; do (for j in {1..100}; do echo $i-$j; done) & done; wait";
    let (output, recorded) = recorded(|| bash(script).output().unwrap());
    let mut lines: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 2000);
    assert_eq!(recorded.content(&recorded.outputs[0]), output.stdout);
}

#[test]
fn packets_and_ends_open_for_reading_are_left_alone_and_said() {
    let script = "import os, subprocess\nr, w = os.pipe2(os.O_DIRECT)\n\
                  subprocess.check_call(['/bin/echo', 'packet'], stdout=w)\nassert os.read(r, 100) == b'packet\\n'\n\
                  r, w = os.pipe()\nrw = os.open(f'/proc/self/fd/{r}', os.O_RDWR)\n\
                  subprocess.check_call(['/bin/echo', 'both'], stdout=rw)\nassert os.read(r, 100) == b'both\\n'";
    let (output, recorded) = recorded(|| python(script).output().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(recorded.outputs.len(), 0);
    assert_eq!(recorded.gaps.iter().map(|g| g.1).sum::<u64>(), 2);
}

#[test]
fn a_stream_that_the_exec_closes_is_not_given_back() {
    let script = "import fcntl, os\nos.set_inheritable(1, False)\nos.execv('/bin/sh', ['sh', '-c', 'test -e \
                  /proc/self/fd/1; echo $? >&2'])";
    let (bare, teed) = (python(script).output().unwrap(), recorded(|| python(script).output().unwrap()).0);
    assert_eq!(bare.stderr, teed.stderr);
}

#[test]
fn what_a_child_prints_that_executed_nothing_is_its_parents() {
    let script = "import os\nr, w = os.pipe()\nif os.fork() == 0:\n  os.dup2(w, 1)\n  try: os.execv('/nonexistent', \
                  ['x'])\n  except OSError: os.write(1, b'not found')\n  os._exit(1)\nos.close(w)\n\
                  assert os.read(r, 100) == b'not found'\nos.wait()";
    let (output, recorded) = recorded(|| {
        let status = python(script).stdout(Stdio::null()).status().unwrap();
        lives();
        status
    });
    assert!(output.success());
    let found = recorded.saying("not found");
    assert!(found.exec.is_some());
}

#[test]
fn a_socket_that_is_a_conversation_is_left_alone_and_said() {
    let script = "import socket, subprocess\na, b = socket.socketpair()\n\
                  p = subprocess.Popen(['cat'], stdin=b, stdout=b)\nb.close()\na.sendall(b'question')\n\
                  assert a.recv(100) == b'question'\na.shutdown(socket.SHUT_WR)\nassert a.recv(100) == b''\np.wait()";
    let (output, recorded) = recorded(|| python(script).output().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(recorded.gaps.len(), 1);
    assert!(recorded.gaps[0].0.contains("sockets that are not for output alone"));
}

#[test]
fn bytes_of_every_value_pass() {
    let (output, recorded) = recorded(|| Command::new("head").args(["-c", "70000", "/dev/urandom"]).output().unwrap());
    assert_eq!(recorded.content(&recorded.outputs[0]), output.stdout);
}
