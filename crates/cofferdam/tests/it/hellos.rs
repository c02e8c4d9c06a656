//! What a ClientHello says and what it hides: a connection goes where it was judged to go.

use crate::support::{Finished, Scene, Server, has};

/// Extensions of a ClientHello, RFC 8446, section 4.2.
const SERVER_NAME: u16 = 0;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// Of RFC 8701.
const GREASE: u16 = 0x5a5a;

/// Bytes with their length in so many bytes before.
fn sized(width: usize, bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[4 - width..], bytes].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized(2, body)].concat()
}

/// A `server_name` with these names in one list (RFC 6066, section 3).
fn names(names: &[&str]) -> Vec<u8> {
    let list: Vec<u8> = names.iter().flat_map(|name| [&[0][..], &sized(2, name.as_bytes())].concat()).collect();
    extension(SERVER_NAME, &sized(2, &list))
}

/// A ClientHello in a record, with these extensions beside those that it must have.
fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    let must = [
        extension(SUPPORTED_VERSIONS, &[2, 3, 4]),
        // supported_groups, signature_algorithms, key_share of x25519.
        extension(10, &[0, 2, 0, 29]),
        extension(13, &[0, 4, 4, 3, 8, 4]),
        extension(51, &sized(2, &[&[0, 29][..], &sized(2, &[9; 32])].concat())),
    ];
    let all = [extensions.concat(), must.concat()].concat();
    let body = [&[3, 3][..], &[7; 32], &sized(1, &[8; 32]), &[0, 2, 0x13, 1], &[1, 0], &sized(2, &all)].concat();
    let message = [&[1][..], &sized(3, &body)].concat();
    [&[22, 3, 1][..], &sized(2, &message)].concat()
}

/// A ServerHello in a record that asks for another ClientHello (RFC 8446, section 4.1.4), for the group secp256r1.
fn retry() -> Vec<u8> {
    let random = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c";
    let random: Vec<u8> = (0..32).map(|n| u8::from_str_radix(&random[2 * n..2 * n + 2], 16).unwrap()).collect();
    let all = [extension(SUPPORTED_VERSIONS, &[3, 4]), extension(51, &[0, 23])].concat();
    let body = [&[3, 3][..], &random, &sized(1, &[8; 32]), &[0x13, 1, 0], &sized(2, &all)].concat();
    let message = [&[2][..], &sized(3, &body)].concat();
    [&[22, 3, 3][..], &sized(2, &message)].concat()
}

/// As a word of the attack program.
fn word(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// A scene whose policy passes TLS to a server through.
fn passing(place: &str) -> Scene {
    let scene = Scene::new();
    scene.policy(&format!(
        "version = 1\n[[network.allow]]\nhost = \"{place}\"\ntls = \"passthrough\"\npurpose = \"a test\"\n"
    ));
    scene
}

fn talk(scene: &Scene, place: &str, words: &[Vec<u8>]) -> Finished {
    let words: Vec<String> = words.iter().map(|bytes| word(bytes)).collect();
    let mut all = vec!["run", "--quiet", "--", "./hostile", "talk", place];
    all.extend(words.iter().map(String::as_str));
    scene.finished(&all)
}

const OTHER: &str = "other.example";

#[test]
fn what_passes_through_names_its_place_once_and_in_the_open() {
    let server = Server::bytes(|_| b"heard".to_vec());
    let place = server.place();
    let own = "host.cofferdam";
    let ech = extension(
        ENCRYPTED_CLIENT_HELLO,
        &[&[0, 0, 1, 0, 1, 5][..], &sized(2, &[1; 32]), &sized(2, &[2; 64])].concat(),
    );
    let grease = extension(GREASE, &[0]);
    let passed = [
        hello(&[names(&[own])]),
        hello(&[names(&["HOST.Cofferdam"])]),
        hello(&[grease.clone(), names(&[own]), extension(0xaaaa, &[])]),
        // What it hides leads nowhere else: the connection goes to the place (docs/network.md).
        hello(&[names(&[own]), ech.clone()]),
    ];
    let refused = [
        (hello(&[]), "names no server"),
        (hello(&[grease]), "names no server"),
        (hello(&[names(&["127.0.0.1"])]), "names no server"),
        (hello(&[names(&[OTHER])]), "names other.example"),
        (hello(&[names(&[OTHER]), ech]), "names other.example"),
        (hello(&[names(&["xhost.cofferdam"])]), "names xhost.cofferdam"),
        // Two names: in one list, and in two extensions.
        (hello(&[names(&[own, OTHER])]), "is no TLS"),
        (hello(&[names(&[OTHER, own])]), "is no TLS"),
        (hello(&[names(&[own]), names(&[OTHER])]), "is no TLS"),
        (hello(&[names(&["host.cofferdam\0.other.example"])]), ""),
        (b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10".to_vec(), "is no TLS"),
    ];
    let scene = passing(&place);
    // The control: outside, each of them arrives.
    let direct = format!("127.0.0.1:{}", server.port);
    for hello in passed.iter().chain(refused.iter().map(|(hello, _)| hello)) {
        let got = scene.attack_outside(&["talk", &direct, &word(hello)]);
        assert!(got.out().contains("heard"), "{}", got.all());
    }
    let before = server.heard().len();
    for hello in &passed {
        let got = talk(&scene, &place, std::slice::from_ref(hello));
        assert!(got.out().contains("heard"), "{}", got.all());
        assert_eq!(scene.events("net.connect")[0]["data"]["mediation"], "passthrough");
    }
    assert_eq!(server.heard().len(), before + passed.len());
    for (hello, why) in &refused {
        let got = talk(&scene, &place, std::slice::from_ref(hello));
        assert!(!got.out().contains("heard"), "{why}: {}", got.all());
        let denied = &scene.events("net.denied")[0]["data"];
        assert_eq!(denied["reason"], "mismatch", "{denied}");
        assert!(denied["detail"].as_str().unwrap().contains(why), "{why}: {denied}");
    }
    assert_eq!(server.heard().len(), before + passed.len(), "{:?}", server.heard());
}

#[test]
fn a_second_hello_names_what_the_first_did() {
    // A server that goes by the name in the second, as some do.
    let server =
        Server::bytes(|so_far| match so_far.windows(6).filter(|w| w[..3] == [22, 3, 1] && w[5] == 1).count() {
            1 => retry(),
            _ => b"served by the second".to_vec(),
        });
    let place = server.place();
    let scene = passing(&place);
    let first = hello(&[names(&["host.cofferdam"])]);
    let second = hello(&[names(&[OTHER])]);
    let change = vec![20, 3, 3, 0, 1, 1];
    let direct = format!("127.0.0.1:{}", server.port);
    let got = scene.attack_outside(&["talk", &direct, &word(&first), &word(&second)]);
    assert!(got.out().contains("served by the second"), "the control: {}", got.all());
    // The same name again passes, whatever may stand between.
    for words in [vec![first.clone(), first.clone()], vec![first.clone(), change.clone(), first.clone()]] {
        let got = talk(&scene, &place, &words);
        assert!(got.out().contains("served by the second"), "{}", got.all());
    }
    let before = server.heard().len();
    for words in [
        vec![first.clone(), second.clone()],
        vec![first.clone(), change, second.clone()],
        // Both at once, before the server has asked for it.
        vec![[first.clone(), second.clone()].concat()],
        vec![first.clone(), hello(&[])],
        vec![first.clone(), second[..40].to_vec(), second[40..].to_vec()],
    ] {
        let got = talk(&scene, &place, &words);
        assert!(!got.out().contains("served"), "{}", got.all());
        let denied = &scene.events("net.denied")[0]["data"];
        assert_eq!(denied["reason"], "mismatch", "{denied}");
    }
    let name = OTHER.as_bytes();
    assert!(!server.heard()[before..].iter().any(|heard| heard.as_bytes().windows(name.len()).any(|w| w == name)));
}

/// TLS that ends at the gateway, by another implementation than its own.
#[test]
fn what_is_intercepted_is_judged_by_its_place_whatever_the_hello_says() {
    let scene = Scene::new();
    if !has("openssl") {
        return;
    }
    let request = "printf 'GET / HTTP/1.1\\r\\nHost: no.example\\r\\nConnection: close\\r\\n\\r\\n'";
    for (options, reason) in [
        ("-servername no.example", "no-rule"),
        ("-noservername", "no-rule"),
        ("-servername allowed.example", "mismatch"),
        ("-servername allowed.example -tls1_2", "mismatch"),
        ("-noservername -tls1_2", "no-rule"),
    ] {
        let script =
            format!("{request} | openssl s_client -quiet -ign_eof {options} -connect no.example:443 2>/dev/null");
        let got = scene.allowed(&["allowed.example"], &["sh", "-c", &script]);
        assert!(got.out().contains("HTTP/1.1 403"), "{options}: {}", got.all());
        let denied = &scene.events("net.denied")[0]["data"];
        assert_eq!((&denied["host"], &denied["reason"]), (&"no.example".into(), &reason.into()), "{options}: {denied}");
    }
    // A renegotiation (TLS 1.2), which could bring another name: there is none.
    let script = format!(
        "(sleep 0.3; echo R; sleep 1; {request}; sleep 1) | openssl s_client -tls1_2 -servername no.example -connect no.example:443 2>&1"
    );
    let got = scene.allowed(&["allowed.example"], &["sh", "-c", &script]);
    assert!(got.out().contains("RENEGOTIATING"), "it was tried: {}", got.all());
    assert!(!got.out().contains("HTTP/1.1 2") && got.out().contains("no renegotiation"), "{}", got.all());
}
