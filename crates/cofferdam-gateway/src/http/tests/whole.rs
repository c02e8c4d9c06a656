//! Requests that an interceptor wants as a whole.

use std::cell::RefCell;

use bytes::Bytes;
use cofferdam_core::event::{EventKind, NetLookup};
use cofferdam_exchange::{Answer, Awaits, Filter, Onward, Records, Refusal, Request, Target, Verdict, Whole};
use http::{Response, request, response};
use tokio::sync::Notify;

use super::*;

type Does = fn(Bytes) -> Onward;

/// Wants all of each request, and does something with it.
struct Wants {
    does: Does,
    log: Rc<RefCell<Vec<String>>>,
    /// Waited for when a request is there.
    gate: Option<Rc<Notify>>,
}

struct Wanting {
    does: Does,
    log: Rc<RefCell<Vec<String>>>,
    gate: Option<Rc<Notify>>,
}

impl Interceptor for Wants {
    fn name(&self) -> &'static str {
        "wants"
    }

    fn request<'a>(&'a self, _: &'a Target, _: &'a mut request::Parts) -> Waiting<'a, Verdict> {
        let wanting = Wanting { does: self.does, log: Rc::clone(&self.log), gate: self.gate.clone() };
        Box::pin(async { Verdict::Whole(Box::new(wanting)) })
    }
}

fn named(name: &str) -> EventKind {
    EventKind::NetLookup(NetLookup { name: name.to_owned(), allowed: false, purposes: Vec::new() })
}

impl Whole for Wanting {
    fn request<'a>(self: Box<Self>, request: Request<'a>) -> Waiting<'a, Onward> {
        Box::pin(async move {
            self.log.borrow_mut().push(format!("all {} {}", request.body.len(), request.sent.bytes));
            if let Some(gate) = &self.gate {
                gate.notified().await;
            }
            request.records.record(named("asked"), Some(Bytes::from_static(b"text")));
            request.records.settled().await.unwrap();
            match (self.does)(request.body) {
                Onward::Pass { body, .. } => {
                    let awaits = Waits { log: Rc::clone(&self.log), records: request.records, is_told: false };
                    Onward::Pass { body, awaits: Some(Box::new(awaits)) }
                }
                other => other,
            }
        })
    }

    fn refused(&self, refusal: &Refusal) -> Option<Box<Answer>> {
        Some(own(&refusal.reason))
    }
}

fn own(text: &str) -> Box<Answer> {
    let head = Response::builder().status(403).body(()).unwrap().into_parts().0;
    Box::new(Answer { head, body: Bytes::from(format!("in its own form: {text}")) })
}

/// Notes what becomes of a request.
struct Waits {
    log: Rc<RefCell<Vec<String>>>,
    records: Rc<dyn Records>,
    is_told: bool,
}

impl Waits {
    fn note(&mut self, what: &str) {
        self.is_told = true;
        self.log.borrow_mut().push(what.to_owned());
        self.records.record(named(what), None);
    }
}

impl Awaits for Waits {
    fn answer(mut self: Box<Self>, head: &mut response::Parts) -> Option<Box<dyn Filter>> {
        self.note(&format!("answered {}", head.status.as_u16()));
        Some(Box::new(Sees(self, false)))
    }

    fn unsent(mut self: Box<Self>) {
        self.note("unsent");
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if !self.is_told {
            self.note("no answer");
        }
    }
}

struct Sees(Box<Waits>, bool);

impl Filter for Sees {
    fn data(&mut self, piece: Bytes) -> Result<Bytes, Refusal> {
        Ok(piece)
    }

    fn end(&mut self) -> Result<Bytes, Refusal> {
        self.1 = true;
        self.0.note("over");
        Ok(Bytes::new())
    }
}

impl Drop for Sees {
    fn drop(&mut self) {
        if !self.1 {
            self.0.note("broke off");
        }
    }
}

/// A gateway with such an interceptor, and what it notes.
fn wanting(
    outside: std::net::SocketAddr,
    does: Does,
    gate: Option<Rc<Notify>>,
) -> (Rc<Fake>, Rc<RefCell<Vec<String>>>) {
    let log: Rc<RefCell<Vec<String>>> = Rc::default();
    let mut fake = Fake::new(outside);
    fake.interceptors.push(Box::new(Wants { does, log: Rc::clone(&log), gate }));
    (Rc::new(fake), log)
}

const UNCHANGED: Does = |_| Onward::Pass { body: None, awaits: None };
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The names of what was recorded, in order, and the exchange's place among them.
fn recorded(fake: &Fake) -> Vec<String> {
    let said = fake.said.borrow();
    let name = |say: &Say| match say {
        Say::Record { what, kept, .. } => match &**what {
            EventKind::NetLookup(lookup) => Some(format!("{}{}", lookup.name, if kept.text { "+text" } else { "" })),
            EventKind::HttpExchange(_) => Some("exchange".to_owned()),
            _ => None,
        },
        _ => None,
    };
    said.iter().filter_map(name).collect()
}

#[test]
fn nothing_leaves_before_all_of_a_request_is_there_and_recorded() {
    run(async {
        let (listener, address) = listener().await;
        let noted = server(listener, OK);
        let (fake, log) = wanting(address, UNCHANGED, None);
        let (mut program, served) = open(&fake, "a.example", 80).await;
        program.write_all(b"POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nfirst").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(noted.borrow().is_empty() && log.borrow().is_empty() && *fake.dialled.borrow() == 0);
        program.write_all(b"-last").await.unwrap();
        until(&mut program, "\r\n\r\nok").await;
        drop(program);
        served.await.unwrap().unwrap();
        let sent = String::from_utf8(noted.borrow()[0].clone()).unwrap();
        assert!(sent.ends_with("\r\n\r\nfirst-last") && sent.to_lowercase().contains("content-length: 10"), "{sent}");
        assert_eq!(*log.borrow(), ["all 10 10", "answered 200", "over"]);
        assert_eq!(recorded(&fake), ["asked+text", "answered 200", "over", "exchange"]);
        let [exchange] = &fake.exchanges()[..] else { panic!("{:?}", fake.said) };
        assert_eq!((exchange.sent.bytes, exchange.sent.digest.is_some(), exchange.changed.len()), (10, true, 0));
    });
}

#[test]
fn a_body_that_is_another_one_has_its_own_length() {
    run(async {
        let (listener, address) = listener().await;
        let noted = server(listener, OK);
        let does: Does = |body| Onward::Pass {
            body: Some(vec![body.slice(..2), Bytes::from_static(b"--"), Bytes::new(), body.slice(2..)]),
            awaits: None,
        };
        let (fake, _) = wanting(address, does, None);
        let framings =
            ["Content-Length: 4\r\n\r\nabcd", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"];
        for framing in framings {
            let asked = format!("POST / HTTP/1.1\r\nHost: a.example\r\n{framing}");
            let answer = talk(&fake, "a.example", asked.as_bytes()).await;
            assert!(answer.ends_with("ok"), "{answer}");
        }
        for sent in noted.borrow().iter() {
            let sent = String::from_utf8(sent.clone()).unwrap().to_lowercase();
            assert!(sent.ends_with("\r\n\r\nab--cd") && sent.contains("content-length: 6\r\n"), "{sent}");
            assert!(!sent.contains("chunked"), "{sent}");
        }
        for exchange in fake.exchanges() {
            assert_eq!((exchange.sent.bytes, &exchange.changed[..]), (4, &["wants".to_owned()][..]), "what came");
        }
    });
}

#[test]
fn a_refusal_is_said_as_its_program_understands_it() {
    run(async {
        let (listener, address) = listener().await;
        let noted = server(listener, OK);
        let does: Does = |_| Onward::Refuse(Refusal::new("budget", "no more"), Some(own("budget")));
        let (fake, log) = wanting(address, does, None);
        let answer =
            talk(&fake, "a.example", b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nab").await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("x-cofferdam: denied"), "{answer}");
        assert!(answer.ends_with("in its own form: budget"), "{answer}");
        // Larger than there is ever room for: refused by what it announces.
        let asked = format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", (40 << 20) + 1);
        let answer = talk(&fake, "a.example", asked.as_bytes()).await;
        assert!(answer.ends_with("in its own form: too-large"), "{answer}");
        let reasons: Vec<String> = fake.denied().into_iter().map(|denied| denied.reason).collect();
        assert_eq!(reasons, ["budget", "too-large"]);
        assert!(noted.borrow().is_empty() && *fake.dialled.borrow() == 0);
        assert_eq!(*log.borrow(), ["all 2 2"]);
    });
}

#[test]
fn who_waits_for_an_answer_learns_that_none_came_or_that_it_broke_off() {
    run(async {
        let asked = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nab";
        for (answer, last) in [
            ("", "no answer"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "broke off"),
            ("HTTP/1.1 204 No Content\r\n\r\n", "over"),
        ] {
            let (listener, address) = listener().await;
            tokio::task::spawn_local(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                until(&mut stream, "\r\n\r\nab").await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
            let (fake, log) = wanting(address, UNCHANGED, None);
            talk(&fake, "a.example", asked).await;
            assert_eq!(log.borrow().last().map(String::as_str), Some(last), "{:?}", log.borrow());
            let recorded = recorded(&fake);
            assert_eq!(recorded[recorded.len() - 2..], [last.to_owned(), "exchange".to_owned()], "{recorded:?}");
        }
    });
}

#[test]
fn whoever_does_not_fit_waits() {
    run(async {
        let (listener, address) = listener().await;
        let _noted = server(listener, OK);
        let gate = Rc::new(Notify::new());
        let (fake, log) = wanting(address, UNCHANGED, Some(Rc::clone(&gate)));
        let size = 30 << 20;
        let mut programs = Vec::new();
        for _ in 0..2 {
            let (mut program, served) = open(&fake, "a.example", 80).await;
            let asking = tokio::task::spawn_local(async move {
                let head = format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {size}\r\n\r\n");
                program.write_all(head.as_bytes()).await.unwrap();
                program.write_all(&vec![b'x'; size]).await.unwrap();
                until(&mut program, "\r\n\r\nok").await;
            });
            programs.push((asking, served));
        }
        while log.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(log.borrow().len(), 1, "{:?}", log.borrow());
        gate.notify_one();
        while log.borrow().iter().filter(|line| line.starts_with("all")).count() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gate.notify_one();
        for (asking, served) in programs {
            asking.await.unwrap();
            served.await.unwrap().unwrap();
        }
    });
}
