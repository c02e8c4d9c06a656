//! That files were made, changed, taken away, or left alone; that dependencies came.

use std::sync::LazyLock;

use cofferdam_core::Bytes;
use regex::Regex;

use super::facts::{Place, Touched};
use super::paths::{last_before, named};
use super::sentences::Sentence;
use super::tests::{pattern, words};
use super::{Found, Look, Verdict, shown};
use crate::text::grouped;

const CREATED: &[&str] = &["created", "wrote", "generated", "introduced", "new file", "added", "adds", "adding"];
const CHANGED: &[&str] = &[
    "updated",
    "modified",
    "changed",
    "edited",
    "fixed",
    "refactored",
    "rewrote",
    "replaced",
    "extended",
    "patched",
    "corrected",
    "adjusted",
    "implemented",
    "renamed",
    "moved",
    "improved",
    "simplified",
    "reverted",
    "restored",
    "removed from",
    "added to",
];
const DELETED: &[&str] = &["deleted", "removed", "dropped"];
/// Before a path they say that the file is where something was put, not what was put.
const INTO: &[&str] = &["to", "in", "into", "inside", "within", "of", "at", "from", "for", "on"];
/// Between a verb and a path they say that the path is not what the verb is about.
const OTHER: &[&str] = &["like", "using", "with", "by", "because", "since", "see", "as", "than", "so"];

words!(
    UNTOUCHED,
    r"(?:(?:did not|didn't|haven't|have not|without) (?:change|changed|changing|modify|modified|modifying|touch|touched|touching|edit|edited|editing)|left|leaving|kept)\b"
);
words!(
    NOTHING_ELSE,
    r"(?x) \b(?:no\ other\ (?:files?|code|source|changes?|modifications?|parts?)
    |nothing\ else\ (?:was|is|has|in|got|changed|touched|modified)
    |no\ (?:further|additional)\ (?:files?|changes?)
    |(?:not|n't)\ (?:change|touch|modify|edit|changed|touched|modified)\ (?:any\ other|anything\ else|any\ of\ the\ other|other\ files)
    |only\ (?:file|files)\ (?:changed|modified|touched|edited))\b"
);
words!(
    ONLY,
    r"\b(?:i only|only|just) (?:changed|modified|touched|edited|updated)\b|\bthe only (?:file|change|files)\b"
);
words!(
    NO_CHANGE,
    r"\b(?:no (?:files?|code|changes?) (?:was|were|have been|has been|are) (?:changed|modified|touched|edited|made|needed|necessary|required)|(?:did not|didn't|haven't|have not) (?:change|changed|modify|modified|make|made|touch|touched|edit|edited) (?:any files?|anything|any code|any changes))\b"
);

pub(super) fn claims(sentence: &Sentence, look: &Look<'_>) -> Vec<Found> {
    let low = &sentence.low;
    // Lower case may have another length: then places in the one are none in the other.
    if low.len() != sentence.text.len() || NOTHING_ELSE.is_match(low) {
        return Vec::new();
    }
    let untouched = UNTOUCHED.is_match(low) && !low.contains("left over");
    let mut all = Vec::new();
    for path in named(&sentence.text) {
        let place = look.facts.path(&path.path);
        if untouched
            && (low.contains("untouched")
                || low.contains("unchanged")
                || low.contains("as is")
                || !low.contains("left"))
        {
            all.push(left_alone(&path.path, place));
            continue;
        }
        // A list's item names the path first, and says then what was done.
        let leads = path.at <= 1 && sentence.text[path.at..].contains([':', '—', '–', '-']);
        let end = if leads { low.len() } else { path.at };
        let verbs = [CREATED, CHANGED, DELETED].concat();
        let Some((at, verb)) = last_before(low, end, &verbs) else { continue };
        let between = if leads { "" } else { &low[at.min(path.at)..path.at] };
        if OTHER.iter().any(|word| super::sentences::has_words(between, word)) || NOT_BEFORE.is_match(&low[..at]) {
            continue;
        }
        let into = INTO.iter().any(|word| super::sentences::has_words(between, word));
        let found = if leads || into || CHANGED.contains(&verb) {
            changed(&path.path, place)
        } else if DELETED.contains(&verb) {
            deleted(&path.path, place)
        } else {
            created(&path.path, verb, place)
        };
        all.push(found);
    }
    all.dedup();
    all
}

words!(NOT_BEFORE, r"(?:\bnot|n't|never)\s+(?:been\s+)?[a-z]+$");

fn found(verdict: Verdict, event: Option<u64>, why: String) -> Found {
    Found::new("file", verdict, event, why)
}

/// What can be said whatever the claim is.
fn elsewhere(name: &str, place: &Place<'_>) -> Option<Found> {
    match place {
        Place::Outside => Some(found(
            Verdict::NoEvidence,
            None,
            format!("`{}` lies outside the project: changes there are not recorded", safe(name)),
        )),
        Place::Several => {
            Some(found(Verdict::NoEvidence, None, format!("several changed paths end in `{}`", safe(name))))
        }
        Place::Is(..) | Place::Untouched => None,
    }
}

fn created(name: &str, verb: &str, place: Place<'_>) -> Found {
    if let Some(found) = elsewhere(name, &place) {
        return found;
    }
    match place {
        Place::Is(path, Touched { before: None, after: Some(_), last, .. }) => {
            found(Verdict::Supported, Some(*last), format!("A {}", shown(path)))
        }
        Place::Is(path, touched @ Touched { after: Some(_), .. }) if !touched.is_back() => {
            // "Wrote" and "added" are said of changes, too.
            let verdict = if matches!(verb, "created" | "new file" | "introduced") {
                Verdict::Refuted
            } else {
                Verdict::Supported
            };
            found(verdict, Some(touched.last), format!("M {}: it was there before", shown(path)))
        }
        place => unchanged(name, place),
    }
}

fn changed(name: &str, place: Place<'_>) -> Found {
    if let Some(found) = elsewhere(name, &place) {
        return found;
    }
    match place {
        Place::Is(path, touched) if !touched.is_back() => {
            let letter = match (&touched.before, &touched.after) {
                (None, _) => 'A',
                (_, None) => 'D',
                _ => 'M',
            };
            let verdict = if letter == 'D' { Verdict::Refuted } else { Verdict::Supported };
            found(verdict, Some(touched.last), format!("{letter} {}", shown(path)))
        }
        place => unchanged(name, place),
    }
}

fn deleted(name: &str, place: Place<'_>) -> Found {
    if let Some(found) = elsewhere(name, &place) {
        return found;
    }
    match place {
        Place::Is(path, touched) if touched.after.is_none() => {
            found(Verdict::Supported, Some(touched.last), format!("D {}", shown(path)))
        }
        Place::Is(path, touched) if !touched.is_back() => {
            found(Verdict::Refuted, Some(touched.last), format!("{} is there, changed", shown(path)))
        }
        place => unchanged(name, place),
    }
}

fn left_alone(name: &str, place: Place<'_>) -> Found {
    if let Some(found) = elsewhere(name, &place) {
        return found;
    }
    match place {
        Place::Is(path, touched) if !touched.is_back() => {
            found(Verdict::Refuted, Some(touched.last), format!("{} changed", shown(path)))
        }
        _ => found(Verdict::Supported, None, format!("`{}` holds what it held before the run", safe(name))),
    }
}

fn unchanged(name: &str, place: Place<'_>) -> Found {
    match place {
        Place::Is(path, touched) => found(
            Verdict::Refuted,
            Some(touched.last),
            format!("{} holds again what it held before the run", shown(path)),
        ),
        _ => found(Verdict::Refuted, None, format!("nothing changed at `{}`", safe(name))),
    }
}

fn safe(name: &str) -> String {
    shown(&Bytes::from(name))
}

/// That nothing else changed, or nothing at all.
pub(super) fn nothing_else(sentence: &Sentence, look: &Look<'_>) -> Vec<Found> {
    let low = &sentence.low;
    let here: Vec<String> = named(&sentence.text).into_iter().map(|named| named.path).collect();
    let allowed: &[String] = if NO_CHANGE.is_match(low) && !low.contains("other") && !low.contains("else") {
        &[]
    } else if NOTHING_ELSE.is_match(low) {
        &look.named
    } else if ONLY.is_match(low) && !here.is_empty() {
        &here
    } else {
        return Vec::new();
    };
    const ABOUT: &str = "nothing-else";
    if look.facts.beyond > 0 {
        let why = "more paths changed than are kept apart";
        return vec![Found::new(ABOUT, Verdict::NoEvidence, None, why)];
    }
    let is_named =
        |path: &Bytes| allowed.iter().any(|name| matches!(look.facts.path(name), Place::Is(known, _) if known == path));
    let mut others = look.facts.differing().filter(|(path, _)| !is_named(path));
    let Some((path, touched)) = others.next() else {
        let count = look.facts.differing().count() as u64;
        let why = if count == 0 {
            "nothing changed".to_owned()
        } else {
            format!("the paths it names are all that changed ({})", grouped(count))
        };
        return vec![Found::new(ABOUT, Verdict::Supported, None, why)];
    };
    let more = others.count() as u64;
    let more = if more > 0 { format!(", and {} more", grouped(more)) } else { String::new() };
    vec![Found::new(ABOUT, Verdict::Refuted, Some(touched.last), format!("{} changed too{more}", shown(path)))]
}

const MANIFESTS: &[&str] = &[
    "Cargo.toml",
    "package.json",
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "Pipfile",
    "go.mod",
    "Gemfile",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "composer.json",
    "mix.exs",
    "Package.swift",
    "environment.yml",
];

words!(
    ADDED_DEPENDENCY,
    r"\b(?:added|adds|installed|introduced|included)\b[^.]{0,80}\b(?:dependency|dependencies|crate|package|library|dev-dependency|requirement)\b"
);
words!(
    NO_DEPENDENCY,
    r"\b(?:no|any|without)\s+(?:new|additional|extra|external|further)?\s*(?:dependency|dependencies|packages|libraries)\b"
);

/// That a dependency came, or none.
pub(super) fn dependencies(sentence: &Sentence, look: &Look<'_>) -> Vec<Found> {
    const ABOUT: &str = "dependency";
    let low = &sentence.low;
    let is_manifest = |path: &Bytes| {
        let base = path.0.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let requirements = base.starts_with(b"requirements") && base.ends_with(b".txt");
        requirements || MANIFESTS.iter().any(|name| name.as_bytes() == base)
    };
    let mut changed = look.facts.differing().filter(|(path, _)| is_manifest(path));
    if NO_DEPENDENCY.is_match(low) {
        return vec![match changed.next() {
            None => Found::new(ABOUT, Verdict::Supported, None, "no file that names dependencies changed"),
            Some((path, touched)) => {
                let why = format!("{} changed: what of it is for the reader to see", shown(path));
                Found::new(ABOUT, Verdict::NoEvidence, Some(touched.last), why)
            }
        }];
    }
    if !ADDED_DEPENDENCY.is_match(low) {
        return Vec::new();
    }
    let names: Vec<&str> = sentence.quoted().filter(|name| named(name).is_empty() && !name.contains(' ')).collect();
    let [name, ..] = names.as_slice() else { return Vec::new() };
    let name = name.split(['@', '=']).next().unwrap_or(name);
    let mut last = None;
    for (path, touched) in changed {
        last = Some((path, touched.last));
        let text = touched.version.as_ref().and_then(|version| look.heads.read(version, super::LONGEST).ok());
        match text {
            Some(text) if memchr::memmem::find(&text, name.as_bytes()).is_some() => {
                return vec![Found::new(
                    ABOUT,
                    Verdict::Supported,
                    Some(touched.last),
                    format!("{} changed and names it", shown(path)),
                )];
            }
            Some(_) => {}
            None => {
                let why = format!("{} changed, and its content was not kept", shown(path));
                return vec![Found::new(ABOUT, Verdict::NoEvidence, Some(touched.last), why)];
            }
        }
    }
    vec![match last {
        Some((path, seq)) => {
            Found::new(ABOUT, Verdict::Refuted, Some(seq), format!("{} changed and does not name it", shown(path)))
        }
        None => Found::new(ABOUT, Verdict::Refuted, None, "no file that names dependencies changed"),
    }]
}
