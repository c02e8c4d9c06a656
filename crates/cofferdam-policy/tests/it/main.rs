//! Policy files from their text to decisions.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod credentials;
mod decisions;
mod documented;
mod explaining;
mod files;
mod layers;
mod models;
mod rendered;
mod schema;

use cofferdam_core::Timestamp;
use cofferdam_policy::{Layer, LayerKind, Policy, Request, Scheme, Source, parse};

/// 2026-11-25, noon UTC.
const NOON: Timestamp = Timestamp(1_795_608_000_000_000_000);

/// A layer of a text without errors.
fn layer(kind: LayerKind, text: &str) -> Layer {
    let parsed = parse(&Source::new("policy.toml", format!("version = 1\n{text}")), kind);
    assert_eq!(parsed.diagnostics, [], "{text}");
    Layer { rules: parsed.rules }
}

fn policy(text: &str) -> Policy {
    Policy::new([layer(LayerKind::Person, text)])
}

fn request<'a>(scheme: Scheme, host: &'a str, port: u16) -> Request<'a> {
    Request { scheme, host, port, method: None, path: None, now: NOON }
}

fn get<'a>(host: &'a str, path: &'a str) -> Request<'a> {
    Request { method: Some("GET"), path: Some(path), ..request(Scheme::Https, host, 443) }
}
