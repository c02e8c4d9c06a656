//! The methods of HTTP that a rule may name.

/// The IANA registry of HTTP methods (RFC 9110, section 16.1) without `PRI` and `*`, which no request has, and `QUERY`.
#[rustfmt::skip]
pub const KNOWN: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY", "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN",
    "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE",
    "ORDERPATCH", "PROPFIND", "PROPPATCH", "REBIND", "REPORT", "SEARCH", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE",
    "UPDATEREDIRECTREF", "VERSION-CONTROL",
];
