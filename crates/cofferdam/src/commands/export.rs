//! `coffer export`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use cofferdam_evidence::{RecorderKey, State, VerifierKey};
use cofferdam_review::export::{self, Record, agent_trace, asciicast, har, html, in_toto, json, ocsf, patch, trailer};
use cofferdam_runtime::promotion::layers;
use cofferdam_runtime::store::{Run, Store};
use cofferdam_workspace::diff::{Diff, DiffOptions, compute};

use super::{Answer, Target};
use crate::failure::Failure;
use crate::host;
use crate::output;

/// `coffer export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "json: events and contents in one document. html: one page that loads nothing. patch: the final diff. asciicast: the \
    terminal's recording. har: requests and answers as an HTTP archive. in-toto: statements over the final diff, signed with your recorder's key. ocsf: OCSF 1.8 events. agent-trace: \
    an Agent Trace 0.1 record. trailer: two lines for a commit message.\nNothing of a run is written to a terminal as it stands: \
    give -o FILE or a pipe.\nExit codes: 0 written; 2 written, of evidence that was tampered with; 125 an error."
)]
pub struct ExportArgs {
    /// The run (default: the latest run of this project)
    #[arg(default_value = "@", value_name = "RUN")]
    run: String,
    /// The form
    #[arg(long, short, value_name = "FORM")]
    format: Format,
    /// Where to write it, `-` for standard output (the default)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Add the trailer lines to this commit of your repository as a git note, in refs/notes/ai
    #[arg(long, value_name = "COMMIT", conflicts_with = "output")]
    git_note: Option<String>,
}

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Json,
    Html,
    Patch,
    Asciicast,
    Har,
    InToto,
    Ocsf,
    AgentTrace,
    Trailer,
}

/// Exports the evidence of a run.
pub fn export(args: &ExportArgs) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let run = Target::find(&host, &store, &args.run)?.run;
    let key = RecorderKey::load_or_create(&store.keys())?;
    let trusted = VerifierKey::parse(key.vkey(), "this store's key")?;
    if let Some(commit) = &args.git_note {
        return note(args.format, &run, &trusted, commit);
    }
    // Opened first: afterwards this process may write nothing any more.
    let mut out = Destination::open(args.output.as_deref())?;
    let layers = if args.format.wants_diff() { open_layers(&run, args.format)? } else { None };
    cofferdam_enclosure::confine_reader(&[run.record.project.as_path(), &run.directory])?;
    let record = Record::open(&run.evidence(), Some(&trusted))?;
    say_doubts(&record, &run);
    let diff = layers.as_ref().map(|layers| final_diff(layers, args.format)).transpose()?;
    let need = || diff.as_ref().ok_or_else(|| Failure::new("the final diff is missing"));
    // Strings of a run's may hold what acts on a terminal, or hides from the eye.
    let mut plain = output::PlainJson::new(&mut out);
    match args.format {
        Format::Json => json::write(&record, json::Bounds::default(), &mut plain)?,
        Format::Html => html::write(&record, diff.as_ref(), &mut out)?,
        Format::Patch => patch::write(need()?, &mut out)?,
        Format::Asciicast => {
            let recorded = asciicast::write(&record, &mut out)?;
            if recorded.dropped > 0 {
                output::remark(&format!(
                    "{} of the terminal's output were not recorded",
                    output::size(recorded.dropped)
                ));
            }
        }
        Format::Har => har::write(&record, &mut plain)?,
        Format::InToto => in_toto::write(&record, need()?, &key, &mut plain)?,
        Format::Ocsf => ocsf::write(&record, &mut plain)?,
        Format::AgentTrace => agent_trace::write(&record, &run.record.agent, need()?, &mut plain)?,
        Format::Trailer => out.write_all(trailer_of(&record)?.as_bytes())?,
    }
    if let (Format::Patch | Format::InToto, Some(diff)) = (args.format, &diff)
        && patch::named_only(diff) > 0
    {
        let count = output::counted(patch::named_only(diff) as u64, "file");
        output::remark(&format!("{count}, binary or too large, are named in the patch and not carried by it"));
    }
    out.finish()?;
    Ok(match record.report().state {
        State::Tampered(_) => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    })
}

impl Format {
    fn wants_diff(self) -> bool {
        matches!(self, Format::Html | Format::Patch | Format::InToto | Format::AgentTrace)
    }
}

/// The layers; `None` where they are gone and the form can do without.
fn open_layers(run: &Run, format: Format) -> Result<Option<cofferdam_workspace::Layers>, Failure> {
    if run.record.discarded.is_some() && format == Format::Html {
        return Ok(None);
    }
    Ok(Some(layers(run).map_err(|e| {
        Failure::new(e).next(
            "a diff needs the layers: the evidence holds versions of files, not their bases (--format json has them)",
        )
    })?))
}

fn final_diff(layers: &cofferdam_workspace::Layers, format: Format) -> Result<Diff, Failure> {
    let changes = super::change_set(layers)?;
    let options = DiffOptions {
        // Line ranges are what an Agent Trace record is about.
        context: if format == Format::AgentTrace { 0 } else { 3 },
        ..DiffOptions::default()
    };
    let mut diff = compute(layers, &changes, &options)?;
    for problem in diff.problems.iter().take(10) {
        output::complain(&problem.to_string());
    }
    // What the scan could not read is missing from the diff as much as what could not be compared.
    diff.problems.extend(changes.problems);
    Ok(diff)
}

/// A reader of an export must not take it for more than the evidence is worth.
fn say_doubts(record: &Record, run: &Run) {
    let name = run.record.run.short();
    match &record.report().state {
        State::Verified => {}
        State::Cut => output::remark(&format!("the record of run {name} stops early, or the run still goes on")),
        State::Tampered(fault) => output::complain(&format!("the evidence of run {name} was TAMPERED with: {fault}")),
    }
}

/// The trailer lines of a run.
fn trailer_of(record: &Record) -> Result<String, Failure> {
    let summary = record.summary()?;
    let commitment = record.vouched(&summary)?;
    Ok(trailer::trailer(&summary.started.run, &commitment, summary.agent_in_words().as_deref()))
}

/// The trailer lines of a run, from its evidence as it stands now. Contents are not looked at.
pub fn trailer_now(run: &Run) -> Result<String, Failure> {
    let key = RecorderKey::load_or_create(&Store::of_run(&run.directory).keys())?;
    let trusted = VerifierKey::parse(key.vkey(), "this store's key")?;
    trailer_of(&Record::open_log(&run.evidence(), Some(&trusted))?)
}

/// Adds the trailer lines to a commit as a note. This is the one place where git runs: on the person's own repository, and
/// never where this run's own changes could be part of what git executes.
fn note(format: Format, run: &Run, trusted: &VerifierKey, commit: &str) -> Answer {
    if format != Format::Trailer {
        return Err(Failure::new("a git note holds the trailer lines").next("use --format trailer with --git-note"));
    }
    if commit.starts_with('-') {
        return Err(Failure::new(format!("`{commit}` is no commit")));
    }
    // Only lines of JSON are read here, by the same code as wherever a run is named; nothing is unpacked.
    let record = Record::open_log(&run.evidence(), Some(trusted))?;
    let promoted = trailer::promoted_git_metadata(&record)?;
    if let Some(first) = promoted.first() {
        return Err(Failure::new(format!(
            "git is not run in {}: this run's own `{}` was promoted into it, and git might execute what it says",
            run.record.project.as_path().display(),
            output::visible(&first.0)
        ))
        .next("look at it, then add the lines of --format trailer yourself: git notes --ref=refs/notes/ai add"));
    }
    let text = trailer_of(&record)?;
    let mut git = Command::new("git");
    git.arg("-C").arg(run.record.project.as_path());
    // What the run wrote into the tree may be where core.hooksPath points to.
    git.args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
    git.args(["notes", "--ref=refs/notes/ai", "add", "-F", "-", commit]);
    let mut child =
        git.stdin(Stdio::piped()).spawn().map_err(|e| Failure::new(format!("git cannot be started: {e}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(text.as_bytes()) {
            // git says itself why it did not read.
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => return Err(e.into()),
            _ => {}
        }
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(Failure::new(format!("git did not add the note ({status})")));
    }
    output::remark(&format!("noted on {commit}, in refs/notes/ai"));
    Ok(ExitCode::SUCCESS)
}

/// Where an export goes.
enum Destination {
    /// A pipe or file that the person's shell opened; nothing more where its reader has seen enough.
    Standard(Option<BufWriter<io::Stdout>>),
    /// A file, left as it is until there is something to write.
    File { out: BufWriter<File>, begun: bool },
}

impl Destination {
    fn open(path: Option<&Path>) -> Result<Destination, Failure> {
        match path.filter(|path| *path != Path::new("-")) {
            None if io::stdout().is_terminal() => {
                Err(Failure::new("an export is not written to a terminal: what a command printed could act on it")
                    .next("give -o FILE; coffer diff and coffer log show things safely"))
            }
            None => Ok(Destination::Standard(Some(BufWriter::new(io::stdout())))),
            Some(path) => {
                let shown = path.display();
                // An export holds what the run printed: for its owner alone, unless the file is there already.
                let open = File::options().write(true).create(true).truncate(false).mode(0o600).open(path);
                let file = open.map_err(|e| Failure::new(format!("`{shown}` cannot be written: {e}")))?;
                Ok(Destination::File { out: BufWriter::with_capacity(1 << 16, file), begun: false })
            }
        }
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.flush().map_err(|e| export::ExportError::Write(e).into())
    }

    /// Empties the file, once.
    fn begin(&mut self) -> io::Result<()> {
        if let Destination::File { out, begun } = self
            && !std::mem::replace(begun, true)
            && out.get_ref().metadata()?.is_file()
        {
            out.get_ref().set_len(0)?;
        }
        Ok(())
    }

    /// What a write said; a reader that has closed its end is no error, and the rest goes nowhere.
    fn unless_closed<T>(&mut self, said: io::Result<T>, instead: T) -> io::Result<T> {
        match (said, &mut *self) {
            (Err(e), Destination::Standard(out)) if e.kind() == io::ErrorKind::BrokenPipe => {
                // What is still in the buffer could only fail again.
                drop(out.take().map(BufWriter::into_parts));
                Ok(instead)
            }
            (said, _) => said,
        }
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begin()?;
        let said = match self {
            Destination::Standard(Some(out)) => out.write(bytes),
            Destination::Standard(None) => Ok(bytes.len()),
            Destination::File { out, .. } => out.write(bytes),
        };
        self.unless_closed(said, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.begin()?;
        let said = match self {
            Destination::Standard(Some(out)) => out.flush(),
            Destination::Standard(None) => Ok(()),
            Destination::File { out, .. } => out.flush(),
        };
        self.unless_closed(said, ())
    }
}
