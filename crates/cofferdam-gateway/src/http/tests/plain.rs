//! HTTP/1 without TLS.

use std::rc::Rc;

use cofferdam_core::change::Digest;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const OK: &str = "HTTP/1.1 200 Fine\r\nX-Odd-Case: 1\r\nContent-Length: 5\r\nKeep-Alive: timeout=5\r\n\r\nhello";

#[test]
fn what_goes_out_and_comes_back_is_what_was_sent_and_recorded() {
    run(async {
        let (listener, address) = listener().await;
        let noted = server(listener, OK);
        let fake = Rc::new(Fake::new(address));
        let (mut program, served) = open(&fake, "a.example", 80).await;
        let head = "POST /a//b/%7e?q=%41 HTTP/1.1\r\nHost: A.example\r\nX-ODD: Ä\r\nAuthorization: Bearer secret\r\n\
                    Connection: close, X-Hop\r\nX-Hop: 1\r\nContent-Length: 3\r\n\r\nabc";
        program.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        program.read_to_string(&mut answer).await.unwrap();
        served.await.unwrap().unwrap();
        let out = "POST /a//b/%7e?q=%41 HTTP/1.1\r\nHost: A.example\r\nX-ODD: Ä\r\nAuthorization: Bearer secret\r\n\
                   Content-Length: 3\r\n\r\nabc";
        assert_eq!(String::from_utf8_lossy(&noted.borrow()[0]), out);
        assert_eq!(answer, "HTTP/1.1 200 Fine\r\nX-Odd-Case: 1\r\nContent-Length: 5\r\nconnection: close\r\n\r\nhello");
        let [exchange] = &fake.exchanges()[..] else { panic!("{:?}", fake.said) };
        assert_eq!((exchange.url.as_str(), exchange.status), ("http://a.example/a//b/%7e?q=%41", Some(200)));
        assert_eq!((exchange.sent.bytes, exchange.received.bytes), (3, 5));
        assert_eq!(exchange.received.digest, Some(Digest(Sha256::digest(b"hello").into())));
        assert_eq!((&exchange.error, exchange.purpose.as_str()), (&None, "tests"));
        assert!(!format!("{exchange:?}").contains("secret"));
        let [connect] = &fake.connects()[..] else { panic!("{:?}", fake.said) };
        assert_eq!((connect.sent, connect.received), (head.len() as u64, answer.len() as u64));
        assert_eq!((connect.exchanges, connect.address.clone()), (1, Some(address.to_string())));
        assert!(matches!(fake.said.borrow()[0], Say::Opened { .. }), "said before anything leaves");
    });
}

#[test]
fn what_is_not_allowed_is_refused_with_words_and_nothing_goes_out() {
    run(async {
        let (_listener, address) = listener().await;
        let fake = Rc::new(Fake::new(address));
        let answer = talk(&fake, "c.example", b"GET /x?key=1 HTTP/1.1\r\nHost: c.example\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden by Cofferdam, see coffer why c.example\r\n"), "{answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        assert_eq!(
            body,
            "Cofferdam refused GET http://c.example/x: no rule is about this host.\n\
             A person outside can allow it: coffer run --allow c.example --purpose \"…\"\n\
             More: coffer why c.example  (or http://why.cofferdam/c.example)\n"
        );
        let head =
            b"POST /ok/1 HTTP/1.1\r\nHost: b.example\r\nAccept: application/json\r\nContent-Length: 4\r\n\r\nbody";
        let answer = talk(&fake, "b.example", head).await;
        let json: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(json["error"]["type"], "cofferdam_denied");
        assert_eq!(json["error"]["reason"], "method");
        assert_eq!(json["error"]["rule"]["name"], "some");
        assert!(json["error"]["message"].as_str().unwrap().contains("it allows GET, not POST"), "{json}");
        let denied = fake.denied();
        let seen: Vec<_> = denied.iter().map(|d| (d.reason.as_str(), d.method.as_deref(), d.path.as_deref())).collect();
        assert_eq!(seen, [("no-rule", Some("GET"), Some("/x")), ("method", Some("POST"), Some("/ok/1"))]);
        assert_eq!((*fake.dialled.borrow(), fake.connects().len(), fake.exchanges().len()), (0, 0, 0));
    });
}

#[test]
fn why_is_answered_inside() {
    run(async {
        let (_listener, address) = listener().await;
        let fake = Rc::new(Fake::new(address));
        for (path, words) in [
            ("/c.example", "is refused: no rule is about this host"),
            ("/a.example/any", "GET https://a.example/any is allowed by the rule for a.example"),
            ("/https://b.example/no", "GET https://b.example/no is refused: no rule for this host allows this path"),
        ] {
            let asked = format!("GET {path} HTTP/1.1\r\nHost: why.cofferdam\r\n\r\n");
            let answer = talk(&fake, "why.cofferdam", asked.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(words), "{answer}");
        }
        assert_eq!(*fake.dialled.borrow(), 0);
    });
}

#[test]
fn a_connection_is_used_again_and_one_that_died_idle_is_replaced() {
    run(async {
        let (listener, address) = listener().await;
        tokio::task::spawn_local(async move {
            let (mut first, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                until(&mut first, "\r\n\r\n").await;
                first.write_all(OK.as_bytes()).await.unwrap();
            }
            // The third request is read, and the connection dies of it.
            until(&mut first, "\r\n\r\n").await;
            drop(first);
            let (mut second, _) = listener.accept().await.unwrap();
            until(&mut second, "GET /3 HTTP/1.1\r\n").await;
            second.write_all(OK.as_bytes()).await.unwrap();
            until(&mut second, "POST /4").await;
            drop(second);
            // Nothing more: a POST may have been done.
        });
        let fake = Rc::new(Fake::new(address));
        let (mut program, served) = open(&fake, "a.example", 80).await;
        for n in 1..=3 {
            let asked = format!("GET /{n} HTTP/1.1\r\nHost: a.example\r\n\r\n");
            program.write_all(asked.as_bytes()).await.unwrap();
            until(&mut program, "hello").await;
        }
        assert_eq!(*fake.dialled.borrow(), 2);
        program.write_all(b"POST /4 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let answer = until(&mut program, "closed the connection before it answered").await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        drop(program);
        served.await.unwrap().unwrap();
        assert_eq!(
            fake.exchanges().iter().map(|e| e.status).collect::<Vec<_>>(),
            [Some(200), Some(200), Some(200), None]
        );
    });
}

#[test]
fn a_websocket_is_passed_on_and_counted_and_h2c_is_not() {
    run(async {
        let (listener, address) = listener().await;
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = until(&mut stream, "\r\n\r\n").await;
            assert!(head.contains("Upgrade: websocket\r\n") && head.contains("Connection: Upgrade\r\n"), "{head}");
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst";
            stream.write_all(answer).await.unwrap();
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        });
        let fake = Rc::new(Fake::new(address));
        let asked =
            b"GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let (mut program, served) = open(&fake, "a.example", 80).await;
        program.write_all(asked).await.unwrap();
        let answer = until(&mut program, "first").await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        program.write_all(&[0, 159, 146, 150]).await.unwrap();
        let mut echoed = [0; 4];
        program.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, [0, 159, 146, 150]);
        program.shutdown().await.unwrap();
        assert_eq!(program.read(&mut echoed).await.unwrap(), 0);
        served.await.unwrap().unwrap();
        let [exchange] = &fake.exchanges()[..] else { panic!("{:?}", fake.said) };
        assert_eq!(exchange.upgrade.as_deref(), Some("websocket"));
        assert_eq!((exchange.sent.bytes, exchange.received.bytes, &exchange.error), (4, 9, &None));
    });
    run(async {
        let (listener, address) = listener().await;
        let noted = server(listener, OK);
        let fake = Rc::new(Fake::new(address));
        let asked = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                     HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n";
        talk(&fake, "a.example", asked.as_bytes()).await;
        assert_eq!(String::from_utf8_lossy(&noted.borrow()[0]), "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    });
}
