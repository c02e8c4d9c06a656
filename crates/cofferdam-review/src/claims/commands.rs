//! That commands ran, and how they ended; that it builds; that it was committed.

use std::sync::LazyLock;

use regex::Regex;

use super::sentences::Sentence;
use super::tests::{pattern, words};
use super::{Found, Look, Verdict};
use crate::story::{Command, signal_name};
use crate::text::{fit, one_line};

const ABOUT: &str = "command";

words!(RAN, r"\b(?:i |we |i've |and |then |also |^)?(?:ran|executed|have run|re-ran|reran|been run)\b");
words!(
    WELL,
    r"\b(?:pass|passes|passed|passing|succeeds|succeeded|successful|successfully|clean|cleanly|no errors|no warnings|without errors|without warnings|works|completed|ok)\b"
);
words!(NOT_WELL, r"\b(?:not|fails|failed|failing|error)\b|n't\b");
words!(
    BUILDS,
    r"\b(?:(?:it|code|project|everything|crate|workspace|app|application|build|compilation|package)\b[^.`]{0,30}\b(?:builds|compiles|compiled|built|succeeds|succeeded|passes|passed|successful)|(?:builds|compiles)\s+(?:successfully|cleanly|fine|without))\b"
);
words!(COMMITTED, r"\b(?:i |i've |have )?(?:committed|created (?:a|the) commit|made (?:a|the) commit)\b");

/// Programs that build, by the names that stories give commands.
const BUILDERS: &[&str] = &[
    "cargo build",
    "cargo check",
    "cargo clippy",
    "cargo test",
    "cargo run",
    "make",
    "make all",
    "npm run",
    "yarn build",
    "pnpm build",
    "pnpm run",
    "yarn run",
    "tsc",
    "go build",
    "go vet",
    "go test",
    "ninja",
    "cmake",
    "gradle",
    "gradlew",
    "mvn",
    "bazel build",
    "gcc",
    "cc",
    "clang",
    "g++",
    "rustc",
    "dotnet build",
    "swift",
    "zig",
];

pub(super) fn claims(sentence: &Sentence, look: &Look<'_>) -> Vec<Found> {
    let low = &sentence.low;
    let mut all = Vec::new();
    let quoted: Vec<&str> = sentence.quoted().filter(|text| is_command(text)).collect();
    let well = WELL.is_match(low) && !NOT_WELL.is_match(low);
    if RAN.is_match(low) && !low.contains("not run") && !low.contains("never ran") {
        all.extend(quoted.iter().map(|text| ran(text, well, look)));
    } else if well {
        all.extend(quoted.iter().map(|text| ran(text, true, look)));
    }
    if all.is_empty() && BUILDS.is_match(low) && !NOT_WELL.is_match(low) && !low.contains("test") {
        all.push(builds(look));
    }
    if COMMITTED.is_match(low) && !NOT_WELL.is_match(low) {
        all.push(ran("git commit", true, look));
    }
    all
}

/// What stands in backticks and is a command: a program that is known, or several words that begin like one.
fn is_command(text: &str) -> bool {
    const PROGRAMS: &[&str] = &[
        "cargo", "npm", "npx", "yarn", "pnpm", "go", "make", "pytest", "python", "python3", "node", "git", "tsc",
        "eslint", "prettier", "ruff", "black", "mypy", "jest", "vitest", "mocha", "bash", "sh", "rg", "grep", "ctest",
        "cmake", "ninja", "gradle", "mvn", "pip", "uv", "tox", "rustfmt", "clippy", "docker", "bun", "deno", "curl",
        "just", "dotnet", "bazel",
    ];
    let mut words = text.split_whitespace();
    let Some(first) = words.next() else { return false };
    let base = first.rsplit('/').next().unwrap_or(first);
    PROGRAMS.contains(&base) || first.starts_with("./") || (first.starts_with("scripts/") && words.next().is_some())
}

fn ran(text: &str, well: bool, look: &Look<'_>) -> Found {
    let shown = fit(&one_line(text.as_bytes()), 80);
    let Some(last) = look.facts.commands().filter(|command| is(command, text)).last() else {
        if look.facts.gap || look.facts.story.beyond.total > 0 {
            return Found::new(
                ABOUT,
                Verdict::NoEvidence,
                None,
                format!("`{shown}` is not among the commands, and the record has a gap"),
            );
        }
        return Found::new(ABOUT, Verdict::Refuted, None, format!("no command of the record is `{shown}`"));
    };
    let (how, failed) = ending(last);
    match (well, failed) {
        (true, None) => Found::new(ABOUT, Verdict::NoEvidence, Some(last.seq), format!("it ran, {how}")),
        (true, Some(true)) => Found::new(ABOUT, Verdict::Refuted, Some(last.seq), format!("it ran, {how}")),
        _ => Found::new(ABOUT, Verdict::Supported, Some(last.seq), format!("it ran, {how}")),
    }
}

fn ending(command: &Command) -> (String, Option<bool>) {
    let Some(end) = command.end else { return ("its end is not in the record".to_owned(), None) };
    let how = match (end.code, end.signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("killed by {}", signal_name(signal)),
        (None, None) => return ("how it ended is not known".to_owned(), None),
    };
    (how, Some(command.failed()))
}

/// Whether a command is the one that is named: all its words stand in it, in their order.
fn is(command: &Command, named: &str) -> bool {
    let word = |text: &str| {
        text.rsplit('/').next().unwrap_or(text).trim_matches(['"', '\'', ';']).replace("python3", "python")
    };
    let mut rest = command.text.split_whitespace().map(word);
    let named: Vec<String> = named.split_whitespace().map(word).collect();
    let whole = named.iter().all(|wanted| rest.by_ref().any(|have| have == *wanted));
    // What a script or a build started is told by its program's name.
    let below = || command.below.names.contains_key(&named.join(" "));
    whole || below()
}

fn builds(look: &Look<'_>) -> Found {
    const ABOUT: &str = "build";
    let is_builder = |command: &&Command| BUILDERS.contains(&command.name.as_str());
    let Some(last) = look.facts.commands().filter(is_builder).last() else {
        return Found::new(ABOUT, Verdict::NoEvidence, None, "no command of the record is known to build");
    };
    let (how, failed) = ending(last);
    let text = fit(&last.text, 60);
    match failed {
        Some(true) => Found::new(ABOUT, Verdict::Refuted, Some(last.seq), format!("the last, `{text}`: {how}")),
        None => Found::new(ABOUT, Verdict::NoEvidence, Some(last.seq), format!("`{text}`: {how}")),
        Some(false) => match look.facts.changed_since(last.seq, last) {
            Some(change) => Found::new(
                ABOUT,
                Verdict::NoEvidence,
                Some(change),
                format!("not built since this change; before it `{text}`: {how}"),
            ),
            None => Found::new(ABOUT, Verdict::Supported, Some(last.seq), format!("`{text}`: {how}")),
        },
    }
}
