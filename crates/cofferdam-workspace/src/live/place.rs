//! What the layer has at a path, found from its root down: one name at a time, so that no link is ever followed and a
//! directory that is swapped meanwhile leads nowhere else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::beneath;
use crate::entry::{self, UpperEntry};
use crate::ignored::read_bounded;
use crate::layers::Layers;
use crate::walk::{Opaque, is_attribute_whiteout, opaque};
use cofferdam_core::change::FileKind;

/// What stands for a directory in the layer.
#[derive(Debug)]
pub(super) enum Place {
    /// The layer has it.
    Here(Here),
    /// The workspace has no such directory.
    Gone,
    /// The layer has nothing there: the real tree shows through.
    Through,
}

/// A directory of the layer.
#[derive(Debug)]
pub(super) struct Here {
    fd: OwnedFd,
    /// Nothing of the real tree shows through in it.
    pub hidden: bool,
    attribute_whiteouts: bool,
}

/// What the layer has under a name of a directory of its own.
pub(super) enum Found {
    Nothing,
    Deleted,
    Entry(UpperEntry),
}

impl Place {
    /// Finds a directory by its path; the empty path is the layer's root.
    pub fn find(upper: BorrowedFd<'_>, directory: &[u8]) -> Result<Place, Errno> {
        let mut here = Here::of(beneath::open_directory(upper, b"")?, false);
        for name in directory.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            match here.look(name)? {
                Found::Entry(found) if found.entry.kind == FileKind::Directory => match here.enter(name) {
                    Ok(next) => here = next,
                    Err(errno) if beneath::is_absent(errno) => return Ok(Place::Gone),
                    Err(errno) => return Err(errno),
                },
                Found::Entry(_) | Found::Deleted => return Ok(Place::Gone),
                Found::Nothing if here.hidden => return Ok(Place::Gone),
                Found::Nothing => return Ok(Place::Through),
            }
        }
        Ok(Place::Here(here))
    }
}

impl Here {
    fn of(fd: OwnedFd, hidden: bool) -> Here {
        let opaque = opaque(&fd);
        Here { hidden: hidden || opaque == Opaque::Yes, attribute_whiteouts: opaque == Opaque::Attributes, fd }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The entry of one name.
    pub fn look(&self, name: &[u8]) -> Result<Found, Errno> {
        match entry::stat_at(self.fd(), name) {
            Ok(found) if found.whiteout => Ok(Found::Deleted),
            Ok(found) if self.attribute_whiteouts && is_attribute_whiteout(self.fd(), name, &found.entry) => {
                Ok(Found::Deleted)
            }
            Ok(found) => Ok(Found::Entry(found)),
            Err(Errno::NOENT) => Ok(Found::Nothing),
            Err(errno) => Err(errno),
        }
    }

    /// The directory of one name.
    pub fn enter(&self, name: &[u8]) -> Result<Here, Errno> {
        Ok(Here::of(beneath::open_directory(self.fd(), name)?, self.hidden))
    }

    /// Whether the workspace shows nothing in it that the layer has.
    pub fn is_empty(&self) -> Result<bool, Errno> {
        for found in rustix::fs::Dir::read_from(&self.fd)? {
            let found = found?;
            let name = found.file_name().to_bytes();
            if name != b"." && name != b".." && matches!(self.look(name)?, Found::Entry(_)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A small file as the workspace has it: its own version, otherwise the real tree's where that shows.
pub(super) fn present(layers: &Layers, path: &[u8]) -> Option<Vec<u8>> {
    let (directory, name) = beneath::split(path);
    match Place::find(layers.upper_fd(), directory).ok()? {
        Place::Gone => None,
        Place::Through => read_bounded(layers.root_fd(), path),
        Place::Here(here) => match here.look(name).ok()? {
            Found::Entry(_) => read_bounded(here.fd(), name),
            Found::Nothing if !here.hidden => read_bounded(layers.root_fd(), path),
            Found::Nothing | Found::Deleted => None,
        },
    }
}
