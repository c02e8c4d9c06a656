//! A gateway in hostile hands: what it says to the monitor over a real channel.

mod models;

use std::io::Read;
use std::os::fd::AsRawFd;

use cofferdam_core::change::Digest;
use cofferdam_core::event::{BlobRef, Body, HttpExchange, Mediation, NetDenied, NetLookup, RuleRef};
use cofferdam_evidence::{Refused, Striker};
use cofferdam_gateway::Kept;
use cofferdam_gateway::wire::MOST_KEPT;

use models::{answered, asked, called, told};

use super::*;
use crate::protocol::INPUT_KEPT;

/// Evidence that is only counted.
#[derive(Default)]
struct Counted {
    kinds: HashMap<&'static str, u64>,
    causes: Vec<u64>,
    kept: std::cell::Cell<u64>,
    last: Option<EventKind>,
    prompts: u64,
    links: Vec<(u64, Link)>,
}

impl Book for Counted {
    fn append(&mut self, cause: Option<(u64, Link)>, what: EventKind) -> Result<u64, RecordError> {
        let kind = match &what {
            EventKind::NetLookup(_) => "net.lookup",
            EventKind::NetConnect(_) => "net.connect",
            EventKind::NetDenied(_) => "net.denied",
            EventKind::HttpExchange(_) => "http.exchange",
            EventKind::ModelRequest(_) => "model.request",
            EventKind::ModelResponse(_) => "model.response",
            EventKind::ToolCall(_) => "tool.call",
            EventKind::ToolResult(_) => "tool.result",
            other => panic!("a gateway made the monitor record {other:?}"),
        };
        // It is written to the log as it is read back: as JSON.
        let text = serde_json::to_vec(&what).unwrap();
        assert_eq!(serde_json::from_slice::<EventKind>(&text).unwrap(), what);
        *self.kinds.entry(kind).or_default() += 1;
        self.links.extend(cause);
        self.causes.extend(cause.filter(|(_, link)| *link == Link::Socket).map(|(cause, _)| cause));
        self.last = Some(what);
        Ok(self.kinds.values().sum())
    }

    fn keep(&self, content: &mut dyn Read) -> Result<BlobRef, RecordError> {
        let size = io::copy(content, &mut io::sink()).map_err(RecordError::recording)?;
        assert!(size <= MOST_KEPT as u64);
        self.kept.set(self.kept.get() + size);
        Ok(BlobRef { digest: Digest([9; 32]), size })
    }

    fn prompted(&mut self, request: u64, text: &[u8], _: u64) -> Result<(), RecordError> {
        assert!(request <= self.kinds.values().sum() && text.len() <= INPUT_KEPT);
        self.prompts += 1;
        Ok(())
    }

    fn learn(&mut self, name: &str, _: &[u8]) -> Result<Result<(), Refused>, RecordError> {
        panic!("a gateway made the monitor learn a value of {name}")
    }

    fn striker(&self) -> Striker {
        Striker::default()
    }
}

/// The monitor's side with a gateway of the test's.
fn outlet() -> (Outlet, Channel) {
    let (brokers, budgets) = (Brokers::default(), Budgets::default());
    let mut outlet = Outlet::new(None, Authority::generate().unwrap(), brokers, budgets, &[]);
    let (ours, theirs) = Channel::pair().unwrap();
    outlet.gateway = Some(ours);
    (outlet, theirs)
}

/// The only cookie that belongs to anybody is 7, whose exec is event 70.
fn owner(cookie: u64) -> Option<u64> {
    (cookie == 7).then_some(70)
}

fn connect(connection: u64) -> NetConnect {
    NetConnect {
        connection,
        host: "a.example".into(),
        port: 443,
        mediation: Mediation::Http,
        address: None,
        rule: None,
        purpose: "p".into(),
        sent: 0,
        received: 0,
        milliseconds: 1,
        exchanges: 0,
        error: None,
    }
}

fn exchange() -> HttpExchange {
    let forged = Body { bytes: u64::MAX, digest: None, kept: Some(BlobRef { digest: Digest([1; 32]), size: 1 }) };
    HttpExchange {
        connection: 1,
        method: "GET".into(),
        url: "https://a.example/".into(),
        version: "HTTP/2".into(),
        status: Some(200),
        rule: RuleRef { layer: "person".into(), file: None, line: 1, name: None },
        purpose: "p".into(),
        request: vec![("x".into(), "y".into())],
        sent: forged.clone(),
        response: Vec::new(),
        received: forged,
        answered: None,
        microseconds: u64::MAX,
        upgrade: None,
        changed: Vec::new(),
        error: None,
    }
}

fn record(kept: Kept, what: EventKind) -> Say {
    Say::Record { owner: Some(7), kept, what: Box::new(what) }
}

fn memory(content: &[u8]) -> OwnedFd {
    let file = rustix::fs::memfd_create("body", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = std::fs::File::from(file);
    io::Write::write_all(&mut file, content).unwrap();
    file.into()
}

#[test]
fn bodies_are_taken_from_memory_files_only_and_their_references_are_the_monitors() {
    let both = Kept { sent: true, received: true, text: false };
    let (mut outlet, gateway) = outlet();
    let mut book = Counted::default();
    let file = memory(b"four");
    gateway.send(&record(both, EventKind::HttpExchange(Box::new(exchange()))), &[file.as_fd()]).unwrap();
    outlet.hear(&mut book, owner).unwrap();
    let Some(EventKind::HttpExchange(got)) = &book.last else { panic!("{:?}", book.last) };
    assert_eq!(got.sent.kept, Some(BlobRef { digest: Digest([9; 32]), size: 4 }));
    assert_eq!(got.received.kept, None, "the reference that it made up");
    assert_eq!(book.causes, [70]);
    // What waits for ever when it is read, or is no content at all.
    let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    let (socket, _peer) = Channel::pair().unwrap();
    let terminal = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
    let directory = std::fs::File::open("/").unwrap();
    let device = std::fs::File::open("/dev/zero").unwrap();
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    let files = [eventfd, pipe, socket.into(), terminal, directory.into(), device.into(), epoll];
    for file in files {
        let (mut outlet, gateway) = self::outlet();
        let mut book = Counted::default();
        gateway.send(&Say::Opened { owner: Some(7), connect: connect(1) }, &[]).unwrap();
        let what = record(both, EventKind::HttpExchange(Box::new(exchange())));
        gateway.send(&what, &[file.as_fd()]).unwrap();
        outlet.hear(&mut book, owner).unwrap();
        assert!(outlet.gateway.is_none(), "it is not believed any more: {}", file.as_raw_fd());
        let Some(EventKind::NetConnect(ended)) = &book.last else { panic!("{:?}", book.last) };
        assert_eq!(ended.error.as_deref(), Some("the gateway handed over a body that is no memory file"));
        assert_eq!((book.kinds.get("http.exchange"), book.kept.get()), (None, 0));
    }
}

#[test]
fn more_connections_than_there_can_be_are_not_remembered() {
    let (mut outlet, gateway) = outlet();
    let mut book = Counted::default();
    for number in 0..OPEN as u64 + 10 {
        if outlet.gateway.is_none() {
            break;
        }
        gateway.send(&Say::Opened { owner: None, connect: connect(number) }, &[]).unwrap();
        outlet.hear(&mut book, owner).unwrap();
        assert!(outlet.open.len() <= OPEN);
    }
    assert!(outlet.gateway.is_none() && outlet.open.is_empty());
    assert_eq!(book.kinds["net.connect"], OPEN as u64, "each has its end");
}

#[test]
fn one_that_never_stops_talking_does_not_keep_a_run_from_ending() {
    let (mut outlet, gateway) = outlet();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let talks = std::thread::spawn(move || {
        let lookup = NetLookup { name: "a.example".into(), allowed: false, purposes: Vec::new() };
        let word = record(Kept::default(), EventKind::NetLookup(lookup));
        let mut said = 0u64;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) && gateway.send(&word, &[]).is_ok() {
            said += 1;
        }
        said
    });
    let mut book = Counted::default();
    let begun = Instant::now();
    outlet.finish(&mut book, owner).unwrap();
    let took = begun.elapsed();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let said = talks.join().unwrap();
    assert!(took >= GRACE && outlet.gateway.is_none(), "{took:?}");
    assert!(took < GRACE * 10, "{took:?}");
    assert!(said > 100 && book.kinds["net.lookup"] <= said, "{said}");
}

/// Words of its vocabulary, words of others, and words of nobody.
fn words(random: &mut fastrand::Rng) -> Vec<u8> {
    let strange = ["", "\u{1b}[2J", "a\nb", "\u{202e}evil", "a.example", "\u{0}", "🦀", "\u{feff}", "%s", "</script>"];
    let text = |random: &mut fastrand::Rng| strange[random.usize(..strange.len())].repeat(random.usize(..20));
    let number = |random: &mut fastrand::Rng| [0, 1, 2, 7, u64::MAX, random.u64(..)][random.usize(..6)];
    let what = match random.u8(..14) {
        0 => EventKind::NetLookup(NetLookup { name: text(random), allowed: true, purposes: vec![text(random); 3] }),
        1 => EventKind::HttpExchange(Box::new(HttpExchange {
            connection: number(random),
            url: text(random),
            method: text(random),
            ..exchange()
        })),
        2 => EventKind::NetConnect(NetConnect { host: text(random), ..connect(number(random)) }),
        3 => EventKind::NetDenied(NetDenied {
            host: text(random),
            port: random.u16(..),
            scheme: text(random),
            method: Some(text(random)),
            path: Some(text(random)),
            reason: text(random),
            detail: text(random),
            rule: None,
            allow: Some(text(random)),
            connection: Some(number(random)),
        }),
        10 => asked(random.u64(..4)),
        11 => answered(random.u64(..4)),
        12 => called(random.u64(..4), &text(random)),
        13 => told(random.u64(..4), &text(random)),
        // What only others know.
        4 => EventKind::PolicyChanged { added: vec![serde_json::Value::Null], uid: 0 },
        5 => return br#"{"Record":{"owner":null,"kept":{"sent":false,"received":false},"what":{"kind":"process.exec","data":{}}}}"#.to_vec(),
        _ => EventKind::NetConnect(connect(number(random))),
    };
    let kept = Kept { sent: random.bool(), received: random.bool(), text: random.bool() };
    let said = match random.u8(..8) {
        0 => Say::Opened { owner: Some(number(random)), connect: connect(number(random)) },
        1 => Say::Ask { id: number(random), what: text(random) },
        2 => Say::Failed { why: text(random) },
        3 => Say::Turn { request: random.u64(..4), bytes: number(random) },
        _ => Say::Record { owner: Some(number(random)), kept, what: Box::new(what) },
    };
    let mut packet = serde_json::to_vec(&said).unwrap();
    match random.u8(..12) {
        0 => packet = (0..random.usize(1..300)).map(|_| random.u8(..)).collect(),
        1 => packet.truncate(random.usize(1..=packet.len())),
        2 => {
            let at = random.usize(..packet.len());
            packet[at] = random.u8(..);
        }
        3 => packet = [b"[".repeat(random.usize(1..60_000)), packet].concat(),
        4 if random.u8(..20) == 0 => packet.resize(cofferdam_gateway::wire::PACKET * 2, b' '),
        _ => {}
    }
    packet
}

#[test]
fn a_hundred_thousand_hostile_words_make_no_other_events_and_nothing_grows() {
    let mut random = fastrand::Rng::with_seed(23);
    let mut book = Counted::default();
    let (mut outlet, mut gateway) = outlet();
    let (mut gateways, mut descriptors) = (0u64, 0);
    let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let file = memory(&[b'x'; 1000]);
    for round in 0..100_000 {
        let packet = words(&mut random);
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(200))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        let handed: Vec<BorrowedFd<'_>> = match random.u8(..40) {
            0 => vec![file.as_fd(), file.as_fd()],
            1 => vec![eventfd.as_fd()],
            // More than a message may have: the kernel closes what the monitor has no room for.
            2 => vec![file.as_fd(); 200],
            _ => Vec::new(),
        };
        if !handed.is_empty() {
            control.push(rustix::net::SendAncillaryMessage::ScmRights(&handed));
        }
        let flags = rustix::net::SendFlags::NOSIGNAL;
        rustix::net::sendmsg(gateway.as_fd(), &[io::IoSlice::new(&packet)], &mut control, flags).unwrap();
        outlet.hear(&mut book, owner).unwrap();
        assert!(outlet.open.len() <= OPEN);
        // What it asked for comes, or nothing: its channel never fills the monitor.
        while let Ok(Some(Received::Message(Hear::Answer { value, .. }, _))) = gateway.receive_now::<Hear>() {
            assert!(value.is_err());
        }
        if outlet.gateway.is_none() {
            gateways += 1;
            assert!(outlet.open.is_empty());
            let (ours, theirs) = Channel::pair().unwrap();
            (outlet.gateway, gateway) = (Some(ours), theirs);
        }
        if round == 1_000 {
            descriptors = open_descriptors();
        }
    }
    let now = open_descriptors();
    assert!(now <= descriptors + 100, "descriptors leak: {descriptors}, then {now}");
    for kind in ["net.lookup", "net.connect", "net.denied", "http.exchange", "model.request", "model.response"] {
        assert!(book.kinds[kind] > 1_000, "{kind}: {:?}", book.kinds);
    }
    assert!(gateways > 10_000 && book.kept.get() > 1_000, "{gateways} {}", book.kept.get());
    assert!(book.causes.iter().all(|cause| *cause == 70), "a cause that is nobody's");
    // What the person is told of it is bounded.
    let summary = outlet.summary(None).unwrap();
    assert!(summary.denied.len() <= 256 && summary.hosts <= 256);
}

/// How many this process has; other tests of it open and close some.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
