//! What the monitor writes down while a run goes on: the log, the terminal, the bases of files.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use cofferdam_core::change::Digest;
use cofferdam_core::event::{EventKind, Link, RunStarted};
use cofferdam_core::plan::Stdio;
use cofferdam_core::{Bytes, Timestamp};
use cofferdam_evidence::{BlobStore, Log, RecorderKey, Refused, Secrets, Striker, Writing};
use cofferdam_workspace::{Capture, Layers, WorkspaceError};
use sha2::{Digest as _, Sha256};

use super::cast::Cast;
use super::files::Files;
use super::prompts::Prompts;
use super::relay::Witness;
use super::screen::Screen;
use crate::prepare::Prepared;
use crate::store::Store;

/// Between two checkpoints while events come.
const INTERVAL: Duration = Duration::from_secs(1);

/// Between two scans of the upper layer where the kernel gives too few watches for it.
const RESCAN: Duration = Duration::from_millis(250);

/// Evidence could not be written: the run ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("the evidence cannot be written: {0}")]
    Evidence(#[from] cofferdam_evidence::Error),
    #[error("the processes inside cannot be followed: {0}")]
    Processes(std::io::Error),
    #[error(transparent)]
    Output(#[from] super::output::OutputError),
    #[error("the terminal cannot be recorded: {0}")]
    Recording(std::io::Error),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error("the bases of the workspace cannot be kept: {0}")]
    Workspace(#[from] WorkspaceError),
    #[error("directory renames that were cut off cannot be taken back: {0}")]
    Renames(std::io::Error),
    #[error("the plan does not serialise: {0}")]
    Plan(#[from] serde_json::Error),
}

impl RecordError {
    pub(super) fn recording(e: std::io::Error) -> RecordError {
        RecordError::Recording(e)
    }
}

pub(super) struct Recorder {
    pub(super) log: Log,
    pub(super) capture: Capture,
    pub(super) layers: Layers,
    pub(super) blobs: BlobStore,
    pub(super) files: Files,
    pub(super) screen: Screen,
    secrets: Secrets,
    striker: Striker,
    cast: Option<Cast>,
    prompts: Prompts,
    stdio: Stdio,
    signed: Instant,
    scanned: Instant,
}

impl Recorder {
    /// Opens the log with `run.started`. No log, no run.
    pub(super) fn open(
        run: &Prepared,
        boundary: Vec<String>,
        before_mount: Timestamp,
    ) -> Result<Recorder, RecordError> {
        let directory = run.directory.join("evidence");
        let (upper, base) = (run.directory.join("layers/upper"), run.directory.join("base"));
        let layers = Layers::open(run.plan.project.as_path(), &upper, &base)?;
        let capture = Capture::start(&layers, before_mount)?;
        let key = RecorderKey::load_or_create(&Store::of_run(&run.directory).keys())?;
        let uname = rustix::system::uname();
        let plan = &run.plan;
        let started = RunStarted {
            run: plan.run.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            project: plan.project.clone(),
            cwd: plan.enclosure.cwd.clone(),
            argv: plan.enclosure.argv.clone(),
            environment: plan.enclosure.env.iter().map(name_of).collect(),
            uid: rustix::process::getuid().as_raw(),
            host: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            plan: Digest(Sha256::digest(serde_json::to_vec(plan)?).into()),
            boundary,
            boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
        };
        let striker = Striker::new(&run.secrets)?;
        let blobs = BlobStore::open(&directory)?.striking(striker.clone());
        let writing = Writing { striker: striker.clone(), ..Writing::default() };
        let mut log = Log::create_with(&directory, &plan.run, key, started, writing)?;
        if let Some(from) = &plan.from {
            log.append(Some((0, Link::Parent)), EventKind::RunFrom(from.clone()))?;
        }
        let files = Files::new(&layers)?;
        let mut prompts = Prompts::new(BlobStore::open(&directory)?.striking(striker.clone()), plan.record_typing);
        let asked = plan.known.as_ref().and_then(|known| known.prompt.as_ref());
        prompts.at_start(asked, &mut log)?;
        Ok(Recorder {
            log,
            capture,
            layers,
            blobs,
            files,
            screen: Screen::default(),
            secrets: run.secrets.clone(),
            striker,
            cast: None,
            prompts,
            stdio: plan.enclosure.stdio,
            signed: Instant::now(),
            scanned: Instant::now(),
        })
    }

    /// Appends an event.
    pub(super) fn append(&mut self, cause: Option<(u64, Link)>, what: EventKind) -> Result<u64, RecordError> {
        Ok(self.log.append(cause, what)?)
    }

    /// What strikes the secrets out of evidence.
    pub(super) fn striker(&self) -> Striker {
        self.striker.clone()
    }

    /// What is struck by now.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// From now on this value is struck out of everything too, unless it cannot be.
    pub(super) fn learn(&mut self, name: &str, value: &[u8]) -> Result<Result<(), Refused>, RecordError> {
        if let Err(why) = self.secrets.renew(name, value) {
            return Ok(Err(why));
        }
        self.striker.renew(&self.secrets)?;
        Ok(Ok(()))
    }

    /// The event that leads to the command.
    pub(super) fn origin(&self) -> u64 {
        self.prompts.origin()
    }

    /// Where large content goes.
    pub(super) fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// Looks at what appeared in the upper layer, and keeps the bases of it.
    pub(super) fn files_changed(&mut self) -> Result<(), RecordError> {
        let captured = self.capture.on_readable()?;
        self.files.touched(captured);
        Ok(())
    }

    /// A command has ended: records what it changed. `running` are the `process.exec` of the commands that run, and of this
    /// one.
    pub(super) fn command_ended(&mut self, running: &[u64]) -> Result<(), RecordError> {
        self.files_changed()?;
        self.files.scan(&mut self.log, &self.blobs, running)
    }

    /// Records file changes, where that is due. `running` are the `process.exec` of the commands that run.
    pub(super) fn files_if_due(&mut self, running: impl FnOnce() -> Vec<u64>) -> Result<(), RecordError> {
        if self.files.due().is_some_and(|wait| wait.is_zero()) {
            self.files.turn(&mut self.log, &self.blobs, &running())?;
        }
        Ok(())
    }

    /// When something is due although nothing happens.
    pub(super) fn due(&self) -> Option<Duration> {
        let signing = (self.log.unsigned() > 0).then(|| INTERVAL.saturating_sub(self.signed.elapsed()));
        let rescan = self.capture.needs_rescans().then_some(RESCAN);
        [signing, rescan, self.files.due(), self.prompts.input_due()].into_iter().flatten().min()
    }

    /// Signs what came, at most once an interval.
    pub(super) fn checkpoint_if_due(&mut self) -> Result<(), RecordError> {
        if self.capture.needs_rescans() && self.scanned.elapsed() >= RESCAN {
            let captured = self.capture.rescan()?;
            self.files.touched(captured);
            self.scanned = Instant::now();
        }
        self.prompts.input_if_due(&mut self.log)?;
        if self.log.unsigned() > 0 && self.signed.elapsed() >= INTERVAL {
            self.log.checkpoint()?;
            self.signed = Instant::now();
        }
        Ok(())
    }

    /// A piece of an agent's standard input.
    pub(super) fn input(&mut self, piece: &[u8]) {
        self.prompts.input(piece);
    }

    /// Takes what a message on the standard input asks.
    pub(super) fn message(&mut self, text: &[u8], bytes: Option<u64>) -> Result<(), RecordError> {
        self.prompts.message(text, bytes, &mut self.log)?;
        Ok(())
    }

    /// The standard input is over, after `total` bytes; or the run is.
    pub(super) fn input_ended(&mut self, total: Option<u64>) -> Result<(), RecordError> {
        self.prompts.input_ended(total, &mut self.log)?;
        Ok(())
    }

    /// A model request, by its number in the log, holds a turn of the person's.
    pub(super) fn prompted(&mut self, request: u64, text: &[u8], bytes: u64) -> Result<(), RecordError> {
        self.prompts.in_model(request, text, bytes, &mut self.log)?;
        Ok(())
    }

    /// What the terminal showed.
    pub(super) fn terminal(&mut self, shown: &[u8]) -> Result<(), RecordError> {
        let cast = match &mut self.cast {
            Some(cast) => cast,
            None => {
                let (rows, columns) = match self.stdio {
                    Stdio::Pty { rows, columns } => (rows, columns),
                    Stdio::Pipes => (24, 80),
                };
                let now = cofferdam_core::Timestamp::now().parts().0;
                self.cast.insert(Cast::start(&self.blobs, &self.striker, rows, columns, now)?)
            }
        };
        cast.shown(shown)
    }

    /// The terminal has another size now.
    pub(super) fn resized(&mut self, rows: u16, columns: u16) -> Result<(), RecordError> {
        match (&mut self.cast, &mut self.stdio) {
            (Some(cast), _) => cast.resized(rows, columns),
            (None, stdio) => {
                *stdio = Stdio::Pty { rows, columns };
                Ok(())
            }
        }
    }

    /// Ends the recording of the terminal and of the standard input.
    pub(super) fn close_terminal(&mut self) -> Result<(), RecordError> {
        self.input_ended(None)?;
        if let Some(cast) = self.cast.take() {
            let output = cast.finish()?;
            self.log.append(None, EventKind::CommandOutput(output))?;
        }
        Ok(())
    }

    /// Ends the capture of bases: nothing inside runs any more.
    pub(super) fn close_workspace(&mut self) -> Result<Vec<String>, RecordError> {
        let captured = self.capture.finish()?;
        Ok(captured.problems.iter().map(ToString::to_string).collect())
    }
}

impl Witness for Recorder {
    fn shown(&mut self, output: &[u8]) -> Result<(), RecordError> {
        self.screen.shown(output);
        self.terminal(output)
    }

    fn typed(&mut self, keys: &[u8], tty: &OwnedFd) -> Result<(), RecordError> {
        self.prompts.typed(keys, tty, &mut self.log)?;
        Ok(())
    }
}

/// The name of a variable of an environment.
pub(super) fn name_of(variable: &Bytes) -> Bytes {
    let name = variable.0.split(|b| *b == b'=').next().unwrap_or_default();
    name.into()
}
