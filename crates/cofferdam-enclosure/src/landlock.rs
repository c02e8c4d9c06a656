//! The second layer under the mounts: what the view offers read-only stays read-only, what is not of the view does not
//! exist, even through a descriptor or a mount that should not be there (`landlock(7)`).

use std::io;
use std::path::Path;

use cofferdam_core::Bytes;
use cofferdam_core::plan::{Access, EnclosurePlan, Mount};
use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};

use crate::error::{EnclosureError, Step};

/// Without these rights (ABI 2: Linux 5.19) there is no run: ABI 1 would forbid every rename across directories.
const REQUIRED: ABI = ABI::V2;
/// The newest rights we know; the kernel takes what it has of them.
const WANTED: ABI = ABI::V7;

/// An error of the landlock crate as ours.
pub(crate) fn failed(e: &dyn std::error::Error) -> EnclosureError {
    EnclosureError::new(Step::Landlock, "Landlock cannot be set up", io::Error::other(e.to_string()))
}

/// A ruleset that denies everything: the rights of [`REQUIRED`] are a must, those of [`WANTED`] as the kernel has them.
fn everything_handled() -> Result<RulesetCreated, landlock::RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()
}

/// The rules for a view, opened inside it.
pub(crate) fn ruleset(plan: &EnclosurePlan) -> Result<RulesetCreated, EnclosureError> {
    let mut rules = everything_handled().map_err(|e| failed(&e))?;
    let mut allow = |path: &Bytes, access| -> Result<(), EnclosureError> {
        let fd = PathFd::new(path.as_path()).map_err(|e| failed(&e))?;
        (&mut rules).add_rule(PathBeneath::new(fd, access)).map_err(|e| failed(&e))?;
        Ok(())
    };
    allow(&"/".into(), AccessFs::from_read(WANTED))?;
    for writable in ["/dev", "/proc"].map(Bytes::from).iter().chain(plan.mounts.iter().filter_map(writable)) {
        allow(writable, AccessFs::from_all(WANTED))?;
    }
    Ok(rules)
}

/// Puts this process under the rules, in a domain of its own: a process under the same rules that restricted itself
/// another time is outside, and can be neither signalled nor traced from here.
pub(crate) fn restrict(rules: &RulesetCreated) -> Result<(), EnclosureError> {
    let failed = |e: &dyn std::error::Error| {
        EnclosureError::new(Step::Landlock, "Landlock cannot be set up", io::Error::other(e.to_string()))
    };
    let rules = rules.try_clone().map_err(|e| failed(&e))?;
    rules.restrict_self().map_err(|e| failed(&e))?;
    Ok(())
}

fn writable(mount: &Mount) -> Option<&Bytes> {
    match mount {
        Mount::Bind { target, access: Access::ReadWrite, .. }
        | Mount::Overlay { target, .. }
        | Mount::Tmpfs { target, .. } => Some(target),
        _ => None,
    }
}

/// Confines this thread, and what it starts, to reading below `paths`: for commands that look at what an enclosure left
/// behind. No writing, no executing, nothing else of the machine.
///
/// # Errors
/// Where the kernel has no Landlock, or a path cannot be opened.
pub fn confine_reader(paths: &[&Path]) -> Result<(), EnclosureError> {
    confine(paths, AccessFs::ReadFile | AccessFs::ReadDir)
}

/// As [`confine_reader`], for commands that change `paths` and what is below them: no executing, nothing else of the machine.
///
/// # Errors
/// As [`confine_reader`].
pub fn confine_writer(paths: &[&Path]) -> Result<(), EnclosureError> {
    confine(paths, AccessFs::from_all(WANTED) & !AccessFs::Execute)
}

fn confine(paths: &[&Path], access: BitFlags<AccessFs>) -> Result<(), EnclosureError> {
    let mut rules = everything_handled().map_err(|e| failed(&e))?;
    for path in paths {
        let fd = PathFd::new(path).map_err(|e| failed(&e))?;
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(WANTED) };
        rules = rules.add_rule(PathBeneath::new(fd, access)).map_err(|e| failed(&e))?;
    }
    rules.restrict_self().map_err(|e| failed(&e))?;
    Ok(())
}
