//! Amazon's event stream: `application/vnd.amazon.eventstream` (Smithy, section "Amazon Event Stream").
//!
//! A frame is its total length, the length of its headers, a CRC-32 of these two, the headers, the payload, and a CRC-32 of all
//! before; numbers are of 32 bits, big-endian. A header is a name of one byte of length, a type, and a value.

use super::frames::{Frame, MOST, Take, Unread};
use super::held::{Held, Pool};

/// Bytes before the headers.
const PRELUDE: usize = 12;
/// Bytes behind the payload.
const CHECK: usize = 4;
/// The type of a header whose value is a text with a length of 16 bits.
const TEXT: u8 = 7;

/// Cuts it into frames.
pub(crate) struct EventStream {
    frame: Held,
    /// Where the frame's length is known, and it is too long: bytes of it that are to come.
    skipping: u64,
    /// It is no such stream: nothing more is read.
    broken: bool,
}

impl EventStream {
    pub(crate) fn new(pool: &Pool) -> EventStream {
        EventStream { frame: Held::new(MOST, pool), skipping: 0, broken: false }
    }

    pub(crate) fn push(&mut self, mut piece: &[u8], take: Take<'_>) {
        while !piece.is_empty() && !self.broken {
            if self.skipping > 0 {
                let skipped = usize::try_from(self.skipping).unwrap_or(usize::MAX).min(piece.len());
                self.skipping -= skipped as u64;
                piece = &piece[skipped..];
                continue;
            }
            let wanted = match total(self.frame.kept()) {
                None => PRELUDE,
                Some(Ok(total)) if total > MOST => {
                    take(Err(Unread::TooLong));
                    self.skipping = (total - PRELUDE) as u64;
                    self.frame.clear();
                    continue;
                }
                Some(Ok(total)) => total,
                Some(Err(unread)) => return self.fail(unread, take),
            };
            let missing = (wanted - self.frame.kept().len()).min(piece.len());
            self.frame.push(&piece[..missing]);
            piece = &piece[missing..];
            if !self.frame.is_whole() {
                // The pool had no room: where the next frame begins is known, what this one said is not.
                let Some(Ok(total)) = total(self.frame.kept()) else { return self.fail(Unread::TooLong, take) };
                take(Err(Unread::TooLong));
                self.skipping = (total as u64).saturating_sub(self.frame.bytes());
                self.frame.clear();
            } else if wanted > PRELUDE && self.frame.kept().len() == wanted {
                match parse(self.frame.kept()) {
                    Ok(frame) => take(Ok(frame)),
                    Err(unread) => return self.fail(unread, take),
                }
                self.frame.clear();
            }
        }
    }

    pub(crate) fn end(&mut self, take: Take<'_>) {
        if self.frame.bytes() > 0 || self.skipping > 0 {
            self.fail(Unread::Framing, take);
        }
    }

    fn fail(&mut self, unread: Unread, take: Take<'_>) {
        self.broken = true;
        self.frame.clear();
        take(Err(unread));
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// The length of a frame, once its prelude is there.
fn total(frame: &[u8]) -> Option<Result<usize, Unread>> {
    let prelude = frame.get(..PRELUDE)?;
    let total = usize::try_from(number(prelude, 0)?).unwrap_or(usize::MAX);
    let headers = usize::try_from(number(prelude, 4)?).unwrap_or(usize::MAX);
    let checked = number(prelude, 8)? == crc32fast::hash(&prelude[..8]);
    let fits = headers.checked_add(PRELUDE + CHECK).is_some_and(|least| least <= total);
    Some(if checked && fits { Ok(total) } else { Err(Unread::Framing) })
}

/// A whole frame: its event is `:event-type`, or what `:message-type` says is wrong.
fn parse(frame: &[u8]) -> Result<Frame<'_>, Unread> {
    let (all, check) = frame.split_at(frame.len() - CHECK);
    let headers = number(frame, 4).and_then(|length| usize::try_from(length).ok()).ok_or(Unread::Framing)?;
    if number(check, 0) != Some(crc32fast::hash(all)) {
        return Err(Unread::Framing);
    }
    let (mut headers, data) = all[PRELUDE..].split_at(headers);
    let mut event = "";
    while !headers.is_empty() {
        let (name, value, rest) = header(headers).ok_or(Unread::Framing)?;
        headers = rest;
        if let (":event-type" | ":exception-type" | ":error-code", Some(value)) = (name, value) {
            event = value;
        }
    }
    Ok(Frame { event, data })
}

/// The first header: its name, its value where that is a text, and the rest.
fn header(headers: &[u8]) -> Option<(&str, Option<&str>, &[u8])> {
    let (length, rest) = headers.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let name = std::str::from_utf8(name).ok()?;
    let (kind, rest) = rest.split_first()?;
    let fixed = match *kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        6 | TEXT => {
            let (length, rest) = rest.split_at_checked(2)?;
            let length = u16::from_be_bytes(length.try_into().ok()?);
            let (value, rest) = rest.split_at_checked(usize::from(length))?;
            let text = if *kind == TEXT { Some(std::str::from_utf8(value).ok()?) } else { None };
            return Some((name, text, rest));
        }
        _ => return None,
    };
    Some((name, None, rest.split_at_checked(fixed)?.1))
}

/// A frame with headers that are texts, for tests.
#[cfg(test)]
pub(crate) fn encode(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut named = Vec::new();
    for (name, value) in headers {
        named.push(u8::try_from(name.len()).unwrap());
        named.extend(name.bytes());
        named.push(TEXT);
        named.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        named.extend(value.bytes());
    }
    let total = u32::try_from(PRELUDE + named.len() + payload.len() + CHECK).unwrap();
    let mut frame = total.to_be_bytes().to_vec();
    frame.extend(u32::try_from(named.len()).unwrap().to_be_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(named);
    frame.extend(payload);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}
