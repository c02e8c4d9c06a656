//! What the tests said, and what changed.

use cofferdam_core::change::{Class, Entry};
use cofferdam_core::event::is_same;
use cofferdam_workspace::diff::{Diff, FileDiff, PatchStyle};
use maud::{Markup, html};

use super::super::Result;
use super::super::text::command_line;
use super::budget::Budget;
use super::nodes::{Gathered, Path};
use crate::text::{duration, one_line, size};

/// Most bytes of page for one file's diff.
const FILE: usize = 200_000;
/// Most files on a page.
const FILES: usize = 2_000;
/// Diffs stand open where there are no more files than this.
const FEW: usize = 5;

pub(super) fn tests(gathered: &Gathered) -> Markup {
    html! {
        @if !gathered.tests.is_empty() {
            section #tests {
                h2 { "Tests" }
                div .scroll {
                    table {
                        thead { tr {
                            th { "Command" } th .n { "Passed" } th .n { "Failed" } th .n { "Skipped" } th .n { "Took" } th { "Failing" }
                        } }
                        tbody {
                            @for run in &gathered.tests {
                                tr .item {
                                    td { (command(gathered, run.cause, &run.result.framework)) }
                                    td .n { (run.result.passed) }
                                    td .n .bad[run.result.failed > 0] { (run.result.failed) }
                                    td .n { (run.result.skipped) }
                                    td .n { @if let Some(took) = run.result.milliseconds { (duration(took.saturating_mul(1000))) } }
                                    td { (one_line(run.result.failing.join(", ").as_bytes())) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn command(gathered: &Gathered, cause: Option<u64>, otherwise: &str) -> Markup {
    match cause.and_then(|seq| Some((seq, gathered.exec(seq)?))) {
        Some((seq, exec)) => {
            html! { a href={ "#e" (seq) } { code { (command_line(&exec.argv, 100)) } } }
        }
        None => html! { (one_line(otherwise.as_bytes())) },
    }
}

pub(super) fn files(gathered: &Gathered, diff: Option<&Diff>, budget: &mut Budget) -> Result<Markup> {
    let body = match diff {
        Some(diff) => compared(gathered, diff, budget)?,
        None => listed(gathered),
    };
    Ok(html! { section #files { h2 { "Files" } (body) } })
}

fn compared(gathered: &Gathered, diff: &Diff, budget: &mut Budget) -> Result<Markup> {
    let mut items = Vec::new();
    for (n, file) in diff.files.iter().take(FILES).enumerate() {
        items.push(one(gathered, file, n, diff.files.len() <= FEW, budget)?);
    }
    Ok(html! {
        @if diff.files.is_empty() { p .note { "Nothing that git would show was changed." } }
        @for item in &items { (item) }
        @if diff.files.len() > FILES { p .note { (diff.files.len() - FILES) " more files are not on this page." } }
        @for problem in diff.problems.iter().take(20) {
            p .note { span .warn { "not compared: " } (one_line(problem.to_string().as_bytes())) }
        }
    })
}

fn one(gathered: &Gathered, file: &FileDiff, n: usize, open: bool, budget: &mut Budget) -> Result<Markup> {
    let mut patch = Vec::new();
    file.patch(&PatchStyle { sanitize: true, ..PatchStyle::default() }, &mut patch)?;
    // Sanitised and quoted, a patch is UTF-8; a byte that is not cannot be lost, it shows as U+FFFD.
    let patch = String::from_utf8_lossy(&patch);
    let (shown, left) = budget.take(&patch, FILE);
    let path = gathered.paths.get(&file.new_path).or_else(|| gathered.paths.get(&file.old_path));
    Ok(html! {
        details #{ "f" (n) } .item open[open] {
            summary {
                span .letter { (file.status.letter()) }
                span .what {
                    code {
                        @if file.old_path != file.new_path { (one_line(&file.old_path.0)) " \u{2192} " }
                        (one_line(&file.new_path.0))
                    }
                    @if file.class == Class::HostExecution { " " span .tag .warn { "executes on the host later" } }
                    @if file.class == Class::GitMetadata { " " span .tag .warn { "git's own" } }
                }
                span .end { span .good { "+" (file.added) } " " span .bad { "\u{2212}" (file.deleted) } }
            }
            div .body {
                @if let Some(note) = &file.note { p .note { (one_line(note.as_bytes())) } }
                @if let Some(path) = path { (by(gathered, path)) }
                (lines(shown))
                @if left > 0 { p .note { (size(left as u64)) " more of this diff are not on this page: " code { "coffer diff" } " has all." } }
            }
        }
    })
}

fn by(gathered: &Gathered, path: &Path) -> Markup {
    html! {
        p .note {
            (path.versions) @if path.versions == 1 { " version" } @else { " versions" } " recorded"
            @if path.command.is_some() { "; the last while " (command(gathered, path.command, "")) " ran" }
        }
    }
}

/// A patch with its lines coloured; neighbours of one kind share an element.
fn lines(patch: &str) -> Markup {
    let mut groups: Vec<(Option<&str>, &str)> = Vec::new();
    let (mut kind, mut start, mut at, mut in_hunk) = (None, 0, 0, false);
    for line in patch.split_inclusive('\n') {
        let this = match line.as_bytes().first() {
            Some(b'@') => {
                in_hunk = true;
                Some("h")
            }
            // Outside of hunks there are but headers, which begin with none of the marks.
            Some(b'd') => {
                in_hunk = false;
                Some("m")
            }
            _ if !in_hunk => Some("m"),
            Some(b'+') => Some("a"),
            Some(b'-') => Some("d"),
            _ => None,
        };
        if this != kind && at > start {
            groups.push((kind, &patch[start..at]));
            start = at;
        }
        kind = this;
        at += line.len();
    }
    groups.push((kind, &patch[start..at]));
    html! {
        pre .diff tabindex="0" {
            @for (kind, text) in &groups {
                @let text = text.strip_suffix('\n').unwrap_or(text);
                @if !text.is_empty() { span class=[kind] { (text) } }
            }
        }
    }
}

/// Without layers: what the events say of each path.
fn listed(gathered: &Gathered) -> Markup {
    let side = |entry: &Option<Entry>| entry.as_ref().map_or("\u{2014}".to_owned(), |entry| size(entry.size));
    html! {
        p .note { "The layers of this run are gone: what changed is known, the lines are not." }
        @for path in gathered.paths.values().take(FILES) {
            @if !is_same(path.first.before.as_ref(), path.last.after.as_ref()) {
                div .item {
                    div .row {
                        span .letter { (letter(path)) }
                        span .what { code { (one_line(&path.last.path.0)) } }
                        span .end { (side(&path.first.before)) " \u{2192} " (side(&path.last.after)) }
                    }
                }
            }
        }
        @if gathered.paths.len() > FILES { p .note { (gathered.paths.len() - FILES) " more paths are not on this page." } }
    }
}

fn letter(path: &Path) -> char {
    match (&path.first.before, &path.last.after) {
        (None, _) => 'A',
        (_, None) => 'D',
        _ => 'M',
    }
}
