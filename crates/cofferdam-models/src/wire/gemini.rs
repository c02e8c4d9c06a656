//! Google's `generateContent`, <https://ai.google.dev/api/generate-content>; at Vertex AI too, and wrapped as Gemini CLI's
//! sign-in with a Google account has it (`v1internal`). Names of members come in two spellings (ProtoJSON).

use std::borrow::Cow;

use cofferdam_core::event::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::frames::Frame;
use super::json::{Object, Text, few, list};
use super::route::Route;
use super::told::Told;
use super::{Heard, Part, Tools, UNLIKE, UNNAMED};

const DECLARATIONS: &[&str] = &["functionDeclarations", "function_declarations"];

/// What a request says.
pub(crate) fn hear<'b>(route: &'b Route, object: &Object<'b>) -> Option<Heard<'b>> {
    let wrapped = object.object(&["request"]);
    let inner = wrapped.as_ref().unwrap_or(object);
    let contents = inner.get(&["contents"])?;
    let (model, model_at) = match &route.model {
        Some(model) => (Cow::Borrowed(&**model), None),
        None => (object.text(&["model"])?, object.get(&["model"])),
    };
    let declared = |tool: &'b RawValue| {
        let at = Object::parse(tool.get()).ok()?.get(DECLARATIONS)?;
        let name = |tool: &'b RawValue| Object::parse(tool.get()).ok()?.name();
        let each = list(at).into_iter().map(|tool| (name(tool).unwrap_or(UNNAMED.into()), tool));
        Some(Tools { at, each: each.collect() })
    };
    let generation = inner.object(&["generationConfig", "generation_config"]);
    Some(Heard {
        model,
        model_at,
        tools: inner.list(&["tools"]).into_iter().filter_map(declared).collect(),
        with_tools: Vec::new(),
        choice: None,
        most: generation.and_then(|generation| generation.number(&["maxOutputTokens", "max_output_tokens"])),
        stream: route.stream.unwrap_or_default(),
        messages: if contents.get().starts_with('[') { list(contents) } else { vec![contents] },
        members: Vec::new(),
    })
}

/// The parts of a content.
pub(crate) fn parts(content: &RawValue) -> Vec<Part<'_>> {
    let Ok(content) = Object::parse(content.get()) else { return Vec::new() };
    if !matches!(content.text(&["role"]).as_deref(), None | Some("user" | "function")) {
        return Vec::new();
    }
    let parts = content.list(&["parts"]).into_iter().filter_map(|part| Object::parse(part.get()).ok());
    parts
        .filter_map(|part| {
            if let Some(text) = part.text(&["text"]) {
                return Some(Part::Text(text));
            }
            let result = part.object(&["functionResponse", "function_response"])?;
            let response = result.get(&["response"]);
            let error = response.and_then(|response| Object::parse(response.get()).ok()?.get(&["error"]));
            Some(Part::Result {
                id: result.text(&["id"]).unwrap_or_default(),
                tool: result.text(&["name"]).unwrap_or_default(),
                error: error.is_some(),
                content: response.map(told_of).unwrap_or_default(),
            })
        })
        .collect()
}

/// What the model is told of a call: the text where there is one alone, as agents write it, else the JSON.
fn told_of(response: &RawValue) -> Cow<'_, str> {
    let object = Object::parse(response.get()).unwrap_or_default();
    match object.0.as_slice() {
        [(name, _)] if matches!(&**name, "output" | "error" | "result" | "content") => {
            object.text(&[name]).unwrap_or(Cow::Borrowed(response.get()))
        }
        _ => Cow::Borrowed(response.get()),
    }
}

/// A part of a stream, or the whole answer.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default, deserialize_with = "few")]
    candidates: Vec<Candidate<'a>>,
    #[serde(rename = "usageMetadata", alias = "usage_metadata")]
    usage: Option<Counts>,
    #[serde(borrow, rename = "modelVersion", alias = "model_version")]
    model: Option<Text<'a>>,
    #[serde(borrow, rename = "promptFeedback", alias = "prompt_feedback")]
    feedback: Option<Feedback<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    /// In the wrapped form: the answer.
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Candidate<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow, rename = "finishReason", alias = "finish_reason")]
    finish: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default, deserialize_with = "few")]
    parts: Vec<Piece<'a>>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(default)]
    thought: bool,
    #[serde(borrow, rename = "functionCall", alias = "function_call")]
    call: Option<Call<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Feedback<'a> {
    #[serde(borrow, rename = "blockReason", alias = "block_reason")]
    reason: Option<Text<'a>>,
}

/// In each part of a stream they are of all up to there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    #[serde(alias = "prompt_token_count")]
    prompt_token_count: Option<u64>,
    #[serde(alias = "cached_content_token_count")]
    cached_content_token_count: Option<u64>,
    #[serde(alias = "candidates_token_count")]
    candidates_token_count: Option<u64>,
    #[serde(alias = "thoughts_token_count")]
    thoughts_token_count: Option<u64>,
    #[serde(alias = "tool_use_prompt_token_count")]
    tool_use_prompt_token_count: Option<u64>,
}

impl From<&Counts> for Usage {
    fn from(counts: &Counts) -> Usage {
        let cached = counts.cached_content_token_count.unwrap_or(0);
        let prompt = counts.prompt_token_count.unwrap_or(0).saturating_sub(cached);
        Usage {
            input: prompt.saturating_add(counts.tool_use_prompt_token_count.unwrap_or(0)),
            cached,
            cache_written: 0,
            output: counts.candidates_token_count.unwrap_or(0),
            reasoning: counts.thoughts_token_count.unwrap_or(0),
        }
    }
}

/// Reads a message of an answer.
pub(crate) fn read(frame: &Frame<'_>, told: &mut Told) {
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(frame.data) else { return told.failed(UNLIKE) };
    // One level only.
    let inner = chunk.response.map(|response| serde_json::from_str::<Chunk<'_>>(response.get()));
    let chunk = match inner {
        Some(Ok(inner)) => inner,
        Some(Err(_)) => return told.failed(UNLIKE),
        None => chunk,
    };
    told.model(chunk.model.as_ref().map(|Text(model)| &**model));
    if let Some(usage) = &chunk.usage {
        told.usage = Some(usage.into());
    }
    if chunk.error.is_some() {
        told.failed(&super::reader::error(frame.data));
        told.over = true;
    }
    if let Some(Text(reason)) = chunk.feedback.as_ref().and_then(|feedback| feedback.reason.as_ref()) {
        told.stop(Some(reason));
        told.over = true;
    }
    for candidate in &chunk.candidates {
        for piece in candidate.content.iter().flat_map(|content| &content.parts) {
            match &piece.text {
                Some(Text(text)) if !piece.thought => told.text(text),
                Some(_) => told.begun = true,
                None => {}
            }
            if let Some(call) = &piece.call {
                // Each comes as a whole.
                let place = told.calls.len() as u64;
                told.call(place, call.id.as_ref().map_or("", |Text(id)| id), &call.name.0);
                told.all_arguments(place, call.args.map_or("{}", RawValue::get));
            }
        }
        if let Some(Text(finish)) = &candidate.finish {
            told.stop(Some(finish));
            told.over = true;
        }
    }
}
