//! Lines about what models asked for and were told.

use std::collections::BTreeMap;

use super::Story;
use super::lines::{Line, Style, tally};
use crate::causes::{Call, Comparison, How, Kind, Spent};
use crate::model::{price, tokens};
use crate::text::{counted, fit, grouped, one_line, size};

/// The line of a call that no command is known for.
pub(super) fn main(call: &Call, line: &mut Line) {
    line.text = format!("asked {}: {}", call.tool, call.text);
    match &call.told {
        None => line.facts = "no result of it is recorded".to_owned(),
        Some(told) if told.error => {
            line.facts = format!("told that it failed, {}", size(told.bytes));
            line.style = Style::Bad;
        }
        Some(_) if call.ran_nothing() => {
            line.facts = "no command that ran is known for it".to_owned();
            line.style = Style::Warning;
        }
        Some(told) => line.facts = format!("told {}", size(told.bytes)),
    }
}

/// What is said below a command that a model asked for, and whether that is bad.
pub(super) fn asked(call: &Call) -> (String, bool) {
    let ran = call.ran.first();
    let how = ran.map_or(How::Window, |ran| ran.how);
    // What is known by the arguments is known.
    let how = match (how, ran.is_some_and(|ran| ran.ambiguous)) {
        (How::Id | How::Argv, false) => String::new(),
        (how, false) => format!(", linked by {}", how.word()),
        (how, true) => format!(", linked by {}, others could be meant", how.word()),
    };
    let by = format!("asked {} ({}{how})", call.tool, call.seq);
    let Some(told) = &call.told else { return (format!("{by} · the model was told nothing"), false) };
    let at = told.seq;
    match &call.printed {
        None => (format!("{by} · told {} ({at})", size(told.bytes)), false),
        Some(Comparison::Same) => (format!("{by} · told the same ({at})"), false),
        Some(Comparison::Shortened { left_out: 0 }) => (format!("{by} · told part of it ({at})"), false),
        Some(Comparison::Shortened { left_out }) => {
            (format!("{by} · told all but {} ({at})", counted(*left_out, "line")), false)
        }
        Some(Comparison::Differs { told, printed }) => {
            let there =
                printed.as_ref().map_or(String::new(), |line| format!(", where it printed “{}”", fit(line, 60)));
            (format!("the model was TOLD OTHERWISE ({at}): “{}”{there}", fit(told, 70)), true)
        }
        Some(Comparison::Unknown { why }) => (format!("{by} · told {} ({at}): {why}", size(told.bytes)), false),
    }
}

/// The files that a call changed.
pub(super) fn changed(call: &Call) -> String {
    let mut parts: Vec<String> = Vec::new();
    for changed in call.changed.iter().take(8) {
        let doubt = if changed.ambiguous { "?" } else { "" };
        parts.push(format!(
            "{} {} (by {}{doubt})",
            changed.letter,
            fit(&one_line(&changed.path.0), 60),
            changed.how.word()
        ));
    }
    let rest = (call.changed.len().saturating_sub(8)) as u64 + call.more;
    if rest > 0 {
        parts.push(format!("… {} more", grouped(rest)));
    }
    parts.join(", ")
}

/// What requests came to, in words; `None` where there was none.
pub(super) fn spent(spent: &Spent) -> Option<String> {
    if spent.requests == 0 {
        return None;
    }
    let mut parts = vec![counted(spent.requests, "request")];
    if spent.failed > 0 {
        parts.push(format!("{} failed", grouped(spent.failed)));
    }
    if spent.usage.total() > 0 {
        parts.push(tokens(&spent.usage));
    }
    if spent.micro_usd > 0 {
        let least = if spent.unpriced > 0 { "at least " } else { "" };
        parts.push(format!("{least}{}", price(spent.micro_usd)));
    }
    Some(parts.join(", "))
}

/// The line of the header about models.
pub(super) fn header(story: &Story) -> Option<Line> {
    let spent = spent(&story.spent)?;
    let mut models: BTreeMap<String, u64> = BTreeMap::new();
    for answer in &story.answers {
        if models.len() < 16 || models.contains_key(&answer.model) {
            *models.entry(answer.model.clone()).or_default() += 1;
        }
    }
    let calls = story.calls.len() as u64;
    let differ = story.calls.iter().filter(|call| call.differs()).count() as u64;
    let nothing = story.calls.iter().filter(|call| call.kind == Kind::Command && call.ran_nothing()).count() as u64;
    let mut parts = vec![tally(&models, 3), spent, counted(calls, "tool call")];
    if nothing > 0 {
        parts.push(format!("{} without a command that is known", grouped(nothing)));
    }
    if differ > 0 {
        parts.push(format!("{} told otherwise than printed", grouped(differ)));
    }
    if story.unkept > 0 {
        parts.push(format!("{} more calls and answers", grouped(story.unkept)));
    }
    let style = if differ > 0 { Style::Bad } else { Style::Plain };
    Some(Line { text: format!("  {}", parts.join(" · ")), style, ..Line::default() })
}
