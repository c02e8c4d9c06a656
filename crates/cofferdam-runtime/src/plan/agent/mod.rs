//! Known agents: what the profile of the one that runs makes of a plan.

mod clean;
mod endpoint;
mod files;
mod version;

use std::path::{Path, PathBuf};

use cofferdam_core::Bytes;
use cofferdam_core::plan::{KnownAgent, PlannedFile};
use cofferdam_evidence::Striker;
use cofferdam_models::profile::{self, Key, OwnError, Profile, Provider, Word, shipped};
use cofferdam_policy::{Credential, CredentialSource, FileError, LayerKind, Rule, RuleId, Use};

use self::endpoint::{Around, At};
use self::files::Brought;
pub(crate) use self::files::merge;
use super::Host;
use crate::secrets;

/// Why an agent's profile makes no plan.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The person's own profile.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// A profile shipped with the program is broken.
    #[error("a profile of this program does not read: {0}")]
    Shipped(serde_json::Error),
    /// The person's secrets cannot be searched for, so that nothing of the configuration can come in.
    #[error("secrets cannot be looked for in the agent's configuration: {0}")]
    Secrets(cofferdam_evidence::Error),
    /// Nobody knows how it would work without asking.
    #[error("--unattended: how {0} works without asking is not known")]
    Attended(String),
}

impl From<FileError> for AgentError {
    fn from(e: FileError) -> AgentError {
        AgentError::Own(e.into())
    }
}

/// A known agent on this host.
#[derive(Debug)]
pub struct Agent {
    /// What is known of it.
    pub profile: Profile,
    /// The person's file that the profile is read from; none where it is shipped.
    pub file: Option<PathBuf>,
    /// Where its program lies, as its name is found; symbolic links stay.
    pub found: Option<PathBuf>,
    /// The file that is executed.
    pub executable: Option<PathBuf>,
    /// Its version, where its package says it.
    pub version: Option<String>,
    /// Which word of the command is its name.
    at: usize,
}

/// What a profile makes of a run.
#[derive(Debug)]
pub struct Made {
    /// What it needs, in the layer `built-in`.
    pub rules: Vec<Rule>,
    /// The keys of its providers that are set outside.
    pub credentials: Vec<Credential>,
    /// Variables that it gets.
    pub variables: Vec<(String, String)>,
    /// Its command.
    pub argv: Vec<Bytes>,
    /// What it tries to reach and does not need.
    pub quiet: Vec<Rule>,
    /// What the person should know.
    pub notes: Vec<String>,
    files: Vec<Brought>,
}

/// The names of all agents that are known: those shipped and those of the person's directory, in order.
///
/// # Errors
/// Where the directory cannot be listed.
pub fn names(directory: &Path) -> Result<Vec<String>, AgentError> {
    let mut names = profile::names(directory)?;
    names.extend(shipped().iter().map(|one| one.name.to_owned()));
    names.sort();
    names.dedup();
    Ok(names)
}

/// The agent of this name.
///
/// # Errors
/// Where its profile does not read.
pub fn named(host: &Host, name: &str, directory: &Path) -> Result<Option<Agent>, AgentError> {
    let (profile, file) = match profile::read(directory, name)? {
        Some(profile) => (profile, Some(directory.join(format!("{name}.toml")))),
        None => match shipped().iter().find(|one| one.name == name) {
            Some(one) => (one.profile().map_err(AgentError::Shipped)?, None),
            None => return Ok(None),
        },
    };
    Ok(Some(Agent::new(host, profile, file, name.as_bytes(), 0)))
}

/// The agent that a command starts, where it is a known one. A person's files are read only where they can be about it.
///
/// # Errors
/// Where its profile does not read.
pub(super) fn find(host: &Host, argv: &[Bytes], directory: &Path) -> Result<Option<Agent>, AgentError> {
    let Some(word) = profile::word(argv) else { return Ok(None) };
    for name in profile::names(directory)? {
        if word.base() == name.as_bytes() || word.packaged {
            let Some(own) = profile::read(directory, &name)? else { continue };
            if word.names(&own.name, own.packages.iter().map(String::as_str)) {
                let file = directory.join(format!("{name}.toml"));
                return Ok(Some(Agent::new(host, own, Some(file), word.text, word.at)));
            }
        }
    }
    match shipped().iter().find(|one| one.is(&word)) {
        Some(one) => {
            let profile = one.profile().map_err(AgentError::Shipped)?;
            let Word { text, at, .. } = word;
            Ok(Some(Agent::new(host, profile, None, text, at)))
        }
        None => Ok(None),
    }
}

impl Agent {
    fn new(host: &Host, profile: Profile, file: Option<PathBuf>, word: &[u8], at: usize) -> Agent {
        let found = version::find(host, word);
        let executable = found.as_ref().and_then(|path| path.canonicalize().ok());
        let version = executable.as_ref().and_then(|real| version::of(host, &profile, real));
        Agent { profile, file, found, executable, version, at }
    }

    /// Decides what it makes of a run of `argv`, whose variables `asked` the person passes. What their own credentials say
    /// of a key of it stands.
    ///
    /// # Errors
    /// Where it is to work without asking and nobody knows how, or secrets cannot be looked for.
    pub fn make(
        &self,
        host: &Host,
        argv: &[Bytes],
        asked: &[Bytes],
        own: &[Credential],
        unattended: bool,
    ) -> Result<Made, AgentError> {
        let profile = &self.profile;
        if unattended && profile.unattended.is_empty() {
            return Err(AgentError::Attended(profile.name.clone()));
        }
        let mut notes = Vec::new();
        let gathered = secrets::of_host(host).secrets;
        let striker = Striker::new(&gathered).map_err(AgentError::Secrets)?;
        let files = files::read(host, profile, &striker, &mut notes);
        let mut made = Made {
            rules: Vec::new(),
            credentials: Vec::new(),
            variables: Vec::new(),
            argv: argv.to_vec(),
            quiet: self.quiet(),
            notes,
            files,
        };
        if let Some(sandbox) = &profile.sandbox {
            made.notes.push(sandbox.note.clone());
            made.variables.extend(sandbox.environment.clone());
        }
        made.variables.extend(profile.environment.clone());
        let mut reached = Reached { asked, own, used: Vec::new(), any: false };
        for provider in &profile.provider {
            self.provider(host, provider, &mut reached, &mut made);
        }
        for endpoint in profile.endpoint.iter().filter(|endpoint| !endpoint.sign_in || !reached.any) {
            let (purpose, paths) = (&endpoint.purpose, endpoint.paths.as_deref());
            made.rules.push(endpoint::usual(&profile.name, purpose, purpose, &endpoint.host, paths));
        }
        if unattended {
            made.variables.extend(profile.unattended.environment.clone());
            let behind = (self.at + 1).min(made.argv.len());
            let flags = profile.unattended.flags.iter().map(|flag| Bytes::from(flag.as_str()));
            made.argv.splice(behind..behind, flags);
        }
        Ok(made)
    }

    /// Opens a provider: where the person set it, or at its usual endpoint.
    fn provider(&self, host: &Host, provider: &Provider, reached: &mut Reached<'_>, made: &mut Made) {
        let agent = &self.profile.name;
        let outside = |name: &str| {
            reached.literal(name).or_else(|| host.var(name).map(|value| String::from_utf8_lossy(&value.0).into_owned()))
        };
        let first = (self.at + 1).min(made.argv.len());
        let around = Around { variable: &outside, words: &made.argv[first..], first, files: &made.files };
        let mut set = around.of(provider);
        set.retain(|one| !reached.used.contains(&one.at));
        let mut places: Vec<(Rule, Option<String>)> = Vec::new();
        let mut instead = false;
        for one in set {
            reached.used.push(one.at.clone());
            reached.any = true;
            instead |= !one.beside;
            let (rule, inside) = match endpoint::place(agent, provider, &one.url) {
                Ok(place) => place,
                Err(why) => {
                    made.notes.push(format!("{} is not reached: {why}", one.place()));
                    self.forget(&one.at, made);
                    continue;
                }
            };
            let literal = matches!(&one.at, At::Variable(name) if reached.literal(name).is_some());
            if literal && inside.is_some() {
                continue; // the enclosure's own loopback: the person says what it is inside
            }
            if let Some(inside) = &inside {
                made.notes.push(format!("{} is {inside} inside: this machine", one.place()));
            }
            let url = inside.as_deref().unwrap_or(&one.url);
            match &one.at {
                At::Variable(name) => made.variables.push((name.clone(), url.to_owned())),
                At::Word { word, before } => {
                    if let (Some(word), Some(_)) = (made.argv.get_mut(*word), &inside) {
                        word.0.truncate(*before);
                        word.0.extend_from_slice(url.as_bytes());
                    }
                }
                At::File { file, keys } => {
                    let brought = made.files.iter_mut().find(|own| own.path == *file);
                    if let (Some(brought), Some(_)) = (brought, &inside) {
                        endpoint::rewrite(brought, keys, &one.url, url);
                    }
                }
            }
            places.push((rule, one.variable));
        }
        let keys: Vec<&Key> = provider.key.iter().filter(|key| reached.has(host, &key.env)).collect();
        reached.any |= !keys.is_empty();
        if let Some(usual) = provider.host.as_ref().filter(|_| !instead && (!provider.with_key || !keys.is_empty())) {
            let paths = provider.paths.as_deref();
            places.push((endpoint::usual(agent, &provider.name, &provider.purpose, usual, paths), None));
        }
        let header = provider.base.iter().find_map(|base| base.header.as_ref());
        for (rule, variable) in places {
            match (&variable, header) {
                // Whoever names a key for an endpoint means no other one there.
                (Some(variable), Some(header)) => {
                    let key =
                        Key { name: variable.to_ascii_lowercase(), env: variable.clone(), header: header.clone() };
                    reached.add(host, &key, &rule, made);
                }
                _ => keys.iter().for_each(|key| reached.add(host, key, &rule, made)),
            }
            made.rules.push(rule);
        }
    }

    /// An endpoint that cannot be reached as it is set does not come in: it may hold a password.
    fn forget(&self, at: &At, made: &mut Made) {
        if let At::File { file, keys } = at
            && let Some(brought) = made.files.iter_mut().find(|own| own.path == *file)
        {
            endpoint::rewrite(brought, keys, "", "");
        }
    }

    fn quiet(&self) -> Vec<Rule> {
        let all = self.profile.quiet.iter().flat_map(|quiet| quiet.hosts.iter().map(move |host| (quiet, host)));
        let rule = |(quiet, host): (&profile::Quiet, _)| Rule {
            scheme: None,
            ..endpoint::usual(&self.profile.name, &quiet.purpose, &quiet.purpose, host, quiet.paths.as_deref())
        };
        all.map(rule).collect()
    }

    /// As a run's plan has it. `argv` is what the person typed, `env` the environment inside.
    pub(super) fn planned(
        &self,
        host: &Host,
        argv: &[Bytes],
        made: Made,
        env: &[Bytes],
        notes: &mut Vec<String>,
        unattended: bool,
    ) -> KnownAgent {
        let words = argv.get(self.at + 1..).unwrap_or_default();
        KnownAgent {
            name: self.profile.name.clone(),
            version: self.version.clone(),
            executable: self.executable.as_deref().map(Bytes::from),
            prompt: self.profile.command.prompt(words).map(Bytes::from),
            unattended,
            configuration: written(made.files, env, notes),
            transcripts: self.profile.transcripts.iter().map(|path| host.home.join(path).as_path().into()).collect(),
        }
    }
}

impl Made {
    /// The files of configuration that would come in, with what of them stays outside.
    pub fn configuration(self) -> Vec<PlannedFile> {
        written(self.files, &[], &mut Vec::new())
    }
}

fn written(files: Vec<Brought>, env: &[Bytes], notes: &mut Vec<String>) -> Vec<PlannedFile> {
    let mut planned = Vec::new();
    for file in files {
        let path = file.path.clone();
        match file.planned(env) {
            Ok(file) => planned.push(file),
            Err(why) => notes.push(format!("~/{path} stays outside: it cannot be written again: {why}")),
        }
    }
    planned
}

/// What the providers of an agent came to so far.
struct Reached<'a> {
    /// Variables that the person passes.
    asked: &'a [Bytes],
    /// The person's own credentials.
    own: &'a [Credential],
    /// Endpoints that are somebody's already.
    used: Vec<At>,
    /// Whether a key or another endpoint is set: nobody has to sign in.
    any: bool,
}

impl Reached<'_> {
    /// What the person says on the command line that a variable is inside.
    fn literal(&self, name: &str) -> Option<String> {
        let value = |set: &Bytes| {
            let value = set.0.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        self.asked.iter().rev().find_map(value)
    }

    /// Whether there is a key in a variable, or in a credential of the person's own that stands for it.
    fn has(&self, host: &Host, variable: &str) -> bool {
        let own = self.own.iter().any(|own| own.expose.as_deref() == Some(variable));
        own || self.literal(variable).is_some()
            || host.var(variable).is_some_and(|value| !value.0.trim_ascii().is_empty())
    }

    /// Binds a key to an endpoint, unless it is the person's own affair.
    fn add(&self, host: &Host, key: &Key, rule: &Rule, made: &mut Made) {
        let by_own = |own: &Credential| own.expose.as_deref() == Some(&key.env) || own.name == key.name;
        let set = host.var(&key.env).is_some_and(|value| !value.0.trim_ascii().is_empty());
        if !set || self.own.iter().any(by_own) {
            return;
        }
        let id = RuleId { layer: LayerKind::BuiltIn, file: None, line: 0, name: Some(key.name.clone()) };
        let on = Rule { id: id.clone(), ..rule.clone() };
        let profile::Key { header, .. } = key;
        let one = Use { on, header: header.header.clone(), before: header.before.clone(), after: header.after.clone() };
        match made.credentials.iter_mut().find(|own| own.expose.as_deref() == Some(&key.env)) {
            Some(own) => own.uses.push(one),
            None => made.credentials.push(Credential {
                id,
                name: key.name.clone(),
                purpose: rule.purpose.clone(),
                source: CredentialSource::Env(key.env.clone()),
                uses: vec![one],
                expose: Some(key.env.clone()),
                lifetime: None,
                placeholder_only: true,
            }),
        }
    }
}
