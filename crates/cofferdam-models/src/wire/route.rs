//! By which path a model is asked.

use std::borrow::Cow;

use cofferdam_core::event::Protocol;
use http::Method;

/// What a path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) protocol: Protocol,
    /// The model, where the path names it.
    pub(crate) model: Option<String>,
    /// Whether the answer is streamed, where the path says so.
    pub(crate) stream: Option<bool>,
    /// Whose API it is, where only one has such paths.
    pub(crate) provider: Option<&'static str>,
}

/// What a request asks by its method and path; `None` where it cannot be a request to a model. Bodies decide the rest.
pub(crate) fn recognise(method: &Method, path: &str) -> Option<Route> {
    if method != Method::POST {
        return None;
    }
    let segments: Vec<Cow<'_, str>> = path.split('/').filter(|segment| !segment.is_empty()).map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
    let route = |protocol| Route { protocol, model: None, stream: None, provider: None };
    Some(match segments.as_slice() {
        [.., "model", model, "converse"] => bedrock(Protocol::BedrockConverse, model, false),
        [.., "model", model, "converse-stream"] => bedrock(Protocol::BedrockConverse, model, true),
        [.., "model", model, "invoke"] => bedrock(Protocol::AnthropicMessages, model, false),
        [.., "model", model, "invoke-with-response-stream"] => bedrock(Protocol::AnthropicMessages, model, true),
        [.., "deployments", deployment, "chat", "completions"] => Route {
            model: Some((*deployment).to_owned()),
            provider: Some("azure.ai.openai"),
            ..route(Protocol::OpenaiChatCompletions)
        },
        [.., "chat", "completions"] => route(Protocol::OpenaiChatCompletions),
        [.., "messages"] => route(Protocol::AnthropicMessages),
        [.., "responses"] | [.., "responses", "compact"] => route(Protocol::OpenaiResponses),
        [before @ .., last] => {
            let (model, verb) = last.rsplit_once(':')?;
            let vertex = before.contains(&"publishers").then_some("gcp.vertex_ai");
            let named = match before.last() {
                Some(&"models" | &"tunedModels" | &"endpoints") => Some(model.to_owned()),
                _ => None,
            };
            let (protocol, stream) = match verb {
                "generateContent" => (Protocol::GeminiGenerateContent, false),
                "streamGenerateContent" => (Protocol::GeminiGenerateContent, true),
                "rawPredict" => (Protocol::AnthropicMessages, false),
                "streamRawPredict" => (Protocol::AnthropicMessages, true),
                _ => return None,
            };
            Route { protocol, model: named, stream: Some(stream), provider: vertex }
        }
        [] => return None,
    })
}

fn bedrock(protocol: Protocol, model: &str, stream: bool) -> Route {
    Route { protocol, model: Some(model.to_owned()), stream: Some(stream), provider: Some("aws.bedrock") }
}

/// A segment without percent-encoding (RFC 3986, section 2.1).
fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return segment.into();
    }
    let bytes = segment.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let digits = segment.get(at + 1..at + 3).filter(|_| *byte == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

/// The path with another model in the place of the one that it names.
pub(crate) fn with_model(path: &str, from: &str, to: &str) -> Option<String> {
    let mut done = false;
    let segments: Vec<Cow<'_, str>> = path
        .split('/')
        .map(|segment| {
            let plain = decoded(segment);
            let verb = plain.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with(':'));
            match verb {
                Some(verb) if !done => {
                    done = true;
                    format!("{}{verb}", encoded(to)).into()
                }
                _ => segment.into(),
            }
        })
        .collect();
    done.then(|| segments.join("/"))
}

/// A text as a segment of a path: all but unreserved characters encoded.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Whose model it is: a value of `gen_ai.provider.name` of the OpenTelemetry conventions, or the host.
pub(crate) fn provider(route: &Route, host: &str) -> String {
    const KNOWN: [(&str, &str); 14] = [
        ("anthropic.com", "anthropic"),
        ("openai.azure.com", "azure.ai.openai"),
        ("cognitiveservices.azure.com", "azure.ai.openai"),
        ("services.ai.azure.com", "azure.ai.inference"),
        ("openai.com", "openai"),
        ("chatgpt.com", "openai"),
        ("aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("cloudcode-pa.googleapis.com", "gcp.gemini"),
        ("deepseek.com", "deepseek"),
        ("groq.com", "groq"),
        ("mistral.ai", "mistral_ai"),
        ("perplexity.ai", "perplexity"),
        ("x.ai", "x_ai"),
    ];
    let of = |suffix: &str| match host.strip_suffix(suffix) {
        Some(rest) => rest.is_empty() || rest.ends_with(['.', '-']),
        None => false,
    };
    let known = KNOWN.iter().find(|(suffix, _)| of(suffix)).map(|(_, provider)| *provider);
    let bedrock = (host.starts_with("bedrock-runtime") && of("amazonaws.com")).then_some("aws.bedrock");
    bedrock.or(known).or(route.provider).map_or_else(|| host.to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str) -> Option<(Protocol, Option<String>, Option<bool>)> {
        recognise(&Method::POST, path).map(|route| (route.protocol, route.model, route.stream))
    }

    #[test]
    fn a_protocol_is_known_by_its_path_below_any_base() {
        use Protocol::*;
        for (path, protocol, model, stream) in [
            ("/v1/messages", AnthropicMessages, None, None),
            ("/anthropic/v1//messages/", AnthropicMessages, None, None),
            ("/v1/%6Dessages", AnthropicMessages, None, None),
            (
                "/model/anthropic.claude-x-v1%3A0/invoke",
                AnthropicMessages,
                Some("anthropic.claude-x-v1:0"),
                Some(false),
            ),
            ("/model/a.b/invoke-with-response-stream", AnthropicMessages, Some("a.b"), Some(true)),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/c@1:streamRawPredict",
                AnthropicMessages,
                Some("c@1"),
                Some(true),
            ),
            ("/v1/responses", OpenaiResponses, None, None),
            ("/backend-api/codex/responses", OpenaiResponses, None, None),
            ("/v1/responses/compact", OpenaiResponses, None, None),
            ("/api/v1/chat/completions", OpenaiChatCompletions, None, None),
            ("/openai/deployments/mine/chat/completions", OpenaiChatCompletions, Some("mine"), None),
            ("/v1beta/models/gemini-x:generateContent", GeminiGenerateContent, Some("gemini-x"), Some(false)),
            ("/v1internal:streamGenerateContent", GeminiGenerateContent, None, Some(true)),
            ("/model/a.b/converse", BedrockConverse, Some("a.b"), Some(false)),
            ("/model/arn%3Aaws%3Ax%2Fy/converse-stream", BedrockConverse, Some("arn:aws:x/y"), Some(true)),
        ] {
            assert_eq!(asked(path), Some((protocol, model.map(str::to_owned), stream)), "{path}");
        }
    }

    #[test]
    fn what_asks_no_model_to_write_is_none() {
        for path in [
            "/",
            "",
            "/v1/messages/count_tokens",
            "/v1/messages/batches",
            "/v1/models",
            "/v1/embeddings",
            "/v1/responses/r_1",
            "/v1/chat",
            "/v1beta/models/g:countTokens",
            "/v1beta/models/g:embedContent",
            "/v1/completions/chat",
            "/xmessages",
        ] {
            assert_eq!(asked(path), None, "{path}");
        }
        assert_eq!(recognise(&Method::GET, "/v1/messages"), None);
    }

    #[test]
    fn a_provider_is_known_by_host_or_path() {
        let provider = |host, path| provider(&recognise(&Method::POST, path).unwrap(), host);
        assert_eq!(provider("api.anthropic.com", "/v1/messages"), "anthropic");
        assert_eq!(provider("evilanthropic.com", "/v1/messages"), "evilanthropic.com");
        assert_eq!(provider("r.openai.azure.com", "/openai/deployments/d/chat/completions"), "azure.ai.openai");
        assert_eq!(
            provider("us-east5-aiplatform.googleapis.com", "/x/publishers/g/models/m:rawPredict"),
            "gcp.vertex_ai"
        );
        assert_eq!(provider("bedrock-runtime.eu-west-1.amazonaws.com", "/model/m/converse"), "aws.bedrock");
        assert_eq!(provider("localhost", "/model/m/converse"), "aws.bedrock");
        assert_eq!(provider("host.cofferdam", "/v1/messages"), "host.cofferdam");
    }

    #[test]
    fn a_path_can_name_another_model() {
        let other = |path, from| with_model(path, from, "b:1/x");
        assert_eq!(other("/model/a%3A0/invoke", "a:0").as_deref(), Some("/model/b%3A1%2Fx/invoke"));
        assert_eq!(other("/v1/models/g:generateContent", "g").as_deref(), Some("/v1/models/b%3A1%2Fx:generateContent"));
        assert_eq!(other("/v1/messages", "g"), None);
    }
}
