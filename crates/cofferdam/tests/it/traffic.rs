//! What of the network a reader sees.

use serde_json::Value;

use crate::support::scene::finish;
use crate::support::{Finished, Scene, evidence::Evidence};

fn run(scene: &Scene, words: &[&str]) -> Finished {
    let mut command = scene.coffer();
    command.args(["run", "--quiet", "--"]).args(words);
    finish(command, b"")
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
    let got = run(&scene, &["sh", "-c", "command -v getent >&2 && exec getent ahosts some.example"]);
    if got.code() != Some(0) {
        eprintln!("not proven on this machine: there is no getent: {}", got.all());
        return;
    }
    assert!(got.out().contains("198.18.0."), "{}", got.all());
    assert_eq!(totals(&Evidence::of(&scene)), Value::Null);
}
