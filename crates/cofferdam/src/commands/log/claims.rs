//! What the agent says that it did, beside what the record says.

use std::io::Write;

use cofferdam_review::claims::{Claims, Source, Verdict};
use cofferdam_review::text::{counted, fit};

use super::Printing;
use crate::output::{self, styled};

/// Prints the claims.
pub fn claims(claims: &Claims, json: bool, colour: bool, width: usize, out: &mut impl Write) -> Result<(), Printing> {
    if json {
        return Ok(output::json(claims)?);
    }
    let from = match claims.source {
        Source::Model { event } => format!("the model's last answer ({event})"),
        Source::Transcript => "the last message of the agent's transcript, which it wrote itself".to_owned(),
        Source::Output { event } => format!("what the run's command printed ({event}), which it wrote itself"),
    };
    writeln!(out, "{}", fit(&format!("claims of {from}"), width))?;
    for claim in &claims.claims {
        let style = match claim.verdict {
            Verdict::Supported => "32",
            Verdict::Refuted => "31",
            Verdict::NoEvidence => "33",
        };
        let word = format!("{:<11}", claim.verdict.words());
        writeln!(
            out,
            "\n{}  {}",
            styled(&word, style, colour),
            fit(&format!("“{}”", claim.sentence), width.saturating_sub(13))
        )?;
        let event = claim.event.map_or(String::new(), |seq| seq.to_string());
        writeln!(out, "{}", fit(&format!("{event:>11}  {}", claim.why), width))?;
    }
    if claims.claims.is_empty() {
        writeln!(out, "\nno sentence of it can be checked")?;
    }
    let counts = [Verdict::Supported, Verdict::Refuted, Verdict::NoEvidence]
        .map(|verdict| format!("{} {}", claims.count(verdict), verdict.words()));
    writeln!(out, "\n{}; {} not checkable", counts.join(", "), counted(claims.unchecked, "other sentence"))?;
    Ok(())
}
