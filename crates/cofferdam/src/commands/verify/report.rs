//! What a verification found, for a person and for a program.

use cofferdam_core::event::{Counted, Statement};
use cofferdam_evidence::{Report, SignedBy, State};
use cofferdam_review::text::grouped;
use cofferdam_runtime::agreement::Agreement;
use serde_json::json;

use crate::output;

/// Most paths that are named to a person.
const MOST_NAMED: usize = 10;

/// The statement of the end checkpoint, where it reads.
fn statement(report: &Report) -> Option<Statement> {
    let map = report.statement.clone()?;
    serde_json::from_value(serde_json::Value::Object(map)).ok()
}

/// All of it, for a program.
pub(super) fn facts(report: &Report, agreement: Option<&Agreement>) -> serde_json::Value {
    let (state, fault) = match &report.state {
        State::Verified => ("verified", None),
        State::Cut => ("cut", None),
        State::Tampered(fault) => ("tampered", Some(fault)),
    };
    json!({
        "state": state,
        "run": report.run,
        "signed_by": signed_by(report),
        "events": report.events,
        "signed": report.signed,
        "checkpoints": report.checkpoints,
        "ended": report.ended,
        "torn": report.torn,
        "torn_checkpoint": report.torn_checkpoint,
        "commitment": report.commitment,
        "clock": report.clock,
        "blobs": {
            "present": report.blobs.present,
            "removed": report.blobs.removed,
            "missing": report.blobs.missing,
        },
        "statement": statement(report),
        "layers": agreement.map(|a| json!({
            "agree": a.holds(),
            "paths": a.paths,
            "struck": a.struck,
            "broken": a.broken.as_ref().map(|b| json!({"path": b.path, "seq": b.seq, "earlier": b.earlier})),
            "differences": a.differences.iter().map(|d| json!({
                "path": d.path, "recorded": d.recorded, "found": d.found,
            })).collect::<Vec<_>>(),
        })),
        "fault": fault.map(|f| json!({
            "check": f.check, "start": f.range.start, "end": f.range.end, "seq": f.seq, "detail": f.detail,
        })),
    })
}

fn signed_by(report: &Report) -> &'static str {
    match report.signed_by {
        SignedBy::Trusted(_) => "trusted-key",
        SignedBy::Claimed(_) => "the-runs-own-key",
        SignedBy::Nobody => "nobody",
    }
}

/// A few lines, for a person.
pub(super) fn human(report: &Report, agreement: Option<&Agreement>, colour: bool) -> String {
    let run = report.run.as_ref().map_or("a run that names itself nowhere".to_owned(), ToString::to_string);
    let (verdict, style) = match &report.state {
        State::Verified => ("verified".to_owned(), "32"),
        State::Cut => ("cut: the record stops early; what is signed is good".to_owned(), "33"),
        State::Tampered(fault) => (format!("TAMPERED: {}", output::visible(fault.to_string().as_bytes())), "31"),
    };
    let mut text = format!("{run}  {}\n", output::styled(&verdict, style, colour));
    let mut row = |name: &str, what: String| text.push_str(&format!("  {name:<11} {what}\n"));
    let by = match report.signed_by {
        SignedBy::Trusted(_) => "the key you trust",
        SignedBy::Claimed(_) => "the key that the run itself claims (trust one with --key)",
        SignedBy::Nobody => "nobody",
    };
    row("events", format!("{}, {} signed by {by}", grouped(report.events), grouped(report.signed)));
    if report.torn > 0 {
        row("torn", format!("{} at the end are no whole event", output::counted(report.torn, "byte")));
    }
    if report.torn_checkpoint > 0 {
        let bytes = output::counted(report.torn_checkpoint, "byte");
        row("torn", format!("{bytes} at the end of `checkpoints` are no whole checkpoint"));
    }
    if let Some(step) = report.clock {
        let back = output::duration(step.nanoseconds.unsigned_abs() / 1_000_000);
        row("clock", format!("set back by {back} at event {}; the order of events is signed", step.seq));
    }
    if let Some(c) = &report.commitment {
        row("commitment", format!("{}:{}", c.size, c.root));
    }
    let blobs = &report.blobs;
    if blobs.present + blobs.removed.len() as u64 + blobs.missing.len() as u64 > 0 {
        let mut what = format!("{} as named", grouped(blobs.present));
        for (blobs, how) in [(&blobs.removed, "removed on purpose"), (&blobs.missing, "missing")] {
            if !blobs.is_empty() {
                what.push_str(&format!(", {} {how}", grouped(blobs.len() as u64)));
            }
        }
        row("blobs", what);
    }
    if let Some(statement) = statement(report) {
        for (name, line) in statement_rows(&statement) {
            row(name, line);
        }
    }
    if let Some(agreement) = agreement {
        for line in agreement_rows(agreement) {
            row("layers", line);
        }
    }
    text
}

/// What was counted two ways.
fn statement_rows(statement: &Statement) -> Vec<(&'static str, String)> {
    let counted = |what: Counted, other: &str| {
        let mut line = format!("{} recorded, ", grouped(what.recorded));
        match what.counted {
            Some(n) => line.push_str(&format!("{} {other}", grouped(n))),
            None => line.push_str("not counted another way"),
        }
        line.push_str(&format!("; {} unexplained", grouped(what.unexplained)));
        line
    };
    let mut rows = vec![
        ("execs", counted(statement.execs, "counted by the process connector")),
        ("exits", counted(statement.exits, "processes known")),
        ("files", counted(statement.files, "in the change set of the layer")),
        ("output", counted(statement.output, "bytes handed on")),
    ];
    if statement.unexplained > 0 {
        rows.push(("unexplained", grouped(statement.unexplained)));
    }
    rows.extend(statement.notes.iter().map(|note| ("note", output::visible(note.as_bytes()))));
    rows
}

fn agreement_rows(agreement: &Agreement) -> Vec<String> {
    let mut rows = Vec::new();
    if agreement.holds() {
        rows.push(format!("{} as the log says", output::counted(agreement.paths, "changed path")));
    }
    if let Some(broken) = &agreement.broken {
        rows.push(output::visible(broken.to_string().as_bytes()));
    }
    for difference in agreement.differences.iter().take(MOST_NAMED) {
        let path = output::visible(&difference.path.0);
        rows.push(match (&difference.recorded, &difference.found) {
            (None, Some(_)) => format!("NOT AS THE LOG SAYS: {path} is there, and the log does not have it"),
            (Some(_), None) => format!("NOT AS THE LOG SAYS: {path} is gone, and the log has it"),
            _ => format!("NOT AS THE LOG SAYS: {path} holds something else"),
        });
    }
    if agreement.differences.len() > MOST_NAMED {
        rows.push(format!("and {} more: --json names all", agreement.differences.len() - MOST_NAMED));
    }
    if agreement.struck > 0 {
        rows.push(format!(
            "{} with a secret in its name cannot be compared",
            output::counted(agreement.struck, "path")
        ));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_reads_as_a_sentence() {
        let counted = Counted { recorded: 3214, counted: Some(3214), unexplained: 0 };
        let statement = Statement { execs: counted, notes: vec!["no connector".into()], ..Statement::default() };
        let rows = statement_rows(&statement);
        assert_eq!(
            rows[0],
            ("execs", "3,214 recorded, 3,214 counted by the process connector; 0 unexplained".to_owned())
        );
        assert_eq!(rows[1].1, "0 recorded, not counted another way; 0 unexplained");
        assert_eq!(rows.last().unwrap(), &("note", "no connector".to_owned()));
        assert_eq!([7, 1000, 1_234_567].map(grouped), ["7", "1,000", "1,234,567"]);
    }
}
