//! One pass over log and checkpoints, for verification and for reopening.

use std::fs::File;
use std::io::{self, Read, Take};
use std::ops::Range;
use std::path::Path;

use cofferdam_core::{RunId, Timestamp};

use crate::checkpoint_file::{CheckpointFile, NextNote, Signed};
use crate::lines::{Lines, Next};
use crate::read::MAX_LINE;
use crate::skeleton::Skeleton;
use crate::tree::{Frontier, leaf_hash};
use crate::{Check, ClockStep, Commitment, Error, Fault, Result, VerifierKey};

/// What is known after the pass, or at its first fault.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub(crate) run: Option<RunId>,
    pub(crate) tree: Frontier,
    /// End of the last whole line.
    pub(crate) log_end: u64,
    pub(crate) torn: u64,
    /// What the last good checkpoint commits to, and where that ends in the log.
    pub(crate) signed: Option<Commitment>,
    pub(crate) signed_end: u64,
    pub(crate) checkpoints: u64,
    /// End of the last good note.
    pub(crate) notes_end: u64,
    pub(crate) torn_note: u64,
    /// `seq` of the last `run.ended`.
    pub(crate) ended: Option<u64>,
    pub(crate) statement: Option<serde_json::Map<String, serde_json::Value>>,
    pub(crate) clock: Option<ClockStep>,
    pub(crate) fault: Option<Fault>,
    pub(crate) last_time: Option<Timestamp>,
}

/// What an event is handed to besides the checks of the tree: it may find a fault of its own.
pub(crate) type Visit<'a> = dyn FnMut(&Skeleton<'_>, Range<u64>) -> Result<Option<Fault>> + 'a;

/// The files of one evidence directory, open.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) log: &'a File,
    pub(crate) log_path: &'a Path,
    pub(crate) checkpoints: &'a File,
    pub(crate) checkpoints_path: &'a Path,
}

impl Audit {
    /// Reads everything. Faults are in the result; an error is a failure to read.
    pub(crate) fn run(
        from: &Sources<'_>,
        key: &VerifierKey,
        witness: Option<Commitment>,
        visit: &mut Visit<'_>,
    ) -> Result<Audit> {
        // The length of the checkpoints is taken before the log is read: the log of a live run then covers them all.
        let length = from.checkpoints.metadata().map_err(Error::io("stat", from.checkpoints_path))?.len();
        let mut notes = CheckpointFile::new(Read::take(from.checkpoints, length));
        let mut lines = Lines::new(from.log, MAX_LINE);
        let mut audit = Audit::default();
        audit.walk(&mut lines, &mut notes, key, witness, visit).or_else(|stop| match stop {
            Stop::Fault(fault) => {
                audit.fault = Some(fault);
                Ok(())
            }
            Stop::Log(e) => Err(Error::io("read", from.log_path)(e)),
            Stop::Checkpoints(e) => Err(Error::io("read", from.checkpoints_path)(e)),
            Stop::Visit(e) => Err(e),
        })?;
        Ok(audit)
    }

    fn walk(
        &mut self,
        lines: &mut Lines<&File>,
        notes: &mut CheckpointFile<Take<&File>>,
        key: &VerifierKey,
        witness: Option<Commitment>,
        visit: &mut Visit<'_>,
    ) -> std::result::Result<(), Stop> {
        let mut line = Vec::new();
        let mut note = notes.next().map_err(Stop::Checkpoints)?;
        loop {
            while let NextNote::Signed(signed) = &note
                && signed.checkpoint.size <= self.tree.size()
            {
                self.accept(signed, key)?;
                note = notes.next().map_err(Stop::Checkpoints)?;
            }
            if let Some(witness) = witness
                && witness.size == self.tree.size()
                && witness.root != self.tree.root()
            {
                let detail = format!("the first {} events are not those that were published", witness.size);
                return Err(self.fault(Check::Witness, 0..self.log_end, None, detail));
            }
            match lines.next(&mut line).map_err(Stop::Log)? {
                Next::Line => self.event(&line, lines.start()..lines.end(), visit)?,
                Next::TooLong => {
                    let detail = format!("a line is longer than {MAX_LINE} bytes");
                    return Err(self.fault(Check::Line, lines.start()..lines.end(), Some(self.tree.size()), detail));
                }
                Next::Torn => {
                    self.torn = lines.end() - lines.start();
                    break;
                }
                Next::End => break,
            }
        }
        self.finish(note, key, witness)
    }

    /// Checks one line and adds it to the tree.
    fn event(&mut self, line: &[u8], at: Range<u64>, visit: &mut Visit<'_>) -> std::result::Result<(), Stop> {
        let index = self.tree.size();
        let wrong = |check, detail: String| {
            Stop::Fault(Fault {
                check,
                range: at.clone(),
                seq: Some(index),
                detail: format!("line {}: {detail}", index + 1),
            })
        };
        let event = Skeleton::parse(line).map_err(|detail| wrong(Check::Line, detail))?;
        if event.seq != index {
            return Err(wrong(Check::Sequence, format!("event {} stands in the place of event {index}", event.seq)));
        }
        if event.cause.is_some_and(|cause| cause >= index) {
            return Err(wrong(Check::Sequence, "its cause does not come before it".into()));
        }
        if (event.kind == "run.started") != (index == 0) {
            return Err(wrong(Check::Sequence, format!("`{}` cannot be event {index}", event.kind)));
        }
        if index == 0 {
            let run = event.run().map_err(|detail| wrong(Check::Line, detail))?;
            self.run = Some(run.parse().map_err(|e: cofferdam_core::RunIdError| wrong(Check::Line, e.to_string()))?);
        }
        if event.kind == "run.ended" {
            self.ended = Some(index);
        }
        if let Some(last) = self.last_time {
            let back = last.0.saturating_sub(event.time.0);
            if back > self.clock.map_or(0, |step| step.nanoseconds) {
                self.clock = Some(ClockStep { seq: index, nanoseconds: back });
            }
        }
        self.last_time = Some(event.time);
        if let Some(fault) = visit(&event, at.clone()).map_err(Stop::Visit)? {
            return Err(Stop::Fault(fault));
        }
        self.tree.push(leaf_hash(line));
        self.log_end = at.end;
        Ok(())
    }

    /// Checks a checkpoint against the tree at its size.
    fn accept(&mut self, signed: &Signed, key: &VerifierKey) -> std::result::Result<(), Stop> {
        let checkpoint = &signed.checkpoint;
        let range = self.signed_end..self.log_end;
        self.identity(signed, key, range.clone())?;
        if checkpoint.size < self.tree.size() || checkpoint.size == 0 {
            let detail =
                format!("{} is for {} events, after one for {}", self.name(), checkpoint.size, self.tree.size());
            return Err(self.fault(Check::CheckpointOrder, range, None, detail));
        }
        if checkpoint.root != self.tree.root() {
            let detail = format!("{} does not sign the first {} events as they stand", self.name(), checkpoint.size);
            return Err(self.fault(Check::Root, range, None, detail));
        }
        self.checkpoints += 1;
        self.signed = Some(Commitment { size: checkpoint.size, root: checkpoint.root });
        self.signed_end = self.log_end;
        self.notes_end = signed.place.end;
        if let Some(statement) = checkpoint.statement() {
            self.statement = Some(statement);
        }
        Ok(())
    }

    /// Checks that a checkpoint is of the key and of the run.
    fn identity(&self, signed: &Signed, key: &VerifierKey, range: Range<u64>) -> std::result::Result<(), Stop> {
        if let Err(why) = key.check(&signed.note) {
            let detail = format!("{} is not signed by {}: {why}", self.name(), key.as_str());
            return Err(self.fault(Check::Signature, range, None, detail));
        }
        if self.run.is_some() && signed.checkpoint.run() != self.run {
            let detail = format!("{} is of another log, `{}`", self.name(), signed.checkpoint.origin.escape_debug());
            return Err(self.fault(Check::Origin, range, None, detail));
        }
        Ok(())
    }

    /// What is left when the log is at its end.
    fn finish(
        &mut self,
        note: NextNote,
        key: &VerifierKey,
        witness: Option<Commitment>,
    ) -> std::result::Result<(), Stop> {
        let range = self.signed_end..self.log_end + self.torn;
        match note {
            NextNote::Signed(signed) => {
                self.identity(&signed, key, range.clone())?;
                let (here, there) = (self.tree.size(), signed.checkpoint.size);
                let detail = format!("the log ends after {here} events, and {} signs {there}", self.name());
                return Err(self.fault(Check::Length, range, None, detail));
            }
            NextNote::Malformed(_, why) => {
                let detail = format!("{} does not read: {why}", self.name());
                return Err(self.fault(Check::CheckpointFormat, range, None, detail));
            }
            NextNote::Torn(place) => self.torn_note = place.end - place.start,
            NextNote::End => {}
        }
        if self.signed.is_none() {
            return Err(self.fault(Check::Unsigned, range, None, "there is no whole checkpoint".into()));
        }
        if let Some(witness) = witness
            && witness.size > self.tree.size()
        {
            let detail = format!("{} events were published, and the log ends after {}", witness.size, self.tree.size());
            return Err(self.fault(Check::Witness, range, None, detail));
        }
        Ok(())
    }

    /// The checkpoint after the good ones, for messages.
    fn name(&self) -> String {
        format!("checkpoint {}", self.checkpoints + 1)
    }

    fn fault(&self, check: Check, range: Range<u64>, seq: Option<u64>, detail: String) -> Stop {
        Stop::Fault(Fault { check, range, seq, detail })
    }
}

/// Why the pass ended early.
#[derive(Debug)]
enum Stop {
    Fault(Fault),
    Log(io::Error),
    Checkpoints(io::Error),
    Visit(Error),
}
