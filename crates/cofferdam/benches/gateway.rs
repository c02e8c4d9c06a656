//! The gateway of a real run beside direct loopback, a plain C relay by splice, a CONNECT proxy (tinyproxy) and mitmproxy.
//!
//! `cargo bench --bench gateway [-- --quick] [-- --json]`. Needs nginx, h2load (Debian's nginx-light, nghttp2-client) and a
//! C compiler; tinyproxy and mitmproxy are left out, loudly, where they cannot be had. Everything is done in turn, round by
//! round (`COFFER_BENCH_ROUNDS`), and ratios are taken within a round: what else runs on the machine meets all alike.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a bench")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench")]

#[path = "gateway/life.rs"]
mod life;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/peers.rs"]
mod peers;
#[path = "gateway/run.rs"]
mod run;
#[allow(dead_code, reason = "for all benches")]
mod support;
#[path = "gateway/table.rs"]
mod table;

use std::time::Instant;

use life::Life;
use load::{Http, Subject};
use peers::Peers;
use run::Run;
use table::Case;

/// How much is done.
pub struct Size {
    rounds: usize,
    /// Each measurement's length.
    milliseconds: u64,
    /// Connections in turn.
    turns: usize,
    /// The large body, in MiB.
    large: u64,
    /// Pairs of runs whose first connection, and whose start-up, is compared.
    firsts: usize,
    starts: usize,
}

fn main() {
    let (mut quick, mut json) = (false, false);
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--quick" => quick = true,
            "--json" => json = true,
            "--bench" => {} // cargo's own
            _ => {
                eprintln!("usage: cargo bench --bench gateway -- [--quick] [--json]");
                std::process::exit(2);
            }
        }
    }
    let size = match quick {
        true => Size { rounds: 1, milliseconds: 400, turns: 1_000, large: 512, firsts: 5, starts: 20 },
        false => {
            let rounds = support::rounds(5);
            Size { rounds, milliseconds: 500, turns: 10_000, large: 5 * 1024, firsts: 30, starts: 150 }
        }
    };
    let began = Instant::now();
    let peers = Peers::start(size.large);
    let inside = Run::start(&peers);
    let mut cases = cases(&peers);
    for round in 0..size.rounds {
        eprintln!("round {} of {} ({} s)", round + 1, size.rounds, began.elapsed().as_secs());
        for case in &mut cases {
            case.round(&peers, &inside, size.milliseconds, round);
        }
    }
    let busiest = inside.gateway().peak();
    inside.end();
    let life = Life::measure(&peers, &size, busiest);
    let took = began.elapsed();
    if json {
        println!("{:#}", table::json(&cases, &life, &size, took));
    } else {
        table::show(&cases, &life, &size, took);
    }
}

/// What is compared: the way, with one connection and with many.
fn cases(peers: &Peers) -> Vec<Case> {
    let mut tcp = vec![Subject::Direct, Subject::Relay, Subject::RelayInside, Subject::Gateway];
    if peers.tinyproxy.is_some() {
        tcp.insert(3, Subject::Tinyproxy);
    }
    let mut http = vec![Subject::Direct, Subject::Gateway];
    if peers.mitmproxy.is_some() {
        http.insert(1, Subject::Mitmproxy);
    }
    let ways = [None, Some(Http::H1), Some(Http::H2)];
    let case = |way: Option<Http>, connections| {
        Case::new(way, connections, if way.is_some() { http.clone() } else { tcp.clone() })
    };
    ways.into_iter().flat_map(|way| [1, 100].map(|connections| case(way, connections))).collect()
}
