//! Anthropic's Messages API, <https://docs.claude.com/en/api/messages>; at Bedrock and Vertex the path names the model.

use std::borrow::Cow;

use base64::Engine;
use cofferdam_core::event::{Protocol, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::frames::Frame;
use super::json::{Object, Text, few, list, text};
use super::route::Route;
use super::told::Told;
use super::{Heard, Part, Tools, UNLIKE, UNNAMED, blocks};

/// What a request says.
pub(crate) fn hear<'b>(route: &'b Route, object: &Object<'b>) -> Option<Heard<'b>> {
    debug_assert_eq!(route.protocol, Protocol::AnthropicMessages, "its own");
    let messages = object.get(&["messages"])?;
    if !messages.get().starts_with('[') {
        return None;
    }
    let (model, model_at) = match &route.model {
        Some(model) => (Cow::Borrowed(&**model), None),
        None => (object.text(&["model"])?, object.get(&["model"])),
    };
    let tools = object.get(&["tools"]);
    let tool_choice = object.get(&["tool_choice"]);
    Some(Heard {
        model,
        model_at,
        tools: tools
            .map(|at| Tools {
                at,
                each: list(at).into_iter().map(|tool| (name(tool).unwrap_or(UNNAMED.into()), tool)).collect(),
            })
            .into_iter()
            .collect(),
        with_tools: tools.into_iter().chain(tool_choice).collect(),
        choice: object.object(&["tool_choice"]).and_then(|choice| choice.text(&["name"])).zip(tool_choice),
        most: object.number(&["max_tokens"]),
        stream: route.stream.unwrap_or_else(|| object.is(&["stream"])),
        messages: list(messages),
        members: Vec::new(),
    })
}

/// The name of a tool.
fn name(tool: &RawValue) -> Option<Cow<'_, str>> {
    Object::parse(tool.get()).ok()?.name()
}

/// The parts of a message.
pub(crate) fn parts(message: &RawValue) -> Vec<Part<'_>> {
    let Ok(message) = Object::parse(message.get()) else { return Vec::new() };
    let Some(content) = message.get(&["content"]).filter(|_| message.text(&["role"]).as_deref() == Some("user")) else {
        return Vec::new();
    };
    if let Some(text) = text(content) {
        return vec![Part::Text(text)];
    }
    let all = list(content).into_iter().filter_map(|block| Object::parse(block.get()).ok());
    all.filter_map(|block| match &*block.text(&["type"])? {
        "text" => block.text(&["text"]).map(Part::Text),
        "tool_result" => Some(Part::Result {
            id: block.text(&["tool_use_id"])?,
            tool: Cow::Borrowed(""),
            error: block.is(&["is_error"]),
            content: block.get(&["content"]).map(blocks).unwrap_or_default(),
        }),
        _ => None,
    })
    .collect()
}

/// An event of a stream, or the whole answer.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    index: Option<u64>,
    #[serde(borrow)]
    content_block: Option<Block<'a>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    usage: Option<Counts>,
    #[serde(borrow)]
    error: Option<Failure<'a>>,
    /// At Bedrock: the event, in base64.
    #[serde(borrow)]
    bytes: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "few")]
    content: Vec<Block<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    message: Text<'a>,
}

/// Of a stream each count is of all up to there.
#[derive(Deserialize)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

impl Counts {
    /// What it counts overrides what was counted before. Thinking is part of what is written, and not told apart.
    fn add_to(&self, usage: &mut Option<Usage>) {
        let usage = usage.get_or_insert_default();
        let mut set = |to: fn(&mut Usage) -> &mut u64, from: Option<u64>| {
            if let Some(count) = from {
                *to(usage) = count;
            }
        };
        set(|usage| &mut usage.input, self.input_tokens);
        set(|usage| &mut usage.output, self.output_tokens);
        set(|usage| &mut usage.cached, self.cache_read_input_tokens);
        set(|usage| &mut usage.cache_written, self.cache_creation_input_tokens);
    }
}

/// Reads a message of an answer.
pub(crate) fn read(whole: bool, frame: &Frame<'_>, told: &mut Told) {
    if frame.event.ends_with("Exception") {
        // Of Amazon's event stream.
        told.over = true;
        return told.failed(&format!("{}: {}", frame.event, super::reader::error(frame.data)));
    }
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return told.failed(UNLIKE);
    };
    if let Some(Text(inner)) = &event.bytes {
        // One level only: what is inside cannot hold another one.
        let Ok(inner) = base64::engine::general_purpose::STANDARD.decode(&**inner) else {
            return told.failed("a part of the answer is no base64");
        };
        match serde_json::from_slice::<Event<'_>>(&inner) {
            Ok(event) => take(&event, told),
            Err(_) => told.failed(UNLIKE),
        }
    } else if whole && event.kind.0 == "message" {
        if let Ok(message) = serde_json::from_slice(frame.data) {
            begin(&message, told);
        }
        told.over = true;
    } else {
        take(&event, told);
    }
}

fn begin(message: &Message<'_>, told: &mut Told) {
    told.model(message.model.as_ref().map(|Text(model)| &**model));
    told.stop(message.stop_reason.as_ref().map(|Text(stop)| &**stop));
    for (place, block) in (0..).zip(&message.content) {
        start(place, block, told);
        if let Some(input) = block.input.filter(|_| block.kind.0 == "tool_use") {
            told.all_arguments(place, input.get());
        }
    }
    if let Some(counts) = &message.usage {
        counts.add_to(&mut told.usage);
    }
}

fn start(place: u64, block: &Block<'_>, told: &mut Told) {
    let text = |text: &Option<Text<'_>>| text.as_ref().map(|Text(text)| text.clone().into_owned()).unwrap_or_default();
    match &*block.kind.0 {
        "text" => told.text(&text(&block.text)),
        "tool_use" => told.call(place, &text(&block.id), &text(&block.name)),
        _ => {}
    }
}

fn take(event: &Event<'_>, told: &mut Told) {
    match &*event.kind.0 {
        "message_start" => {
            if let Some(message) = &event.message {
                begin(message, told);
            }
        }
        "content_block_start" => {
            if let (Some(place), Some(block)) = (event.index, &event.content_block) {
                start(place, block, told);
            }
        }
        "content_block_delta" => {
            let (Some(place), Some(delta)) = (event.index, &event.delta) else { return };
            if let Some(Text(text)) = &delta.text {
                told.text(text);
            }
            told.begun |= delta.thinking.is_some();
            // Of tools that the provider runs itself, too: those have no call of the agent's.
            if let Some(Text(more)) = &delta.partial_json
                && told.has_call(place)
            {
                told.arguments(place, more);
            }
        }
        "message_delta" => {
            if let Some(delta) = &event.delta {
                told.stop(delta.stop_reason.as_ref().map(|Text(stop)| &**stop));
            }
            if let Some(counts) = &event.usage {
                counts.add_to(&mut told.usage);
            }
        }
        "message_stop" => told.over = true,
        "error" => {
            let failure = event.error.as_ref();
            let words = failure.map(|failure| format!("{}: {}", failure.kind.0, failure.message.0));
            told.failed(&words.unwrap_or_else(|| "an error without words".to_owned()));
        }
        _ => {}
    }
}
