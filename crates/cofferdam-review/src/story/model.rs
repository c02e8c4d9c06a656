//! Lines about what models asked for and were told.

use std::collections::BTreeMap;

use cofferdam_core::event::Usage;

use super::Story;
use super::lines::{Line, Style, tally};
use crate::causes::{Call, Comparison, How, Kind, Spent};
use crate::model::price;
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

/// The same where there is one line for all of it, and whether it is bad.
pub(crate) fn in_words(call: &Call) -> (String, bool) {
    let mut line = Line::default();
    main(call, &mut line);
    let changed = if call.changed.is_empty() { String::new() } else { format!(" · {}", changed(call)) };
    (format!("{} · {}{changed}", line.text, line.facts), line.style == Style::Bad)
}

/// What is said below a command that a model asked for where it was told otherwise.
pub(crate) fn otherwise(call: &Call) -> Vec<String> {
    let (Some(at), Some(Comparison::Differs { told, printed })) = (&call.told, &call.printed) else {
        return Vec::new();
    };
    let said = format!("the model was TOLD OTHERWISE ({}): “{told}”", at.seq);
    let there = printed.as_ref().map(|line| format!("  where it has “{line}”"));
    [Some(said), there].into_iter().flatten().collect()
}

/// What else is said below a command that a model asked for.
pub(crate) fn asked(call: &Call) -> String {
    let ran = call.ran.first();
    let how = ran.map_or(How::Window, |ran| ran.how);
    // What is known by the arguments is known.
    let how = match (how, ran.is_some_and(|ran| ran.ambiguous)) {
        (How::Id | How::Argv, false) => String::new(),
        (how, false) => format!(", linked by {}", how.word()),
        (how, true) => format!(", linked by {}, others could be meant", how.word()),
    };
    let by = format!("asked {} ({}{how})", call.tool, call.seq);
    let Some(told) = &call.told else { return format!("{by} · the model was told nothing") };
    let at = told.seq;
    match &call.printed {
        None => format!("{by} · told {} ({at})", size(told.bytes)),
        Some(Comparison::Same) => format!("{by} · told the same ({at})"),
        Some(Comparison::Shortened { left_out: 0 }) => format!("{by} · told part of it ({at})"),
        Some(Comparison::Shortened { left_out }) => {
            format!("{by} · told all but {} ({at})", counted(*left_out, "line"))
        }
        Some(Comparison::Differs { .. }) => by,
        Some(Comparison::Unknown { why }) => format!("{by} · told {} ({at}): {why}", size(told.bytes)),
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
    Some([vec![counted(spent.requests, "request")], figures(spent)].concat().join(", "))
}

/// What they cost.
fn figures(spent: &Spent) -> Vec<String> {
    let mut parts = Vec::new();
    if spent.failed > 0 {
        parts.push(format!("{} failed", grouped(spent.failed)));
    }
    if spent.micro_usd > 0 {
        let least = if spent.unpriced > 0 { "at least " } else { "" };
        parts.push(format!("{least}{}", price(spent.micro_usd)));
    }
    if spent.usage.total() > 0 {
        // How much of it came from a cache is told of each answer.
        let Usage { input, cached, cache_written, output, reasoning } = spent.usage;
        let read = input.saturating_add(cached).saturating_add(cache_written);
        parts.push(format!("{} → {} tokens", grouped(read), grouped(output.saturating_add(reasoning))));
    }
    parts
}

/// The line of the header about models.
pub(super) fn header(story: &Story) -> Option<Line> {
    if story.spent.requests == 0 {
        return None;
    }
    let figures: String = figures(&story.spent).into_iter().map(|figure| format!(", {figure}")).collect();
    let mut models: BTreeMap<String, u64> = BTreeMap::new();
    for answer in &story.answers {
        if models.len() < 16 || models.contains_key(&answer.model) {
            *models.entry(answer.model.clone()).or_default() += 1;
        }
    }
    let to = match models.len() {
        1 => models.into_keys().collect(),
        _ => tally(&models, 2),
    };
    let calls = story.calls.len() as u64;
    let differ = story.calls.iter().filter(|call| call.differs()).count() as u64;
    let nothing = story.calls.iter().filter(|call| call.kind == Kind::Command && call.ran_nothing()).count() as u64;
    let told = if differ > 0 { format!(", {} TOLD OTHERWISE", grouped(differ)) } else { String::new() };
    let nothing = if nothing > 0 { format!(", {} with no command known", grouped(nothing)) } else { String::new() };
    let mut parts = vec![
        format!("{}{told}{nothing}", counted(calls, "tool call")),
        format!("{} to {}{figures}", counted(story.spent.requests, "request"), to),
    ];
    if story.unkept > 0 {
        parts.push(format!("{} more calls and answers", grouped(story.unkept)));
    }
    let style = if differ > 0 { Style::Bad } else { Style::Plain };
    Some(Line { text: format!("  {}", parts.join(" · ")), style, ..Line::default() })
}
