//! A whole gateway on loopback, unconfined, which is told where connections wanted to go instead of asking the kernel.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant as Moment;

use cofferdam_core::RunId;
use cofferdam_core::event::{Mediation, NetConnect};
use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::A;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink, recv, socket_with, socketpair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::*;
use crate::testing::rules;
use crate::{Authority, Before};

/// Where the connection of each program's port wanted to go.
#[derive(Clone, Default)]
struct Told(Rc<RefCell<HashMap<u16, SocketAddr>>>);

impl Destinations for Told {
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        self.0.borrow().get(&stream.peer_addr()?.port()).copied().ok_or(io::ErrorKind::NotFound.into())
    }
}

/// A gateway with the monitor's end of its channel.
struct World {
    told: Told,
    tcp: SocketAddr,
    udp: SocketAddr,
    monitor: OwnedFd,
}

impl World {
    /// Starts one in this [`LocalSet`].
    fn start(policy: &str, room: usize) -> World {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (monitor, control) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        datagrams.set_nonblocking(true).unwrap();
        let diag = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG)).unwrap();
        let world = World {
            told: Told::default(),
            tcp: listener.local_addr().unwrap(),
            udp: datagrams.local_addr().unwrap(),
            monitor,
        };
        let settings = Settings {
            run: RunId::from_random([7; 12]),
            names: Vec::new(),
            before: Before::default(),
            rules: rules(policy),
            authority: Authority::generate().unwrap(),
            roots: Vec::new(),
            proxy: Vec::new(),
        };
        let sockets = Sockets { tcp: vec![listener.into()], udp: vec![datagrams.into()], diag };
        let told = world.told.clone();
        tokio::task::spawn_local(async move {
            let roots = RootCertStore::empty();
            let room = Places { connections: room, lanes: 2 };
            run(settings, roots, room, sockets, control, told, |_| Ok(Vec::new())).await.unwrap();
        });
        world
    }

    /// A program's connection to an address.
    async fn connect(&self, destination: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let port = socket.local_addr().unwrap().port();
        self.told.0.borrow_mut().insert(port, destination.parse().unwrap());
        socket.connect(self.tcp).await.unwrap()
    }

    /// What the gateway says next.
    async fn said(&self) -> Say {
        let mut packet = vec![0; crate::wire::PACKET];
        loop {
            match recv(&self.monitor, &mut packet[..], RecvFlags::empty()) {
                Ok((length, _)) => return serde_json::from_slice(&packet[..length]).unwrap(),
                Err(rustix::io::Errno::AGAIN) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(e) => panic!("{e}"),
            }
        }
    }

    async fn recorded(&self) -> (Option<u64>, EventKind) {
        match self.said().await {
            Say::Record { owner, what, .. } => (owner, *what),
            other => panic!("{other:?}"),
        }
    }

    async fn denied(&self) -> (String, String, u16, String) {
        match self.recorded().await.1 {
            EventKind::NetDenied(denied) => (denied.reason, denied.host, denied.port, denied.scheme),
            other => panic!("{other:?}"),
        }
    }

    /// Looks a name up by UDP.
    async fn address(&self, name: &str) -> Ipv4Addr {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(self.udp).await.unwrap();
        client.send(&query(name, Rtype::A)).await.unwrap();
        let mut reply = [0; 512];
        let length = client.recv(&mut reply).await.unwrap();
        first_address(&reply[..length])
    }
}

fn query(name: &str, rtype: Rtype) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec().question();
    builder.push((name.parse::<Name<Vec<u8>>>().unwrap(), rtype)).unwrap();
    builder.finish()
}

fn first_address(reply: &[u8]) -> Ipv4Addr {
    let message = Message::from_octets(reply).unwrap();
    assert_eq!(message.header().rcode(), Rcode::NOERROR);
    message.answer().unwrap().limit_to::<A>().next().unwrap().unwrap().data().addr()
}

fn run_world(policy: &str, room: usize, test: impl AsyncFnOnce(World)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let world = World::start(policy, room);
        timeout(Duration::from_secs(20), test(world)).await.unwrap();
    });
}

/// How a connection ends that is refused: a reset.
async fn is_reset(mut stream: TcpStream) -> bool {
    matches!(stream.read(&mut [0; 1]).await, Err(e) if e.kind() == io::ErrorKind::ConnectionReset)
}

#[test]
fn a_connection_by_name_is_relayed_with_its_owner_and_its_record() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let policy =
        format!("[[network.allow]]\nhost = \"host.cofferdam\"\nport = {port}\nscheme = \"tcp\"\npurpose = \"p\"\n");
    run_world(&policy, 16, async |world| {
        server.set_nonblocking(true).unwrap();
        let server = TcpListener::from_std(server).unwrap();
        let address = world.address("Host.Cofferdam").await;
        let (_, lookup) = world.recorded().await;
        let EventKind::NetLookup(lookup) = lookup else { panic!("{lookup:?}") };
        assert_eq!(
            (lookup.name.as_str(), lookup.allowed, &lookup.purposes[..]),
            ("host.cofferdam", true, &["p".into()][..])
        );
        assert_eq!(world.address("host.cofferdam").await, address, "and no second record");
        let mut program = world.connect(&format!("{address}:{port}")).await;
        let (mut peer, _) = server.accept().await.unwrap();
        // The server speaks first.
        peer.write_all(b"220 hello").await.unwrap();
        let mut words = [0; 9];
        program.read_exact(&mut words).await.unwrap();
        program.write_all(b"QUIT").await.unwrap();
        program.shutdown().await.unwrap();
        let mut sent = Vec::new();
        peer.read_to_end(&mut sent).await.unwrap();
        assert_eq!((&words, &sent[..]), (b"220 hello", &b"QUIT"[..]));
        drop(peer);
        assert_eq!(program.read(&mut words).await.unwrap(), 0);
        let Say::Opened { connect, .. } = world.said().await else { panic!() };
        assert_eq!((connect.connection, connect.mediation), (1, Mediation::Relay));
        let (owner, ended) = world.recorded().await;
        let EventKind::NetConnect(NetConnect { host, address, purpose, sent, received, error, .. }) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!((host.as_str(), purpose.as_str(), sent, received, error), ("host.cofferdam", "p", 4, 9, None));
        assert_eq!(address, Some(format!("127.0.0.1:{port}")));
        // The program's socket is connected to the listener here, not to where it says: the kernel finds no such socket.
        assert_eq!(owner, None);
    });
}

#[test]
fn what_is_refused_hears_it_at_once_and_is_recorded() {
    let policy = "[[network.allow]]\nhost = \"a.example\"\npurpose = \"p\"\n";
    run_world(policy, 16, async |world| {
        let address = world.address("a.example").await;
        let other = world.address("b.example").await;
        for _ in 0..2 {
            assert!(matches!(world.recorded().await.1, EventKind::NetLookup(_)));
        }
        for (destination, first, expected) in [
            (format!("{other}:22"), &b"SSH-2.0-x\r\n"[..], ("no-rule", "b.example")),
            (format!("{other}:3306"), b"", ("no-rule", "b.example")),
            // Requests are allowed on another port: a client that waits for the server must not wait for long.
            (format!("{address}:25"), b"", ("port", "a.example")),
            (format!("{address}:443"), b"SSH-2.0-x\r\n", ("not-http", "a.example")),
            ("198.18.77.77:443".to_owned(), b"", ("direct-address", "198.18.77.77")),
            ("203.0.113.9:22".to_owned(), b"SSH-2.0-x\r\n", ("direct-address", "203.0.113.9")),
        ] {
            let since = Moment::now();
            let mut program = world.connect(&destination).await;
            program.write_all(first).await.unwrap();
            assert!(is_reset(program).await, "{destination}");
            assert!(since.elapsed() < Duration::from_secs(1), "{destination}: {:?}", since.elapsed());
            let (reason, host, port, scheme) = world.denied().await;
            assert_eq!((reason.as_str(), host.as_str()), expected, "{destination}");
            assert!(destination.ends_with(&format!(":{port}")) && scheme == "tcp");
        }
        // The listener itself, and a destination that nobody knows.
        for destination in ["127.0.0.1:61053", "0.0.0.0:80"] {
            assert!(is_reset(world.connect(destination).await).await, "{destination}");
        }
        assert!(is_reset(TcpStream::connect(world.tcp).await.unwrap()).await);
        let mut request = world.connect(&format!("{other}:80")).await;
        request.write_all(b"GET /x HTTP/1.1\r\nhost: b.example\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        request.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("no rule is about this host"), "{answer}");
    });
}

#[test]
fn queries_over_tcp_one_after_another_until_the_end() {
    run_world("", 16, async |world| {
        let mut stream = world.connect("8.8.8.8:53").await;
        for (name, expected) in
            [("a.example", [198, 18, 0, 1]), ("b.example", [198, 18, 0, 2]), ("a.example", [198, 18, 0, 1])]
        {
            let query = query(name, Rtype::A);
            stream.write_u16(u16::try_from(query.len()).unwrap()).await.unwrap();
            stream.write_all(&query).await.unwrap();
            let mut reply = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut reply).await.unwrap();
            assert_eq!(first_address(&reply), Ipv4Addr::from_octets(expected), "{name}");
        }
        // More than any query has: nothing is held for it.
        stream.write_u16(u16::MAX).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    });
}

#[test]
fn what_is_beyond_the_room_takes_the_place_of_the_oldest_that_idles() {
    run_world("", 2, async |world| {
        let mut open = Vec::new();
        for _ in 0..3 {
            let mut stream = world.connect("9.9.9.9:53").await;
            let query = query("a.example", Rtype::A);
            stream.write_u16(u16::try_from(query.len()).unwrap()).await.unwrap();
            stream.write_all(&query).await.unwrap();
            let mut reply = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut reply).await.unwrap();
            open.push(stream);
        }
        assert_eq!(open[0].read(&mut [0; 1]).await.unwrap(), 0, "the oldest was told to leave");
        for stream in &mut open[1..] {
            assert!(timeout(Duration::from_millis(100), stream.read_u16()).await.is_err(), "two are served");
        }
    });
}

#[test]
fn what_there_can_be_follows_from_the_descriptors() {
    for (descriptors, connections, lanes) in
        [(u64::MAX, 4096, 128), (20_000, 4096, 128), (4096, 1744, 64), (1024, 304, 16), (256, 1, 4), (0, 1, 0)]
    {
        let places = Places::within(descriptors);
        assert_eq!((places.connections, places.lanes), (connections, lanes), "{descriptors}");
        let needed = OTHER + 2 * connections as u64 + 4 * lanes as u64;
        assert!(descriptors < 1024 || needed <= descriptors, "{needed} of {descriptors}");
    }
}
