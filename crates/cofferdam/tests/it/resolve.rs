//! `--resolve`: package registries are open to runs that resolve, and closed to others.

use serde_json::Value;

use crate::support::{Finished, Scene, Server, has};

/// A person whose policy names npm, and whose npm is configured, with a password, for a registry of this machine.
struct Person {
    scene: Scene,
    registry: Server,
}

impl Person {
    fn new() -> Person {
        let person = Person { scene: Scene::new(), registry: Server::http() };
        let policy = "version = 1\n[packages]\nregistries = [\"npm\"]\n";
        person.scene.policy(policy);
        let place = person.registry.place();
        std::fs::write(
            person.scene.home.join(".npmrc"),
            format!("# mine\nregistry=http://me:pa55phrase@{place}/npm/\n"),
        )
        .unwrap();
        person
    }

    fn coffer(&self, words: &[&str]) -> Finished {
        self.scene.finished(words)
    }
}

#[test]
fn registries_are_open_to_runs_that_resolve_alone_and_only_to_be_read() {
    let person = Person::new();
    if !has("curl") {
        return;
    }
    let place = person.registry.place();
    let script = format!(
        "ask() {{ curl -sS -o /dev/null -w '%{{http_code}} ' \"$@\"; }}; ask http://{place}/npm/left-pad; \
         ask -X PUT -d x http://{place}/npm/left-pad; ask http://other.example.com/"
    );
    let closed = person.coffer(&["run", "--json", "--", "sh", "-c", &script]);
    assert_eq!(closed.out(), "403 403 403 ", "{}", closed.all());
    let summary: Value = serde_json::from_slice(&closed.stderr).unwrap_or_else(|_| panic!("{}", closed.all()));
    let denied = summary["network"]["denied"].as_array().unwrap();
    let allow = |host: &str| denied.iter().find(|d| d["host"] == host).unwrap()["allow"].as_str().unwrap().to_owned();
    assert!(allow("host.cofferdam").contains("coffer run --resolve"), "{denied:?}");
    assert!(allow("other.example.com").contains("--allow other.example.com"), "{denied:?}");
    assert_eq!(person.registry.heard().len(), 0);

    let open = person.coffer(&["run", "-q", "--resolve", "--", "sh", "-c", &script]);
    assert_eq!(open.out(), "200 403 403 ", "{}", open.all());
    assert_eq!(person.registry.heard().len(), 1);
    let events = person.coffer(&["log", "--json", "@"]).out();
    let exchange =
        events.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).find(|e| e["kind"] == "http.exchange");
    let data = &exchange.unwrap()["data"];
    assert_eq!((&data["rule"]["layer"], &data["purpose"]), (&"resolve".into(), &"resolve npm packages".into()));
    assert_eq!(data["rule"]["line"], 2);
    assert!(!events.contains("pa55phrase"), "what stands beside the registry's name stays outside");
}

#[test]
fn what_it_would_reach_is_shown_and_explained() {
    let person = Person::new();
    let shown = person.coffer(&["policy", "show"]);
    assert!(shown.out().contains("no rules"), "{}", shown.all());
    let shown = person.coffer(&["policy", "show", "--resolve"]).out();
    for word in ["resolve\n", ".npmrc:2 npm", "host.cofferdam", "http GET, HEAD", "resolve npm packages"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(!shown.contains("pa55phrase"), "{shown}");
    let url = format!("http://{}/npm/left-pad", person.registry.place());
    let explained = person.coffer(&["policy", "explain", &url]);
    assert_eq!(explained.code(), Some(1));
    assert!(explained.out().contains("a run with --resolve may read from it"), "{}", explained.all());
    let explained = person.coffer(&["policy", "explain", "--resolve", &url]);
    assert_eq!(explained.code(), Some(0), "{}", explained.all());
    assert!(explained.out().contains("`npm` (resolve layer)"), "{}", explained.all());
}

/// An agent can write the project's own configuration of npm: it opens nothing.
#[test]
fn a_projects_own_configuration_names_no_registry() {
    let person = Person::new();
    let other = Server::http();
    std::fs::write(person.scene.project.join(".npmrc"), format!("registry=http://{}/\n", other.place())).unwrap();
    let shown = person.coffer(&["policy", "show", "--resolve"]).out();
    assert!(shown.contains(&person.registry.port.to_string()), "{shown}");
    assert!(!shown.contains(&other.port.to_string()), "{shown}");
}

#[test]
fn without_registries_in_policy_there_is_nothing_to_resolve_from() {
    let scene = Scene::new();
    let got = scene.finished(&["run", "--resolve", "--", "true"]);
    assert_eq!(got.code(), Some(125), "{}", got.all());
    let said = String::from_utf8_lossy(&got.stderr).into_owned();
    assert!(said.contains("policy names no registries") && said.contains("registries = [\"npm\"]"), "{said}");
    scene.policy("version = 1\n[packages]\nregistries = [\"nmp\"]\nregistry = 1\n");
    let said = scene.finished(&["policy", "check"]).all();
    assert!(
        said.contains("it can be `npm`, `pypi`, `crates`, `go`") && said.contains("did you mean `registries`?"),
        "{said}"
    );
}
