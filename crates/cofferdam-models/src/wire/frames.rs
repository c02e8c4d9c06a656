//! How answers are cut into messages: as one JSON text, as events of a server (SSE), as frames of Amazon's event stream, as
//! the elements of a JSON array.

use super::eventstream::EventStream;
use super::held::{Held, Pool};

/// Most bytes of one message.
pub(crate) const MOST: usize = 4 << 20;

/// A message: the name of its event, where it has one, and its text.
pub(crate) struct Frame<'a> {
    pub(crate) event: &'a str,
    pub(crate) data: &'a [u8],
}

/// Takes messages.
pub(crate) type Take<'t> = &'t mut dyn FnMut(Result<Frame<'_>, Unread>);

/// A message that cannot be read; why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unread {
    /// It is longer than is read.
    #[error("a part of the answer is longer than is held")]
    TooLong,
    /// It is no such framing.
    #[error("the answer is no event stream as its type says")]
    Framing,
}

/// Cuts an answer.
pub(crate) enum Framing {
    /// The answer is one message.
    Whole(Held),
    /// Server-sent events (WHATWG HTML, section 9.2).
    Events(Events),
    /// `application/vnd.amazon.eventstream`.
    Amazon(EventStream),
    /// A JSON array of messages (Gemini without `alt=sse`).
    Array(Elements),
}

impl Framing {
    /// By the answer's `Content-Type`; `array` where a JSON text may be an array of messages.
    pub(crate) fn of(kind: Option<&str>, array: bool, pool: &Pool) -> Framing {
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match &*kind {
            "text/event-stream" => Framing::Events(Events::new(pool)),
            "application/vnd.amazon.eventstream" => Framing::Amazon(EventStream::new(pool)),
            _ if array => Framing::Array(Elements::new(pool)),
            _ => Framing::Whole(Held::new(MOST, pool)),
        }
    }

    /// Whether it is one message.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Framing::Whole(_))
    }

    /// The next piece of the answer.
    pub(crate) fn push(&mut self, piece: &[u8], take: Take<'_>) {
        match self {
            Framing::Whole(held) => held.push(piece),
            Framing::Events(events) => events.push(piece, take),
            Framing::Amazon(frames) => frames.push(piece, take),
            Framing::Array(elements) => elements.push(piece, take),
        }
    }

    /// The answer is over.
    pub(crate) fn end(&mut self, take: Take<'_>) {
        match self {
            Framing::Whole(held) if held.bytes() == 0 => {}
            Framing::Whole(held) if held.is_whole() => take(Ok(Frame { event: "", data: held.kept() })),
            Framing::Whole(_) => take(Err(Unread::TooLong)),
            // An event without the empty line behind it does not count, and so servers end theirs with one; some do not.
            Framing::Events(events) => events.end(take),
            Framing::Amazon(frames) => frames.end(take),
            Framing::Array(_) => {}
        }
    }
}

/// Server-sent events.
pub(crate) struct Events {
    line: Held,
    /// Whether the line before ended with CR, of which LF may be a part.
    carriage: bool,
    event: Held,
    data: Held,
    /// Whether there is a line of data.
    has_data: bool,
    first: bool,
}

/// Most bytes of an event's name.
const NAME: usize = 256;

impl Events {
    pub(crate) fn new(pool: &Pool) -> Events {
        let (line, event, data) = (Held::new(MOST, pool), Held::new(NAME, pool), Held::new(MOST, pool));
        Events { line, carriage: false, event, data, has_data: false, first: true }
    }

    pub(crate) fn push(&mut self, mut piece: &[u8], take: Take<'_>) {
        while let Some(first) = piece.first() {
            if std::mem::take(&mut self.carriage) && *first == b'\n' {
                piece = &piece[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', piece) else {
                self.line.push(piece);
                return;
            };
            self.carriage = piece[end] == b'\r';
            self.line.push(&piece[..end]);
            piece = &piece[end + 1..];
            self.ended(take);
        }
    }

    fn ended(&mut self, take: Take<'_>) {
        let whole = self.line.is_whole();
        let mut line = self.line.kept();
        if std::mem::take(&mut self.first) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() && whole {
            self.dispatch(take);
        } else {
            let (name, value) = match memchr::memchr(b':', line) {
                Some(colon) => (&line[..colon], &line[colon + 1..]),
                None => (line, &b""[..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match name {
                b"data" => {
                    if std::mem::replace(&mut self.has_data, true) {
                        self.data.push(b"\n");
                    }
                    self.data.push(value);
                }
                b"event" => self.event.replace(value),
                _ => {}
            }
        }
        if !whole {
            // Whatever it was: the event is not what was sent.
            self.has_data = true;
            self.data.spoil();
        }
        self.line.clear();
    }

    fn dispatch(&mut self, take: Take<'_>) {
        if self.has_data {
            if self.data.is_whole() {
                let event = std::str::from_utf8(self.event.kept()).unwrap_or_default();
                take(Ok(Frame { event, data: self.data.kept() }));
            } else {
                take(Err(Unread::TooLong));
            }
        }
        self.has_data = false;
        self.data.clear();
        self.event.clear();
    }

    fn end(&mut self, take: Take<'_>) {
        if self.line.bytes() > 0 {
            self.ended(take);
        }
        self.dispatch(take);
    }
}

/// The elements of a JSON array, cut where the brackets of each close.
pub(crate) struct Elements {
    element: Held,
    depth: u64,
    string: bool,
    escaped: bool,
}

impl Elements {
    pub(crate) fn new(pool: &Pool) -> Elements {
        Elements { element: Held::new(MOST, pool), depth: 0, string: false, escaped: false }
    }

    pub(crate) fn push(&mut self, piece: &[u8], take: Take<'_>) {
        let mut from = None;
        for (at, byte) in piece.iter().enumerate() {
            if self.depth > 0 && from.is_none() {
                from = Some(at);
            }
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.string => self.escaped = true,
                b'"' if self.depth > 0 => self.string = !self.string,
                _ if self.string => {}
                b'{' => {
                    self.depth += 1;
                    from.get_or_insert(at);
                }
                b'}' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.element.push(&piece[from.take().unwrap_or(at)..=at]);
                        match self.element.is_whole() {
                            true => take(Ok(Frame { event: "", data: self.element.kept() })),
                            false => take(Err(Unread::TooLong)),
                        }
                        self.element.clear();
                    }
                }
                _ => {}
            }
        }
        if let Some(from) = from {
            self.element.push(&piece[from..]);
        }
    }
}
