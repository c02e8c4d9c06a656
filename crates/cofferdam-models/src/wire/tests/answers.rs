//! Answers, streamed and whole.

use base64::Engine;
use cofferdam_core::event::Usage;

use super::super::eventstream::encode;
use super::*;

const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const GEMINI: &str = "/v1beta/models/gemini-x:streamGenerateContent";
const CONVERSE: &str = "/model/m/converse-stream";

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The events of a stream, each with the name that its `type` is.
fn typed(events: &[&str]) -> String {
    let name =
        |event: &str| serde_json::from_str::<serde_json::Value>(event).unwrap()["type"].as_str().unwrap().to_owned();
    events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", name(event))).collect()
}

fn data(events: &[&str]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

/// As <https://docs.claude.com/en/docs/build-with-claude/streaming> has them, with two tools at once.
const ANTHROPIC: [&str; 17] = [
    r#"{"type":"message_start","message":{"id":"msg_1nZ","type":"message","role":"assistant","content":[],"model":"claude-opus-4-6","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":472,"cache_creation_input_tokens":5,"cache_read_input_tokens":1000,"output_tokens":2}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me"}}"#,
    r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
    r#"{"type": "ping"}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Okay, ünd"}}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":" \"now\"\n"}}"#,
    r#"{"type":"content_block_stop","index":1}"#,
    r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_01T","name":"get_weather","input":{}}}"#,
    r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
    r#"{"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}}"#,
    r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"query\":1}"}}"#,
    r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"location\": \"San"}}"#,
    r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":" Francisco\"}"}}"#,
    r#"{"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"toolu_02","name":"Bash","input":{}}}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89}}"#,
    r#"{"type":"message_stop"}"#,
];

fn anthropic() -> Said {
    Said {
        model: some("claude-opus-4-6"),
        stop: some("tool_use"),
        usage: Some(Usage { input: 472, cached: 1000, cache_written: 5, output: 89, reasoning: 0 }),
        text: "Okay, ünd \"now\"\n".into(),
        calls: vec![
            call("toolu_01T", "get_weather", "{\"location\": \"San Francisco\"}"),
            call("toolu_02", "Bash", ""),
        ],
        error: None,
        over: true,
    }
}

#[test]
fn messages() {
    assert_eq!(read_in_all_ways(MESSAGES, SSE, typed(&ANTHROPIC).as_bytes()), anthropic());
    let crlf = typed(&ANTHROPIC).replace('\n', "\r\n");
    assert_eq!(read_in_all_ways(MESSAGES, SSE, crlf.as_bytes()), anthropic());
    let whole = r#"{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-4-6","content":[{"type":"text","text":"Hi."},
        {"type":"tool_use","id":"toolu_1","name":"Bash","input":{"command":"ls"}}],"stop_reason":"tool_use","stop_sequence":null,
        "usage":{"input_tokens":10,"output_tokens":25}}"#;
    let said = read_in_all_ways(MESSAGES, JSON, whole.as_bytes());
    assert_eq!((&*said.text, said.over, said.stop), ("Hi.", true, some("tool_use")));
    assert_eq!(said.calls, [call("toolu_1", "Bash", "{\"command\":\"ls\"}")]);
    assert_eq!(said.usage, Some(Usage { input: 10, output: 25, ..Usage::default() }));
}

#[test]
fn messages_at_bedrock() {
    let path = "/model/anthropic.claude-x/invoke-with-response-stream";
    let frames: Vec<u8> = ANTHROPIC
        .iter()
        .flat_map(|event| {
            let bytes = base64::engine::general_purpose::STANDARD.encode(event);
            let payload = format!("{{\"bytes\":\"{bytes}\",\"p\":\"abc\"}}");
            encode(&[(":event-type", "chunk"), (":content-type", JSON), (":message-type", "event")], payload.as_bytes())
        })
        .collect();
    assert_eq!(read_in_all_ways(path, AMAZON, &frames), anthropic());
    let thrown = encode(
        &[(":exception-type", "throttlingException"), (":message-type", "exception")],
        br#"{"message":"Too many tokens"}"#,
    );
    assert_eq!(read_in_all_ways(path, AMAZON, &thrown).error, some("throttlingException: Too many tokens"));
}

/// As <https://platform.openai.com/docs/api-reference/chat-streaming> has them, with two tools at once.
const CHUNKS: [&str; 9] = [
    r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-5-mini","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}"#,
    r#"{"model":"gpt-5-mini","choices":[{"index":0,"delta":{"content":"Look"},"finish_reason":null}]}"#,
    r#"{"model":"gpt-5-mini","choices":[{"index":0,"delta":{"content":"ing."},"finish_reason":null}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"shell","arguments":""}}]},"finish_reason":null}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_b","type":"function","function":{"name":"read","arguments":"{}"}}]},"finish_reason":null}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"c\":"}}]},"finish_reason":null}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]},"finish_reason":null}]}"#,
    r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
    r#"{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":30,"total_tokens":130,"prompt_tokens_details":{"cached_tokens":64},"completion_tokens_details":{"reasoning_tokens":20}}}"#,
];

#[test]
fn chat_completions() {
    let stream = data(&CHUNKS) + "data: [DONE]\n\n";
    let wanted = Said {
        model: some("gpt-5-mini"),
        stop: some("tool_calls"),
        usage: Some(Usage { input: 36, cached: 64, cache_written: 0, output: 10, reasoning: 20 }),
        text: "Looking.".into(),
        calls: vec![call("call_a", "shell", "{\"c\":1}"), call("call_b", "read", "{}")],
        error: None,
        over: true,
    };
    assert_eq!(read_in_all_ways(CHAT, SSE, stream.as_bytes()), wanted);
    let whole = r#"{"id":"c","object":"chat.completion","model":"gpt-5-mini","choices":[{"index":0,"message":{"role":"assistant",
        "content":"Looking.","tool_calls":[{"id":"call_a","type":"function","function":{"name":"shell","arguments":"{\"c\":1}"}},
        {"id":"call_b","type":"custom","custom":{"name":"read","input":"{}"}}]},"finish_reason":"tool_calls"}],
        "usage":{"prompt_tokens":100,"completion_tokens":30,"prompt_tokens_details":{"cached_tokens":64},
        "completion_tokens_details":{"reasoning_tokens":20}}}"#;
    assert_eq!(read_in_all_ways(CHAT, JSON, whole.as_bytes()), wanted);
    // Perplexity's: a message beside each delta. DeepSeek's: how much of what was read came from a cache.
    let odd = data(&[
        r#"{"choices":[{"index":0,"delta":{"content":"a"},"message":{"content":"a"},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"reasoning_content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"prompt_cache_hit_tokens":4,"completion_tokens":1}}"#,
    ]);
    let said = read_in_all_ways(CHAT, SSE, odd.as_bytes());
    assert_eq!((&*said.text, said.over), ("a", true));
    assert_eq!(said.usage, Some(Usage { input: 5, cached: 4, output: 1, ..Usage::default() }));
}

/// As <https://platform.openai.com/docs/api-reference/responses-streaming> has them.
const EVENTS: [&str; 13] = [
    r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","status":"in_progress","error":null,"incomplete_details":null,"model":"gpt-5-codex","output":[],"usage":null}}"#,
    r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[]}}"#,
    r#"{"type":"response.reasoning_summary_text.delta","item_id":"rs_1","output_index":0,"delta":"Think"}"#,
    r#"{"type":"response.output_item.added","output_index":1,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}}"#,
    r#"{"type":"response.output_text.delta","item_id":"msg_1","output_index":1,"content_index":0,"delta":"Hel"}"#,
    r#"{"type":"response.output_text.delta","item_id":"msg_1","output_index":1,"content_index":0,"delta":"lo."}"#,
    r#"{"type":"response.output_text.done","item_id":"msg_1","output_index":1,"content_index":0,"text":"Hello."}"#,
    r#"{"type":"response.output_item.added","output_index":2,"item":{"id":"fc_1","type":"function_call","status":"in_progress","call_id":"call_1","name":"shell","arguments":""}}"#,
    r#"{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":2,"delta":"{\"command\":[\"ls"}"#,
    r#"{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":2,"delta":"\"]}"}"#,
    r#"{"type":"response.output_item.done","output_index":2,"item":{"id":"fc_1","type":"function_call","status":"completed","call_id":"call_1","name":"shell","arguments":"{\"command\":[\"ls\"]}"}}"#,
    r#"{"type":"response.output_item.added","output_index":3,"item":{"id":"ct_1","type":"custom_tool_call","call_id":"call_2","name":"apply_patch","input":""}}"#,
    r#"{"type":"response.custom_tool_call_input.delta","item_id":"ct_1","output_index":3,"delta":"*** Begin Patch"}"#,
];
const COMPLETED: &str = r#"{"type":"response.completed","response":{"id":"resp_1","object":"response","status":"completed","error":null,"incomplete_details":null,"model":"gpt-5-codex","output":[{"id":"rs_1","type":"reasoning","summary":[]},{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hello.","annotations":[]}]},{"id":"fc_1","type":"function_call","status":"completed","call_id":"call_1","name":"shell","arguments":"{\"command\":[\"ls\"]}"},{"id":"ct_1","type":"custom_tool_call","call_id":"call_2","name":"apply_patch","input":"*** Begin Patch"},{"type":"web_search_call","id":"ws_1","status":"completed"}],"usage":{"input_tokens":75,"input_tokens_details":{"cached_tokens":32},"output_tokens":125,"output_tokens_details":{"reasoning_tokens":100},"total_tokens":200}}}"#;

#[test]
fn responses() {
    let all: Vec<&str> = EVENTS.into_iter().chain([COMPLETED]).collect();
    let wanted = Said {
        model: some("gpt-5-codex"),
        stop: some("completed"),
        usage: Some(Usage { input: 43, cached: 32, cache_written: 0, output: 25, reasoning: 100 }),
        text: "Hello.".into(),
        calls: vec![
            call("call_1", "shell", "{\"command\":[\"ls\"]}"),
            call("call_2", "apply_patch", "*** Begin Patch"),
        ],
        error: None,
        over: true,
    };
    assert_eq!(read_in_all_ways(RESPONSES, SSE, typed(&all).as_bytes()), wanted);
    // A stream that broke off says what it said by then.
    let cut = read_in_all_ways(RESPONSES, SSE, typed(&EVENTS).as_bytes());
    assert_eq!(cut, Said { stop: None, usage: None, over: false, ..wanted.clone() });
    // A compatible server that has no deltas.
    let said = read_in_all_ways(RESPONSES, SSE, typed(&[COMPLETED]).as_bytes());
    assert_eq!(said, wanted);
    let whole = serde_json::from_str::<serde_json::Value>(COMPLETED).unwrap()["response"].to_string();
    assert_eq!(read_in_all_ways(RESPONSES, JSON, whole.as_bytes()), wanted);
    let failed = r#"{"type":"response.failed","response":{"id":"r","status":"failed","error":{"code":"rate_limit_exceeded","message":"Slow down"},"output":[],"usage":null}}"#;
    let said = read_in_all_ways(RESPONSES, SSE, typed(&[failed]).as_bytes());
    assert_eq!((said.error, said.stop), (some("rate_limit_exceeded: Slow down"), some("failed")));
    let cut = r#"{"type":"response.incomplete","response":{"id":"r","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]}}"#;
    assert_eq!(read_in_all_ways(RESPONSES, SSE, typed(&[cut]).as_bytes()).stop, some("max_output_tokens"));
}

/// As <https://ai.google.dev/api/generate-content> has them.
const PARTS: [&str; 3] = [
    r#"{"candidates":[{"content":{"parts":[{"text":"Hmm {\"[","thought":true},{"text":"Let's"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":50,"totalTokenCount":51},"modelVersion":"gemini-2.5-pro","responseId":"x"}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":" {go}."},{"functionCall":{"name":"run_shell","args":{"command":"ls"}},"thoughtSignature":"abc"}],"role":"model"},"index":0}],"modelVersion":"gemini-2.5-pro"}"#,
    r#"{"candidates":[{"content":{"parts":[{"functionCall":{"id":"f2","name":"run_shell"}}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":50,"cachedContentTokenCount":20,"candidatesTokenCount":8,"thoughtsTokenCount":16,"toolUsePromptTokenCount":1,"totalTokenCount":75},"modelVersion":"gemini-2.5-pro"}"#,
];

#[test]
fn generate_content() {
    let wanted = Said {
        model: some("gemini-2.5-pro"),
        stop: some("STOP"),
        usage: Some(Usage { input: 31, cached: 20, cache_written: 0, output: 8, reasoning: 16 }),
        text: "Let's {go}.".into(),
        calls: vec![call("", "run_shell", "{\"command\":\"ls\"}"), call("f2", "run_shell", "{}")],
        error: None,
        over: true,
    };
    assert_eq!(read_in_all_ways(GEMINI, SSE, data(&PARTS).as_bytes()), wanted);
    let array = format!("[{}]", PARTS.join("\n,\r\n"));
    assert_eq!(read_in_all_ways(GEMINI, JSON, array.as_bytes()), wanted, "without alt=sse");
    let wrapped: Vec<String> = PARTS.iter().map(|part| format!("{{\"response\":{part},\"traceId\":\"1\"}}")).collect();
    let wrapped: Vec<&str> = wrapped.iter().map(String::as_str).collect();
    let path = "/v1internal:streamGenerateContent";
    assert_eq!(read_in_all_ways(path, SSE, data(&wrapped).as_bytes()), wanted, "Gemini CLI's");
    let whole = read_in_all_ways("/v1beta/models/g:generateContent", JSON, PARTS[2].as_bytes());
    assert_eq!((whole.usage, whole.over), (wanted.usage, true));
    let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4}}"#;
    assert_eq!(read_in_all_ways(GEMINI, SSE, data(&[blocked]).as_bytes()).stop, some("SAFETY"));
}

#[test]
fn converse() {
    let frame = |event: &str, payload: &str| {
        encode(&[(":event-type", event), (":content-type", JSON), (":message-type", "event")], payload.as_bytes())
    };
    // As the API reference of ConverseStream has them.
    let frames = [
        frame("messageStart", r#"{"role":"assistant","p":"ab"}"#),
        frame("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"so"}}}"#),
        frame("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":"Hel"}}"#),
        frame("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":"lo"}}"#),
        frame("contentBlockStop", r#"{"contentBlockIndex":1}"#),
        frame("contentBlockStart", r#"{"contentBlockIndex":2,"start":{"toolUse":{"toolUseId":"tooluse_1","name":"ls"}}}"#),
        frame("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"a\""}}}"#),
        frame("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":":1}"}}}"#),
        frame("messageStop", r#"{"stopReason":"tool_use"}"#),
        frame("metadata", r#"{"usage":{"inputTokens":47,"outputTokens":20,"totalTokens":77,"cacheReadInputTokens":10},"metrics":{"latencyMs":9}}"#),
    ]
    .concat();
    let wanted = Said {
        model: None,
        stop: some("tool_use"),
        usage: Some(Usage { input: 47, cached: 10, cache_written: 0, output: 20, reasoning: 0 }),
        text: "Hello".into(),
        calls: vec![call("tooluse_1", "ls", "{\"a\":1}")],
        error: None,
        over: true,
    };
    assert_eq!(read_in_all_ways(CONVERSE, AMAZON, &frames), wanted);
    let whole = r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hello"},{"toolUse":{"toolUseId":"tooluse_1","name":"ls","input":{"a":1}}}]}},
        "stopReason":"tool_use","usage":{"inputTokens":47,"outputTokens":20,"totalTokens":77,"cacheReadInputTokens":10},"metrics":{"latencyMs":9}}"#;
    assert_eq!(read_in_all_ways("/model/m/converse", JSON, whole.as_bytes()), wanted);
    let thrown = encode(
        &[(":exception-type", "modelStreamErrorException"), (":message-type", "exception")],
        br#"{"message":"No","originalStatusCode":424}"#,
    );
    assert_eq!(read_in_all_ways(CONVERSE, AMAZON, &thrown).error, some("modelStreamErrorException: No"));
}

#[test]
fn errors_in_the_form_of_each_provider() {
    for (path, body, words) in [
        (
            MESSAGES,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#,
            "overloaded_error: Overloaded",
        ),
        (
            CHAT,
            r#"{"error":{"message":"Bad key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            "invalid_request_error: Bad key",
        ),
        (CHAT, r#"{"error":"model not found"}"#, "model not found"),
        (CHAT, r#"{"detail":"Not Found"}"#, "Not Found"),
        (RESPONSES, r#"{"error":{"message":"No","type":null,"code":"x"}}"#, "x: No"),
        (
            GEMINI,
            r#"{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}"#,
            "RESOURCE_EXHAUSTED: Quota",
        ),
        (
            GEMINI,
            r#"[{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}]"#,
            "RESOURCE_EXHAUSTED: Quota",
        ),
        (CONVERSE, r#"{"message":"not authorized"}"#, "not authorized"),
        (CHAT, "<html>Bad Gateway</html>\n", "<html>Bad Gateway</html>"),
    ] {
        let said = read(path, 429, JSON, body.as_bytes().chunks(3));
        assert_eq!((said.error.as_deref(), said.over), (Some(words), false), "{body}");
    }
    for (path, event, words) in [
        (
            MESSAGES,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            "overloaded_error: Overloaded",
        ),
        (CHAT, r#"{"error":{"message":"Gone","code":502}}"#, "Gone"),
        (RESPONSES, r#"{"type":"error","code":"server_error","message":"Sorry","param":null}"#, "server_error: Sorry"),
        (GEMINI, r#"{"error":{"code":503,"message":"Busy","status":"UNAVAILABLE"}}"#, "UNAVAILABLE: Busy"),
    ] {
        assert_eq!(read_in_all_ways(path, SSE, data(&[event]).as_bytes()).error.as_deref(), Some(words), "in a stream");
    }
}

#[test]
fn an_encoded_answer_is_read_too() {
    let gzip = {
        use std::io::Write;
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(typed(&ANTHROPIC).as_bytes()).unwrap();
        writer.finish().unwrap()
    };
    let zstd = zstd::stream::encode_all(typed(&ANTHROPIC).as_bytes(), 3).unwrap();
    for (how, body) in [("gzip", &gzip[..]), ("zstd", &zstd[..]), ("br", b"whatever"), ("gzip", b"no such thing")] {
        let route = recognise(&Method::POST, MESSAGES).unwrap();
        let head = Response::builder().header("content-type", SSE).header("content-encoding", how).body(()).unwrap();
        let mut reader = Reader::new(&route, &head.into_parts().0, &Pool::default());
        body.chunks(7).for_each(|piece| reader.push(&Bytes::copy_from_slice(piece)));
        let told = reader.end(true).unwrap();
        match body.len() > 20 {
            true => assert_eq!((told.stop, told.error), (some("tool_use"), None), "{how}"),
            false => assert!(told.error.unwrap().starts_with("the answer is "), "{how}"),
        }
    }
}
