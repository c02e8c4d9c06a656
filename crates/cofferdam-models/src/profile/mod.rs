//! Agent profiles: what is known of an agent by name.
//!
//! Data alone: `data/agents/` of this crate, and the person's own files. `docs/agents.md` says what the fields mean. Whoever
//! plans a run decides what becomes of them.

mod command;
mod own;
mod shipped;

use std::collections::BTreeMap;

use cofferdam_policy::PathPattern;
use cofferdam_policy::credential::Field;
use cofferdam_policy::host::HostPattern;
use serde::Deserialize;

pub use command::{CommandLine, Word, word};
pub use own::{OwnError, names, read};
pub use shipped::{Shipped, is_known, shipped};

/// One agent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// The name of its program.
    pub name: String,
    /// How people call it.
    #[serde(default)]
    pub title: Option<String>,
    /// The packages that it comes in, as package runners (npx, bunx, uvx) call them.
    #[serde(default)]
    pub packages: Vec<String>,
    /// A directory of the home in which its own installer keeps a program or directory a version, by that name.
    #[serde(default)]
    pub versions: Option<String>,
    /// What of its home it keeps from run to run, in words: the home layer is its own, all of it stays.
    #[serde(default)]
    pub keeps: Vec<String>,
    /// Where it writes down what was said, below the home; `*` is one whole name, or a part of it.
    #[serde(default)]
    pub transcripts: Vec<String>,
    /// Variables that move its directories outside; inside they lie where they usually do.
    #[serde(default)]
    pub moved: Vec<Moved>,
    /// Where its command line carries what the person asks.
    #[serde(default)]
    pub command: CommandLine,
    /// What makes it work without asking.
    #[serde(default)]
    pub unattended: Unattended,
    /// Variables that it gets, unless the person gives them otherwise.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// How its own sandbox is turned off.
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
    /// What of its configuration comes in.
    #[serde(default)]
    pub configuration: Vec<Configuration>,
    /// Whose models it asks.
    #[serde(default)]
    pub provider: Vec<Provider>,
    /// What else it has to reach.
    #[serde(default)]
    pub endpoint: Vec<Endpoint>,
    /// What it tries to reach and does not need: refused without a word to the person.
    #[serde(default)]
    pub quiet: Vec<Quiet>,
}

/// A variable that moves a directory of the home.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// The variable.
    pub env: String,
    /// What it moves, below the home.
    pub from: String,
    /// Where that lies below the variable's directory; empty where it is that directory.
    pub to: String,
}

/// What makes an agent work without asking.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unattended {
    /// Words behind its name.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

impl Unattended {
    /// Whether nothing is known that would.
    pub fn is_empty(&self) -> bool {
        self.flags.is_empty() && self.environment.is_empty()
    }
}

/// How an agent's own sandbox is turned off.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// What the person is told.
    pub note: String,
    /// Variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Of files of its configuration what is set.
    #[serde(default)]
    pub set: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    /// Of files of its configuration what is left out, as [`Configuration::drop`].
    #[serde(default)]
    pub drop: BTreeMap<String, Vec<String>>,
}

/// A file of configuration that comes in, cleaned of secrets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Below the home.
    pub path: String,
    /// What it is written in.
    #[serde(default)]
    pub format: Format,
    /// Whether all text files below it are meant.
    #[serde(default)]
    pub directory: bool,
    /// Whether what the agent has written into it inside stays, but for what comes in.
    #[serde(default)]
    pub merge: bool,
    /// The keys that come in; all, where none is named.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Keys that stay outside, `a.b` within a table.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Keys (`a.b` within a table) whose names sound like a secret's and that hold none: of these the values alone are looked at.
    #[serde(default)]
    pub plain: Vec<String>,
    /// What is set in it besides. `{NAME}` in a text is a variable inside, `{NAME:-20}` its last 20 characters; a text whose
    /// variable is not there is left out.
    #[serde(default)]
    pub set: serde_json::Map<String, serde_json::Value>,
}

/// What a file of configuration is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Prose: all of it comes in, or nothing.
    #[default]
    Text,
    /// JSON (RFC 8259).
    Json,
    /// TOML.
    Toml,
    /// YAML of one mapping in block style.
    Yaml,
}

/// Whose models an agent asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Provider {
    /// In a word.
    pub name: String,
    /// What it is reached for.
    pub purpose: String,
    /// Its usual endpoint.
    #[serde(default)]
    pub host: Option<HostPattern>,
    /// What is asked there; everything, where nothing is named.
    #[serde(default)]
    pub paths: Option<Vec<PathPattern>>,
    /// Whether its endpoint is opened only where a key or another endpoint of it is set outside.
    #[serde(default)]
    pub with_key: bool,
    /// Where another endpoint is set, the first that is being the one.
    #[serde(default)]
    pub base: Vec<Base>,
    /// Its keys.
    #[serde(default)]
    pub key: Vec<Key>,
}

/// Where the endpoint of a provider is set: one of `env`, `option`, and `file` with `key`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// A variable.
    #[serde(default)]
    pub env: Option<String>,
    /// An option of the command line.
    #[serde(default)]
    pub option: Option<String>,
    /// A file of its configuration, below the home.
    #[serde(default)]
    pub file: Option<String>,
    /// The key in it, `a.b` within a table; one part may be `*`, which is every key there.
    #[serde(default)]
    pub key: Option<String>,
    /// Beside that key, the one that names the variable with the provider's key (`NAME` or `{env:NAME}`).
    #[serde(default)]
    pub variable: Option<String>,
    /// The field that carries that key.
    #[serde(default)]
    pub header: Option<Field>,
    /// A key at the top of the file that says which `*` is used; without it there all of them are, beside the usual endpoint.
    #[serde(default)]
    pub chosen: Option<String>,
}

/// A key to a provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The name of its credential.
    pub name: String,
    /// The variable that holds it outside, and a placeholder inside.
    pub env: String,
    /// The field that carries it.
    pub header: Field,
}

/// What an agent has to reach besides.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Endpoint {
    /// What for.
    pub purpose: String,
    /// Where.
    pub host: HostPattern,
    /// What there; everything, where nothing is named.
    #[serde(default)]
    pub paths: Option<Vec<PathPattern>>,
    /// Whether it is for those who sign in: opened where neither a key nor another endpoint is set outside.
    #[serde(default)]
    pub sign_in: bool,
}

/// What an agent tries to reach and does not need.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quiet {
    /// What it would be for.
    pub purpose: String,
    /// Where.
    pub hosts: Vec<HostPattern>,
    /// What there; everything, where nothing is named.
    #[serde(default)]
    pub paths: Option<Vec<PathPattern>>,
}
