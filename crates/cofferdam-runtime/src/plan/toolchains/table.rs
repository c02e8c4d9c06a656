//! The table of toolchains: where each lies, and what of it comes in.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::plan::Host;

/// `data/toolchains.toml`, as build.rs translates it.
const TABLE: &str = include_str!(concat!(env!("OUT_DIR"), "/toolchains.json"));

/// One entry of the table. The file says what the fields mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Toolchain {
    /// How it is called.
    pub name: String,
    pub(super) env: Option<String>,
    pub(super) root: String,
    #[serde(default)]
    pub(super) read_only: Vec<String>,
    #[serde(default)]
    pub(super) caches: Vec<String>,
    #[serde(default)]
    pub(super) clean: Vec<String>,
    #[serde(default)]
    pub(super) keep: Vec<String>,
    #[serde(default)]
    pub(super) secrets: Vec<String>,
    #[serde(default)]
    pub(super) pass: Vec<String>,
}

impl Toolchain {
    /// Where it lies on this host: where its variable says, else at its usual place in the home.
    pub(super) fn base(&self, host: &Host) -> PathBuf {
        let named = self.env.as_deref().and_then(|name| host.var(name));
        named.map_or_else(|| host.home.join(&self.root), |v| v.as_path().to_owned())
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Table {
    pub(super) toolchain: Vec<Toolchain>,
}

/// The table, read once.
pub(super) fn table() -> Result<&'static Table, serde_json::Error> {
    static READ: OnceLock<Table> = OnceLock::new();
    match READ.get() {
        Some(table) => Ok(table),
        None => serde_json::from_str(TABLE).map(|table| READ.get_or_init(|| table)),
    }
}
