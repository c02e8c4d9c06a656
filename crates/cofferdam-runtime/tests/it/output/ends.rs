//! How streams end: first the command, or its reader, or neither.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{bash, python, recorded};

#[test]
fn a_reader_that_closes_early_stops_its_writer() {
    let (output, recorded) = recorded(|| bash("yes | head -1; echo ${PIPESTATUS[*]}").output().unwrap());
    assert_eq!(output.stdout, b"y\n141 0\n");
    assert_eq!(recorded.counted.unexplained, 0);
    assert!(recorded.outputs.iter().any(|o| o.output.bytes > 2 && o.head.starts_with(b"y\ny\n")), "what yes wrote");
}

#[test]
fn a_reader_that_closes_while_the_writer_is_idle_is_noticed_at_the_next_write() {
    let (status, recorded) = recorded(|| {
        let script = "echo one; read line < <(sleep 0.3); echo two; echo three";
        let mut child = bash(script).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 4];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        assert_eq!(&first, b"one\n");
        drop(child.stdout.take());
        child.wait().unwrap()
    });
    assert_eq!(status.signal(), Some(13), "SIGPIPE at the very next write, as without a tee");
    recorded.saying("one\n");
}

#[test]
fn a_writer_that_ignores_sigpipe_gets_epipe() {
    let script = "import os, sys, time\nos.write(1, b'x')\ntime.sleep(0.3)\ntry:\n  os.write(1, b'y')\n\
                  except BrokenPipeError: sys.exit(7)";
    let (status, _) = recorded(|| {
        let mut child = python(script).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        drop(child.stdout.take());
        child.wait().unwrap()
    });
    assert_eq!(status.code(), Some(7));
}

#[test]
fn a_daemon_keeps_the_pipe_and_the_end_of_file_comes_with_its_own() {
    let ((took, text), recorded) = recorded(|| {
        let begun = Instant::now();
        let mut child =
            bash("echo now; (read -t 0.5 x < <(sleep 9); echo later) & ").stdout(Stdio::piped()).spawn().unwrap();
        child.wait().unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        (begun.elapsed(), text)
    });
    assert_eq!(text, "now\nlater\n");
    assert!(took >= Duration::from_millis(500), "{took:?}");
    recorded.saying("now\nlater\n");
}

#[test]
fn what_a_killed_command_wrote_arrives() {
    let (output, recorded) = recorded(|| bash("echo last words; kill -9 $$").output().unwrap());
    assert_eq!((&output.stdout[..], output.status.signal()), (&b"last words\n"[..], Some(9)));
    recorded.saying("last words\n");
}

#[test]
fn a_reader_need_not_wait_for_the_end_of_file() {
    let ((), recorded) = recorded(|| {
        for i in 0..100 {
            // The write end stays open here, so that no end of file ever comes.
            let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
            let status = bash(&format!("echo {i}")).stdout(writer.try_clone().unwrap()).status().unwrap();
            assert!(status.success());
            let mut fds = [rustix::event::PollFd::new(&reader, rustix::event::PollFlags::IN)];
            let patience = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
            assert_eq!(rustix::event::poll(&mut fds, Some(&patience)), Ok(1));
            let mut line = [0; 16];
            let got = rustix::io::read(&reader, &mut line).unwrap();
            assert_eq!(&line[..got], format!("{i}\n").as_bytes());
        }
    });
    assert_eq!(recorded.outputs.len(), 100);
}

#[test]
fn a_reader_that_does_not_read_blocks_the_writer() {
    // The writer says how much it got rid of when nothing has been taken for half a second.
    let script = "import os, sys, time\nos.set_blocking(1, False)\nn, last = 0, time.time()\n\
                  while time.time() - last < 0.5:\n  try:\n    n += os.write(1, b'x' * 4096); last = time.time()\n\
                  \x20 except BlockingIOError: time.sleep(0.01)\nos.write(2, str(n).encode()); os.close(2)\n\
                  os.set_blocking(1, True)\nos.write(1, b'end')";
    let ((accepted, read), recorded) = recorded(|| {
        let mut child = python(script).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut accepted = String::new();
        child.stderr.take().unwrap().read_to_string(&mut accepted).unwrap();
        let mut text = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(text.ends_with(b"xend"));
        (accepted.parse::<usize>().unwrap(), text.len())
    });
    assert_eq!(read, accepted + 3, "nothing is lost");
    let pipe = 64 << 10;
    assert!((pipe..=3 * pipe).contains(&accepted), "{accepted}: the original, one pipe more, one chunk on its way");
    assert_eq!(recorded.counted.unexplained, 0);
}

#[test]
fn a_blocked_writer_goes_on_when_its_reader_does() {
    let (bytes, _) = recorded(|| {
        let mut child = bash("head -c 3000000 /dev/zero").stdout(Stdio::piped()).spawn().unwrap();
        let mut reader = child.stdout.take().unwrap();
        let (mut bytes, mut chunk) = (0, vec![0; 50_000]);
        loop {
            if bytes < 500_000 {
                std::thread::sleep(Duration::from_millis(5));
            }
            match reader.read(&mut chunk).unwrap() {
                0 => break,
                got => bytes += got,
            }
        }
        assert!(child.wait().unwrap().success());
        bytes
    });
    assert_eq!(bytes, 3_000_000);
}

#[test]
fn a_reader_may_close_while_the_writer_is_blocked() {
    let (status, recorded) = recorded(|| {
        let mut child = bash("exec head -c 3000000 /dev/zero").stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        drop(child.stdout.take());
        child.wait().unwrap()
    });
    assert_eq!(status.signal(), Some(13));
    assert_eq!(recorded.counted.unexplained, 0);
    assert!(recorded.outputs[0].output.bytes >= 64 << 10, "what it wrote is kept though nobody read it");
}
