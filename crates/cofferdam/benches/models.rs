//! What reading an exchange with a model adds to the first token that is streamed: a client inside `coffer run`, whose requests
//! the gateway reads, judges and records, beside the same client outside, in turn, in one run; by the size of the context.
//!
//! `cargo bench --bench models`. Rounds by `COFFER_BENCH_ROUNDS` (7), requests a round by `COFFER_BENCH_REQUESTS` (40).
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a bench")]

#[allow(dead_code, reason = "shared by the benches, each of which uses its part")]
mod support;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{coffer, output, rounds, say};

/// Sizes of contexts, in KiB.
const CONTEXTS: [usize; 3] = [32, 1024, 10 * 1024];
/// How long the scripted model takes between its first token and the rest.
const THINKS: Duration = Duration::from_millis(5);
/// Requests at once while the gateway's memory is looked at.
const AT_ONCE: usize = 8;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "ask") {
        let [host, port, kib, count, at_once] = &words[2..] else { panic!("{words:?}") };
        return ask(
            host,
            port.parse().unwrap(),
            kib.parse().unwrap(),
            count.parse().unwrap(),
            at_once.parse().unwrap(),
        );
    }
    let rounds = rounds(7);
    let count = std::env::var("COFFER_BENCH_REQUESTS").unwrap_or_else(|_| "40".to_owned());
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(tmp).unwrap();
    let work = tempfile::Builder::new().prefix("models").tempdir_in(tmp).unwrap();
    let (project, state) = (work.path().join("project"), work.path().join("state"));
    std::fs::create_dir(&project).unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), project.join("client")).unwrap();
    let port = serve().to_string();

    for kib in CONTEXTS {
        println!("first token of a streamed answer, context of {kib} KiB, {count} requests a round, {rounds} rounds");
        let words = kib.to_string();
        let mut times: [Vec<f64>; 2] = Default::default();
        for round in 0..=rounds {
            let bare = p50(Command::new(project.join("client")).args(["ask", "127.0.0.1", &port, &words, &count, "1"]));
            let ours = p50(&mut inside(&project, &state, &port, &words, &count, "1"));
            if round > 0 {
                times[0].push(bare);
                times[1].push(ours);
            }
        }
        let [bare, ours] = &times;
        say("direct", "ms", bare.clone());
        say("coffer run, recorded", "ms", ours.clone());
        say("added", "ms", ours.iter().zip(bare).map(|(ours, bare)| ours - bare).collect());
    }
    let largest = CONTEXTS[CONTEXTS.len() - 1].to_string();
    let peak = peak(&mut inside(&project, &state, &port, &largest, "4", &AT_ONCE.to_string()));
    println!("{AT_ONCE} at once with contexts of {largest} KiB: the gateway's peak is {:.1} MiB", peak as f64 / 1024.0);
}

fn inside(project: &Path, state: &Path, port: &str, kib: &str, count: &str, at_once: &str) -> Command {
    let allow = format!("host.cofferdam:{port}");
    let run = ["run", "--quiet", "--allow", &allow, "--purpose", "bench", "--"];
    let client = ["./client", "ask", "host.cofferdam", port, kib, count, at_once];
    let mut command = coffer(project, state, &[&run[..], &client[..]].concat());
    // The bench's own policy alone.
    command.env("XDG_CONFIG_HOME", project.with_file_name("config"));
    command
}

/// The median that a client says, in milliseconds.
fn p50(client: &mut Command) -> f64 {
    String::from_utf8(output(client)).unwrap().trim().parse().unwrap()
}

/// The peak of resident memory of the gateway that a run has, in KiB.
fn peak(run: &mut Command) -> u64 {
    let mut child = run.stdout(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(gateway(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success() && peak > 0, "no gateway was seen");
    peak
}

fn gateway(run: u32) -> Option<u64> {
    let mut all = vec![run];
    let mut at = 0;
    while at < all.len() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", all[at])).unwrap_or_default();
        if status.starts_with("Name:\tcoffer-gateway\n") {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            return line.trim().trim_end_matches(" kB").parse().ok();
        }
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", all[at])).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        at += 1;
    }
    None
}

/// Asks a model so often on each of some connections; prints the median from the request's last byte to the answer's first token, in milliseconds.
fn ask(host: &str, port: u16, kib: usize, count: usize, at_once: usize) {
    let one = |_| {
        let host = host.to_owned();
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect((host.as_str(), port)).unwrap();
            stream.set_nodelay(true).unwrap();
            let mut answers = BufReader::new(stream.try_clone().unwrap());
            let times = (0..count).map(|turn| {
                let body = request(kib, turn);
                let head = format!(
                    "POST /v1/messages HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(body.as_bytes()).unwrap();
                let sent = Instant::now();
                let mut first = None;
                let mut line = String::new();
                // To the end of the chunks (RFC 9112, section 7.1).
                while line != "0\r\n" {
                    line.clear();
                    assert!(answers.read_line(&mut line).unwrap() > 0, "the server closed");
                    if first.is_none() && line.contains("text_delta") {
                        first = Some(sent.elapsed());
                    }
                }
                answers.read_line(&mut line).unwrap();
                first.unwrap().as_secs_f64() * 1e3
            });
            times.collect::<Vec<f64>>()
        })
    };
    let clients: Vec<_> = (0..at_once).map(one).collect();
    let mut times: Vec<f64> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    times.sort_by(f64::total_cmp);
    println!("{}", times[times.len() / 2]);
}

/// A conversation of this size whose last turn is another one each time.
fn request(kib: usize, turn: usize) -> String {
    let mut messages = String::new();
    let piece = "lorem ipsum \\\"dolor\\\" sit amet\\n".repeat(256);
    let mut at = 0;
    while messages.len() < kib * 1024 {
        let role = if at % 2 == 0 { "user" } else { "assistant" };
        write!(messages, r#"{{"role":"{role}","content":[{{"type":"text","text":"{at} {piece}"}}]}},"#).unwrap();
        at += 1;
    }
    write!(messages, r#"{{"role":"user","content":"turn {turn}"}}"#).unwrap();
    format!(r#"{{"model":"claude-sonnet-4-5","max_tokens":1024,"stream":true,"messages":[{messages}]}}"#)
}

/// A model that answers as Anthropic's Messages API does; its port.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(stream.unwrap()));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut requests = BufReader::with_capacity(1 << 20, stream.try_clone().unwrap());
    loop {
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            if requests.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let read = std::io::copy(&mut (&mut requests).take(length), &mut std::io::sink()).unwrap();
        assert_eq!(read, length);
        let event = |data: &str| {
            let kind = data.split('"').nth(3).unwrap();
            let event = format!("event: {kind}\ndata: {data}\n\n");
            format!("{:x}\r\n{event}\r\n", event.len())
        };
        let first = [
            r#"{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"usage":{"input_tokens":10,"output_tokens":1}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"first"}}"#,
        ];
        let last = [
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}"#,
            r#"{"type":"message_stop"}"#,
        ];
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let begun: String = first.iter().map(|data| event(data)).collect();
        let rest: String = last.iter().map(|data| event(data)).collect();
        if stream.write_all(format!("{head}{begun}").as_bytes()).is_err() {
            return;
        }
        std::thread::sleep(THINKS);
        if stream.write_all(format!("{rest}0\r\n\r\n").as_bytes()).is_err() {
            return;
        }
    }
}
