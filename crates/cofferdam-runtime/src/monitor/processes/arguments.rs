//! Arguments as they stand in an event.

use cofferdam_core::Bytes;
use cofferdam_core::event::BlobRef;

use crate::monitor::record::{RecordError, Recorder};

/// Arguments up to this many bytes stand in the event; more go into a blob.
const INLINE: usize = 64 << 10;

/// NUL-terminated arguments as they stand in the event, and all of them as a blob where that is not the whole.
pub(super) fn split(all: &[u8], recorder: &Recorder) -> Result<(Vec<Bytes>, Option<BlobRef>), RecordError> {
    let argv = first(all);
    let whole = argv.iter().map(|a| a.0.len() + 1).sum::<usize>() >= all.len();
    let blob = if whole { None } else { Some(recorder.blobs().put(all)?) };
    Ok((argv, blob))
}

/// The arguments in the first [`INLINE`] bytes, the last one cut where it goes beyond.
fn first(all: &[u8]) -> Vec<Bytes> {
    if all.is_empty() {
        return Vec::new();
    }
    let head = &all[..all.len().min(INLINE)];
    let head = head.strip_suffix(&[0]).unwrap_or(head);
    head.split(|b| *b == 0).map(Bytes::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_as_they_were_given() {
        assert_eq!(first(b""), Vec::<Bytes>::new());
        assert_eq!(first(b"sh\0\0a\xff b\0"), [Bytes::from("sh"), "".into(), b"a\xff b".as_slice().into()]);
        assert_eq!(first(b"\0"), [Bytes::from("")]);
        let long = first(&[b'x'; INLINE + 10]);
        assert_eq!((long.len(), long[0].0.len()), (1, INLINE));
    }
}
