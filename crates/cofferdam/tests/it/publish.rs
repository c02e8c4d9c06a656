//! Ports of an enclosure that the host reaches, and what that does not open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::scene::wait;
use crate::support::{Scene, Server, eventually, processes};

/// Of each connection the first byte says what it wants: `c` the number of bytes that follow, told at their end; `e` them back.
const SERVER: &str = r#"
import socket, sys, threading
def serve(c):
    how, count = c.recv(1), 0
    while True:
        data = c.recv(1 << 16)
        if not data: break
        count += len(data)
        if how == b'e': c.sendall(data)
    if how == b'c': c.sendall(b'%d' % count)
    c.close()
def listen(host, port):
    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    s.bind((host, port)); s.listen(128)
    while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
for place in sys.argv[1:]:
    host, port = place.rsplit('/', 1)
    threading.Thread(target=listen, args=(host, int(port)), daemon=True).start()
threading.Event().wait()
"#;

/// Whether python3 is there; these tests say nothing without it.
fn scene() -> Option<Scene> {
    let scene = Scene::new();
    if !scene.program("sh").args(["-c", "command -v python3"]).output().unwrap().status.success() {
        eprintln!("not proven on this machine: there is no python3");
        return None;
    }
    std::fs::write(scene.project.join("server.py"), SERVER).unwrap();
    Some(scene)
}

/// A port that nothing has now.
fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A run that goes on until it is told to end.
struct Live {
    child: Child,
    keys: Option<ChildStdin>,
}

impl Live {
    fn start(scene: &Scene, options: &[&str], script: &str) -> Live {
        let mut command = scene.coffer();
        command.arg("run").args(options).args(["--", "sh", "-c", &format!("{script}\nread -r _; true")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let keys = child.stdin.take();
        Live { child, keys }
    }

    /// Ends it in the ordinary way.
    fn end(mut self) {
        drop(self.keys.take());
        assert!(wait(&mut self.child, Duration::from_secs(20)).success());
    }

    /// Where the next port is published, as it says.
    fn published(&mut self) -> Vec<SocketAddr> {
        let stderr = self.child.stderr.as_mut().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(1, stderr).read_line(&mut line).unwrap();
        let (_, places) = line.trim().split_once(" at ").unwrap_or_else(|| panic!("{line}"));
        places.split(" and ").map(|place| place.parse().unwrap()).collect()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends bytes, ends that half, and reads the rest.
fn ask(address: SocketAddr, how: u8, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut writer = stream.try_clone()?;
    let sent = [&[how], bytes].concat();
    let writing = std::thread::spawn(move || writer.write_all(&sent).and_then(|()| writer.shutdown(Shutdown::Write)));
    let mut got = Vec::new();
    let read = stream.read_to_end(&mut got);
    writing.join().unwrap()?;
    read.map(|_| got)
}

/// Whether a server inside answers.
fn answers(address: SocketAddr) -> bool {
    ask(address, b'c', b"four").is_ok_and(|got| got == b"4")
}

fn loopbacks(port: u16) -> Vec<SocketAddr> {
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
    [Some(v4), v6.then_some(Ipv6Addr::LOCALHOST.into())].into_iter().flatten().map(|ip| (ip, port).into()).collect()
}

#[test]
fn servers_are_reached_by_both_families_whichever_they_listen_by() {
    let Some(scene) = scene() else { return };
    let hosts: Vec<&str> = match loopbacks(0).len() {
        2 => vec!["127.0.0.1", "0.0.0.0", "::1", "::"],
        _ => vec!["127.0.0.1", "0.0.0.0"],
    };
    let ports: Vec<u16> = hosts.iter().map(|_| free()).collect();
    let places: Vec<String> = hosts.iter().zip(&ports).map(|(host, port)| format!("{host}/{port}")).collect();
    let options: Vec<String> = ports.iter().map(|port| format!("--publish={port}")).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut live = Live::start(&scene, &options, &format!("python3 server.py {} &", places.join(" ")));
    for (host, port) in hosts.iter().zip(&ports) {
        let addresses = live.published();
        assert_eq!(addresses, loopbacks(*port), "the same number where it is free");
        for address in addresses {
            assert!(eventually(20, || answers(address)), "{host} by {address}");
        }
    }
    live.end();
    for address in ports.iter().flat_map(|port| loopbacks(*port)) {
        assert!(TcpStream::connect(address).is_err(), "{address} listens after the run's end");
    }
    let published = scene.events("net.published");
    assert_eq!(published.len(), hosts.len());
    assert_eq!(
        (&published[0]["data"]["by"], &published[0]["data"]["port"]),
        (&"command-line".into(), &ports[0].into())
    );
    assert_eq!(published[0]["data"]["uid"], rustix::process::getuid().as_raw());
    for ended in scene.events("net.unpublished") {
        let data = &ended["data"];
        assert_eq!((&data["by"], &data["lost"]), (&"run-end".into(), &0.into()), "{ended}");
        let (all, unanswered) = (data["connections"].as_u64().unwrap(), data["unanswered"].as_u64().unwrap());
        assert!(all - unanswered >= loopbacks(0).len() as u64, "{ended}");
        assert!(data["received"].as_u64().unwrap() >= 5 && data["sent"].as_u64().unwrap() >= 1, "{ended}");
    }
    assert!(scene.events("net.connect").is_empty(), "nothing left");
}

#[test]
fn many_connections_at_once_and_much_at_a_time() {
    let Some(scene) = scene() else { return };
    let port = free();
    let mut live = Live::start(&scene, &["-p", &port.to_string()], &format!("python3 server.py 127.0.0.1/{port} &"));
    let address = live.published()[0];
    assert!(eventually(20, || answers(address)));
    let word: Vec<u8> = (0..1 << 18).map(|n: u32| (n % 251) as u8).collect();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..50).map(|_| scope.spawn(|| ask(address, b'e', &word).unwrap())).collect();
        assert!(all.into_iter().all(|one| one.join().unwrap() == word));
    });
    let much = vec![7u8; 64 << 20];
    assert_eq!(ask(address, b'c', &much).unwrap(), b"67108864");
    assert!(ask(address, b'e', &much).unwrap() == much);
    live.end();
    let ended = &scene.events("net.unpublished")[0]["data"];
    assert!(ended["received"].as_u64().unwrap() > 50 << 18, "{ended}");
    assert!(ended["connections"].as_u64().unwrap() >= 53, "{ended}");
}

#[test]
fn a_port_is_published_and_closed_while_the_run_goes_on() {
    let Some(scene) = scene() else { return };
    let port = free();
    let script = format!("echo up; read -r _; python3 server.py 127.0.0.1/{port} &");
    let mut live = Live::start(&scene, &["-q"], &script);
    let mut shown = BufReader::new(live.child.stdout.take().unwrap());
    let mut line = String::new();
    shown.read_line(&mut line).unwrap();
    let said = scene.finished(&["publish", "@", &port.to_string()]);
    assert_eq!(said.code(), Some(0), "{}", said.all());
    assert!(said.all().contains("nothing listens at port"), "{}", said.all());
    let address = loopbacks(port)[0];
    assert!(said.out().contains(&address.to_string()), "{}", said.out());
    // Taken and reset: nobody is there yet.
    let mut early = TcpStream::connect(address).unwrap();
    early.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(early.read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    live.keys.as_mut().unwrap().write_all(b"\n").unwrap();
    assert!(eventually(20, || answers(address)));
    let rows: Value = serde_json::from_str(&scene.finished(&["list", "--json"]).out()).unwrap();
    assert!(rows[0]["listens"].as_array().is_some_and(|ports| ports.contains(&port.into())), "{rows}");
    // Taken by ourselves now: another number, and one that was named is an error.
    let again = scene.finished(&["publish", "@", &port.to_string(), "--json"]);
    let facts: Value = serde_json::from_str(&again.out()).unwrap_or_else(|_| panic!("{}", again.all()));
    assert_eq!(facts["ports"][0]["listens"], true, "{facts}");
    let other: SocketAddr = facts["ports"][0]["addresses"][0].as_str().unwrap().parse().unwrap();
    assert!(other.port() != port && answers(other));
    let named = scene.finished(&["publish", "@", &format!("{port}:{port}")]);
    assert_eq!(named.code(), Some(125), "{}", named.all());
    // An open connection ends with it.
    let mut open = TcpStream::connect(address).unwrap();
    open.write_all(b"eping").unwrap();
    open.read_exact(&mut [0; 4]).unwrap();
    assert_eq!(scene.finished(&["publish", "@", &port.to_string(), "--stop"]).code(), Some(0));
    open.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(matches!(open.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert!(eventually(10, || [address, other].iter().all(|a| TcpStream::connect(a).is_err())), "still listens");
    let twice = scene.finished(&["publish", "@", &port.to_string(), "--stop"]);
    assert!(twice.code() == Some(125) && twice.all().contains("is not published"), "{}", twice.all());
    live.end();
    let ended = scene.events("net.unpublished");
    assert!(ended.len() == 2 && ended.iter().all(|e| e["data"]["by"] == "person"), "{ended:?}");
    assert!(ended.iter().any(|e| e["data"]["unanswered"].as_u64().unwrap() >= 1), "{ended:?}");
    let late = scene.finished(&["publish", "@", &port.to_string()]);
    assert!(late.code() == Some(125) && late.all().contains("not going on"), "{}", late.all());
    assert!(TcpStream::connect(address).is_err(), "the listener of a refused request is closed");
}

#[test]
fn a_named_port_that_is_taken_is_no_run() {
    let scene = Scene::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let got = scene.finished(&["run", "--publish", &format!("{port}:80"), "--", "touch", "ran"]);
    assert_eq!(got.code(), Some(125), "{}", got.all());
    assert!(got.all().contains(&format!("127.0.0.1:{port}")), "{}", got.all());
    assert_eq!(scene.finished(&["list", "--json"]).out().trim(), "[]");
    for wrong in ["0", "localhost:80", "80:http"] {
        assert_eq!(scene.finished(&["run", "--publish", wrong, "--", "true"]).code(), Some(125), "{wrong}");
    }
}

#[test]
fn the_death_of_the_monitor_leaves_no_listener() {
    let Some(scene) = scene() else { return };
    for used in [true, false] {
        let port = free();
        let mut live =
            Live::start(&scene, &["-p", &port.to_string()], &format!("python3 server.py 127.0.0.1/{port} & echo up"));
        let address = live.published()[0];
        if used {
            assert!(eventually(20, || answers(address)));
        }
        let mut shown = BufReader::new(live.child.stdout.take().unwrap());
        shown.read_line(&mut String::new()).unwrap();
        let monitor = processes::chain(live.child.id().cast_signed())[1];
        processes::signal(monitor, Signal::KILL);
        assert!(!wait(&mut live.child, Duration::from_secs(20)).success());
        assert!(eventually(10, || TcpStream::connect(address).is_err()), "{address} listens, used: {used}");
    }
}

#[test]
fn the_gateways_death_is_told_and_the_port_goes_on() {
    let Some(scene) = scene() else { return };
    let port = free();
    let mut live = Live::start(&scene, &["-p", &port.to_string()], &format!("python3 server.py 127.0.0.1/{port} &"));
    let address = live.published()[0];
    assert!(eventually(20, || answers(address)));
    let mut open = TcpStream::connect(address).unwrap();
    open.write_all(b"eping").unwrap();
    open.read_exact(&mut [0; 4]).unwrap();
    let monitor = processes::chain(live.child.id().cast_signed())[1];
    let named = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|n| n == "coffer-gateway\n");
    let gateway = processes::children(monitor).into_iter().find(named).expect("a gateway");
    processes::signal(gateway, Signal::KILL);
    assert!(eventually(20, || answers(address)), "the next gateway serves it");
    live.end();
    assert_eq!(scene.events("net.unpublished")[0]["data"]["lost"], 1);
}

/// Code inside that knows everything: which process makes the sockets, where the host listens, where the control socket is.
const ATTACK: &str = r#"
import os, signal, socket, sys
host_port, state, published = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
won = []
def attempt(what, act):
    try: act(); won.append(what)
    except OSError as e: print('lost', what, e.errno)
dialers = [p for p in os.listdir('/proc') if p.isdigit() and open(f'/proc/{p}/comm').read() == 'coffer-dialer\n']
print('dialers', len(dialers))
for p in dialers:
    attempt('kill', lambda: os.kill(int(p), signal.SIGKILL))
    attempt('stop', lambda: os.kill(int(p), signal.SIGSTOP))
    attempt('descriptors', lambda: [os.readlink(f'/proc/{p}/fd/{n}') for n in os.listdir(f'/proc/{p}/fd')])
    attempt('memory', lambda: open(f'/proc/{p}/mem', 'rb').read(1))
    pidfd = os.pidfd_open(int(p))
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    def steal():
        for fd in range(3, 64):
            if libc.syscall(438, pidfd, fd, 0) >= 0: return
        raise OSError(ctypes.get_errno(), 'pidfd_getfd')
    attempt('steal', steal)
for family, place in [(socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')]:
    def connect():
        s = socket.socket(family); s.settimeout(5); s.connect((place, host_port)); s.sendall(b'out\n')
    attempt('host', connect)
def control():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for root, _, names in os.walk(state):
        for name in names:
            if name == 'control': s.connect(os.path.join(root, name)); return
    raise OSError(2, 'no control socket')
attempt('control', control)
def callback():
    # A connection that came by the published port leads back to who made it, and nowhere else.
    s = socket.socket(); s.settimeout(5)
    s.connect(('127.0.0.1', published)); peer = s.getpeername()
    if peer != ('127.0.0.1', published): return
    raise OSError(0, 'itself')
attempt('callback', callback)
print('won', *won)
"#;

#[test]
fn a_published_port_opens_nothing_to_the_inside() {
    let Some(scene) = scene() else { return };
    std::fs::write(scene.project.join("attack.py"), ATTACK).unwrap();
    let server = Server::speaks_first();
    // Outside the way to the host's server is open: it is the enclosure that closes it.
    TcpStream::connect(("127.0.0.1", server.port)).unwrap().write_all(b"outside\n").unwrap();
    assert!(eventually(10, || server.heard() == ["outside"]));
    let port = free();
    let state = scene.state.display().to_string();
    let script = format!(
        "python3 server.py 127.0.0.1/{port} &\nread -r _; python3 attack.py {} {state} {port}; echo over",
        server.port
    );
    let mut live = Live::start(&scene, &["-p", &port.to_string()], &script);
    let address = live.published()[0];
    assert!(eventually(20, || answers(address)), "there is a dialer now");
    live.keys.as_mut().unwrap().write_all(b"\n").unwrap();
    let mut shown = BufReader::new(live.child.stdout.take().unwrap()).lines();
    let said: Vec<String> = shown.by_ref().map(Result::unwrap).take_while(|line| line != "over").collect();
    assert!(said.contains(&"dialers 1".to_owned()), "{said:?}");
    let won = said.iter().find_map(|line| line.strip_prefix("won")).unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(won.trim(), "", "{said:?}");
    assert_eq!(server.heard(), ["outside"]);
    assert!(answers(address), "the dialer lives");
    live.end();
    assert_eq!(scene.events("net.published").len(), 1);
    assert!(scene.events("net.connect").is_empty());
}
