//! What an agent says that it did, sentence by sentence, beside what the record says.
//!
//! A sentence is looked at only where a rule knows what to look for; the others are counted. A rule is a pattern of
//! English words and a check against [`Facts`]. No rule guesses: what the record does not show is *no evidence*.

mod commands;
mod facts;
mod files;
mod network;
mod paths;
mod sentences;
mod source;
mod tests;

use std::path::Path;

use cofferdam_core::Bytes;
use serde::Serialize;

use crate::{Heads, Result};

use facts::Facts;
use sentences::Sentence;
pub use source::Source;

/// Most bytes looked at of a message.
pub const LONGEST: u64 = 256 << 10;
/// Most claims of one message.
const MOST: usize = 200;

/// What the record says of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// An event shows it.
    Supported,
    /// An event shows that it is not so, or what it would have left is not in the record.
    Refuted,
    /// The record shows neither.
    NoEvidence,
}

impl Verdict {
    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Supported => "supported",
            Verdict::Refuted => "refuted",
            Verdict::NoEvidence => "no evidence",
        }
    }
}

/// A checkable sentence, and what the record says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The sentence, safe for a terminal, shortened.
    pub sentence: String,
    /// What it is about: `tests`, `file`, `command`, `nothing-else`, `dependency`, `network`.
    pub about: &'static str,
    /// What the record says.
    pub verdict: Verdict,
    /// The event that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<u64>,
    /// Why, in a line, safe for a terminal.
    pub why: String,
}

/// What came of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Where the message is from.
    pub source: Source,
    /// What could be checked, in the order of the message.
    pub claims: Vec<Claim>,
    /// Sentences that no rule can check.
    pub unchecked: u64,
}

impl Claims {
    /// How many have a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.claims.iter().filter(|claim| claim.verdict == verdict).count()
    }
}

/// What a rule found: without the sentence, which all have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    about: &'static str,
    verdict: Verdict,
    event: Option<u64>,
    why: String,
}

impl Found {
    fn new(about: &'static str, verdict: Verdict, event: Option<u64>, why: impl Into<String>) -> Found {
        Found { about, verdict, event, why: why.into() }
    }
}

/// What rules look at.
struct Look<'a> {
    facts: &'a Facts,
    heads: &'a Heads,
    /// Every path that the message names.
    named: Vec<String>,
}

type Rule = fn(&Sentence, &Look<'_>) -> Vec<Found>;

/// The rules, in the order in which a sentence's claims are listed.
const RULES: &[Rule] =
    &[tests::claims, files::claims, files::nothing_else, commands::claims, files::dependencies, network::claims];

/// Checks the final message of a run. `transcript` is the last message of the agent's own transcript, where it was read;
/// it is taken where the model's answers are not in the record.
///
/// # Errors
/// Where the log cannot be read.
pub fn claims(evidence: &Path, transcript: Option<Vec<u8>>) -> Result<Option<Claims>> {
    let heads = Heads::open(evidence)?;
    let facts = Facts::read(evidence)?;
    let Some((source, message)) = source::message(&facts.story, &heads, transcript) else { return Ok(None) };
    Ok(Some(check(&facts, &heads, source, &message)))
}

fn check(facts: &Facts, heads: &Heads, source: Source, message: &[u8]) -> Claims {
    let text = String::from_utf8_lossy(message);
    let sentences = sentences::sentences(&text);
    let named = sentences.iter().flat_map(|sentence| paths::named(&sentence.text)).map(|named| named.path).collect();
    let look = Look { facts, heads, named };
    let (mut claims, mut unchecked) = (Vec::new(), 0);
    for sentence in &sentences {
        let found: Vec<Found> = if sentence.hypothetical {
            Vec::new()
        } else {
            RULES.iter().flat_map(|rule| rule(sentence, &look)).collect()
        };
        unchecked += u64::from(found.is_empty());
        let shown = sentence.shown();
        claims.extend(found.into_iter().take(MOST - claims.len()).map(|Found { about, verdict, event, why }| Claim {
            sentence: shown.clone(),
            about,
            verdict,
            event,
            why,
        }));
    }
    Claims { source, claims, unchecked }
}

/// A path in a line.
fn shown(path: &Bytes) -> String {
    crate::text::fit(&crate::text::one_line(&path.0), 80)
}
