//! How models are spoken to: what a request says, and what its answer says, for each protocol.
//!
//! A protocol is known by a request's method, its path and the shape of its body, never by the host alone: a base URL may
//! be anybody's. What is read here was written by programs inside and by servers; none of it is trusted, and all that is
//! held of it is bounded.

mod anthropic;
mod chat;
mod converse;
mod eventstream;
mod frames;
mod gemini;
pub(crate) mod held;
pub(crate) mod json;
pub(crate) mod reader;
pub(crate) mod refused;
mod responses;
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
///
/// # Errors
/// Where it has, and a list of it cannot be read: nobody knows then what it holds.
pub(crate) fn hear<'b>(route: &'b Route, object: &Object<'b>) -> Result<Option<Heard<'b>>, &'static str> {
    let heard = match route.protocol {
        Protocol::AnthropicMessages => anthropic::hear(route, object),
        Protocol::OpenaiResponses => responses::hear(route, object),
        Protocol::OpenaiChatCompletions => chat::hear(route, object),
        Protocol::GeminiGenerateContent => gemini::hear(route, object),
        Protocol::BedrockConverse => converse::hear(route, object),
    };
    let Some(heard) = heard else { return Ok(None) };
    let inner = object.object(&["request"]);
    let configuration = object.object(&["toolConfig"]);
    let nested = inner.iter().chain(&configuration).any(|nested| nested.tells_twice().is_some());
    if nested {
        return Err("a member of the request to a model stands twice in it");
    }
    let inner = inner.as_ref().unwrap_or(object);
    let messages = ["messages", "input", "contents"].iter().filter_map(|name| inner.get(&[name]));
    let mut tools = inner.get(&["tools"]).into_iter().chain(heard.tools.iter().map(|list| list.at));
    if tools.any(|list| !json::is_readable(list))
        || (heard.messages.is_empty() && messages.into_iter().any(|list| !json::is_readable(list)))
    {
        return Err("a list of the request to a model is longer than is read");
    }
    Ok(Some(Heard { members: object.0.iter().map(|(_, value)| *value).collect(), ..heard }))
}

/// The name of a tool that has none, or that names itself twice.
const UNNAMED: &str = "?";

/// The parts of a message.
pub(crate) fn parts<'b>(protocol: Protocol, message: &'b RawValue) -> Vec<Part<'b>> {
    match protocol {
        Protocol::AnthropicMessages => anthropic::parts(message),
        Protocol::OpenaiResponses => responses::parts(message),
        Protocol::OpenaiChatCompletions => chat::parts(message),
        Protocol::GeminiGenerateContent => gemini::parts(message),
        Protocol::BedrockConverse => converse::parts(message),
    }
}

/// Reads a message of an answer: one of a stream, or the `whole` answer.
pub(crate) fn read(protocol: Protocol, whole: bool, frame: &Frame<'_>, told: &mut Told) {
    match protocol {
        Protocol::AnthropicMessages => anthropic::read(whole, frame, told),
        Protocol::OpenaiResponses => responses::read(whole, frame, told),
        Protocol::OpenaiChatCompletions => chat::read(whole, frame, told),
        Protocol::GeminiGenerateContent => gemini::read(frame, told),
        Protocol::BedrockConverse => converse::read(whole, frame, told),
    }
}

/// Why a message of an answer does not read.
const UNLIKE: &str = "a part of the answer is no message of its protocol";

/// The text of a content: a text, or blocks with a `type`, of which those of texts have a `text`.
fn blocks(content: &RawValue) -> Cow<'_, str> {
    if let Some(text) = json::text(content) {
        return text;
    }
    if !content.get().starts_with('[') {
        return Cow::Borrowed(content.get());
    }
    joined(json::list(content).into_iter().map(|raw| {
        let block = Object::parse(raw.get()).unwrap_or_default();
        block.text(&["text"]).unwrap_or_else(|| stands_for(&block.text(&["type"]).unwrap_or_default(), raw))
    }))
}

/// Texts, one behind the other.
fn joined<'b>(texts: impl Iterator<Item = Cow<'b, str>>) -> Cow<'b, str> {
    let mut all: Option<Cow<'b, str>> = None;
    for text in texts {
        match &mut all {
            None => all = Some(text),
            Some(all) => {
                let all = all.to_mut();
                all.push('\n');
                all.push_str(&text);
            }
        }
    }
    all.unwrap_or_default()
}

/// What stands for a block that is no text.
fn stands_for(kind: &str, value: &RawValue) -> Cow<'static, str> {
    format!("[{}, {} bytes]", if kind.is_empty() { "unknown" } else { kind }, value.get().len()).into()
}

#[cfg(test)]
mod tests;
