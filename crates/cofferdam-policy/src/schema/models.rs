//! `[models]`.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::walk::{Walk, integer};
use crate::diagnostic::{Class, Diagnostic};
use crate::models::money::Micro;
use crate::models::{Budget, ModelRules, Per, Route, Said, Tools};
use crate::rule::{LayerKind, RuleId};

const KEYS: &[&str] = &["allow", "deny", "providers", "route", "tools", "never-send", "budget"];
const TOOLS: &[&str] = &["allow", "deny"];
const BUDGET: &[&str] = &["usd", "tokens", "requests", "per", "unpriced"];
const UNPRICED: &[(&str, bool)] = &[("refuse", false), ("allow", true)];

/// Most entries of one list, and most budgets: each is asked at every request.
const MOST: usize = 256;
const MOST_BUDGETS: usize = 16;

/// What a file says of models.
pub(super) fn models(walk: &mut Walk<'_>, table: &DeTable<'_>, layer: LayerKind) -> ModelRules {
    let Some((table, _)) = walk.table(table, "models") else { return ModelRules::default() };
    walk.known(table, KEYS, "`[models]`");
    ModelRules {
        allow: names(walk, table, "allow", layer),
        deny: names(walk, table, "deny", layer),
        providers: names(walk, table, "providers", layer),
        route: routes(walk, table, layer),
        tools: tools(walk, table, layer),
        never_send: never_send(walk, table, layer),
        budgets: budgets(walk, table, layer),
    }
}

fn id(walk: &mut Walk<'_>, layer: LayerKind, at: usize) -> RuleId {
    RuleId { layer, file: Some(walk.source.path.clone()), line: walk.line(at), name: None }
}

/// A list of patterns of names. An empty one to allow is a choice: nothing.
fn names(walk: &mut Walk<'_>, table: &DeTable<'_>, key: &str, layer: LayerKind) -> Option<Said<Vec<String>>> {
    let (texts, span) = list(walk, table, key)?;
    let mut names = Vec::new();
    for (text, span) in texts {
        if name(walk, key, text, span) {
            names.push(text.to_owned());
        }
    }
    Some(Said { id: id(walk, layer, span.start), value: names })
}

/// Texts, each with its place.
type Texts<'t> = Vec<(&'t str, Range<usize>)>;

fn list<'t>(walk: &mut Walk<'_>, table: &'t DeTable<'_>, key: &str) -> Option<(Texts<'t>, Range<usize>)> {
    let span = table.get(key)?.span();
    let texts = walk.texts_of(table, key, "a list of texts")?;
    if texts.len() > MOST {
        let error = Diagnostic::new(Class::Contradiction, span, format!("`{key}` has too many entries"));
        walk.found.push(error.label(format!("at most {MOST}")));
        return None;
    }
    Some((texts, span))
}

/// Whether a text can be a pattern of names.
fn name(walk: &mut Walk<'_>, key: &str, text: &str, span: Range<usize>) -> bool {
    let why = match text {
        _ if text.trim().is_empty() => "nothing is said here",
        _ if text.len() > 256 => "longer than 256 bytes",
        _ if text.contains(|c: char| c.is_control() || c.is_whitespace()) => "no name has spaces in it",
        _ if text.contains(['?', '[', '{']) => "`*` is the only character that stands for others",
        _ => return true,
    };
    let error = Diagnostic::new(Class::Model, span, format!("`{key}` has names, with `*` for anything in them"));
    walk.found.push(error.label(why));
    false
}

fn routes(walk: &mut Walk<'_>, table: &DeTable<'_>, layer: LayerKind) -> Vec<Route> {
    let Some((table, span)) = walk.table(table, "route") else { return Vec::new() };
    if layer != LayerKind::Person {
        let error = Diagnostic::new(Class::Layer, span, "a project's file does not choose which models are asked");
        let help = "it may allow fewer of them: put routes into your own policy file";
        walk.found.push(error.label("it came with the project").help(help));
        return Vec::new();
    }
    let mut routes = Vec::new();
    for (from, to) in table {
        let word: &str = from.get_ref();
        let DeValue::String(text) = to.get_ref() else {
            walk.wrong_type(word, "the name of the model that is asked instead", to.get_ref(), to.span());
            continue;
        };
        if !name(walk, "route", word, from.span()) || !name(walk, "route", text, to.span()) {
            continue;
        }
        let (stars, kept) = (word.matches('*').count(), text.matches('*').count());
        if stars > 1 || kept > stars {
            let error = Diagnostic::new(Class::Model, to.span(), "a route does not say what its `*` stands for");
            let label = if stars > 1 { "the left side has more than one" } else { "the left side has fewer" };
            walk.found.push(error.label(label).help("as in `\"claude-opus-*\" = \"claude-sonnet-*\"`"));
            continue;
        }
        if routes.len() == MOST {
            let error = Diagnostic::new(Class::Contradiction, from.span(), "`route` has too many entries");
            walk.found.push(error.label(format!("at most {MOST}")));
            break;
        }
        routes.push(Route { id: id(walk, layer, from.span().start), from: word.to_owned(), to: text.to_string() });
    }
    // In the order of the file: the first that fits counts.
    routes.sort_by_key(|route| route.id.line);
    routes
}

fn tools(walk: &mut Walk<'_>, table: &DeTable<'_>, layer: LayerKind) -> Option<Said<Tools>> {
    let (table, span) = walk.table(table, "tools")?;
    walk.known(table, TOOLS, "`tools` of `[models]`");
    if TOOLS.iter().all(|key| table.contains_key(*key)) {
        let error = Diagnostic::new(Class::Contradiction, span, "`tools` has both `allow` and `deny`");
        walk.found.push(error.label("one of them").help("what `allow` does not name is denied"));
        return None;
    }
    let value = match names(walk, table, "allow", layer) {
        Some(allowed) => Tools::Allow(allowed.value),
        None => Tools::Deny(names(walk, table, "deny", layer)?.value),
    };
    Some(Said { id: id(walk, layer, span.start), value })
}

fn never_send(walk: &mut Walk<'_>, table: &DeTable<'_>, layer: LayerKind) -> Option<Said<Vec<String>>> {
    let (texts, span) = list(walk, table, "never-send")?;
    let mut patterns = Vec::new();
    for (text, span) in texts {
        let why = match globset::GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build() {
            Err(e) => e.kind().to_string(),
            Ok(_) if text.trim().is_empty() => "nothing is said here".to_owned(),
            Ok(_) if text.starts_with('!') => "what is excepted is not named".to_owned(),
            Ok(_) if text.starts_with('#') => "in a list of patterns this would be a remark".to_owned(),
            Ok(_) if text.split('/').any(|part| part == "..") => "it is below the project".to_owned(),
            Ok(_) => {
                patterns.push(text.to_owned());
                continue;
            }
        };
        let error = Diagnostic::new(Class::Path, span, "`never-send` has patterns of paths of the project");
        walk.found.push(error.label(why).help("as in a `.gitignore`: `secrets/**`, `.env*`"));
    }
    Some(Said { id: id(walk, layer, span.start), value: patterns })
}

fn budgets(walk: &mut Walk<'_>, table: &DeTable<'_>, layer: LayerKind) -> Vec<Budget> {
    let Some(value) = table.get("budget") else { return Vec::new() };
    const WANTED: &str = "a budget, as in `{ usd = 5.00, per = \"day\" }`, or a list of them";
    let mut budgets = Vec::new();
    match value.get_ref() {
        DeValue::Table(one) => budgets.extend(budget(walk, one, value.span(), layer)),
        DeValue::Array(several) => {
            for (at, one) in several.iter().enumerate() {
                if at == MOST_BUDGETS {
                    let error = Diagnostic::new(Class::Contradiction, one.span(), "the file has too many budgets");
                    walk.found.push(error.label(format!("at most {MOST_BUDGETS}")));
                    break;
                }
                match one.get_ref() {
                    DeValue::Table(table) => budgets.extend(budget(walk, table, one.span(), layer)),
                    other => walk.wrong_type("budget", WANTED, other, one.span()),
                }
            }
        }
        other => walk.wrong_type("budget", WANTED, other, value.span()),
    }
    budgets
}

fn budget(walk: &mut Walk<'_>, table: &DeTable<'_>, span: Range<usize>, layer: LayerKind) -> Option<Budget> {
    let before = walk.found.len();
    let meant = walk.known(table, BUDGET, "a budget");
    let usd = usd(walk, table);
    let tokens = count(walk, table, "tokens");
    let requests = count(walk, table, "requests");
    let per = walk.word(table, "per", Per::ALL).map(|(per, _)| per).unwrap_or_default();
    let unpriced = walk.word(table, "unpriced", UNPRICED);
    if let Some((true, span)) = &unpriced
        && layer != LayerKind::Person
    {
        let error = Diagnostic::new(Class::Layer, span.clone(), "a project's file lets nothing pass that has no price");
        walk.found.push(error.label("it came with the project").help("put it into your own policy file"));
    }
    let bounds = ["usd", "tokens", "requests"];
    if !bounds.iter().any(|key| table.contains_key(*key)) && !bounds.iter().any(|key| meant.contains(key)) {
        let error = Diagnostic::new(Class::Missing, span.clone(), "a budget bounds nothing");
        walk.found
            .push(error.label("here").help("say how much, as in `usd = 5.00`, `tokens = 2_000_000`, `requests = 500`"));
    }
    if walk.found.len() > before {
        return None;
    }
    let here = layer == LayerKind::Project || per == Per::Project;
    let unpriced = unpriced.is_some_and(|(allowed, _)| allowed);
    Some(Budget { id: id(walk, layer, span.start), usd, tokens, requests, per, here, unpriced })
}

/// An amount of money, as it is written: no binary fraction comes near it.
fn usd(walk: &mut Walk<'_>, table: &DeTable<'_>) -> Option<Micro> {
    let value = table.get("usd")?;
    let amount = match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse::<Micro>(),
        DeValue::Float(number) => number.as_str().parse(),
        other => {
            walk.wrong_type("usd", "a number of dollars", other, value.span());
            return None;
        }
    };
    match amount {
        Ok(amount) => Some(amount),
        Err(why) => {
            let error = Diagnostic::new(Class::Amount, value.span(), "`usd` is no amount of money");
            walk.found.push(error.label(why.to_string()));
            None
        }
    }
}

fn count(walk: &mut Walk<'_>, table: &DeTable<'_>, key: &str) -> Option<u64> {
    let value = table.get(key)?;
    let DeValue::Integer(number) = value.get_ref() else {
        walk.wrong_type(key, "a whole number", value.get_ref(), value.span());
        return None;
    };
    match integer(number).and_then(|number| u64::try_from(number).ok()) {
        Some(number) => Some(number),
        None => {
            let error = Diagnostic::new(Class::Amount, value.span(), format!("`{key}` is no number of them"));
            walk.found.push(error.label("below 0, or beyond 64 bits"));
            None
        }
    }
}
