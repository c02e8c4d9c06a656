//! A gateway of a test's or a fuzzer's own, over loopback: everything outside is one address.
#![allow(clippy::unwrap_used, reason = "what cannot be had ends the test")]

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cofferdam_core::event::{EventKind, HttpExchange, NetConnect, NetDenied};
use cofferdam_exchange::{Interceptor, Waiting};
use cofferdam_policy::{LayerKind, Policy, Rule, Source, parse};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, LocalSet};

use super::services::{Services, Unreachable};
use super::whole::Bodies;
use crate::outside::Outgoing;
use crate::room::Seat;
use crate::tls::{Leaves, Servers};
use crate::{Authority, Connection, Place, Say};

pub(crate) const RULES: &str = r#"
[[network.allow]]
host = "a.example"
purpose = "tests"

[[network.allow]]
host = "b.example"
methods = ["GET"]
paths = ["/ok/**"]
purpose = "some paths"
name = "some"
"#;

/// A gateway of a test's own: everything outside is one address.
pub(crate) struct Fake {
    policy: Rc<Policy>,
    pub(crate) interceptors: Vec<Box<dyn Interceptor>>,
    pub(crate) authority: Authority,
    bodies: Bodies,
    leaves: Leaves,
    servers: Servers,
    outside: SocketAddr,
    pub(crate) said: RefCell<Vec<Say>>,
    pub(crate) dialled: RefCell<u32>,
}

impl Fake {
    pub(crate) fn new(outside: SocketAddr) -> Fake {
        Fake::trusting(outside, RootCertStore::empty())
    }

    pub(crate) fn trusting(outside: SocketAddr, roots: RootCertStore) -> Fake {
        let authority = Authority::generate().unwrap();
        let parsed = parse(&Source::new("/rules", format!("version = 1\n{RULES}")), LayerKind::Person);
        Fake {
            policy: Rc::new(Policy::new([cofferdam_policy::Layer { rules: parsed.rules }])),
            interceptors: Vec::new(),
            bodies: Bodies::default(),
            leaves: Leaves::new(&authority).unwrap(),
            authority,
            servers: Servers::new(roots).unwrap(),
            outside,
            said: RefCell::default(),
            dialled: RefCell::new(0),
        }
    }

    fn records<T>(&self, choose: impl Fn(&EventKind) -> Option<T>) -> Vec<T> {
        let said = self.said.borrow();
        said.iter().filter_map(|say| if let Say::Record { what, .. } = say { choose(what) } else { None }).collect()
    }

    pub(crate) fn exchanges(&self) -> Vec<HttpExchange> {
        self.records(|what| if let EventKind::HttpExchange(it) = what { Some((**it).clone()) } else { None })
    }

    pub(crate) fn denied(&self) -> Vec<NetDenied> {
        self.records(|what| if let EventKind::NetDenied(it) = what { Some(it.clone()) } else { None })
    }

    pub(crate) fn connects(&self) -> Vec<NetConnect> {
        self.records(|what| if let EventKind::NetConnect(it) = what { Some(it.clone()) } else { None })
    }
}

impl Services for Fake {
    fn policy(&self) -> Rc<Policy> {
        Rc::clone(&self.policy)
    }

    fn interceptors(&self) -> &[Box<dyn Interceptor>] {
        &self.interceptors
    }

    fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    fn servers(&self) -> &Servers {
        &self.servers
    }

    fn connect<'a>(&'a self, _: &'a Place, _: &'a Rule) -> Waiting<'a, Result<Outgoing, Unreachable>> {
        Box::pin(async move {
            *self.dialled.borrow_mut() += 1;
            let stream = TcpStream::connect(self.outside).await.map_err(|e| Unreachable::Failed(e.to_string()))?;
            Ok(Outgoing { stream, address: self.outside })
        })
    }

    fn say<'a>(&'a self, what: &'a Say, _: &'a [OwnedFd]) -> Waiting<'a, io::Result<()>> {
        let copy: Say = serde_json::from_slice(&serde_json::to_vec(what).unwrap()).unwrap();
        self.said.borrow_mut().push(copy);
        Box::pin(async { Ok(()) })
    }
}

/// Runs a test on one thread, for a minute at most.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(Duration::from_secs(60), test).await.unwrap() })
}

/// A listener on loopback.
pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A connection to the gateway for this place; ends when the gateway is done with it.
pub(crate) async fn open(fake: &Rc<Fake>, host: &str, port: u16) -> (TcpStream, JoinHandle<io::Result<()>>) {
    let (listener, address) = listener().await;
    let (program, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let place = Place { host: host.to_owned(), port };
    let connection = Connection { number: 1, owner: Some(7), since: Instant::now() };
    let (fake, stream) = (Rc::clone(fake) as Rc<dyn Services>, accepted.unwrap().0);
    let served = async move { super::serve(fake, stream, place, connection, &Seat::alone()).await };
    (program.unwrap(), tokio::task::spawn_local(served))
}

/// Reads until this text has come.
pub(crate) async fn until(stream: &mut (impl AsyncReadExt + Unpin), text: &str) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&all).contains(text) {
        match stream.read(&mut piece).await.unwrap() {
            0 => panic!("ended before {text:?}: {}", String::from_utf8_lossy(&all)),
            read => all.extend_from_slice(&piece[..read]),
        }
    }
    String::from_utf8(all).unwrap()
}

/// Sends everything, closes that direction, and reads everything.
pub(crate) async fn talk(fake: &Rc<Fake>, host: &str, bytes: &[u8]) -> String {
    let (mut program, served) = open(fake, host, 80).await;
    program.write_all(bytes).await.unwrap();
    program.shutdown().await.unwrap();
    let mut all = Vec::new();
    // A reset after the answer is an end too.
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = program.read(&mut piece).await {
        all.extend_from_slice(&piece[..read]);
    }
    served.await.unwrap().unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// A server that gives each connection this answer as soon as a head has come, notes all that it receives, and closes.
pub(crate) fn server(listener: TcpListener, answer: &'static str) -> Rc<RefCell<Vec<Vec<u8>>>> {
    let noted: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
    let notes = Rc::clone(&noted);
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let at = notes.borrow().len();
            notes.borrow_mut().push(Vec::new());
            let notes = Rc::clone(&notes);
            tokio::task::spawn_local(async move {
                let mut piece = [0; 65536];
                let mut answered = false;
                while let Ok(read @ 1..) = stream.read(&mut piece).await {
                    notes.borrow_mut()[at].extend_from_slice(&piece[..read]);
                    let whole = notes.borrow()[at].windows(4).any(|four| four == b"\r\n\r\n");
                    if whole && !answered {
                        answered = true;
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    noted
}
