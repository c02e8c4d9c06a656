//! Resolving a plan: what a run will see and how it starts, decided from the host's facts before anything runs.

mod accounts;
pub mod agent;
mod credentials;
mod environment;
mod identity;
mod listeners;
mod names;
mod policy;
mod project;
mod proxy;
mod registries;
mod sign_ins;
mod sockets;
mod system;
mod toolchains;
mod trust_stores;

use std::path::{Path, PathBuf};

use cofferdam_core::plan::{Access, EnclosurePlan, Mount, NetworkPlan, RunPlan, Stdio};
use cofferdam_core::{Bytes, Publish, RunId, Timestamp};
use cofferdam_credentials::oauth::SignInsError;
use cofferdam_policy::layers::LayersError;
use cofferdam_policy::{Layer, ModelRules};

pub use credentials::credential_names;
pub use policy::{allowed_hosts, resolving, trust_store};
pub(crate) use project::hidden_places;
pub use project::{ProjectError, project_root};
pub use proxy::of_host as proxy;
pub use sign_ins::outside as sign_in_outside;
pub use toolchains::Toolchain;
pub(crate) use toolchains::clean_configuration;

use crate::store::Store;

/// Where the run's own things lie inside.
pub const INSIDE: &str = "/run/coffer";

/// What the caller knows of the host: the only way by which the environment comes in here.
#[derive(Clone, Debug)]
pub struct Host {
    /// The person's environment.
    pub env: Vec<(Bytes, Bytes)>,
    /// The person's home, without symbolic links.
    pub home: PathBuf,
    /// The current directory, without symbolic links.
    pub cwd: PathBuf,
    /// The real uid.
    pub uid: u32,
    /// This program's file.
    pub binary: PathBuf,
}

impl Host {
    /// A variable of the person's environment.
    pub fn var(&self, name: &str) -> Option<&Bytes> {
        self.env.iter().find(|(n, _)| n.0 == name.as_bytes()).map(|(_, v)| v)
    }

    /// A path for the person to read, with the home as `~`.
    pub fn short(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.home).map_or_else(|_| path.to_owned(), |inner| Path::new("~").join(inner))
    }
}

/// What the person asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The run's name, where the caller has chosen it.
    pub run: Option<RunId>,
    /// The command and its arguments.
    pub argv: Vec<Bytes>,
    /// The project's root, where given.
    pub project: Option<PathBuf>,
    /// Variables to pass: `NAME` as it is outside, `NAME=value`.
    pub env: Vec<Bytes>,
    /// Most processes.
    pub processes: u64,
    /// How the streams are connected.
    pub stdio: Stdio,
    /// Whether lines typed at the terminal are kept as prompts.
    pub record_typing: bool,
    /// Whether decoys may stand in the home, where policy has them.
    pub tripwires: bool,
    /// The person's own policy file, which need not be there.
    pub person_policy: PathBuf,
    /// The directory of the sign-ins that the person knows besides, which need not be there.
    pub sign_ins: PathBuf,
    /// The rules of the command line.
    pub allow: Layer,
    /// What the command line says of models.
    pub models: ModelRules,
    /// Ports that are to be published.
    pub publish: Vec<Publish>,
    /// Whether it may read from the registries that policy names.
    pub resolve: bool,
    /// The directory of the person's own agent profiles, which need not be there.
    pub agents: PathBuf,
    /// Whether the agent is to work without asking.
    pub unattended: bool,
}

/// Why no plan could be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The directory cannot be a project.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// A table shipped with the program is broken.
    #[error("a table of this program does not read: {0}")]
    Table(serde_json::Error),
    /// What listens on this host is not known, so that it cannot be hidden.
    #[error("/proc/net/unix cannot be read, so that the host's sockets cannot be hidden: {0}")]
    Sockets(std::io::Error),
    /// What may leave is not known.
    #[error(transparent)]
    Policy(#[from] LayersError),
    /// What is known of the agent.
    #[error(transparent)]
    Agent(#[from] agent::AgentError),
    /// What is to work without asking is no known agent.
    #[error("--unattended: `{0}` is no agent that coffer knows")]
    NoAgent(String),
    /// There is nothing to resolve from.
    #[error("--resolve: policy names no registries")]
    NoRegistries,
    /// The sign-ins of agents are not known.
    #[error(transparent)]
    SignIns(#[from] SignInsError),
    /// One of them is none.
    #[error("{0}")]
    SignIn(String),
    /// A rule of policy does not serialise.
    #[error("a rule of policy cannot be written into the plan: {0}")]
    Rule(serde_json::Error),
    /// The system gave no random bytes.
    #[error("no random bytes for a run id: {0}")]
    Random(String),
}

/// Decides a run.
///
/// # Errors
/// Where the directory cannot be a project, or a policy file that counts cannot be read or has errors.
pub fn resolve(host: &Host, store: &Store, request: &Request) -> Result<RunPlan, PlanError> {
    let root = match &request.project {
        Some(named) => project::named_root(host, store, named)?,
        None => project_root(host, store)?,
    };
    let run = match &request.run {
        Some(run) => run.clone(),
        None => new_run()?,
    };
    let known = agent::find(host, &request.argv, &request.agents)?;
    let agent = known.as_ref().map_or_else(|| agent_name(&request.argv), |known| known.profile.name.clone());
    if request.unattended && known.is_none() {
        return Err(PlanError::NoAgent(agent));
    }
    let directory = store.run_directory(&run);
    let home = store.home_directory(&root, &agent);
    let mut notes = Vec::new();
    let policy::Policy { mut rules, mut credentials, models, tripwires } =
        policy::rules(host, &root, store, request, &mut notes)?;
    let mut made = match &known {
        Some(known) => Some(known.make(host, &request.argv, &request.env, &credentials, request.unattended)?),
        None => None,
    };
    if let Some(made) = &mut made {
        // Behind the person's rules: where both allow something it is theirs that did.
        rules.append(&mut made.rules);
        credentials.append(&mut made.credentials);
        notes.append(&mut made.notes);
    }
    let stores = trust_stores::discover(host, &mut notes);

    let mut mounts = system::mounts(host);
    mounts.extend(accounts::mounts(host));
    mounts.extend(names::mounts());
    let path = |p: &std::path::Path| Bytes::from(p);
    mounts.push(Mount::Bind { source: path(&home), target: path(&host.home), access: Access::ReadWrite });
    let found = toolchains::discover(host, &root, &mut notes).map_err(PlanError::Table)?;
    mounts.extend(found.mounts(&directory));
    mounts.extend(sockets::hidden(&mounts).map_err(PlanError::Sockets)?);
    mounts.push(Mount::Overlay {
        lower: path(&root),
        between: Vec::new(),
        upper: path(&directory.join("layers/upper")),
        work: path(&directory.join("layers/work")),
        target: path(&root),
    });
    let git = identity::git_config(host);
    let signed_in = sign_ins::plan(host, &agent, &request.sign_ins, &credentials, &mut notes)?;
    let told = [
        policy::in_words(&rules, Timestamp::now()),
        credentials::in_words(&credentials),
        sign_ins::in_words(&signed_in.credentials),
    ];
    mounts.extend(system::own_files(host, &run, git.as_deref(), &told.concat()));
    mounts.extend(stores.mounts);
    let java = trust_stores::java::mounts(host, &mounts, stores.roots.first(), &mut notes);
    mounts.extend(java);

    let cwd = if host.cwd.starts_with(&root) { host.cwd.clone() } else { root.clone() };
    let mut env = environment::build(host, &run, &root, &found, git.is_some(), &stores.variables, &request.env);
    if let Some(made) = &made {
        environment::add(&mut env, &made.variables, &request.env);
    }
    let mut credentials = credentials::plan(&credentials, &request.env, &mut env, &mut notes)?;
    credentials.extend(signed_in.credentials);
    let argv = made.as_ref().map_or_else(|| request.argv.clone(), |made| made.argv.clone());
    let mut quiet = Vec::new();
    let known = match (&known, made) {
        (Some(known), Some(made)) => {
            quiet = made.quiet.iter().map(serde_json::to_value).collect::<Result<_, _>>().map_err(PlanError::Rule)?;
            Some(known.planned(host, &request.argv, made, &env, &mut notes, request.unattended))
        }
        _ => None,
    };
    let mut decoys = Vec::new();
    if request.tripwires && tripwires {
        decoys.extend(crate::tripwires::paths().map_err(PlanError::Table)?.map(|below| path(&host.home.join(below))));
    }
    let taken = listeners::of(&rules);
    let rules = rules.iter().map(serde_json::to_value).collect::<Result<_, _>>().map_err(PlanError::Rule)?;
    Ok(RunPlan {
        run,
        project: path(&root),
        agent,
        known,
        directory: path(&directory),
        home: path(&home),
        home_files: signed_in.files,
        enclosure: EnclosurePlan {
            mounts,
            project: path(&root),
            argv,
            env,
            cwd: path(&cwd),
            stdio: request.stdio,
            processes: request.processes,
            privileged_caller: host.uid == 0,
            listen: taken.listen,
            authority: String::new(),
        },
        network: NetworkPlan {
            rules,
            credentials,
            models,
            quiet,
            roots: stores.roots,
            publish: request.publish.clone(),
            names: taken.names,
        },
        tripwires: decoys,
        record_typing: request.record_typing,
        from: None,
        notes,
    })
}

/// Files of PEM certificates by which servers are verified for this person.
pub(crate) fn roots(host: &Host) -> Vec<Bytes> {
    trust_stores::discover(host, &mut Vec::new()).roots
}

/// A name that no run has.
///
/// # Errors
/// Where the system gives no random bytes.
pub fn new_run() -> Result<RunId, PlanError> {
    let mut raw = [0u8; 12];
    rustix::rand::getrandom(&mut raw, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| PlanError::Random(e.to_string()))?;
    Ok(RunId::from_random(raw))
}

/// The command's name without its directory, reduced to what fits a file name.
fn agent_name(argv: &[Bytes]) -> String {
    let base = argv.first().and_then(|a| a.as_path().file_name()).unwrap_or_default();
    let name: String = base
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .take(40)
        .collect();
    match name.trim_matches('.') {
        "" => "command".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}
