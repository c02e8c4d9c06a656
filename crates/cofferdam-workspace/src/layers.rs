//! Where a workspace's layers lie, and safe hands into each of them.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cofferdam_core::change::FileKind;
use cofferdam_core::{Bytes, Timestamp};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::bases::{self, Index, Source};
use crate::beneath;
use crate::entry::{self, RealEntry};
use crate::error::{Layer, WorkspaceError};
use crate::index::Certainty;

/// Where a workspace's layers lie on the host.
///
/// Holds a descriptor of each directory; every path below is opened relative to it with `RESOLVE_BENEATH`,
/// `RESOLVE_NO_SYMLINKS` and `RESOLVE_NO_MAGICLINKS` (openat2(2)).
#[derive(Debug)]
pub struct Layers {
    /// The real tree.
    pub root: PathBuf,
    /// The run's overlayfs upper directory.
    pub upper: PathBuf,
    /// The captured bases, in the store.
    pub base: PathBuf,
    root_fd: OwnedFd,
    upper_fd: OwnedFd,
    base_fd: OwnedFd,
    index: OnceLock<Index>,
}

fn directory(layer: Layer, path: &Path) -> Result<OwnedFd, WorkspaceError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(WorkspaceError::io("open the directory", layer, path))
}

impl Layers {
    /// Opens the three directories; they must exist.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`] where one of them cannot be opened or is no directory.
    pub fn open(
        root: impl Into<PathBuf>,
        upper: impl Into<PathBuf>,
        base: impl Into<PathBuf>,
    ) -> Result<Layers, WorkspaceError> {
        let (root, upper, base) = (root.into(), upper.into(), base.into());
        Ok(Layers {
            root_fd: directory(Layer::Real, &root)?,
            upper_fd: directory(Layer::Upper, &upper)?,
            base_fd: directory(Layer::Base, &base)?,
            root,
            upper,
            base,
            index: OnceLock::new(),
        })
    }

    /// The same directories, with an index of bases that holds nothing but the run's start.
    pub(crate) fn without_bases(&self, started: Option<Timestamp>) -> Result<Layers, WorkspaceError> {
        let again = |fd: &OwnedFd, layer| fd.try_clone().map_err(WorkspaceError::std("hold", layer, "."));
        Ok(Layers {
            root: self.root.clone(),
            upper: self.upper.clone(),
            base: self.base.clone(),
            root_fd: again(&self.root_fd, Layer::Real)?,
            upper_fd: again(&self.upper_fd, Layer::Upper)?,
            base_fd: again(&self.base_fd, Layer::Base)?,
            index: OnceLock::from(Index { started, ..Index::default() }),
        })
    }

    /// The index of bases, to add to; only of layers made [without bases](Layers::without_bases).
    pub(crate) fn index_mut(&mut self) -> Option<&mut Index> {
        self.index.get_mut()
    }

    /// The real tree's directory (`O_PATH`).
    pub fn root_fd(&self) -> BorrowedFd<'_> {
        self.root_fd.as_fd()
    }

    /// The upper directory (`O_PATH`).
    pub fn upper_fd(&self) -> BorrowedFd<'_> {
        self.upper_fd.as_fd()
    }

    /// The directory of captured bases (`O_PATH`).
    pub fn base_fd(&self) -> BorrowedFd<'_> {
        self.base_fd.as_fd()
    }

    /// The workspace's file, open for reading.
    ///
    /// # Errors
    /// [`WorkspaceError::WrongKind`] for anything but a regular file (a FIFO is not waited for),
    /// [`WorkspaceError::BadPath`], [`WorkspaceError::Io`].
    pub fn open_new(&self, path: &Bytes) -> Result<File, WorkspaceError> {
        regular(Layer::Upper, self.upper_fd(), path)
    }

    /// The text of the workspace's symbolic link.
    ///
    /// # Errors
    /// As [`Layers::open_new`], for anything but a link.
    pub fn link_new(&self, path: &Bytes) -> Result<Bytes, WorkspaceError> {
        link(Layer::Upper, self.upper_fd(), path)
    }

    /// The permission bits (`st_mode & 0777`) of the workspace's directory; `None` where it has no directory there.
    ///
    /// # Errors
    /// [`WorkspaceError::BadPath`], [`WorkspaceError::Io`].
    pub fn directory_mode(&self, path: &Bytes) -> Result<Option<u32>, WorkspaceError> {
        plain(path)?;
        match beneath::open_path(self.upper_fd(), &path.0).and_then(entry::stat_fd) {
            Ok(found) if found.entry.kind == FileKind::Directory => Ok(Some(found.entry.mode & 0o777)),
            Ok(_) => Ok(None),
            Err(errno) if beneath::is_absent(errno) => Ok(None),
            Err(errno) => Err(WorkspaceError::io("look at", Layer::Upper, path.clone())(errno)),
        }
    }

    /// The base's content: the real tree's file where it still is the base, otherwise the captured copy.
    /// `None` where the base is absent, is no regular file, or is not known any more.
    ///
    /// # Errors
    /// [`WorkspaceError::Index`] for a damaged store, [`WorkspaceError::BadPath`], [`WorkspaceError::Io`].
    pub fn open_base(&self, path: &Bytes) -> Result<Option<File>, WorkspaceError> {
        let real = self.real_entry(path)?;
        let base = bases::resolve(self, path, real.as_ref(), None)?;
        match base.entry {
            Some(entry) if entry.kind == FileKind::File => self.open_source(path, &base.source),
            _ => Ok(None),
        }
    }

    /// The text of the base's symbolic link, as [`Layers::open_base`] does it for files.
    ///
    /// # Errors
    /// As [`Layers::open_base`].
    pub fn link_base(&self, path: &Bytes) -> Result<Option<Bytes>, WorkspaceError> {
        let real = self.real_entry(path)?;
        let base = bases::resolve(self, path, real.as_ref(), None)?;
        match (base.entry.map(|entry| entry.kind), base.source) {
            (Some(FileKind::Symlink), Source::Real) => link(Layer::Real, self.root_fd(), path).map(Some),
            (Some(FileKind::Symlink), Source::Text(text)) => Ok(Some(text)),
            _ => Ok(None),
        }
    }

    /// Whether the base is an edit that the person made while the run went on, and that was then copied up. The run may
    /// have read an older version before it wrote: where it rewrote the whole file, a merge would drop the edit
    /// without a conflict, so that promotion should ask.
    ///
    /// # Errors
    /// [`WorkspaceError::Index`] for a damaged store, [`WorkspaceError::BadPath`], [`WorkspaceError::Io`].
    pub fn base_edited_during_run(&self, path: &Bytes) -> Result<bool, WorkspaceError> {
        plain(path)?;
        Ok(self.index()?.records.get(path).is_some_and(|record| record.state == Certainty::CopyUp))
    }

    /// The real tree's file at a path, whether or not it is the base.
    ///
    /// # Errors
    /// As [`Layers::open_new`].
    pub fn open_real(&self, path: &Bytes) -> Result<File, WorkspaceError> {
        regular(Layer::Real, self.root_fd(), path)
    }

    /// The text of the real tree's link at a path, whether or not it is the base.
    ///
    /// # Errors
    /// As [`Layers::open_new`], for anything but a link.
    pub fn link_real(&self, path: &Bytes) -> Result<Bytes, WorkspaceError> {
        link(Layer::Real, self.root_fd(), path)
    }

    /// The real tree's present entry; `None` where there is none, or a parent is no directory (a link is none).
    ///
    /// # Errors
    /// [`WorkspaceError::BadPath`], [`WorkspaceError::Io`].
    pub fn real_entry(&self, path: &Bytes) -> Result<Option<RealEntry>, WorkspaceError> {
        plain(path)?;
        match beneath::open_path(self.root_fd(), &path.0).and_then(entry::stat_fd) {
            Ok(found) => Ok(Some(found.entry)),
            Err(errno) if beneath::is_absent(errno) => Ok(None),
            Err(errno) => Err(WorkspaceError::io("look at", Layer::Real, path.clone())(errno)),
        }
    }

    /// The index of captured bases, read once.
    pub(crate) fn index(&self) -> Result<&Index, WorkspaceError> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = Index::load(self)?;
        Ok(self.index.get_or_init(|| index))
    }

    pub(crate) fn open_source(&self, path: &Bytes, source: &Source) -> Result<Option<File>, WorkspaceError> {
        match source {
            Source::Real => regular(Layer::Real, self.root_fd(), path).map(Some),
            Source::Captured(number) => {
                regular(Layer::Base, self.base_fd(), &Bytes(format!("data/{number}").into_bytes())).map(Some)
            }
            Source::Text(_) | Source::Nothing => Ok(None),
        }
    }
}

pub(crate) fn plain(path: &Bytes) -> Result<(), WorkspaceError> {
    if beneath::is_plain(&path.0) { Ok(()) } else { Err(WorkspaceError::BadPath { path: path.clone() }) }
}

fn regular(layer: Layer, at: BorrowedFd<'_>, path: &Bytes) -> Result<File, WorkspaceError> {
    plain(path)?;
    let fd = match beneath::open_read(at, &path.0) {
        Ok(fd) => fd,
        Err(errno) => return Err(describe(layer, at, path, "file", errno)),
    };
    let found = entry::stat_fd(&fd).map_err(WorkspaceError::io("look at", layer, path.clone()))?.entry.kind;
    if found != FileKind::File {
        return Err(WorkspaceError::WrongKind { layer, path: path.clone(), wanted: "file", found });
    }
    Ok(fd.into())
}

fn link(layer: Layer, at: BorrowedFd<'_>, path: &Bytes) -> Result<Bytes, WorkspaceError> {
    plain(path)?;
    let fd = beneath::open_path(at, &path.0).map_err(WorkspaceError::io("open", layer, path.clone()))?;
    let found = entry::stat_fd(&fd).map_err(WorkspaceError::io("look at", layer, path.clone()))?.entry.kind;
    if found != FileKind::Symlink {
        return Err(WorkspaceError::WrongKind { layer, path: path.clone(), wanted: "symbolic link", found });
    }
    // readlinkat(2): an empty path reads the link that the descriptor itself refers to.
    let text = rustix::fs::readlinkat(&fd, c"", Vec::new());
    text.map(|text| Bytes(text.into_bytes())).map_err(WorkspaceError::io("read the link", layer, path.clone()))
}

/// The kernel's answer for links, sockets and devices is a riddle (ELOOP, ENXIO): say what lies there instead.
fn describe(layer: Layer, at: BorrowedFd<'_>, path: &Bytes, wanted: &'static str, errno: Errno) -> WorkspaceError {
    let found = beneath::open_path(at, &path.0).and_then(entry::stat_fd);
    match found {
        Ok(found) if found.entry.kind != FileKind::File => {
            WorkspaceError::WrongKind { layer, path: path.clone(), wanted, found: found.entry.kind }
        }
        _ => WorkspaceError::io("open", layer, path.clone())(errno),
    }
}
