//! Requests of which an interceptor wants all before anything leaves.

use std::rc::Rc;

use bytes::Bytes;
use cofferdam_core::event::{Body, EventKind};
use http::{request, response};

use crate::{Answer, Filter, Refusal, Waiting};

/// All of a request.
pub struct Request<'a> {
    /// Its head.
    pub head: &'a mut request::Parts,
    /// Its body, as it came through the filters of the interceptors before.
    pub body: Bytes,
    /// What is recorded of the body as the program sent it.
    pub sent: Body,
    /// Where events that it causes are recorded.
    pub records: Rc<dyn Records>,
}

/// Wants all of a request. The gateway bounds how much that may be, over all requests at once.
pub trait Whole {
    /// What becomes of it, when all of it has come and nothing has left.
    fn request<'a>(self: Box<Self>, request: Request<'a>) -> Waiting<'a, Onward>;

    /// The answer that shows a refusal which comes before that, where the program would not understand the gateway's own.
    fn refused(&self, refusal: &Refusal) -> Option<Box<Answer>> {
        let _ = refusal;
        None
    }
}

/// What becomes of a whole request.
pub enum Onward {
    /// It goes on.
    Pass {
        /// Its body, in pieces, where it is another one now. Its length is put into the head by the gateway.
        body: Option<Vec<Bytes>>,
        /// Who waits for the answer.
        awaits: Option<Box<dyn Awaits>>,
    },
    /// It does not go out; the answer that shows it, where the program would not understand the gateway's own.
    Refuse(Refusal, Option<Box<Answer>>),
    /// It may go out, and cannot. Why, in words for the program.
    Fail(String),
}

/// Waits for the answer to one request. Dropped where none came and it is not known whether the request left.
pub trait Awaits {
    /// The head of the answer, after all interceptors have seen it; the filter for its body, where one is wanted. It comes
    /// after those of all interceptors. A filter that is dropped before its end saw a body that broke off.
    fn answer(self: Box<Self>, head: &mut response::Parts) -> Option<Box<dyn Filter>>;

    /// Nothing of the request has left.
    fn unsent(self: Box<Self>);
}

/// Where an interceptor records what it sees, at any time; each event is caused by whoever caused the request.
pub trait Records {
    /// Records an event, after those before, with a text that is kept beside it: its reference is the monitor's to fill in.
    fn record(&self, what: EventKind, text: Option<Bytes>);

    /// Records a turn of the person's in the model request of this number, unless the run knows it already. `bytes` is how
    /// long it was before it was cut.
    fn turn(&self, request: u64, bytes: u64, text: Bytes);

    /// Waits until all of that is recorded.
    ///
    /// # Errors
    /// Where it cannot be: then what depends on it must not happen.
    fn settled(&self) -> Waiting<'_, Result<(), String>>;
}

impl std::fmt::Debug for Onward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Onward::Pass { body, awaits } => {
                f.debug_struct("Pass").field("body", body).field("awaits", &awaits.is_some()).finish()
            }
            Onward::Refuse(refusal, answer) => f.debug_tuple("Refuse").field(refusal).field(answer).finish(),
            Onward::Fail(why) => f.debug_tuple("Fail").field(why).finish(),
        }
    }
}
