//! The host's own way out, where it has one: everything goes by its proxy (`CONNECT` of RFC 9110, section 9.3.6, or SOCKS
//! 5 of RFC 1928).

use std::io;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::{ConnectError, Outgoing, dial};
use crate::Place;
use crate::error::GatewayError;

/// What is sent by a proxy.
pub(super) struct Proxy(Matcher);

/// A proxy that takes one place.
pub(super) struct Way(Intercept);

impl Proxy {
    /// From `https_proxy=…`, `http_proxy=…`, `all_proxy=…` and `no_proxy=…`; `None` where none of the first three is
    /// given.
    ///
    /// # Errors
    /// Where a value names no proxy: going without would be against the host's configuration.
    pub(super) fn new(variables: &[String]) -> Result<Option<Proxy>, GatewayError> {
        let mut builder = Matcher::builder();
        let mut any = false;
        for variable in variables {
            let Some((name, value)) = variable.split_once('=') else { continue };
            if value.is_empty() {
                continue;
            }
            let value = value.to_owned();
            match name {
                "no_proxy" => {
                    builder = builder.no(value);
                    continue;
                }
                "https_proxy" | "http_proxy" | "all_proxy" => {}
                _ => continue,
            }
            let alone = Matcher::builder().all(value.clone()).build();
            let problem = match alone.intercept(&Uri::from_static("https://checked/")) {
                None => Some("it is no URL"),
                Some(proxy) => match proxy.uri().scheme_str() {
                    Some("http" | "socks5" | "socks5h") => None,
                    _ => Some("only http://, socks5:// and socks5h:// proxies are supported"),
                },
            };
            if let Some(problem) = problem {
                return Err(GatewayError::Proxy { variable: name.to_owned(), problem });
            }
            any = true;
            builder = match name {
                "https_proxy" => builder.https(value),
                "http_proxy" => builder.http(value),
                _ => builder.all(value),
            };
        }
        Ok(any.then(|| Proxy(builder.build())))
    }

    /// The proxy for a place, where it is not excepted. Port 80 stands for HTTP; anything else takes the proxy of HTTPS,
    /// which is the one that passes bytes on unread.
    pub(super) fn way(&self, place: &Place) -> Option<Way> {
        let scheme = if place.port == 80 { "http" } else { "https" };
        self.0.intercept(&dial::uri(scheme, &place.host, place.port).ok()?).map(Way)
    }
}

impl Way {
    /// Has the proxy connect to a place. Its own address is not checked: the host's configuration names it.
    pub(super) async fn connect(&self, place: &Place) -> Result<Outgoing, ConnectError> {
        let mut connector = HttpConnector::new();
        dial::prepare(&mut connector);
        let to = dial::uri("https", &place.host, place.port)?;
        let proxy = self.0.uri().clone();
        let stream: TokioIo<TcpStream> = if proxy.scheme_str() == Some("http") {
            let mut tunnel = Tunnel::new(proxy, connector);
            if let Some(authorization) = self.0.basic_auth() {
                tunnel = tunnel.with_auth(authorization.clone());
            }
            tunnel.call(to).await.map_err(|e| said(&e))?
        } else {
            let mut socks = SocksV5::new(proxy, connector);
            if let Some((user, password)) = self.0.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            socks.call(to).await.map_err(|e| said(&e))?
        };
        let stream = stream.into_inner();
        let address = stream.peer_addr().map_err(ConnectError::Io)?;
        Ok(Outgoing { stream, address })
    }
}

/// A proxy's error with all its causes.
fn said(error: &(dyn std::error::Error + 'static)) -> ConnectError {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        words.push_str(&format!(": {e}"));
        if e.downcast_ref::<io::Error>().is_some() {
            break;
        }
        source = e.source();
    }
    ConnectError::Proxy(words)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::Outside;
    use super::*;
    use crate::testing::rule;

    /// A proxy that takes one connection: what it was sent until the empty line, and its answer.
    async fn one(listener: TcpListener, answer: &'static str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    }

    #[tokio::test]
    async fn names_go_to_the_proxy_and_exceptions_do_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = [format!("https_proxy=http://Aladdin:opensesame@{address}"), "no_proxy=in.example".to_owned()];
        let outside = Outside::new(&settings).unwrap();
        let place = |host: &str| Place { host: host.to_owned(), port: 22 };
        let ssh = rule("no-such-name.example", "port = 22");
        let to = place("no-such-name.example");
        let (outgoing, head) =
            tokio::join!(outside.connect(&to, &ssh), one(listener, "HTTP/1.1 200 Go\r\n\r\nSSH-2.0"));
        let mut outgoing = outgoing.unwrap();
        assert_eq!(outgoing.address, address);
        assert!(head.starts_with("CONNECT no-such-name.example:22 HTTP/1.1\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic qwxhzgrpbjpvcgvuc2vzyw1l"), "{head}");
        let _ = outgoing.stream.shutdown().await;
        let proxy = outside.proxy.as_ref().unwrap();
        assert!(proxy.way(&place("a.in.example")).is_none());
        assert!(proxy.way(&Place { host: "a.example".to_owned(), port: 80 }).is_none(), "only https_proxy is given");
        // An address is checked even so.
        let error = outside.connect(&place("10.1.1.1"), &rule("a.example", "port = 22")).await.unwrap_err();
        assert!(matches!(error, ConnectError::Forbidden(_)));
    }

    #[tokio::test]
    async fn a_proxys_refusal_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outside = Outside::new(&[format!("all_proxy={}", listener.local_addr().unwrap())]).unwrap();
        let place = Place { host: "a.example".to_owned(), port: 443 };
        let own = rule("a.example", "");
        let (outgoing, _) = tokio::join!(outside.connect(&place, &own), one(listener, "HTTP/1.1 407 No\r\n\r\n"));
        let error = outgoing.unwrap_err().to_string();
        assert!(error.contains("proxy authorization required"), "{error}");
    }

    #[test]
    fn what_is_no_proxy_is_an_error_that_hides_the_value() {
        let error = |text: &str| Proxy::new(&[text.to_owned()]).err().map(|e| e.to_string());
        assert!(error("https_proxy=https://u:secret@p.example").unwrap().contains("only http://"));
        assert!(!error("https_proxy=https://u:secret@p.example").unwrap().contains("secret"));
        assert!(error("all_proxy=:::").unwrap().contains("no URL"));
        assert_eq!(error("all_proxy="), None);
        assert!(Proxy::new(&["no_proxy=*".to_owned()]).unwrap().is_none());
    }
}
