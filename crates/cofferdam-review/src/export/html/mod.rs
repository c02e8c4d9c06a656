//! One self-contained page for a reader: what was asked, what ran, what it printed, what the tests said, what changed.
//!
//! Every string of the run goes through the template's escaping after control, bidirectional and invisible characters
//! were written out. The page loads nothing, and its content security policy lets nothing run but the one script that
//! this crate brings, by its digest.

mod budget;
mod changes;
mod head;
mod nodes;
mod outline;
mod timeline;

use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cofferdam_workspace::diff::Diff;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::{Record, Result};
use budget::Budget;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Most bytes of outputs in a page.
const OUTPUTS: usize = 900_000;
/// Most bytes of diffs in a page.
const DIFFS: usize = 1_000_000;

/// Writes the page. `diff` is the final diff, where the layers are still there.
///
/// # Errors
/// Where the evidence cannot be read or `out` not be written.
pub fn write(record: &Record, diff: Option<&Diff>, out: &mut impl Write) -> Result<()> {
    let summary = record.summary()?;
    let outline = outline::Outline::of(record)?;
    let gathered = nodes::Gathered::of(record, &outline)?;
    let title = format!("Run {}", summary.started.run);
    let main = html! {
        (head::head(record, &summary, &gathered, diff))
        (navigation(gathered.tests.len(), diff.map_or(gathered.paths.len(), |diff| diff.files.len())))
        main {
            (timeline::section(record, &summary, &gathered, &mut Budget::of(OUTPUTS))?)
            (changes::tests(&gathered))
            (changes::files(&gathered, diff, &mut Budget::of(DIFFS))?)
        }
        footer {
            "Written by coffer " (env!("CARGO_PKG_VERSION")) " from the evidence of run " code { (summary.started.run) }
            ". This page is a reading of it, not the evidence: "
            code { "coffer verify " (summary.started.run) } " checks that."
        }
    };
    out.write_all(page(&title, &main).into_string().as_bytes())?;
    Ok(out.flush()?)
}

fn page(title: &str, main: &Markup) -> Markup {
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'",
        source_hash(STYLE),
        source_hash(SCRIPT)
    );
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (main)
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// The hash source of an inline element (Content Security Policy Level 3, section 2.3.1).
fn source_hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}

fn navigation(tests: usize, files: usize) -> Markup {
    html! {
        nav aria-label="Page" {
            a href="#timeline" { "Timeline" }
            @if tests > 0 { a href="#tests" { "Tests" } }
            a href="#files" { "Files (" (files) ")" }
            // Shown by the script: without it there is nothing that could search.
            span #tools hidden {
                input #search type="search" placeholder="Search   /" aria-label="Search commands, outputs and files" autocomplete="off" spellcheck="false";
                " " span #found .dim aria-live="polite" {}
                " " button #open type="button" { "Open all" }
                " " button #close type="button" { "Close all" }
            }
        }
    }
}

#[cfg(test)]
mod tests;
