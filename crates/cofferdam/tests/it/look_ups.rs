//! What programs find that look names up in other ways than most.

use crate::support::{Scene, has};

/// The families of the addresses in the output of `getent ahosts…`, each once.
fn families(said: &str) -> Vec<&'static str> {
    let mut families: Vec<_> = said.lines().map(|line| if line.contains(':') { "v6" } else { "v4" }).collect();
    families.sort_unstable();
    families.dedup();
    families
}

/// `AI_ADDRCONFIG` (getaddrinfo(3)) with one family alone finds nothing where only loopback addresses are configured.
#[test]
fn names_are_found_by_one_family_alone_too() {
    let scene = Scene::new();
    if !has("getent") {
        return;
    }
    for (database, wanted) in [("ahostsv4", &["v4"][..]), ("ahosts", &["v4", "v6"])] {
        let got = scene.allowed(&["a.example"], &["getent", database, "a.example"]);
        assert_eq!((got.code(), &families(&got.out())[..]), (Some(0), wanted), "{database}: {}", got.all());
        assert!(!got.out().contains("127.0.0.") && !got.out().contains("fe80"), "{}", got.all());
    }
    // Neither family hides the other: a server on `localhost` may listen on the one that a client did not find.
    let got = scene.allowed(&["a.example"], &["getent", "ahosts", "localhost"]);
    let outside = std::net::TcpListener::bind("[::1]:0").is_ok();
    let wanted: &[_] = if outside { &["v4", "v6"] } else { &["v4"] };
    assert_eq!(families(&got.out()), wanted, "{}", got.all());
}

/// A client that asks by `AI_ADDRCONFIG` finds what listens on `localhost`, whichever family the server chose.
#[test]
fn servers_on_localhost_are_found_by_clients_that_ask_what_is_configured() {
    let scene = Scene::new();
    if !has("python3") {
        return;
    }
    let script = "\
import socket, sys
for family, at in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
    try:
        server = socket.create_server((at, 0), family=family)
    except OSError:
        print('no', at)
        continue
    flags = socket.AI_ADDRCONFIG
    for wanted in (socket.AF_UNSPEC, family):
        found = socket.getaddrinfo('localhost', server.getsockname()[1], wanted, socket.SOCK_STREAM, 0, flags)
        for answer in found:
            if answer[0] == family:
                socket.create_connection(answer[4][:2]).close()
                server.accept()[0].close()
                print('found')
                break
        else:
            sys.exit(f'{at} is not found: {found}')
";
    let got = scene.run(&["python3", "-c", script]);
    assert_eq!(got.code(), Some(0), "{}", got.all());
    assert!(got.out().matches("found").count() >= 2, "{}", got.all());
}

/// The addresses that are there to be seen open nothing: what listens on the host there is not reached, and nothing is told to
/// whoever asks for the machine's addresses.
#[test]
fn the_addresses_that_are_seen_lead_nowhere() {
    let scene = Scene::new();
    let server = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let heard = std::thread::spawn(move || std::io::Read::read(&mut server.accept().unwrap().0, &mut [0; 99]).unwrap());
    let words = format!("GET / HTTP/1.1\\r\\nHost: [fe80::1]:{port}\\r\\nConnection: close\\r\\n\\r\\n");
    for (address, zone) in [("::ffff:127.0.0.2", "0"), ("fe80::1", "1"), ("fe80::1", "0")] {
        let got = scene.attack_inside(&["in-zone", address, zone, &port, &words]);
        assert!(got.out().starts_with("lost in-zone") || got.out().contains(" 403 "), "{address}: {}", got.all());
        assert!(!heard.is_finished());
    }
    if has("hostname") {
        assert_eq!(scene.script("hostname -I").out().trim(), "");
    }
    // The control: it was there to be reached.
    let request = ["in-zone", "::ffff:127.0.0.2", "0", &port, "x"];
    scene.attack_outside(&request);
    assert_eq!(heard.join().unwrap(), 1);
}
