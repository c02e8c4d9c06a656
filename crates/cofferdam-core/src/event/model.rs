//! What agents and their models say to each other, as the gateway saw it pass.

use serde::{Deserialize, Serialize};

use super::{BlobRef, Body};
use crate::Bytes;

/// How a model is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Anthropic's Messages API; at Bedrock (`invoke`) and Vertex (`rawPredict`) too.
    AnthropicMessages,
    /// OpenAI's Responses API.
    OpenaiResponses,
    /// OpenAI's Chat Completions API, which most compatible servers speak.
    OpenaiChatCompletions,
    /// Google's `generateContent`.
    GeminiGenerateContent,
    /// Amazon Bedrock's Converse API.
    BedrockConverse,
}

/// Data of `model.request`: a request to a model leaves. Its cause is as that of `net.connect`; its `http.exchange` follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRequest {
    /// Its number within the run, from 1: by it its answer, tool calls and results name it.
    pub request: u64,
    /// The connection that it came on.
    pub connection: u64,
    /// To which host.
    pub host: String,
    /// Whose model it is: a value of `gen_ai.provider.name` of the OpenTelemetry conventions (`anthropic`, `openai`,
    /// `gcp.gemini`, `gcp.vertex_ai`, `aws.bedrock`, …), or the host where none is known.
    pub provider: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// The model that it goes to.
    pub model: String,
    /// The model that the program named, where a route of policy made it another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Messages (turns, input items) that it holds.
    pub messages: u64,
    /// How many of them no earlier request of the run held.
    pub new: u64,
    /// The tools that the model is offered, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Those that policy took out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Most tokens that it lets the model write, where it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u64>,
    /// Its body as the program sent it.
    pub body: Body,
}

/// Data of `model.response`: what came of a request. Its cause is the `model.request`, with link `exchange`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelResponse {
    /// The request's number.
    pub request: u64,
    /// The status of the answer; absent where none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The model that answered, as the server says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Why it stopped, in the protocol's word (`end_turn`, `tool_use`, `max_tokens`, `completed`…).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    /// Tokens, as the server counted them; absent where it did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What that costs; absent where the price is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Bytes of the text that the model wrote for people.
    pub bytes: u64,
    /// That text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<BlobRef>,
    /// From the request's last byte to the first token of the answer, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// From the request's last byte to the end of the answer, in microseconds.
    pub microseconds: u64,
    /// What went wrong: the server's own words, or why the answer is not whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Tokens of one answer. The numbers do not overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Read, and neither from a cache nor written to one.
    pub input: u64,
    /// Read from the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached: u64,
    /// Read, and written to the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_written: u64,
    /// Written, reasoning left out.
    pub output: u64,
    /// Written as reasoning, where the server tells it apart.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning: u64,
}

impl Usage {
    /// All of them.
    pub fn total(&self) -> u64 {
        [self.input, self.cached, self.cache_written, self.output, self.reasoning]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// With another one's.
    pub fn add(&mut self, other: &Usage) {
        self.input = self.input.saturating_add(other.input);
        self.cached = self.cached.saturating_add(other.cached);
        self.cache_written = self.cache_written.saturating_add(other.cache_written);
        self.output = self.output.saturating_add(other.output);
        self.reasoning = self.reasoning.saturating_add(other.reasoning);
    }
}

/// A price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// In millionths of a US dollar, rounded up.
    pub micro_usd: u64,
    /// The day of the price table (`2026-11-24`).
    pub prices: String,
}

/// Data of `tool.call`: the model asks the agent to do something. Its cause is the `model.response`, with link `exchange`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The number of the request whose answer asks for it.
    pub request: u64,
    /// Its id, by which its result names it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Bytes of its arguments.
    pub bytes: u64,
    /// Its arguments: JSON as the model wrote it, or the text of a tool that takes text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<BlobRef>,
}

/// Data of `tool.result`: what the model was told of a call. Its cause is the `tool.call`, with link `id`, or, where that is
/// not known, the `model.request` that told it, with link `exchange`. The first request that tells it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The number of the request that tells it.
    pub request: u64,
    /// The id of the call.
    pub id: String,
    /// Whether the agent called it a failure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub error: bool,
    /// Bytes of what it was told.
    pub bytes: u64,
    /// What it was told, the texts one behind the other; what is no text (an image) stands as its type and size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<BlobRef>,
}

/// Data of `run.agent`: which known agent the run is of. Its cause is `run.started`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAgent {
    /// The name of its profile.
    pub name: String,
    /// Its version, as its package says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The file that is executed.
    pub path: Bytes,
    /// SHA-256 of that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<crate::change::Digest>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
