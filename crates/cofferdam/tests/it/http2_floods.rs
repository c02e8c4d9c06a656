//! Floods of HTTP/2 from inside: the gateway's memory stays bounded, others are served, the run ends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Scene, eventually, processes, scene};

/// Most memory that the gateway may ever have had, in KiB: what a body of 5 GB may take (docs/network.md).
const MOST: u64 = 64 * 1024;

/// The type of a frame that holds a head (RFC 9113, section 6.2).
const HEADERS: u8 = 1;

/// What a flood printed.
struct Flooded {
    said: String,
    /// The gateway's peak while the connection was still there, in KiB.
    peak: u64,
}

impl Flooded {
    fn is(&self, word: &str) -> bool {
        self.said.split_whitespace().any(|said| said == word)
    }

    fn number(&self, name: &str) -> usize {
        let value = self.said.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("{name}: {}", self.said)).parse().unwrap()
    }
}

/// Runs a command that prints `held`, looks at what `peak` is then, and lets it end.
fn held(mut command: Command, peak: impl FnOnce(u32) -> u64) -> Flooded {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.ends_with("held\n") {
        assert!(shown.read_line(&mut said).unwrap() > 0, "it ended early: {said}");
    }
    let peak = peak(child.id());
    drop(child.stdin.take());
    let status = scene::wait(&mut child, Duration::from_secs(40));
    shown.read_to_string(&mut said).unwrap();
    assert!(status.success(), "{status:?}: {said}");
    Flooded { said, peak }
}

/// A flood through `coffer run`, with a rule for `/ok/**` of a server.
fn flood(scene: &Scene, server: &Defenceless, kind: &str, count: usize, path: &str) -> Flooded {
    let place = format!("host.cofferdam:{}", server.port);
    scene.policy(&format!(
        "version = 1\n[[network.allow]]\nhost = \"{place}\"\nscheme = \"http\"\npaths = [\"/ok/**\"]\npurpose = \"a test\"\n"
    ));
    let mut command = scene.coffer();
    command.args(["run", "--quiet", "--", "./hostile", "h2-flood", kind, &count.to_string(), &place, path]);
    let flooded = held(command, |client| {
        let gateway = processes::gateway_below(client).as_raw_nonzero().get();
        let peak = processes::status(gateway, "VmHWM").unwrap();
        peak.trim_end_matches(" kB").trim().parse().unwrap()
    });
    let (said, peak) = (&flooded.said, flooded.peak);
    eprintln!("{kind}: {peak} KiB: {}", said.replace('\n', " "));
    assert!(peak < MOST, "{kind}: {peak} KiB: {said}");
    // Others were served while it went on and after it.
    let beside = said.split_once("beside=").unwrap().1.split(' ').next().unwrap();
    let (answered, asked) = beside.split_once('/').unwrap();
    assert!(flooded.is("later=200") && answered == asked, "{kind}: {said}");
    flooded
}

/// A server of HTTP/2 that defends itself against nothing, counts the frames that come, by type, and answers each head with
/// 200. Whoever speaks HTTP/1 is answered.
struct Defenceless {
    port: u16,
    frames: Arc<Mutex<BTreeMap<u8, usize>>>,
}

impl Defenceless {
    /// Whose answers have so many bytes.
    fn new(body: usize) -> Defenceless {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let frames = Arc::new(Mutex::new(BTreeMap::new()));
        let into = Arc::clone(&frames);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let into = Arc::clone(&into);
                // How a connection ends is not what is tested.
                std::thread::spawn(move || drop(serve(stream.unwrap(), body, &into)));
            }
        });
        Defenceless { port, frames }
    }

    /// How many frames of a type came.
    fn came(&self, kind: u8) -> usize {
        self.frames.lock().unwrap().get(&kind).copied().unwrap_or(0)
    }
}

fn serve(mut stream: TcpStream, body: usize, frames: &Mutex<BTreeMap<u8, usize>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut preface = [0; 24];
    reader.read_exact(&mut preface)?;
    if !preface.starts_with(b"PRI ") {
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    // Its SETTINGS, and the acknowledgement of the other's.
    stream.write_all(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0")?;
    loop {
        let mut start = [0; 9];
        reader.read_exact(&mut start)?;
        let length = u64::from(start[0]) << 16 | u64::from(start[1]) << 8 | u64::from(start[2]);
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        *frames.lock().unwrap().entry(start[3]).or_default() += 1;
        if start[3] == HEADERS {
            // `:status: 200`, and a body that ends the stream; whoever has gone meanwhile takes nothing.
            let of = &start[5..];
            let size = &(body as u32).to_be_bytes()[1..];
            let answer = [&[0, 0, 1, HEADERS, 4][..], of, &[0x88], size, &[0, 1], of, &vec![b'x'; body]].concat();
            let _ = stream.write_all(&answer);
        }
    }
}

/// The controls: what each flood sends arrives whole where nobody defends himself, and its requests are requests.
#[test]
fn floods_of_http2_reach_a_server_that_has_no_defence() {
    let scene = Scene::new();
    for (kind, expected) in [
        ("reset", [(1, 2000), (3, 2000)]),
        ("made-reset", [(1, 2000), (8, 2001)]),
        ("continuation", [(1, 1), (9, 2000)]),
        ("continuation-empty", [(1, 1), (9, 2000)]),
        ("settings", [(4, 2001), (6, 1)]),
        ("settings-deaf", [(4, 2001), (6, 1)]),
        ("ping", [(4, 1), (6, 2001)]),
        ("ping-deaf", [(4, 1), (6, 2001)]),
        ("priority", [(2, 2000), (6, 1)]),
        ("empty-data", [(0, 2000), (1, 1)]),
        ("hpack", [(1, 2000), (6, 1)]),
        ("hpack-size", [(1, 2000), (6, 1)]),
        ("stall", [(1, 2000), (4, 1)]),
        ("extended", [(1, 2000), (6, 1)]),
    ] {
        let server = Defenceless::new(0);
        let mut command = scene.program(scene.outside.join("hostile"));
        command.args(["h2-flood", kind, "2000", &format!("127.0.0.1:{}", server.port), "/ok/x"]);
        let flooded = held(command, |_| 0);
        assert!(flooded.is("sent=2000") && flooded.is("stopped=no") && flooded.is("later=200"), "{}", flooded.said);
        for (frame, count) in expected {
            assert!(eventually(5, || server.came(frame) == count), "{kind}: {:?}", server.frames);
        }
    }
    let server = Defenceless::new(6);
    let flooded = flood(&scene, &server, "ask", 100, "/ok/x");
    assert_eq!(flooded.number("ok"), 100, "{}", flooded.said);
}

#[test]
fn rapid_resets_do_not_pile_up() {
    let scene = Scene::new();
    let server = Defenceless::new(6);
    // ENHANCE_YOUR_CALM and PROTOCOL_ERROR, RFC 9113, section 7.
    for (kind, code) in [("reset", "goaway=11"), ("made-reset", "goaway=1")] {
        let flooded = flood(&scene, &server, kind, 50_000, "/ok/x");
        assert!(flooded.is(code) && flooded.is("closed=true"), "{}", flooded.said);
        assert!(server.came(HEADERS) < 5000, "{:?}", server.frames);
    }
}

#[test]
fn a_head_that_never_ends_ends_its_connection() {
    let scene = Scene::new();
    let server = Defenceless::new(6);
    for (kind, count) in [("continuation", 10_000), ("continuation-empty", 200_000)] {
        let flooded = flood(&scene, &server, kind, count, "/ok/x");
        assert!(flooded.is("closed=true") && flooded.number("ok") == 0, "{}", flooded.said);
        assert!(!flooded.is("goaway=none"), "{}", flooded.said);
    }
    assert_eq!(server.came(HEADERS), 0, "no head reached the server");
}

#[test]
fn frames_that_must_be_acknowledged_do_not_pile_up() {
    let scene = Scene::new();
    let server = Defenceless::new(6);
    for kind in ["settings", "settings-deaf", "ping", "ping-deaf", "priority", "empty-data"] {
        flood(&scene, &server, kind, 1_000_000, "/ok/x");
    }
}

#[test]
fn compressed_heads_do_not_unfold_without_bound() {
    let scene = Scene::new();
    let server = Defenceless::new(6);
    let flooded = flood(&scene, &server, "hpack", 2000, "/ok/x");
    assert_eq!(flooded.number("ok"), 0, "{}", flooded.said);
    let flooded = flood(&scene, &server, "hpack-size", 100, "/ok/x");
    assert!(!flooded.is("goaway=none") && flooded.number("ok") == 0, "{}", flooded.said);
    let flooded = flood(&scene, &server, "table", 5000, "/ok/x");
    assert!(flooded.number("heads") > 100, "{}", flooded.said);
}

#[test]
fn answers_that_nobody_takes_are_not_held() {
    let scene = Scene::new();
    // All of them together are what a connection may send ahead.
    let server = Defenceless::new(10_000);
    let flooded = flood(&scene, &server, "stall", 90, "/ok/large");
    assert!(flooded.number("bytes") == 0 && flooded.number("ok") > 0, "{}", flooded.said);
}

#[test]
fn an_extended_connect_makes_no_way_through() {
    let scene = Scene::new();
    let server = Defenceless::new(6);
    let flooded = flood(&scene, &server, "extended", 200, "/ok/x");
    assert_eq!(flooded.number("ok"), 0, "{}", flooded.said);
    assert_eq!(server.came(HEADERS), 0, "no head reached the server");
}

#[test]
fn refusals_do_not_pile_up_faster_than_they_are_recorded() {
    let scene = Scene::new();
    let server = Defenceless::new(6);
    let flooded = flood(&scene, &server, "ask", 15_000, "/no");
    let heads = flooded.number("heads");
    assert!(heads > 1000 && flooded.number("ok") == 0, "{}", flooded.said);
    assert!(scene.events("net.denied").len() >= heads);
}
