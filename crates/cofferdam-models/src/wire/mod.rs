//! How models are spoken to: what a request says, and what its answer says, for each protocol.
//!
//! A protocol is known by a request's method, its path and the shape of its body, never by the host alone: a base URL may
//! be anybody's. What is read here was written by programs inside and by servers; none of it is trusted, and all that is
//! held of it is bounded.

pub(crate) mod anthropic;
pub(crate) mod eventstream;
pub(crate) mod frames;
pub(crate) mod held;
pub(crate) mod json;
pub(crate) mod reader;
pub(crate) mod refused;
pub(crate) mod rewrite;
pub(crate) mod route;
pub(crate) mod told;

use std::borrow::Cow;

use cofferdam_core::event::Protocol;
use serde_json::value::RawValue;

use frames::Frame;
use json::Object;
use route::Route;
use told::Told;

/// What a request says. It points into the body.
#[derive(Debug)]
pub(crate) struct Heard<'b> {
    /// The model that it names.
    pub(crate) model: Cow<'b, str>,
    /// Where it names it; absent where the path does.
    pub(crate) model_at: Option<&'b RawValue>,
    /// The lists of the tools that it offers.
    pub(crate) tools: Vec<Tools<'b>>,
    /// What goes with the tools: it makes no sense where none is left.
    pub(crate) with_tools: Vec<&'b RawValue>,
    /// The name of the tool that the model has to use, and what says so.
    pub(crate) choice: Option<(Cow<'b, str>, &'b RawValue)>,
    /// Most tokens that the model may write.
    pub(crate) most: Option<u64>,
    /// Whether the answer is to be streamed.
    pub(crate) stream: bool,
    /// Messages, the earliest first.
    pub(crate) messages: Vec<&'b RawValue>,
    /// All members of the request, in their order.
    pub(crate) members: Vec<&'b RawValue>,
}

/// A list of tools.
#[derive(Debug)]
pub(crate) struct Tools<'b> {
    /// Where it stands.
    pub(crate) at: &'b RawValue,
    /// Each by its name, and as it stands.
    pub(crate) each: Vec<(Cow<'b, str>, &'b RawValue)>,
}

impl Heard<'_> {
    /// The tools by name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().flat_map(|list| list.each.iter().map(|(name, _)| &**name))
    }
}

/// A part of a message that is of interest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'b> {
    /// What a person, or an agent in a person's name, says.
    Text(Cow<'b, str>),
    /// What the model is told of a tool call.
    Result {
        /// The call's id; empty where the protocol gives none.
        id: Cow<'b, str>,
        /// The tool, where it says.
        tool: Cow<'b, str>,
        error: bool,
        content: Cow<'b, str>,
    },
}

/// What a request of this protocol says; `None` where it has not the shape of one.
pub(crate) fn hear<'b>(route: &'b Route, object: &Object<'b>) -> Option<Heard<'b>> {
    let heard = match route.protocol {
        Protocol::AnthropicMessages => anthropic::hear(route, object),
        _ => None,
    };
    heard.map(|heard| Heard { members: object.0.iter().map(|(_, value)| *value).collect(), ..heard })
}

/// The members of a request that decide what it is: where one of them stands twice, nobody knows what the server sees.
pub(crate) const TELLING: &[&str] = &[
    "model",
    "messages",
    "input",
    "contents",
    "tools",
    "functions",
    "toolConfig",
    "tool_config",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "generationConfig",
    "generation_config",
    "inferenceConfig",
    "request",
];

/// The parts of a message.
pub(crate) fn parts<'b>(protocol: Protocol, message: &'b RawValue) -> Vec<Part<'b>> {
    match protocol {
        Protocol::AnthropicMessages => anthropic::parts(message),
        _ => Vec::new(),
    }
}

/// Reads a message of an answer: one of a stream, or the `whole` answer.
pub(crate) fn read(protocol: Protocol, whole: bool, frame: &Frame<'_>, told: &mut Told) {
    match protocol {
        Protocol::AnthropicMessages => anthropic::read(whole, frame, told),
        _ => {}
    }
}

/// The texts of blocks, one behind the other; what is no text stands as its type and size.
pub(crate) fn joined<'b>(blocks: impl Iterator<Item = Cow<'b, str>>) -> Cow<'b, str> {
    let mut all: Option<Cow<'b, str>> = None;
    for block in blocks {
        all = Some(match all {
            None => block,
            Some(before) => format!("{before}\n{block}").into(),
        });
    }
    all.unwrap_or_default()
}

/// What stands for a block that is no text.
pub(crate) fn stands_for(kind: &str, value: &RawValue) -> Cow<'static, str> {
    format!("[{}, {} bytes]", if kind.is_empty() { "unknown" } else { kind }, value.get().len()).into()
}
