//! The plan of a run: everything that is decided before the command starts, as plain data.
//!
//! `coffer run --dry-run` prints it, its digest stands in the evidence, and init carries out the enclosure's part of
//! it without deciding anything itself.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Bytes, Publish, RunId};

/// One run, decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPlan {
    /// The run's name.
    pub run: RunId,
    /// The real tree's root, absolute and without symbolic links.
    pub project: Bytes,
    /// Who it is for, in one word: the agent's or command's name. Chooses the home layer.
    pub agent: String,
    /// What is known of it, where it is a known agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<KnownAgent>,
    /// The directory of the run in the store.
    pub directory: Bytes,
    /// The persistent home layer in the store.
    pub home: Bytes,
    /// What is written into the home anew for this run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub home_files: Vec<HomeFile>,
    /// What init is to build and start.
    pub enclosure: EnclosurePlan,
    /// What may leave the enclosure.
    #[serde(default)]
    pub network: NetworkPlan,
    /// Where decoys are to stand inside, absolute, in the order of the program's table; none where they are switched off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tripwires: Vec<Bytes>,
    /// Whether lines typed at the terminal are kept as prompts.
    pub record_typing: bool,
    /// The run that this one goes on from, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Origin>,
    /// What was left out or changed on the way, for the person to read (one line each).
    pub notes: Vec<String>,
}

/// What the profile of an agent makes of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAgent {
    /// The name of its profile.
    pub name: String,
    /// Its version, where its package says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The file that is executed, without symbolic links, where it was found on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<Bytes>,
    /// What its command line asks of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Bytes>,
    /// Whether it was told to work without asking.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unattended: bool,
    /// Files of its configuration that come in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configuration: Vec<PlannedFile>,
    /// Where it writes down what was said, inside; patterns with `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transcripts: Vec<Bytes>,
}

/// A file of an agent's configuration in its home layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFile {
    /// Where it lies on the host; absent where all of it is made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Bytes>,
    /// Below the home.
    pub path: Bytes,
    /// What of it stays outside, by its keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// What comes in. In no plan that is written down.
    #[serde(skip)]
    pub content: Bytes,
    /// What is set in the file as it stands inside, which is JSON; then `content` is as well, and the rest of the file stays.
    #[serde(skip)]
    pub merged: Option<serde_json::Map<String, serde_json::Value>>,
}

/// The network's part of a plan: what the gateway is to know, should it ever be born.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// The rules of policy that apply, in the order in which they are asked, as `cofferdam-policy` writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<serde_json::Value>,
    /// The credentials that requests may carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<PlannedCredential>,
    /// What policy says of models, where it says something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<PlannedModels>,
    /// What a known agent tries to reach and does not need, as rules: denied like anything else, and not told one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quiet: Vec<serde_json::Value>,
    /// Files of PEM certificates on the host by which servers are verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<Bytes>,
    /// Ports of the enclosure that are published from the beginning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<Publish>,
    /// Names that have synthetic addresses from the start, the first ones in this order: [`EnclosurePlan::listen`] is
    /// made of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// Rules and budgets for the models that a run asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedModels {
    /// What the layers of policy say, as `cofferdam-policy` writes it.
    pub policy: serde_json::Value,
    /// The directory of the ledger in the store.
    pub ledger: Bytes,
}

/// A credential of a run. It holds no value: that is fetched when a request needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCredential {
    /// What policy says of it, as `cofferdam-policy` writes it.
    pub credential: serde_json::Value,
    /// What stands for it inside, where a variable does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
    /// The sign-in that it is, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<PlannedSignIn>,
}

/// A sign-in that an agent of the person's has outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSignIn {
    /// What is known of it, and what stands for it inside, as `cofferdam-credentials` writes it. It holds no token.
    pub grant: serde_json::Value,
    /// The agent's file, on the host.
    pub file: Bytes,
    /// The directory that the agent locks while it refreshes, on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Bytes>,
}

/// A file that a run's home gets before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeFile {
    /// Where, below the home.
    pub path: Bytes,
    /// All of it.
    pub content: Bytes,
}

impl NetworkPlan {
    /// The port of loopback at which redirected connections arrive: above those that the kernel hands out
    /// (`ip_local_port_range` of `ip(7)`).
    pub const REDIRECT_PORT: u16 = 61053;
}

/// Where a run comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The run whose layers lie under this one's.
    pub run: RunId,
    /// What this one is for, where that is not more work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
}

/// What a run that goes on from another one is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// To repeat one of its test commands; nothing of it is kept but its evidence.
    Rerun,
}

/// What init builds and starts. Paths without a remark are those seen inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnclosurePlan {
    /// Mounts in the order in which they are made; a later one may lie on an earlier one.
    pub mounts: Vec<Mount>,
    /// The project's root: the mount whose view the monitor watches from outside.
    pub project: Bytes,
    /// The command, `argv[0]` first.
    pub argv: Vec<Bytes>,
    /// Its whole environment, `NAME=value` each.
    pub env: Vec<Bytes>,
    /// Where it starts.
    pub cwd: Bytes,
    /// How it is connected.
    pub stdio: Stdio,
    /// Most processes and threads in the enclosure (`RLIMIT_NPROC` of its user namespace).
    pub processes: u64,
    /// Whether the caller is root: then some of /proc, which only uid 0 outside could touch, is covered as well.
    pub privileged_caller: bool,
    /// Where connections are taken on a kernel that cannot redirect them all. At most [`EnclosurePlan::MOST_LISTENERS`] are served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<SocketAddr>,
    /// The certificate of the run's authority, PEM (RFC 7468), which [`Mount::Bundle`]s end with. Empty in a plan that
    /// nobody carries out yet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub authority: String,
}

impl EnclosurePlan {
    /// Most bytes of a host's file that a [`Mount::Bundle`] begins with.
    pub const LARGEST_BUNDLE: u64 = 16 * 1024 * 1024;
    /// Most addresses of `listen` that are served: with the other descriptors of a run they pass in one message
    /// (`SCM_MAX_FD` of `unix(7)` is 253).
    pub const MOST_LISTENERS: usize = 240;
}

/// How the command's standard streams are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stdio {
    /// A pty of this size.
    Pty {
        /// Rows of characters.
        rows: u16,
        /// Columns of characters.
        columns: u16,
    },
    /// Pipes that the client made.
    Pipes,
}

/// What may be done below a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read and execute.
    ReadOnly,
    /// Read, write and execute.
    ReadWrite,
}

/// One piece of the file-system view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mount", rename_all = "kebab-case")]
pub enum Mount {
    /// A file or directory of the host, with everything mounted below it, without set-id bits and devices.
    Bind {
        /// On the host.
        source: Bytes,
        /// Inside.
        target: Bytes,
        /// What may be done there.
        access: Access,
    },
    /// Layers: writes go to `upper`, `lower` is never written.
    Overlay {
        /// The read-only layer, on the host.
        lower: Bytes,
        /// Upper layers of earlier runs, on the host, which lie read-only between `upper` and `lower`; the topmost
        /// first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        between: Vec<Bytes>,
        /// The layer that takes the writes, on the host.
        upper: Bytes,
        /// The kernel's scratch directory, on the file system of `upper`.
        work: Bytes,
        /// Inside.
        target: Bytes,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Inside.
        target: Bytes,
        /// Permission bits of its root.
        mode: u32,
    },
    /// An empty file or directory of mode 000 in the place of something that exists on the host, so that the error is
    /// "permission denied" and not a riddle.
    Hidden {
        /// Inside.
        target: Bytes,
        /// Whether it is a directory.
        directory: bool,
    },
    /// A symbolic link (of the root directory, such as `/bin` to `usr/bin`).
    Symlink {
        /// Inside.
        target: Bytes,
        /// What it says.
        text: Bytes,
    },
    /// A small read-only file with this content, over what may be at that place.
    File {
        /// Inside.
        target: Bytes,
        /// All of it.
        content: Bytes,
    },
    /// A read-only file of certificates, over what may be at that place: those of the host that programs trust, then the
    /// one of the run's authority.
    Bundle {
        /// Inside.
        target: Bytes,
        /// The host's file, on the host; without one the run's certificate stands alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Bytes>,
        /// What the file looks like.
        #[serde(default, skip_serializing_if = "Form::is_pem")]
        form: Form,
    },
}

impl Mount {
    /// Where it is inside.
    pub fn target(&self) -> &Bytes {
        match self {
            Mount::Bind { target, .. }
            | Mount::Overlay { target, .. }
            | Mount::Tmpfs { target, .. }
            | Mount::Hidden { target, .. }
            | Mount::Symlink { target, .. }
            | Mount::File { target, .. }
            | Mount::Bundle { target, .. } => target,
        }
    }
}

/// What a file of certificates looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// PEM (RFC 7468), one certificate after the other.
    #[default]
    Pem,
    /// A managed policy of Chromium and Chrome (`CACertificates` of the Chrome Enterprise policy list).
    Chromium,
    /// Java's `cacerts`, a JKS, of the certificates of the host's file, which is a JKS or PEM.
    JavaKeystore,
}

impl Form {
    fn is_pem(&self) -> bool {
        *self == Form::Pem
    }
}
