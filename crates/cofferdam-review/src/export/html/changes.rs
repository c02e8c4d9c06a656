//! What the tests said, and what changed.

use cofferdam_core::change::{Class, Entry};
use cofferdam_workspace::diff::{Diff, FileDiff, PatchStyle};
use maud::{Markup, html};

use super::super::Result;
use super::super::text::{command_line, visible_line};
use super::budget::Budget;
use super::nodes::{Path, Story};
use super::timeline::{duration, size};

/// Most bytes of page for one file's diff.
const FILE: usize = 200_000;
/// Most files on a page.
const FILES: usize = 2_000;
/// Diffs stand open where there are no more files than this.
const FEW: usize = 5;

pub(super) fn tests(story: &Story) -> Markup {
    html! {
        @if !story.tests.is_empty() {
            section #tests {
                h2 { "Tests" }
                div .scroll {
                    table {
                        thead { tr {
                            th { "Command" } th .n { "Passed" } th .n { "Failed" } th .n { "Skipped" } th .n { "Took" } th { "Failing" }
                        } }
                        tbody {
                            @for run in &story.tests {
                                tr .item {
                                    td { (command(story, run.cause, &run.result.framework)) }
                                    td .n { (run.result.passed) }
                                    td .n .bad[run.result.failed > 0] { (run.result.failed) }
                                    td .n { (run.result.skipped) }
                                    td .n { @if let Some(took) = run.result.milliseconds { (duration(took.saturating_mul(1000))) } }
                                    td { (visible_line(run.result.failing.join(", ").as_bytes())) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn command(story: &Story, cause: Option<u64>, otherwise: &str) -> Markup {
    match cause.and_then(|seq| Some((seq, story.exec(seq)?))) {
        Some((seq, exec)) => {
            html! { a href={ "#e" (seq) } { code { (visible_line(command_line(&exec.argv, 100).as_bytes())) } } }
        }
        None => html! { (visible_line(otherwise.as_bytes())) },
    }
}

pub(super) fn files(story: &Story, diff: Option<&Diff>, budget: &mut Budget) -> Result<Markup> {
    let body = match diff {
        Some(diff) => compared(story, diff, budget)?,
        None => listed(story),
    };
    Ok(html! { section #files { h2 { "Files" } (body) } })
}

fn compared(story: &Story, diff: &Diff, budget: &mut Budget) -> Result<Markup> {
    let mut items = Vec::new();
    for (n, file) in diff.files.iter().take(FILES).enumerate() {
        items.push(one(story, file, n, diff.files.len() <= FEW, budget)?);
    }
    Ok(html! {
        @if diff.files.is_empty() { p .note { "Nothing that git would show was changed." } }
        @for item in &items { (item) }
        @if diff.files.len() > FILES { p .note { (diff.files.len() - FILES) " more files are not on this page." } }
        @for problem in diff.problems.iter().take(20) {
            p .note { span .warn { "not compared: " } (visible_line(problem.to_string().as_bytes())) }
        }
    })
}

fn one(story: &Story, file: &FileDiff, n: usize, open: bool, budget: &mut Budget) -> Result<Markup> {
    let mut patch = Vec::new();
    file.patch(&PatchStyle { sanitize: true, ..PatchStyle::default() }, &mut patch)?;
    // Sanitised and quoted, a patch is UTF-8; a byte that is not cannot be lost, it shows as U+FFFD.
    let patch = String::from_utf8_lossy(&patch);
    let (shown, left) = budget.take(&patch, FILE);
    let path = story.paths.get(&file.new_path).or_else(|| story.paths.get(&file.old_path));
    Ok(html! {
        details #{ "f" (n) } .item open[open] {
            summary {
                span .letter { (file.status.letter()) }
                span .what {
                    code {
                        @if file.old_path != file.new_path { (visible_line(&file.old_path.0)) " \u{2192} " }
                        (visible_line(&file.new_path.0))
                    }
                    @if file.class == Class::HostExecution { " " span .tag .warn { "executes on the host later" } }
                    @if file.class == Class::GitMetadata { " " span .tag .warn { "git's own" } }
                }
                span .end { span .good { "+" (file.added) } " " span .bad { "\u{2212}" (file.deleted) } }
            }
            div .body {
                @if let Some(note) = &file.note { p .note { (visible_line(note.as_bytes())) } }
                @if let Some(path) = path { (by(story, path)) }
                (lines(shown))
                @if left > 0 { p .note { (size(left as u64)) " more of this diff are not on this page: " code { "coffer diff" } " has all." } }
            }
        }
    })
}

fn by(story: &Story, path: &Path) -> Markup {
    html! {
        p .note {
            (path.versions) @if path.versions == 1 { " version" } @else { " versions" } " recorded"
            @if path.command.is_some() { "; the last while " (command(story, path.command, "")) " ran" }
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
fn listed(story: &Story) -> Markup {
    let side = |entry: &Option<Entry>| entry.as_ref().map_or("\u{2014}".to_owned(), |entry| size(entry.size));
    html! {
        p .note { "The layers of this run are gone: what changed is known, the lines are not." }
        @for path in story.paths.values().take(FILES) {
            @if path.first.before != path.last.after {
                div .item {
                    div .row {
                        span .letter { (letter(path)) }
                        span .what { code { (visible_line(&path.last.path.0)) } }
                        span .end { (side(&path.first.before)) " \u{2192} " (side(&path.last.after)) }
                    }
                }
            }
        }
        @if story.paths.len() > FILES { p .note { (story.paths.len() - FILES) " more paths are not on this page." } }
    }
}

fn letter(path: &Path) -> char {
    match (&path.first.before, &path.last.after) {
        (None, _) => 'A',
        (_, None) => 'D',
        _ => 'M',
    }
}
