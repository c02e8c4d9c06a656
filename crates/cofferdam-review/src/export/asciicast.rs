//! The recording of the run's terminal, as it was made: asciicast v2.

use std::io::Write;

use cofferdam_core::event::{CommandOutput, EventKind, Stream};

use super::{ExportError, Record, Result};

/// Writes the recording.
///
/// # Errors
/// [`ExportError::NoTerminal`] where the run had none: a recording is never made up from other outputs.
/// [`ExportError::RecordingGone`] where it was removed or is damaged.
pub fn write(record: &Record, out: &mut impl Write) -> Result<CommandOutput> {
    let summary = record.summary()?;
    let run = summary.started.run.to_string();
    for event in record.events()? {
        if let EventKind::CommandOutput(output) = event?.what
            && output.stream == Stream::Terminal
        {
            let gone = |why: String| ExportError::RecordingGone { run: run.clone(), why };
            let mut reader = record.blob(&output.blob).map_err(|e| gone(format!("is gone: {e}")))?;
            let mut buffer = [0; 1 << 16];
            loop {
                let n =
                    std::io::Read::read(&mut reader, &mut buffer).map_err(|e| gone(format!("cannot be read: {e}")))?;
                if n == 0 {
                    out.flush()?;
                    return Ok(output);
                }
                out.write_all(&buffer[..n])?;
            }
        }
    }
    Err(ExportError::NoTerminal(run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::samples::{CAST, Sample};

    #[test]
    fn it_is_the_recording_or_nothing() {
        let mut out = Vec::new();
        let output = write(&Sample::whole().record(), &mut out).unwrap();
        assert_eq!((out.as_slice(), output.blob.size), (CAST, CAST.len() as u64));
        let mut out = Vec::new();
        let refused = write(&Sample::bare().record(), &mut out);
        assert!(matches!(refused, Err(ExportError::NoTerminal(_))), "{refused:?}");
        assert!(out.is_empty());
    }
}
