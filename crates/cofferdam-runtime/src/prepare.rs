//! The directories and locks of a run.
//!
//! The client makes them while the kernel makes the namespaces, and hands them to the monitor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cofferdam_core::plan::{Mount, RunPlan};
use cofferdam_core::{Bytes, Timestamp};
use cofferdam_enclosure::{Channel, read_large};
use cofferdam_evidence::Secrets;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::configuration;
use crate::from::{is_rerun, kept_layers};
use crate::home_files;
use crate::plan::hidden_places;
use crate::protocol::Ask;
use crate::publish::Listening;
use crate::store::{Lock, RunRecord, StoreError, doing, private_directory, try_lock, write_new_record};
use crate::tripwires::{self, Decoys};

/// A run whose directories stand and whose locks are held.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) plan: RunPlan,
    pub(crate) directory: PathBuf,
    pub(crate) record: RunRecord,
    /// What is struck out of the evidence.
    pub(crate) secrets: Secrets,
    /// The host's own way out, for the gateway: [`crate::plan::proxy`]. Never in the plan and the evidence, for it may hold a
    /// password.
    pub(crate) proxy: Vec<String>,
    /// What stands in the home to be opened by nobody.
    pub(crate) decoys: Decoys,
    /// Of each port that the plan publishes, its listeners.
    pub(crate) listeners: Vec<Vec<OwnedFd>>,
    run: Option<Lock>,
    home: Option<Lock>,
}

impl Prepared {
    /// Makes the directories, takes the locks, and completes the plan: where another run has the home layer, this one
    /// gets a copy-on-write view of it. The secrets and the proxy go to the monitor only.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub fn new(
        mut plan: RunPlan,
        secrets: Secrets,
        proxy: Vec<String>,
        published: Vec<Listening>,
    ) -> Result<Prepared, StoreError> {
        let directory = plan.directory.as_path().to_owned();
        private_directory(&directory)?;
        let run = try_lock(&directory)?;
        for name in ["layers", "base", "evidence"] {
            make(&directory.join(name))?;
        }
        make_home(plan.home.as_path())?;
        // A repetition has a view of the home already, and leaves the home itself to the next run.
        let mut home = None;
        if !is_rerun(&plan) {
            home = lock_home(plan.home.as_path())?;
            if home.is_none() {
                share_home(&mut plan, &directory);
                plan.notes.push("another run has this agent's home: what this run writes there is not kept".to_owned());
            } else {
                crate::way::clear(&mut plan)?;
            }
        }
        for mount in &plan.enclosure.mounts {
            if let Mount::Overlay { lower, between, upper, work, .. } = mount {
                layer(between.first().unwrap_or(lower).as_path(), upper.as_path(), work.as_path())?;
            }
        }
        configure(&mut plan, home.is_some())?;
        place_home_files(&mut plan, home.is_some());
        let decoys = if plan.tripwires.is_empty() { Decoys::default() } else { decoys(&mut plan, home.is_some()) };
        let record = RunRecord {
            run: plan.run.clone(),
            project: plan.project.clone(),
            agent: plan.agent.clone(),
            argv: plan.enclosure.argv.clone(),
            started: Timestamp::now(),
            ended: None,
            discarded: None,
            from: plan.from.clone(),
            layers: kept_layers(&plan),
        };
        write_new_record(&directory, &record)?;
        let listeners = published.into_iter().map(Listening::into_descriptors).collect();
        Ok(Prepared { plan, directory, record, secrets, proxy, decoys, listeners, run, home })
    }

    /// The decided plan.
    pub fn plan(&self) -> &RunPlan {
        &self.plan
    }

    /// Hands the run to the monitor. The locks go with it: a lock is held as long as one descriptor of it is open.
    ///
    /// # Errors
    /// Where the monitor is gone.
    pub fn hand_over(self, channel: &Channel) -> io::Result<()> {
        let locks = self.run.iter().chain(&self.home).map(AsFd::as_fd);
        let files: Vec<BorrowedFd<'_>> = locks.chain(self.listeners.iter().flatten().map(AsFd::as_fd)).collect();
        let listeners = self.listeners.iter().map(Vec::len).collect();
        let cover = Ask::Start { home: self.home.is_some(), listeners };
        channel.send_large(&cover, &(&self.plan, &self.record, &self.secrets, &self.proxy, &self.decoys), &files)
    }

    /// Takes what the client handed over.
    pub(crate) fn taken(
        memory: OwnedFd,
        mut locks: Vec<OwnedFd>,
        home: bool,
        listeners: &[usize],
    ) -> io::Result<Prepared> {
        type Whole = (RunPlan, RunRecord, Secrets, Vec<String>, Decoys);
        let (plan, record, secrets, proxy, decoys): Whole = read_large(memory)?;
        let directory = plan.directory.as_path().to_owned();
        let first = locks.len().saturating_sub(listeners.iter().sum());
        let mut files = locks.split_off(first).into_iter();
        let listeners = listeners.iter().map(|count| files.by_ref().take(*count).collect()).collect();
        let home = if home { locks.pop().map(Lock::from) } else { None };
        let run = locks.pop().map(Lock::from);
        Ok(Prepared { plan, directory, record, secrets, proxy, decoys, listeners, run, home })
    }

    /// Lets go of the home, once nothing of the enclosure lives: the next run of this agent here gets it.
    pub(crate) fn release_home(&mut self) {
        self.home = None;
    }

    /// Lets go of the run, once it is settled: it can be promoted and discarded.
    pub(crate) fn release_run(&mut self) {
        self.run = None;
    }

    /// Removes the kernel's scratch directories: the layers are complete without, and the marker in them would refuse
    /// them as layers of another run (`volatile`, Documentation/filesystems/overlayfs.rst).
    pub(crate) fn remove_scratch(&self) {
        for mount in &self.plan.enclosure.mounts {
            if let Mount::Overlay { work, .. } = mount {
                // What stays is in the way of nothing; `coffer discard` removes it.
                let _ = crate::removal::remove_tree(work.as_path());
            }
        }
    }

    /// Takes everything back: there was no run.
    pub(crate) fn remove(&self) {
        // What cannot be removed now is removed by the next command that lists runs.
        let _ = crate::store::remove_run(&self.directory);
    }
}

fn make(path: &Path) -> Result<(), StoreError> {
    rustix::fs::mkdir(path, rustix::fs::Mode::RWXU).map_err(|e| doing("making", path)(e.into()))
}

/// An upper layer and its scratch directory. The root of an overlay has the attributes of the upper directory: they are
/// made those of the lower one.
fn layer(lower: &Path, upper: &Path, work: &Path) -> Result<(), StoreError> {
    if let Some(parent) = upper.parent()
        && !parent.is_dir()
    {
        make(parent)?;
    }
    make(upper)?;
    make(work)?;
    let of = lower.metadata().map_err(doing("looking at", lower))?;
    std::fs::set_permissions(upper, std::fs::Permissions::from_mode(of.mode() & 0o7777))
        .map_err(doing("preparing", upper))?;
    let time = |s: i64, ns: i64| Timespec { tv_sec: s, tv_nsec: ns };
    let times = Timestamps {
        last_access: time(of.atime(), of.atime_nsec()),
        last_modification: time(of.mtime(), of.mtime_nsec()),
    };
    utimensat(CWD, upper, &times, AtFlags::empty()).map_err(|e| doing("preparing", upper)(e.into()))
}

/// Makes the persistent home where it is missing. Two runs that begin at once both make one, and the first that has it whole is
/// the home.
fn make_home(home: &Path) -> Result<(), StoreError> {
    if home.is_dir() {
        return Ok(());
    }
    let mut name = home.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    // What a process of this number left that was killed here.
    crate::removal::remove_tree(&new).map_err(doing("removing", &new))?;
    private_directory(&new)?;
    for (place, directory) in hidden_places() {
        let at = new.join(place);
        if let Some(parent) = at.parent() {
            private_directory(parent)?;
        }
        let made = if directory { std::fs::create_dir(&at) } else { std::fs::write(&at, b"") };
        made.and_then(|()| std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o0)))
            .map_err(doing("preparing", &at))?;
    }
    match std::fs::rename(&new, home) {
        Err(_) if home.is_dir() => crate::removal::remove_tree(&new).map(|_| ()).map_err(doing("removing", &new)),
        other => other.map_err(doing("preparing", home)),
    }
}

/// The layers of the home, the one that takes the writes first and the home last: the home alone where it is this run's `own`.
/// `None` where it is not in the view.
fn home_layers(plan: &RunPlan, own: bool) -> Option<Vec<Bytes>> {
    if own {
        return Some(vec![plan.home.clone()]);
    }
    plan.enclosure.mounts.iter().find_map(|mount| match mount {
        Mount::Overlay { lower, between, upper, .. } if *lower == plan.home => {
            Some([upper].into_iter().chain(between).chain([lower]).cloned().collect())
        }
        _ => None,
    })
}

/// Writes a known agent's configuration into its home.
fn configure(plan: &mut RunPlan, own: bool) -> Result<(), StoreError> {
    let (Some(known), Some(layers)) = (&plan.known, home_layers(plan, own)) else { return Ok(()) };
    let layers: Vec<&Path> = layers.iter().map(Bytes::as_path).collect();
    let mut notes = Vec::new();
    configuration::bring(&layers, &known.configuration, &mut notes)?;
    plan.notes.extend(notes);
    Ok(())
}

/// Writes what the home gets for this run: into the home, where it is this run's alone, else into this run's layer of it. Where an
/// earlier run left something in the way, the person is told, and the agent goes without.
fn place_home_files(plan: &mut RunPlan, own: bool) {
    let Some(layer) = home_layers(plan, own).and_then(|layers| layers.into_iter().next()) else { return };
    for file in &plan.home_files {
        if let Err(e) = home_files::write(layer.as_path(), file) {
            let what = file.path.as_path().display();
            plan.notes.push(format!("~/{what} is not there: something in the agent's home is in its way: {e}"));
        }
    }
}

/// Places the decoys: in the home, where it is this run's alone, else in this run's layer of it. There is no boundary in them:
/// where they cannot stand, the person is told, and the run goes on.
fn decoys(plan: &mut RunPlan, own: bool) -> Decoys {
    let Some(layers) = home_layers(plan, own) else { return Decoys::default() };
    let layers: Vec<&Path> = layers.iter().map(Bytes::as_path).collect();
    let placed = match layers.split_first() {
        Some((upper, below)) if !below.is_empty() => tripwires::place_above(upper, below),
        _ => tripwires::place(plan.home.as_path()),
    };
    placed.unwrap_or_else(|e| {
        plan.notes.push(format!("no tripwires: {e}"));
        Decoys::default()
    })
}

/// Takes the persistent home; `None` where another run has it.
fn lock_home(home: &Path) -> Result<Option<Lock>, StoreError> {
    try_lock(home.parent().unwrap_or(home))
}

/// Two runs of one agent in one project at once do not meet in their home.
pub(crate) fn share_home(plan: &mut RunPlan, directory: &Path) {
    for mount in &mut plan.enclosure.mounts {
        if let Mount::Bind { source, target, .. } = mount
            && *source == plan.home
        {
            *mount = Mount::Overlay {
                lower: plan.home.clone(),
                between: Vec::new(),
                upper: directory.join("layers/home/upper").into(),
                work: directory.join("layers/home/work").into(),
                target: target.clone(),
            };
        }
    }
}
