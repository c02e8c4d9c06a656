//! An answer on its way: read as it passes, recorded when it ends.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use cofferdam_core::event::{Cost, EventKind, ModelResponse, ToolCall, Usage};
use cofferdam_exchange::{Awaits, Filter, Records, Refusal};
use http::response;

use crate::interceptor::Shared;
use crate::judge::Permit;
use crate::wire::reader::Reader;
use crate::wire::route::Route;
use crate::wire::told::Told;

/// A request that has no answer yet.
pub(crate) struct Awaiting(Option<Pending>);

/// What is known of a request.
struct Pending {
    shared: Rc<Shared>,
    route: Route,
    number: u64,
    /// The model that it went to.
    model: String,
    records: Rc<dyn Records>,
    permit: Option<Box<dyn Permit>>,
    began: Instant,
}

impl Awaiting {
    pub(crate) fn new(
        shared: Rc<Shared>,
        route: &Route,
        number: u64,
        model: String,
        records: Rc<dyn Records>,
        permit: Option<Box<dyn Permit>>,
        began: Instant,
    ) -> Awaiting {
        let route = route.clone();
        Awaiting(Some(Pending { shared, route, number, model, records, permit, began }))
    }
}

impl Awaits for Awaiting {
    fn answer(mut self: Box<Self>, head: &mut response::Parts) -> Option<Box<dyn Filter>> {
        let pending = self.0.take()?;
        let reader = Reader::new(&pending.route, head, &pending.shared.pool);
        let status = head.status.as_u16();
        Some(Box::new(Answering(Some(Passing { pending, reader, status, first: None }))))
    }

    fn unsent(mut self: Box<Self>) {
        if let Some(mut pending) = self.0.take() {
            if let Some(permit) = pending.permit.take() {
                permit.settle(None);
            }
            pending.without("it did not leave");
        }
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        if let Some(pending) = self.0.take() {
            pending.without("no answer came");
        }
    }
}

impl Pending {
    fn microseconds(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Records that there is no answer.
    fn without(self, why: &str) {
        let response = ModelResponse {
            request: self.number,
            microseconds: self.microseconds(),
            error: Some(why.to_owned()),
            ..ModelResponse::default()
        };
        self.records.record(EventKind::ModelResponse(Box::new(response)), None);
    }
}

/// The body of an answer. What is dropped before its end broke off.
struct Answering(Option<Passing>);

struct Passing {
    pending: Pending,
    reader: Reader,
    status: u16,
    first: Option<u64>,
}

impl Filter for Answering {
    fn data(&mut self, piece: Bytes) -> Result<Bytes, Refusal> {
        if let Some(passing) = &mut self.0 {
            passing.reader.push(&piece);
            if passing.first.is_none() && passing.reader.has_begun() {
                passing.first = Some(passing.pending.microseconds());
            }
        }
        Ok(piece)
    }

    fn end(&mut self) -> Result<Bytes, Refusal> {
        if let Some(passing) = self.0.take() {
            passing.over(true);
        }
        Ok(Bytes::new())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(passing) = self.0.take() {
            passing.over(false);
        }
    }
}

impl Passing {
    /// Records what came; whether that is all.
    fn over(self, all: bool) {
        let Passing { mut pending, reader, status, first } = self;
        let streamed = reader.is_streamed();
        let Some(mut told) = reader.end(all) else { return pending.without("it could not be read") };
        if !told.over && !all {
            told.failed("the answer broke off");
        } else if !told.over && streamed && told.error.is_none() {
            told.failed("the answer ended before its end");
        }
        if told.beyond > 0 {
            told.failed(&format!("it holds {} parts of more tool calls than are read", told.beyond));
        }
        let model = told.model.as_deref().unwrap_or(&pending.model);
        let prices = &pending.shared.prices;
        // A server may call its model as it likes.
        let cost = |usage| prices.cost(model, usage).or_else(|| prices.cost(&pending.model, usage));
        let cost = told.usage.as_ref().and_then(cost);
        settle(pending.permit.take(), &told, status, cost.as_ref());
        let text = (!told.text.kept().is_empty()).then(|| Bytes::copy_from_slice(told.text.kept()));
        let response = ModelResponse {
            request: pending.number,
            status: Some(status),
            model: told.model,
            stop: told.stop,
            usage: told.usage,
            cost,
            bytes: told.text.bytes(),
            text: None,
            first,
            microseconds: pending.microseconds(),
            error: told.error,
        };
        pending.records.record(EventKind::ModelResponse(Box::new(response)), text);
        for (at, call) in (1..).zip(told.calls) {
            let arguments = call.arguments.kept();
            pending.shared.called(arguments);
            let id = match call.id.is_empty() {
                false => call.id,
                true => {
                    let id = format!("{}.{at}", pending.number);
                    pending.shared.unnamed(&call.name, id.clone());
                    id
                }
            };
            let what = ToolCall {
                request: pending.number,
                id,
                name: call.name,
                bytes: call.arguments.bytes(),
                arguments: None,
            };
            let arguments = (!arguments.is_empty()).then(|| Bytes::copy_from_slice(arguments));
            pending.records.record(EventKind::ToolCall(what), arguments);
        }
    }
}

/// Settles what a request was promised. Where it is not known what it used, all of that counts as used.
fn settle(permit: Option<Box<dyn Permit>>, told: &Told, status: u16, cost: Option<&Cost>) {
    let Some(permit) = permit else { return };
    match &told.usage {
        Some(usage) if told.over => permit.settle(Some((usage, cost))),
        // Providers count nothing of what they refuse.
        None if !(200..300).contains(&status) => {
            let nothing = Cost { micro_usd: 0, prices: String::new() };
            permit.settle(Some((&Usage::default(), Some(&nothing))));
        }
        _ => drop(permit),
    }
}
