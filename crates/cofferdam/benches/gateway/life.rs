//! What a gateway costs over its life: its birth, many connections, a large body; and what a policy costs a run without one.

use std::process::Command;
use std::time::Instant;

use crate::Size;
use crate::load::{self, Http, Subject};
use crate::peers::{HOST, Peers};
use crate::run::{self, Run};
use crate::support;

/// Before and after many connections.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Resident, in KiB.
    pub resident: u64,
    pub descriptors: Option<usize>,
}

#[derive(Debug)]
pub struct Life {
    /// Peak resident memory under all the load, in KiB.
    pub busiest: u64,
    /// Peak while one large body passes, in KiB, and the seconds that it took.
    pub large: (u64, f64),
    /// After the first tenth of the connections in turn, and after all.
    pub held: (Held, Held),
    /// p50 of a connection in turn with a byte there and back, direct and through the gateway, in microseconds.
    pub turn: (f64, f64),
    /// First connections: direct, and of a fresh run; in milliseconds, pair by pair.
    pub first: (Vec<f64>, Vec<f64>),
    /// Offline runs: without, and with a network policy; in milliseconds, pair by pair.
    pub start: (Vec<f64>, Vec<f64>),
}

impl Life {
    pub fn measure(peers: &Peers, size: &Size, busiest: u64) -> Life {
        eprintln!("a body of {} MiB", size.large);
        let run = Run::start(peers);
        let began = Instant::now();
        load::large(peers, &run, size.large);
        let large = (run.gateway().peak(), began.elapsed().as_secs_f64());
        run.end();
        eprintln!("{} connections in turn", size.turns);
        let (held, turn) = turns(peers, size.turns);
        eprintln!("{} first connections, {} starts", size.firsts, size.starts);
        Life { busiest, large, held, turn, first: firsts(peers, size.firsts), start: starts(peers, size.starts) }
    }
}

/// Most of them relayed, a tenth with TLS and a request each.
fn turns(peers: &Peers, count: usize) -> ((Held, Held), (f64, f64)) {
    let run = Run::start(peers);
    let tcp = |subject, host, count| {
        let said = load::script(peers, &run, subject, &format!("./tcp turn {host} {} {count}", peers.sink.port));
        said.split_whitespace().nth(2).unwrap().parse::<f64>().unwrap() / 1e3
    };
    let https = |count: usize| {
        let words = format!("-n {count} -c {count} -r {} --rate-period=80ms", count.min(20));
        let said = load::h2load(peers, &run, Subject::Gateway, Http::H1, &words, "/");
        assert_eq!(said.done, count as f64);
    };
    let held = |run: &Run| Held { resident: run.gateway().resident(), descriptors: run.gateway().descriptors() };
    https(count / 100);
    tcp(Subject::Gateway, HOST, count / 10);
    let before = held(&run);
    let through = tcp(Subject::Gateway, HOST, count - count / 5);
    https(count / 10);
    let direct = tcp(Subject::Direct, "127.0.0.1", count / 10);
    let after = held(&run);
    run.end();
    ((before, after), (direct, through))
}

fn firsts(peers: &Peers, pairs: usize) -> (Vec<f64>, Vec<f64>) {
    let port = peers.sink.port.to_string();
    let first = |command: &mut Command| {
        let said = String::from_utf8(support::output(command)).unwrap();
        said.split_whitespace().nth(2).unwrap().parse::<f64>().unwrap() / 1e6
    };
    let pair = |_| {
        let mut direct = Command::new(peers.at("project/tcp"));
        let mut inside = run::coffer(peers, &["run", "--quiet", "--", "./tcp", "turn", HOST, &port, "1"]);
        (first(direct.args(["turn", "127.0.0.1", &port, "1"])), first(&mut inside))
    };
    (0..pairs).map(pair).unzip()
}

fn starts(peers: &Peers, pairs: usize) -> (Vec<f64>, Vec<f64>) {
    let (without, with) = (peers.at("config-without"), peers.at("config-with"));
    std::fs::create_dir_all(&without).unwrap();
    std::fs::create_dir_all(with.join("cofferdam")).unwrap();
    let rule =
        |n| format!("[[network.allow]]\nhost = \"h{n}.example.com\"\nmethods = [\"GET\"]\npurpose = \"bench\"\n");
    let rules: String = (0..20).map(rule).collect();
    std::fs::write(with.join("cofferdam/policy.toml"), format!("version = 1\n{rules}")).unwrap();
    let start = |config| {
        let mut command = run::coffer(peers, &["run", "--quiet", "--", "/bin/true"]);
        support::time(command.env("XDG_CONFIG_HOME", config)).as_secs_f64() * 1e3
    };
    // Who is first changes: what the one leaves to be done falls on the other.
    let pair = |n: usize| {
        if n.is_multiple_of(2) {
            return (start(&without), start(&with));
        }
        let later = start(&with);
        (start(&without), later)
    };
    let _warm = pair(0);
    (0..pairs).map(pair).unzip()
}
