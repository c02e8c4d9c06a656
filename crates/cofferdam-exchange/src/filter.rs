//! A body on its way.

use bytes::Bytes;

use crate::Refusal;

/// Sees a body piece by piece, and decides what of it may pass. It may hold bytes back (a secret can lie across two
/// pieces), within a bound of its own: memory does not grow with the body.
pub trait Filter {
    /// The next piece; what may pass now, empty where nothing may yet.
    ///
    /// # Errors
    /// Where the body must not go on: nothing of this piece or of what was held back passes, and the exchange is cut.
    fn data(&mut self, piece: Bytes) -> Result<Bytes, Refusal>;

    /// The body is over; what was held back.
    ///
    /// # Errors
    /// As [`Filter::data`].
    fn end(&mut self) -> Result<Bytes, Refusal>;

    /// Trailers (RFC 9110, section 6.5), before they pass.
    ///
    /// # Errors
    /// As [`Filter::data`].
    fn trailers(&mut self, fields: &mut http::HeaderMap) -> Result<(), Refusal> {
        let _ = fields;
        Ok(())
    }
}
