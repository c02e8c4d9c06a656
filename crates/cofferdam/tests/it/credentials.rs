//! Credentials: requests carry them, and nothing inside has them.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::evidence::{evidence_of_latest, showing};
use crate::support::pty::Session;
use crate::support::scene::{self, finish};
use crate::support::{Scene, Server, eventually, processes, unique};

/// A person's policy: rules for some places of this machine, all bodies kept, and a credential for the first of them.
fn policy(scene: &Scene, places: &[&str], source: &str) {
    let mut text = "version = 1\n".to_owned();
    for place in places {
        text.push_str(&format!("[[network.allow]]\nhost = \"{place}\"\nrecord = \"full\"\npurpose = \"a test\"\n"));
    }
    text.push_str(&format!(
        "[[credential]]\nname = \"forge\"\npurpose = \"open pull requests\"\nsource = {source}\n\
         use = [{{ host = \"{}\", header = \"Authorization: Bearer {{}}\" }}]\nexpose = {{ env = \"FORGE_TOKEN\" }}\n",
        places[0]
    ));
    let directory = scene.home.join(".config/cofferdam");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("policy.toml"), text).unwrap();
}

/// Puts a value where only the person can read it, and names it as a source.
fn kept_value(scene: &Scene) -> (String, String) {
    let value = unique("r3al-Value");
    std::fs::write(scene.home.join(".forge-token"), format!("{value}\n")).unwrap();
    (value, "{ command = [\"sh\", \"-c\", \"cat .forge-token\"] }".to_owned())
}

/// Answers with the head of the request, in the body and in a field.
fn mirror() -> Server {
    Server::answering(|head, _| {
        let sent = head.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:"));
        (format!("200 OK\r\nX-Mirror: {}", sent.unwrap_or("nothing")), head.as_bytes().to_vec())
    })
}

#[test]
fn a_request_carries_the_value_and_nothing_inside_has_it() {
    let scene = Scene::new();
    let (value, source) = kept_value(&scene);
    let server = mirror();
    policy(&scene, &[&server.place()], &source);
    let url = format!("http://{}/x", server.place());
    let script = format!(
        "curl -sSi -H \"Authorization: Bearer $FORGE_TOKEN\" {url} && curl -sSi -u \"me:$FORGE_TOKEN\" {url} && curl -sSi {url} \
         && curl -sSi -H 'Authorization: Bearer its-own' {url}; \
         cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | tee around.txt; env | tee env.txt; \
         ls -la ~; cat ~/.forge-token; find / -xdev -name '*forge-token*' 2>/dev/null; echo over"
    );
    let mut session = Session::start(&scene, &["sh", "-c", &script]);
    session.expect("over");
    assert_eq!(session.wait().code(), Some(0), "{}", session.screen());
    let screen = session.screen();
    assert!(screen.contains("credential forge as placeholder"), "{screen}");
    let sent: Vec<String> = server
        .heard()
        .iter()
        .flat_map(|head| {
            head.lines().filter(|l| l.to_ascii_lowercase().starts_with("authorization:")).map(str::to_owned)
        })
        .map(|line| line.split_once(": ").unwrap().1.to_owned())
        .collect();
    let basic = {
        use base64::Engine;
        base64::prelude::BASE64_STANDARD.encode(format!("me:{value}"))
    };
    let bearer = format!("Bearer {value}");
    assert_eq!(sent, [bearer.clone(), format!("Basic {basic}"), bearer, "Bearer its-own".to_owned()]);
    // What the server gave back is as long as it was.
    assert!(screen.contains(&format!("Bearer {}", "*".repeat(value.len()))), "{screen}");
    assert!(screen.contains("FORGE_TOKEN=coffer-placeholder-forge-"), "{screen}");
    assert!(screen.contains("Bearer its-own"), "{screen}");
    assert!(!screen.contains(&value) && !screen.contains(&basic[8..]), "{screen}");
    let evidence = evidence_of_latest(&scene);
    assert_eq!(showing(&evidence, &value), Vec::<std::path::PathBuf>::new(), "log, bodies, terminal");
    assert_eq!(showing(evidence.parent().unwrap(), &value), Vec::<std::path::PathBuf>::new(), "and layers");
    let used = scene.events("credential.used");
    let facts: Vec<_> = used.iter().map(|e| (&e["data"]["name"], &e["data"]["placeholder"], &e["link"])).collect();
    let (name, socket) = (Value::from("forge"), Value::from("socket"));
    let (yes, no) = (Value::from(true), Value::from(false));
    assert_eq!(facts, [(&name, &yes, &socket), (&name, &yes, &socket), (&name, &no, &socket)]);
    assert_eq!(scene.events("credential.fetched").len(), 1);
    let exchange = &scene.events("http.exchange")[0]["data"];
    assert_eq!(exchange["changed"][0], "credentials");
    assert!(exchange["received"]["kept"].is_object(), "the bodies that were searched: {exchange}");
    let story = scene.finished(&["log"]).out();
    // Below each of the three commands.
    assert_eq!(story.matches("credential forge used in 1 request to host.cofferdam").count(), 3, "{story}");
    assert_eq!(scene.finished(&["verify"]).code(), Some(0));
}

#[test]
fn a_placeholder_leaves_for_no_other_place_and_in_no_other_part() {
    let scene = Scene::new();
    let (value, source) = kept_value(&scene);
    let (server, other) = (Server::http(), Server::http());
    policy(&scene, &[&server.place(), &other.place()], &source);
    let (own, foreign) = (format!("http://{}/", server.place()), format!("http://{}/", other.place()));
    for (arguments, words) in [
        (format!("-H \"Authorization: Bearer $FORGE_TOKEN\" {foreign}"), "and not for host.cofferdam"),
        (format!("-u \"x:$FORGE_TOKEN\" {foreign}"), "and not for host.cofferdam"),
        (format!("-d \"t=$FORGE_TOKEN\" {foreign}"), "and not for host.cofferdam"),
        (format!("\"{foreign}?t=$FORGE_TOKEN\""), "and not for host.cofferdam"),
        (format!("-d \"t=$FORGE_TOKEN\" {own}"), "elsewhere than in the field authorization"),
        (format!("-H \"X-Other: $FORGE_TOKEN\" {own}"), "elsewhere than in the field authorization"),
        (format!("-H 'Transfer-Encoding: chunked' -d \"$(echo $FORGE_TOKEN | base64 -w0)\" {own}"), "elsewhere than"),
    ] {
        let script = format!("curl -sS -m 10 -w ' %{{http_code}}' {arguments}");
        let got = scene.finished(&["run", "-q", "--", "sh", "-c", &script]);
        assert!(got.out().contains("the credential forge") && got.out().contains(words), "{arguments}: {}", got.all());
        assert!(got.out().ends_with(" 403"), "{}", got.all());
        let denied = &scene.events("net.denied")[0]["data"];
        assert_eq!(denied["reason"], "placeholder", "{denied}");
    }
    let heard = [server.heard(), other.heard()].concat();
    assert!(!heard.iter().any(|all| all.contains("coffer-placeholder-forge-")), "{heard:?}");
    assert!(!other.heard().iter().any(|all| all.contains(&value)));
}

#[test]
fn a_redirect_takes_no_credential_along() {
    let scene = Scene::new();
    let (value, source) = kept_value(&scene);
    let other = Server::http();
    static PORT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    PORT.store(other.port, std::sync::atomic::Ordering::SeqCst);
    let server = Server::answering(|_, _| {
        let port = PORT.load(std::sync::atomic::Ordering::SeqCst);
        (format!("302 Found\r\nLocation: http://host.cofferdam:{port}/stolen"), Vec::new())
    });
    policy(&scene, &[&server.place(), &other.place()], &source);
    let url = format!("http://{}/", server.place());
    let script = format!(
        "curl -sS -L {url}; curl -sS --location-trusted -H \"Authorization: Bearer $FORGE_TOKEN\" -w '%{{http_code}}' {url}"
    );
    let got = scene.finished(&["run", "-q", "--", "sh", "-c", &script]);
    assert!(got.out().ends_with("403"), "{}", got.all());
    assert_eq!(server.heard().iter().filter(|all| all.contains(&value)).count(), 2, "{:?}", server.heard());
    let heard = other.heard();
    assert_eq!(heard.len(), 1, "the one without anything: {heard:?}");
    assert!(!heard[0].to_ascii_lowercase().contains("authorization"), "{heard:?}");
}

#[test]
fn a_source_runs_at_home_once_a_run_and_only_when_it_is_needed() {
    let scene = Scene::new();
    let server = Server::http();
    let (value, _) = kept_value(&scene);
    // What an agent could have got into the project must not be what the tool reads.
    std::fs::write(scene.project.join(".forge-token"), "planted-by-the-agent-1").unwrap();
    let source = "{ command = [\"sh\", \"-c\", \"pwd >>ran; echo $PWD >>ran; cat .forge-token\"] }";
    policy(&scene, &[&server.place()], source);
    let ran = || std::fs::read_to_string(scene.home.join("ran")).unwrap_or_default();
    assert_eq!(scene.finished(&["run", "-q", "--", "true"]).code(), Some(0));
    assert_eq!(ran(), "", "nothing needed it");
    let url = format!("http://{}/", server.place());
    let script = format!("for n in 1 2 3 4 5 6; do curl -sS {url} & done; wait");
    let got = scene.finished(&["run", "-q", "--", "sh", "-c", &script]);
    assert_eq!(got.code(), Some(0), "{}", got.all());
    let home = scene.home.display();
    assert_eq!(ran(), format!("{home}\n{home}\n"), "six requests at once wait for one fetch");
    let heard = server.heard();
    assert!(heard.len() == 6 && heard.iter().all(|head| head.contains(&format!("Bearer {value}"))), "{heard:?}");
}

#[test]
fn what_cannot_be_fetched_is_said_and_nothing_goes_out_without_it() {
    let scene = Scene::new();
    let server = Server::http();
    let source = "{ command = [\"sh\", \"-c\", \"echo ran >>ran; echo 'sign in first, it is in /home/secret-place' >&2; exit 4\"] }";
    policy(&scene, &[&server.place()], source);
    let url = format!("http://{}/", server.place());
    let script = format!("for n in 1 2 3; do curl -sS -w ' %{{http_code}}\\n' {url}; done");
    let mut command = scene.coffer();
    command.args(["run", "--json", "--", "sh", "-c", &script]);
    let got = finish(command, b"");
    assert_eq!(got.out().matches(" 502").count(), 3, "{}", got.all());
    assert!(
        got.out().contains("the credential forge is not to be had: its command ended with exit status 4"),
        "{}",
        got.all()
    );
    assert!(got.out().contains("coffer credential test forge"), "{}", got.all());
    assert!(!got.out().contains("secret-place"), "what it said is not for the enclosure: {}", got.all());
    let told = String::from_utf8_lossy(&got.stderr).into_owned();
    assert!(told.contains("sign in first") && told.contains("coffer credential test forge"), "{told}");
    assert!(server.heard().is_empty(), "{:?}", server.heard());
    let failed = scene.events("credential.failed");
    assert_eq!(failed.len(), 1, "and it is not tried again and again: {failed:?}");
    assert!(failed[0]["data"]["error"].as_str().unwrap().contains("sign in first"), "{failed:?}");
    assert!(scene.events("credential.used").is_empty());
    assert_eq!(std::fs::read_to_string(scene.home.join("ran")).unwrap(), "ran\n");
}

#[test]
fn a_value_that_no_evidence_could_be_kept_free_of_is_not_used() {
    let scene = Scene::new();
    let server = Server::http();
    policy(&scene, &[&server.place()], "{ command = [\"echo\", \"postgres\"] }");
    let got = scene.finished(&["run", "-q", "--", "curl", "-sS", &format!("http://{}/", server.place())]);
    assert!(got.out().contains("could not be kept out of the evidence"), "{}", got.all());
    assert!(server.heard().is_empty());
}

#[test]
fn a_projects_file_with_a_credential_runs_nothing() {
    let scene = Scene::new();
    let server = Server::http();
    let directory = scene.project.join(".cofferdam");
    std::fs::create_dir_all(&directory).unwrap();
    let ran = scene.home.join("ran");
    let text = format!(
        "version = 1\n[[credential]]\nname = \"x\"\npurpose = \"p\"\nsource = {{ command = [\"touch\", \"{}\"] }}\n\
         use = [{{ host = \"{}\", header = \"X-Key: {{}}\" }}]\n",
        ran.display(),
        server.place()
    );
    std::fs::write(directory.join("policy.toml"), text).unwrap();
    let check = scene.finished(&["policy", "check"]);
    assert!(check.code() == Some(1) && check.out().contains("error[layer]"), "{}", check.all());
    assert!(check.out().contains("put it into your own policy file"), "{}", check.all());
    let trust = scene.finished(&["policy", "trust", "--yes"]);
    assert_eq!(trust.code(), Some(1), "{}", trust.all());
    let url = format!("http://{}/", server.place());
    let got = scene.finished(&["run", "-q", "--allow", &server.place(), "--purpose", "x", "--", "curl", "-sS", &url]);
    assert_eq!(got.out(), "hello ", "{}", got.all());
    assert!(!server.heard()[0].to_ascii_lowercase().contains("x-key") && !Path::new(&ran).exists());
}

#[test]
fn a_broker_and_what_it_runs_end_with_the_monitor() {
    let scene = Scene::new();
    let server = Server::http();
    policy(
        &scene,
        &[&server.place()],
        "{ command = [\"sh\", \"-c\", \"echo $$ >pid.new; mv pid.new pid; exec sleep 300\"] }",
    );
    for who in ["monitor", "command"] {
        let _ = std::fs::remove_file(scene.home.join("pid"));
        let mut command = scene.coffer();
        let script = format!("curl -sS http://{}/ & read -r _", server.place());
        command.args(["run", "-q", "--", "bash", "-c", &script]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert!(eventually(20, || scene.home.join("pid").exists()), "{who}: the source runs");
        let source: i32 = std::fs::read_to_string(scene.home.join("pid")).unwrap().trim().parse().unwrap();
        assert!(processes::alive(source));
        if who == "monitor" {
            processes::signal(processes::children(child.id() as i32)[0], Signal::KILL);
        }
        drop(child.stdin.take());
        scene::wait(&mut child, Duration::from_secs(30));
        assert!(eventually(10, || !processes::alive(source)), "{who}: {source} lives on");
    }
}

#[test]
fn the_person_sees_which_there_are_and_whether_they_work_and_never_a_value() {
    let scene = Scene::new();
    let (value, source) = kept_value(&scene);
    policy(&scene, &["api.example", "other.example"], &source);
    let list = scene.finished(&["credential", "list"]);
    for word in ["forge", "command", "api.example", "$FORGE_TOKEN", "person", "open pull requests"] {
        assert!(list.out().contains(word), "{word}: {}", list.all());
    }
    let facts: Value = serde_json::from_str(&scene.finished(&["credential", "list", "--json"]).out()).unwrap();
    assert_eq!((&facts[0]["name"], &facts[0]["env"]), (&"forge".into(), &"FORGE_TOKEN".into()));
    let test = scene.finished(&["credential", "test", "forge"]);
    assert_eq!((test.code(), test.out()), (Some(0), format!("forge works, {} bytes\n", value.len())), "{}", test.all());
    assert!(scene.finished(&["policy", "show"]).out().contains("forge"));
    assert!(scene.finished(&["policy", "check"]).out().contains("2 rules and 1 credential, nothing is wrong"));
    for command in [&["policy", "explain", "https://api.example/x"][..], &["why", "api.example"]] {
        let said = scene.finished(command).out();
        assert!(said.contains("carries  credential forge in authorization, for open pull requests"), "{said}");
    }
    let inside = scene.finished(&["run", "-q", "--", "/run/coffer/bin/coffer", "why", "api.example"]).out();
    assert!(
        inside.contains("credential forge is put into authorization outside") && inside.contains("$FORGE_TOKEN"),
        "{inside}"
    );
    let dry = scene.finished(&["run", "--dry-run", "--", "true"]).out();
    assert!(dry.contains("coffer-placeholder-forge-"), "{dry}");
    for words in
        [&["policy", "show", "--json"][..], &["credential", "list", "--json"], &["run", "--dry-run", "--", "true"]]
    {
        assert!(!scene.finished(words).all().contains(&value), "{words:?}");
    }
    std::fs::remove_file(scene.home.join(".forge-token")).unwrap();
    let test = scene.finished(&["credential", "test", "forge"]);
    assert!(test.code() == Some(1) && test.all().contains("run it yourself, in your home"), "{}", test.all());
    assert_eq!(scene.finished(&["credential", "test", "none"]).code(), Some(125));
}
