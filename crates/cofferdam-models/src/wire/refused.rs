//! Refusals in the forms in which each provider says an error: agents show those.

use bytes::Bytes;
use cofferdam_core::event::Protocol;
use cofferdam_exchange::{Answer, Refusal};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::route::Route;

/// The answer to a request that does not go out. 403, which no agent tries again by itself.
pub(crate) fn answer(route: &Route, refusal: &Refusal) -> Box<Answer> {
    let mut message = format!("Cofferdam refused this request: {}.", refusal.detail);
    if let Some(allow) = &refusal.allow {
        message.push_str(&format!(" A person outside can allow it: {allow}"));
    }
    let code = format!("cofferdam_{}", refusal.reason);
    let bedrock = route.provider == Some("aws.bedrock");
    let body = match route.protocol {
        _ if bedrock => json!({"message": message}),
        Protocol::AnthropicMessages => {
            json!({"type": "error", "error": {"type": "permission_error", "message": message}})
        }
        Protocol::OpenaiResponses | Protocol::OpenaiChatCompletions => {
            json!({"error": {"message": message, "type": "cofferdam_denied", "param": null, "code": code}})
        }
        Protocol::GeminiGenerateContent => {
            json!({"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED"}})
        }
        Protocol::BedrockConverse => json!({"message": message}),
    };
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = StatusCode::FORBIDDEN;
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if bedrock {
        head.headers.insert("x-amzn-errortype", HeaderValue::from_static("AccessDeniedException"));
    }
    Box::new(Answer { head, body: Bytes::from(body.to_string()) })
}
