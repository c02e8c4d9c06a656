//! Requests that two readers may read differently: what the server has is what was decided, or it has nothing.

use std::rc::Rc;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// What the server received for these bytes, and the program.
fn through(host: &'static str, bytes: &[u8]) -> (Vec<String>, String) {
    run(async {
        let (listener, address) = listener().await;
        let noted = server(listener, OK);
        let fake = Rc::new(Fake::new(address));
        let answer = talk(&fake, host, bytes).await;
        let texts = noted.borrow().iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
        (texts, answer)
    })
}

#[test]
fn what_has_no_one_meaning_is_answered_with_400_and_goes_nowhere() {
    for bytes in [
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\n X-Fold: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nX: 1\r\n folded\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3, 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0x3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "GET http://u@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a.example\r\n\r\n",
        "GET a.example HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ] {
        let (received, answer) = through("a.example", bytes.as_bytes());
        assert!(received.is_empty(), "{bytes:?}: {received:?}");
        assert!(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.0 400 "), "{bytes:?}: {answer}");
    }
}

#[test]
fn what_names_another_destination_is_refused() {
    for bytes in [
        "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
        "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ] {
        let (received, answer) = through("a.example", bytes.as_bytes());
        assert!(received.is_empty(), "{bytes:?}: {received:?}");
        assert!(answer.starts_with("HTTP/1.1 403 "), "{bytes:?}: {answer}");
    }
}

#[test]
fn a_body_is_framed_once() {
    let plain = "POST / HTTP/1.1\r\nHost: a.example\r\ntransfer-encoding: chunked\r\n\r\n";
    let lower = |text: &str| text.to_lowercase();
    // hyper lets Transfer-Encoding win, takes Content-Length out and closes (RFC 9112, section 6.1): one meaning goes out.
    for (bytes, body) in [
        ("Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
    ] {
        let asked =
            format!("POST / HTTP/1.1\r\nHost: a.example\r\n{bytes}GET /smuggled HTTP/1.1\r\nHost: b.example\r\n\r\n");
        let (received, _) = through("a.example", asked.as_bytes());
        let [received] = &received[..] else { panic!("{bytes:?}: {received:?}") };
        assert_eq!(lower(received), format!("{}{body}", lower(plain)), "{bytes:?}");
    }
}

#[test]
fn line_ends_that_some_read_as_none_have_one_meaning_outside() {
    let (received, _) = through("a.example", b"GET /1 HTTP/1.1\nHost: a.example\n\n");
    for received in received {
        assert_eq!(received, "GET /1 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    }
    let (received, _) = through("a.example", b"GET / HTTP/1.1\r\nHost: a.example\r\nX: 1\rGET /2 HTTP/1.1\r\n\r\n");
    assert!(received.is_empty(), "{received:?}");
}

#[test]
fn random_requests_go_out_as_they_were_decided_or_not_at_all() {
    let mut random = fastrand::Rng::with_seed(5);
    let (mut passed, mut refused) = (0, 0);
    for round in 0..400 {
        let parts = ["/ok", "/", "//", "/../", "%2e", "%2F", "a", "é", ";", "?", "#", "\\", "{", "\"", "%zz", "/ok/x"];
        let path: String = (0..random.usize(0..3)).map(|_| parts[random.usize(..parts.len())]).collect();
        let method = ["GET", "GET", "GET", "GET", "POST", "get", "G\u{e9}T", "X-Y"][random.usize(..8)];
        let host = ["b.example", "B.EXAMPLE", "b.example:80", "b.example.", "a.example", "b.example:81"];
        let host = host[random.usize(..host.len())];
        let asked = format!("{method} /ok/{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (received, answer) = through("b.example", asked.as_bytes());
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        if let Some(received) = received.first() {
            passed += 1;
            // What begins at `#` is the client's own, and does not go out.
            let sent = format!("/ok/{path}");
            let sent = sent.split('#').next().unwrap();
            assert_eq!(*received, format!("{method} {sent} HTTP/1.1\r\nHost: {host}\r\n\r\n"), "round {round}");
            assert_eq!((method, host.to_lowercase().contains("b.example")), ("GET", true));
            let normal = cofferdam_policy::NormalPath::of(sent).unwrap();
            assert!(normal.as_str().starts_with("/ok"), "{normal}");
        } else {
            refused += 1;
            assert!(["400", "403"].contains(&&*status), "{asked:?}: {answer}");
        }
    }
    assert!(passed > 10 && refused > 100, "{passed} {refused}");
}
