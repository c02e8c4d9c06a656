//! What several unit tests need.

use cofferdam_policy::{LayerKind, Rule, Source, parse};

/// The rules of a policy's text, as a person's file has them.
pub(crate) fn rules(text: &str) -> Vec<Rule> {
    let parsed = parse(&Source::new("/policy.toml", format!("version = 1\n{text}")), LayerKind::Person);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    parsed.rules
}

/// The only rule of a host, with more keys.
pub(crate) fn rule(host: &str, more: &str) -> Rule {
    rules(&format!("[[network.allow]]\nhost = \"{host}\"\npurpose = \"a test\"\n{more}\n")).remove(0)
}
