//! Getting a byte to a listener of the host.

use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::attack::judge_all;
use crate::support::{Attack, Needs, Scene, eventually, is_root, unique};

const WORLD: &[&str] = &[
    "1.1.1.1:443",
    "198.18.0.1:443",
    "169.254.169.254:80",
    "10.0.0.1:80",
    "[2606:4700:4700::1111]:443",
    "[fd00::1]:80",
];

type Heard = Arc<Mutex<String>>;

/// Keeps all that a stream of connections brings.
fn hear<C: Read + Send + 'static>(mut accept: impl FnMut() -> std::io::Result<C> + Send + 'static) -> Heard {
    let heard = Heard::default();
    let into = heard.clone();
    std::thread::spawn(move || {
        while let Ok(mut connection) = accept() {
            let mut word = String::new();
            if connection.read_to_string(&mut word).is_ok() {
                into.lock().unwrap().push_str(&word);
            }
        }
    });
    heard
}

/// Inside first, then outside: when the word from outside has come, the one from inside would have.
fn nothing_comes(scene: &Scene, way: &str, to: &str, heard: &Heard) {
    let (inside, outside) = (unique("INSIDE"), unique("OUTSIDE"));
    let got = scene.attack_inside(&[way, to, &inside]);
    assert!(got.out().contains(way), "{}", got.all());
    let sent = scene.attack_outside(&[way, to, &outside]);
    assert!(sent.status.success(), "{way} {to} does not work outside: {}", sent.all());
    assert!(eventually(5, || heard.lock().unwrap().contains(&outside)), "{way} {to}: nothing heard from outside");
    assert!(!heard.lock().unwrap().contains(&inside), "{way} {to}: heard from inside");
}

#[test]
fn the_hosts_loopback_is_not_the_enclosures() {
    let scene = Scene::new();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else {
            eprintln!("not proven on this machine: {address} cannot be bound");
            continue;
        };
        let to = listener.local_addr().unwrap().to_string();
        let heard = hear(move || listener.accept().map(|(c, _)| c));
        nothing_comes(&scene, "tcp", &to, &heard);
        let socket = UdpSocket::bind(address).unwrap();
        let to = socket.local_addr().unwrap().to_string();
        let heard = hear(move || {
            let mut word = [0u8; 200];
            let got = socket.recv(&mut word)?;
            Ok(std::io::Cursor::new(word[..got].to_vec()))
        });
        nothing_comes(&scene, "udp", &to, &heard);
    }
}

#[test]
fn no_address_of_the_world_is_reachable() {
    let scene = Scene::new();
    for to in WORLD.iter().chain(&["224.0.0.251:5353", "255.255.255.255:9"]) {
        let begun = Instant::now();
        let got = scene.attack_inside(&["udp", to, "x"]);
        assert!(got.out().starts_with("lost udp: "), "{to}: {}", got.all());
        // As by a machine without that network, and not by a client's patience.
        assert!(got.out().contains("Network is unreachable"), "{to}: {}", got.all());
        assert!(begun.elapsed() < Duration::from_secs(10), "{to}: {:?}", begun.elapsed());
    }
    let interfaces = scene.script("cat /proc/net/dev | tail -n +3 | cut -d: -f1; cat /proc/net/route | tail -n +2");
    assert_eq!(interfaces.out().split_whitespace().collect::<Vec<_>>(), ["lo"], "{}", interfaces.all());
}

/// They have a listener in the enclosure itself, which is what a program is connected to.
#[test]
fn tcp_arrives_at_the_enclosures_own_listener() {
    let scene = Scene::new();
    for to in WORLD {
        if to.starts_with('[') && TcpListener::bind("[::1]:0").is_err() {
            continue;
        }
        let got = scene.attack_inside(&["tcp", to, "x"]);
        assert!(got.status.success(), "{to}: {}", got.all());
    }
    let got = scene.attack_inside(&["own-servers"]);
    assert!(got.status.success(), "{}", got.all());
    // Nobody could say whose a connection without connect(2) is.
    Attack::new(&["fast-open", "198.18.0.1:443", "x"]).judge_inside(&scene).unwrap();
}

/// Of the machine itself there is nothing but the loopback interface: its own addresses lead to the enclosure's listener.
#[test]
fn the_hosts_other_addresses_are_not_the_enclosures() {
    let scene = Scene::new();
    // Sends nothing: only the address is asked for that it would be sent from.
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|s| s.connect("198.51.100.1:9").and_then(|()| s.local_addr()));
    let Ok(own) = own else {
        eprintln!("not proven on this machine: it has no address but loopback's");
        return;
    };
    let listener = TcpListener::bind((own.ip(), 0)).unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let heard = hear(move || listener.accept().map(|(c, _)| c));
    nothing_comes(&scene, "tcp", &to, &heard);
}

/// Where the kernel lacks a part, less arrives and nothing leaves.
#[test]
fn without_nftables_or_routing_rules_nothing_leaves_either() {
    let scene = Scene::new();
    let coffer = env!("CARGO_BIN_EXE_coffer");
    for (protocol, refusal) in [(NETFILTER, "Connection refused"), (ROUTE, "Network is unreachable")] {
        for (way, refusal) in [("tcp", refusal), ("udp", "Network is unreachable")] {
            let mut command = scene.program(scene.outside.join("hostile"));
            command.args(["without-netlink", protocol, coffer, "run", "--", "./hostile", way, "1.1.1.1:4443", "x"]);
            let got = crate::support::scene::finish(command, b"");
            assert_eq!(
                got.out().trim(),
                format!("lost {way}: {refusal} (os error {})", number(refusal)),
                "{}",
                got.all()
            );
        }
    }
}

/// Protocols of `netlink(7)`.
const NETFILTER: &str = "12";
const ROUTE: &str = "0";

fn number(refusal: &str) -> i32 {
    if refusal == "Connection refused" { libc::ECONNREFUSED } else { libc::ENETUNREACH }
}

#[test]
fn sockets_with_names_are_the_hosts_alone() {
    let scene = Scene::new();
    let mut places: Vec<PathBuf> = vec![
        scene.home.join("agent.sock"),
        scene.home.join(".ssh/agent.sock"),
        scene.root().join("tmp.sock"),
        scene.project.join("in-project.sock"),
    ];
    if is_root() {
        places.push(PathBuf::from("/run").join(unique("coffer-it")));
    }
    for path in &places {
        let listener = UnixListener::bind(path).unwrap();
        let heard = hear(move || listener.accept().map(|(c, _)| c));
        nothing_comes(&scene, "unix", &path.display().to_string(), &heard);
    }
    let path = scene.home.join("datagram.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    let heard = hear(move || {
        let mut word = [0u8; 200];
        let got = socket.recv(&mut word)?;
        Ok(std::io::Cursor::new(word[..got].to_vec()))
    });
    nothing_comes(&scene, "unix-datagram", &path.display().to_string(), &heard);
    for path in places.iter().filter(|p| p.starts_with("/run")) {
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn abstract_sockets_are_the_hosts_alone() {
    let scene = Scene::new();
    let name = unique("coffer-it");
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let heard = hear(move || listener.accept().map(|(c, _)| c));
    nothing_comes(&scene, "abstract", &name, &heard);
}

/// A read-only bind keeps nobody from connecting (`unix(7)`: only write permission on the socket counts).
#[test]
fn a_socket_in_a_toolchains_directory_is_not_reachable() {
    let scene = Scene::new();
    std::fs::create_dir_all(scene.home.join(".pyenv/bin")).unwrap();
    let path = scene.home.join(".pyenv/agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let heard = hear(move || listener.accept().map(|(c, _)| c));
    nothing_comes(&scene, "unix", &path.display().to_string(), &heard);
}

#[test]
fn unusual_families_are_refused() {
    let scene = Scene::new();
    judge_all(
        &scene,
        [
            Attack::new(&["ping-socket"]).needs(Needs::Unless("Permission denied")),
            Attack::new(&["raw-socket"]).needs(Needs::Capability),
            Attack::new(&["packet-socket"]).needs(Needs::Capability),
            Attack::new(&["vsock"]).needs(Needs::Unless("Address family")),
            Attack::new(&["netlink-uevent"]).needs(Needs::Unless("Protocol not supported")),
            Attack::new(&["netlink-audit"]).needs(Needs::Unless("Protocol not supported")),
            Attack::new(&["bluetooth"]).needs(Needs::Unless("lost")),
            Attack::new(&["crypto-socket"]).needs(Needs::Unless("Address family")),
        ],
    );
}

/// System V segments and POSIX queues of the host, made by its own tools so that they are really there.
#[test]
fn shared_memory_and_queues_are_the_hosts_alone() {
    let scene = Scene::new();
    let key = (0x0c0f_0000 | (std::process::id() & 0xffff)) as i32;
    let made = crate::support::scene::finish(
        {
            let mut command = scene.program(scene.outside.join("hostile"));
            command.args(["make-shared-memory", &key.to_string(), &scene.canary]);
            command
        },
        b"",
    );
    assert!(made.status.success(), "{}", made.all());
    judge_all(&scene, [Attack::new(&["shared-memory", &key.to_string()]).canary(&scene.canary)]);
    assert!(scene.attack_outside(&["remove-shared-memory", &key.to_string()]).status.success());

    let queue = format!("/{}", unique("coffer-it"));
    let made = scene.attack_outside(&["make-message-queue", &queue, &scene.canary]);
    if made.out().contains("Function not implemented") {
        eprintln!("not proven on this kernel: POSIX message queues");
        return;
    }
    assert!(made.status.success(), "{}", made.all());
    Attack::new(&["message-queue", &queue]).canary(&scene.canary).judge_inside(&scene).unwrap();
    let read = scene.attack_outside(&["message-queue", &queue]);
    assert!(read.out().contains(&scene.canary), "{}", read.all());
    assert!(scene.attack_outside(&["remove-message-queue", &queue]).status.success());
}
