//! Whether a request says that it is for where its connection goes. A server that goes by another name than the one that
//! was judged would answer for a host that no rule allows.

use cofferdam_policy::host::{Host, split_port};
use http::{Method, Version, header, request};

use crate::Place;

/// Why a request is for nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Astray {
    /// It can be read in more than one way, or not at all: it is answered with 400.
    #[error("the request {0}")]
    Malformed(&'static str),
    /// It is for another host or port, or wants what the gateway does not do: it is refused.
    #[error("{0}")]
    Mismatch(String),
    /// A method that makes a way through instead of a request.
    #[error("{0} is not passed on: the gateway needs no proxy, ask the server itself")]
    Method(Method),
}

/// Checks a request's head: the target's form, one `Host`, and that `Host`, authority and scheme agree with the place.
///
/// # Errors
/// Where they do not.
pub(crate) fn check(head: &request::Parts, place: &Place, tls: bool) -> Result<(), Astray> {
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Astray::Method(head.method.clone()));
    }
    // CONNECT's form (`host:port`), for any other method a malformed target.
    if head.uri.path_and_query().is_none() {
        return Err(Astray::Malformed("has no path"));
    }
    let path = head.uri.path();
    let is_server = path == "*" && head.method == Method::OPTIONS;
    if !(path.starts_with('/') || is_server) {
        return Err(Astray::Malformed("has a path that does not begin with `/`"));
    }
    let scheme = if tls { "https" } else { "http" };
    if head.uri.scheme_str().is_some_and(|given| given != scheme) {
        return Err(Astray::Mismatch(format!(
            "the request is for {}, its connection is {scheme}",
            head.uri.scheme_str().unwrap_or_default()
        )));
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = match hosts.next() {
        None => None,
        Some(host) => Some(host.to_str().map_err(|_| Astray::Malformed("has a Host that is not ASCII"))?),
    };
    if hosts.next().is_some() {
        return Err(Astray::Malformed("has more than one Host"));
    }
    let target = head.uri.authority().map(http::uri::Authority::as_str);
    // RFC 9112, section 3.2: HTTP/1.1 must have one, even with an absolute target.
    if host.is_none() && (head.version == Version::HTTP_11 || target.is_none() && head.version == Version::HTTP_2) {
        return Err(Astray::Malformed("has no Host"));
    }
    for (field, text) in [("target", target), ("Host", host)] {
        if let Some(text) = text {
            agrees(field, text, place, tls)?;
        }
    }
    Ok(())
}

fn agrees(field: &str, text: &str, place: &Place, tls: bool) -> Result<(), Astray> {
    if text.contains('@') {
        return Err(Astray::Malformed("holds a user's name before the host"));
    }
    let usual = if tls { 443 } else { 80 };
    let named = split_port(text).and_then(|(host, port)| Ok((Host::parse(host)?.to_string(), port.unwrap_or(usual))));
    match named {
        Ok((host, port)) if host == place.host && port == place.port => Ok(()),
        _ => Err(Astray::Mismatch(format!(
            "the request's {field} is {}, its connection goes to {}:{}",
            text.escape_debug(),
            place.host,
            place.port
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, target: &str, version: Version, hosts: &[&str]) -> request::Parts {
        let mut request = http::Request::builder().method(method).uri(target).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_a_request_says_of_its_destination_must_agree() {
        let place = Place { host: "a.example".to_owned(), port: 443 };
        let other = Place { host: "2001:db8::1".to_owned(), port: 8443 };
        let (h1, h2, old) = (Version::HTTP_11, Version::HTTP_2, Version::HTTP_10);
        type Case<'a> = (&'a Place, &'a str, &'a str, Version, &'a [&'a str], &'a str);
        let cases: &[Case<'_>] = &[
            (&place, "GET", "/", h1, &["a.example"], "ok"),
            (&place, "GET", "/", h1, &["A.Example."], "ok"),
            (&place, "GET", "/", h1, &["a.example:443"], "ok"),
            (&place, "OPTIONS", "*", h1, &["a.example"], "ok"),
            (&place, "GET", "https://a.example/x", h1, &["a.example"], "ok"),
            (&place, "GET", "https://a.example/x", h2, &[], "ok"),
            (&place, "GET", "/", old, &[], "ok"),
            (&other, "GET", "/", h1, &["[2001:db8::1]:8443"], "ok"),
            (&other, "GET", "/", h1, &["[2001:db8:0::1]:8443"], "ok"),
            (&other, "GET", "/", h1, &["[2001:db8::1]"], "mismatch"),
            (&place, "GET", "/", h1, &["b.example"], "mismatch"),
            (&place, "GET", "/", h1, &["a.example:80"], "mismatch"),
            (&place, "GET", "/", h1, &[""], "mismatch"),
            (&place, "GET", "/", h1, &["a.example, b.example"], "mismatch"),
            (&place, "GET", "/", h1, &["a.example/../b.example"], "mismatch"),
            (&place, "GET", "http://a.example/x", h1, &["a.example"], "mismatch"),
            (&place, "GET", "https://b.example/x", h1, &["a.example"], "mismatch"),
            (&place, "GET", "https://a.example/x", h2, &["b.example"], "mismatch"),
            (&place, "GET", "https://u@a.example/x", h1, &["a.example"], "malformed"),
            (&place, "GET", "/", h1, &[], "malformed"),
            (&place, "GET", "/", h1, &["a.example", "a.example"], "malformed"),
            (&place, "GET", "*", h1, &["a.example"], "malformed"),
            (&place, "GET", "a.example:443", h1, &["a.example"], "malformed"),
            (&place, "CONNECT", "a.example:443", h1, &["a.example"], "method"),
            (&place, "TRACE", "/", h1, &["a.example"], "method"),
        ];
        for (place, method, target, version, hosts, expected) in cases {
            let found = match check(&head(method, target, *version, hosts), place, true) {
                Ok(()) => "ok",
                Err(Astray::Malformed(_)) => "malformed",
                Err(Astray::Mismatch(_)) => "mismatch",
                Err(Astray::Method(_)) => "method",
            };
            assert_eq!(found, *expected, "{method} {target} {hosts:?}");
        }
    }
}
