//! OpenAI's Responses API, <https://platform.openai.com/docs/api-reference/responses>.

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
    let input = object.get(&["input"]);
    // What a conversation kept by the server goes on with may hold no input.
    if input.is_none() && object.get(&["previous_response_id", "conversation", "prompt"]).is_none() {
        return None;
    }
    let (model, model_at) = match (object.text(&["model"]), &route.model) {
        (Some(model), _) => (model, object.get(&["model"])),
        (None, Some(model)) => (Cow::Borrowed(&**model), None),
        (None, None) => return None,
    };
    let tools = object.get(&["tools"]);
    let choice = object.get(&["tool_choice"]);
    let with = [tools, choice, object.get(&["parallel_tool_calls"])];
    let messages = match input {
        Some(input) if input.get().starts_with('[') => list(input),
        input => input.into_iter().collect(),
    };
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
        with_tools: with.into_iter().flatten().collect(),
        choice: choice.and_then(|at| Some((Object::parse(at.get()).ok()?.text(&["name"])?, at))),
        most: object.number(&["max_output_tokens"]),
        stream: object.is(&["stream"]),
        messages,
        members: Vec::new(),
    })
}

/// The name of a tool; of the provider's own, which have none, their kind.
fn name(tool: &RawValue) -> Option<Cow<'_, str>> {
    let tool = Object::parse(tool.get()).ok()?;
    if tool.get(&["name"]).is_some() {
        return tool.name();
    }
    tool.text(&["server_label"]).or_else(|| tool.text(&["type"]))
}

/// The parts of an item of the input.
pub(crate) fn parts(item: &RawValue) -> Vec<Part<'_>> {
    if let Some(text) = text(item) {
        return vec![Part::Text(text)];
    }
    let Ok(item) = Object::parse(item.get()) else { return Vec::new() };
    let kind = item.text(&["type"]).unwrap_or_default();
    match &*kind {
        "" | "message" if item.text(&["role"]).as_deref() == Some("user") => {
            let Some(content) = item.get(&["content"]) else { return Vec::new() };
            match text(content) {
                Some(text) => vec![Part::Text(text)],
                None => {
                    let blocks = list(content).into_iter().filter_map(|block| Object::parse(block.get()).ok());
                    blocks.filter_map(|block| block.text(&["text"])).map(Part::Text).collect()
                }
            }
        }
        // `function_call_output`, `custom_tool_call_output`, `local_shell_call_output`, `shell_call_output`…
        kind if kind.ends_with("_call_output") => vec![Part::Result {
            id: item.text(&["call_id", "id"]).unwrap_or_default(),
            tool: Cow::Borrowed(""),
            error: item.text(&["status"]).as_deref() == Some("failed"),
            content: item.get(&["output"]).map(blocks).unwrap_or_default(),
        }],
        _ => Vec::new(),
    }
}

/// An event of a stream.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    response: Option<Response<'a>>,
    #[serde(default)]
    output_index: u64,
    #[serde(borrow)]
    item: Option<Item<'a>>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
}

/// The whole answer.
#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "few")]
    output: Vec<Item<'a>>,
    usage: Option<Counts>,
    #[serde(borrow)]
    error: Option<Failure<'a>>,
    #[serde(borrow)]
    incomplete_details: Option<Incomplete<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    call_id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<Text<'a>>,
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "few")]
    content: Vec<Content<'a>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    code: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Text<'a>,
}

#[derive(Deserialize)]
struct Incomplete<'a> {
    #[serde(borrow)]
    reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<Read>,
    output_tokens_details: Option<Written>,
}

#[derive(Deserialize)]
struct Read {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Written {
    reasoning_tokens: Option<u64>,
}

impl From<&Counts> for Usage {
    fn from(counts: &Counts) -> Usage {
        let cached = counts.input_tokens_details.as_ref().and_then(|read| read.cached_tokens).unwrap_or(0);
        let reasoning = counts.output_tokens_details.as_ref().and_then(|w| w.reasoning_tokens).unwrap_or(0);
        Usage {
            input: counts.input_tokens.unwrap_or(0).saturating_sub(cached),
            cached,
            cache_written: 0,
            output: counts.output_tokens.unwrap_or(0).saturating_sub(reasoning),
            reasoning,
        }
    }
}

/// Reads a message of an answer.
pub(crate) fn read(whole: bool, frame: &Frame<'_>, told: &mut Told) {
    if frame.data.trim_ascii() == b"[DONE]" {
        return;
    }
    if whole {
        match serde_json::from_slice::<Response<'_>>(frame.data) {
            Ok(response) => over(&response, told),
            Err(_) => told.failed(UNLIKE),
        }
        return;
    }
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else { return told.failed(UNLIKE) };
    let more = || event.delta.and_then(text).unwrap_or_default();
    match &*event.kind.0 {
        "response.output_text.delta" | "response.refusal.delta" => told.text(&more()),
        "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta"
            if told.has_call(event.output_index) =>
        {
            told.arguments(event.output_index, &more());
        }
        kind if kind.starts_with("response.reasoning") => told.begun = true,
        "response.output_item.added" | "response.output_item.done" => {
            if let Some(item) = &event.item {
                call(event.output_index, item, told);
            }
        }
        "response.created" | "response.in_progress" | "response.queued" => {
            if let Some(response) = &event.response {
                told.model(response.model.as_ref().map(|Text(model)| &**model));
            }
        }
        "response.completed" | "response.incomplete" | "response.failed" | "response.done" => match &event.response {
            Some(response) => over(response, told),
            None => told.over = true,
        },
        "error" => {
            told.failed(&super::reader::error(frame.data));
            told.over = true;
        }
        _ => {}
    }
}

fn over(response: &Response<'_>, told: &mut Told) {
    told.model(response.model.as_ref().map(|Text(model)| &**model));
    let incomplete = response.incomplete_details.as_ref().and_then(|details| details.reason.as_ref());
    told.stop(incomplete.or(response.status.as_ref()).map(|Text(stop)| &**stop));
    if let Some(error) = &response.error {
        let code = error.code.as_ref().map_or("", |Text(code)| code);
        told.failed(&format!("{code}: {}", error.message.0));
    }
    if let Some(usage) = &response.usage {
        told.usage = Some(usage.into());
    }
    let has_text = told.text.bytes() > 0;
    for (place, item) in (0..).zip(&response.output) {
        for content in item.content.iter().filter(|_| !has_text && item.kind.0 == "message") {
            match (&*content.kind.0, &content.text, &content.refusal) {
                ("output_text", Some(Text(text)), _) | ("refusal", _, Some(Text(text))) => told.text(text),
                _ => {}
            }
        }
        call(place, item, told);
    }
    told.over = true;
}

/// An item that asks the agent for something; those of the provider's own tools do not.
fn call(place: u64, item: &Item<'_>, told: &mut Told) {
    let asks = matches!(
        &*item.kind.0,
        "function_call" | "custom_tool_call" | "local_shell_call" | "shell_call" | "apply_patch_call" | "computer_call"
    );
    if !asks {
        return;
    }
    let id = item.call_id.as_ref().or(item.id.as_ref()).map_or("", |Text(id)| id);
    let name = item.name.as_ref().map_or_else(|| item.kind.0.trim_end_matches("_call"), |Text(name)| name);
    told.call(place, id, name);
    let written = item.arguments.as_ref().or(item.input.as_ref()).map(|Text(text)| &**text);
    // Empty where it only begins.
    if let Some(all) = written.or(item.action.map(RawValue::get)).filter(|all| !all.is_empty()) {
        told.all_arguments(place, all);
    }
}
