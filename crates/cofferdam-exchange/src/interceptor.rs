//! Who sees and changes exchanges.

use std::future::Future;
use std::pin::Pin;

use cofferdam_core::event::{EventKind, RuleRef};
use http::{request, response};

use crate::{Filter, Refusal, Whole};

/// Where a request goes, and by which rule. Decided before any interceptor is asked; none can change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The connection's number within the run.
    pub connection: u64,
    /// Whether TLS protects it outside.
    pub tls: bool,
    /// The host, as policy compares it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The rule that allows it.
    pub rule: RuleRef,
    /// The rule's purpose.
    pub purpose: String,
}

/// What becomes of a request.
pub enum Verdict {
    /// It goes on, changed or not; its body through this filter, where there is one.
    Pass(Option<Box<dyn Filter>>),
    /// All of it is wanted before that is decided.
    Whole(Box<dyn Whole>),
    /// It does not go out.
    Refuse(Refusal),
    /// It may go out, and cannot: something that it needs is not to be had. Why, in words for the program.
    Fail(String),
    /// It is answered here; nothing goes out.
    Answer(Box<Answer>),
}

/// An answer that an interceptor gives itself.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: response::Parts,
    /// Its body.
    pub body: bytes::Bytes,
}

/// What an interceptor wants recorded of a request before it goes out: an extension of the head, which is taken out of it.
/// It is caused by whoever caused the request.
#[derive(Clone, Debug, Default)]
pub struct Notes(pub Vec<EventKind>);

/// What an interceptor may have to wait for (a credential that is fetched for it).
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Sees each request that policy allows before it goes out, and its answer before the program has it. One thread; a
/// connection is not held up by another's.
///
/// The head that it is given is the one that goes out: what it adds is not recorded, the head that the program sent is.
pub trait Interceptor {
    /// Its name in the evidence.
    fn name(&self) -> &'static str;

    /// A request's head. Whether it changed it is found by comparison.
    fn request<'a>(&'a self, target: &'a Target, head: &'a mut request::Parts) -> Waiting<'a, Verdict>;

    /// The head of the answer to a request that went out; the filter for its body, where one is wanted.
    ///
    /// # Errors
    /// Where the answer must not reach the program.
    fn response(
        &self,
        target: &Target,
        request: &request::Parts,
        head: &mut response::Parts,
    ) -> Result<Option<Box<dyn Filter>>, Refusal> {
        let _ = (target, request, head);
        Ok(None)
    }

    /// What it does to requests to a place, in sentences, for a program that asks why.
    fn tells(&self, tls: bool, host: &str, port: u16) -> Option<String> {
        let _ = (tls, host, port);
        None
    }
}

impl std::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Pass(filter) => f.debug_tuple("Pass").field(&filter.is_some()).finish(),
            Verdict::Whole(_) => f.write_str("Whole"),
            Verdict::Refuse(refusal) => f.debug_tuple("Refuse").field(refusal).finish(),
            Verdict::Fail(why) => f.debug_tuple("Fail").field(why).finish(),
            Verdict::Answer(answer) => f.debug_tuple("Answer").field(answer).finish(),
        }
    }
}
