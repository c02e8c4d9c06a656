//! Exchanges with models as the gateway tells them: numbered through the run, each event with its cause.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::os::fd::OwnedFd;

use cofferdam_core::event::{BlobRef, EventKind, Link, ModelResponse};
use cofferdam_gateway::Kept;

use super::bodies::{content, keep};
use super::{NO_MEMORY, Outlet, UNKNOWABLE};
use crate::monitor::book::Book;
use crate::monitor::record::RecordError;
use crate::protocol::INPUT_KEPT;

/// Most requests of a gateway that have no answer; an honest one has fewer.
const OPEN: usize = 8192;
/// Most requests that have one and are remembered; what an answer asks for follows it at once.
const ANSWERED: usize = 1024;
/// Most tool calls that are remembered.
const CALLS: usize = 65_536;

/// What is known of them.
#[derive(Default)]
pub(super) struct Models {
    /// How many the run has had.
    count: u64,
    /// Those of this gateway, by its own numbers.
    known: HashMap<u64, Known>,
    /// Those of them that have an answer, the earliest first.
    answered: VecDeque<u64>,
    calls: Calls,
}

/// A request.
struct Known {
    /// Its number within the run.
    number: u64,
    /// Its event.
    seq: u64,
    /// Its answer's.
    answer: Option<u64>,
}

/// The events of tool calls, by their ids.
#[derive(Default)]
struct Calls {
    /// Ids are as long as a server makes them; no one else knows the keys of these digests.
    digests: RandomState,
    seqs: HashMap<u64, u64>,
    order: VecDeque<u64>,
}

impl Calls {
    fn add(&mut self, id: &str, seq: u64) {
        let digest = self.digests.hash_one(id);
        if self.seqs.insert(digest, seq).is_none() {
            self.order.push_back(digest);
        }
        if self.order.len() > CALLS
            && let Some(first) = self.order.pop_front()
        {
            self.seqs.remove(&first);
        }
    }

    fn get(&self, id: &str) -> Option<u64> {
        self.seqs.get(&self.digests.hash_one(id)).copied()
    }
}

impl Models {
    /// Records an event of a model, with its text, where it has one. `cause` is who asked. Whether it can be: the gateway
    /// may speak of what it has told before only, and once.
    pub(super) fn take(
        &mut self,
        what: EventKind,
        text: Option<BlobRef>,
        cause: Option<u64>,
        book: &mut impl Book,
    ) -> Result<bool, RecordError> {
        match what {
            EventKind::ModelRequest(mut request) => {
                let told = request.request;
                if self.known.contains_key(&told) || self.known.len() - self.answered.len() >= OPEN {
                    return Ok(false);
                }
                let number = self.count + 1;
                (request.request, request.body.kept) = (number, None);
                let seq = book.append(cause.map(|seq| (seq, Link::Socket)), EventKind::ModelRequest(request))?;
                self.count = number;
                self.known.insert(told, Known { number, seq, answer: None });
            }
            EventKind::ModelResponse(mut response) => {
                let told = response.request;
                let Some(known) = self.known.get_mut(&told).filter(|known| known.answer.is_none()) else {
                    return Ok(false);
                };
                (response.request, response.text) = (known.number, text);
                let cause = Some((known.seq, Link::Exchange));
                known.answer = Some(book.append(cause, EventKind::ModelResponse(response))?);
                self.answered.push_back(told);
                if self.answered.len() > ANSWERED
                    && let Some(first) = self.answered.pop_front()
                {
                    self.known.remove(&first);
                }
            }
            EventKind::ToolCall(mut call) => {
                let known = self.known.get(&call.request);
                let Some((number, answer)) = known.and_then(|known| Some((known.number, known.answer?))) else {
                    return Ok(false);
                };
                (call.request, call.arguments) = (number, text);
                let id = call.id.clone();
                let seq = book.append(Some((answer, Link::Exchange)), EventKind::ToolCall(call))?;
                self.calls.add(&id, seq);
            }
            EventKind::ToolResult(mut result) => {
                let Some(known) = self.known.get(&result.request) else { return Ok(false) };
                (result.request, result.content) = (known.number, text);
                let cause = match self.calls.get(&result.id) {
                    Some(call) => (call, Link::Id),
                    None => (known.seq, Link::Exchange),
                };
                book.append(Some(cause), EventKind::ToolResult(result))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Records a turn of the person's in a request, unless the run knows it. Whether it can be, as in [`Models::take`].
    pub(super) fn turn(
        &mut self,
        request: u64,
        bytes: u64,
        text: &[u8],
        book: &mut impl Book,
    ) -> Result<bool, RecordError> {
        let Some(known) = self.known.get(&request) else { return Ok(false) };
        book.prompted(known.seq, text, bytes)?;
        Ok(true)
    }

    /// The gateway is gone: what it was waiting for does not come.
    pub(super) fn lost(&mut self, why: &str, book: &mut impl Book) -> Result<(), RecordError> {
        let mut open: Vec<Known> = self.known.drain().map(|(_, known)| known).collect();
        self.answered.clear();
        open.retain(|known| known.answer.is_none());
        open.sort_by_key(|known| known.number);
        for Known { number, seq, .. } in open {
            let what = ModelResponse { request: number, error: Some(why.to_owned()), ..ModelResponse::default() };
            book.append(Some((seq, Link::Exchange)), EventKind::ModelResponse(Box::new(what)))?;
        }
        Ok(())
    }
}

impl Outlet {
    /// The gateway tells an event of a model, caused by `cause` where that is not another event of it.
    pub(super) fn of_model(
        &mut self,
        what: EventKind,
        kept: Kept,
        files: Vec<OwnedFd>,
        cause: Option<u64>,
        recorder: &mut impl Book,
    ) -> Result<(), RecordError> {
        let Some(keeps) = keep(kept, files, recorder)? else { return self.lost(recorder, NO_MEMORY) };
        match self.models.take(what, keeps.text, cause, recorder)? {
            true => Ok(()),
            false => self.lost(recorder, UNKNOWABLE),
        }
    }

    /// The gateway tells a turn of the person's.
    pub(super) fn turn_of_person(
        &mut self,
        request: u64,
        bytes: u64,
        files: Vec<OwnedFd>,
        recorder: &mut impl Book,
    ) -> Result<(), RecordError> {
        let Some(file) = files.into_iter().next() else { return self.lost(recorder, UNKNOWABLE) };
        let Some(mut content) = content(file, INPUT_KEPT)? else { return self.lost(recorder, NO_MEMORY) };
        let mut text = Vec::new();
        content.read_to_end(&mut text).map_err(RecordError::recording)?;
        match self.models.turn(request, bytes, &text, recorder)? {
            true => Ok(()),
            false => self.lost(recorder, UNKNOWABLE),
        }
    }
}
