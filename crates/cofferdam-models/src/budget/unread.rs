//! Requests that nobody has read, to places where models answer: while a budget holds they do not go out.

use cofferdam_exchange::Refusal;
use http::header::UPGRADE;
use http::{HeaderName, Method, request};

/// Where models answer, and little else: a name, or with a `.` or `-` in front what ends so.
const PLACES: &[&str] = &[
    "api.anthropic.com",
    "api.openai.com",
    "chatgpt.com",
    ".openai.azure.com",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
    "generativelanguage.googleapis.com",
    "cloudcode-pa.googleapis.com",
    "aiplatform.googleapis.com",
    "-aiplatform.googleapis.com",
    "api.deepseek.com",
    "api.groq.com",
    "api.mistral.ai",
    "api.perplexity.ai",
    "api.x.ai",
    "openrouter.ai",
];

/// What the last segment of a path, or the verb behind its colon, asks for that costs nothing.
const FREE: &[&str] = &["count_tokens", "input_tokens", "countTokens", "loadCodeAssist", "onboardUser"];

/// By which Google's servers take a `GET` for something else.
const OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// Whether a request that was not read may go out nevertheless.
pub(super) fn passes(host: &str, head: &request::Parts) -> Result<(), Refusal> {
    let place = |known: &&str| match known.starts_with(['.', '-']) {
        true => host.ends_with(*known),
        false => host == *known,
    };
    let bedrock = host.starts_with("bedrock-runtime") && host.contains(".amazonaws.com");
    if !bedrock && !PLACES.iter().any(|known| place(&known)) {
        return Ok(());
    }
    let path = head.uri.path();
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS, Method::DELETE].contains(&head.method);
    if reads && !head.headers.contains_key(UPGRADE) && !head.headers.contains_key(&OVERRIDE) {
        return Ok(());
    }
    let last = path.rsplit('/').find(|segment| !segment.is_empty()).unwrap_or_default();
    let verb = last.rsplit(':').next().unwrap_or_default();
    let free = FREE.contains(&verb) || (host == "api.anthropic.com" && path.starts_with("/api/"));
    match free && head.method == Method::POST && !head.headers.contains_key(UPGRADE) {
        true => Ok(()),
        false => Err(Refusal::new(
            "unread",
            format!(
                "a budget for models holds, and what {} {path} at {host} costs is not known: it is none of the requests that \
                 can be read",
                head.method
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_models_answer_only_what_is_read_or_free_goes_out() {
        let passes = |method: &str, url: &str, field: Option<&str>| {
            let url: http::Uri = url.parse().unwrap();
            let mut request = http::Request::builder().method(method).uri(url.path());
            if let Some(field) = field {
                request = request.header(field, "x");
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            passes(url.host().unwrap(), &head).is_ok()
        };
        for (method, url) in [
            ("POST", "https://example.com/v1/embeddings"),
            ("GET", "https://api.openai.com/v1/models"),
            ("POST", "https://api.anthropic.com/v1/messages/count_tokens"),
            ("POST", "https://api.anthropic.com/api/event_logging/batch"),
            ("POST", "https://generativelanguage.googleapis.com/v1beta/models/g:countTokens"),
            ("POST", "https://notapi.openai.com.example/v1/embeddings"),
        ] {
            assert!(passes(method, url, None), "{method} {url}");
        }
        for (method, url, field) in [
            ("POST", "https://api.openai.com/v1/embeddings", None),
            ("POST", "https://api.anthropic.com/v1/messages/batches", None),
            ("PUT", "https://api.anthropic.com/v1/messages/count_tokens", None),
            ("GET", "https://api.openai.com/v1/realtime", Some("upgrade")),
            ("POST", "https://api.openai.com/v1/realtime/count_tokens", Some("upgrade")),
            ("GET", "https://us-east5-aiplatform.googleapis.com/v1/x:predict", Some("x-http-method-override")),
            ("POST", "https://bedrock-runtime.us-east-1.amazonaws.com/model/x/async-invoke", None),
            ("POST", "https://me.openai.azure.com/openai/images/generations", None),
        ] {
            assert!(!passes(method, url, field), "{method} {url}");
        }
    }
}
