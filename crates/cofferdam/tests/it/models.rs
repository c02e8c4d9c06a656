//! What agents and models say to each other, as evidence.

use serde_json::{Value, json};

use crate::evidence::{evidence_of_latest, showing};
use crate::support::evidence::Evidence;
use crate::support::{Scene, Server, eventually, has, unique};

/// An event of a stream.
fn sse(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// A model of Anthropic's protocol that asks for one command, and is content with what it hears of it.
fn anthropic() -> Server {
    Server::answering(|_, body| {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let start = |input: u64| {
            sse(
                "message_start",
                &json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
                    "model": "claude-sonnet-4-5-20250929", "content": [], "stop_reason": null,
                    "usage": {"input_tokens": input, "cache_read_input_tokens": 10, "output_tokens": 1}}}),
            )
        };
        let end = |stop: &str| {
            sse(
                "message_delta",
                &json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 20}}),
            ) + &sse("message_stop", &json!({"type": "message_stop"}))
        };
        let delta = |index: u64, delta: Value| {
            sse("content_block_delta", &json!({"type": "content_block_delta", "index": index, "delta": delta}))
        };
        let begin = |index: u64, block: Value| {
            sse("content_block_start", &json!({"type": "content_block_start", "index": index, "content_block": block}))
        };
        let said = match asked["messages"].as_array().map_or(0, Vec::len) {
            1 => {
                start(100)
                    + &begin(0, json!({"type": "text", "text": ""}))
                    + &delta(0, json!({"type": "text_delta", "text": "I look"}))
                    + &delta(0, json!({"type": "text_delta", "text": " around."}))
                    + &begin(1, json!({"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": {}}))
                    + &delta(1, json!({"type": "input_json_delta", "partial_json": "{\"command\":"}))
                    + &delta(1, json!({"type": "input_json_delta", "partial_json": " \"ls -la\"}"}))
                    + &end("tool_use")
            }
            _ => start(7) + &begin(0, json!({"type": "text", "text": "Done."})) + &end("end_turn"),
        };
        ("200 OK\r\nContent-Type: text/event-stream; charset=utf-8".to_owned(), said.into_bytes())
    })
}

/// Sends these files to a model in turn.
fn sending(place: &str, path: &str, files: &[&str]) -> String {
    let send = |file: &&str| {
        format!("curl -sSN -H 'content-type: application/json' --data-binary @{file} http://{place}{path}; ")
    };
    files.iter().map(send).collect()
}

#[test]
fn an_exchange_with_a_model_becomes_evidence_with_its_causes() {
    if !has("curl") {
        return;
    }
    let (scene, server) = (Scene::new(), anthropic());
    let secret = unique("s3cret-Value");
    let tools = json!([{"name": "Bash", "input_schema": {}}, {"name": "Edit", "input_schema": {}}]);
    let turn = json!({"role": "user", "content": [
        {"type": "text", "text": "<system-reminder>be brief</system-reminder>"},
        {"type": "text", "text": format!("Look around, the password is {secret}")},
    ]});
    let first =
        json!({"model": "claude-sonnet-4-5", "max_tokens": 1000, "stream": true, "tools": tools, "messages": [turn]});
    let second = json!({"model": "claude-sonnet-4-5", "max_tokens": 1000, "stream": true, "tools": tools, "messages": [
        turn,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": {"command": "ls -la"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_01", "is_error": true,
            "content": [{"type": "text", "text": format!("total 0 {secret}")}]}]},
    ]});
    std::fs::write(scene.project.join("1.json"), first.to_string()).unwrap();
    std::fs::write(scene.project.join("2.json"), second.to_string()).unwrap();
    let script = sending(&server.place(), "/v1/messages", &["1.json", "2.json"]);
    let given = format!("DEPLOY_TOKEN={secret}");
    let allow = server.place();
    let words =
        ["run", "--quiet", "--env", &given, "--allow", &allow, "--purpose", "a model", "--", "sh", "-c", &script];
    let got = scene.finished(&words);
    assert!(got.out().contains("\"text\":\" around.\"") && got.out().ends_with("\n\n"), "{}", got.all());
    let heard = server.heard();
    assert_eq!(heard.len(), 2);
    assert!(heard[0].ends_with(&first.to_string()), "as the program sent it: {}", heard[0]);
    assert!(heard[0].to_ascii_lowercase().contains("accept-encoding: identity"), "{}", heard[0]);

    let evidence = Evidence::of(&scene);
    let of = |kind: &str| evidence.of_kind(kind);
    let text = |reference: &Value| String::from_utf8(evidence.blob(reference)).unwrap();
    let ([asked, again], [said, done]) = (&of("model.request")[..], &of("model.response")[..]) else {
        panic!("{:#?}", evidence.events)
    };
    let curl = of("process.exec").into_iter().find(|e| e["data"]["argv"][0] == "curl").unwrap();
    assert_eq!((&asked["cause"], &asked["link"]), (&curl["seq"], &json!("socket")), "{asked}");
    let facts = &asked["data"];
    assert_eq!(facts["request"], 1);
    assert_eq!(facts["provider"], "host.cofferdam");
    assert_eq!(facts["protocol"], "anthropic-messages");
    assert_eq!(facts["model"], "claude-sonnet-4-5");
    assert_eq!(facts["tools"], json!(["Bash", "Edit"]));
    assert_eq!((&facts["messages"], &facts["new"], &facts["most"]), (&json!(1), &json!(1), &json!(1000)));
    assert_eq!(facts["body"]["bytes"], first.to_string().len() as u64);
    assert_eq!((&again["data"]["messages"], &again["data"]["new"]), (&json!(3), &json!(2)));
    assert_eq!((&said["cause"], &said["link"]), (&asked["seq"], &json!("exchange")));
    let facts = &said["data"];
    assert_eq!((&facts["status"], &facts["stop"]), (&json!(200), &json!("tool_use")));
    assert_eq!(facts["usage"], json!({"input": 100, "cached": 10, "output": 20}));
    // (100 × 3 + 10 × 0.3 + 20 × 15) dollars for a million.
    assert_eq!(facts["cost"]["micro_usd"], 603, "{facts}");
    assert_eq!(text(&facts["text"]), "I look around.");
    assert!(facts["first"].as_u64().unwrap() <= facts["microseconds"].as_u64().unwrap());
    assert!(facts.get("error").is_none(), "{facts}");
    let [call] = &of("tool.call")[..] else { panic!("{:#?}", evidence.events) };
    assert_eq!((&call["cause"], &call["link"]), (&said["seq"], &json!("exchange")));
    assert_eq!((&call["data"]["id"], &call["data"]["name"]), (&json!("toolu_01"), &json!("Bash")));
    assert_eq!(text(&call["data"]["arguments"]), "{\"command\": \"ls -la\"}");
    let [result] = &of("tool.result")[..] else { panic!("{:#?}", evidence.events) };
    assert_eq!((&result["cause"], &result["link"]), (&call["seq"], &json!("id")));
    assert_eq!((&result["data"]["request"], &result["data"]["error"]), (&json!(2), &json!(true)));
    assert_eq!(text(&result["data"]["content"]), "total 0 [secret:DEPLOY_TOKEN]");
    let [prompt] = &of("prompt")[..] else { panic!("{:#?}", evidence.events) };
    assert_eq!((&prompt["cause"], &prompt["link"]), (&asked["seq"], &json!("exchange")));
    assert_eq!(prompt["data"]["source"], "model");
    assert_eq!(text(&prompt["data"]["text"]), "Look around, the password is [secret:DEPLOY_TOKEN]");
    assert_eq!(done["data"]["stop"], "end_turn");
    let before = |a: &Value, b: &Value| a["seq"].as_u64() < b["seq"].as_u64();
    let exchange = of("http.exchange")[0];
    assert!(before(asked, prompt) && before(said, call) && before(call, exchange), "{:#?}", evidence.events);
    assert_eq!(exchange["data"]["changed"], json!(["models"]), "what it asks its answer to be");
    assert_eq!(showing(&evidence_of_latest(&scene), &secret), Vec::<std::path::PathBuf>::new());
    assert_eq!(scene.finished(&["verify"]).code(), Some(0));
    let lines = scene.finished(&["log", "--kind", "model,tool"]).out();
    assert!(lines.contains("claude-sonnet-4-5") && lines.contains("Bash"), "{lines}");
}

/// A model by a script, of the tests' server that speaks every protocol; ends with the test.
struct Scripted {
    child: std::process::Child,
    place: String,
}

impl Scripted {
    /// None where there is no Python.
    fn start(scene: &Scene, script: &Value) -> Option<Scripted> {
        let (file, port) = (scene.home.join("script.json"), scene.home.join("port"));
        std::fs::write(&file, script.to_string()).unwrap();
        let server = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/model-server");
        let child = std::process::Command::new("python3").arg(server).arg(&file).arg(&port).spawn();
        let child = match child {
            Ok(child) => child,
            Err(e) => {
                eprintln!("not proven on this machine: there is no python3: {e}");
                return None;
            }
        };
        let mut scripted = Scripted { child, place: String::new() };
        assert!(eventually(30, || std::fs::read_to_string(&port).is_ok_and(|text| text.trim().parse::<u16>().is_ok())));
        scripted.place = format!("host.cofferdam:{}", std::fs::read_to_string(&port).unwrap().trim());
        Some(scripted)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A request of each protocol, streamed or not: its name, its path and its body.
fn requests(stream: bool) -> Vec<(&'static str, String, Value)> {
    let turn = "please look around here";
    let openai = json!({"type": "function", "function": {"name": "shell", "parameters": {}}});
    let gemini = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let bedrock = if stream { "converse-stream" } else { "converse" };
    vec![
        (
            "anthropic-messages",
            "/v1/messages".to_owned(),
            json!({"model": "claude-sonnet-4-5", "max_tokens": 99, "stream": stream, "messages": [{"role": "user", "content": turn}],
                "tools": [{"name": "shell", "input_schema": {}}]}),
        ),
        (
            "openai-responses",
            "/v1/responses".to_owned(),
            json!({"model": "gpt-5", "stream": stream, "input": [{"role": "user", "content": [{"type": "input_text", "text": turn}]}],
                "tools": [{"type": "function", "name": "shell", "parameters": {}}]}),
        ),
        (
            "openai-chat-completions",
            "/v1/chat/completions".to_owned(),
            json!({"model": "gpt-5", "stream": stream, "stream_options": {"include_usage": true},
                "messages": [{"role": "user", "content": turn}], "tools": [openai]}),
        ),
        (
            "gemini-generate-content",
            format!("/v1beta/models/gemini-2.5-pro:{gemini}"),
            json!({"contents": [{"role": "user", "parts": [{"text": turn}]}],
                "tools": [{"functionDeclarations": [{"name": "shell"}]}]}),
        ),
        (
            "bedrock-converse",
            format!("/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/{bedrock}"),
            json!({"messages": [{"role": "user", "content": [{"text": turn}]}],
                "toolConfig": {"tools": [{"toolSpec": {"name": "shell", "inputSchema": {"json": {}}}}]}}),
        ),
    ]
}

#[test]
fn every_protocol_says_the_same() {
    let scene = Scene::new();
    let script = json!({"repeat": true, "chop": 7, "turns": [{
        "text": "I look around, gründlich.", "thinking": "hm",
        "calls": [{"tool": "shell", "arguments": {"command": "ls \"a b\""}}, {"tool": "shell", "arguments": {"command": "pwd"}}],
        "usage": {"input": 30, "read": 70, "write": 0, "output": 50, "thinking": 20},
    }]});
    let Some(model) = Scripted::start(&scene, &script).filter(|_| has("curl")) else { return };
    let all: Vec<_> = requests(true).into_iter().chain(requests(false)).collect();
    let mut commands = String::new();
    for (at, (_, path, body)) in all.iter().enumerate() {
        std::fs::write(scene.project.join(format!("{at}.json")), body.to_string()).unwrap();
        let fields = "-H 'content-type: application/json'";
        commands.push_str(&format!(
            "curl -sSN {fields} --data-binary @{at}.json 'http://{}{path}' -o out-{at};",
            model.place
        ));
    }
    let got = scene.allowed(&[&model.place], &["sh", "-c", &commands]);
    assert_eq!(got.code(), Some(0), "{}", got.all());
    let evidence = Evidence::of(&scene);
    let text = |reference: &Value| String::from_utf8(evidence.blob(reference)).unwrap();
    let (asked, said) = (evidence.of_kind("model.request"), evidence.of_kind("model.response"));
    assert_eq!((asked.len(), said.len()), (all.len(), all.len()), "{:#?}", evidence.events);
    for ((protocol, ..), (asked, said)) in all.iter().zip(asked.iter().zip(&said)) {
        let facts = &said["data"];
        assert_eq!(asked["data"]["protocol"], *protocol);
        assert_eq!((&asked["data"]["tools"], &asked["data"]["messages"]), (&json!(["shell"]), &json!(1)), "{protocol}");
        assert_eq!((&said["cause"], &facts["status"]), (&asked["seq"], &json!(200)), "{protocol}");
        assert_eq!(text(&facts["text"]), "I look around, gründlich.", "{protocol}");
        assert!(facts.get("error").is_none() && facts["stop"].is_string(), "{protocol}: {facts}");
        let usage = |name: &str| facts["usage"][name].as_u64().unwrap_or(0);
        assert_eq!((usage("input"), usage("cached")), (30, 70), "{protocol}: {facts}");
        // Gemini counts thoughts beside the answer, all others within it.
        let written = if *protocol == "gemini-generate-content" { 70 } else { 50 };
        assert_eq!(usage("output") + usage("reasoning"), written, "{protocol}: {facts}");
        assert!(facts["cost"]["micro_usd"].as_u64() > Some(0), "{protocol}: {facts}");
        assert_eq!(facts["first"].is_u64(), asked["data"]["stream"] == true, "{protocol}: {facts}");
        let calls = evidence.of_kind("tool.call").into_iter().filter(|call| call["cause"] == said["seq"]);
        let calls: Vec<(String, Value)> = calls
            .map(|call| {
                assert!(call["data"]["id"].as_str().is_some_and(|id| !id.is_empty()), "{call}");
                let arguments = serde_json::from_str(&text(&call["data"]["arguments"])).unwrap();
                (call["data"]["name"].as_str().unwrap().to_owned(), arguments)
            })
            .collect();
        let wanted = |command: &str| ("shell".to_owned(), json!({"command": command}));
        assert_eq!(calls, [wanted("ls \"a b\""), wanted("pwd")], "{protocol}");
    }
    // The same words, in ten conversations: one prompt.
    assert_eq!(evidence.of_kind("prompt").len(), 1);
}

#[test]
fn what_goes_wrong_is_said() {
    let scene = Scene::new();
    let script = json!({"turns": [
        {"status": 429, "message": "Slow down"},
        {"text": "I was about to say", "break": 3},
        {"text": "I was about to say", "error": "overloaded_error", "after": 3},
        {"text": "Done."},
    ]});
    let Some(model) = Scripted::start(&scene, &script).filter(|_| has("curl")) else { return };
    let (_, _, body) = requests(true).remove(0);
    std::fs::write(scene.project.join("1.json"), body.to_string()).unwrap();
    // The last one is compressed.
    let mut commands = sending(&model.place, "/v1/messages", &["1.json"; 3]);
    commands.push_str(&format!(
        "gzip -k 1.json; curl -sSN -H 'content-encoding: gzip' --data-binary @1.json.gz http://{}/v1/messages; true",
        model.place
    ));
    let got = scene.allowed(&[&model.place], &["sh", "-c", &commands]);
    assert_eq!(got.code(), Some(0), "{}", got.all());
    let evidence = Evidence::of(&scene);
    let said: Vec<&Value> = evidence.of_kind("model.response").into_iter().map(|e| &e["data"]).collect();
    let [refused, broken, failed, done] = said[..] else { panic!("{said:#?}") };
    assert_eq!(refused["status"], 429);
    assert!(refused["error"].as_str().unwrap().contains("Slow down"), "{refused}");
    assert_eq!((&broken["status"], &broken["error"]), (&json!(200), &json!("the answer broke off")), "{broken}");
    assert!(failed["error"].as_str().unwrap().starts_with("overloaded_error"), "{failed}");
    assert!(done.get("error").is_none() && done["stop"] == "end_turn", "{done}");
    let asked = evidence.of_kind("model.request");
    let new: Vec<u64> = asked.iter().map(|e| e["data"]["new"].as_u64().unwrap()).collect();
    assert_eq!(new, [1, 0, 0, 0], "it was tried again");
}

#[test]
fn a_request_that_says_two_things_does_not_leave_and_other_requests_do_as_ever() {
    if !has("curl") {
        return;
    }
    let (scene, server) = (Scene::new(), anthropic());
    let place = server.place();
    let twice = r#"{"model":"claude-opus-4-1","messages":[],"model":"claude-haiku-4-5"}"#;
    for (path, body, reason) in [
        ("/v1/messages", twice.as_bytes().to_vec(), Some("ambiguous")),
        ("/v1//%6Dessages", twice.as_bytes().to_vec(), Some("ambiguous")),
        ("/v1/messages", b"{\"model\":\"m\",\"messages\":[}".to_vec(), Some("malformed")),
        (
            "/v1/messages",
            [b"\xff\xfe".to_vec(), twice.encode_utf16().flat_map(u16::to_le_bytes).collect()].concat(),
            Some("malformed"),
        ),
        ("/v1/messages/count_tokens", twice.as_bytes().to_vec(), None),
        ("/v1/messages", b"[1]".to_vec(), None),
        ("/v1/messages", b"{\"text\":\"to a friend\"}".to_vec(), None),
        ("/v1/messages", b"".to_vec(), None),
    ] {
        std::fs::write(scene.project.join("body"), &body).unwrap();
        let before = server.heard().len();
        let send = format!(
            "curl -sS -w ' %{{http_code}}' -H 'content-type: application/json' --data-binary @body 'http://{place}{path}'"
        );
        let got = scene.allowed(&[&place], &["sh", "-c", &send]);
        let heard = server.heard().len() - before;
        match reason {
            Some(reason) => {
                assert!(got.out().ends_with(" 403") && heard == 0, "{reason}: {}", got.all());
                assert!(got.out().starts_with(r#"{"error":{"message":"Cofferdam refused"#), "{}", got.all());
                assert!(got.out().contains(r#""type":"permission_error""#), "{}", got.all());
                assert_eq!(scene.events("net.denied")[0]["data"]["reason"], reason);
            }
            None => {
                assert!(got.out().ends_with(" 200") && heard == 1, "{path}: {}", got.all());
                let heard = server.heard().pop().unwrap();
                assert!(!heard.to_lowercase().contains("accept-encoding: identity"), "as it came: {heard}");
            }
        }
        assert_eq!(scene.events("model.request").len(), 0, "{path}");
    }
}
