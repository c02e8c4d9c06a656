//! One `[[credential]]`.

use std::collections::HashMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::rule::{self, Scope, missing, required};
use super::walk::Walk;
use crate::credential::{Credential, CredentialSource, Field, Use};
use crate::diagnostic::{Class, Diagnostic};
use crate::host::HostPattern;
use crate::rule::{LayerKind, Record, Rule, RuleId, Scheme, Tls};

const KEYS: &[&str] = &["name", "purpose", "source", "use", "expose", "lifetime"];
const SOURCES: &[&str] = &["env", "file", "command"];
const USE: &[&str] = &["host", "port", "header", "scheme", "methods", "paths"];
const SCHEMES: &[(&str, Scheme)] = &[("https", Scheme::Https), ("http", Scheme::Http)];

/// Most credentials of a file: each has a placeholder that every request is searched for.
const MOST: usize = 64;
/// What earlier credentials of the file have taken.
#[derive(Default)]
pub(super) struct Taken {
    names: HashMap<String, Range<usize>>,
    variables: HashMap<String, Range<usize>>,
}

/// Reads all of a file's.
pub(super) fn credentials(walk: &mut Walk<'_>, table: &DeTable<'_>, layer: LayerKind) -> Vec<Credential> {
    let Some(value) = table.get("credential") else { return Vec::new() };
    let entries = match value.get_ref() {
        DeValue::Array(entries) => entries,
        other => {
            walk.wrong_type(
                "credential",
                "a list of credentials: begin each with `[[credential]]`",
                other,
                value.span(),
            );
            return Vec::new();
        }
    };
    let mut taken = Taken::default();
    let mut credentials = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        if layer != LayerKind::Person {
            let error = Diagnostic::new(Class::Layer, entry.span(), "a project's file defines no credentials");
            walk.found.push(
                error
                    .label("it came with the project")
                    .help("whoever wrote it would choose what is run and read here: put it into your own policy file"),
            );
            continue;
        }
        if at == MOST {
            let error = Diagnostic::new(Class::Contradiction, entry.span(), "the file has too many credentials");
            walk.found.push(error.label(format!("at most {MOST}")));
            break;
        }
        match entry.get_ref() {
            DeValue::Table(table) => credentials.extend(credential(walk, table, entry.span(), layer, &mut taken)),
            other => walk.wrong_type("credential", "a list of credentials", other, entry.span()),
        }
    }
    credentials
}

fn credential(
    walk: &mut Walk<'_>,
    table: &DeTable<'_>,
    span: Range<usize>,
    layer: LayerKind,
    taken: &mut Taken,
) -> Option<Credential> {
    let before = walk.found.len();
    let what = "credential";
    let scope = Scope { table, meant: walk.known(table, KEYS, "a credential"), span: span.clone(), what };
    let named = required(walk, &scope, "name", "evidence and refusals call it by its name, as in `name = \"github\"`");
    let name = named.and_then(|_| rule::name(walk, table, what, &mut taken.names));
    let purpose = required(walk, &scope, "purpose", "say in a few words what it is for").map(|p| p.trim().to_owned());
    let id = RuleId { layer, file: Some(walk.source.path.clone()), line: walk.line(span.start), name: name.clone() };
    let source = source(walk, &scope);
    let uses = uses(walk, &scope, &id, purpose.as_deref().unwrap_or_default());
    let expose = expose(walk, table, taken);
    let lifetime = lifetime(walk, table);
    if walk.found.len() > before {
        return None;
    }
    let (name, purpose, source) = (name?, purpose?, source?);
    Some(Credential { id, name, purpose, source, uses, expose, lifetime, placeholder_only: false })
}

fn source(walk: &mut Walk<'_>, scope: &Scope<'_, '_>) -> Option<CredentialSource> {
    if !scope.table.contains_key("source") {
        if !scope.meant.contains(&"source") {
            let help = "say where its value comes from, as in `source = { command = [\"gh\", \"auth\", \"token\"] }`";
            missing(walk, scope, "source", help);
        }
        return None;
    }
    let (table, span) = walk.table(scope.table, "source")?;
    let meant = walk.known(table, SOURCES, "a credential's source");
    let given: Vec<&str> = SOURCES.iter().copied().filter(|key| table.contains_key(*key)).collect();
    if given.len() > 1 {
        let error = Diagnostic::new(Class::Contradiction, span, "`source` names more than one place");
        walk.found.push(error.label("this").help("leave one of `env`, `file` and `command`"));
        return None;
    }
    match given.first().copied() {
        Some("env") => variable(walk, table).map(|(name, _)| CredentialSource::Env(name.to_owned())),
        Some("file") => {
            let (path, span) = walk.text(table, "file")?;
            if path.starts_with('/') || path.strip_prefix("~/").is_some_and(|inner| !inner.is_empty()) {
                return Some(CredentialSource::File(path.to_owned()));
            }
            let error = Diagnostic::new(Class::Source, span, "`file` does not say from where it is looked for");
            walk.found.push(error.label("write it from `/` or from your home, as in `~/.config/token`"));
            None
        }
        Some(_) => {
            let command = walk.texts_of(table, "command", "the program and its arguments")?;
            let words: Vec<String> = command.into_iter().map(|(word, _)| word.to_owned()).collect();
            if words.first().is_some_and(|program| !program.is_empty()) {
                return Some(CredentialSource::Command(words));
            }
            let span = table.get("command").map_or(span, toml::Spanned::span);
            let error = Diagnostic::new(Class::Empty, span, "`command` names no program");
            walk.found.push(error.label("nothing could be run"));
            None
        }
        None => {
            if meant.is_empty() {
                let error = Diagnostic::new(Class::Missing, span, "`source` names no place");
                walk.found.push(error.label("nothing is said here").help("give one of `env`, `file` and `command`"));
            }
            None
        }
    }
}

/// The name of a variable under `env`.
fn variable<'t>(walk: &mut Walk<'_>, table: &'t DeTable<'_>) -> Option<(&'t str, Range<usize>)> {
    let (name, span) = walk.text(table, "env")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return Some((name, span));
    }
    let error = Diagnostic::new(Class::Name, span, "`env` is no name of a variable");
    walk.found.push(error.label("letters, digits and `_`, no digit first"));
    None
}

fn expose(walk: &mut Walk<'_>, table: &DeTable<'_>, taken: &mut Taken) -> Option<String> {
    let (inner, _) = walk.table(table, "expose")?;
    walk.known(inner, &["env"], "`expose`");
    let (name, span) = variable(walk, inner)?;
    if let Some(first) = taken.variables.get(name) {
        let error = Diagnostic::new(Class::Contradiction, span, format!("two credentials are `{name}` inside"));
        walk.found.push(error.label("the second").other(first.clone(), "the first"));
        return None;
    }
    taken.variables.insert(name.to_owned(), span);
    Some(name.to_owned())
}

/// Seconds, as in `90s`, `10m`, `1h` and `7d`.
fn lifetime(walk: &mut Walk<'_>, table: &DeTable<'_>) -> Option<u64> {
    let (text, span) = walk.text(table, "lifetime")?;
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let seconds = units.iter().find_map(|(unit, seconds)| {
        let digits = text.strip_suffix(*unit).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<u32>().ok().map(|count| u64::from(count) * seconds)
    });
    let seconds = seconds.filter(|seconds| *seconds > 0);
    if seconds.is_none() {
        let error = Diagnostic::new(Class::Lifetime, span, "`lifetime` is no length of time");
        walk.found.push(error.label("write it as `90s`, `10m`, `1h` or `7d`"));
    }
    seconds
}

fn uses(walk: &mut Walk<'_>, scope: &Scope<'_, '_>, id: &RuleId, purpose: &str) -> Vec<Use> {
    let Some(value) = scope.table.get("use") else {
        if !scope.meant.contains(&"use") {
            let help = "say which requests carry it: `use = [{ host = \"api.github.com\", header = \"Authorization: Bearer {}\" }]`";
            missing(walk, scope, "use", help);
        }
        return Vec::new();
    };
    let DeValue::Array(entries) = value.get_ref() else {
        walk.wrong_type(
            "use",
            "a list of tables: `use = [{ host = \"…\", header = \"…\" }]`",
            value.get_ref(),
            value.span(),
        );
        return Vec::new();
    };
    if entries.is_empty() {
        let error = Diagnostic::new(Class::Empty, value.span(), "`use` is empty: no request carries the credential");
        walk.found.push(error.label("an empty list"));
    }
    let mut uses = Vec::new();
    for entry in entries {
        match entry.get_ref() {
            DeValue::Table(table) => uses.extend(one_use(walk, table, entry.span(), id, purpose)),
            other => walk.wrong_type("use", "a list of tables", other, entry.span()),
        }
    }
    uses
}

fn one_use(walk: &mut Walk<'_>, table: &DeTable<'_>, span: Range<usize>, id: &RuleId, purpose: &str) -> Option<Use> {
    let scope = Scope { table, meant: walk.known(table, USE, "a credential's use"), span, what: "use" };
    let host = rule::host(walk, &scope);
    let port = rule::port(walk, table, host.as_ref());
    let scheme = walk.word(table, "scheme", SCHEMES).map(|(scheme, _)| scheme);
    let methods = rule::methods(walk, table);
    let paths = rule::paths(walk, table);
    let header =
        required(walk, &scope, "header", "name the field and its value, as in `header = \"Authorization: Bearer {}\"`")
            .and_then(|text| header(walk, table, text));
    let host = host?.pattern;
    if host.is_host_services() && port.is_none() && !table.contains_key("port") {
        missing(walk, &scope, "port", &format!("a service of this machine is `{}:PORT`", crate::host::HOST_SERVICES));
    }
    let Field { header, before, after } = header?;
    Some(Use {
        on: Rule {
            id: id.clone(),
            // In the clear only where that is said; what is on this machine does not travel.
            scheme: scheme.or((!HostPattern::is_host_services(&host)).then_some(Scheme::Https)),
            host,
            addresses: Vec::new(),
            port,
            methods,
            paths,
            tls: Tls::Intercept,
            record: Record::Digest,
            purpose: purpose.to_owned(),
            expires: None,
        },
        header,
        before,
        after,
    })
}

fn header(walk: &mut Walk<'_>, table: &DeTable<'_>, text: &str) -> Option<Field> {
    let problem = match Field::parse(text) {
        Ok(field) => return Some(field),
        Err(problem) => problem,
    };
    let span = table.get("header")?.span();
    let error = Diagnostic::new(Class::Header, span, "`header` is no field of a request that can carry a credential");
    walk.found.push(error.label(problem).help("write it as in `Authorization: Bearer {}`"));
    None
}
