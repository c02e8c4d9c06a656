//! A refusal that teaches: why something does not leave, and how to ask for it.

use cofferdam_core::event::RuleRef;
use serde::{Deserialize, Serialize};

/// Why a request does not go out. Its words are shown inside and recorded; they hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why, as a word: the `reason` of `net.denied`.
    pub reason: String,
    /// Why, in a sentence.
    pub detail: String,
    /// The rule that came nearest, or that was broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRef>,
    /// What a person outside could type to allow it; none where nothing could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
}

impl Refusal {
    /// A refusal that no rule could lift.
    pub fn new(reason: &str, detail: impl Into<String>) -> Refusal {
        Refusal { reason: reason.to_owned(), detail: detail.into(), rule: None, allow: None }
    }
}
