//! What a repeated command prints: its beginning and its end, in bounded memory.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::thread::JoinHandle;

/// Most bytes kept of the beginning, and as many of the end.
const KEPT: usize = 8 << 20;

/// What was kept.
#[derive(Debug, Default)]
pub(super) struct Printed {
    /// The first bytes.
    pub(super) head: Vec<u8>,
    /// Where something between was not kept, the last ones; otherwise empty.
    pub(super) tail: Vec<u8>,
}

/// Reads a stream to its end on a thread of its own, however much it is.
pub(super) fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<io::Result<Printed>> {
    std::thread::spawn(move || {
        let mut chunk = vec![0; 64 * 1024];
        let (mut head, mut tail, mut dropped) = (Vec::new(), VecDeque::new(), false);
        loop {
            let got = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(got) => got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let first = got.min(KEPT - head.len());
            head.extend_from_slice(&chunk[..first]);
            tail.extend(&chunk[first..got]);
            if tail.len() > KEPT {
                dropped = true;
                tail.drain(..tail.len() - KEPT);
            }
        }
        if !dropped {
            head.extend(tail.drain(..));
        }
        Ok(Printed { head, tail: tail.into() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_whole_and_what_does_not_keeps_both_ends() {
        let whole = collect(io::repeat(7).take(2 * KEPT as u64)).join().unwrap().unwrap();
        assert_eq!((whole.head.len(), whole.tail.len()), (2 * KEPT, 0));
        let cut = collect(io::repeat(7).take(KEPT as u64).chain(io::repeat(8).take(KEPT as u64)).chain(&b"end"[..]));
        let cut = cut.join().unwrap().unwrap();
        assert_eq!((cut.head.len(), cut.tail.len()), (KEPT, KEPT));
        assert!(cut.head.iter().all(|b| *b == 7) && cut.tail.ends_with(b"\x08end"));
    }
}
