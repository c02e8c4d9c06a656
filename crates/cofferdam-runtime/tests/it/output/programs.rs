//! Programs as agents use them to start commands.

use cofferdam_core::event::{Source, Stream};

use super::{node, python, recorded};

#[test]
fn nodes_spawn_exec_and_exec_sync() {
    let script = r#"
        const c = require('child_process'), assert = require('assert');
        assert.equal(c.execSync('echo sync; echo serr >&2').toString(), 'sync\n');
        c.exec('echo async; exit 3', (e, out) => {
            assert.equal(e.code, 3); assert.equal(out, 'async\n');
            const p = c.spawn('bash', ['-c', 'for i in 1 2 3; do echo $i; done; echo err >&2']);
            let out2 = '', err2 = '';
            p.stdout.on('data', d => out2 += d); p.stderr.on('data', d => err2 += d);
            p.on('close', (code, signal) => {
                assert.deepEqual([code, signal, out2, err2], [0, null, '1\n2\n3\n', 'err\n']);
                const q = c.spawn('no-such-program'); q.on('error', e => { assert.equal(e.code, 'ENOENT');
                    process.exitCode = 11; });
            });
        });"#;
    let (output, recorded) = recorded(|| node(script).output().unwrap());
    assert_eq!(output.status.code(), Some(11), "{}", String::from_utf8_lossy(&output.stderr));
    recorded.saying("sync\n");
    recorded.saying("async\n");
    assert_eq!(recorded.saying("1\n2\n3\n").output.source, Source::Socket);
    assert_eq!(recorded.saying("err\n").output.stream, Stream::Stderr);
}

#[test]
fn node_gets_all_of_a_long_stream_from_a_child_that_exits_at_once() {
    let script = r#"
        const { spawn } = require('child_process'); const h = require('crypto').createHash('sha256'); let n = 0;
        const p = spawn(process.execPath, ['-e', "process.stdout.write('0123456789'.repeat(1000000), () => process.exit(5))"]);
        p.stdout.on('data', d => { n += d.length; h.update(d); });
        p.on('close', code => console.log(n, code, h.digest('hex')));"#;
    let (output, recorded) = recorded(|| node(script).output().unwrap());
    let bare = node(script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&bare.stdout));
    let long = recorded.outputs.iter().find(|o| o.output.bytes == 10_000_000).unwrap();
    assert_eq!(long.output.source, Source::Socket);
    assert!(long.output.blob.size >= (1 << 20) + (64 << 10));
    assert!(long.tail.ends_with(b"0123456789"));
    assert_eq!(recorded.counted.unexplained, 0);
}

#[test]
fn node_kills_and_is_told_so() {
    let script = r#"
        const p = require('child_process').spawn('bash', ['-c', 'echo ready; exec sleep 100']);
        p.stdout.on('data', d => p.kill('SIGTERM'));
        p.on('close', (code, signal) => console.log(code, signal));"#;
    let (output, recorded) = recorded(|| node(script).output().unwrap());
    assert_eq!(output.stdout, b"null SIGTERM\n");
    recorded.saying("ready\n");
}

#[test]
fn nodes_inherited_streams_stay_one_stream() {
    let script = r#"
        const c = require('child_process');
        for (let i = 0; i < 20; i++) { process.stdout.write('node ' + i + '\n');
            c.execFileSync('/bin/echo', ['child', String(i)], { stdio: 'inherit' }); }"#;
    let (output, recorded) = recorded(|| node(script).output().unwrap());
    let expected: String = (0..20).map(|i| format!("node {i}\nchild {i}\n")).collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    recorded.saying(&expected);
    assert_eq!(recorded.outputs.len(), 1);
}

#[test]
fn pythons_subprocess() {
    let script = "import subprocess as s\nassert s.check_output(['echo', 'x']) == b'x\\n'\n\
                  r = s.run('echo o; echo e >&2; exit 4', shell=True, capture_output=True)\n\
                  assert (r.stdout, r.stderr, r.returncode) == (b'o\\n', b'e\\n', 4)\n\
                  r = s.run('echo 1; echo 2 >&2; echo 3', shell=True, stdout=s.PIPE, stderr=s.STDOUT)\n\
                  assert r.stdout == b'1\\n2\\n3\\n', r.stdout\n\
                  p = s.Popen(['cat'], stdin=s.PIPE, stdout=s.PIPE)\nassert p.communicate(b'z' * 3000000)[0] == b'z' * 3000000\n\
                  try: s.run(['nope'], stdout=s.PIPE)\nexcept FileNotFoundError: print('ok')";
    let (output, recorded) = recorded(|| python(script).output().unwrap());
    assert_eq!(output.stdout, b"ok\n", "{}", String::from_utf8_lossy(&output.stderr));
    recorded.saying("x\n");
    assert_eq!(recorded.saying("1\n2\n3\n").output.stream, Stream::Both);
    assert!(recorded.outputs.iter().any(|o| o.output.bytes == 3_000_000));
}

#[test]
fn a_reader_that_polls() {
    let script = "import os, select, subprocess\np = subprocess.Popen(['bash', '-c', 'for i in 1 2 3; do echo $i; sleep \
                  0.05; done'], stdout=subprocess.PIPE)\nos.set_blocking(p.stdout.fileno(), False)\nq = select.poll()\n\
                  q.register(p.stdout, select.POLLIN)\ngot, hup = b'', False\nwhile not hup:\n  for fd, ev in q.poll():\n\
                  \x20   d = os.read(fd, 100) if ev & select.POLLIN else b''\n    got += d\n\
                  \x20   hup = bool(ev & select.POLLHUP) and not d\nassert got == b'1\\n2\\n3\\n', got\nassert p.wait() == 0";
    let (output, _) = recorded(|| python(script).output().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn sockets_close_by_halves_in_both_directions() {
    // The command ends its writing and lives on; then its peer does the same.
    let child = "import socket, sys\\ns = socket.socket(fileno=1)\\ns.sendall(b'said')\\ns.shutdown(socket.SHUT_WR)\\n\
                 assert s.recv(1) == b''\\nsys.exit(9)";
    let script = format!(
        "import socket, subprocess, sys\na, b = socket.socketpair()\n\
         p = subprocess.Popen([sys.executable, '-c', \"{child}\"], stdin=subprocess.DEVNULL, stdout=b)\nb.close()\n\
         got = b''\nwhile (d := a.recv(100)): got += d\nassert got == b'said', got\nassert p.poll() is None\n\
         a.shutdown(socket.SHUT_WR)\nassert p.wait() == 9"
    );
    let (output, recorded) = recorded(|| python(&script).output().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(recorded.saying("said").output.source, Source::Socket);
}

#[test]
fn a_closed_socket_reader_stops_its_writer() {
    let script = "import socket, subprocess\na, b = socket.socketpair()\n\
                  p = subprocess.Popen(['yes'], stdin=subprocess.DEVNULL, stdout=b)\nb.close()\na.recv(10)\na.close()\n\
                  print(p.wait())";
    let (output, recorded) = recorded(|| python(script).stderr(std::process::Stdio::null()).output().unwrap());
    let bare = python(script).stderr(std::process::Stdio::null()).output().unwrap();
    // ECONNRESET or SIGPIPE, by what was left unread: also without a tee.
    let ended = |text: &[u8]| ["1\n", "-13\n"].contains(&std::str::from_utf8(text).unwrap());
    assert!(ended(&output.stdout) && ended(&bare.stdout), "{output:?} {bare:?}");
    assert_eq!(recorded.counted.unexplained, 0);
}
