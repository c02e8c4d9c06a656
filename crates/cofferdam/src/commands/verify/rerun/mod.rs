//! `coffer verify RUN --rerun`: repeats the recorded test commands on what the run left.
//!
//! What reads the run's log, layers and outputs does so on threads that confined themselves; the commands run in enclosures
//! that `coffer run --from RUN` makes, and only this thread starts them and writes the stamps.

mod child;
mod printed;
mod repeat;
mod report;

use std::process::ExitCode;

use cofferdam_core::event::{Since, TestOutcome, TestReproduced};
use cofferdam_core::{Bytes, RunId, Timestamp};
use cofferdam_runtime::plan::Host;
use cofferdam_runtime::promotion::{Held, PromotionError, layers};
use cofferdam_runtime::rerun::{Difference, Drift, Recorded, Recording, Stamps, compare, recorded};
use cofferdam_runtime::secrets;
use cofferdam_runtime::store::{Run, Store};

use super::{Answer, Found, Target, VerifyArgs, examine, trusted};
use crate::failure::Failure;
use crate::output::{self, Colour};
use repeat::{Repeated, Workshop};

/// What came of a recorded command.
#[derive(Debug)]
enum Verdict {
    /// It was repeated.
    Repeated {
        run: RunId,
        now: TestOutcome,
        note: Option<String>,
        /// Empty where it is reproduced.
        differences: Vec<Difference>,
    },
    /// It could not be repeated, and why.
    NotRepeated(String),
}

impl Verdict {
    fn is_reproduced(&self) -> bool {
        matches!(self, Verdict::Repeated { note: None, differences, .. } if differences.is_empty())
    }
}

/// One command with its verdict.
struct Judged<'a> {
    command: &'a Recorded,
    since: Since,
    verdict: Verdict,
}

/// Verifies a run, then repeats its test commands.
pub(super) fn verify(args: &VerifyArgs, host: &Host, store: &Store, colour: Colour) -> Answer {
    let run = Target::find(host, store, &args.run)?.run;
    if run.record.discarded.is_some() {
        return Err(PromotionError::Discarded(run.record.run.to_string()).into());
    }
    // Held to the end: nobody promotes or discards it meanwhile.
    let held = Held::take(run.clone(), secrets::of_host(host).secrets)?;
    let found = confined(|| {
        let key = trusted(args, store)?;
        examine(args, &run.evidence(), Some(&run), key.as_ref())
    })?;
    let voice = report::Voice { json: args.json, colour: colour.stdout() };
    voice.verified(&found)?;
    if found.code() > 1 {
        voice.refused(&found)?;
        return Ok(ExitCode::from(found.code()));
    }
    let (recording, drift) = confined(|| material(&run))?;
    let workshop = Workshop::new(host, store, &run, &recording.environment)?;
    voice.begin(recording.commands.len(), workshop.missing())?;
    let judged = judge_all(args, &held, &workshop, &recording, &drift, &voice)?;
    let interrupted = workshop.interrupted();
    voice.end(&found, &judged, workshop.missing(), interrupted.is_some())?;
    if let Some(signal) = interrupted {
        // As the command itself would have ended: a shell's loop around us stops.
        cofferdam_sys::signals::raise_default(signal);
        return Ok(ExitCode::from(crate::exit::of_signal(signal)));
    }
    let all = !judged.is_empty() && judged.iter().all(|judged| judged.verdict.is_reproduced());
    Ok(ExitCode::from(if all { found.code() } else { 1 }))
}

/// What is to be repeated, and how the trees stand.
fn material(run: &Run) -> Result<(Recording, Drift), Failure> {
    cofferdam_enclosure::confine_reader(&[&run.directory, run.record.project.as_path()])?;
    let recording = recorded(&run.evidence())?;
    let earliest = recording.commands.iter().map(|command| command.began).min().unwrap_or_else(Timestamp::now);
    let drift = if recording.commands.is_empty() { Drift::default() } else { Drift::look(&layers(run)?, earliest)? };
    Ok((recording, drift))
}

fn judge_all<'a>(
    args: &VerifyArgs,
    held: &Held,
    workshop: &Workshop<'_>,
    recording: &'a Recording,
    drift: &Drift,
    voice: &report::Voice,
) -> Result<Vec<Judged<'a>>, Failure> {
    let mut judged = Vec::new();
    if recording.commands.is_empty() {
        return Ok(judged);
    }
    let mut stamps = Stamps::open(held)?;
    let total = recording.commands.len();
    for (number, command) in recording.commands.iter().enumerate() {
        let since = drift.since(command.began, command.ended);
        let verdict = match command.obstacle {
            Some(obstacle) => Verdict::NotRepeated(obstacle.to_string()),
            None => match workshop.repeat(command, args.timeout, (number + 1, total))? {
                Repeated::Interrupted => break,
                Repeated::Not(why) => Verdict::NotRepeated(why),
                Repeated::Done { run, now, note } => {
                    let differences = compare(&command.was, &now);
                    Verdict::Repeated { run, now, note, differences }
                }
            },
        };
        if let Verdict::Repeated { run, now, note, .. } = &verdict {
            stamps.add(TestReproduced {
                command: command.command,
                run: run.clone(),
                reproduced: verdict.is_reproduced(),
                was: command.was.clone(),
                now: now.clone(),
                since,
                note: note.clone(),
            })?;
        }
        let one = Judged { command, since, verdict };
        voice.judged(&one)?;
        judged.push(one);
    }
    Ok(judged)
}

/// Does something on a thread of its own, which confines itself: what binds it does not bind this one.
fn confined<T: Send>(work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// A command as a person would type it, safe to show, and cut.
fn shown(argv: &[Bytes]) -> String {
    const MOST: usize = 60;
    let text = argv.iter().map(|word| output::visible(&word.0)).collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
