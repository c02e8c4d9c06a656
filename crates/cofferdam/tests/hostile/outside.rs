//! What lies outside in a world of a test's own: a name server that changes its mind, and web servers.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;

use crate::Loot;

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    Some(match (name, args) {
        ("serve-names", [at, table, log]) => names(at, table, log),
        ("serve-http", [at, log]) => http(at, log),
        _ => return None,
    })
}

fn note(log: &str, line: &str) -> io::Result<()> {
    // In one call: several append to it.
    OpenOptions::new().create(true).append(true).open(Path::new(log))?.write_all(format!("{line}\n").as_bytes())
}

/// Answers look-ups by a table with lines `NAME ADDRESS[,ADDRESS…] …`: the first look-up of a name (in each family) gives
/// the first word's addresses, the next the second's, and the last word's for ever. Notes each question.
fn names(at: &str, table: &str, log: &str) -> Loot {
    let socket = UdpSocket::bind(at)?;
    note(log, "serves")?;
    let mut asked = HashMap::<(String, u16), usize>::new();
    let mut packet = [0; 1500];
    loop {
        let (length, from) = socket.recv_from(&mut packet)?;
        let Some((name, kind, end)) = question(&packet[..length]) else { continue };
        note(log, &format!("{name} {kind}"))?;
        let text = std::fs::read_to_string(table)?;
        let entry = text.lines().find_map(|line| line.split_once(' ').filter(|(known, _)| *known == name));
        let words: Vec<&str> = entry.map(|(_, words)| words.split(' ').collect()).unwrap_or_default();
        let count = asked.entry((name, kind)).or_default();
        let word = words.get((*count).min(words.len().saturating_sub(1))).copied().unwrap_or_default();
        *count += 1;
        let parsed = word.split(',').filter_map(|address| address.parse::<IpAddr>().ok());
        // Types A and AAAA (RFC 1035, section 3.2.2; RFC 3596).
        let found: Vec<IpAddr> = parsed.filter(|ip| kind == if ip.is_ipv4() { 1 } else { 28 }).collect();
        let code = if words.is_empty() { 3 } else { 0 };
        let mut answer = packet[..end].to_vec();
        answer[2..12].copy_from_slice(&[0x81, 0x80 | code, 0, 1, 0, found.len() as u8, 0, 0, 0, 0]);
        for ip in found {
            let bytes = match ip {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            answer.extend([0xc0, 12, 0, kind as u8, 0, 1, 0, 0, 0, 0, 0, bytes.len() as u8]);
            answer.extend(bytes);
        }
        socket.send_to(&answer, from)?;
    }
}

/// The name and type of a message's question, and where it ends.
fn question(packet: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?);
    Some((labels.join("."), kind, at + 4))
}

/// Answers each request with where it listens; notes the first lines.
fn http(at: &str, log: &str) -> Loot {
    let listener = TcpListener::bind(at)?;
    note(log, "serves")?;
    for stream in listener.incoming() {
        // One that only looks says nothing.
        if let Err(e) = answer(&stream?, at, log) {
            note(log, &format!("lost {e}"))?;
        }
    }
    Ok(String::new())
}

fn answer(mut stream: &TcpStream, at: &str, log: &str) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    note(log, first.trim_end())?;
    let body = format!("this is {at}\n");
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
