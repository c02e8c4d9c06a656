//! What models asked for, and what came of it, call by call.

use std::io::Write;

use cofferdam_review::causes::{Call, Comparison};
use cofferdam_review::story::Story;
use cofferdam_review::text::{counted, fit, one_line, size};
use serde_json::json;

use super::Printing;
use crate::output;

/// Prints the calls of a story, or each with all that is known of it.
pub fn calls(story: &Story, json: bool, width: usize, out: &mut impl Write) -> Result<(), Printing> {
    if json {
        let calls: Vec<&Call> = story.calls.iter().map(AsRef::as_ref).collect();
        let answers: Vec<_> = story.answers.iter().map(AsRef::as_ref).collect();
        let whole = json!({
            "agent": story.agent, "spent": story.spent, "answers": answers, "calls": calls, "beyond": story.unkept,
        });
        return Ok(output::json(&whole)?);
    }
    for call in &story.calls {
        for line in lines(call) {
            writeln!(out, "{}", fit(&line, width))?;
        }
    }
    if story.calls.is_empty() {
        output::remark("no tool calls are in the record");
    }
    if story.unkept > 0 {
        output::remark(&format!("{} more are not told one by one", counted(story.unkept, "call or answer")));
    }
    Ok(())
}

fn lines(call: &Call) -> Vec<String> {
    let mut lines = vec![format!("{:>6}  {}  {}: {}", call.seq, &call.time.to_string()[11..19], call.tool, call.text)];
    let doubt = |ambiguous: bool| if ambiguous { ", others could be meant" } else { "" };
    for ran in &call.ran {
        lines.push(format!("{:>6}    ran, by {}{}", ran.seq, ran.how.word(), doubt(ran.ambiguous)));
    }
    for changed in &call.changed {
        let path = one_line(&changed.path.0);
        let (letter, how) = (changed.letter, changed.how.word());
        lines.push(format!("{:>6}    {letter} {path}, by {how}{}", changed.seq, doubt(changed.ambiguous)));
    }
    if call.more > 0 {
        lines.push(format!("          … {}", counted(call.more, "more command or file")));
    }
    let Some(told) = &call.told else {
        lines.push("          the model was told nothing".to_owned());
        return lines;
    };
    let failed = if told.error { ", that it failed" } else { "" };
    let compared = match &call.printed {
        None => String::new(),
        Some(Comparison::Same) => ": what was printed".to_owned(),
        Some(Comparison::Shortened { left_out }) => {
            format!(": all but {} of what was printed", counted(*left_out, "line"))
        }
        Some(Comparison::Differs { told, .. }) => format!(": OTHERWISE than printed: “{told}”"),
        Some(Comparison::Unknown { why }) => format!(": {why}"),
    };
    lines.push(format!("{:>6}    told {}{failed}{compared}", told.seq, size(told.bytes)));
    if let Some(Comparison::Differs { printed: Some(printed), .. }) = &call.printed {
        lines.push(format!("          where it has “{printed}”"));
    }
    lines
}
