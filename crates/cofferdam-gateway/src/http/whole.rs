//! Bodies that an interceptor wants as a whole, in bounded memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cofferdam_exchange::{Filter, Refusal};
use http::header::{CONTENT_ENCODING, EXPECT};
use http::{HeaderMap, request};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::exchange::Exchange;

/// Most bytes of such a body, and of all of them at once: with what else the gateway holds it stays below 64 MiB. The
/// APIs of models take 20 to 50 MB.
pub(crate) const MOST: usize = 40 << 20;
/// In what unit room is given, in bytes.
const UNIT: usize = 4096;
/// How long a program may send nothing of a body that others wait for.
const STALL: Duration = Duration::from_secs(60);

/// Room for all of them.
#[derive(Clone, Debug)]
pub(crate) struct Bodies(Arc<Semaphore>);

/// Room that is taken.
pub(crate) struct Taken(OwnedSemaphorePermit);

impl Default for Bodies {
    fn default() -> Bodies {
        Bodies(Arc::new(Semaphore::new(MOST / UNIT)))
    }
}

impl Bodies {
    /// Waits for room.
    async fn take(&self, bytes: usize) -> Result<Taken, NotWhole> {
        let units = u32::try_from(bytes.min(MOST).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.0).acquire_many_owned(units).await;
        taken.map(Taken).map_err(|e| NotWhole::Broken(e.to_string()))
    }
}

impl Taken {
    /// Gives back what a body of this length does not need.
    pub(crate) fn keep(&mut self, bytes: usize) {
        let spare = self.0.num_permits().saturating_sub(bytes.div_ceil(UNIT));
        drop(self.0.split(spare));
    }
}

/// A body that is there as a whole.
pub(super) struct Collected {
    /// It, through the filters so far.
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) room: Taken,
}

/// It cannot be had as a whole.
pub(super) enum NotWhole {
    /// It must not go on.
    Refused(Refusal),
    /// It did not come.
    Broken(String),
}

impl From<Refusal> for NotWhole {
    fn from(refusal: Refusal) -> NotWhole {
        NotWhole::Refused(refusal)
    }
}

/// Reads a body through filters, and notes it.
pub(super) async fn collect(
    bodies: &Bodies,
    exchange: &Exchange,
    head: &mut request::Parts,
    body: &mut Incoming,
    mut filters: Vec<Box<dyn Filter>>,
) -> Result<Collected, NotWhole> {
    // What is encoded is decoded beside it.
    let encoded = head.headers.contains_key(CONTENT_ENCODING);
    let announced = body.size_hint().exact().map(|exact| usize::try_from(exact).unwrap_or(usize::MAX));
    if announced.is_some_and(|bytes| bytes > MOST) {
        return Err(too_large().into());
    }
    let room = bodies.take(if encoded { MOST } else { announced.unwrap_or(MOST) }).await?;
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0));
    let mut trailers = None;
    while let Some(frame) = timeout(STALL, body.frame()).await.map_err(|_| {
        NotWhole::Broken(format!("the program sent nothing of its body for {} seconds", STALL.as_secs()))
    })? {
        match frame.map_err(|e| NotWhole::Broken(super::upstream::words(&e)))?.into_data() {
            Ok(piece) => {
                exchange.sent.piece(&piece).map_err(|e| NotWhole::Broken(e.to_string()))?;
                add(&mut whole, filter(&mut filters, 0, piece)?)?;
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    finish(&mut filters, &mut whole, trailers.as_mut())?;
    exchange.sent.end();
    // It is here: there is nothing to wait for.
    head.headers.remove(EXPECT);
    Ok(Collected { body: whole.freeze(), trailers, room })
}

/// The same body, through more filters.
pub(super) fn again(collected: Collected, mut filters: Vec<Box<dyn Filter>>) -> Result<Collected, NotWhole> {
    if filters.is_empty() {
        return Ok(collected);
    }
    let Collected { body, mut trailers, room } = collected;
    let mut whole = BytesMut::with_capacity(body.len());
    add(&mut whole, filter(&mut filters, 0, body)?)?;
    finish(&mut filters, &mut whole, trailers.as_mut())?;
    Ok(Collected { body: whole.freeze(), trailers, room })
}

fn add(whole: &mut BytesMut, piece: Bytes) -> Result<(), Refusal> {
    if whole.len() + piece.len() > MOST {
        return Err(too_large());
    }
    whole.extend_from_slice(&piece);
    Ok(())
}

fn filter(filters: &mut [Box<dyn Filter>], from: usize, mut piece: Bytes) -> Result<Bytes, Refusal> {
    for filter in filters.iter_mut().skip(from) {
        if !piece.is_empty() {
            piece = filter.data(piece)?;
        }
    }
    Ok(piece)
}

fn finish(
    filters: &mut [Box<dyn Filter>],
    whole: &mut BytesMut,
    mut trailers: Option<&mut HeaderMap>,
) -> Result<(), Refusal> {
    for at in 0..filters.len() {
        let held = filters[at].end()?;
        add(whole, filter(filters, at + 1, held)?)?;
        if let Some(fields) = trailers.as_deref_mut() {
            filters[at].trailers(fields)?;
        }
    }
    Ok(())
}

fn too_large() -> Refusal {
    let most = MOST >> 20;
    Refusal::new("too-large", format!("the request has to be read as a whole, and its body is larger than {most} MiB"))
}
