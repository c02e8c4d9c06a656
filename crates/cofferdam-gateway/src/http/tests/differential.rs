//! What the decision saw is what the server received: odd but legal requests, and some that are not.

use cofferdam_policy::{NormalPath, Request as Asked, Scheme};

use super::super::fuzz::{judge, strict};
use super::*;
use crate::http::services::Services;

/// Parts of paths that servers read in more ways than one, and that they do not.
const PARTS: &[&str] = &[
    "ok", "ok/", "a", "A", "%41", "%7e", "~", "..", ".", "%2e", "%2E%2e", "%2f", "%5c", "\\", ";x=1", "..;", "*", "@",
    ":", "//", "/", "?", "?a=/../b", "#", "%", "%zz", "%25", "%252e", "é", "%c3%a9", "'", "(", "!", "$&", "+", ",",
    "=", "|", "\"", "{}", "[", "^", "`", "<",
];

fn path(random: &mut fastrand::Rng) -> String {
    let start = ["/ok/", "/ok/x", "/ok/", "/ok", "/", "/no/../ok/", ""][random.usize(..7)];
    let rest: String = (0..random.usize(0..4))
        .map(|_| {
            let slash = if random.bool() { "/" } else { "" };
            format!("{slash}{}", PARTS[random.usize(..PARTS.len())])
        })
        .collect();
    format!("{start}{rest}")
}

#[test]
fn two_thousand_requests_of_http1() {
    let (mut passed, mut refused) = (0, 0);
    for block in 0..20u64 {
        run(async {
            let mut random = fastrand::Rng::with_seed(100 + block);
            let (listener, address) = listener().await;
            let heard = strict(listener);
            let fake = Rc::new(Fake::new(address));
            for _ in 0..100 {
                let method = ["GET", "GET", "GET", "GET", "POST", "get", "HEAD", "OPTIONS", "G!T", "PROPFIND"]
                    [random.usize(..10)];
                let path = path(&mut random);
                let target = match random.u8(..6) {
                    0 => format!("http://b.example{path}"),
                    1 => format!("http://B.Example:80{path}"),
                    2 if random.bool() => format!("http://c.example{path}"),
                    _ => path.clone(),
                };
                let host = [
                    "b.example",
                    "B.EXAMPLE",
                    "b.example:80",
                    "b.example.",
                    "a.example",
                    "b.example:81",
                    " b.example\t",
                ];
                let host = if random.bool() { "b.example" } else { host[random.usize(..host.len())] };
                let more = [
                    "",
                    "",
                    "X: a\r\n",
                    "Connection: x\r\nX: 1\r\n",
                    "Connection: host, close\r\n",
                    "TE: trailers, gzip\r\n",
                    "X-HTTP-Method-Override: DELETE\r\n",
                    "Upgrade: h2c\r\nConnection: upgrade\r\n",
                    "Host: b.example\r\n",
                ];
                let more = more[random.usize(..more.len())];
                let (framing, body) = [
                    ("", ""),
                    ("", ""),
                    ("Content-Length: 3\r\n", "abc"),
                    ("content-length:3\r\n", "abc"),
                    ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
                    ("Transfer-Encoding: Chunked\r\n", "003;q=\"a\"\r\nabc\r\n0\r\nX: t\r\n\r\n"),
                    ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
                ][random.usize(..7)];
                let version = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"][random.usize(..4)];
                let asked = format!("{method} {target} {version}\r\nHost: {host}\r\n{more}{framing}\r\n{body}");
                let before = (heard.borrow().requests.len(), fake.exchanges().len());
                let answer = talk(&fake, "b.example", asked.as_bytes()).await;
                let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
                let heard = heard.borrow();
                assert_eq!(heard.wrong, None, "{asked:?}");
                let new = &heard.requests[before.0..];
                let exchanges = fake.exchanges();
                let decided = &exchanges[before.1..];
                let [received] = new else {
                    assert!(new.is_empty(), "{asked:?}: {new:?}");
                    assert!(["400", "403"].contains(&&*status), "{asked:?}: {answer}");
                    refused += 1;
                    continue;
                };
                passed += 1;
                judge(received);
                let [exchange] = decided else { panic!("{asked:?}: {decided:?}") };
                assert_eq!(exchange.url, format!("http://b.example{}", received.target), "{asked:?}");
                assert_eq!((&*exchange.method, &*received.method), (method, method), "{asked:?}");
                // Nothing was made of the path on the way; what begins at `#` is the client's own.
                let sent = path.split('#').next().unwrap();
                assert_eq!(received.target, sent, "{asked:?}");
                assert_eq!(received.body, if body.is_empty() { &b""[..] } else { b"abc" }, "{asked:?}");
                assert_eq!(exchange.sent.bytes, received.body.len() as u64, "{asked:?}");
            }
        });
    }
    assert!(passed > 100 && refused > 500, "{passed} passed, {refused} refused");
}

#[test]
fn two_thousand_requests_of_http2() {
    use super::encrypted::{h2, program, roots, serve};
    let (mut passed, mut refused) = (0, 0);
    for (block, server) in ["h2", "http/1.1"].into_iter().cycle().take(10).enumerate() {
        run(async {
            let mut random = fastrand::Rng::with_seed(200 + block as u64);
            let (listener, address) = listener().await;
            let outside = Authority::generate().unwrap();
            serve(listener, &outside, "b.example", &[server]);
            let fake = Rc::new(Fake::trusting(address, roots(&outside)));
            let (stream, _served) = open(&fake, "b.example", 443).await;
            let mut sender = h2(program(stream, roots(&fake.authority), "b.example", &["h2"]).await.unwrap()).await;
            let policy = fake.policy();
            let (mut asked, mut let_out) = (0, 0);
            while asked < 200 {
                let path = path(&mut random);
                let authority = ["b.example", "B.example", "b.example:443", "b.example:80", "a.example", "c.example"];
                let authority = authority[random.usize(..6).min(random.usize(..6))];
                let method = ["GET", "GET", "GET", "POST", "HEAD"][random.usize(..5)];
                let mut request = http::Request::builder().method(method).uri(format!("https://{authority}{path}"));
                let host = random.u8(..6);
                if host == 0 {
                    request = request.header("host", ["b.example", "a.example"][random.usize(..2)]);
                }
                // What the client's own library does not let out is no request of HTTP/2.
                let Ok(request) = request.body(http_body_util::Full::default()) else { continue };
                let (sent, named) =
                    (request.uri().path_and_query().unwrap().as_str().to_owned(), request.uri().path().to_owned());
                asked += 1;
                let answer = sender.send_request(request).await.unwrap();
                let status = answer.status().as_u16();
                let text = http_body_util::BodyExt::collect(answer.into_body()).await;
                let text = text.unwrap_or_else(|e| panic!("{method} {sent} {status}: {e}")).to_bytes();
                let text = String::from_utf8_lossy(&text).into_owned();
                if status == 403 || status == 400 {
                    refused += 1;
                    continue;
                }
                assert_eq!(status, 200, "{method} {authority} {sent}: {text}");
                let_out += 1;
                let decision = policy.decide(&Asked {
                    scheme: Scheme::Https,
                    host: "b.example",
                    port: 443,
                    method: Some(method),
                    path: Some(&named),
                    now: cofferdam_core::Timestamp::now(),
                });
                assert!(decision.allowed, "{method} {sent}");
                assert!(NormalPath::of(&named).unwrap().as_str().starts_with("/ok"), "{sent}");
                assert!(authority.eq_ignore_ascii_case("b.example") || authority == "b.example:443", "{authority}");
                let target = if server == "h2" { format!("https://b.example{sent}") } else { sent.clone() };
                // The usual port may go, and the case of the host: it is the same place.
                let same = text.replacen(&format!("//{authority}/"), "//b.example/", 1);
                assert!(
                    same.starts_with(&format!("{method} {target:?} ")) || method == "HEAD",
                    "{method} {authority} {sent}: {text}"
                );
            }
            // Their records follow the ends of the answers: of what was let out, and of nothing else.
            let all = async {
                while fake.exchanges().len() < let_out {
                    tokio::task::yield_now().await
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(5), all).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            assert_eq!(fake.exchanges().len(), let_out);
            passed += let_out;
        });
    }
    assert!(passed > 100 && refused > 300, "{passed} passed, {refused} refused");
}
