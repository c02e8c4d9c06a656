//! The end of a stream that is held back while it may be the beginning of something.

/// What came of a stream and may still be the beginning of something that must not go on.
#[derive(Debug)]
pub struct Held {
    bytes: Vec<u8>,
    /// Bytes at the beginning of `bytes` that have gone on.
    passed: usize,
    least: usize,
}

impl Held {
    /// Holds back beginnings of at least this many bytes. Fewer stand in ordinary text too, and what waits for an
    /// answer before it sends more would wait for ever.
    pub fn new(least: usize) -> Held {
        Held { bytes: Vec::new(), passed: 0, least }
    }

    /// Takes a piece; all that is to be looked at with it.
    pub fn push(&mut self, piece: &[u8]) -> &[u8] {
        self.bytes.extend_from_slice(piece);
        &self.bytes
    }

    /// Appends to `out` what may go on, where something may begin at `open` of what [`Held::push`] gave last.
    pub fn pass(&mut self, open: usize, out: &mut Vec<u8>) {
        let held = if self.bytes.len() - open < self.least { self.bytes.len() } else { open.max(self.passed) };
        out.extend_from_slice(&self.bytes[self.passed..held]);
        self.bytes.drain(..open);
        self.passed = held - open;
    }

    /// Bytes that have not gone on.
    pub(crate) fn waiting(&self) -> usize {
        self.bytes.len() - self.passed
    }

    /// Bytes at the beginning of what is held that have gone on.
    pub(crate) fn passed(&self) -> usize {
        self.passed
    }

    /// Whether nothing may begin in what came.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether something of it has not gone on.
    pub fn is_holding(&self) -> bool {
        self.bytes.len() > self.passed
    }

    /// Ends the stream: what was held back was the beginning of nothing.
    pub fn end(&mut self) -> Vec<u8> {
        let passed = std::mem::take(&mut self.passed);
        std::mem::take(&mut self.bytes).split_off(passed)
    }
}
