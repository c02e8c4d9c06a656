//! Runs that go on where another one ended: that one's upper layers lie read-only under their own.
//!
//! The kernel takes a former upper directory as a lower one: white-outs, opaque directories (`user.overlay.opaque`) and
//! origins are read in lower layers as well where all are mounted with `userxattr`, and nothing is written to it. The mark
//! of a `volatile` mount lies in the scratch directory, not in the layer
//! (Documentation/filesystems/overlayfs.rst, "Multiple lower layers", "Volatile mount").

use std::path::{Path, PathBuf};

use cofferdam_core::Bytes;
use cofferdam_core::plan::{Mount, Origin, Purpose, RunPlan};

use crate::prepare::share_home;
use crate::store::{KeptLayer, Run, Store, StoreError};

/// Most runs under a run: their layers' names must fit an option of 256 bytes (`fsconfig(2)`).
pub const MOST_LAYERS: usize = 10;

/// Why a run cannot go on from another one.
#[derive(Debug, thiserror::Error)]
pub enum FromError {
    /// It has not ended.
    #[error("run {0} has not ended: wait for it, or stop it")]
    Running(String),
    /// Its layers are gone.
    #[error("run {0} was discarded: its layers are gone, and nothing can go on from it")]
    Discarded(String),
    /// It ran somewhere else.
    #[error("run {run} ran in {project}: change to that directory")]
    Elsewhere {
        /// The run.
        run: String,
        /// Its project.
        project: String,
    },
    /// Too many runs lie on each other.
    #[error("run {0} lies on {MOST_LAYERS} earlier runs already: promote it, and start from the real tree")]
    TooDeep(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lays the workspace of a plan over that of a run that has ended. For a repetition the persistent home of that run's agent
/// lies under the plan's own as well, so that nothing that it writes is kept.
///
/// The caller sees to it that nobody discards the run meanwhile.
///
/// # Errors
/// [`FromError`]; the plan is of no use then.
pub fn go_on_from(store: &Store, plan: &mut RunPlan, run: &Run, purpose: Option<Purpose>) -> Result<(), FromError> {
    let runs = chain(store, plan, run)?;
    plan.from = Some(Origin { run: run.record.run.clone(), purpose });
    if purpose == Some(Purpose::Rerun) {
        take_home_of(store, plan, run);
        let directory = plan.directory.as_path().to_owned();
        share_home(plan, &directory);
    }
    for mount in &mut plan.enclosure.mounts {
        if let Mount::Overlay { target, between, .. } = mount {
            let project = *target == plan.project;
            between.extend(runs.iter().filter_map(|run| kept(run, target, project)).map(Bytes::from));
        }
    }
    Ok(())
}

/// The run and those that it went on from itself, the latest first.
fn chain(store: &Store, plan: &RunPlan, run: &Run) -> Result<Vec<Run>, FromError> {
    let name = |run: &Run| run.record.run.to_string();
    let mut runs = vec![run.clone()];
    loop {
        let Some(last) = runs.last() else { return Ok(runs) };
        if last.record.ended.is_none() {
            return Err(FromError::Running(name(last)));
        }
        if last.record.discarded.is_some() || !last.upper().is_dir() {
            return Err(FromError::Discarded(name(last)));
        }
        if last.record.project != plan.project {
            let project = last.record.project.as_path().display().to_string();
            return Err(FromError::Elsewhere { run: name(last), project });
        }
        let Some(origin) = &last.record.from else { return Ok(runs) };
        if runs.len() == MOST_LAYERS {
            return Err(FromError::TooDeep(name(run)));
        }
        let next = store.find(origin.run.as_str(), plan.project.as_path())?;
        runs.push(next);
    }
}

/// The upper layer that a run had at a place, where it had one.
fn kept(run: &Run, target: &Bytes, project: bool) -> Option<PathBuf> {
    if project {
        return Some(run.upper());
    }
    let layer = run.record.layers.iter().find(|layer| layer.target == *target)?;
    let directory = run.directory.join(layer.upper.as_path());
    directory.is_dir().then_some(directory)
}

fn take_home_of(store: &Store, plan: &mut RunPlan, run: &Run) {
    let home = Bytes::from(store.home_directory(plan.project.as_path(), &run.record.agent));
    for mount in &mut plan.enclosure.mounts {
        if let Mount::Bind { source, .. } = mount
            && *source == plan.home
        {
            *source = home.clone();
        }
    }
    plan.home = home;
    plan.agent.clone_from(&run.record.agent);
}

/// Whether a plan is that of a repetition.
pub(crate) fn is_rerun(plan: &RunPlan) -> bool {
    plan.from.as_ref().is_some_and(|from| from.purpose == Some(Purpose::Rerun))
}

/// The layers that a run of this plan leaves beside the project's.
pub(crate) fn kept_layers(plan: &RunPlan) -> Vec<KeptLayer> {
    let own = |path: &Path| path.strip_prefix(plan.directory.as_path()).ok().map(Bytes::from);
    let layer = |mount: &Mount| match mount {
        Mount::Overlay { target, upper, .. } if *target != plan.project => {
            Some(KeptLayer { target: target.clone(), upper: own(upper.as_path())? })
        }
        _ => None,
    };
    plan.enclosure.mounts.iter().filter_map(layer).collect()
}
