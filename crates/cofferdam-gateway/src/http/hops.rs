//! Fields that are for one connection only (RFC 9110, section 7.6.1).

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

/// For one connection whether or not `Connection` names them.
const OWN: [HeaderName; 3] =
    [CONNECTION, HeaderName::from_static("keep-alive"), HeaderName::from_static("proxy-connection")];
/// Never taken out because `Connection` names them: without them the request would be another one than was judged.
const NEVER: [HeaderName; 5] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TE, UPGRADE];

/// Takes them out of a request, but for what an upgrade needs and `TE: trailers`; gives the protocol that it asks for.
///
/// An upgrade to another form of HTTP or to TLS is not asked for: what came after it would not be judged.
pub(crate) fn of_request(fields: &mut HeaderMap, version: Version) -> Option<String> {
    let named = named(fields);
    let wants = |name: &HeaderName| named.contains(name);
    let upgrade = (version == Version::HTTP_11 && wants(&UPGRADE)).then(|| protocols(fields)).flatten();
    let trailers = fields.get_all(TE).iter().any(|value| tokens(value).any(|token| token == "trailers"));
    take(fields, &named);
    let mut kept = Vec::new();
    if upgrade.is_some() {
        kept.push("Upgrade");
    } else {
        fields.remove(UPGRADE);
        fields.remove("http2-settings");
    }
    fields.remove(TE);
    if trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
        kept.push("TE");
    }
    // HTTP/2 knows no Connection; whoever sends it as HTTP/1.1 names them.
    if version != Version::HTTP_2 && !kept.is_empty() {
        fields.insert(CONNECTION, HeaderValue::from_static(if kept.len() == 2 { "Upgrade, TE" } else { kept[0] }));
    }
    upgrade
}

/// Takes them out of an answer to a program that speaks this version.
pub(crate) fn of_answer(fields: &mut HeaderMap, status: StatusCode, version: Version) {
    let named = named(fields);
    take(fields, &named);
    match status {
        StatusCode::SWITCHING_PROTOCOLS => {
            fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        }
        // It says which protocol would have been right.
        StatusCode::UPGRADE_REQUIRED if version == Version::HTTP_11 => {}
        _ => {
            fields.remove(UPGRADE);
        }
    }
    if version != Version::HTTP_11 {
        fields.remove(TRANSFER_ENCODING);
    }
}

fn take(fields: &mut HeaderMap, named: &[HeaderName]) {
    for name in named.iter().filter(|name| !NEVER.contains(name)).chain(&OWN) {
        fields.remove(name);
    }
}

/// What `Connection` names.
fn named(fields: &HeaderMap) -> Vec<HeaderName> {
    let values = fields.get_all(CONNECTION).iter();
    values.flat_map(tokens).filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok()).collect()
}

/// The protocols that `Upgrade` asks for; none where one of them is HTTP or TLS.
fn protocols(fields: &HeaderMap) -> Option<String> {
    let asked: Vec<String> = fields.get_all(UPGRADE).iter().flat_map(tokens).collect();
    let hidden = |protocol: &String| {
        let name = protocol.split('/').next().unwrap_or_default();
        matches!(name, "http" | "h2" | "h2c" | "h3" | "tls")
    };
    (!asked.is_empty() && !asked.iter().any(hidden)).then(|| asked.join(", "))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = String> + use<> {
    let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let parts: Vec<String> = text.split(',').map(|token| token.trim().to_owned()).collect();
    parts.into_iter().filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_request_keeps_what_is_for_the_server() {
        let mut head = fields(&[
            ("host", "a.example"),
            ("connection", "keep-alive, X-Own, host"),
            ("connection", "content-length"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("x-own", "1"),
            ("x-other", "2"),
            ("te", "gzip"),
            ("content-length", "3"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(of_request(&mut head, Version::HTTP_11), None, "Connection does not name the upgrade");
        assert_eq!(head, fields(&[("host", "a.example"), ("x-other", "2"), ("content-length", "3")]));
    }

    #[test]
    fn upgrades_and_trailers_are_asked_for_on() {
        let mut head =
            fields(&[("connection", "keep-alive, Upgrade, TE"), ("upgrade", "WebSocket"), ("te", "Trailers")]);
        assert_eq!(of_request(&mut head, Version::HTTP_11).as_deref(), Some("websocket"));
        assert_eq!(head, fields(&[("connection", "Upgrade, TE"), ("upgrade", "WebSocket"), ("te", "trailers")]));
        let mut head = fields(&[("te", "trailers")]);
        assert_eq!(of_request(&mut head, Version::HTTP_2), None);
        assert_eq!(head, fields(&[("te", "trailers")]));
    }

    #[test]
    fn an_upgrade_to_what_would_hide_requests_is_not_asked_for() {
        for protocol in ["h2c", "H2C", "HTTP/2.0", "websocket, h2c", "TLS/1.3"] {
            let mut head =
                fields(&[("connection", "Upgrade, HTTP2-Settings"), ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA")]);
            head.insert(UPGRADE, HeaderValue::from_static(protocol));
            assert_eq!(of_request(&mut head, Version::HTTP_11), None, "{protocol}");
            assert!(head.is_empty(), "{protocol}: {head:?}");
        }
    }

    #[test]
    fn an_answer_keeps_what_is_for_the_program() {
        let given =
            [("connection", "close, x-own"), ("x-own", "1"), ("upgrade", "h2c"), ("transfer-encoding", "chunked")];
        let mut head = fields(&given);
        of_answer(&mut head, StatusCode::OK, Version::HTTP_11);
        assert_eq!(head, fields(&[("transfer-encoding", "chunked")]));
        let mut head = fields(&given);
        of_answer(&mut head, StatusCode::OK, Version::HTTP_2);
        assert!(head.is_empty());
        let mut head = fields(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        of_answer(&mut head, StatusCode::SWITCHING_PROTOCOLS, Version::HTTP_11);
        assert_eq!(head, fields(&[("connection", "Upgrade"), ("upgrade", "websocket")]));
    }
}
