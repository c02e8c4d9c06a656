//! Connections that others use than who made them, those of several paths, and runs without IPv6: mediated or refused, never
//! past the gateway, and ascribed to whoever made them.

use std::process::Command;

use serde_json::Value;

use crate::support::scene::{self, finish};
use crate::support::{Finished, Scene, Server, has, world};

/// A request as a word of the attack program.
fn request(place: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\\r\\nHost: {place}\\r\\nConnection: close\\r\\n\\r\\n")
}

/// The arguments of the command that caused an event by its socket.
fn caused_by(scene: &Scene, event: &Value) -> Vec<String> {
    assert_eq!(event["link"], "socket", "{event}");
    let execs = scene.events("process.exec");
    let exec = execs.iter().find(|exec| exec["seq"] == event["cause"]).unwrap();
    exec["data"]["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The attack program outside and inside with a rule, where it must succeed, and inside without one, where it must not;
/// the exchange of the second.
fn mediated(words: &dyn Fn(&str) -> Vec<String>) -> (Scene, Server, Value) {
    let scene = Scene::new();
    let server = Server::http();
    fn borrowed(words: &[String]) -> Vec<&str> {
        words.iter().map(String::as_str).collect()
    }
    let direct = words(&format!("127.0.0.1:{}", server.port));
    let got = scene.attack_outside(&borrowed(&direct));
    assert!(got.out().contains("hello "), "outside: {}", got.all());
    let place = server.place();
    let inside = [vec!["./hostile".to_owned()], words(&place)].concat();
    let got = scene.run(&borrowed(&inside));
    assert!(!got.out().contains("hello "), "without a rule: {}", got.all());
    assert_eq!(server.heard().len(), 1, "{:?}", server.heard());
    let got = scene.allowed(&[&place], &borrowed(&inside));
    assert!(got.out().contains("hello "), "by a rule: {}", got.all());
    assert_eq!(server.heard().len(), 2, "{:?}", server.heard());
    let exchanges = scene.events("http.exchange");
    assert_eq!(exchanges.len(), 1, "{exchanges:?}");
    (scene, server, exchanges[0].clone())
}

#[test]
fn a_connection_that_a_child_uses_is_ascribed_to_who_connected() {
    let (scene, _server, exchange) =
        mediated(&|place| vec!["fork-connected".into(), place.into(), request(place, "/forked")]);
    assert_eq!(caused_by(&scene, &exchange)[1], "fork-connected");
    let (scene, _server, exchange) =
        mediated(&|place| vec!["spawn-connected".into(), place.into(), request(place, "/spawned"), "./hostile".into()]);
    assert_eq!(caused_by(&scene, &exchange)[1], "spawn-connected", "not use-inherited, which spoke");
}

#[test]
fn a_connection_of_several_paths_is_mediated_or_does_not_come_about() {
    let scene = Scene::new();
    let server = Server::http();
    let place = server.place();
    let direct = format!("127.0.0.1:{}", server.port);
    let got = scene.attack_outside(&["mptcp", &direct, &request(&direct, "/outside")]);
    if !got.status.success() {
        eprintln!("not proven here: no MPTCP: {}", got.all());
        return;
    }
    let ask = request(&place, "/inside");
    let got = scene.run(&["./hostile", "mptcp", &place, &ask]);
    assert!(!got.out().contains("hello "), "{}", got.all());
    assert_eq!(server.heard().len(), 1, "{:?}", server.heard());
    let got = scene.allowed(&[&place], &["./hostile", "mptcp", &place, &ask]);
    let exchanges = scene.events("http.exchange");
    if !got.out().contains("hello ") {
        assert!(exchanges.is_empty() && server.heard().len() == 1, "{exchanges:?} {:?}", server.heard());
        return;
    }
    assert_eq!((exchanges.len(), server.heard().len()), (1, 2), "{exchanges:?}");
    // The kernel names one of its paths, which is not the socket that connected: no cause, and never another's.
    if exchanges[0].get("cause").is_some() {
        assert_eq!(caused_by(&scene, &exchanges[0])[1], "mptcp");
    }
}

/// `coffer run` where the host's side has IPv6 switched off, and where the kernel has none.
#[test]
fn runs_without_ipv6_reach_what_a_rule_allows_and_nothing_else() {
    let scene = Scene::new();
    if !has("unshare") || !Command::new("unshare").args(world::namespaces()).arg("true").status().unwrap().success() {
        eprintln!("not proven here: no network namespace");
        return;
    }
    let hostile = scene::hostile();
    let off = "ip link set lo up 2>/dev/null || /usr/sbin/ip link set lo up; \
               for at in all default lo; do echo 1 > /proc/sys/net/ipv6/conf/$at/disable_ipv6; done; \
               \"$1\" serve-http 127.0.0.1:8080 \"$2\" & served=$!; \
               until [ -s \"$2\" ]; do kill -0 $served || exit 3; sleep 0.01; done; shift 2; \"$@\"; code=$?; kill $served; exit $code";
    let ask = |host: &str| format!("./hostile talk {host}:8080 '{}'", request(&format!("{host}:8080"), "/x"));
    let script = format!("{}; {}", ask("host.cofferdam"), ask("no.example"));
    for without in [&[][..], &[hostile.to_str().unwrap(), "without-ipv6"]] {
        let log = scene.root().join("served.log");
        let _ = std::fs::remove_file(&log);
        let mut command = scene.program("unshare");
        command.args(world::namespaces()).args(["sh", "-c", off, "sh"]).arg(&hostile).arg(&log);
        command.args(world::ordinary()).args(without);
        command.args([
            env!("CARGO_BIN_EXE_coffer"),
            "run",
            "-q",
            "--allow",
            "host.cofferdam:8080",
            "--purpose",
            "a test",
        ]);
        command.args(["--", "sh", "-c", &script]);
        let got: Finished = finish(command, b"");
        assert!(got.out().contains("HTTP/1.1 200 OK"), "{without:?}: {}", got.all());
        assert!(got.out().contains("HTTP/1.1 403"), "{without:?}: {}", got.all());
        let said = std::fs::read_to_string(&log).unwrap();
        assert_eq!(said.lines().skip(1).collect::<Vec<_>>(), ["GET /x HTTP/1.1"], "{said}");
        assert_eq!(scene.events("net.denied").len(), 1);
    }
}
