//! Reading events.

use std::fs::File;
use std::path::{Path, PathBuf};

use cofferdam_core::event::Event;
use rustix::fs::OFlags;

use crate::files::Directory;
use crate::lines::{Lines, Next};
use crate::log::LOG;
use crate::{Error, Result};

/// Most bytes of a line of the log, its newline not counted.
pub const MAX_LINE: usize = 16 << 20;

/// Reads the events of an evidence directory, in order. Nothing is verified: [`crate::verify()`] does that.
///
/// # Errors
/// [`Error::Io`] and [`Error::NotRegular`] where the log cannot be opened.
pub fn read_events(dir: &Path) -> Result<Events> {
    let dir = Directory::open(dir)?;
    let file = dir.open_file(LOG, OFlags::RDONLY)?;
    Ok(Events {
        lines: Lines::new(file, MAX_LINE),
        path: dir.path.join(LOG),
        line: Vec::new(),
        torn: None,
        done: false,
    })
}

/// The events of a log. A line that does not read is an error, and the next call goes on behind it.
#[derive(Debug)]
pub struct Events {
    lines: Lines<File>,
    path: PathBuf,
    line: Vec<u8>,
    torn: Option<u64>,
    done: bool,
}

impl Events {
    /// Bytes at the end of the log that are no whole line, once the end was reached: the writer is at it, or died.
    pub fn torn(&self) -> Option<u64> {
        self.torn
    }

    /// The bytes of the last line that was read: the leaf.
    pub fn raw(&self) -> &[u8] {
        &self.line
    }
}

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Result<Event>> {
        if self.done {
            return None;
        }
        let next = self.lines.next(&mut self.line);
        let malformed =
            |detail: String| Error::Malformed { path: self.path.clone(), line: self.lines.number(), detail };
        match next {
            Err(e) => {
                self.done = true;
                Some(Err(Error::io("read", &self.path)(e)))
            }
            Ok(Next::Line) => {
                Some(serde_json::from_slice(&self.line).map_err(|e| malformed(format!("not an event: {e}"))))
            }
            Ok(Next::TooLong) => {
                let e = malformed(format!("longer than the {MAX_LINE} bytes of a line"));
                self.done = true;
                Some(Err(e))
            }
            Ok(Next::Torn) => {
                self.done = true;
                self.torn = Some(self.line.len() as u64);
                self.line.clear();
                None
            }
            Ok(Next::End) => {
                self.done = true;
                None
            }
        }
    }
}
