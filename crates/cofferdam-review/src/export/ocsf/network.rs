//! Network Activity (4001), HTTP Activity (4002) and DNS Activity (4003), with the profile for security controls: what
//! policy allowed and denied.

use std::net::IpAddr;

use cofferdam_core::Timestamp;
use cofferdam_core::event::{HttpExchange, NetConnect, NetDenied, NetLookup, RuleRef};
use cofferdam_policy::Target;
use serde_json::{Map, Value, json};

use super::super::text::text;
use super::{Classified, INFORMATIONAL, LOW, MEDIUM, Mapping, milliseconds};

/// `action_id` and `disposition_id` of the profile (profiles/security_control.json).
const ALLOWED: (u64, u64) = (1, 1);
const DENIED: (u64, u64) = (2, 2);
/// Observed, and logged.
const OBSERVED: (u64, u64) = (3, 17);
/// `status_id`.
const SUCCESS: u64 = 1;
const FAILURE: u64 = 2;
/// `direction_id` of what goes out.
const OUTBOUND: u64 = 2;
/// Methods with an activity of their own (events/network/http_activity.json).
const METHODS: &[(&str, u64, &str)] = &[
    ("CONNECT", 1, "Connect"),
    ("DELETE", 2, "Delete"),
    ("GET", 3, "Get"),
    ("HEAD", 4, "Head"),
    ("OPTIONS", 5, "Options"),
    ("POST", 6, "Post"),
    ("PUT", 7, "Put"),
    ("TRACE", 8, "Trace"),
    ("PATCH", 9, "Patch"),
];

/// What an event of this category says beside its class.
struct Said {
    class: (u64, &'static str),
    activity: (u64, String),
    outcome: (u64, u64),
    severity: u64,
    message: String,
}

impl Mapping<'_> {
    /// `net.connect`, which is written at its end.
    pub(super) fn connected(&self, time: Timestamp, cause: Option<u64>, connect: &NetConnect) -> Classified {
        let activity = match (&connect.error, &connect.address) {
            (Some(_), None) => (4, "Fail"),
            _ => (2, "Close"),
        };
        let mut said = self.network(
            cause,
            Said {
                class: (4001, "Network Activity"),
                activity: (activity.0, activity.1.to_owned()),
                outcome: ALLOWED,
                severity: INFORMATIONAL,
                message: format!("connection to {}:{}", connect.host, connect.port),
            },
        );
        let mut place = endpoint(&connect.host, Some(connect.port));
        if let Some(address) = connect.address.as_ref().and_then(|a| a.parse::<std::net::SocketAddr>().ok()) {
            place["ip"] = address.ip().to_string().into();
        }
        said.put("dst_endpoint", place);
        said.put("connection_info", connection(6, Some(connect.connection)));
        said.put(
            "traffic",
            json!({
                "bytes_out": connect.sent,
                "bytes_in": connect.received,
                "bytes": connect.sent.saturating_add(connect.received),
            }),
        );
        said.lasted(time, connect.milliseconds);
        said.ended(connect.error.as_deref());
        said.rule(connect.rule.as_ref(), &connect.purpose);
        said.put("unmapped", json!({"mediation": connect.mediation, "exchanges": connect.exchanges}));
        said
    }

    /// `net.denied`: of a request, or of a connection or datagram.
    pub(super) fn denied(&self, cause: Option<u64>, denied: &NetDenied) -> Classified {
        // What would have carried something out that must not leave.
        let alert = matches!(denied.reason.as_str(), "secret" | "credential-shaped" | "tripwire");
        let (class, activity) = match &denied.method {
            Some(method) => ((4002, "HTTP Activity"), activity_of(method)),
            None => ((4001, "Network Activity"), (5, "Refuse".to_owned())),
        };
        let message = format!("denied {}:{}: {}", denied.host, denied.port, denied.detail);
        let severity = if alert { MEDIUM } else { LOW };
        let mut said = self.network(cause, Said { class, activity, outcome: DENIED, severity, message });
        said.put("is_alert", alert.into());
        said.put("dst_endpoint", endpoint(&denied.host, Some(denied.port)));
        said.put("connection_info", connection(if denied.scheme == "udp" { 17 } else { 6 }, denied.connection));
        if let Some(method) = &denied.method {
            let mut request = json!({"http_method": method});
            if let Some(path) = &denied.path {
                request["url"] = json!({
                    "scheme": denied.scheme, "hostname": denied.host, "port": denied.port, "path": path,
                });
            }
            said.put("http_request", request);
        }
        said.put("status_id", FAILURE.into());
        said.put("status_code", denied.reason.clone().into());
        said.put("status_detail", denied.detail.clone().into());
        said.rule(denied.rule.as_ref(), "");
        if let Some(allow) = &denied.allow {
            said.put("unmapped", json!({"allow": allow}));
        }
        said
    }

    /// `http.exchange`, which is written at the answer's end.
    pub(super) fn exchanged(&self, time: Timestamp, cause: Option<u64>, exchange: &HttpExchange) -> Classified {
        let mut said = self.network(
            cause,
            Said {
                class: (4002, "HTTP Activity"),
                activity: activity_of(&exchange.method),
                outcome: ALLOWED,
                severity: INFORMATIONAL,
                message: format!("{} {}", exchange.method, exchange.url),
            },
        );
        let mut url = json!({"url_string": exchange.url});
        let target = Target::parse(&exchange.url);
        if let Ok(target) = &target {
            let (path, query) = match target.path.unwrap_or("/").split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (target.path.unwrap_or("/"), None),
            };
            url["scheme"] = target.scheme.as_str().into();
            url["hostname"] = target.host.into();
            url["port"] = target.port.into();
            url["path"] = path.into();
            if let Some(query) = query {
                url["query_string"] = query.into();
            }
        }
        said.put(
            "dst_endpoint",
            match &target {
                Ok(target) => endpoint(target.host, Some(target.port)),
                Err(_) => json!({"name": exchange.url}),
            },
        );
        said.put("connection_info", connection(6, Some(exchange.connection)));
        said.put(
            "http_request",
            json!({
                "http_method": exchange.method,
                "url": url,
                "version": exchange.version,
                "http_headers": headers(&exchange.request),
                "body_length": exchange.sent.bytes,
            }),
        );
        if let Some(status) = exchange.status {
            said.put(
                "http_response",
                json!({
                    "code": status,
                    "http_headers": headers(&exchange.response),
                    "body_length": exchange.received.bytes,
                    "latency": exchange.answered.map(|microseconds| microseconds / 1000),
                }),
            );
            said.put("http_status", status.into());
        }
        said.lasted(time, exchange.microseconds / 1000);
        said.ended(exchange.error.as_deref());
        said.rule(Some(&exchange.rule), &exchange.purpose);
        said.put(
            "unmapped",
            json!({
                "sent": exchange.sent, "received": exchange.received, "upgrade": exchange.upgrade,
                "changed": exchange.changed,
            }),
        );
        said
    }

    /// `net.lookup`: answered by the enclosure's own resolver, allowed or not.
    pub(super) fn looked_up(&self, cause: Option<u64>, lookup: &NetLookup) -> Classified {
        let mut said = self.network(
            cause,
            Said {
                class: (4003, "DNS Activity"),
                activity: (1, "Query".to_owned()),
                outcome: if lookup.allowed { ALLOWED } else { OBSERVED },
                severity: INFORMATIONAL,
                message: format!("look-up of {}", lookup.name),
            },
        );
        said.put("query", json!({"hostname": lookup.name}));
        said.put("dst_endpoint", json!({"svc_name": "dns", "name": "the enclosure's resolver", "port": 53}));
        said.put("unmapped", json!({"purposes": lookup.purposes}));
        said
    }

    fn network(&self, cause: Option<u64>, said: Said) -> Classified {
        let process = cause.and_then(|cause| self.commands.get(&cause));
        let mut fields = Map::new();
        fields.insert("actor".into(), self.actor(process));
        fields.insert("device".into(), self.device());
        fields.insert("src_endpoint".into(), json!({"hostname": self.summary.started.host}));
        fields.insert("action_id".into(), said.outcome.0.into());
        fields.insert("disposition_id".into(), said.outcome.1.into());
        Classified {
            category: 4,
            class: said.class,
            activity: said.activity,
            severity: said.severity,
            message: said.message,
            profiles: &["host", "security_control"],
            fields,
        }
    }
}

impl Classified {
    fn put(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    fn lasted(&mut self, end: Timestamp, duration: u64) {
        let end = milliseconds(end);
        self.put("end_time", end.into());
        self.put("start_time", end.saturating_sub_unsigned(duration).into());
        self.put("duration", duration.into());
    }

    fn ended(&mut self, error: Option<&str>) {
        self.put("status_id", if error.is_some() { FAILURE } else { SUCCESS }.into());
        if let Some(error) = error {
            self.put("status_detail", error.into());
        }
    }

    fn rule(&mut self, rule: Option<&RuleRef>, purpose: &str) {
        let Some(rule) = rule else { return };
        let file = rule.file.as_ref().map(|file| text(&file.0));
        let place = format!("{}:{}", file.as_deref().unwrap_or(&rule.layer), rule.line);
        let mut all = json!({"name": rule.name.as_ref().unwrap_or(&place), "uid": place, "category": rule.layer});
        if !purpose.is_empty() {
            all["desc"] = purpose.into();
        }
        self.put("firewall_rule", all);
    }
}

/// A host by its address where it is one, else by its name.
fn endpoint(host: &str, port: Option<u16>) -> Value {
    let key = if host.parse::<IpAddr>().is_ok() { "ip" } else { "hostname" };
    json!({key: host, "port": port})
}

/// What is known of a connection by the protocol's number (IANA) and ours.
fn connection(protocol: u64, number: Option<u64>) -> Value {
    let name = if protocol == 17 { "udp" } else { "tcp" };
    let mut all = json!({"direction_id": OUTBOUND, "protocol_num": protocol, "protocol_name": name});
    if let Some(number) = number {
        all["uid"] = number.to_string().into();
    }
    all
}

fn activity_of(method: &str) -> (u64, String) {
    let known = METHODS.iter().find(|(name, ..)| *name == method);
    known.map_or_else(|| (99, method.to_owned()), |(_, id, caption)| (*id, (*caption).to_owned()))
}

fn headers(fields: &[(String, String)]) -> Vec<Value> {
    fields.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}
