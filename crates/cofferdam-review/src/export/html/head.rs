//! The page's head: which run, how it ended, what came of it, and what the evidence is worth.

use cofferdam_core::event::{EndReason, RunEnded, Statement};
use cofferdam_evidence::{SignedBy, State};
use cofferdam_workspace::diff::Diff;
use maud::{Markup, html};

use super::super::text::command_line;
use super::super::{Record, Summary};
use super::nodes::Gathered;
use crate::text::{counted, duration, one_line};

pub(super) fn head(record: &Record, summary: &Summary, gathered: &Gathered, diff: Option<&Diff>) -> Markup {
    let started = &summary.started;
    let (added, deleted) = diff.map_or((0, 0), |diff| {
        diff.files.iter().fold((0, 0), |(added, deleted), file| (added + file.added, deleted + file.deleted))
    });
    html! {
        header {
            h1 { code { (command_line(&started.argv, 400)) } }
            p .lead {
                "Run " code { (started.run) } " in " code { (one_line(&started.project.0)) }
                ", " (when(&summary.began.to_string()))
            }
            (verdict(record, summary))
            dl .facts {
                div { dt { "Ended" } dd { (ended(summary)) } }
                @if let Some((_, facts)) = &summary.ended {
                    div { dt { "Took" } dd { (duration(facts.milliseconds.saturating_mul(1000))) } }
                }
                div { dt { "Commands" } dd { (gathered.commands) (failures(gathered.failed)) } }
                div {
                    dt { "Files changed" }
                    dd {
                        @match diff {
                            Some(diff) => {
                                (diff.files.len()) " "
                                span .good { "+" (added) } " " span .bad { "\u{2212}" (deleted) }
                            }
                            None => (gathered.paths.len()),
                        }
                    }
                }
                @if gathered.requests + gathered.denied > 0 {
                    div {
                        dt { "Network" }
                        dd {
                            (counted(gathered.requests, "request"))
                            @if gathered.denied > 0 { ", " span .bad { (gathered.denied) " denied" } }
                        }
                    }
                }
                div { dt { "Last tests" } dd { (last_tests(gathered)) } }
            }
            details {
                summary { "About this run" }
                (about(record, summary, gathered))
            }
        }
    }
}

fn about(record: &Record, summary: &Summary, gathered: &Gathered) -> Markup {
    let started = &summary.started;
    html! {
        dl .meta {
            dt { "Directory" } dd { code { (one_line(&started.cwd.0)) } }
            dt { "Host" } dd { (one_line(started.host.as_bytes())) ", Linux " (one_line(started.kernel.as_bytes())) ", uid " (started.uid) }
            dt { "Boundary" } dd { (one_line(started.boundary.join(", ").as_bytes())) }
            dt { "Recorder" } dd { "coffer " (one_line(started.version.as_bytes())) }
            dt { "Plan" } dd { code { (started.plan) } }
            @if gathered.terminal {
                dt { "Terminal" } dd { "recorded: " code { "coffer export " (started.run) " --format asciicast" } }
            }
            @if let Some((_, facts)) = &summary.ended {
                dt { "Left by it" } dd { "changed paths: " (facts.changed) ", besides those that git ignores: " (facts.ignored) }
            }
            @let blobs = &record.report().blobs;
            @if !blobs.removed.is_empty() || !blobs.missing.is_empty() {
                dt { "Contents" } dd { (blobs.removed.len()) " removed on purpose, " (blobs.missing.len()) " missing" }
            }
        }
    }
}

fn verdict(record: &Record, summary: &Summary) -> Markup {
    let report = record.report();
    let signer = match report.signed_by {
        SignedBy::Trusted(_) => "the key of this recorder",
        SignedBy::Claimed(_) => "the key that the run itself claims",
        SignedBy::Nobody => "nobody",
    };
    let (style, word, meaning) = match &report.state {
        State::Verified => ("good", "Verified", format!("all {} events are signed by {signer}.", report.events)),
        State::Cut => (
            "warn",
            "Cut",
            format!(
                "the record stops early or the run goes on; {} of {} events are signed by {signer}.",
                report.signed, report.events
            ),
        ),
        State::Tampered(fault) => (
            "bad",
            "Tampered with",
            format!("{}. This page shows what came before.", one_line(fault.to_string().as_bytes())),
        ),
    };
    let statement = report.statement.clone().and_then(|s| serde_json::from_value::<Statement>(s.into()).ok());
    html! {
        div class={ "verdict " (style) } {
            p { b class=(style) { (word) } " when this page was written: " (meaning) }
            @if let Some(statement) = statement {
                p {
                    "Completeness: "
                    span class=(if statement.unexplained == 0 { "good" } else { "bad" }) { (statement.unexplained) " unexplained" }
                    @for note in &statement.notes { "; " (one_line(note.as_bytes())) }
                }
            }
            @if let Some(commitment) = &report.commitment {
                p .dim {
                    "Root of the log at " (commitment.size) " events: " code { (commitment.root) } ". Check it with "
                    code { "coffer verify " (summary.started.run) " --witness " (commitment.size) ":" (commitment.root) }
                }
            }
        }
    }
}

fn ended(summary: &Summary) -> Markup {
    let Some((_, facts)) = &summary.ended else { return html! { span .warn { "not yet" } } };
    let RunEnded { reason, code, signal, .. } = facts;
    match (reason, code, signal) {
        (EndReason::Exited, Some(0), None) => html! { span .good { "exit 0" } },
        (EndReason::Exited, Some(code), None) => html! { span .bad { "exit " (code) } },
        (EndReason::Exited, _, Some(signal)) => html! { span .bad { "signal " (signal) } },
        (EndReason::Exited, None, None) => html! { span .warn { "unknown" } },
        (EndReason::ClientGone, ..) => html! { span .bad { "its terminal went away" } },
        (EndReason::Stopped, ..) => html! { span .warn { "stopped" } },
        (EndReason::InitDied, ..) => html! { span .bad { "its init died" } },
        (EndReason::MonitorDied, ..) => html! { span .bad { "its monitor died" } },
        (EndReason::NotExecuted, ..) => html! { span .bad { "not executed" } },
    }
}

fn failures(failed: u64) -> Markup {
    html! { @if failed > 0 { " " span .bad { (failed) " failed" } } }
}

fn last_tests(gathered: &Gathered) -> Markup {
    match gathered.tests.last() {
        None => html! { span .dim { "none seen" } },
        Some(run) if run.result.failed > 0 => {
            html! { span .bad { (run.result.failed) " failed" } ", " (run.result.passed) " passed" }
        }
        Some(run) => html! { span .good { (run.result.passed) " passed" } },
    }
}

/// A time for people, of its RFC 3339 form.
fn when(time: &str) -> String {
    match (time.get(..10), time.get(11..19)) {
        (Some(date), Some(clock)) => format!("{date} {clock} UTC"),
        _ => time.to_owned(),
    }
}
