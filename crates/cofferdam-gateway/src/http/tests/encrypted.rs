//! TLS at both ends, and HTTP/2.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::http::limits::LocalExecutor;

pub(super) fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    roots
}

/// A program's TLS.
pub(super) async fn program(
    stream: TcpStream,
    roots: RootCertStore,
    name: &str,
    alpn: &[&str],
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

/// A server that answers with what it saw, and a trailer.
async fn echo(
    request: Request<Incoming>,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let cookies: Vec<_> = head.headers.get_all("cookie").iter().map(|c| c.to_str().unwrap()).collect();
    let text = format!(
        "{} {:?} {:?} {:?} {}",
        head.method,
        head.uri.to_string(),
        head.headers.get("host"),
        cookies,
        body.len()
    );
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    Ok(Response::new(Full::new(Bytes::from(text)).with_trailers(async move { Some(Ok(trailers)) })))
}

/// A TLS server with a leaf of this authority for `name`.
pub(super) fn serve(listener: TcpListener, authority: &Authority, name: &str, alpn: &[&str]) {
    let mut config = ServerConfig::clone(&Leaves::new(authority).unwrap().of(name).unwrap());
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A gateway that does not trust this server ends the handshake.
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            tokio::task::spawn_local(async move {
                let (io, service) = (TokioIo::new(stream), service_fn(echo));
                // How a connection ends is not what is tested.
                if h2 {
                    drop(hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(io, service).await);
                } else {
                    drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
                }
            });
        }
    });
}

pub(super) type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

pub(super) async fn h2(stream: tokio_rustls::client::TlsStream<TcpStream>) -> Sender {
    let (sender, connection) =
        hyper::client::conn::http2::handshake(LocalExecutor, TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(async move { drop(connection.await) });
    sender
}

#[test]
fn h2_goes_to_h2_and_to_h1_with_trailers_and_cookies() {
    for (server, host, cookies) in
        [("h2", "None", r#"["a=1", "b=2"]"#), ("http/1.1", "Some(\"a.example\")", r#"["a=1; b=2"]"#)]
    {
        run(async {
            let (listener, address) = listener().await;
            let outside = Authority::generate().unwrap();
            serve(listener, &outside, "a.example", &[server]);
            let fake = Rc::new(Fake::trusting(address, roots(&outside)));
            let (stream, served) = open(&fake, "a.example", 443).await;
            let stream = program(stream, roots(&fake.authority), "a.example", &["h2", "http/1.1"]).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let sender = h2(stream).await;
            let ask = |n: usize| {
                let mut sender = sender.clone();
                async move {
                    let body = Full::new(Bytes::from(vec![1; n * 1000]));
                    let request = Request::post(format!("https://a.example/p/{n}?q")).version(Version::HTTP_2);
                    let request = request.header("cookie", "a=1").header("cookie", "b=2").header("te", "trailers");
                    let answer = sender.send_request(request.body(body).unwrap()).await.unwrap();
                    let collected = answer.into_body().collect().await.unwrap();
                    (collected.trailers().cloned(), String::from_utf8(collected.to_bytes().to_vec()).unwrap())
                }
            };
            let answers = tokio::join!(ask(1), ask(2), ask(3));
            for (n, (trailers, text)) in [(1, answers.0), (2, answers.1), (3, answers.2)] {
                let target = if server == "h2" { format!("https://a.example/p/{n}?q") } else { format!("/p/{n}?q") };
                assert_eq!(text, format!("POST {target:?} {host} {cookies} {}", n * 1000));
                // hyper's own server of HTTP/1 sends only trailers that the head announced.
                if server == "h2" {
                    assert_eq!(trailers.unwrap().get("grpc-status").unwrap(), "0");
                }
            }
            drop(sender);
            served.await.unwrap().unwrap();
            assert_eq!(fake.exchanges().len(), 3);
            assert!(fake.exchanges().iter().all(|e| e.version == "HTTP/2" && e.error.is_none()), "{:?}", fake.said);
            if server == "h2" {
                assert_eq!(*fake.dialled.borrow(), 1, "one multiplexed connection");
            }
        });
    }
}

#[test]
fn grpc_is_refused_with_its_own_status_and_connect_cleanly() {
    run(async {
        let (_listener, address) = listener().await;
        let fake = Rc::new(Fake::new(address));
        let (stream, served) = open(&fake, "c.example", 443).await;
        let stream = stream.into_std().unwrap();
        let end = stream.try_clone().unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        let stream = program(stream, roots(&fake.authority), "c.example", &["h2"]).await.unwrap();
        let mut sender = h2(stream).await;
        let request = Request::post("https://c.example/svc/Method").header("content-type", "application/grpc+proto");
        let answer = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["grpc-status"].to_str().unwrap()), (200, "7"));
        let message = answer.headers()["grpc-message"].to_str().unwrap();
        assert!(message.contains("no rule is about this host"), "{message}");
        assert!(message.contains("coffer run --allow c.example --purpose"), "{message}");
        let request = Request::connect("c.example:443").body(Full::default()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 403);
        // This client keeps its connection for the way through that it asked for.
        end.shutdown(std::net::Shutdown::Both).unwrap();
        served.await.unwrap().unwrap();
        assert_eq!(*fake.dialled.borrow(), 0);
        assert_eq!(fake.denied().iter().map(|d| d.scheme.as_str()).collect::<Vec<_>>(), ["https", "https"]);
    });
}

async fn get(stream: TcpStream, fake: &Fake, name: &str) -> String {
    let mut stream = program(stream, roots(&fake.authority), name, &["http/1.1"]).await.unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn a_server_that_does_not_verify_is_a_502_with_the_reason() {
    run(async {
        for (name, trusted, words) in [
            ("a.example", false, "certificate of a.example: signed by an authority that this machine does not trust"),
            ("other.example", true, "certificate of a.example: made out to another name"),
            ("a.example", true, ""),
        ] {
            let (listener, address) = listener().await;
            let outside = Authority::generate().unwrap();
            serve(listener, &outside, name, &["http/1.1"]);
            let known = if trusted { roots(&outside) } else { roots(&Authority::generate().unwrap()) };
            let fake = Rc::new(Fake::trusting(address, known));
            let (stream, served) = open(&fake, "a.example", 443).await;
            let answer = get(stream, &fake, "a.example").await;
            served.await.unwrap().unwrap();
            let [exchange] = &fake.exchanges()[..] else { panic!("{:?}", fake.said) };
            if words.is_empty() {
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                assert_eq!(exchange.error, None);
            } else {
                assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains(words), "{answer}");
                assert_eq!(exchange.error.as_deref(), Some(words));
                assert_eq!(fake.connects()[0].error.as_deref(), Some(words));
            }
        }
    });
}

#[test]
fn a_program_that_does_not_trust_the_run_is_recorded_with_its_alert() {
    run(async {
        let (_listener, address) = listener().await;
        let fake = Rc::new(Fake::new(address));
        let (stream, served) = open(&fake, "a.example", 443).await;
        let other = roots(&Authority::generate().unwrap());
        program(stream, other, "a.example", &[]).await.unwrap_err();
        served.await.unwrap().unwrap();
        let error = fake.connects()[0].error.clone().unwrap();
        assert!(
            error.starts_with("the program does not trust this run's certificate authority (unknown_ca)"),
            "{error}"
        );
        assert_eq!(*fake.dialled.borrow(), 0);
    });
}

#[test]
fn another_name_in_the_client_hello_is_refused_with_words() {
    run(async {
        let (_listener, address) = listener().await;
        let fake = Rc::new(Fake::new(address));
        let (stream, served) = open(&fake, "a.example", 443).await;
        let answer = get(stream, &fake, "b.example").await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("the ClientHello names b.example"), "{answer}");
        served.await.unwrap().unwrap();
        assert_eq!((fake.denied()[0].reason.as_str(), *fake.dialled.borrow()), ("mismatch", 0));
    });
}
