//! The agent's own transcript beside what passed the gateway.

use std::io::Write;

use cofferdam_review::text::{counted, fit, grouped};
use cofferdam_review::transcripts::Compared;

use super::Printing;
use crate::output;

/// Prints where they disagree.
pub fn transcript(found: &Compared, json: bool, width: usize, out: &mut impl Write) -> Result<(), Printing> {
    if json {
        return Ok(output::json(found)?);
    }
    let mut line = |text: &str| writeln!(out, "{}", fit(text, width));
    for file in &found.files {
        line(&format!("transcript {file}"))?;
    }
    if found.files.is_empty() {
        line("no transcript of this run")?;
    }
    for difference in &found.differences {
        let event = difference.event.map_or(String::new(), |seq| seq.to_string());
        let id = if difference.id.is_empty() { String::new() } else { format!(" {}", difference.id) };
        line(&format!("{event:>6}  {} {}{id}", difference.what, difference.how.words()))?;
        for (name, text) in [("gateway", &difference.wire), ("transcript", &difference.transcript)] {
            if !text.is_empty() {
                line(&format!("        {name:<10}  {text}"))?;
            }
        }
    }
    if found.more > 0 {
        line(&format!("        … {}", counted(found.more, "more difference")))?;
    }
    let count = found.differences.len() as u64 + found.more;
    line(&format!("{} alike, {}", grouped(found.alike), counted(count, "difference")))?;
    if found.others > 0 {
        output::remark(&format!("{} of other runs in the same home", counted(found.others, "transcript")));
    }
    if found.unread > 0 {
        output::remark(&format!("{} not read: too large, or no JSON", counted(found.unread, "line or file")));
    }
    Ok(())
}
