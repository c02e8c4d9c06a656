//! Rules and budgets for models, through `coffer run`.

use serde_json::{Value, json};

use crate::support::evidence::Evidence;
use crate::support::{Scene, Server, has};

/// A model that says one word, and how many tokens that took: 100 read, 20 written.
fn model() -> Server {
    Server::answering(|_, body| {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"],
            "content": [{"type": "text", "text": "Done."}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 100, "output_tokens": 20}});
        ("200 OK\r\nContent-Type: application/json".to_owned(), answer.to_string().into_bytes())
    })
}

fn asking(model: &str, text: &str) -> String {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}],
        "tools": [{"name": "Bash", "input_schema": {}}, {"name": "mcp__mail__send", "input_schema": {}}]})
    .to_string()
}

/// Sends a file to the model so many times, all at once; prints each status.
fn send(server: &Server, file: &str, times: usize) -> String {
    format!(
        "for n in $(seq {times}); do curl -s -o out.$n -w '%{{http_code}}\\n' -H 'content-type: application/json' \
         --data-binary @{file} http://{}/v1/messages & done; wait",
        server.place()
    )
}

fn run(scene: &Scene, server: &Server, more: &[&str], script: &str) -> String {
    let place = server.place();
    let words = ["run", "--quiet", "--allow", &place, "--purpose", "a model"];
    let words: Vec<&str> = words.iter().chain(more).copied().chain(["--", "sh", "-c", script]).collect();
    scene.finished(&words).out()
}

fn statuses(out: &str) -> (usize, usize) {
    let count = |status: &str| out.lines().filter(|line| *line == status).count();
    (count("200"), count("403"))
}

#[test]
fn a_budget_is_exact_under_requests_at_once_and_goes_on_in_the_next_run() {
    if !has("curl") {
        return;
    }
    let (scene, server) = (Scene::new(), model());
    scene.policy("version = 1\n[models]\nbudget = { requests = 9, per = \"day\" }\n");
    std::fs::write(scene.project.join("a.json"), asking("claude-sonnet-4-5", "go on")).unwrap();
    let out = run(&scene, &server, &[], &send(&server, "a.json", 20));
    assert_eq!(statuses(&out), (9, 11), "{out}");
    assert_eq!(server.heard().len(), 9, "nothing else has left");
    let evidence = Evidence::of(&scene);
    let limits = evidence.of_kind("limit.reached");
    assert_eq!(limits.len(), 1, "{limits:?}");
    assert_eq!(limits[0]["data"], json!({"limit": "models requests per day", "value": 9, "action": "refused"}));
    let out = run(&scene, &server, &[], &format!("{}; cat out.1", send(&server, "a.json", 1)));
    assert_eq!(statuses(&out), (0, 1), "{out}");
    assert!(out.contains("permission_error") && out.contains("9 requests per day"), "{out}");
    let shown: Value = serde_json::from_str(&scene.finished(&["budget", "--json"]).out()).unwrap();
    assert_eq!(shown["budgets"][0]["used"], json!({"micro_usd": 9 * 600, "tokens": 9 * 120, "requests": 9}), "{shown}");
    assert_eq!(shown["budgets"][0]["reserved"]["requests"], 0);
    assert!(scene.finished(&["budget"]).out().contains("9 requests per day: used 9 requests\n"));
}

#[test]
fn three_runs_at_once_share_a_budget_and_a_monitor_that_is_killed_refunds_nothing() {
    if !has("curl") {
        return;
    }
    let (scene, server) = (Scene::new(), model());
    scene.policy("version = 1\n[models]\nbudget = { requests = 12, per = \"project\" }\n");
    std::fs::write(scene.project.join("a.json"), asking("claude-sonnet-4-5", "go on")).unwrap();
    let script = send(&server, "a.json", 7);
    let passed: usize = std::thread::scope(|scope| {
        let one = || statuses(&run(&scene, &server, &[], &script));
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(one)).collect();
        runs.into_iter()
            .map(|run| {
                let (passed, refused) = run.join().unwrap();
                assert_eq!(passed + refused, 7);
                passed
            })
            .sum()
    });
    assert_eq!((passed, server.heard().len()), (12, 12));
    // As after a monitor that was killed while its request was on the way: reserved, never settled.
    let ledger = scene.state.join("cofferdam/budgets/ledger");
    let text = std::fs::read_to_string(&ledger).unwrap();
    let open: String =
        text.lines().filter(|line| line.contains("\"reserve\"")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&ledger, &open[..open.len() - 7]).unwrap();
    assert_eq!(statuses(&run(&scene, &server, &[], &send(&server, "a.json", 3))), (1, 2), "its torn end alone is gone");
}

#[test]
fn money_is_not_used_beyond_a_budget_and_a_model_without_a_price_is_refused() {
    if !has("curl") {
        return;
    }
    let (scene, server) = (Scene::new(), model());
    std::fs::write(scene.project.join("a.json"), asking("claude-sonnet-4-5", "go on")).unwrap();
    std::fs::write(scene.project.join("b.json"), asking("llama3.2:3b", "go on")).unwrap();
    // One request can use 2048 and a few hundred tokens at 3.75, and 100 at 15 dollars for a million; it uses 0.0006.
    let budget = ["--budget", "0.013usd"];
    let one = send(&server, "a.json", 1);
    let out = run(&scene, &server, &budget, &[one.as_str(); 12].join("; "));
    let (passed, refused) = statuses(&out);
    assert!(passed >= 3 && passed + refused == 12, "settled requests make room: {out}");
    assert!(passed * 600 <= 13_000, "{out}");
    let out = run(&scene, &server, &budget, &format!("{}; cat out.1", send(&server, "b.json", 1)));
    assert!(out.contains("403") && out.contains("what llama3.2:3b costs is not known"), "{out}");
    scene.policy("version = 1\n[models]\nbudget = { usd = 0.01, unpriced = \"allow\" }\n");
    assert_eq!(statuses(&run(&scene, &server, &[], &send(&server, "b.json", 2))), (2, 0));
}

#[test]
fn models_providers_routes_tools_and_files_are_as_policy_says() {
    if !has("curl") {
        return;
    }
    let (scene, server) = (Scene::new(), model());
    scene.policy(
        "version = 1\n[models]\nallow = [\"claude-sonnet-*\"]\ntools = { deny = [\"mcp__mail__*\"] }\nnever-send = [\"secrets/**\"]\n\
         [models.route]\n\"claude-opus-*\" = \"claude-sonnet-*\"\n",
    );
    std::fs::create_dir(scene.project.join("secrets")).unwrap();
    std::fs::write(scene.project.join("secrets/db.env"), "# staging\nDB_PASSWORD=\"c0rrect horse battery\"\n").unwrap();
    for (file, model, text) in [
        ("a.json", "claude-opus-4-5", "go on"),
        ("b.json", "gpt-5", "go on"),
        ("c.json", "claude-sonnet-4-5", "     2\u{2192}DB_PASSWORD=\"c0rrect horse battery\"\n"),
    ] {
        std::fs::write(scene.project.join(file), asking(model, text)).unwrap();
    }
    let out = run(&scene, &server, &[], &send(&server, "a.json", 1));
    assert_eq!(statuses(&out), (1, 0), "{out}");
    let heard = server.heard().remove(0);
    assert!(heard.contains("\"claude-sonnet-4-5\"") && !heard.contains("opus"), "{heard}");
    assert!(heard.contains("\"Bash\"") && !heard.contains("mcp__mail__send"), "{heard}");
    let evidence = Evidence::of(&scene);
    let requests = evidence.of_kind("model.request");
    assert_eq!(
        (&requests[0]["data"]["asked"], &requests[0]["data"]["removed"]),
        (&json!("claude-opus-4-5"), &json!(["mcp__mail__send"]))
    );
    let refused = |file: &str| run(&scene, &server, &[], &format!("{}; cat out.1", send(&server, file, 1)));
    let out = refused("b.json");
    assert!(out.contains("403") && out.contains("gpt-5 is none of the models that policy allows"), "{out}");
    let out = refused("c.json");
    assert!(out.contains("403") && out.contains("content of secrets/db.env (line 2)"), "{out}");
    assert_eq!(server.heard().len(), 1);
    let evidence = Evidence::of(&scene);
    let denied = evidence.of_kind("net.denied");
    assert_eq!(denied[0]["data"]["reason"], "never-send", "{denied:?}");
    let place = server.place();
    let narrower = ["--model-allow", "claude-haiku-*"];
    assert_eq!(statuses(&run(&scene, &server, &narrower, &send(&server, "a.json", 1))), (0, 1), "{place}");
}

#[test]
fn what_cannot_be_counted_does_not_leave_and_nothing_inside_reaches_the_ledger() {
    if !has("curl") {
        return;
    }
    let (scene, server) = (Scene::new(), model());
    scene.policy("version = 1\n[models]\nbudget = { requests = 9 }\n");
    std::fs::write(scene.project.join("a.json"), asking("claude-sonnet-4-5", "go on")).unwrap();
    let ledger = scene.state.join("cofferdam/budgets");
    let look =
        format!("ls {0} 2>&1; cat {0}/ledger; echo x > {0}/ledger; {1}", ledger.display(), send(&server, "a.json", 1));
    let out = run(&scene, &server, &[], &look);
    assert_eq!(statuses(&out), (1, 0), "{out}");
    assert!(!out.contains("reserve"), "{out}");
    let text = std::fs::read_to_string(ledger.join("ledger")).unwrap();
    assert!(text.starts_with('{') && text.lines().count() == 2, "reserved and settled: {text}");
    std::fs::write(ledger.join("ledger"), format!("what is this\n{text}")).unwrap();
    let out = run(&scene, &server, &[], &format!("{}; cat out.1", send(&server, "a.json", 1)));
    assert!(out.contains("403") && out.contains("is no record"), "{out}");
    assert_eq!(server.heard().len(), 1);
}
