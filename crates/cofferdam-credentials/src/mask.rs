//! Answers of servers that have a credential: where they give it back, it does not come in.

use bytes::Bytes;
use cofferdam_evidence::{MaskedStream, Striker};
use cofferdam_exchange::{Filter, Refusal};
use http::{HeaderMap, HeaderValue, response};

/// Masks the head of an answer. What has no length to keep goes: fields whose name holds a value, and the reason phrase, an
/// extension of the head.
pub(crate) fn head(values: &Striker, head: &mut response::Parts) {
    head.extensions.clear();
    fields(values, &mut head.headers);
}

fn fields(values: &Striker, fields: &mut HeaderMap) {
    let named: Vec<_> = fields.keys().filter(|name| values.find(name.as_str().as_bytes()).is_some()).cloned().collect();
    for name in named {
        fields.remove(name);
    }
    for (_, value) in fields.iter_mut() {
        if let std::borrow::Cow::Owned(masked) = values.masked(value.as_bytes()) {
            // A field's value with `*` for some of its bytes is one too.
            *value = HeaderValue::from_bytes(&masked).unwrap_or_else(|_| HeaderValue::from_static("*"));
        }
    }
}

/// The body, and what follows it.
pub(crate) struct Masked {
    values: Striker,
    stream: MaskedStream,
}

impl Masked {
    pub(crate) fn new(values: &Striker) -> Masked {
        Masked { values: values.clone(), stream: values.mask() }
    }
}

impl Filter for Masked {
    fn data(&mut self, piece: Bytes) -> Result<Bytes, Refusal> {
        let mut out = Vec::with_capacity(piece.len());
        self.stream.push(&piece, &mut out);
        Ok(out.into())
    }

    fn end(&mut self) -> Result<Bytes, Refusal> {
        Ok(self.stream.end().into())
    }

    fn trailers(&mut self, trailers: &mut HeaderMap) -> Result<(), Refusal> {
        fields(&self.values, trailers);
        Ok(())
    }
}
