//! Exchanges with models in words, for one line.

use cofferdam_core::event::{ModelRequest, ModelResponse, RunAgent, ToolCall, ToolResult, Usage};

use crate::heads::Heads;
use crate::text::{counted, duration, grouped, one_line, size};

/// Most bytes of a text that a line begins to read.
const HEAD: u64 = 1024;

/// The agent that a run is of.
pub(crate) fn agent(agent: &RunAgent) -> String {
    let version = agent.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
    one_line(format!("{}{version}", agent.name).as_bytes())
}

/// A request.
pub(crate) fn asked(request: &ModelRequest) -> String {
    let instead = request.asked.as_deref().map(|asked| format!(" instead of {asked}")).unwrap_or_default();
    let removed = match request.removed.as_slice() {
        [] => String::new(),
        some => format!(", without {}", some.join(", ")),
    };
    let words = format!(
        "{} {}{instead} at {}, {}{removed}",
        request.provider,
        request.model,
        request.host,
        counted(request.messages, "message")
    );
    one_line(words.as_bytes())
}

/// An answer.
pub(crate) fn answered(response: &ModelResponse, heads: &Heads) -> String {
    let mut parts = vec![format!("request {}", response.request)];
    parts.extend(response.stop.as_deref().map(|stop| one_line(stop.as_bytes())));
    parts.extend(response.usage.as_ref().map(tokens));
    parts.extend(response.cost.as_ref().map(|cost| price(cost.micro_usd)));
    parts.push(duration(response.microseconds));
    parts.extend(response.error.as_deref().map(|error| one_line(error.as_bytes())));
    let text = response.text.as_ref().and_then(|text| heads.read(text, HEAD).ok());
    let text = text.map(|text| format!("  {}", one_line(&text))).unwrap_or_default();
    format!("{}{text}", parts.join(", "))
}

/// Tokens.
pub(crate) fn tokens(usage: &Usage) -> String {
    let cached = match usage.cached {
        0 => String::new(),
        cached => format!(" ({} cached)", grouped(cached)),
    };
    let read = usage.input.saturating_add(usage.cached).saturating_add(usage.cache_written);
    format!("{}{cached} → {} tokens", grouped(read), grouped(usage.output.saturating_add(usage.reasoning)))
}

/// A price, to a tenth of a cent.
pub(crate) fn price(micro_usd: u64) -> String {
    let tenths = micro_usd.div_ceil(1000);
    format!("${}.{:03}", tenths / 1000, tenths % 1000)
}

/// A tool call.
pub(crate) fn called(call: &ToolCall, heads: &Heads) -> String {
    let arguments = match call.arguments.as_ref().map(|blob| heads.read(blob, HEAD)) {
        Some(Ok(text)) => one_line(&text),
        _ => format!("({})", size(call.bytes)),
    };
    format!("{} {arguments}", one_line(call.name.as_bytes()))
}

/// What the model was told of a call.
pub(crate) fn told(result: &ToolResult, heads: &Heads) -> String {
    let failed = if result.error { "failed: " } else { "" };
    match result.content.as_ref().map(|blob| heads.read(blob, HEAD)) {
        Some(Ok(text)) => format!("{failed}{}", one_line(&text)),
        _ => format!("{failed}({})", size(result.bytes)),
    }
}
