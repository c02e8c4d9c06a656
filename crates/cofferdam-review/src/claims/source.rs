//! Where the final message is from.

use cofferdam_core::event::Stream;
use serde::Serialize;

use super::LONGEST;
use crate::Heads;
use crate::story::Story;

/// Where a message is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Source {
    /// The last answer of a model that asks for nothing more, as the gateway saw it.
    Model {
        /// Its `model.response`.
        event: u64,
    },
    /// The agent's own transcript: whoever ran inside wrote it.
    Transcript,
    /// What the run's own command printed.
    Output {
        /// Its `process.exec`.
        event: u64,
    },
}

/// The final message.
pub(super) fn message(story: &Story, heads: &Heads, transcript: Option<Vec<u8>>) -> Option<(Source, Vec<u8>)> {
    let talks = story.answers.iter().any(|answer| answer.tools);
    let finals = story.answers.iter().rev().filter(|answer| answer.calls == 0 && (answer.tools || !talks));
    for answer in finals {
        let text = answer.text.as_ref().and_then(|text| heads.read(text, LONGEST).ok());
        if let Some(text) = text.filter(|text| !text.trim_ascii().is_empty()) {
            return Some((Source::Model { event: answer.seq }, text));
        }
    }
    if let Some(text) = transcript {
        return Some((Source::Transcript, text));
    }
    let root = story.root.as_ref()?;
    let output = root
        .outputs
        .iter()
        .find(|output| output.own && output.stream != Stream::Terminal && output.stream != Stream::Stderr)?;
    let text = heads.read(&output.blob, LONGEST).ok()?;
    (!text.trim_ascii().is_empty()).then_some((Source::Output { event: root.seq }, text))
}
