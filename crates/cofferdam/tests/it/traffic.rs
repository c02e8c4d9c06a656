//! What of the network a reader sees.

use serde_json::Value;

use crate::support::scene::finish;
use crate::support::{Finished, Scene, Server, evidence::Evidence, has};

fn run(scene: &Scene, words: &[&str]) -> Finished {
    scene.finished(&[&["run", "--quiet", "--"], words].concat())
}

/// The person's policy, for a server and a host that nobody asks for.
fn with_policy(scene: &Scene, server: &Server) {
    scene.policy(&format!(
        "version = 1\n[[network.allow]]\nhost = \"{}\"\npurpose = \"read notes\"\nname = \"notes\"\n\
         [[network.allow]]\nhost = \"*.unused.example\"\npurpose = \"nobody knows\"\n",
        server.place()
    ));
}

/// A run in which curl is allowed two requests and refused one, by a program with a hostile name.
fn reaching(scene: &Scene, server: &Server) -> Finished {
    with_policy(scene, server);
    let place = server.place();
    let script = format!(
        "curl -sS http://{place}/a/1 http://{place}/a/2 -o /dev/null; \
         cp $(command -v curl) './a|`b`<i>'; './a|`b`<i>' -sS 'http://refused.example/x|y' -o /dev/null; true"
    );
    run(scene, &["sh", "-c", &script])
}

#[test]
fn the_story_tells_the_network_below_its_command_and_totals_above() {
    let scene = Scene::new();
    if !has("curl") {
        return;
    }
    let server = Server::http();
    let got = reaching(&scene, &server);
    assert_eq!((got.code(), server.heard().len()), (Some(0), 2), "{}", got.all());
    let story = scene.finished(&["log"]).out();
    let lines: Vec<&str> = story.lines().map(str::trim).collect();
    assert!(lines[3].starts_with("2 requests to 1 host, ") && lines[3].contains("1 denied (refused.example: no-rule)"));
    let curl = lines.iter().position(|line| line.contains(" curl -sS ")).unwrap();
    let network = format!("network {} 2 requests for \"read notes\"", server.place());
    assert!(lines[curl + 1].starts_with(&network), "{story}");
    let hostile = lines.iter().position(|line| line.contains("'./a|`b`<i>'")).unwrap();
    assert!(lines[hostile..].iter().any(|line| line.starts_with("denied GET http://refused.example/x")), "{story}");
    let number = lines[curl].split_whitespace().next().unwrap();
    let page = scene.finished(&["log", "--command", number]).out();
    assert_eq!(page.matches(&format!("GET http://{}/a/", server.place())).count(), 2, "{page}");
    assert!(!page.contains("refused.example"), "{page}");
    let listed = scene.finished(&["list"]).out();
    let cells = |n: usize| listed.lines().nth(n).unwrap().split_whitespace().last().unwrap().to_owned();
    assert_eq!((cells(0), cells(1)), ("DENIED".to_owned(), "1".to_owned()), "{listed}");
    let stats = scene.finished(&["stats"]).out();
    assert!(stats.contains("refused.example: once, in 1 run"), "{stats}");
    for (kinds, wanted) in [("net,http", "http.exchange"), ("net", "net.denied")] {
        let events = scene.finished(&["log", "--kind", kinds]).out();
        assert!(events.contains(wanted) && !events.contains("process."), "{kinds}: {events}");
    }
    for text in ["refused.example", "read notes", "a 2"] {
        let hits = scene.finished(&["log", "--search", text]).out();
        assert!(hits.contains("network: "), "{text}: {hits}");
    }
    let ocsf = scene.finished(&["export", "-f", "ocsf"]).out();
    let classes: Vec<u64> =
        ocsf.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["class_uid"].as_u64().unwrap()).collect();
    assert!([4001, 4002, 4003].iter().all(|class| classes.contains(class)), "{classes:?}");
}

#[test]
fn the_document_of_a_policy_says_what_was_used_and_what_was_not() {
    let scene = Scene::new();
    if !has("curl") {
        return;
    }
    let server = Server::http();
    reaching(&scene, &server);
    let facts: Value = serde_json::from_str(&scene.finished(&["policy", "document", "--json"]).out()).unwrap();
    let [notes, unused] = [&facts["operations"][0], &facts["operations"][1]];
    assert_eq!((&notes["rule"]["purpose"], &notes["used"]["times"]), (&"read notes".into(), &2.into()));
    assert_eq!((&notes["used"]["runs"], &notes["used"]["programs"]), (&1.into(), &serde_json::json!(["curl"])));
    assert_eq!((&notes["unused"], &unused["unused"]), (&false.into(), &true.into()));
    assert_eq!(facts["refused"][0]["host"], "refused.example");
    assert_eq!(facts["former"], serde_json::json!([]));
    let text = scene.finished(&["policy", "document"]).out();
    assert!(text.contains("never: can it go?") && text.contains("http://refused.example:80"), "{text}");
    // A name from inside ends no cell and makes no markup.
    let markdown = scene.finished(&["policy", "document", "--markdown"]).out();
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let row = markdown.lines().find(|line| line.contains("refused.example")).unwrap();
    let head = markdown.lines().find(|line| line.contains("To allow it")).unwrap();
    assert_eq!(cells(row), cells(head), "{markdown}");
    assert!(row.contains("``a\\|`b`<i>``"), "{markdown}");
    // What the policy says no more.
    std::fs::remove_file(scene.home.join(".config/cofferdam/policy.toml")).unwrap();
    let facts: Value = serde_json::from_str(&scene.finished(&["policy", "document", "--json"]).out()).unwrap();
    assert_eq!(facts["operations"], serde_json::json!([]));
    assert_eq!(
        (&facts["former"][0]["purpose"], &facts["former"][0]["used"]["times"]),
        (&"read notes".into(), &2.into())
    );
    // Another project's runs are not this one's.
    let other = scene.home.join("src/other-app");
    std::fs::create_dir_all(&other).unwrap();
    for (words, runs) in [(&["policy", "document", "--json"][..], 0), (&["policy", "document", "--json", "--all"], 1)] {
        let mut command = scene.coffer();
        command.current_dir(&other).args(words);
        let facts: Value = serde_json::from_str(&finish(command, b"").out()).unwrap();
        assert_eq!(facts["runs"], runs, "{words:?}");
    }
}

/// What `run.ended` says of the network.
fn totals(evidence: &Evidence) -> Value {
    evidence.of_kind("run.ended")[0]["data"]["network"].clone()
}

#[test]
fn datagrams_that_find_no_way_out_are_counted_exactly() {
    for to in ["198.51.100.7:9", "[2001:db8::7]:9"] {
        let scene = Scene::new();
        let got = run(&scene, &["./hostile", "datagrams", to, "7", "2"]);
        assert_eq!(got.out(), "lost datagrams: datagrams: nothing\n", "{}", got.all());
        let evidence = Evidence::of(&scene);
        assert_eq!(
            totals(&evidence),
            serde_json::json!({"requests": 0, "connections": 0, "denied": 2, "datagrams": 7})
        );
        let exec = evidence.exec(&["./hostile", "datagrams", to, "7", "2"]);
        for (n, denied) in evidence.of_kind("net.denied").into_iter().enumerate() {
            assert_eq!((&denied["cause"], &denied["link"]), (&exec["seq"], &"socket".into()));
            let data = &denied["data"];
            assert_eq!((&data["reason"], &data["scheme"]), (&"udp".into(), &"udp".into()));
            assert_eq!(data["port"], 1000 + n);
            assert!(to.contains(data["host"].as_str().unwrap()), "{data}");
        }
    }
}

#[test]
fn where_nothing_has_a_route_no_number_is_claimed() {
    let scene = Scene::new();
    let mut command = scene.program("./hostile");
    command.args(["without-netlink", "0", env!("CARGO_BIN_EXE_coffer"), "run", "-q", "--"]);
    command.args(["./hostile", "datagrams", "198.51.100.7:9", "7", "2"]);
    let got = finish(command, b"");
    assert!(got.out().contains("lost datagrams"), "{}", got.all());
    let totals = totals(&Evidence::of(&scene));
    assert_eq!((&totals["denied"], &totals["datagrams"]), (&2.into(), &Value::Null), "{}", got.all());
}

#[test]
fn a_flood_of_datagrams_fills_no_log_and_hides_nothing() {
    let scene = Scene::new();
    run(&scene, &["./hostile", "datagrams", "198.51.100.7:9", "3", "1100"]);
    let evidence = Evidence::of(&scene);
    assert_eq!(evidence.of_kind("net.denied").len(), 1024);
    assert_eq!(totals(&evidence)["datagrams"], 3 + 1100 - 1024);
}

#[test]
fn looking_up_a_name_is_no_datagram() {
    let scene = Scene::new();
    if !has("getent") {
        return;
    }
    let got = run(&scene, &["getent", "ahosts", "some.example"]);
    assert!(got.out().contains("198.18.0."), "{}", got.all());
    assert_eq!(totals(&Evidence::of(&scene)), Value::Null);
}
