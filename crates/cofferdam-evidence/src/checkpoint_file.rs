//! The file `checkpoints`: signed notes, one after the other.

use std::io::{self, Read};
use std::ops::Range;

use signed_note::Note;

use crate::Checkpoint;
use crate::lines::{Lines, Next};

/// Most bytes of one note: C2SP signed-note's limit.
pub(crate) const MAX_NOTE: usize = 1_000_000;
const SIGNATURE: &[u8] = "\u{2014} ".as_bytes();

/// A checkpoint as it stands in the file.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: Note,
    pub(crate) raw: Vec<u8>,
    pub(crate) place: Range<u64>,
}

/// What comes next in the file.
#[derive(Debug)]
pub(crate) enum NextNote {
    Signed(Box<Signed>),
    /// The file ends within a note.
    Torn(Range<u64>),
    /// Not a note; what follows cannot be told apart.
    Malformed(Range<u64>, String),
    End,
}

/// Reads notes. A note's text has no empty line, so the first empty line ends it, and the note ends before the first
/// line that is no signature.
#[derive(Debug)]
pub(crate) struct CheckpointFile<R> {
    lines: Lines<R>,
    ahead: Option<(Next, Vec<u8>, Range<u64>)>,
}

impl<R: Read> CheckpointFile<R> {
    pub(crate) fn new(inner: R) -> Self {
        CheckpointFile { lines: Lines::new(inner, MAX_NOTE), ahead: None }
    }

    pub(crate) fn next(&mut self) -> io::Result<NextNote> {
        let mut raw = Vec::new();
        let mut text = None;
        let mut signatures = 0;
        let (first, mut place) = self.peek()?;
        if first == Next::End {
            return Ok(NextNote::End);
        }
        loop {
            let (next, at) = self.peek()?;
            let line = self.ahead.as_ref().map_or(&[][..], |(_, line, _)| line);
            let is_signature = line.starts_with(SIGNATURE);
            if text.is_some() && signatures > 0 && !(next == Next::Line && is_signature) {
                break;
            }
            match next {
                Next::End => return Ok(NextNote::Torn(place)),
                Next::Torn => {
                    place.end = at.end;
                    return Ok(NextNote::Torn(place));
                }
                Next::TooLong => return Ok(NextNote::Malformed(place, "a line is too long".into())),
                Next::Line => {}
            }
            // What a crash leaves is the beginning of a note; these are in none.
            if (text.is_none() && is_signature) || line.iter().any(|byte| *byte < b' ') {
                return Ok(NextNote::Malformed(place, "a checkpoint has a line that none can have".into()));
            }
            if text.is_some() && !is_signature {
                return Ok(NextNote::Malformed(place, "a checkpoint has no signature".into()));
            }
            if raw.len() + line.len() >= MAX_NOTE {
                return Ok(NextNote::Malformed(place, "a checkpoint is too long".into()));
            }
            match (&text, line.is_empty()) {
                (None, true) => text = Some(raw.clone()),
                (None, false) => {}
                (Some(_), _) => signatures += 1,
            }
            raw.extend_from_slice(line);
            raw.push(b'\n');
            place.end = at.end;
            self.ahead = None;
        }
        let read = Checkpoint::parse(&text.unwrap_or_default())
            .and_then(|checkpoint| Ok((checkpoint, Note::from_bytes(&raw).map_err(|e| e.to_string())?)));
        Ok(match read {
            Ok((checkpoint, note)) => NextNote::Signed(Box::new(Signed { checkpoint, note, raw, place })),
            Err(detail) => NextNote::Malformed(place, detail),
        })
    }

    fn peek(&mut self) -> io::Result<(Next, Range<u64>)> {
        if let Some((next, _, at)) = &self.ahead {
            return Ok((*next, at.clone()));
        }
        let mut line = Vec::new();
        let next = self.lines.next(&mut line)?;
        let at = self.lines.start()..self.lines.end();
        self.ahead = Some((next, line, at.clone()));
        Ok((next, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RecorderKey, VerifierKey};
    use cofferdam_core::change::Digest;

    fn notes() -> (RecorderKey, Vec<Vec<u8>>) {
        let key = RecorderKey::generate().unwrap();
        let run = "0123456789ab".parse().unwrap();
        let notes = (1..4).map(|n| key.sign(&Checkpoint::new(&run, n, Digest([n as u8; 32])).text()).unwrap());
        let notes = notes.collect();
        (key, notes)
    }

    fn all(raw: &[u8]) -> Vec<NextNote> {
        let mut file = CheckpointFile::new(raw);
        let mut out = Vec::new();
        loop {
            let next = file.next().unwrap();
            let last = !matches!(next, NextNote::Signed(_));
            out.push(next);
            if last {
                return out;
            }
        }
    }

    #[test]
    fn notes_come_back_with_their_places() {
        let (key, notes) = notes();
        let vkey = VerifierKey::parse(key.vkey(), "test").unwrap();
        let read = all(&notes.concat());
        assert_eq!(read.len(), 4);
        let mut at = 0;
        for (n, note) in notes.iter().enumerate() {
            let NextNote::Signed(signed) = &read[n] else { panic!("{:?}", read[n]) };
            assert_eq!(signed.checkpoint.size, n as u64 + 1);
            assert_eq!(signed.place, at..at + note.len() as u64);
            assert_eq!(&signed.raw, note);
            assert_eq!(vkey.check(&signed.note), Ok(()));
            at = signed.place.end;
        }
        assert!(matches!(read[3], NextNote::End));
    }

    #[test]
    fn an_end_within_a_note_is_torn_wherever_it_is() {
        let (_, notes) = notes();
        let whole = notes.concat();
        let second = notes[0].len() + notes[1].len();
        for cut in second + 1..whole.len() {
            let read = all(&whole[..cut]);
            assert_eq!(read.len(), 3, "{cut}");
            let NextNote::Torn(place) = &read[2] else { panic!("{cut}: {:?}", read[2]) };
            assert_eq!(*place, second as u64..cut as u64);
        }
    }

    #[test]
    fn what_is_no_note_is_said_to_be_none() {
        for raw in
            ["o\n1\nx\n\u{2014} k AAAAAAA=\n", "o\n1\t\n", "\n\n\n", "a\nb\n\nc\n", "o\n1\nx\n\n\u{2014} k AAAAAAA=\n"]
        {
            assert!(matches!(all(raw.as_bytes())[..], [NextNote::Malformed(..)]), "{raw:?}");
        }
        assert!(matches!(all(&vec![b'a'; MAX_NOTE + 10])[..], [NextNote::Malformed(..)]));
    }
}
