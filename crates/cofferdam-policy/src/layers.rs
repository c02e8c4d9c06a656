//! From places to a policy: which files are read, and which of them count.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cofferdam_core::change::Digest;

use crate::credential::Credential;
use crate::decide::{Layer, Policy};
use crate::file::{self, FileError, IN_PROJECT};
use crate::models::{ModelPolicy, ModelRules};
use crate::packages::Ecosystem;
use crate::rule::LayerKind;
use crate::schema::{Parsed, parse};
use crate::source::Source;
use crate::trust::{TrustError, TrustStore};

/// Where the layers of a project lie.
#[derive(Clone, Debug)]
pub struct Places {
    /// The person's file.
    pub person: PathBuf,
    /// The project's root, without symbolic links.
    pub project: PathBuf,
    /// What the person trusts.
    pub trust: TrustStore,
}

/// Why layers were not read.
#[derive(Debug, thiserror::Error)]
pub enum LayersError {
    /// The person's file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The records of trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A file that counts has errors; a policy of which a part is missing is not the person's policy.
    #[error("{} has {count} {}, so that nothing can be decided by it: `coffer policy check` shows them", path.display(), if *count == 1 { "error" } else { "errors" })]
    Errors {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

/// A file's text and what it says.
#[derive(Clone, Debug)]
pub struct LayerFile {
    /// The text.
    pub source: Source,
    /// What it says.
    pub parsed: Parsed,
}

impl LayerFile {
    fn new(source: Source, layer: LayerKind) -> LayerFile {
        let parsed = parse(&source, layer);
        LayerFile { source, parsed }
    }
}

/// How the project's layer stands.
#[derive(Debug)]
pub enum ProjectState {
    /// There is no file.
    Absent,
    /// The person trusts its content.
    Trusted,
    /// The person never trusted a content of it.
    Untrusted,
    /// The person trusted another content.
    Changed,
    /// It was not read: it contributes nothing, whatever it is.
    Unreadable(FileError),
}

/// The layers of a project.
#[derive(Debug)]
pub struct Layers {
    /// The person's.
    pub person: Option<LayerFile>,
    /// The project's, trusted or not.
    pub project: Option<LayerFile>,
    /// Whether the project's counts.
    pub state: ProjectState,
    root: PathBuf,
}

impl Layers {
    /// Reads them.
    ///
    /// # Errors
    /// Where the person's file or the records of trust cannot be read. A project's file that cannot be read is no error:
    /// whoever works in a project could put one there, and it contributes nothing.
    pub fn read(places: &Places) -> Result<Layers, LayersError> {
        let person = file::read(&places.person)?.map(|source| LayerFile::new(source, LayerKind::Person));
        let (project, state) = match file::read_in_project(&places.project) {
            Ok(None) => (None, ProjectState::Absent),
            Err(error) => (None, ProjectState::Unreadable(error)),
            Ok(Some(source)) => {
                let digest = source.digest();
                let state = match places.trust.of(&places.project)? {
                    None => ProjectState::Untrusted,
                    Some(trusted) if trusted.digest == digest => ProjectState::Trusted,
                    Some(_) => ProjectState::Changed,
                };
                (Some(LayerFile::new(source, LayerKind::Project)), state)
            }
        };
        Ok(Layers { person, project, state, root: places.project.clone() })
    }

    /// The digest of the project's file.
    pub fn project_digest(&self) -> Option<Digest> {
        self.project.as_ref().map(|file| file.source.digest())
    }

    /// The files that count.
    pub fn counting(&self) -> impl Iterator<Item = &LayerFile> {
        let project = self.project.as_ref().filter(|_| matches!(self.state, ProjectState::Trusted));
        self.person.iter().chain(project)
    }

    /// Whose registries a run may reach while it resolves: those of all files that count.
    pub fn registries(&self) -> BTreeSet<Ecosystem> {
        self.counting().flat_map(|file| file.parsed.registries.iter().copied()).collect()
    }

    /// What the layers that count say of models, with the command line's. Each narrows what those before it leave.
    ///
    /// # Errors
    /// Where one of them has errors.
    pub fn models(&self, command_line: ModelRules) -> Result<ModelPolicy, LayersError> {
        let mut layers = Vec::new();
        for file in self.counting() {
            match file.parsed.diagnostics.len() {
                0 => layers.push(file.parsed.models.clone()),
                count => return Err(LayersError::Errors { path: file.source.path.to_path_buf(), count }),
            }
        }
        layers.push(command_line);
        layers.retain(|layer| *layer != ModelRules::default());
        Ok(ModelPolicy(layers))
    }

    /// Whether decoys are to stand in the homes of runs.
    pub fn tripwires(&self) -> bool {
        self.person.as_ref().and_then(|file| file.parsed.tripwires).unwrap_or(true)
    }

    /// Why the project's layer contributes nothing, in one line; `None` where it counts or is not there.
    pub fn left_out(&self) -> Option<String> {
        let path = self.root.join(IN_PROJECT);
        let why = match &self.state {
            ProjectState::Absent | ProjectState::Trusted => return None,
            ProjectState::Untrusted => "you have not trusted it: coffer policy trust shows what it would allow",
            ProjectState::Changed => {
                "it changed since you trusted it: coffer policy trust shows what it would allow now"
            }
            ProjectState::Unreadable(error) => {
                return Some(format!("the project's policy counts for nothing: {error}"));
            }
        };
        Some(format!("{} counts for nothing: {why}", path.display()))
    }

    /// The credentials: the person's own, where their file has no errors.
    pub fn credentials(&self) -> &[Credential] {
        match &self.person {
            Some(file) if file.parsed.diagnostics.is_empty() => &file.parsed.credentials,
            _ => &[],
        }
    }

    /// The policy of the layers that count, with the command line's.
    ///
    /// # Errors
    /// Where one of them has errors.
    pub fn policy(&self, command_line: Layer) -> Result<Policy, LayersError> {
        let mut layers = Vec::new();
        for file in self.counting() {
            let path: &Path = &file.source.path;
            match file.parsed.diagnostics.len() {
                0 => layers.push(Layer { rules: file.parsed.rules.clone() }),
                count => return Err(LayersError::Errors { path: path.to_owned(), count }),
            }
        }
        layers.push(command_line);
        Ok(Policy::new(layers))
    }
}
