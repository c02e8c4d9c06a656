//! Which prompts a run has had.

use std::collections::VecDeque;

use memchr::memmem;

/// The texts of prompts, the earliest first.
#[derive(Default)]
pub(super) struct Known {
    texts: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// Most bytes of texts that are remembered.
const KNOWN: usize = 1 << 20;
/// Fewest bytes of a prompt by which a longer turn is known that holds it: agents put theirs around it.
const TELLING: usize = 12;

impl Known {
    /// Remembers one.
    pub(super) fn add(&mut self, text: &[u8]) {
        let text = text.trim_ascii();
        self.bytes += text.len();
        self.texts.push_back(text.to_vec());
        while self.bytes > KNOWN
            && let Some(first) = self.texts.pop_front()
        {
            self.bytes -= first.len();
        }
    }

    /// Whether a text is one of them, a part of one, or holds one; what stands in JSON (the protocols of editors) is as it
    /// is escaped there.
    pub(super) fn has(&self, text: &[u8]) -> bool {
        let text = text.trim_ascii();
        let escaped = std::str::from_utf8(text).ok().and_then(|text| serde_json::to_vec(text).ok()).unwrap_or_default();
        let escaped = escaped.get(1..escaped.len().saturating_sub(1)).unwrap_or_default();
        self.texts.iter().any(|known| {
            known == text
                || memmem::find(known, text).is_some()
                || (!escaped.is_empty() && memmem::find(known, escaped).is_some())
                || (known.len() >= TELLING && memmem::find(text, known).is_some())
        })
    }
}
