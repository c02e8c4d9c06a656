//! One measurement: load on one way to the server, and what it says.

use std::process::{Command, Stdio};

use crate::peers::{BODY, HOST, Peers};
use crate::run::Run;

/// Which HTTP, over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    H1,
    H2,
}

/// What stands between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Direct,
    Relay,
    /// The same relay where the gateway's client is: behind the address translation of the enclosure's network.
    RelayInside,
    Tinyproxy,
    Mitmproxy,
    Gateway,
}

impl Subject {
    pub fn name(self) -> &'static str {
        match self {
            Subject::Direct => "direct",
            Subject::Relay => "C relay (splice)",
            Subject::RelayInside => "C relay inside",
            Subject::Tinyproxy => "tinyproxy",
            Subject::Mitmproxy => "mitmproxy",
            Subject::Gateway => "gateway",
        }
    }

    /// Where a client connects for plain TCP.
    fn tcp(self, peers: &Peers, inside: &Run) -> (&'static str, u16) {
        match self {
            Subject::Direct => ("127.0.0.1", peers.sink.port),
            Subject::Relay => ("127.0.0.1", peers.relay.port),
            Subject::RelayInside => ("127.0.0.1", inside.relay()),
            Subject::Tinyproxy => ("127.0.0.1", peers.tinyproxy.as_ref().unwrap().port),
            Subject::Mitmproxy => unreachable!("compared for HTTP only"),
            Subject::Gateway => (HOST, peers.sink.port),
        }
    }

    /// Where a client connects for HTTPS, if elsewhere than its URL says.
    fn https(self, peers: &Peers) -> Option<u16> {
        match self {
            Subject::Direct => Some(peers.server.port),
            Subject::Mitmproxy => Some(peers.mitmproxy.as_ref().unwrap().port),
            Subject::Relay | Subject::RelayInside | Subject::Tinyproxy => unreachable!("compared for TCP only"),
            Subject::Gateway => None,
        }
    }
}

/// What was measured in a round.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Bytes of answers with a large body, or of a plain connection, a second.
    pub bytes: f64,
    /// Answers, or bytes there and back, a second.
    pub answers: f64,
    /// Their latency, in microseconds.
    pub p50: f64,
    pub p99: f64,
}

/// Runs a script where its client belongs: inside the enclosure for what serves there, else outside.
pub fn script(peers: &Peers, inside: &Run, subject: Subject, script: &str) -> String {
    if matches!(subject, Subject::Gateway | Subject::RelayInside) {
        return inside.output(script);
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).current_dir(peers.at("project")).stdin(Stdio::null());
    String::from_utf8(crate::support::output(&mut shell)).unwrap()
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().map(|word| word.parse().unwrap_or_else(|e| panic!("{text}: {e}"))).collect()
}

pub fn tcp(peers: &Peers, inside: &Run, subject: Subject, connections: usize, milliseconds: u64) -> Sample {
    let (host, port) = subject.tcp(peers, inside);
    let to = if subject == Subject::Tinyproxy { format!("127.0.0.1:{}", peers.sink.port) } else { String::new() };
    let load = |what: &str| {
        let words = format!("./tcp {what} {host} {port} {connections} {milliseconds} {to}");
        numbers(&script(peers, inside, subject, &words))
    };
    let (sent, echoed) = (load("send"), load("echo"));
    let [bytes, nanoseconds] = sent[..] else { panic!("{sent:?}") };
    let [count, took, p50, p99] = echoed[..] else { panic!("{echoed:?}") };
    Sample { bytes: bytes / nanoseconds * 1e9, answers: count / took * 1e9, p50: p50 / 1e3, p99: p99 / 1e3 }
}

pub fn http(
    peers: &Peers,
    inside: &Run,
    subject: Subject,
    (way, connections, milliseconds): (Http, usize, u64),
) -> Sample {
    let load = |path: &str| {
        // All must be connected when the time begins: h2load waits for ever for one that is not at its end.
        let before = if subject == Subject::Mitmproxy { 40 * connections } else { 10 * connections };
        let words = format!("-c {connections} -D {milliseconds}ms --warm-up-time={}ms", before + 50);
        h2load(peers, inside, subject, way, &words, path)
    };
    let (small, large) = (load("/"), load("/body"));
    let seconds = milliseconds as f64 / 1e3;
    Sample { bytes: large.bytes / seconds, answers: small.done / seconds, p50: small.p50, p99: small.p99 }
}

/// What h2load says.
pub struct Said {
    pub done: f64,
    pub bytes: f64,
    pub p50: f64,
    pub p99: f64,
}

/// Seconds that no measurement reaches: h2load waits for ever where a server closes.
const LONGEST: u32 = 60;

/// h2load tells the mean only; the percentiles are those of its log, whose third column is microseconds.
pub fn h2load(peers: &Peers, inside: &Run, subject: Subject, way: Http, words: &str, path: &str) -> Said {
    let to = subject.https(peers).map(|port| format!("--connect-to=127.0.0.1:{port}")).unwrap_or_default();
    let h1 = if way == Http::H1 { "--h1" } else { "" };
    let url = format!("https://{HOST}:{}{path}", peers.server.port);
    let said = script(
        peers,
        inside,
        subject,
        &format!(
            "log=$(mktemp) && timeout {LONGEST} h2load {h1} {to} {words} --log-file=$log {url} && cut -f 3 $log | sort -n | \
             awk '{{ v[NR] = $1 }} END {{ print \"latency\", v[int((NR + 1) / 2)], v[int(NR * 0.99 + 0.5)] }}'; rm $log"
        ),
    );
    read(&said).unwrap_or_else(|| panic!("h2load said:\n{said}"))
}

fn read(said: &str) -> Option<Said> {
    let line = |begin: &str| said.lines().find_map(|line| line.strip_prefix(begin));
    // requests: 15 total, 15 started, 15 done, 15 succeeded, 0 failed, 0 errored, 0 timeout
    let counts: Vec<f64> =
        line("requests: ")?.split(", ").filter_map(|part| part.split(' ').next()?.parse().ok()).collect();
    // status codes: 15 2xx, 0 3xx, 0 4xx, 0 5xx (a head may have come before the time began)
    let well = line("status codes: ")?.ends_with(" 0 3xx, 0 4xx, 0 5xx");
    let [_, _, done, succeeded, failed, errored, _] = counts[..] else { return None };
    // traffic: 1.21KB (1234) total, 100B (100) headers (space savings 0.00%), 30B (30) data
    // Of these only the total leaves out what came before the time began; it counts heads, and frames of HTTP/2, as well.
    let total = line("traffic: ")?.split_once('(')?.1.split_once(')')?.0.parse().ok()?;
    // None where no request began and ended in the time, which mitmproxy's hundred bodies may not.
    let latency = line("latency ").map(numbers)?;
    let [p50, p99] = if done == 0.0 { [f64::NAN; 2] } else { latency.try_into().ok()? };
    (failed == 0.0 && errored == 0.0 && succeeded == done && well).then_some(Said { done, bytes: total, p50, p99 })
}

/// Requests for the large body, one after the other.
pub fn large(peers: &Peers, inside: &Run, mebibytes: u64) {
    let said = h2load(peers, inside, Subject::Gateway, Http::H1, "-n 1 -c 1", "/large");
    assert!(said.bytes >= (mebibytes << 20) as f64, "only {} bytes came", said.bytes);
    assert!(BODY < mebibytes << 20);
}
