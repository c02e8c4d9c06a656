//! Attacks by options of sockets, through `coffer run`: each with a control that shows that it works where it may.

use serde_json::Value;

use crate::support::{Scene, Server};

fn request(place: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\\r\\nHost: {place}\\r\\nConnection: close\\r\\n\\r\\n")
}

/// The second argument of the command that caused an event: what the attack program did.
fn caused_by(scene: &Scene, event: &Value) -> String {
    let execs = scene.events("process.exec");
    let exec = execs.iter().find(|exec| exec["seq"] == event["cause"]).unwrap_or_else(|| panic!("no cause: {event}"));
    exec["data"]["argv"][1].as_str().unwrap().to_owned()
}

/// A byte out of band is not in the stream: what was decided on, what was sent and what was heard are the same.
#[test]
fn a_byte_out_of_band_does_not_part_what_is_decided_from_what_is_sent() {
    let scene = Scene::new();
    let server = Server::http();
    let place = server.place();
    scene.policy(&format!(
        "version = 1\n[[network.allow]]\nhost = \"{place}\"\nscheme = \"http\"\npaths = [\"/ok/**\"]\npurpose = \"some\"\n"
    ));
    let direct = format!("127.0.0.1:{}", server.port);
    let rest = |path: &str| format!("{path} HTTP/1.1\\r\\nHost: {place}\\r\\nConnection: close\\r\\n\\r\\n");
    // Outside: the server hears `/secret`, without the byte.
    let got = scene.attack_outside(&["urgent", &direct, "GET /s", "X", &rest("ecret")]);
    assert!(got.status.success(), "{}", got.all());
    assert!(server.heard()[0].starts_with("GET /secret HTTP/1.1"), "{:?}", server.heard());
    for (first, urgent, after) in [("GET /s", "X", "ecret"), ("GET /ok/.", "X", "./secret"), ("GET /ok/a", "/", "b")] {
        let got = scene.run(&["./hostile", "urgent", &place, first, urgent, &rest(after)]);
        assert!(got.out().starts_with("won"), "it is answered: {}", got.all());
    }
    let heard = server.heard();
    let lines: Vec<_> = heard[1..].iter().map(|request| request.lines().next().unwrap()).collect();
    assert_eq!(lines, ["GET /ok/ab HTTP/1.1"]);
    let exchanges = scene.events("http.exchange");
    assert_eq!(exchanges[0]["data"]["url"], format!("http://{place}/ok/ab"));
}

#[test]
fn half_closed_connections_are_answered_and_do_not_hold_others_up() {
    let scene = Scene::new();
    let server = Server::http();
    let place = server.place();
    let direct = format!("127.0.0.1:{}", server.port);
    let wanted = "won half-closed 100 answered, then HTTP/1.1 200 OK";
    let got = scene.attack_outside(&["half-closed", "200", &direct, &request(&place, "/x")]);
    assert!(got.out().starts_with(wanted), "{}", got.all());
    let outside = server.heard().len();
    let got = scene.allowed(&[&place], &["./hostile", "half-closed", "200", &place, &request(&place, "/x")]);
    assert!(got.out().starts_with(wanted), "{}", got.all());
    // Those that read nothing made their request as well.
    assert_eq!((outside, server.heard().len()), (201, 402));
    assert_eq!(scene.events("http.exchange").len(), 201);
}

/// A socket that is bound to the interface, or that shares its port with another, is its program's all the same.
#[test]
fn options_of_a_socket_do_not_hide_whose_it_is() {
    let scene = Scene::new();
    let server = Server::http();
    let place = server.place();
    let direct = format!("127.0.0.1:{}", server.port);
    let request = request(&place, "/x");
    for (words, outside, inside) in
        [(["bound-to-device", "lo"], &direct, &place), (["from-address", "127.0.0.9:0"], &direct, &place)]
    {
        for (to, wanted) in [(outside, false), (inside, true)] {
            let words = [&words[..], &[to, &request]].concat();
            let got = match wanted {
                true => scene.allowed(&[&place], &[&["./hostile"], &words[..]].concat()),
                false => scene.attack_outside(&words),
            };
            if got.out().contains("Operation not permitted") {
                eprintln!("not proven on this kernel: {words:?}: {}", got.out().trim());
                continue;
            }
            assert!(got.out().contains("200 OK"), "{words:?}: {}", got.all());
        }
        for kind in ["net.connect", "http.exchange"] {
            let events = scene.events(kind);
            assert_eq!(events.len(), 1, "{words:?}: {events:?}");
            assert_eq!(
                (events[0]["link"].as_str(), &*caused_by(&scene, &events[0])),
                (Some("socket"), words[0]),
                "{kind}"
            );
        }
    }
}

/// Of two connections from one port the kernel renames one on its way to the gateway, and nobody can say any more whose that is:
/// it is recorded without a cause, and never with another's.
#[test]
fn a_connection_whose_port_another_has_is_ascribed_to_nobody_else() {
    let scene = Scene::new();
    let server = Server::http();
    let place = server.place();
    let words = ["./hostile", "from-one-port", "other.example:80", &place, &request(&place, "/x")];
    let got = scene.allowed(&[&place], &words);
    assert!(got.out().contains("200 OK"), "{}", got.all());
    let exchange = &scene.events("http.exchange")[0];
    if exchange.get("cause").is_some() {
        assert_eq!(caused_by(&scene, exchange), "from-one-port");
    }
}

/// Loose source routes say where a packet goes next, whatever it was connected to.
#[test]
fn source_routes_lead_past_nobody() {
    let scene = Scene::new();
    let server = Server::http();
    let place = server.place();
    let request = request(&place, "/routed");
    for (via, to) in [
        ("127.0.0.1", &*place),
        ("203.0.113.7", &place),
        ("203.0.113.7", "127.0.0.1:61053"),
        ("127.0.0.1", "203.0.113.7:80"),
    ] {
        let got = scene.allowed(&[&place], &["./hostile", "source-routed", via, to, &request]);
        let said = got.out();
        assert!(said.starts_with("lost source-routed") || said.contains("403"), "{via} {to}: {}", got.all());
        assert!(server.heard().is_empty(), "{via} {to}: {:?}", server.heard());
    }
    // The control: without the route the same is answered.
    let got = scene.allowed(&[&place], &["./hostile", "from-address", "127.0.0.1:0", &place, &request]);
    assert!(got.out().contains("200 OK"), "{}", got.all());
}

#[test]
fn zones_of_addresses_lead_nowhere() {
    let scene = Scene::new();
    let server = Server::http();
    let place = server.place();
    let port = server.port.to_string();
    let request = request(&place, "/zone");
    // The control: a zone is nothing to an address that has none.
    let got = scene.attack_outside(&["in-zone", "::ffff:127.0.0.1", "1", &port, &request]);
    assert!(got.out().contains("200 OK"), "{}", got.all());
    let outside = server.heard().len();
    for address in ["fe80::1", "fe80::2", "fe80::7f00:1", "::ffff:127.0.0.1", "::1"] {
        for zone in ["0", "1", "2"] {
            let got = scene.allowed(&[&place], &["./hostile", "in-zone", address, zone, &port, &request]);
            let said = got.out();
            assert!(said.starts_with("lost in-zone") || said.contains("403"), "{address}%{zone}: {}", got.all());
        }
    }
    assert_eq!(server.heard().len(), outside, "{:?}", server.heard());
    // Nor in what a request names.
    for host in ["[fe80::1%25lo]", "[fe80::1%lo]", "[::1%25lo]", "[::ffff:127.0.0.1%251]"] {
        let words = format!("GET /zone HTTP/1.1\\r\\nHost: {host}:{port}\\r\\nConnection: close\\r\\n\\r\\n");
        let got = scene.allowed(&[&place], &["./hostile", "talk", &place, &words]);
        assert!(got.out().contains("HTTP/1.1 400") || got.out().contains("HTTP/1.1 403"), "{host}: {}", got.all());
    }
    assert_eq!(server.heard().len(), outside, "{:?}", server.heard());
}
