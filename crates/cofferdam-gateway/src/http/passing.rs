//! A body on its way: noted, filtered, and cut where it must not go on. Never more than one piece is held.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cofferdam_exchange::{Filter, Refusal, Waiting};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::exchange::Exchange;
use super::upstream::Lease;
use super::whole::Taken;

/// Which of an exchange's bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server.
    Out,
    /// To the program.
    In,
}

/// The body.
pub(crate) struct Passing {
    from: Origin,
    way: Way,
    /// Dropped before the exchange, which is recorded then: what they record comes before.
    filters: Vec<Box<dyn Filter>>,
    exchange: Rc<Exchange>,
    /// Waited for before the first piece is asked for.
    wanted: Option<Waiting<'static, ()>>,
    /// What filters gave back at the end.
    last: VecDeque<Frame<Bytes>>,
    over: bool,
    /// The connection that the answer comes on; goes back when all of it has come.
    lease: Option<Lease>,
}

/// Where a body comes from.
enum Origin {
    /// There is none.
    Nowhere,
    /// A connection.
    Connection(Incoming),
    /// It is there already, and noted.
    Memory {
        /// Its pieces, and its trailers.
        frames: VecDeque<Frame<Bytes>>,
        /// Given back when it is gone.
        _room: Taken,
    },
}

impl Origin {
    fn is_over(&self) -> bool {
        match self {
            Origin::Nowhere => true,
            Origin::Connection(from) => from.is_end_stream(),
            Origin::Memory { frames, .. } => frames.is_empty(),
        }
    }
}

/// A body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    /// It must not go on.
    #[error("the body was refused")]
    Refused,
    /// It did not come.
    #[error("the body broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// It cannot be kept as its rule says.
    #[error("the body cannot be kept: {0}")]
    Keep(#[from] std::io::Error),
}

impl Passing {
    /// A body that goes this way through filters. `wanted` is waited for before its first piece is asked for.
    pub(crate) fn new(
        from: Incoming,
        way: Way,
        exchange: Rc<Exchange>,
        filters: Vec<Box<dyn Filter>>,
        wanted: Option<Waiting<'static, ()>>,
    ) -> Passing {
        let mut passing = Passing::from(Origin::Connection(from), way, exchange, filters);
        passing.wanted = wanted;
        if passing.over {
            passing.meter().end();
        }
        passing
    }

    /// A request's body that is there, and noted.
    pub(crate) fn whole(
        pieces: impl IntoIterator<Item = Bytes>,
        trailers: Option<HeaderMap>,
        room: Taken,
        exchange: Rc<Exchange>,
        filters: Vec<Box<dyn Filter>>,
    ) -> Passing {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).map(Frame::data);
        let frames = pieces.chain(trailers.map(Frame::trailers)).collect();
        Passing::from(Origin::Memory { frames, _room: room }, Way::Out, exchange, filters)
    }

    fn from(from: Origin, way: Way, exchange: Rc<Exchange>, mut filters: Vec<Box<dyn Filter>>) -> Passing {
        let over = from.is_over();
        if over {
            // They see the end of an empty body too. Nothing of it can pass, so there is nothing that they could refuse.
            filters.iter_mut().for_each(|filter| drop(filter.end()));
            filters.clear();
        }
        Passing { from, way, exchange, filters, wanted: None, last: VecDeque::new(), over, lease: None }
    }

    /// No body, to be sent once more.
    pub(crate) fn none(exchange: Rc<Exchange>) -> Passing {
        exchange.sent.end();
        Passing::from(Origin::Nowhere, Way::Out, exchange, Vec::new())
    }

    /// Holds the connection that it comes on.
    pub(crate) fn on(mut self, mut lease: Lease) -> Passing {
        if self.over {
            lease.finished(self.exchange.sent.is_whole());
        } else {
            self.lease = Some(lease);
        }
        self
    }

    fn meter(&self) -> &super::meter::Meter {
        match self.way {
            Way::Out => &self.exchange.sent,
            Way::In => &self.exchange.received,
        }
    }

    fn ended(&mut self) {
        self.over = true;
        self.meter().end();
        if let Some(mut lease) = self.lease.take() {
            lease.finished(self.exchange.sent.is_whole());
        }
    }

    /// What the filters let pass of a piece.
    fn filter(&mut self, from: usize, mut piece: Bytes) -> Result<Bytes, Refusal> {
        for filter in self.filters.iter_mut().skip(from) {
            if !piece.is_empty() {
                piece = filter.data(piece)?;
            }
        }
        Ok(piece)
    }

    /// What they held back, and the trailers.
    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Refusal> {
        for at in 0..self.filters.len() {
            let held = self.filters[at].end()?;
            let passed = self.filter(at + 1, held)?;
            if !passed.is_empty() {
                self.last.push_back(Frame::data(passed));
            }
        }
        if let Some(mut fields) = trailers {
            for filter in &mut self.filters {
                filter.trailers(&mut fields)?;
            }
            self.last.push_back(Frame::trailers(fields));
        }
        self.filters.clear();
        Ok(())
    }

    fn refused(&mut self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.last.clear();
        self.exchange.refuse(refusal);
        Poll::Ready(Some(Err(Cut::Refused)))
    }

    fn broken(&mut self, cut: Cut) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let who = match self.way {
            Way::Out => "the program's body",
            Way::In => "the answer",
        };
        self.exchange.failed(format!("{who}: {cut}"));
        Poll::Ready(Some(Err(cut)))
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        loop {
            if this.exchange.is_refused() {
                this.last.clear();
                return Poll::Ready(Some(Err(Cut::Refused)));
            }
            if let Some(frame) = this.last.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if this.over {
                return Poll::Ready(None);
            }
            if let Some(wanted) = &mut this.wanted {
                ready!(wanted.as_mut().poll(cx));
                this.wanted = None;
            }
            if this.way == Way::In {
                this.exchange.wake(cx.waker());
            }
            let noted = matches!(this.from, Origin::Memory { .. });
            let frame = match &mut this.from {
                Origin::Nowhere => return Poll::Ready(None),
                Origin::Connection(from) => ready!(Pin::new(from).poll_frame(cx)),
                Origin::Memory { frames, .. } => frames.pop_front().map(Ok),
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return this.broken(error.into()),
                None => {
                    if let Err(refusal) = this.finish(None) {
                        return this.refused(refusal);
                    }
                    this.ended();
                    continue;
                }
            };
            match frame.into_data() {
                Ok(piece) => {
                    if !noted && let Err(error) = this.meter().piece(&piece) {
                        return this.broken(error.into());
                    }
                    let piece = match this.filter(0, piece) {
                        Ok(piece) => piece,
                        Err(refusal) => return this.refused(refusal),
                    };
                    // hyper stops asking when it has as many bytes as were announced.
                    if this.from.is_over() {
                        if let Err(refusal) = this.finish(None) {
                            return this.refused(refusal);
                        }
                        this.ended();
                    }
                    if !piece.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                }
                Err(frame) => {
                    if let Err(refusal) = this.finish(frame.into_trailers().ok()) {
                        return this.refused(refusal);
                    }
                    this.ended();
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over && self.last.is_empty() && !self.exchange.is_refused()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            Origin::Nowhere => SizeHint::with_exact(0),
            _ if !self.filters.is_empty() || !self.last.is_empty() => SizeHint::default(),
            Origin::Connection(from) => from.size_hint(),
            Origin::Memory { frames, .. } => {
                let lengths = frames.iter().map(|frame| frame.data_ref().map(Bytes::len));
                lengths.sum::<Option<usize>>().map_or_else(SizeHint::default, |all| SizeHint::with_exact(all as u64))
            }
        }
    }
}
