//! What agents and models say to each other, as evidence.

use serde_json::{Value, json};

use crate::evidence::{evidence_of_latest, showing};
use crate::support::evidence::Evidence;
use crate::support::{Scene, Server, has, unique};

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
