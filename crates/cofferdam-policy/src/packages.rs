//! `[packages]`: whose registries a run may reach while it resolves.

use serde::{Deserialize, Serialize};

/// Whose packages, by the names of package URLs and of INTERFACE's `registries`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ecosystem {
    /// Node's.
    Npm,
    /// Python's.
    Pypi,
    /// Rust's.
    Crates,
    /// Go's modules.
    Go,
}

impl Ecosystem {
    /// All, with their words.
    pub const ALL: &'static [(&'static str, Ecosystem)] =
        &[("npm", Ecosystem::Npm), ("pypi", Ecosystem::Pypi), ("crates", Ecosystem::Crates), ("go", Ecosystem::Go)];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Ecosystem::Npm => "npm",
            Ecosystem::Pypi => "pypi",
            Ecosystem::Crates => "crates",
            Ecosystem::Go => "go",
        }
    }
}
