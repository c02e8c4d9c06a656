//! The keeper: a process that keeps one sign-in of the person's good, and ends.
//!
//! It has no environment, no other credential, and nothing to do with the enclosure: it reads the agent's file outside, asks the
//! token endpoint, and writes the file back. A broker waits for it, and is not missed: once a refresh is asked for, new tokens are
//! written back whoever has died meanwhile.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use cofferdam_core::Bytes;
use cofferdam_core::plan::PlannedSignIn;
use cofferdam_credentials::oauth::{Grant, Keeper, Kept, Place, Post, Reply, SignIn, SignInError, TokenUrl, Wanted};
use cofferdam_enclosure::{Channel, Received};
use cofferdam_gateway::client::{Posted, Way, post};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde::{Deserialize, Serialize};

use crate::broker::Fetched;
use crate::helper;
use crate::plan::{Host, proxy, roots, sign_in_outside};
use crate::store::Store;

/// The name by which this program knows that it is to be a keeper (`argv[0]`).
pub const NAME: &str = "coffer-keeper";

/// What a keeper is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    sign_in: SignIn,
    file: Bytes,
    lock: Option<Bytes>,
    /// Where of the store what is remembered lies.
    store: Bytes,
    roots: Vec<Bytes>,
    proxy: Vec<String>,
    wanted: Wanted,
}

impl Task {
    /// For a planned sign-in.
    ///
    /// # Errors
    /// Where the plan holds what is none, in words.
    pub(crate) fn new(
        planned: &PlannedSignIn,
        store: &Store,
        roots: &[Bytes],
        proxy: &[String],
        wanted: Wanted,
    ) -> Result<Task, String> {
        let grant = Grant::deserialize(&planned.grant);
        Ok(Task {
            sign_in: grant.map_err(|e| format!("the plan holds what is no sign-in: {e}"))?.sign_in,
            file: planned.file.clone(),
            lock: planned.lock.clone(),
            store: store.sign_ins().into(),
            roots: roots.to_vec(),
            proxy: proxy.to_vec(),
            wanted,
        })
    }
}

/// The person's way out, by the gateway's.
struct Outside<'a>(&'a Task);

impl Post for Outside<'_> {
    fn post(&self, url: &TokenUrl, media: &str, body: &[u8]) -> Result<Reply, String> {
        let way = Way { roots: &self.0.roots, proxy: &self.0.proxy };
        let rule = url.rule()?;
        let posted =
            Posted { rule: &rule, host: &url.host, port: url.port, tls: url.tls, path: &url.path, media, body };
        post(&way, &posted).map(|(status, body)| Reply { status, body })
    }
}

/// The whole life of a keeper; the exit status of its process. Its channel to whoever started it is standard input.
pub fn main() -> i32 {
    // Tokens are in its memory: no core file holds them. Where this fails there is no core file by default either.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap_or_default();
    rustix::thread::set_name(c"coffer-keeper").unwrap_or_default();
    let Ok(control) = rustix::stdio::stdin().try_clone_to_owned() else { return 1 };
    let channel = Channel::from(control);
    let Ok(Received::Message((task, home), _)) = channel.receive::<(Task, PathBuf)>() else { return 1 };
    let fetched = match keep(&task, &home) {
        Ok(Kept { tokens, refreshed, until }) => {
            Fetched::Kept { access: tokens.access.as_str().into(), until, refreshed }
        }
        Err(e) => Fetched::Failed { why: e.to_string(), in_short: e.in_short() },
    };
    i32::from(channel.send(&fetched, &[]).is_err())
}

fn keep(task: &Task, home: &std::path::Path) -> Result<Kept, SignInError> {
    let place = Place::find(task.file.as_path(), task.lock.as_ref().map(Bytes::as_path), home)?;
    let post = Outside(task);
    Keeper { sign_in: &task.sign_in, place: &place, store: task.store.as_path(), post: &post }.tokens(&task.wanted)
}

/// Starts a keeper, for a person with this home; its answer comes on the channel.
pub(crate) fn start(task: &Task, home: &std::path::Path) -> io::Result<Channel> {
    let ours = helper::born(NAME, |command| {
        // What ends a person's other processes at their terminal does not lose what a server has just given.
        command.env_clear().current_dir("/").process_group(0);
    })?;
    ours.send(&(task, home), &[])?;
    Ok(ours)
}

/// Keeps a sign-in good as a run would; whether it was refreshed for it, and until when it is good, in milliseconds since 1970.
///
/// # Errors
/// Where it is not to be had, in words for the person.
pub fn check(host: &Host, store: &Store, sign_in: &SignIn) -> Result<(bool, Option<i64>), String> {
    let (file, lock) = sign_in_outside(host, sign_in);
    let task = Task {
        sign_in: sign_in.clone(),
        file: file.into(),
        lock: lock.map(Bytes::from),
        store: store.sign_ins().into(),
        roots: roots(host),
        proxy: proxy(host),
        wanted: Wanted::default(),
    };
    let channel = start(&task, &host.home).map_err(|e| format!("nobody can look: {e}"))?;
    match channel.receive::<Fetched>() {
        Ok(Received::Message(Fetched::Kept { refreshed, until, .. }, _)) => Ok((refreshed, until)),
        Ok(Received::Message(Fetched::Failed { why, .. }, _)) => Err(why),
        Ok(Received::Message(Fetched::Value(_), _) | Received::Closed) => {
            Err("who looked ended without an answer".to_owned())
        }
        Err(e) => Err(format!("who looked cannot be heard: {e}")),
    }
}
