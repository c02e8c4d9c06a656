//! From a file's text to rules: one pass that finds everything that is wrong, not only the first.

mod credential;
mod models;
mod packages;
mod rule;
mod tripwires;
mod walk;

use std::collections::HashMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::credential::Credential;
use crate::diagnostic::{Class, Diagnostic};
use crate::models::ModelRules;
use crate::packages::Ecosystem;
use crate::rule::{LayerKind, Rule};
use crate::source::Source;
use walk::Walk;
pub(crate) use walk::nearest;

/// The version of the file's form that this program reads.
pub const VERSION: i64 = 1;

/// A file, read.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The rules that are in order. Where there are errors they are not all, and none of them may count.
    pub rules: Vec<Rule>,
    /// The credentials that are in order; none of any layer but the person's.
    pub credentials: Vec<Credential>,
    /// Whose registries a run may reach while it resolves.
    pub registries: Vec<Ecosystem>,
    /// What is said of models.
    pub models: ModelRules,
    /// Whether decoys are to stand in the homes of runs, where the file says so; the person's alone can.
    pub tripwires: Option<bool>,
    /// Everything that is wrong, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a policy file's text as a layer.
pub fn parse(source: &Source, layer: LayerKind) -> Parsed {
    let (document, syntax) = DeTable::parse_recoverable(&source.text);
    let mut walk = Walk::new(source);
    let known: &[&str] = match layer {
        LayerKind::Person => &["version", "network", "packages", "models", "credential", "tripwires"],
        // A project does not choose how its runs are watched.
        _ => &["version", "network", "packages", "models", "credential"],
    };
    walk.known(document.get_ref(), known, "a policy file");
    version(&mut walk, document.get_ref());
    let rules = rules(&mut walk, document.get_ref(), layer);
    let credentials = credential::credentials(&mut walk, document.get_ref(), layer);
    let registries = packages::registries(&mut walk, document.get_ref());
    let models = models::models(&mut walk, document.get_ref(), layer);
    let tripwires = match layer {
        LayerKind::Person => tripwires::enabled(&mut walk, document.get_ref()),
        _ => None,
    };
    let mut diagnostics = walk.found;
    if !syntax.is_empty() {
        // What does not read leaves holes: only what stands there can be wrong.
        diagnostics.retain(|d| d.class == Class::UnknownKey);
        diagnostics.extend(syntax.iter().map(|error| {
            let span = error.span().unwrap_or(source.text.len()..source.text.len());
            let word = source.text.get(span.clone()).unwrap_or_default();
            let label = if word.is_empty() { "here" } else { "this" };
            Diagnostic::new(Class::Syntax, span, format!("this is not TOML: {}", error.message())).label(label)
        }));
    }
    diagnostics.sort_by_key(|d| d.span.start);
    Parsed { rules, credentials, registries, models, tripwires, diagnostics }
}

fn rules(walk: &mut Walk<'_>, table: &DeTable<'_>, layer: LayerKind) -> Vec<Rule> {
    let Some((network, _)) = walk.table(table, "network") else { return Vec::new() };
    walk.known(network, &["allow"], "`[network]`");
    let Some(allow) = network.get("allow") else { return Vec::new() };
    let entries = match allow.get_ref() {
        DeValue::Array(entries) => entries,
        DeValue::Table(_) => {
            let error = Diagnostic::new(Class::WrongType, allow.span(), "`network.allow` is a list of rules");
            walk.found.push(error.label("one table").help("begin each rule with `[[network.allow]]`"));
            return Vec::new();
        }
        other => {
            walk.wrong_type("network.allow", "a list of rules", other, allow.span());
            return Vec::new();
        }
    };
    let mut rules = Vec::new();
    let mut names: HashMap<String, Range<usize>> = HashMap::new();
    for entry in entries {
        match entry.get_ref() {
            DeValue::Table(table) => rules.extend(rule::rule(walk, table, entry.span(), layer, &mut names)),
            other => walk.wrong_type("network.allow", "a list of rules", other, entry.span()),
        }
    }
    rules
}

fn version(walk: &mut Walk<'_>, table: &DeTable<'_>) {
    let Some(value) = table.get("version") else {
        let error = Diagnostic::new(Class::Missing, 0..0, "the file does not say for which version it is written");
        walk.found.push(error.label("`version` is missing").help(format!("begin the file with `version = {VERSION}`")));
        return;
    };
    match value.get_ref() {
        DeValue::Integer(number) if walk::integer(number) == Some(VERSION) => {}
        DeValue::Integer(_) => {
            let error = Diagnostic::new(Class::Version, value.span(), "the file is written for another version");
            walk.found.push(error.label(format!("this coffer reads version {VERSION}")));
        }
        other => walk.wrong_type("version", "a number", other, value.span()),
    }
}
