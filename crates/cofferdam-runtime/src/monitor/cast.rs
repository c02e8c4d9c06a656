//! The run's terminal as an asciicast v2 recording (<https://docs.asciinema.org/manual/asciicast/v2/>), streamed into a
//! blob.

use std::io::Write;
use std::time::Instant;

use cofferdam_core::event::{CommandOutput, Source, Stream};
use cofferdam_evidence::{BlobStore, BlobWriter, Striker, StruckStream};
use serde_json::json;

use super::record::RecordError;

/// Most bytes of output that a recording keeps; what comes after is counted.
const MOST: u64 = 64 << 20;

/// A recording under way.
pub(super) struct Cast {
    blob: BlobWriter,
    /// Strikes what was shown before it is cut into events: a value may come in two.
    stream: StruckStream,
    begun: Instant,
    bytes: u64,
    dropped: u64,
    /// The beginning of a character whose rest has not come yet.
    partial: Vec<u8>,
}

impl Cast {
    pub(super) fn start(
        blobs: &BlobStore,
        striker: &Striker,
        rows: u16,
        columns: u16,
        time: i64,
    ) -> Result<Cast, RecordError> {
        let mut blob = blobs.writer()?;
        let header = json!({"version": 2, "width": columns, "height": rows, "timestamp": time});
        writeln!(blob, "{header}").map_err(RecordError::recording)?;
        Ok(Cast { blob, stream: striker.stream(), begun: Instant::now(), bytes: 0, dropped: 0, partial: Vec::new() })
    }

    /// What the terminal showed. Bytes that are no UTF-8 become U+FFFD, as the format wants text.
    pub(super) fn shown(&mut self, output: &[u8]) -> Result<(), RecordError> {
        self.bytes += output.len() as u64;
        if self.bytes > MOST {
            self.dropped += output.len() as u64;
            return Ok(());
        }
        self.stream.push(output, &mut self.partial);
        self.settled()
    }

    /// Records what is settled, in whole characters.
    fn settled(&mut self) -> Result<(), RecordError> {
        let whole = match std::str::from_utf8(&self.partial) {
            Ok(_) => self.partial.len(),
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            Err(_) => self.partial.len(),
        };
        let rest = self.partial.split_off(whole);
        let text = std::mem::replace(&mut self.partial, rest);
        if text.is_empty() {
            return Ok(());
        }
        self.event("o", &String::from_utf8_lossy(&text))
    }

    /// The terminal has another size now.
    pub(super) fn resized(&mut self, rows: u16, columns: u16) -> Result<(), RecordError> {
        self.event("r", &format!("{columns}x{rows}"))
    }

    fn event(&mut self, code: &str, data: &str) -> Result<(), RecordError> {
        let at = self.begun.elapsed().as_micros() as f64 / 1e6;
        writeln!(self.blob, "{}", json!([at, code, data])).map_err(RecordError::recording)
    }

    /// Ends the recording.
    pub(super) fn finish(mut self) -> Result<CommandOutput, RecordError> {
        self.stream.end(&mut self.partial);
        self.settled()?;
        let (bytes, dropped) = (self.bytes, self.dropped);
        let blob = self.blob.finish()?;
        Ok(CommandOutput { stream: Stream::Terminal, source: Source::Terminal, bytes, dropped, head: blob.size, blob })
    }
}
