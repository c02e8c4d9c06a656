//! Which run, command and prompt a promoted line came from.
//!
//! The present file is compared with what the newest promotion of it brought, and so back through the versions that the
//! run recorded to the one that has the line first; what was there before that run is looked for in the run promoted
//! before it.

mod history;
mod lines;

use std::path::PathBuf;

use cofferdam_core::change::Digest;
use cofferdam_core::event::BlobRef;
use cofferdam_core::{Bytes, RunId, Timestamp};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use self::history::{History, Taken, Version};
use crate::exposure::Seen;
use crate::{Heads, Result, text};

/// Largest text that is compared, in bytes.
pub const LARGEST: u64 = 16 << 20;
/// Most bytes shown of a prompt.
const PROMPT: u64 = 2048;

/// A run that may have been promoted.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name.
    pub run: RunId,
    /// Its evidence.
    pub evidence: PathBuf,
    /// What the path held before the run, where the workspace still has that.
    pub base: Option<Vec<u8>>,
    /// What the run left of it, where the workspace still has that.
    pub left: Option<Vec<u8>>,
}

/// Where lines come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The run.
    pub run: RunId,
    /// The known agent that it was of, with its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The promotion, numbered within the run.
    pub promotion: u32,
    /// When it was promoted.
    pub promoted: Timestamp,
    /// The `file.changed` that has the lines first.
    pub change: u64,
    /// The `process.exec` of the command that ran when it changed; absent where the agent itself did it, or where that is
    /// not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<u64>,
    /// That command, safe for a terminal; else who did it.
    pub by: String,
    /// The prompt before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<u64>,
    /// Its text, safe for a terminal, shortened; empty where it is gone.
    pub asked: String,
    /// The command whose tests ran next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tested_by: Option<u64>,
    /// What they said.
    pub tests: String,
    /// What the model had read before it was written; a bounded number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<Seen>,
    /// What else it had read.
    pub read_more: u64,
    /// What is not certain about it, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<&'static str>,
}

/// The lines of a file with their origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blame {
    /// Each line's bytes, and the place of its origin; `None`: it is not from any run.
    pub lines: Vec<(Vec<u8>, Option<usize>)>,
    /// The origins.
    pub origins: Vec<Origin>,
    /// Promotions of the file that stand.
    pub promotions: u64,
}

const UNKNOWN_BASE: &str = "what the file held before this run is not known: the line may have been there";
const UNKNOWN_VERSION: &str = "versions in between were not kept: an earlier command may have written it";

/// Finds the origin of each line of `present`, the file as it is now.
///
/// # Errors
/// Where a log cannot be read. A version whose content is gone is passed over, with a doubt.
pub fn blame(present: &[u8], path: &Bytes, candidates: &[Candidate]) -> Result<Blame> {
    let mut promoted = Vec::new();
    for candidate in candidates {
        let history = History::read(&candidate.evidence, path)?;
        if let Some(taken) = history.taken.last().cloned() {
            promoted.push((taken, history, candidate));
        }
    }
    promoted.sort_by_key(|(taken, ..)| std::cmp::Reverse(taken.time));
    let mut search = Search::new(present);
    search.blame.promotions = promoted.len() as u64;
    for (at, (taken, history, candidate)) in promoted.iter().enumerate() {
        // What the run promoted before left may be what this one began with.
        let older = promoted.get(at + 1).and_then(|(_, older, candidate)| {
            let last = older.versions.last()?;
            content(last, &Heads::open(&candidate.evidence).ok()?).or_else(|| left(last, candidate))
        });
        search.through(taken, history, candidate, older)?;
    }
    Ok(search.blame)
}

/// Lines whose origin is still looked for.
struct Search {
    blame: Blame,
    /// The text that the search has come to.
    text: Vec<u8>,
    /// For each line of it the lines of the present file that it became.
    open: Vec<Option<usize>>,
}

impl Search {
    fn new(present: &[u8]) -> Search {
        let all: Vec<(Vec<u8>, Option<usize>)> =
            lines::lines(present).into_iter().map(|l| (l.to_vec(), None)).collect();
        let open = (0..all.len()).map(Some).collect();
        Search { blame: Blame { lines: all, ..Blame::default() }, text: present.to_vec(), open }
    }

    /// Goes back to an older text. Lines that it does not have are `origin`'s.
    fn back(&mut self, older: Vec<u8>, origin: Option<usize>) {
        let kept = lines::kept(&older, &self.text);
        let mut open = vec![None; lines::lines(&older).len()];
        for (line, place) in self.open.iter().zip(kept) {
            match (line, place) {
                (Some(line), Some(place)) => open[place] = Some(*line),
                (Some(line), None) => self.blame.lines[*line].1 = origin,
                (None, _) => {}
            }
        }
        (self.text, self.open) = (older, open);
    }

    fn through(
        &mut self,
        taken: &Taken,
        history: &History,
        candidate: &Candidate,
        older: Option<Vec<u8>>,
    ) -> Result<()> {
        let heads = Heads::open(&candidate.evidence)?;
        let mut contents: Vec<(usize, Vec<u8>)> = Vec::new();
        for (at, version) in history.versions.iter().enumerate() {
            let last = at + 1 == history.versions.len();
            // Where the last version was not kept it may lie in the workspace, or be the present file.
            let elsewhere =
                || left(version, candidate).or_else(|| same(version, &self.text).then(|| self.text.clone()));
            let text = content(version, &heads).or_else(|| if last { elsewhere() } else { None });
            contents.extend(text.map(|text| (at, text)));
        }
        let Some((_, newest)) = contents.last() else { return Ok(()) };
        // Lines that the promoted version does not have came later, and not by a run.
        self.back(newest.clone(), None);
        for pair in (1..contents.len()).rev() {
            let (at, before) = (contents[pair].0, contents[pair - 1].0);
            let doubt = (at - before > 1).then_some(UNKNOWN_VERSION);
            let origin = self.origin(&history.versions[at], taken, history, candidate, &heads, doubt);
            self.back(contents[pair - 1].1.clone(), Some(origin));
        }
        let first = &history.versions[contents[0].0];
        let skipped = (contents[0].0 > 0).then_some(UNKNOWN_VERSION);
        let base = match &history.base {
            Some(None) => Some(Vec::new()),
            Some(Some(base)) => {
                let fits = |text: &Vec<u8>| base.digest.is_none_or(|wanted| wanted == digest(text));
                candidate.base.clone().filter(fits).or_else(|| older.filter(fits))
            }
            None => None,
        };
        let known = base.is_some();
        let doubt = if known { skipped } else { Some(UNKNOWN_BASE) };
        let origin = self.origin(first, taken, history, candidate, &heads, doubt);
        // Without the base every line that is left is this version's, with a doubt.
        self.back(base.unwrap_or_default(), Some(origin));
        Ok(())
    }

    fn origin(
        &mut self,
        version: &Version,
        taken: &Taken,
        history: &History,
        candidate: &Candidate,
        heads: &Heads,
        doubt: Option<&'static str>,
    ) -> usize {
        let exec = version.commands.first().copied();
        let command = exec.and_then(|exec| history.command(exec));
        let by = match (exec, command) {
            (_, Some((_, text))) => text.to_owned(),
            (Some(_), None) => "the agent itself".to_owned(),
            (None, None) => "no command is named for it".to_owned(),
        };
        let prompt = history.prompt(version.seq);
        let tests = history.tests(version.seq);
        let (read, read_more) = history.exposure.before(version.seq);
        self.blame.origins.push(Origin {
            agent: history.agent.clone(),
            run: candidate.run.clone(),
            promotion: taken.number,
            promoted: taken.time,
            change: version.seq,
            command: command.map(|(seq, _)| seq),
            by,
            prompt: prompt.map(|(seq, _)| seq),
            asked: prompt.map_or(String::new(), |(_, blob)| asked(blob, heads)),
            tested_by: tests.as_ref().map(|(seq, _)| *seq),
            tests: tests.map_or(String::new(), |(_, said)| said),
            read,
            read_more,
            doubt,
        });
        self.blame.origins.len() - 1
    }
}

fn asked(blob: &BlobRef, heads: &Heads) -> String {
    let text = heads.read(blob, PROMPT).unwrap_or_default();
    let row = text.split(|b| *b == b'\n').find(|row| !row.trim_ascii().is_empty()).unwrap_or_default();
    text::fit(&text::one_line(row.trim_ascii()), 200)
}

/// The content of a version, where it was kept and is what it was.
fn content(version: &Version, heads: &Heads) -> Option<Vec<u8>> {
    if version.after.is_none() {
        return Some(Vec::new());
    }
    let blob = version.content.as_ref().filter(|blob| blob.size <= LARGEST)?;
    // One byte more lets the reader see the end, and with it the digest.
    heads.read(blob, LARGEST + 1).ok()
}

/// What the workspace has, where that is this version.
fn left(version: &Version, candidate: &Candidate) -> Option<Vec<u8>> {
    candidate.left.clone().filter(|text| same(version, text))
}

fn same(version: &Version, text: &[u8]) -> bool {
    version.after.as_ref().and_then(|entry| entry.digest) == Some(digest(text))
}

fn digest(text: &[u8]) -> Digest {
    Digest(Sha256::digest(text).into())
}
