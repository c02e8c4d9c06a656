//! The interceptor: each request to a model is read, judged and recorded before it leaves, and its answer while it passes.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use cofferdam_core::event::{EventKind, ModelRequest, ToolResult};
use cofferdam_exchange::{
    Answer, Decoding, Interceptor, Onward, Records, Refusal, Request, Target, Verdict, Waiting, Whole, cut, decoding,
};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING};
use http::{HeaderValue, request};

use crate::answer::Awaiting;
use crate::judge::{Judge, Permit, Ruling};
use crate::prices::Prices;
use crate::seen::Seen;
use crate::turns::persons;
use crate::wire::held::Pool;
use crate::wire::json::Object;
use crate::wire::route::{Route, provider, recognise, with_model};
use crate::wire::told::NAME;
use crate::wire::{self, Heard, Part};
use crate::{Asked, wire::rewrite::rewritten};

/// Most bytes of a body after decoding: as much as the gateway holds of one before.
const MOST: usize = 40 << 20;
/// Most bytes of a turn, and of what a model was told of a call, that are kept.
const TURN: usize = 64 << 10;
const RESULT: usize = 1 << 20;
/// Most bytes of a list of names in an event, as JSON: with two of them it fits into a packet to the monitor.
const NAMES: usize = 24 << 10;
/// Most tools of protocols without ids whose calls wait for their results.
const UNNAMED: usize = 1024;
/// Fewest bytes of a text by which a turn is known as what a model wrote itself.
const WRITTEN: usize = 16;

/// Reads what programs and models say to each other.
pub struct Models(Rc<Shared>);

/// What its parts share.
pub(crate) struct Shared {
    judge: Box<dyn Judge>,
    pub(crate) prices: Prices,
    pub(crate) pool: Pool,
    state: RefCell<State>,
}

/// What was seen so far.
#[derive(Default)]
struct State {
    requests: u64,
    messages: Seen,
    results: Seen,
    /// Texts that models wrote into tool calls: prompts of agents to agents.
    written: Seen,
    /// Of protocols without ids: the calls of each tool that have no result yet.
    unnamed: HashMap<String, VecDeque<String>>,
}

impl Shared {
    /// A tool was called: what a model wrote into it is nobody's turn.
    pub(crate) fn called(&self, arguments: &[u8]) {
        let State { written, .. } = &mut *self.state.borrow_mut();
        crate::turns::texts(arguments, &mut |text| {
            let text = text.trim();
            if text.len() >= WRITTEN {
                written.add(written.of(text));
            }
        });
    }

    /// A call that its protocol gives no id waits for its result.
    pub(crate) fn unnamed(&self, tool: &str, id: String) {
        let unnamed = &mut self.state.borrow_mut().unnamed;
        if unnamed.len() < UNNAMED || unnamed.contains_key(tool) {
            let ids = unnamed.entry(tool.to_owned()).or_default();
            if ids.len() < UNNAMED {
                ids.push_back(id);
            }
        }
    }
}

impl Models {
    /// By this judge and these prices.
    pub fn new(judge: Box<dyn Judge>, prices: Prices) -> Models {
        Models(Rc::new(Shared { judge, prices, pool: Pool::default(), state: RefCell::default() }))
    }
}

impl Interceptor for Models {
    fn name(&self) -> &'static str {
        "models"
    }

    fn request<'a>(&'a self, target: &'a Target, head: &'a mut request::Parts) -> Waiting<'a, Verdict> {
        let verdict = match recognise(&head.method, head.uri.path()) {
            Some(route) => {
                Verdict::Whole(Box::new(Reading { shared: Rc::clone(&self.0), target: target.clone(), route }))
            }
            None => match self.0.judge.unread(target, head) {
                Ok(()) => Verdict::Pass(None),
                Err(refusal) => Verdict::Refuse(refusal),
            },
        };
        Box::pin(std::future::ready(verdict))
    }
}

/// A request that may be one to a model.
struct Reading {
    shared: Rc<Shared>,
    target: Target,
    route: Route,
}

impl Whole for Reading {
    fn request<'a>(self: Box<Self>, request: Request<'a>) -> Waiting<'a, Onward> {
        Box::pin(async move {
            match self.read(request).await {
                Ok(onward) => onward,
                Err(refusal) => {
                    let answer = self.refused(&refusal);
                    Onward::Refuse(refusal, answer)
                }
            }
        })
    }

    fn refused(&self, refusal: &Refusal) -> Option<Box<Answer>> {
        Some(wire::refused::answer(&self.route, refusal))
    }
}

const UNCHANGED: Onward = Onward::Pass { body: None, awaits: None };

impl Reading {
    async fn read(&self, request: Request<'_>) -> Result<Onward, Refusal> {
        let began = Instant::now();
        let Request { head, body, sent, records } = request;
        let plain = decoded(head, &body)?;
        let unread = |head| self.shared.judge.unread(&self.target, head).map(|()| UNCHANGED);
        let Some(text) = text_of(&plain)? else { return unread(head) };
        let Ok(object) = Object::parse(text) else {
            return Err(Refusal::new("malformed", "the body of a request to a model is no JSON object"));
        };
        if let Some(name) = object.tells_twice() {
            return Err(Refusal::new("ambiguous", format!("{name} stands twice in the request to a model")));
        }
        let heard = wire::hear(&self.route, &object).map_err(|why| Refusal::new("ambiguous", why))?;
        let Some(heard) = heard else { return unread(head) };
        let asked = Asked {
            provider: provider(&self.route, &self.target.host),
            protocol: self.route.protocol,
            model: cut(&heard.model, NAME),
            tools: heard.names().map(str::to_owned).collect(),
            most: heard.most,
            bytes: plain.len() as u64,
            body: plain.clone(),
        };
        let Ruling { model, without, permit } = self.shared.judge.judge(&self.target, &asked).await?;
        let model = model.filter(|model| *model != asked.model);
        let pieces = match self.changed(head, &plain, text, &heard, model.as_deref(), &without) {
            Ok(pieces) => pieces,
            Err(refusal) => {
                never_left(permit);
                return Err(refusal);
            }
        };
        let number = self.record(&*records, &asked, model.clone(), &heard, &without, sent);
        if let Err(why) = records.settled().await {
            never_left(permit);
            return Ok(Onward::Fail(format!("it cannot be recorded: {why}")));
        }
        // So that its answer can be read while it passes.
        head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if pieces.is_some() {
            head.headers.remove(CONTENT_ENCODING);
        }
        let model = model.unwrap_or(asked.model);
        let awaiting = Awaiting::new(Rc::clone(&self.shared), &self.route, number, model, records, permit, began);
        Ok(Onward::Pass { body: pieces, awaits: Some(Box::new(awaiting)) })
    }

    /// What policy makes another request of it: the new body, where it is one.
    fn changed(
        &self,
        head: &mut request::Parts,
        plain: &Bytes,
        text: &str,
        heard: &Heard<'_>,
        model: Option<&str>,
        without: &[String],
    ) -> Result<Option<Vec<Bytes>>, Refusal> {
        let pieces = rewritten(plain, text, heard, model, without);
        let path = match model {
            Some(model) if heard.model_at.is_none() => {
                let path = with_model(head.uri.path(), &heard.model, model);
                Some(path.ok_or_else(|| {
                    Refusal::new("route", "the request names its model in a way that cannot be changed")
                })?)
            }
            _ => None,
        };
        let signed = head.headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"AWS4-"));
        if (pieces.is_some() || path.is_some()) && signed {
            let detail = "policy changes the request (its model or tools), and it is signed as it is";
            return Err(Refusal::new("signed", detail));
        }
        if let Some(mut path) = path {
            if let Some(query) = head.uri.query() {
                path.push_str(&format!("?{query}"));
            }
            head.uri = path.parse().map_err(|e| Refusal::new("route", format!("the routed path is none: {e}")))?;
        }
        Ok(pieces)
    }

    /// Records the request, the person's turns in it that are new, and what it tells of tool calls; its number.
    fn record(
        &self,
        records: &dyn Records,
        asked: &Asked,
        routed: Option<String>,
        heard: &Heard<'_>,
        without: &[String],
        sent: cofferdam_core::event::Body,
    ) -> u64 {
        let state = &mut *self.shared.state.borrow_mut();
        state.requests += 1;
        let number = state.requests;
        let new: Vec<_> =
            heard.messages.iter().filter(|message| state.messages.add(state.messages.of_message(message))).collect();
        let removed = heard.names().filter(|name| without.iter().any(|out| out == name));
        records.record(
            EventKind::ModelRequest(Box::new(ModelRequest {
                request: number,
                connection: self.target.connection,
                host: self.target.host.clone(),
                provider: asked.provider.clone(),
                protocol: asked.protocol,
                asked: routed.is_some().then(|| asked.model.clone()),
                model: routed.unwrap_or_else(|| asked.model.clone()),
                stream: heard.stream,
                messages: heard.messages.len() as u64,
                new: new.len() as u64,
                tools: names(heard.names()),
                removed: names(removed),
                most: heard.most,
                body: sent,
            })),
            None,
        );
        for part in new.into_iter().flat_map(|message| wire::parts(self.route.protocol, message)) {
            match part {
                Part::Text(text) => {
                    let text = persons(&text);
                    if !text.is_empty() && !state.written.has(state.written.of(text)) {
                        records.turn(number, text.len() as u64, kept(text, TURN));
                    }
                }
                Part::Result { id, tool, error, content } => {
                    let waiting = state.unnamed.get_mut(&*tool).and_then(VecDeque::pop_front);
                    let id = waiting.unwrap_or_else(|| cut(&id, NAME));
                    if !state.results.add(state.results.of(&format!("{id}\n{content}"))) {
                        continue;
                    }
                    let what = ToolResult { request: number, id, error, bytes: content.len() as u64, content: None };
                    let content = (!content.is_empty()).then(|| kept(&content, RESULT));
                    records.record(EventKind::ToolResult(what), content);
                }
            }
        }
        number
    }
}

/// What a request was promised that does not leave.
fn never_left(permit: Option<Box<dyn Permit>>) {
    if let Some(permit) = permit {
        permit.settle(None);
    }
}

/// As much of a text as is kept.
fn kept(text: &str, most: usize) -> Bytes {
    Bytes::copy_from_slice(&text.as_bytes()[..text.floor_char_boundary(most)])
}

/// Names for an event, as many as fit; how many more there are stands behind them.
fn names<'n>(all: impl Iterator<Item = &'n str>) -> Vec<String> {
    let (mut fit, mut room, mut more) = (Vec::new(), NAMES, 0u64);
    for name in all {
        let name = cut(name, NAME);
        let length = serde_json::Value::from(&*name).to_string().len() + 1;
        match room.checked_sub(length) {
            Some(left) if more == 0 => {
                room = left;
                fit.push(name);
            }
            _ => more += 1,
        }
    }
    if more > 0 {
        fit.push(format!("… and {more} more"));
    }
    fit
}

/// The body as it is read.
fn decoded(head: &request::Parts, body: &Bytes) -> Result<Bytes, Refusal> {
    /// Collects what is decoded.
    struct Collect(Rc<RefCell<Vec<u8>>>);
    impl decoding::Look for Collect {
        fn look(&mut self, decoded: &[u8]) -> Result<bool, Refusal> {
            let mut all = self.0.borrow_mut();
            if all.len() + decoded.len() > MOST {
                let detail = format!("the body of a request to a model is larger than {} MiB", MOST >> 20);
                return Err(Refusal::new("too-large", detail));
            }
            all.extend_from_slice(decoded);
            Ok(false)
        }
    }
    let encodings = head.headers.get_all(CONTENT_ENCODING);
    if encodings.iter().all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(body.clone());
    }
    let all = Rc::default();
    let Some(mut decoding) = Decoding::of(&head.headers, Collect(Rc::clone(&all))) else {
        let detail =
            "the body of a request to a model is encoded in a way that cannot be read (gzip, deflate and zstd can)";
        return Err(Refusal::new("encoding", detail));
    };
    decoding.push(body.clone())?;
    Ok(all.take().into())
}

/// The text of a body that may be a request to a model; `None` where it is none. What a server might read and we do not is
/// refused: nobody knows what it asks.
fn text_of(body: &Bytes) -> Result<Option<&str>, Refusal> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    match std::str::from_utf8(body) {
        Ok(text) => Ok((first == Some(&b'{')).then_some(text)),
        Err(_) => Err(Refusal::new("malformed", "the body of a request to a model is no UTF-8")),
    }
}

#[cfg(test)]
mod tests;
