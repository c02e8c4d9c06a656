//! What came of what a model asked for: the processes that a tool call started, the files that they changed, what the
//! model was told, and whether that is what was printed.
//!
//! All of it is found on reading: nothing in the log says it. [`Linker`] takes the events in their order and keeps what
//! is open; each link says how it is known, and where several calls could be meant it says that it is ambiguous.

mod asks;
mod link;
mod paths;
mod told;

use cofferdam_core::event::{BlobRef, Cost, Usage};
use cofferdam_core::{Bytes, Timestamp};
use serde::Serialize;

pub use asks::Kind;
pub(crate) use asks::{Asks, asks};
pub(crate) use link::Linker;
pub use told::Comparison;
pub(crate) use told::Printed;
pub(crate) use told::compare;

/// How a link is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The id of the call is in the arguments of the process.
    Id,
    /// The text of the command is in the arguments of the process.
    Argv,
    /// The file holds what the call was to put into it.
    Content,
    /// The call names the path, and what the file holds is not known to be the call's.
    Path,
    /// It happened between the call and its result.
    Window,
}

impl How {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            How::Id => "id",
            How::Argv => "argv",
            How::Content => "content",
            How::Path => "path",
            How::Window => "window",
        }
    }
}

/// A command that a call started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// Its `process.exec`.
    pub seq: u64,
    /// How that is known.
    pub how: How,
    /// Other calls could be meant as well.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ambiguous: bool,
}

/// A file that a call changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The `file.changed`.
    pub seq: u64,
    /// The path, relative to the project.
    pub path: Bytes,
    /// As git has it.
    pub letter: char,
    /// How that is known.
    pub how: How,
    /// Other calls could be meant as well.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ambiguous: bool,
}

/// What the model was told of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The `tool.result`.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// The request that told it.
    pub request: u64,
    /// The agent called it a failure.
    pub error: bool,
    /// Bytes of it.
    pub bytes: u64,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<BlobRef>,
}

/// A tool call and what came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Call {
    /// Its `tool.call`.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// The request whose answer has it.
    pub request: u64,
    /// Its id, safe for a terminal.
    pub id: String,
    /// The tool, safe for a terminal.
    pub tool: String,
    /// What kind of thing it asks for.
    pub kind: Kind,
    /// What it asks for, safe for a terminal, shortened.
    pub text: String,
    /// Its arguments as the model wrote them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<BlobRef>,
    /// The paths that it names, relative to the project where they lie in it; of what it fetches, the address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Bytes>,
    /// What ran; a bounded number.
    pub ran: Vec<Ran>,
    /// What changed; a bounded number.
    pub changed: Vec<Changed>,
    /// Commands and changes that are not named.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: u64,
    /// What the model was told of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
    /// Whether that is what was printed; absent where nothing ran for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub printed: Option<Comparison>,
}

impl Call {
    /// What the model was told is not what was printed.
    pub fn differs(&self) -> bool {
        matches!(self.printed, Some(Comparison::Differs { .. }))
    }

    /// It asks for a command, it was answered, and nothing ran.
    pub fn ran_nothing(&self) -> bool {
        self.kind == Kind::Command && self.told.is_some() && self.ran.is_empty() && self.changed.is_empty()
    }
}

/// What a model answered.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Answer {
    /// Its `model.response`.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// The request.
    pub request: u64,
    /// The model.
    pub model: String,
    /// What it wrote for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<BlobRef>,
    /// Tool calls in it.
    pub calls: u64,
    /// It was offered tools: those that are not are the agent's own small errands (titles, summaries).
    pub tools: bool,
    /// Tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Why it is not whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What requests to models came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// Requests that were answered, or came to nothing.
    pub requests: u64,
    /// Those that came to nothing, or not whole.
    pub failed: u64,
    /// Tokens.
    pub usage: Usage,
    /// Price of those that have one, in millionths of a US dollar.
    pub micro_usd: u64,
    /// Requests with tokens whose price is not known.
    pub unpriced: u64,
}

impl Spent {
    /// Adds an answer's.
    pub fn add(&mut self, answer: &Answer) {
        self.requests += 1;
        self.failed += u64::from(answer.error.is_some());
        if let Some(usage) = &answer.usage {
            self.usage.add(usage);
            self.unpriced += u64::from(answer.cost.is_none());
        }
        if let Some(cost) = &answer.cost {
            self.micro_usd = self.micro_usd.saturating_add(cost.micro_usd);
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
