//! What leaves an enclosure, by which rule; what does not, and how the program learns why.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Scene, Server, eventually, has, processes, scene};

/// The arguments of the command that caused an event.
fn caused_by(scene: &Scene, event: &Value) -> String {
    assert_eq!(event["link"], "socket", "{event}");
    let execs = scene.events("process.exec");
    let exec = execs.iter().find(|exec| exec["seq"] == event["cause"]).unwrap();
    exec["data"]["argv"][0].as_str().unwrap().to_owned()
}

#[test]
fn what_a_rule_allows_leaves_and_is_recorded_with_its_purpose_and_cause() {
    let scene = Scene::new();
    if !has("curl") {
        return;
    }
    let server = Server::http();
    let url = format!("http://{}/x?q=1", server.place());
    let got = scene.allowed(&[&server.place()], &["sh", "-c", &format!("curl -sS -d ping {url}")]);
    assert_eq!((got.code(), got.out()), (Some(0), "hello ping".into()), "{}", got.all());
    let heard = server.heard();
    assert!(heard[0].starts_with("POST /x?q=1 HTTP/1.1\r\n") && heard[0].ends_with("\r\nping"), "{heard:?}");
    let exchange = &scene.events("http.exchange")[0];
    let data = &exchange["data"];
    assert_eq!((&data["url"], &data["status"], &data["purpose"]), (&url.into(), &200.into(), &"a test".into()));
    assert_eq!((&data["sent"]["bytes"], &data["received"]["bytes"]), (&4.into(), &10.into()));
    assert_eq!(data["rule"]["layer"], "command-line");
    assert_eq!(caused_by(&scene, exchange), "curl");
    let rules = scene.finished(&["policy", "suggest"]).out();
    for line in [format!("host = \"{}\"", server.place()), "methods = [\"POST\"]".into(), "paths = [\"/x\"]".into()] {
        assert!(rules.contains(&line), "{line}: {rules}");
    }
    let connect = &scene.events("net.connect")[0];
    assert_eq!(connect["data"]["exchanges"], 1);
    assert_eq!(connect["data"]["address"], format!("127.0.0.1:{}", server.port));
    assert_eq!(caused_by(&scene, connect), "curl");
}

#[test]
fn what_no_rule_allows_is_refused_with_words_and_nothing_is_heard_outside() {
    let scene = Scene::new();
    if !has("curl") {
        return;
    }
    let server = Server::http();
    let url = format!("http://{}/secret", server.place());
    let got = scene.allowed(&["other.example"], &["curl", "-sS", "-w", "%{http_code}", &url, "https://tls.example/x"]);
    let said = got.out();
    assert!(said.contains("Cofferdam refused GET http://host.cofferdam:"), "{}", got.all());
    assert!(said.contains(&format!("coffer run --allow {} --purpose", server.place())), "{said}");
    assert!(said.contains("coffer run --allow tls.example --purpose"), "TLS is answered as well: {said}");
    assert_eq!(said.matches("403").count(), 2, "{said}");
    assert!(server.heard().is_empty());
    let denied = scene.events("net.denied");
    let facts: Vec<_> = denied.iter().map(|d| (d["data"]["scheme"].as_str(), d["data"]["reason"].as_str())).collect();
    assert_eq!(facts, [(Some("http"), Some("no-rule")), (Some("https"), Some("no-rule"))]);
    assert_eq!(caused_by(&scene, &denied[0]), "curl");
    assert!(scene.events("net.connect").is_empty());
}

#[test]
fn methods_and_paths_are_those_of_the_rule() {
    let scene = Scene::new();
    if !has("curl") {
        return;
    }
    let server = Server::http();
    let policy = format!(
        "version = 1\n[[network.allow]]\nhost = \"{}\"\nmethods = [\"GET\"]\npaths = [\"/ok/**\"]\npurpose = \"read\"\n",
        server.place()
    );
    scene.policy(&policy);
    let at = |path: &str| format!("http://{}{path}", server.place());
    let code = |words: &[&str]| {
        let all = [&["run", "-q", "--", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is"], words]
            .concat();
        scene.finished(&all).out()
    };
    assert_eq!(code(&[&at("/ok/x")]), "200");
    for refused in
        [&["-d", "x", &at("/ok/x")][..], &[&at("/no")], &[&at("/ok/../no")], &[&at("/ok/%2e%2e/no")], &[&at("/ok//x")]]
    {
        assert_eq!(code(refused), "403", "{refused:?}");
    }
    // Another name for the same server, and another host in the request than the one that was connected to.
    assert_ne!(code(&["-H", "Host: evil.example", &at("/ok/x")]), "200");
    assert_eq!(server.heard().len(), 1, "{:?}", server.heard());
}

#[test]
fn plain_connections_are_relayed_and_the_server_may_speak_first() {
    let scene = Scene::new();
    let server = Server::speaks_first();
    let script = format!(
        "exec 3<>/dev/tcp/host.cofferdam/{} && read -r a <&3 && echo one >&3 && read -r b <&3 && echo \"$a, $b\"",
        server.port
    );
    let got = scene.allowed(&[&server.place()], &["bash", "-c", &script]);
    assert_eq!(got.out(), "welcome, again one\n", "{}", got.all());
    let connect = &scene.events("net.connect")[0]["data"];
    assert_eq!(
        (&connect["mediation"], &connect["sent"], &connect["received"]),
        (&"relay".into(), &4.into(), &18.into())
    );
    let refused = scene.allowed(&["other.example"], &["bash", "-c", &script]);
    assert_ne!(refused.code(), Some(0), "{}", refused.all());
    assert_eq!(server.heard(), ["one"]);
    let denied = &scene.events("net.denied")[0]["data"];
    assert_eq!((&denied["scheme"], &denied["reason"]), (&"tcp".into(), &"no-rule".into()));
    assert_eq!(denied["allow"], format!("coffer run --allow {} --purpose \"…\"", server.place()));
}

#[test]
fn a_secret_of_the_host_does_not_leave_even_where_a_rule_allows_the_host() {
    let scene = Scene::new();
    if !has("curl") {
        return;
    }
    let server = Server::http();
    let (url, secret) = (format!("http://{}/", server.place()), &scene.canary);
    let encoded = {
        use base64::Engine as _;
        base64::prelude::BASE64_STANDARD.encode(format!("my {secret} now"))
    };
    let body = format!("{{\"text\": \"{secret}\"}}");
    for words in [
        &["-d", &body[..], &url][..],
        &["-H", &format!("X-Note: {secret}"), &url],
        &[&format!("{url}?{secret}")],
        &["-d", &encoded, &url],
        &["-H", "Transfer-Encoding: chunked", "-d", &body, &url],
    ] {
        let all = [&["curl", "-sS", "-m", "10", "-w", " %{http_code}"], words].concat();
        let got = scene.allowed(&[&server.place()], &all);
        assert!(got.out().contains("GITHUB_TOKEN") && got.out().ends_with(" 403"), "{words:?}: {}", got.all());
        let denied = &scene.events("net.denied")[0]["data"];
        assert_eq!(denied["reason"], "secret", "{words:?}");
    }
    assert!(server.heard().iter().all(|request| !request.contains(secret.as_str())), "{:?}", server.heard());
}

#[test]
fn a_person_allows_more_while_the_run_goes_on() {
    let scene = Scene::new();
    if !has("curl") {
        return;
    }
    let server = Server::http();
    let mut command = scene.coffer();
    let script =
        format!("while read -r _; do curl -sS -o /dev/null -w '%{{http_code}}\\n' http://{}/; done", server.place());
    command.args(["run", "-q", "--", "sh", "-c", &script]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let (mut keys, mut shown) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut ask = || {
        let mut line = String::new();
        keys.write_all(b"\n").unwrap();
        shown.read_line(&mut line).unwrap();
        line.trim().to_owned()
    };
    assert_eq!(ask(), "403");
    let said = scene.finished(&["allow", &server.place(), "--purpose", "it is needed", "--live", "--json"]);
    let facts: Value = serde_json::from_str(&said.out()).unwrap_or_else(|_| panic!("{}", said.all()));
    assert_eq!((&facts["kept"], facts["runs"].as_array().map(Vec::len)), (&false.into(), Some(1)));
    // The gateway hears of it in its own time.
    assert!(eventually(5, || ask() == "200"));
    drop(keys);
    assert!(scene::wait(&mut child, std::time::Duration::from_secs(20)).success());
    let changed = &scene.events("policy.changed")[0]["data"];
    assert_eq!(changed["added"][0]["purpose"], "it is needed");
    let late = scene.finished(&["allow", &server.place(), "--purpose", "x", "--live"]);
    assert_eq!(late.code(), Some(125), "nothing is going on");
}

/// A kernel without nf_tables: there connections are not redirected but listened for.
#[test]
fn without_nftables_what_a_rule_allows_leaves_too_and_the_rest_is_refused_with_words() {
    let scene = Scene::new();
    if !has("curl") {
        return;
    }
    let server = Server::http();
    let script = format!(
        "curl -sS http://{}/x && echo && curl -sS http://no.example.com/ && \
         curl -sS --connect-timeout 5 http://no.example.com:8080/",
        server.place()
    );
    let mut command = scene.program(scene::hostile());
    command.args(["without-netlink", "12", env!("CARGO_BIN_EXE_coffer"), "run", "--purpose", "x", "--allow"]);
    command.args([&server.place(), "--", "sh", "-c", &script]);
    let got = scene::finish(command, b"");
    let said = got.out();
    assert!(said.starts_with("hello \n"), "{}", got.all());
    assert!(said.contains("Cofferdam refused GET http://no.example.com/"), "{}", got.all());
    assert_eq!(got.code(), Some(7), "nobody listens at 8080: {}", got.all());
    assert_eq!(scene.events("net.connect").len(), 1, "{}", got.all());
    assert_eq!(scene.events("net.denied").len(), 1, "{}", got.all());
}

#[test]
fn the_gateways_death_ends_connections_and_the_next_one_is_served_by_another() {
    let scene = Scene::new();
    let server = Server::speaks_first();
    let mut command = scene.coffer();
    let place = server.place().replace(':', "/");
    let script = format!(
        "address() {{ getent ahosts $1 | head -n 1 | cut -d' ' -f 1; }}; old=$(address host.cofferdam); \
         exec 3<>/dev/tcp/{place}; read -r a <&3; echo \"$a\"; read -r b <&3 || echo ended; \
         other=$(address other.example.com); [ -n \"$old\" ] && [ -n \"$other\" ] && [ \"$old\" != \"$other\" ] && echo apart; \
         exec 4<>/dev/tcp/{place}; read -r c <&4; echo \"$c\""
    );
    command.args(["run", "-q", "--allow", &server.place(), "--purpose", "x", "--", "bash", "-c", &script]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        shown.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(line(), "welcome\n");
    let gateway = processes::gateway_below(child.id());
    rustix::process::kill_process(gateway, rustix::process::Signal::KILL).unwrap();
    assert_eq!(line(), "ended\n");
    assert_eq!(line(), "apart\n", "an address that a program may keep does not come to mean another name");
    assert_eq!(line(), "welcome\n");
    assert!(scene::wait(&mut child, std::time::Duration::from_secs(20)).success());
    let connects = scene.events("net.connect");
    assert_eq!(connects.len(), 2, "{connects:?}");
    assert_eq!(connects[0]["data"]["error"], "the gateway ended");
    assert_ne!(connects[0]["data"]["connection"], connects[1]["data"]["connection"]);
}

#[test]
fn the_listeners_themselves_and_addresses_that_no_look_up_gave_lead_nowhere() {
    let scene = Scene::new();
    let script = "trap '' PIPE; for to in 127.0.0.1/61053 ::1/61053 198.18.77.77/80 203.0.113.9/25 169.254.169.254/80; do \
                  if exec 3<>/dev/tcp/$to; then printf 'x\\r\\n\\r\\n' >&3; cat <&3; fi; done 2>/dev/null; \
                  exec 3<>/dev/tcp/203.0.113.10/26; exec 3>&-; echo over";
    let got = scene.allowed(&["*.example.com"], &["bash", "-c", script]);
    assert_eq!(got.out(), "over\n", "{}", got.all());
    let hosts: Vec<String> =
        scene.events("net.denied").iter().map(|d| d["data"]["host"].as_str().unwrap().to_owned()).collect();
    // The last one only looks whether somebody is there.
    assert_eq!(hosts, ["198.18.77.77", "203.0.113.9", "169.254.169.254", "203.0.113.10"]);
    assert!(scene.events("net.denied").iter().all(|d| d["data"]["reason"] == "direct-address"));
}

#[test]
fn bodies_are_kept_where_a_rule_says_so_and_exported() {
    let scene = Scene::new();
    if !has("curl") {
        return;
    }
    let server = Server::http();
    let policy = format!(
        "version = 1\n[[network.allow]]\nhost = \"{}\"\nrecord = \"full\"\npurpose = \"keep\"\n",
        server.place()
    );
    scene.policy(&policy);
    let got = scene.run(&[
        "curl",
        "-sS",
        "-d",
        "ping",
        "-H",
        "Authorization: Bearer abcdef",
        &format!("http://{}/x?q=1", server.place()),
    ]);
    assert_eq!(got.out(), "hello ping", "{}", got.all());
    let archive: Value = serde_json::from_str(&scene.finished(&["export", "-f", "har"]).out()).unwrap();
    let entry = &archive["log"]["entries"][0];
    assert_eq!(entry["request"]["postData"]["text"], "ping");
    assert_eq!(
        (&entry["response"]["content"]["text"], &entry["response"]["status"]),
        (&"hello ping".into(), &200.into())
    );
    assert_eq!(entry["request"]["queryString"][0]["value"], "1");
    assert_eq!(entry["comment"], "keep (person rule, line 2)");
    assert!(!archive.to_string().contains("abcdef"), "credentials are not recorded");
    assert_eq!(scene.finished(&["verify"]).code(), Some(0));
}

#[test]
fn coffer_why_says_inside_and_outside_what_policy_and_the_view_say() {
    let scene = Scene::new();
    let why = |what: &str| {
        let got = scene.allowed(&["api.example"], &["/run/coffer/bin/coffer", "why", what]);
        (got.code(), got.out())
    };
    let (code, said) = why("api.example");
    assert!(code == Some(0) && said.contains("is allowed by") && said.contains("a test"), "{said}");
    let (code, said) = why("https://other.example/x");
    assert!(code == Some(1) && said.contains("coffer run --allow other.example --purpose"), "{said}");
    let hidden = scene.home.join(".gnupg");
    let (code, said) = why(hidden.to_str().unwrap());
    assert!(code == Some(1) && said.contains("is hidden inside"), "{said}");
    let (code, said) = why(scene.home.join("notes.txt").to_str().unwrap());
    assert!(code == Some(1) && said.contains("is not there inside"), "{said}");
    assert_eq!(why("./kept.txt"), (Some(0), "./kept.txt is there, and may be written.\n".into()));
    assert_eq!(why("a b").0, Some(125));
    assert_eq!(scene.finished(&["why", "other.example"]).code(), Some(1));
}

#[test]
fn a_rule_needs_a_purpose_and_a_purpose_a_rule() {
    let scene = Scene::new();
    for words in [
        &["run", "--allow", "a.example", "--", "true"][..],
        &["run", "--purpose", "x", "--", "true"],
        &["run", "--allow", "a.example", "--purpose", " ", "--", "true"],
        &["run", "--allow", "*", "--purpose", "x", "--", "true"],
        &["run", "--allow", "a.example", "--purpose", "x", "--purpose", "y", "--", "true"],
    ] {
        let got = scene.finished(words);
        assert_eq!(got.code(), Some(125), "{words:?}: {}", got.all());
    }
    let both = ["--allow", "a.example", "--allow", "b.example:1", "--purpose", "x"];
    let got = scene.finished(&[&["run", "--dry-run"], &both[..], &["--", "true"]].concat());
    let plan: Value = serde_json::from_str(&got.out()).unwrap();
    let rules = plan["network"]["rules"].as_array().unwrap();
    assert_eq!((rules.len(), &rules[1]["port"], &rules[1]["purpose"]), (2, &1.into(), &"x".into()));
}
