//! Amazon Bedrock's Converse API, <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>.

use std::borrow::Cow;

use cofferdam_core::event::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::frames::Frame;
use super::json::{Object, Text, few, list};
use super::route::Route;
use super::told::Told;
use super::{Heard, Part, Tools, UNLIKE, UNNAMED, joined, stands_for};

/// What a request says.
pub(crate) fn hear<'b>(route: &'b Route, object: &Object<'b>) -> Option<Heard<'b>> {
    let messages = object.get(&["messages"]).filter(|messages| messages.get().starts_with('['))?;
    let configuration = object.get(&["toolConfig"]);
    let tools = configuration.and_then(|at| Object::parse(at.get()).ok()?.get(&["tools"]));
    let named = |tool: &'b RawValue| {
        let tool_of = Object::parse(tool.get()).ok()?;
        // A point of a cache is none.
        if tool_of.get(&["cachePoint"]).is_some() {
            return None;
        }
        let name = tool_of.object(&["toolSpec", "systemTool"]).and_then(|specification| specification.name());
        Some((name.unwrap_or(UNNAMED.into()), tool))
    };
    Some(Heard {
        model: Cow::Borrowed(route.model.as_deref()?),
        model_at: None,
        tools: tools
            .map(|at| Tools { at, each: list(at).into_iter().filter_map(named).collect() })
            .into_iter()
            .collect(),
        with_tools: configuration.into_iter().collect(),
        choice: None,
        most: object.object(&["inferenceConfig"]).and_then(|inference| inference.number(&["maxTokens"])),
        stream: route.stream.unwrap_or_default(),
        messages: list(messages),
        members: Vec::new(),
    })
}

/// The parts of a message.
pub(crate) fn parts(message: &RawValue) -> Vec<Part<'_>> {
    let Ok(message) = Object::parse(message.get()) else { return Vec::new() };
    if message.text(&["role"]).as_deref() != Some("user") {
        return Vec::new();
    }
    let blocks = message.list(&["content"]).into_iter().filter_map(|block| Object::parse(block.get()).ok());
    blocks
        .filter_map(|block| {
            if let Some(text) = block.text(&["text"]) {
                return Some(Part::Text(text));
            }
            let result = block.object(&["toolResult"])?;
            let content = result.list(&["content"]).into_iter().map(|raw| {
                let block = Object::parse(raw.get()).unwrap_or_default();
                let kind = block.0.first().map(|(name, _)| name.clone()).unwrap_or_default();
                block
                    .text(&["text"])
                    .or_else(|| block.get(&["json"]).map(|json| Cow::Borrowed(json.get())))
                    .unwrap_or_else(|| stands_for(&kind, raw))
            });
            Some(Part::Result {
                id: result.text(&["toolUseId"])?,
                tool: Cow::Borrowed(""),
                error: result.text(&["status"]).as_deref() == Some("error"),
                content: joined(content),
            })
        })
        .collect()
}

/// The payload of a frame of a stream, whose event says which members it has; or the whole answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    output: Option<Output<'a>>,
    #[serde(default)]
    content_block_index: u64,
    #[serde(borrow)]
    start: Option<Block<'a>>,
    #[serde(borrow)]
    delta: Option<Block<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default, deserialize_with = "few")]
    content: Vec<Block<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
    reasoning_content: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'a> {
    #[serde(borrow)]
    tool_use_id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    /// In a stream a part of the JSON text, in a whole answer the value.
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// They do not overlap.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
}

impl From<&Counts> for Usage {
    fn from(counts: &Counts) -> Usage {
        Usage {
            input: counts.input_tokens.unwrap_or(0),
            cached: counts.cache_read_input_tokens.unwrap_or(0),
            cache_written: counts.cache_write_input_tokens.unwrap_or(0),
            output: counts.output_tokens.unwrap_or(0),
            reasoning: 0,
        }
    }
}

/// Reads a message of an answer.
pub(crate) fn read(whole: bool, frame: &Frame<'_>, told: &mut Told) {
    if frame.event.ends_with("Exception") {
        told.over = true;
        return told.failed(&format!("{}: {}", frame.event, super::reader::error(frame.data)));
    }
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else { return told.failed(UNLIKE) };
    let blocks = event.output.iter().filter_map(|output| output.message.as_ref()).flat_map(|message| &message.content);
    for (place, block) in (0..).zip(blocks) {
        take(place, block, true, told);
    }
    for block in event.start.iter().chain(&event.delta) {
        take(event.content_block_index, block, false, told);
    }
    told.stop(event.stop_reason.as_ref().map(|Text(stop)| &**stop));
    if let Some(usage) = &event.usage {
        told.usage = Some(usage.into());
    }
    // The counts come last.
    told.over |= whole || frame.event == "metadata";
}

fn take(place: u64, block: &Block<'_>, whole: bool, told: &mut Told) {
    if let Some(Text(text)) = &block.text {
        told.text(text);
    }
    told.begun |= block.reasoning_content.is_some();
    let Some(call) = &block.tool_use else { return };
    if let Some(Text(id)) = &call.tool_use_id {
        told.call(place, id, call.name.as_ref().map_or("", |Text(name)| name));
    }
    match call.input {
        Some(input) if whole => told.all_arguments(place, input.get()),
        Some(input) => {
            if let Some(more) = super::json::text(input) {
                told.arguments(place, &more);
            }
        }
        None => {}
    }
}
