//! Attacks on the way out, through `coffer run`: each with a control that shows that it works where it may.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::scene::{self, finish};
use crate::support::{Finished, Scene, Server, eventually, processes};

/// `coffer run` with rules of the command line and the attack program inside, to its end.
fn attack(scene: &Scene, hosts: &[&str], words: &[&str]) -> Finished {
    let mut command = scene.coffer();
    command.args(["run", "--quiet"]);
    for host in hosts {
        command.args(["--allow", host]);
    }
    if !hosts.is_empty() {
        command.args(["--purpose", "a test"]);
    }
    command.args(["--", "./hostile"]).args(words);
    finish(command, b"")
}

/// What the attack program printed after `won NAME`.
fn won(got: &Finished) -> String {
    let said = got.out();
    let line = said.lines().find_map(|line| line.strip_prefix("won "));
    line.unwrap_or_else(|| panic!("{}", got.all())).split_once(' ').map(|(_, loot)| loot.to_owned()).unwrap_or_default()
}

/// The evidence is whole.
fn verifies(scene: &Scene) {
    let mut command = scene.coffer();
    command.arg("verify");
    let got = finish(command, b"");
    assert_eq!(got.code(), Some(0), "{}", got.all());
}

#[test]
fn malformed_queries_are_answered_or_not_and_the_resolver_goes_on() {
    let scene = Scene::new();
    let head = "\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0";
    // A name that points to itself, two that point to each other, one past the end; a label of 64; a name without end.
    let own = format!("{head}\\xc0\\x0c\\0\\x01\\0\\x01");
    let pair = format!("{head}\\xc0\\x0e\\xc0\\x0c\\0\\x01\\0\\x01");
    let past = format!("{head}\\xff\\xff\\0\\x01\\0\\x01");
    let long = format!("{head}\\x40{}\\0\\0\\x01\\0\\x01", "a".repeat(64));
    let endless = format!("{head}{}", "\\x3f".repeat(400));
    let many = format!("\\x12\\x34\\x01\\0\\xff\\xff\\0\\0\\0\\0\\0\\0{}", "\\x01a\\0\\0\\x01\\0\\x01".repeat(40));
    let answer = "\\x12\\x34\\x81\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x01a\\0\\0\\x01\\0\\x01";
    let got = attack(&scene, &[], &["dns", &own, &pair, &past, &long, &endless, &many, answer, "\\x12", "a.example?"]);
    let said = won(&got);
    let words: Vec<&str> = said.split(", ").collect();
    // FORMERR, or silence for what is no query; no address for any of it.
    assert!(words[..8].iter().all(|word| ["1 -", "silent"].contains(word)), "{said}");
    assert!(words[8].starts_with("0 198.18."), "it still answers: {said}");
    let got = attack(&scene, &[], &["dns-stream", "a.example?", &own, "b.example?", "*65535"]);
    let said = won(&got);
    let words: Vec<&str> = said.split(", ").collect();
    assert!(words[0].starts_with("0 198.18.") && words[3] == "closed", "{said}");
    let got = attack(&scene, &[], &["dns", "intranet?", "localhost?", "x.local?", "a.example?"]);
    assert_eq!(&won(&got)[..15], "3 -, 3 -, 3 -, ", "single labels and special names do not exist: {}", got.all());
    verifies(&scene);
}

#[test]
fn data_in_labels_goes_nowhere_and_every_name_has_an_address_of_its_own() {
    let scene = Scene::new();
    let label = |n: usize| format!("{}{n}", "q".repeat(50));
    let tunnel: Vec<String> = (0..20).map(|n| format!("{0}.{0}.{0}.tunnel.example?", label(n))).collect();
    let words: Vec<&str> = ["dns"].into_iter().chain(tunnel.iter().map(String::as_str)).collect();
    let got = attack(&scene, &["*.allowed.example"], &words);
    assert_eq!(won(&got).matches("0 198.18.").count(), 20, "{}", got.all());
    // What was asked is on record; nobody outside was (`dns` has no way to ask, see the gateway's own tests).
    assert_eq!(scene.events("net.lookup").len(), 20);
    assert!(scene.events("net.connect").is_empty());
    let got = attack(&scene, &[], &["dns-flood", "3000", "flood.example"]);
    assert_eq!(won(&got), "3000 given, 0 twice");
    assert_eq!(scene.events("net.lookup").len(), 3000);
    verifies(&scene);
}

#[test]
fn addresses_in_every_spelling_lead_nowhere() {
    let scene = Scene::new();
    let server = Server::http();
    let port = server.port.to_string();
    // The control: from outside each of these spellings is the server's.
    let outside = ["127.0.0.1", "2130706433", "0177.0.0.1", "0x7f000001", "127.1", "0.0.0.0"];
    let words: Vec<&str> = ["connect-literals", &port].into_iter().chain(outside).collect();
    let reached = scene.attack_outside(&words);
    assert_eq!(reached.out().matches("=200").count(), outside.len(), "{}", reached.all());
    let before = server.heard().len();
    let own = own_address().map(|ip| ip.to_string());
    let inside = [
        "2130706434",
        "0177.0.0.2",
        "0x7f000002",
        "127.1",
        "0.0.0.0",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::1",
        "2001:0:7f00:1::1",
        "fe80::1",
        "169.254.169.254",
        "fd00:ec2::254",
        "198.18.99.99",
        "198.19.255.255",
        "fd00:c0ff:ee00::ffff",
        "10.0.0.1",
        "192.0.2.7",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "127.0.0.1",
    ];
    let words: Vec<&str> = ["connect-literals", &port].into_iter().chain(inside).chain(own.as_deref()).collect();
    // Rules that are about names, about addresses of others, and about everything that a pattern can say.
    let got = attack(&scene, &["*.allowed.example", "203.0.113.7"], &words);
    let said = won(&got);
    assert!(!said.contains("=200"), "{said}");
    assert_eq!(said.split(' ').count(), inside.len() + usize::from(own.is_some()), "{said}");
    assert_eq!(server.heard().len(), before, "{:?}", server.heard());
    // To the listener's own port and to the resolver's, by addresses that are not loopback.
    for port in ["61053", "53"] {
        let got = attack(
            &scene,
            &["*.allowed.example"],
            &["connect-literals", port, "198.18.0.1", "203.0.113.9", "127.0.0.1"],
        );
        assert!(!won(&got).contains("=200"), "{}", got.all());
    }
    verifies(&scene);
}

/// An address of this machine that is not loopback. Nothing is sent.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
}

/// A request with a second one hidden in it, which reaches the server where nobody stands between.
#[test]
fn requests_hidden_in_requests_do_not_reach_the_server() {
    let scene = Scene::new();
    let server = Server::http();
    let place = server.place();
    let policy = format!(
        "version = 1\n[[network.allow]]\nhost = \"{place}\"\nmethods = [\"GET\", \"POST\"]\npaths = [\"/ok/**\"]\npurpose = \"some\"\n"
    );
    let directory = scene.home.join(".config/cofferdam");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("policy.toml"), policy).unwrap();
    let hidden = format!("GET /secret HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n");
    let start = |more: &str| format!("POST /ok/x HTTP/1.1\\r\\nHost: {place}\\r\\n{more}\\r\\n");
    let attacks = [
        // CL.TE, TE.CL, TE.TE, an extension of a chunk, a chunk that ends by LF alone.
        format!("{}0\\r\\n\\r\\n{hidden}", start("Content-Length: 5\\r\\nTransfer-Encoding: chunked\\r\\n")),
        format!(
            "{}1\\r\\nx\\r\\n0\\r\\n\\r\\n{hidden}",
            start("Transfer-Encoding: chunked\\r\\nContent-Length: 3\\r\\n")
        ),
        format!("{}0\\r\\n\\r\\n{hidden}", start("Transfer-Encoding: chunked\\r\\nTransfer-Encoding: identity\\r\\n")),
        format!("{}0\\r\\n\\r\\n{hidden}", start("Transfer-Encoding: \\x0bchunked\\r\\n")),
        format!("{}1;\\n{hidden}\\r\\nx\\r\\n0\\r\\n\\r\\n", start("Transfer-Encoding: chunked\\r\\n")),
        format!("{}1\\nx\\n0\\n\\n{hidden}", start("Transfer-Encoding: chunked\\r\\n")),
        // Pipelined after one that is allowed; a line end in a target and in a field; folded.
        format!("GET /ok/x HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n{hidden}"),
        format!("GET /ok/x\\nGET /secret HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n"),
        format!("GET /ok/x HTTP/1.1\\nHost: {place}\\n\\n{hidden}"),
        format!("GET /ok/x HTTP/1.1\\r\\nHost: {place}\\r\\nX: a\\r\\n {hidden}"),
        // The body of a GET; an upgrade to what would hide requests; a connection made another by CONNECT.
        format!("GET /ok/x HTTP/1.1\\r\\nHost: {place}\\r\\nContent-Length: 0\\r\\n\\r\\n{hidden}"),
        format!(
            "GET /ok/x HTTP/1.1\\r\\nHost: {place}\\r\\nConnection: Upgrade, HTTP2-Settings\\r\\nUpgrade: h2c\\r\\nHTTP2-Settings: AAMAAABk\\r\\n\\r\\n{hidden}"
        ),
        format!(
            "GET /ok/x HTTP/1.1\\r\\nHost: {place}\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n{hidden}"
        ),
        format!("CONNECT {place} HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n{hidden}"),
        format!("{}{hidden}", start("Expect: 100-continue\\r\\nContent-Length: 0\\r\\n")),
        // The path in other forms; another host by an absolute target, by a field that Connection takes out.
        format!("GET /ok/%2e%2e/secret HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n"),
        format!("GET /ok/..;/secret HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n"),
        format!("GET /ok//../secret HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n"),
        format!("GET /ok/..\\\\secret HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n"),
        format!("GET http://other.example/secret HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n"),
        format!("GET /ok/x HTTP/1.1\\r\\nHost: {place}\\r\\nHost: other.example\\r\\n\\r\\n{hidden}"),
        format!("GET /ok/x HTTP/1.1\\r\\nHost: {place}\\r\\nConnection: Host\\r\\n\\r\\n{hidden}"),
    ];
    // The control: asked directly, this server, which reads all framing its own way, hears each hidden one. The folded
    // line and the paths in other forms are for servers of other kinds.
    let direct = format!("127.0.0.1:{}", server.port);
    let secret = |request: &String| request.starts_with("GET /secret") || request.contains("\nGET /secret");
    for (n, words) in attacks.iter().enumerate().filter(|(n, words)| *n != 9 && words.contains("GET /secret HTTP")) {
        let before = server.heard().len();
        let got = scene.attack_outside(&["talk", &direct, words]);
        let heard = || server.heard()[before..].iter().any(secret);
        assert!(eventually(5, heard), "{n}: {words}: {:?}: {}", &server.heard()[before..], got.all());
    }
    let before = server.heard().len();
    for words in &attacks {
        let got = attack(&scene, &[], &["talk", &place, words]);
        assert!(got.out().starts_with("won") || got.out().starts_with("lost"), "{}", got.all());
        let heard = server.heard();
        let new = &heard[before..];
        assert!(!new.iter().any(secret), "{words}: {new:?}");
        // A second Host never arrives, nor one that is another's; nor a request whose Host was taken out.
        // This server knows no chunks: what their lines are to it is no request.
        for request in new.iter().filter(|request| request.lines().next().is_some_and(|l| l.ends_with("HTTP/1.1"))) {
            let hosts: Vec<&str> =
                request.lines().filter(|line| line.to_ascii_lowercase().starts_with("host:")).collect();
            assert!(hosts.len() == 1 && hosts[0].ends_with(&place), "{words}: {request:?}");
            assert!(request.starts_with("GET /ok/") || request.starts_with("POST /ok/"), "{words}: {request:?}");
            assert!(!request.to_ascii_lowercase().contains("h2c"), "{words}: {request:?}");
        }
    }
    assert!(server.heard().len() > before + 5, "what is allowed went through: {:?}", server.heard());
}

#[test]
fn many_connections_that_only_begin_do_not_keep_others_from_being_served() {
    let scene = Scene::new();
    let server = Server::http();
    let place = server.place();
    // A rule without a scheme would have the silent ones relayed, and those keep their places.
    scene.policy(&format!(
        "version = 1\n[[network.allow]]\nhost = \"{place}\"\nscheme = \"http\"\npurpose = \"a test\"\n"
    ));
    let request = format!("GET /late HTTP/1.1\\r\\nHost: {place}\\r\\nConnection: close\\r\\n\\r\\n");
    for beginning in ["", "GET /x HTTP/1.1\\r\\nHost: a", "\\x16\\x03\\x01\\x02\\0\\x01"] {
        let got = attack(&scene, &[], &["half-open", "5000", beginning, &place, &request]);
        let said = won(&got);
        assert!(said.contains("hello "), "{beginning:?}: {said}");
        let held: usize = said.split(' ').next().unwrap().parse().unwrap();
        assert!(held > 4200, "{beginning:?}: {said}");
    }
    assert_eq!(server.heard().len(), 3, "{:?}", server.heard());
    verifies(&scene);
}

#[test]
fn more_refusals_than_a_message_holds_do_not_break_the_end_of_a_run() {
    let scene = Scene::new();
    let path = format!("/{}", "p".repeat(3000));
    let mut command = scene.coffer();
    command.args(["run", "--", "./hostile", "denied-flood", "300", &path]);
    let got = finish(command, b"");
    assert_eq!(got.code(), Some(0), "{}", got.all());
    assert_eq!(won(&got), "300 refused");
    assert_eq!(scene.events("net.denied").len(), 300);
    verifies(&scene);
}

#[test]
fn a_gateway_that_stands_still_does_not_keep_the_run_from_ending() {
    let scene = Scene::new();
    let server = Server::speaks_first();
    let place = server.place().replace(':', "/");
    let script = format!("exec 3<>/dev/tcp/{place}; read -r a <&3; echo \"$a\"; read -r go; echo over");
    let mut command = scene.coffer();
    command.args(["run", "-q", "--allow", &server.place(), "--purpose", "x", "--", "bash", "-c", &script]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut shown = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut shown, &mut line).unwrap();
    assert_eq!(line, "welcome\n");
    let gateway = processes::gateway_below(child.id());
    rustix::process::kill_process(gateway, rustix::process::Signal::STOP).unwrap();
    let since = Instant::now();
    drop(child.stdin.take());
    let status = scene::wait(&mut child, Duration::from_secs(30));
    assert!(status.success(), "{status:?} after {:?}", since.elapsed());
    let connects = scene.events("net.connect");
    assert_eq!(connects.len(), 1, "{connects:?}");
    assert_eq!(connects[0]["data"]["error"], "the gateway did not end in time");
    // It is gone with its monitor, stopped or not.
    let gone = || rustix::process::test_kill_process(gateway).is_err();
    assert!(eventually(10, gone), "the gateway {gateway:?} lives on");
    verifies(&scene);
}

#[test]
fn a_connection_that_is_passed_on_is_not_ascribed_to_who_received_it() {
    let scene = Scene::new();
    let server = Server::http();
    let place = server.place();
    let request = format!("GET /passed HTTP/1.1\\r\\nHost: {place}\\r\\nConnection: close\\r\\n\\r\\n");
    // The control: outside, the same program hands a connection over.
    let got = scene.attack_outside(&["pass-on", &format!("127.0.0.1:{}", server.port), &request, "./hostile"]);
    assert!(got.out().contains("won use-passed") && server.heard().len() == 1, "{}", got.all());
    let got = attack(&scene, &[&place], &["pass-on", &place, &request, "./hostile"]);
    assert!(got.out().contains("won use-passed"), "{}", got.all());
    assert_eq!(server.heard().len(), 2);
    let exchange = &scene.events("http.exchange")[0];
    let execs = scene.events("process.exec");
    let cause = execs.iter().find(|exec| exec["seq"] == exchange["cause"]).unwrap();
    // `link: socket` says who connected, and that is who it names.
    assert_eq!(exchange["link"], "socket");
    assert_eq!(cause["data"]["argv"][1], "pass-on", "{cause}");
}

#[test]
fn hostile_words_of_the_network_do_nothing_to_whoever_reads_them() {
    let scene = Scene::new();
    let server = Server::http();
    let place = server.place();
    let evil = "\\x1b]0;pwned\\x07\\x1b[91m\\xe2\\x80\\xae\\xc2\\x9b2J";
    let words = [
        format!("GET /{evil} HTTP/1.1\\r\\nHost: {place}\\r\\nX-Evil: {evil}\\r\\n\\r\\n"),
        format!("GET /ok HTTP/1.1\\r\\nHost: {place}\\r\\nUser-Agent: a\\xe2\\x80\\xaeb\\xc2\\x9b2J\\r\\n\\r\\n"),
        "GET /ok HTTP/1.1\\r\\nHost: evil\\xe2\\x80\\xaegpj.example\\r\\n\\r\\n".to_owned(),
        format!("GET /x\\xe2\\x80\\xaegpj\\xc2\\x9b2J HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n"),
        format!("{} / HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n", "E".repeat(16)),
        format!("GET /%1b%5d0;pwned%07%0aforged HTTP/1.1\\r\\nHost: {place}\\r\\nConnection: close\\r\\n\\r\\n"),
        "\\x16\\x03\\x01\\0\\x05\\x1b[91m".to_owned(),
    ];
    for word in &words {
        attack(&scene, &[&place], &["talk", &place, word]);
        for looking in [
            &["log", "@"][..],
            &["log", "--flat", "@"],
            &["export", "-f", "html"],
            &["export", "-f", "json"],
            &["export", "-f", "har"],
            &["export", "-f", "ocsf"],
            &["policy", "suggest"],
            &["stats"],
            &["list"],
            &["verify"],
        ] {
            let mut command = scene.coffer();
            command.args(looking);
            let got = finish(command, b"");
            let said = format!("{}{}", got.out(), String::from_utf8_lossy(&got.stderr));
            let acts = said.chars().find(|c| {
                (c.is_control() && !matches!(c, '\n' | '\t'))
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            });
            assert_eq!(acts, None, "{word}: {looking:?}: {}", said.escape_debug());
        }
    }
    // The control: it was there to be shown.
    assert!(server.heard().iter().any(|request| request.contains("%1b%5d0;pwned")), "{:?}", server.heard());
}
