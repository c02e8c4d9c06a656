//! What can go wrong while a workspace is read.

use std::fmt;
use std::io;

use cofferdam_core::Bytes;
use cofferdam_core::change::FileKind;
use serde::Serialize;

/// One of the places a workspace consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The person's own project tree.
    Real,
    /// The run's upper directory.
    Upper,
    /// The captured bases in the store.
    Base,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Real => "the real tree",
            Layer::Upper => "the run's layer",
            Layer::Base => "the captured bases",
        })
    }
}

/// Why a workspace could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// The kernel refused an operation.
    #[error("cannot {action} `{}` in {layer}: {source}", path.0.escape_ascii())]
    Io {
        /// What was tried ("open", "list").
        action: &'static str,
        /// Where.
        layer: Layer,
        /// The path, relative to the layer; the layer's own absolute path where it could not be opened.
        path: Bytes,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The entry is not what the caller needs.
    #[error("`{}` in {layer} is not a {wanted} (it is a {found:?}); it cannot be read", path.0.escape_ascii())]
    WrongKind {
        /// Where.
        layer: Layer,
        /// The path, relative to the layer.
        path: Bytes,
        /// What was asked for.
        wanted: &'static str,
        /// What lies there.
        found: FileKind,
    },
    /// A path that is no path below a project: absolute, empty, or with empty, `.` or `..` components.
    #[error("`{}` is not a path below the project's root; give it relative and without `.` and `..`", path.0.escape_ascii())]
    BadPath {
        /// The path as given.
        path: Bytes,
    },
    /// The index of bases holds something else than lines of bases.
    #[error(
        "{} line {line} cannot be read ({source}): the captured bases are damaged; restore the file or discard the run",
        path.display()
    )]
    Index {
        /// The index.
        path: std::path::PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The kernel's change notices cannot be had.
    #[error(
        "cannot watch the run's layer for changes ({action}): {source}; see fs.inotify.max_user_instances and max_user_watches"
    )]
    Watch {
        /// The step that failed.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The built-in table of paths that execute on the host does not compile: a defect of this program.
    #[error("the table of host-executing paths does not compile ({0}); please report this")]
    Table(#[from] ignore::Error),
}

impl WorkspaceError {
    /// Whether it concerns one entry of the run's layer or the real tree: the rest can be read all the same. Otherwise the
    /// store is damaged or gone.
    pub fn is_about_one_path(&self) -> bool {
        matches!(self, WorkspaceError::Io { layer: Layer::Upper | Layer::Real, .. } | WorkspaceError::WrongKind { .. })
    }

    pub(crate) fn io(
        action: &'static str,
        layer: Layer,
        path: impl Into<Bytes>,
    ) -> impl FnOnce(rustix::io::Errno) -> WorkspaceError {
        let path = path.into();
        move |errno| WorkspaceError::Io { action, layer, path, source: errno.into() }
    }

    pub(crate) fn std(
        action: &'static str,
        layer: Layer,
        path: impl Into<Bytes>,
    ) -> impl FnOnce(io::Error) -> WorkspaceError {
        let path = path.into();
        move |source| WorkspaceError::Io { action, layer, path, source }
    }
}

/// Something that was passed over, with the reason: the rest of the answer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The path it concerns, relative to the project's root.
    pub path: Bytes,
    /// What happened, in a sentence.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} was passed over: {}", self.path, self.what)
    }
}
