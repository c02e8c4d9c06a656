//! Bodies: in pieces, filtered, waited for, and without end.

use std::cell::Cell;

use bytes::Bytes;
use cofferdam_exchange::{Filter, Refusal, Target, Verdict};
use http::request;

use super::*;

/// Refuses bodies that hold a word, and holds back as much as a part of it may be.
struct NoSecret(Vec<u8>);

const SECRET: &[u8] = b"s3cret";

impl Filter for NoSecret {
    fn data(&mut self, piece: Bytes) -> Result<Bytes, Refusal> {
        self.0.extend_from_slice(&piece);
        if self.0.windows(SECRET.len()).any(|window| window == SECRET) {
            return Err(Refusal::new("secret", "the body holds a secret"));
        }
        let pass = self.0.len().saturating_sub(SECRET.len() - 1);
        Ok(self.0.drain(..pass).collect::<Vec<_>>().into())
    }

    fn end(&mut self) -> Result<Bytes, Refusal> {
        Ok(std::mem::take(&mut self.0).into())
    }
}

struct Guard;

impl Interceptor for Guard {
    fn name(&self) -> &'static str {
        "guard"
    }

    fn request<'a>(&'a self, _: &'a Target, head: &'a mut request::Parts) -> Waiting<'a, Verdict> {
        head.headers.insert("x-added", http::HeaderValue::from_static("1"));
        Box::pin(async { Verdict::Pass(Some(Box::new(NoSecret(Vec::new())))) })
    }
}

#[test]
fn a_filter_holds_back_and_refuses_before_the_last_bytes_are_out() {
    run(async {
        let (listener, address) = listener().await;
        let noted = server(listener, "");
        let mut fake = Fake::new(address);
        fake.interceptors.push(Box::new(Guard));
        let fake = Rc::new(fake);
        let (mut program, served) = open(&fake, "a.example", 80).await;
        program.write_all(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 16\r\n\r\nhello s3c").await.unwrap();
        while !String::from_utf8_lossy(noted.borrow().first().unwrap_or(&Vec::new())).contains("hell") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        program.write_all(b"ret you").await.unwrap();
        let answer = until(&mut program, "the body holds a secret").await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        drop(program);
        served.await.unwrap().unwrap();
        let sent = String::from_utf8(noted.borrow()[0].clone()).unwrap();
        assert!(sent.ends_with("\r\n\r\nhell") && sent.contains("x-added: 1\r\n"), "{sent}");
        let [denied] = &fake.denied()[..] else { panic!("{:?}", fake.said) };
        assert_eq!(denied.reason, "secret");
        let [exchange] = &fake.exchanges()[..] else { panic!("{:?}", fake.said) };
        assert_eq!((exchange.status, exchange.changed.as_slice()), (None, &["guard".to_owned()][..]));
        assert!(!exchange.request.iter().any(|(name, _)| name == "x-added"), "what was added is not recorded");
    });
}

#[test]
fn what_a_filter_held_back_comes_at_the_end() {
    run(async {
        let (listener, address) = listener().await;
        let noted = server(listener, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let mut fake = Fake::new(address);
        fake.interceptors.push(Box::new(Guard));
        let fake = Rc::new(fake);
        let asked = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 8\r\n\r\nhello s3";
        talk(&fake, "a.example", asked).await;
        assert!(String::from_utf8(noted.borrow()[0].clone()).unwrap().ends_with("\r\n\r\nhello s3"));
        assert_eq!(fake.exchanges()[0].sent.bytes, 8);
    });
}

#[test]
fn a_program_is_told_to_go_on_when_its_body_is_wanted() {
    run(async {
        let (listener, address) = listener().await;
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            until(&mut stream, "\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            until(&mut stream, "abc").await;
            stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = until(&mut stream, "\r\n\r\n").await;
            assert!(head.ends_with("\r\n\r\n"), "no body was asked for");
            stream.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        });
        let fake = Rc::new(Fake::new(address));
        let head = b"PUT / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
        let (mut program, served) = open(&fake, "a.example", 80).await;
        program.write_all(head).await.unwrap();
        until(&mut program, "HTTP/1.1 100 Continue\r\n\r\n").await;
        program.write_all(b"abc").await.unwrap();
        until(&mut program, "HTTP/1.1 201 Created\r\n").await;
        drop(program);
        served.await.unwrap().unwrap();
        let (mut program, served) = open(&fake, "a.example", 80).await;
        program.write_all(head).await.unwrap();
        let answer = until(&mut program, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        drop(program);
        served.await.unwrap().unwrap();
    });
}

#[test]
fn events_come_one_by_one() {
    run(async {
        let (listener, address) = listener().await;
        let (go, mut wait) = tokio::sync::mpsc::channel::<()>(1);
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            until(&mut stream, "\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await.unwrap();
            let mut n = 0;
            while wait.recv().await.is_some() {
                n += 1;
                stream.write_all(format!("data: {n}\n\n").as_bytes()).await.unwrap();
            }
        });
        let fake = Rc::new(Fake::new(address));
        let (mut program, served) = open(&fake, "a.example", 80).await;
        program.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
        until(&mut program, "\r\n\r\n").await;
        for n in 1..=5 {
            // The server sends the next one only when this one has been seen.
            go.send(()).await.unwrap();
            until(&mut program, &format!("data: {n}\n\n")).await;
        }
        drop(go);
        until(&mut program, "0\r\n\r\n").await;
        drop(program);
        served.await.unwrap().unwrap();
        assert_eq!(fake.exchanges()[0].error, None);
    });
}

#[test]
fn a_gibibyte_passes_and_little_of_it_is_on_the_way() {
    const WHOLE: u64 = 1024 * 1024 * 1024;
    run(async {
        let (listener, address) = listener().await;
        let given = Rc::new(Cell::new(0u64));
        let giving = Rc::clone(&given);
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            until(&mut stream, "\r\n\r\n").await;
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {WHOLE}\r\n\r\n").as_bytes()).await.unwrap();
            let piece = vec![7; 256 * 1024];
            while giving.get() < WHOLE {
                let most = piece.len().min(usize::try_from(WHOLE - giving.get()).unwrap());
                let written = stream.write(&piece[..most]).await.unwrap();
                giving.set(giving.get() + written as u64);
            }
        });
        let fake = Rc::new(Fake::new(address));
        let (mut program, served) = open(&fake, "a.example", 80).await;
        program.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
        let mut piece = vec![0; 256 * 1024];
        let (mut taken, mut most) = (0u64, 0);
        while taken < WHOLE {
            if taken == 0 {
                // Nobody takes anything: what was given by then is what the way holds.
                let mut before = u64::MAX;
                while before != given.get() {
                    before = given.get();
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                assert!(before > 0);
            }
            taken += program.read(&mut piece).await.unwrap() as u64;
            most = most.max(given.get().saturating_sub(taken));
        }
        // Two pairs of sockets' buffers hold most of it: tcp_wmem and tcp_rmem allow 4 and 6 MiB each.
        assert!(most < 24 * 1024 * 1024, "{most}");
        drop(program);
        served.await.unwrap().unwrap();
        assert_eq!(fake.exchanges()[0].received.bytes, WHOLE);
    });
}
