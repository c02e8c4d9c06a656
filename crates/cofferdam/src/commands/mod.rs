//! One file a command.

pub mod agents;
pub mod allow;
pub mod blame;
pub mod budget;
pub mod credential;
pub mod diff;
pub mod discard;
pub mod doctor;
pub mod export;
pub mod index;
pub mod list;
pub mod log;
pub mod manual;
pub mod open;
pub mod policy;
pub mod promote;
pub mod publish;
pub mod run;
pub mod stats;
pub mod undo;
pub mod verify;
pub mod why;

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use cofferdam_core::Bytes;
use cofferdam_core::change::Change;
use cofferdam_core::event::FileChanged;
use cofferdam_runtime::listing::Listing;
use cofferdam_runtime::plan::{Host, project_root};
use cofferdam_runtime::promotion::Held;
use cofferdam_runtime::recover::{Recovered, recover};
use cofferdam_runtime::secrets;
use cofferdam_runtime::store::{Run, Store, StoreError};
use cofferdam_workspace::promote::latest_applied;
use cofferdam_workspace::{ChangeOptions, ChangeSet, Layers};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::failure::Failure;
use crate::output;

/// What a command gives back.
pub type Answer = Result<ExitCode, Failure>;

/// What to do where there is no latest run.
const ELSEWHERE: &str = "or name a run, which works from anywhere, as in coffer diff RUN: coffer list --all shows them";

/// The run that a person named.
pub struct Target {
    /// The run.
    pub run: Run,
}

impl Target {
    /// By id, prefix, or `@` for the latest of this project.
    pub fn find(host: &Host, store: &Store, name: &str) -> Result<Target, Failure> {
        // A run can be named from anywhere; `@` needs a project to be in.
        let project = match project_root(host, store) {
            Ok(root) => root,
            Err(e) if name == "@" => return Err(Failure::new(e).next(ELSEWHERE)),
            Err(_) => PathBuf::new(),
        };
        loop {
            let mut run = store.find(name, &project).map_err(|e| match e {
                StoreError::None(_) => Failure::new(e).next(ELSEWHERE),
                e => e.into(),
            })?;
            if settle(&mut run)? {
                return Ok(Target { run });
            }
        }
    }

    /// The run and paths of `[RUN] [PATH…]`: the first word is a run where it is `@`, or where it is the prefix of a run
    /// and neither the project nor the latest run here has a path of that name.
    pub fn with_paths(host: &Host, store: &Store, words: &[OsString]) -> Result<(Target, Option<Vec<Bytes>>), Failure> {
        let named = match words.first() {
            Some(word) => as_run(host, store, word)?,
            None => None,
        };
        let (target, rest) = match named {
            Some(name) => (Target::find(host, store, name)?, &words[1..]),
            None => (Target::find(host, store, "@")?, words),
        };
        let paths = rest.iter().map(|word| target.relative(host, word)).collect::<Result<Vec<_>, _>>()?;
        Ok((target, (!paths.is_empty()).then_some(paths)))
    }

    /// A path as a person gives it, relative to the current directory, as one relative to the project's root.
    pub fn relative(&self, host: &Host, word: &OsStr) -> Result<Bytes, Failure> {
        relative_to(self.run.record.project.as_path(), host, word)
    }

    /// Refuses paths that name nothing: a misspelt one must not pass for one without changes.
    pub fn known(&self, changes: &[Change], paths: &[Bytes]) -> Result<(), Failure> {
        let root = self.run.record.project.as_path();
        let unknown = |path: &&Bytes| {
            !changes.iter().any(|c| below(&c.path, path)) && root.join(path.as_path()).symlink_metadata().is_err()
        };
        match paths.iter().find(unknown) {
            None => Ok(()),
            Some(path) => Err(Failure::new(format!(
                "`{}` is no run, no path that run {} changed, and no file of the project",
                output::visible(&path.0),
                self.run.record.run.short()
            ))
            .next("coffer list shows the runs, coffer diff --name-only the changed paths")),
        }
    }

    /// The latest run of this project that was promoted and not undone.
    pub fn latest_promoted(host: &Host, store: &Store) -> Result<Target, Failure> {
        let project = project_root(host, store)?;
        let promoted = |run: &Run| Ok::<_, Failure>(latest_applied(&run.directory)?.is_some());
        match store.runs()?.latest(&project, promoted)? {
            Some(run) => Ok(Target { run }),
            None => Err(Failure::new(format!("no run of {} was promoted", project.display()))
                .next("coffer list shows the runs")),
        }
    }
}

/// A path as a person gives it, relative to the current directory, as one relative to a project's root.
pub fn relative_to(root: &Path, host: &Host, word: &OsStr) -> Result<Bytes, Failure> {
    let full = normalised(&host.cwd.join(word));
    match full.strip_prefix(root) {
        Ok(path) => Ok(Bytes::from(path)),
        Err(_) => Err(Failure::new(format!(
            "{} is not in the project {}",
            output::visible(full.as_os_str().as_encoded_bytes()),
            root.display()
        ))),
    }
}

/// The first word where it names a run.
fn as_run<'w>(host: &Host, store: &Store, word: &'w OsStr) -> Result<Option<&'w str>, Failure> {
    let Some(name) = word.to_str() else { return Ok(None) };
    if name == "@" {
        return Ok(Some(name));
    }
    if host.cwd.join(name).symlink_metadata().is_ok() || latest_has(host, store, name)? {
        return Ok(None);
    }
    match store.find(name, &host.cwd) {
        Ok(_) => Ok(Some(name)),
        Err(StoreError::Unknown(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether the latest run here made something of that name: then the name is a path, whatever runs are called.
fn latest_has(host: &Host, store: &Store, name: &str) -> Result<bool, Failure> {
    let Ok(root) = project_root(host, store) else { return Ok(false) };
    let run = match store.find("@", &root) {
        Ok(run) if run.record.discarded.is_none() => run,
        // Of a damaged one nobody knows; whoever needs it is told.
        Ok(_) | Err(StoreError::None(_) | StoreError::Broken { .. }) => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    let full = normalised(&host.cwd.join(name));
    let Ok(path) = full.strip_prefix(&root) else { return Ok(false) };
    let upper = std::fs::File::open(run.upper())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(!path.as_os_str().is_empty() && openat2(&upper, path, flags, Mode::empty(), resolve).is_ok())
}

/// Without `.` and `..`, by the text alone, as git does it.
fn normalised(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// Whether `path` is `named` or lies below it.
pub fn below(path: &Bytes, named: &Bytes) -> bool {
    named.0.is_empty() || path.0.strip_prefix(&named.0[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Leaves this process nothing but the project and the store, before it reads what an enclosure wrote.
pub fn confine(held: &Held, store: &Store) -> Result<(), Failure> {
    Ok(cofferdam_enclosure::confine_writer(&[held.run().record.project.as_path(), store.root()])?)
}

/// Settles a run whose monitor died, and says so. `false` where it never began and is gone.
pub fn settle(run: &mut Run) -> Result<bool, Failure> {
    let host = crate::host::host()?;
    match recover(run, || secrets::of_host(&host).secrets)? {
        Recovered::Nothing => {}
        Recovered::NeverBegan => return Ok(false),
        Recovered::Settled => output::remark(&format!(
            "run {} had lost its monitor: settled now, the real tree was never touched",
            run.record.run.short()
        )),
    }
    Ok(true)
}

/// The whole change set, with what could not be read said.
pub fn change_set(layers: &Layers) -> Result<ChangeSet, Failure> {
    let changes = cofferdam_workspace::change_set(layers, &ChangeOptions::default())?;
    for problem in changes.problems.iter().take(10) {
        output::complain(&output::visible(problem.to_string().as_bytes()));
    }
    Ok(changes)
}

/// The runs of a listing, what could not be read said.
pub fn readable(listing: Listing) -> Vec<Run> {
    for run in &listing.broken {
        output::complain(&format!("run {} is left out: {}", run.run, run.error));
    }
    listing.runs
}

/// Changed paths with git's status letters; a long list ends with a count.
pub fn listed(changed: &[FileChanged]) -> String {
    const MOST: usize = 20;
    let mut text = String::new();
    for change in changed.iter().take(MOST) {
        let letter = match (&change.before, &change.after) {
            (None, _) => 'A',
            (_, None) => 'D',
            _ => 'M',
        };
        text.push_str(&format!("  {letter} {}\n", output::visible(&change.path.0)));
    }
    if changed.len() > MOST {
        text.push_str(&format!("  … {} more\n", changed.len() - MOST));
    }
    text
}
