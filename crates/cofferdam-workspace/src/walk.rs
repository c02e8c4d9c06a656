//! Walking an overlayfs upper directory against the real tree: which paths may differ from their base.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cofferdam_core::Bytes;
use cofferdam_core::Timestamp;
use cofferdam_core::change::FileKind;
use cofferdam_core::leftover::is_leftover;
use rustix::io::Errno;

use crate::bases::Surroundings;
use crate::beneath;
use crate::entry::{self, RealEntry, UpperEntry};
use crate::error::{Layer, Problem, WorkspaceError};
use crate::judge::self_fd;
use crate::layers::Layers;

/// Promotion's working directory at the root of the real tree: never a change.
pub(crate) const STAGING: &[u8] = b".cofferdam-promotion";

const HALF_MOVED: &str = "the rename of a directory was cut off here: what lies in this one is missing beside it, and \
    none of it is promoted";

/// A path that may differ from its base.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub path: Bytes,
    /// The workspace's entry; `None` where the run deleted it.
    pub upper: Option<UpperEntry>,
    /// The real tree's entry now.
    pub real: Option<RealEntry>,
    pub surroundings: Surroundings,
    /// For a directory: whether the workspace shows nothing in it.
    pub empty: bool,
}

/// The real tree's directory at the same path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lower {
    /// Shows through.
    Merged,
    /// Is there, but an opaque directory here or above hides it.
    Hidden,
    /// Is none, or was none when the run began.
    None,
}

struct Frame {
    path: Vec<u8>,
    lower: Lower,
    settled: bool,
    /// The directory's own entries, kept back until it is known whether it is empty.
    own: Option<(UpperEntry, Option<RealEntry>, bool)>,
}

/// All candidates in no particular order, and what had to be passed over.
pub(crate) fn walk(layers: &Layers) -> Result<(Vec<Candidate>, Vec<Problem>), WorkspaceError> {
    let started = layers.index()?.started;
    let root_dev = entry::stat_fd(layers.root_fd()).map_err(WorkspaceError::io("look at", Layer::Real, "."))?.entry.dev;
    let mut walk = Walk { layers, started, root_dev, found: Vec::new(), problems: Vec::new(), stack: Vec::new() };
    walk.stack.push(Frame { path: Vec::new(), lower: Lower::Merged, settled: true, own: None });
    while let Some(frame) = walk.stack.pop() {
        walk.directory(frame)?;
    }
    Ok((walk.found, walk.problems))
}

struct Walk<'a> {
    layers: &'a Layers,
    started: Option<Timestamp>,
    root_dev: u64,
    found: Vec<Candidate>,
    problems: Vec<Problem>,
    stack: Vec<Frame>,
}

/// One directory of the upper layer, with what is needed at each of its names.
struct Place<'a> {
    path: &'a [u8],
    upper: BorrowedFd<'a>,
    lower: Option<BorrowedFd<'a>>,
    hidden: bool,
    settled: bool,
    /// `user.overlay.opaque` is `x`: whiteouts may be empty files with an attribute.
    attribute_whiteouts: bool,
}

impl Walk<'_> {
    fn settled(&self, real: &RealEntry) -> bool {
        self.started.is_some_and(|start| real.changed_before(start))
    }

    fn problem(&mut self, path: &[u8], what: String) {
        self.problems.push(Problem { path: path.into(), what });
    }

    fn directory(&mut self, frame: Frame) -> Result<(), WorkspaceError> {
        let upper = match beneath::open_directory(self.layers.upper_fd(), &frame.path) {
            Ok(fd) => fd,
            // A run that goes on may have removed it meanwhile.
            Err(errno) if beneath::is_absent(errno) && !frame.path.is_empty() => return Ok(()),
            Err(errno) if frame.path.is_empty() => return Err(WorkspaceError::io("list", Layer::Upper, ".")(errno)),
            Err(errno) => {
                self.problem(&frame.path, format!("the workspace's directory cannot be listed ({errno})"));
                self.own(&frame, false);
                return Ok(());
            }
        };
        let opaque = opaque(&upper);
        let lower = match frame.lower {
            Lower::None => None,
            _ => self.lower_directory(&frame.path),
        };
        let place = Place {
            path: &frame.path,
            upper: upper.as_fd(),
            lower: lower.as_ref().map(AsFd::as_fd),
            hidden: frame.lower == Lower::Hidden || opaque == Opaque::Yes,
            settled: frame.settled,
            attribute_whiteouts: opaque == Opaque::Attributes,
        };
        let mut names = HashSet::new();
        let mut empty = true;
        for name in self.names(upper.as_fd(), &frame.path)? {
            empty &= !self.name(&place, &name);
            if place.hidden {
                names.insert(name);
            }
        }
        if place.hidden
            && let Some(lower) = lower.as_ref()
        {
            for name in self.lower_names(lower, &frame.path) {
                if !names.contains(&name) {
                    self.delete(&place, &name);
                }
            }
        }
        self.own(&frame, empty);
        Ok(())
    }

    fn own(&mut self, frame: &Frame, empty: bool) {
        if let Some((upper, real, settled)) = frame.own {
            let surroundings = Surroundings { settled, appeared: true };
            let path = Bytes(frame.path.clone());
            self.found.push(Candidate { path, upper: Some(upper), real, surroundings, empty });
        }
    }

    /// Looks at one name; whether the workspace shows something there.
    fn name(&mut self, place: &Place<'_>, name: &[u8]) -> bool {
        let path = beneath::join(place.path, name);
        if path == STAGING {
            self.problem(&path, "this name is promotion's own; what the run put there is never promoted".to_owned());
            return false;
        }
        let upper = match entry::stat_at(place.upper, name) {
            Ok(found) => found,
            Err(Errno::NOENT) => return false,
            Err(errno) => {
                self.problem(&path, format!("the workspace's entry cannot be looked at ({errno})"));
                return false;
            }
        };
        if upper.whiteout || (place.attribute_whiteouts && is_attribute_whiteout(place.upper, name, &upper.entry)) {
            self.delete(place, name);
            return false;
        }
        if is_leftover(name) {
            self.problem(&path, HALF_MOVED.to_owned());
        }
        let real = self.real(place, name);
        let surroundings = Surroundings { settled: place.settled, appeared: true };
        let real_directory = real.filter(|real| real.kind == FileKind::Directory);
        if upper.entry.kind == FileKind::Directory {
            let lower = match (real_directory, place.hidden) {
                (None, _) => Lower::None,
                (Some(_), true) => Lower::Hidden,
                (Some(_), false) => Lower::Merged,
            };
            let settled = place.settled && real_directory.is_none_or(|real| self.settled(&real));
            let own = Some((upper, real, place.settled));
            self.stack.push(Frame { path, lower, settled, own });
            return true;
        }
        if let Some(real) = real_directory {
            self.delete_below(&path, &real, place.settled);
        }
        self.found.push(Candidate { path: Bytes(path), upper: Some(upper), real, surroundings, empty: false });
        true
    }

    fn real(&mut self, place: &Place<'_>, name: &[u8]) -> Option<RealEntry> {
        match entry::stat_at(place.lower?, name) {
            Ok(found) => Some(found.entry),
            Err(Errno::NOENT) => None,
            Err(errno) => {
                let path = beneath::join(place.path, name);
                self.problem(&path, format!("the real tree's entry cannot be looked at ({errno})"));
                None
            }
        }
    }

    /// The run deleted this name.
    fn delete(&mut self, place: &Place<'_>, name: &[u8]) {
        let path = beneath::join(place.path, name);
        if path == STAGING {
            return;
        }
        let real = self.real(place, name);
        if let Some(directory) = real.filter(|real| real.kind == FileKind::Directory) {
            self.delete_below(&path, &directory, place.settled);
        }
        let surroundings = Surroundings { settled: place.settled, appeared: false };
        self.found.push(Candidate { path: Bytes(path), upper: None, real, surroundings, empty: false });
    }

    /// Everything below a directory of the real tree that the run deleted.
    fn delete_below(&mut self, top: &[u8], directory: &RealEntry, settled: bool) {
        let mut stack = vec![(top.to_vec(), settled && self.settled(directory))];
        while let Some((path, settled)) = stack.pop() {
            let opened = match beneath::open_directory(self.layers.root_fd(), &path) {
                Ok(fd) => fd,
                Err(errno) => {
                    if !beneath::is_absent(errno) {
                        self.problem(&path, format!("the real tree's directory cannot be listed ({errno})"));
                    }
                    continue;
                }
            };
            for name in self.lower_names(&opened, &path) {
                let below = beneath::join(&path, &name);
                let real = match entry::stat_at(opened.as_fd(), &name) {
                    Ok(found) => found.entry,
                    Err(Errno::NOENT) => continue,
                    Err(errno) => {
                        self.problem(&below, format!("the real tree's entry cannot be looked at ({errno})"));
                        continue;
                    }
                };
                if real.kind == FileKind::Directory {
                    // overlayfs does not show what is mounted in its lower layer: the run cannot have deleted it.
                    if real.dev == self.root_dev {
                        stack.push((below.clone(), settled && self.settled(&real)));
                    } else {
                        self.problem(&below, "another file system is mounted here; it is left alone".to_owned());
                    }
                }
                let surroundings = Surroundings { settled, appeared: false };
                let path = Bytes(below);
                self.found.push(Candidate { path, upper: None, real: Some(real), surroundings, empty: false });
            }
        }
    }

    fn lower_directory(&mut self, path: &[u8]) -> Option<OwnedFd> {
        match beneath::open_directory(self.layers.root_fd(), path) {
            Ok(fd) => Some(fd),
            Err(errno) => {
                if !beneath::is_absent(errno) {
                    self.problem(path, format!("the real tree's directory cannot be opened ({errno})"));
                }
                None
            }
        }
    }

    fn lower_names(&mut self, directory: &OwnedFd, path: &[u8]) -> Vec<Vec<u8>> {
        match list(directory.as_fd()) {
            Ok(names) => names,
            Err(errno) => {
                self.problem(path, format!("the real tree's directory cannot be listed ({errno})"));
                Vec::new()
            }
        }
    }

    fn names(&self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<Vec<u8>>, WorkspaceError> {
        list(directory).map_err(WorkspaceError::io("list", Layer::Upper, path))
    }
}

fn list(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for found in rustix::fs::Dir::read_from(directory)? {
        let found = found?;
        let name = found.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opaque {
    No,
    Yes,
    Attributes,
}

/// The kernel's `user.overlay.opaque` (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
pub(crate) fn opaque(directory: &OwnedFd) -> Opaque {
    let mut value = [0u8; 2];
    match rustix::fs::fgetxattr(directory, c"user.overlay.opaque", &mut value[..]) {
        Ok(1) if value[0] == b'y' => Opaque::Yes,
        Ok(1) if value[0] == b'x' => Opaque::Attributes,
        _ => Opaque::No,
    }
}

pub(crate) fn is_attribute_whiteout(directory: BorrowedFd<'_>, name: &[u8], found: &RealEntry) -> bool {
    if found.kind != FileKind::File || found.size != 0 {
        return false;
    }
    let Ok(fd) = beneath::open_path(directory, name) else { return false };
    rustix::fs::getxattr(self_fd(fd.as_fd()), c"user.overlay.whiteout", &mut [0u8; 16][..]).is_ok()
}
