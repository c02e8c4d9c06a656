//! Reads an answer piece by piece.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use cofferdam_core::event::Protocol;
use cofferdam_exchange::{Decoding, Refusal, cut, decoding};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::response;

use super::frames::Framing;
use super::held::Pool;
use super::json::{List, Object};
use super::route::Route;
use super::told::Told;

/// Most bytes of an error that is not in its protocol's form.
const WORDS: usize = 512;

/// Reads an answer.
pub(crate) struct Reader {
    cut: Rc<RefCell<Cut>>,
    /// Where its body is encoded although that was not asked for.
    decoding: Option<Decoding<Shared>>,
    /// Why it cannot be read.
    unread: Option<String>,
}

/// The parts of it.
struct Cut {
    protocol: Protocol,
    /// Whether it is an error by its status.
    failed: bool,
    framing: Framing,
    told: Told,
}

struct Shared(Rc<RefCell<Cut>>);

impl Reader {
    /// Of the answer with this head to a request of this route.
    pub(crate) fn new(route: &Route, head: &response::Parts, pool: &Pool) -> Reader {
        let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let failed = !head.status.is_success();
        let protocol = route.protocol;
        let array = protocol == Protocol::GeminiGenerateContent && route.stream == Some(true) && !failed;
        let framing = Framing::of(kind, array, pool);
        let cut = Rc::new(RefCell::new(Cut { protocol, failed, framing, told: Told::new(pool) }));
        let mut encodings = head.headers.get_all(CONTENT_ENCODING).iter();
        let plain = encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
        let decoding = if plain { None } else { Decoding::of(&head.headers, Shared(Rc::clone(&cut))) };
        let unread =
            (!plain && decoding.is_none()).then(|| "the answer is encoded in a way that is not read".to_owned());
        Reader { cut, decoding, unread }
    }

    /// The next piece of its body.
    pub(crate) fn push(&mut self, piece: &Bytes) {
        match &mut self.decoding {
            _ if self.unread.is_some() => {}
            None => self.cut.borrow_mut().push(piece),
            Some(decoding) => {
                if decoding.push(piece.clone()).is_err() {
                    self.unread = Some("the answer is not encoded as it says".to_owned());
                }
            }
        }
    }

    /// Whether something was written by now.
    pub(crate) fn has_begun(&self) -> bool {
        self.cut.borrow().told.begun
    }

    /// Whether it comes in parts.
    pub(crate) fn is_streamed(&self) -> bool {
        !self.cut.borrow().framing.is_whole()
    }

    /// The body is over, or broke off before `all` of it came: what the answer says.
    pub(crate) fn end(self, all: bool) -> Option<Told> {
        drop(self.decoding);
        let mut cut = Rc::into_inner(self.cut)?.into_inner();
        match self.unread {
            Some(why) => cut.told.failed(&why),
            None if all => cut.end(),
            // A part of a message says nothing.
            None => {}
        }
        Some(cut.told)
    }
}

impl decoding::Look for Shared {
    fn look(&mut self, decoded: &[u8]) -> Result<bool, Refusal> {
        self.0.borrow_mut().push(decoded);
        Ok(false)
    }
}

impl Cut {
    fn push(&mut self, piece: &[u8]) {
        let Cut { protocol, framing, told, .. } = self;
        framing.push(piece, &mut |frame| match frame {
            Ok(frame) => super::read(*protocol, false, &frame, told),
            Err(unread) => told.failed(&unread.to_string()),
        });
    }

    fn end(&mut self) {
        let Cut { protocol, failed, framing, told } = self;
        let whole = framing.is_whole();
        framing.end(&mut |frame| match frame {
            Ok(frame) if *failed => told.failed(&error(frame.data)),
            Ok(frame) => super::read(*protocol, whole, &frame, told),
            Err(unread) => told.failed(&unread.to_string()),
        });
    }
}

/// The words of an error: all protocols say it in one of a few forms.
pub(super) fn error(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    words(&text).unwrap_or_else(|| cut(text.trim(), WORDS))
}

fn words(text: &str) -> Option<String> {
    let all = serde_json::from_str::<List<'_>>(text);
    // Gemini's, where its stream is an array.
    let text = all.as_ref().ok().and_then(|all| all.0.first()).map_or(text, |first| first.get());
    let object = Object::parse(text).ok()?;
    let inner = object.object(&["error"]);
    let any = |object: &Object<'_>, names: &[&str]| {
        names.iter().find_map(|name| object.text(&[name]).map(|text| text.into_owned())).filter(|text| !text.is_empty())
    };
    let (message, kind) = match &inner {
        Some(inner) => (any(inner, &["message"])?, any(inner, &["type", "status", "code"])),
        None => (any(&object, &["error", "message", "Message", "detail"])?, any(&object, &["code"])),
    };
    Some(match kind {
        Some(kind) => format!("{kind}: {message}"),
        None => message,
    })
}
