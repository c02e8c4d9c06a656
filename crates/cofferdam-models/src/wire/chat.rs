//! OpenAI's Chat Completions API, <https://platform.openai.com/docs/api-reference/chat>, and what compatible servers make of
//! it (vLLM, Ollama, llama.cpp, LiteLLM, OpenRouter, DeepSeek…).

use std::borrow::Cow;

use cofferdam_core::event::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::frames::Frame;
use super::json::{Object, Text, few, list, text};
use super::route::Route;
use super::told::Told;
use super::{Heard, Part, Tools, UNLIKE, UNNAMED, blocks};

/// What a request says.
pub(crate) fn hear<'b>(route: &'b Route, object: &Object<'b>) -> Option<Heard<'b>> {
    let messages = object.get(&["messages"]).filter(|messages| messages.get().starts_with('['))?;
    let (model, model_at) = match (object.text(&["model"]), &route.model) {
        (Some(model), _) => (model, object.get(&["model"])),
        (None, Some(model)) => (Cow::Borrowed(&**model), None),
        (None, None) => return None,
    };
    let lists = [object.get(&["tools"]), object.get(&["functions"])];
    let choices = [object.get(&["tool_choice"]), object.get(&["function_call"]), object.get(&["parallel_tool_calls"])];
    let choice = choices.into_iter().flatten().find_map(|at| Some((name(at)?, at)));
    Some(Heard {
        model,
        model_at,
        tools: lists
            .into_iter()
            .flatten()
            .map(|at| Tools {
                at,
                each: list(at).into_iter().map(|tool| (name(tool).unwrap_or(UNNAMED.into()), tool)).collect(),
            })
            .collect(),
        with_tools: lists.into_iter().chain(choices).flatten().collect(),
        choice,
        most: object.number(&["max_completion_tokens", "max_tokens"]),
        stream: object.is(&["stream"]),
        messages: list(messages),
        members: Vec::new(),
    })
}

/// The name of a tool, a function or a choice of one.
fn name(tool: &RawValue) -> Option<Cow<'_, str>> {
    let tool = Object::parse(tool.get()).ok()?;
    if tool.is_double(&["function"]) || tool.is_double(&["custom"]) {
        return None;
    }
    let inner = tool.object(&["function", "custom"]);
    inner.and_then(|inner| inner.name()).or_else(|| tool.name())
}

/// The parts of a message.
pub(crate) fn parts(message: &RawValue) -> Vec<Part<'_>> {
    let Ok(message) = Object::parse(message.get()) else { return Vec::new() };
    let Some(content) = message.get(&["content"]) else { return Vec::new() };
    match message.text(&["role"]).as_deref() {
        Some("user") => match text(content) {
            Some(text) => vec![Part::Text(text)],
            None => {
                let texts =
                    list(content).into_iter().filter_map(|block| Object::parse(block.get()).ok()?.text(&["text"]));
                texts.map(Part::Text).collect()
            }
        },
        Some("tool" | "function") => vec![Part::Result {
            id: message.text(&["tool_call_id"]).unwrap_or_default(),
            tool: message.text(&["name"]).unwrap_or_default(),
            error: false,
            content: blocks(content),
        }],
        _ => Vec::new(),
    }
}

/// A chunk of a stream, or the whole answer.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "few")]
    choices: Vec<Choice<'a>>,
    usage: Option<Counts>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u64,
    /// Of a stream.
    #[serde(borrow)]
    delta: Option<Message<'a>>,
    /// Of a whole answer; a few servers put it beside each delta, too.
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "few")]
    tool_calls: Vec<Call<'a>>,
    #[serde(borrow)]
    function_call: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
    #[serde(borrow)]
    custom: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow, alias = "input")]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Counts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Read>,
    completion_tokens_details: Option<Written>,
    /// DeepSeek's.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Read {
    cached_tokens: Option<u64>,
    /// OpenRouter's.
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Written {
    reasoning_tokens: Option<u64>,
}

impl From<&Counts> for Usage {
    fn from(counts: &Counts) -> Usage {
        let read = counts.prompt_tokens_details.as_ref();
        let cached = read.and_then(|read| read.cached_tokens).or(counts.prompt_cache_hit_tokens).unwrap_or(0);
        let cache_written = read.and_then(|read| read.cache_write_tokens).unwrap_or(0);
        let reasoning = counts.completion_tokens_details.as_ref().and_then(|w| w.reasoning_tokens).unwrap_or(0);
        Usage {
            input: counts.prompt_tokens.unwrap_or(0).saturating_sub(cached).saturating_sub(cache_written),
            cached,
            cache_written,
            output: counts.completion_tokens.unwrap_or(0).saturating_sub(reasoning),
            reasoning,
        }
    }
}

/// Reads a message of an answer.
pub(crate) fn read(whole: bool, frame: &Frame<'_>, told: &mut Told) {
    if frame.data.trim_ascii() == b"[DONE]" {
        told.over = true;
        return;
    }
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(frame.data) else { return told.failed(UNLIKE) };
    told.model(chunk.model.as_ref().map(|Text(model)| &**model));
    if let Some(usage) = &chunk.usage {
        told.usage = Some(usage.into());
    }
    if chunk.error.is_some_and(|error| error.get() != "null") {
        return told.failed(&super::reader::error(frame.data));
    }
    for choice in &chunk.choices {
        if let Some(message) = choice.delta.as_ref().or(choice.message.as_ref()) {
            take(choice.index, message, told);
        }
        if let Some(Text(stop)) = &choice.finish_reason {
            told.stop(Some(stop));
            // Some servers end without `[DONE]`; counts come behind this.
            told.over = true;
        }
    }
    told.over |= whole;
}

fn take(choice: u64, message: &Message<'_>, told: &mut Told) {
    if let Some(content) = message.content.filter(|content| content.get() != "null") {
        told.text(&blocks(content));
    }
    if let Some(Text(refusal)) = &message.refusal {
        told.text(refusal);
    }
    let reasoning = [message.reasoning, message.reasoning_content];
    told.begun |= reasoning.into_iter().flatten().any(|text| !matches!(text.get(), "null" | "\"\""));
    for (at, call) in (0..).zip(&message.tool_calls) {
        let Some(function) = call.function.as_ref().or(call.custom.as_ref()) else { continue };
        call_of(place(choice, call.index.unwrap_or(at)), call.id.as_ref(), function, told);
    }
    if let Some(function) = &message.function_call {
        call_of(place(choice, u64::MAX), None, function, told);
    }
}

/// Of several choices each has its own calls.
fn place(choice: u64, index: u64) -> u64 {
    choice.wrapping_mul(1 << 32).wrapping_add(index)
}

fn call_of(place: u64, id: Option<&Text<'_>>, function: &Function<'_>, told: &mut Told) {
    let name = function.name.as_ref().map_or("", |Text(name)| name);
    told.call(place, id.map_or("", |Text(id)| id), name);
    if let Some(arguments) = function.arguments.filter(|arguments| arguments.get() != "null") {
        // A few servers write an object in place of a text that holds one.
        match text(arguments) {
            Some(more) => told.arguments(place, &more),
            None => told.all_arguments(place, arguments.get()),
        }
    }
}
