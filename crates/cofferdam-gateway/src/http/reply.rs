//! What a program is answered with: a server's body, or a text of the gateway's.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::passing::{Cut, Passing};

/// The body.
pub(crate) enum Reply {
    /// A server's.
    Passing(Box<Passing>),
    /// The gateway's.
    Own(Full<Bytes>),
}

impl Reply {
    /// A text of the gateway's.
    pub(crate) fn own(text: &str) -> Reply {
        Reply::Own(Full::new(Bytes::copy_from_slice(text.as_bytes())))
    }

    /// Without a body of the gateway's: to a request that wants none.
    pub(crate) fn bare(self) -> Reply {
        match self {
            Reply::Own(_) => Reply::Own(Full::default()),
            passing @ Reply::Passing(_) => passing,
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Reply::Passing(body) => Pin::new(&mut **body).poll_frame(cx),
            Reply::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Reply::Passing(body) => body.is_end_stream(),
            Reply::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Passing(body) => body.size_hint(),
            Reply::Own(body) => body.size_hint(),
        }
    }
}
