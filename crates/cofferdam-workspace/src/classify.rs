//! What kind of path a change is for promotion.

use cofferdam_core::Bytes;
use cofferdam_core::change::{Change, Class, FileKind};
use cofferdam_core::leftover::leftover_in;

use crate::beneath;
use crate::dotgit::has_dot_git;
use crate::entry;
use crate::executes::Executes;
use crate::generated::Generated;
use crate::ignored::{Ignored, read_bounded};
use crate::layers::Layers;
use crate::lifecycle;
use std::collections::HashSet;
use std::os::fd::AsFd;

/// Gives each change its class, in this order: left by a rename that was cut off, git metadata, ignored or generated, unpromotable, host execution, ordinary.
pub(crate) fn classify(layers: &Layers, changes: &mut [Change], excludes: Option<&[u8]>) -> Result<(), ignore::Error> {
    let executes = Executes::new()?;
    let deleted: HashSet<Bytes> =
        changes.iter().filter(|change| change.new.is_none()).map(|change| change.path.clone()).collect();
    let mut read = |path: &[u8]| present(layers, &deleted, path);
    let exclude = read(b".git/info/exclude");
    let root = read(b".gitignore");
    let mut ignored = Ignored::new(excludes, exclude.as_deref(), root.as_deref());
    let mut generated = Generated::default();
    for change in changes {
        (change.class, change.executes) = class(layers, change, &executes, &mut ignored, &mut read);
        if change.class != Class::GitMetadata && generated.holds(&change.path.0, &mut read) {
            (change.class, change.executes) = (Class::Ignored, None);
        }
    }
    Ok(())
}

fn class(
    layers: &Layers,
    change: &Change,
    executes: &Executes,
    ignored: &mut Ignored,
    read: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>,
) -> (Class, Option<String>) {
    let kind = change.new.as_ref().or(change.old.as_ref()).map(|entry| entry.kind);
    if leftover_in(&change.path.0).is_some() {
        return (Class::Unpromotable, None);
    }
    if has_dot_git(&change.path.0) {
        return (Class::GitMetadata, None);
    }
    if ignored.is_ignored(&change.path.0, kind == Some(FileKind::Directory), read) {
        return (Class::Ignored, None);
    }
    if matches!(change.new.as_ref().map(|entry| entry.kind), Some(FileKind::Fifo | FileKind::Socket | FileKind::Device))
    {
        return (Class::Unpromotable, None);
    }
    match clause(layers, change, executes) {
        Some(clause) => (Class::HostExecution, Some(clause.to_owned())),
        None => (Class::Ordinary, None),
    }
}

fn clause(layers: &Layers, change: &Change, executes: &Executes) -> Option<&'static str> {
    let bits = |mode: u32| mode & 0o6000;
    let before = change.old.as_ref().map_or(0, |old| bits(old.mode));
    if change.new.as_ref().is_some_and(|new| bits(new.mode) & !before != 0 && new.kind == FileKind::File) {
        return Some("whoever runs it gets its owner's or group's rights");
    }
    // Directories run nothing by themselves, what lies in them is listed.
    if change.new.as_ref().or(change.old.as_ref()).is_some_and(|entry| entry.kind == FileKind::Directory) {
        return None;
    }
    let name = beneath::split(&change.path.0).1;
    if name.eq_ignore_ascii_case(b"package.json") {
        let gone = change.new.is_none();
        return (!gone && lifecycle::changes(layers, &change.path)).then_some(lifecycle::CLAUSE);
    }
    executes.by_path(change.path.as_path())
}

/// A file as the workspace has it: its own version, otherwise the real tree's where the run did not delete it.
fn present(layers: &Layers, deleted: &HashSet<Bytes>, path: &[u8]) -> Option<Vec<u8>> {
    let (directory, name) = beneath::split(path);
    let upper = beneath::open_directory_path(layers.upper_fd(), directory)
        .and_then(|at| entry::stat_at(at.as_fd(), name).map(|found| (at, found)));
    match upper {
        Ok(_) => read_bounded(layers.upper_fd(), path),
        Err(_) if deleted.contains(&Bytes::from(path)) => None,
        Err(_) => read_bounded(layers.root_fd(), path),
    }
}
