//! Bodies that the gateway hands over to be kept.

use std::io;
use std::os::fd::OwnedFd;

use cofferdam_core::event::BlobRef;
use cofferdam_gateway::Kept;
use cofferdam_gateway::wire::MOST_KEPT;

use crate::monitor::book::Book;
use crate::monitor::record::RecordError;

/// What is kept of an event.
#[derive(Debug, Default)]
pub(super) struct Keeps {
    /// Of the body that was sent.
    pub(super) sent: Option<BlobRef>,
    /// Of the one that was received.
    pub(super) received: Option<BlobRef>,
    /// The text of an event of a model.
    pub(super) text: Option<BlobRef>,
}

/// Keeps what is to be kept of an event; `None` where a file of it is no memory file.
pub(super) fn keep(kept: Kept, files: Vec<OwnedFd>, book: &impl Book) -> Result<Option<Keeps>, RecordError> {
    let mut files = files.into_iter();
    let mut next = |there: bool| -> Result<Option<Option<BlobRef>>, RecordError> {
        let Some(file) = there.then(|| files.next()).flatten() else { return Ok(Some(None)) };
        let Some(mut content) = content(file, MOST_KEPT)? else { return Ok(None) };
        Ok(Some(Some(book.keep(&mut content)?)))
    };
    let (Some(sent), Some(received), Some(text)) = (next(kept.sent)?, next(kept.received)?, next(kept.text)?) else {
        return Ok(None);
    };
    Ok(Some(Keeps { sent, received, text }))
}

/// What a memory file holds, as far as `most` bytes of it; `None` where it is none.
pub(super) fn content(file: OwnedFd, most: usize) -> Result<Option<impl io::Read>, RecordError> {
    // Reading from anything else can wait for ever: a pipe, a socket, an eventfd.
    if !is_memory(&file) {
        return Ok(None);
    }
    let mut file = std::fs::File::from(file);
    io::Seek::rewind(&mut file).map_err(RecordError::recording)?;
    Ok(Some(io::Read::take(file, most as u64)))
}

/// Whether it is a file of `memfd_create(2)`: these alone have seals (`F_GET_SEALS`, `fcntl(2)`); whether it can be read,
/// too.
fn is_memory(file: &OwnedFd) -> bool {
    let readable = rustix::fs::fcntl_getfl(file).is_ok_and(|flags| {
        matches!(flags & rustix::fs::OFlags::ACCMODE, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::RDWR)
            && !flags.contains(rustix::fs::OFlags::PATH)
    });
    readable && rustix::fs::fcntl_get_seals(file).is_ok()
}
