//! Requests.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::json::Object;
use super::super::{Part, hear, parts};
use super::*;

/// Model, whether it is named in the body, tools, most tokens, streamed, and the parts of each message.
type Facts = (String, bool, Vec<String>, Option<u64>, bool, Vec<Vec<Part<'static>>>);

fn facts(path: &str, body: &str) -> Option<Facts> {
    let route = recognise(&Method::POST, path).unwrap();
    let object = Object::parse(body).unwrap();
    let heard = hear(&route, &object).unwrap()?;
    let own = |part: Part<'_>| match part {
        Part::Text(text) => Part::Text(Cow::Owned(text.into_owned())),
        Part::Result { id, tool, error, content } => Part::Result {
            id: Cow::Owned(id.into_owned()),
            tool: Cow::Owned(tool.into_owned()),
            error,
            content: Cow::Owned(content.into_owned()),
        },
    };
    let all = |message: &&RawValue| parts(route.protocol, message).into_iter().map(own).collect();
    Some((
        heard.model.to_string(),
        heard.model_at.is_some(),
        heard.names().map(str::to_owned).collect(),
        heard.most,
        heard.stream,
        heard.messages.iter().map(all).collect(),
    ))
}

fn says(text: &'static str) -> Part<'static> {
    Part::Text(text.into())
}

fn told(id: &'static str, tool: &'static str, error: bool, content: &'static str) -> Part<'static> {
    Part::Result { id: id.into(), tool: tool.into(), error, content: content.into() }
}

#[test]
fn messages() {
    let body = r#"{"model":"claude-x","max_tokens":9,"stream":true,"system":"s","tools":[{"name":"Bash","input_schema":{}},{"type":"web_search_20250305","name":"web_search"}],
        "messages":[{"role":"user","content":"do \u0061ll"},{"role":"assistant","content":[{"type":"text","text":"ok"},{"type":"tool_use","id":"t1","name":"Bash","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"out"},{"type":"tool_result","tool_use_id":"t2","is_error":true,"content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}}]},{"type":"text","text":"more"}]}]}"#;
    let tools = vec!["Bash".to_owned(), "web_search".to_owned()];
    let parts = vec![
        vec![says("do all")],
        vec![],
        vec![told("t1", "", false, "out"), told("t2", "", true, "a\n[image, 82 bytes]"), says("more")],
    ];
    assert_eq!(
        facts("/v1/messages", body),
        Some(("claude-x".into(), true, tools.clone(), Some(9), true, parts.clone()))
    );
    let bedrock = body
        .replace("\"model\":\"claude-x\",", "\"anthropic_version\":\"bedrock-2023-05-31\",")
        .replace("\"stream\":true,", "");
    let at = facts("/model/c/invoke-with-response-stream", &bedrock);
    assert_eq!(at, Some(("c".into(), false, tools, Some(9), true, parts)));
    for other in
        [r#"{"model":"m"}"#, r#"{"messages":[]}"#, r#"{"model":"m","messages":{}}"#, r#"{"model":1,"messages":[]}"#]
    {
        assert_eq!(facts("/v1/messages", other), None, "{other}");
    }
}

#[test]
fn chat_completions() {
    let body = r#"{"model":"gpt-x","stream":true,"max_completion_tokens":7,"tools":[{"type":"function","function":{"name":"shell","parameters":{}}},{"type":"custom","custom":{"name":"patch"}}],
        "messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"b"},{"type":"image_url","image_url":{"url":"x"}}]},
        {"role":"assistant","content":null,"tool_calls":[]},{"role":"tool","tool_call_id":"c1","content":"out"},{"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":"x"}]}]}"#;
    let parts = vec![
        vec![],
        vec![says("a")],
        vec![says("b")],
        vec![],
        vec![told("c1", "", false, "out")],
        vec![told("c2", "", false, "x")],
    ];
    let tools = vec!["shell".to_owned(), "patch".to_owned()];
    assert_eq!(facts("/v1/chat/completions", body), Some(("gpt-x".into(), true, tools, Some(7), true, parts)));
    let azure = facts("/openai/deployments/mine/chat/completions", r#"{"messages":[]}"#);
    assert_eq!(azure, Some(("mine".into(), false, vec![], None, false, vec![])));
    assert_eq!(facts("/v1/chat/completions", r#"{"messages":[]}"#), None);
}

#[test]
fn responses() {
    let body = r#"{"model":"gpt-x","stream":true,"instructions":"s","max_output_tokens":5,"tools":[{"type":"function","name":"shell","parameters":{}},{"type":"custom","name":"apply_patch"},{"type":"web_search"}],
        "input":[{"type":"message","role":"developer","content":[{"type":"input_text","text":"d"}]},{"role":"user","content":"u"},{"type":"message","role":"user","content":[{"type":"input_text","text":"v"}]},
        {"type":"reasoning","summary":[],"encrypted_content":"e"},{"type":"function_call","call_id":"c1","name":"shell","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"out"},
        {"type":"custom_tool_call_output","call_id":"c2","output":[{"type":"input_text","text":"x"}]}]}"#;
    let parts = vec![
        vec![],
        vec![says("u")],
        vec![says("v")],
        vec![],
        vec![],
        vec![told("c1", "", false, "out")],
        vec![told("c2", "", false, "x")],
    ];
    let tools = vec!["shell".to_owned(), "apply_patch".to_owned(), "web_search".to_owned()];
    assert_eq!(facts("/v1/responses", body), Some(("gpt-x".into(), true, tools, Some(5), true, parts)));
    let short = facts("/v1/responses", r#"{"model":"m","input":"just this"}"#);
    assert_eq!(short, Some(("m".into(), true, vec![], None, false, vec![vec![says("just this")]])));
    assert_eq!(facts("/v1/responses", r#"{"model":"m"}"#), None);
}

#[test]
fn generate_content() {
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"name":"ls","args":{}}}]},
        {"role":"user","parts":[{"functionResponse":{"name":"ls","response":{"output":"out"}}},{"function_response":{"id":"i","name":"ls","response":{"error":"no","code":1}}}]}],
        "tools":[{"functionDeclarations":[{"name":"ls"},{"name":"cat"}]},{"googleSearch":{}}],"generationConfig":{"maxOutputTokens":3}}"#;
    let parts = vec![
        vec![says("q")],
        vec![],
        vec![told("", "ls", false, "out"), told("i", "ls", true, "{\"error\":\"no\",\"code\":1}")],
    ];
    let tools = vec!["ls".to_owned(), "cat".to_owned()];
    let path = "/v1beta/models/gemini-x:streamGenerateContent";
    assert_eq!(facts(path, body), Some(("gemini-x".into(), false, tools.clone(), Some(3), true, parts.clone())));
    let wrapped = format!(r#"{{"model":"gemini-y","project":"p","request":{body}}}"#);
    let path = "/v1internal:streamGenerateContent";
    assert_eq!(facts(path, &wrapped), Some(("gemini-y".into(), true, tools, Some(3), true, parts)));
    assert_eq!(facts(path, r#"{"model":"g"}"#), None);
}

#[test]
fn converse() {
    let body = r#"{"messages":[{"role":"user","content":[{"text":"q"}]},{"role":"user","content":[{"toolResult":{"toolUseId":"t","status":"error","content":[{"text":"a"},{"json":{"b":1}},{"image":{}}]}}]}],
        "inferenceConfig":{"maxTokens":4},"toolConfig":{"tools":[{"toolSpec":{"name":"ls","inputSchema":{}}},{"cachePoint":{"type":"default"}}]}}"#;
    let parts = vec![vec![says("q")], vec![told("t", "", true, "a\n{\"b\":1}\n[image, 12 bytes]")]];
    assert_eq!(
        facts("/model/m%3A0/converse-stream", body),
        Some(("m:0".into(), false, vec!["ls".into()], Some(4), true, parts))
    );
    assert_eq!(facts("/model/m/converse", "{}"), None);
}

#[test]
fn what_cannot_be_read_as_a_whole_is_no_request_without_it() {
    let is_refused = |path: &str, body: &str| {
        let route = recognise(&Method::POST, path).unwrap();
        let object = Object::parse(body).unwrap();
        object.tells_twice().is_some() || hear(&route, &object).is_err()
    };
    let many = format!("[{}1]", "1,".repeat(70_000));
    assert!(is_refused("/v1/messages", &format!(r#"{{"model":"m","messages":{many}}}"#)));
    assert!(is_refused("/v1/messages", &format!(r#"{{"model":"m","messages":[],"tools":{many}}}"#)));
    assert!(is_refused("/v1/messages", r#"{"model":"m","messages":[],"model":"other"}"#));
    assert!(is_refused("/v1/messages", r#"{"messages":1,"model":"m","messages":[]}"#));
    assert!(is_refused("/v1internal:generateContent", r#"{"model":"m","request":{"contents":[],"contents":[]}}"#));
    assert!(is_refused("/model/m/converse", r#"{"messages":[],"toolConfig":{"tools":[],"tools":[]}}"#));
    assert!(!is_refused("/v1/messages", r#"{"model":"m","messages":[],"metadata":{"model":1,"model":2}}"#));
    let named = |path, body| facts(path, body).unwrap().2;
    let twice = r#"{"model":"m","messages":[],"tools":[{"name":"Safe","name":"Bash"},{"x":1},7]}"#;
    assert_eq!(named("/v1/messages", twice), ["?", "?", "?"]);
    let twice = r#"{"model":"m","messages":[],"tools":[{"function":{"name":"Safe"},"function":{"name":"Bash"}}]}"#;
    assert_eq!(named("/v1/chat/completions", twice), ["?"]);
}
