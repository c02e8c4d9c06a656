//! What models asked for and said, put into a story.

use std::collections::HashMap;
use std::sync::Arc;

use cofferdam_core::event::Stream;

use super::Story;
use super::entry::{Command, Entry};
use crate::causes::{Answer, Call, Comparison, Printed, Spent, compare};
use crate::heads::Heads;

/// Most calls whose results are compared with what was printed, and most bytes read of each of the two.
const COMPARED: usize = 20_000;
const READ: u64 = 4 << 20;

/// Puts calls to the commands that they started, the others and what was said between the entries, and adds up.
pub(super) fn tell(story: &mut Story, mut calls: Vec<Call>, answers: Vec<Answer>, heads: Option<&Heads>) {
    if calls.is_empty() && answers.is_empty() {
        return;
    }
    let mut places: HashMap<u64, usize> = HashMap::new();
    for (at, entry) in story.entries.iter().enumerate() {
        if let Entry::Command(command) = entry {
            places.insert(command.seq, at);
        }
    }
    if let Some(heads) = heads {
        for call in calls.iter_mut().filter(|call| !call.ran.is_empty() && call.told.is_some()).take(COMPARED) {
            let ran: Vec<&Command> =
                call.ran.iter().filter_map(|ran| story.entries[*places.get(&ran.seq)?].command()).collect();
            call.printed = compared(call, &ran, heads);
        }
    }
    let calls: Vec<Arc<Call>> = calls.into_iter().map(Arc::new).collect();
    let answers: Vec<Arc<Answer>> = answers.into_iter().map(Arc::new).collect();
    let mut between = Vec::new();
    for call in &calls {
        let mut shown = false;
        for ran in &call.ran {
            if let Some(Entry::Command(command)) = places.get(&ran.seq).map(|at| &mut story.entries[*at]) {
                command.asked.get_or_insert_with(|| Arc::clone(call));
                shown = true;
            }
        }
        if !shown {
            between.push(Entry::Call(Arc::clone(call)));
        }
    }
    // What an agent lets a model write for itself, without tools, is no answer to the person.
    let talks = answers.iter().any(|answer| answer.tools);
    for answer in &answers {
        story.spent.add(answer);
        if answer.text.is_some() && (answer.tools || !talks) {
            between.push(Entry::Answer(Arc::clone(answer)));
        }
    }
    // Each is in order already but for what calls and answers do to each other: the sort is nearly a merge.
    story.entries.append(&mut between);
    story.entries.sort_by_key(Entry::seq);
    (story.calls, story.answers) = (calls, answers);
    spend(story);
}

/// What was spent from each prompt to the next.
fn spend(story: &mut Story) {
    let mut rest = story.answers.iter().peekable();
    let mut prompts: Vec<&mut super::Said> = story
        .entries
        .iter_mut()
        .filter_map(|entry| if let Entry::Prompt(said) = entry { Some(said) } else { None })
        .collect();
    // Of the only one the header says it.
    if prompts.len() < 2 {
        return;
    }
    for at in 0..prompts.len() {
        let until = prompts.get(at + 1).map_or(u64::MAX, |next| next.seq);
        let mut spent = Spent::default();
        while let Some(answer) = rest.next_if(|answer| answer.seq < until) {
            spent.add(answer);
        }
        prompts[at].spent = spent;
    }
}

fn compared(call: &Call, ran: &[&Command], heads: &Heads) -> Option<Comparison> {
    let unknown = |why| Some(Comparison::Unknown { why });
    let told = call.told.as_ref()?;
    let [command] = ran else {
        return unknown("several commands could be meant");
    };
    if call.ran.iter().any(|ran| ran.ambiguous) {
        return unknown("other calls could be meant as well");
    }
    let outputs = || command.outputs.iter().filter(|output| output.stream != Stream::Terminal);
    if !command.captured && outputs().next().is_none() {
        return unknown("what it printed is not recorded");
    }
    let own = outputs().any(|output| output.own);
    let mut printed = Printed { code: command.end.and_then(|end| end.code), ..Printed::default() };
    for output in outputs().filter(|output| output.own == own) {
        match heads.read(&output.blob, READ) {
            Ok(text) => printed.streams.push(text),
            Err(Heads::NONE) => return None,
            Err(_) => return unknown("what it printed is not there any more"),
        }
        printed.gap |= output.dropped > 0 || output.blob.size > READ;
    }
    let content = match &told.content {
        None => Vec::new(),
        Some(content) if content.size > READ => return unknown("what the model was told is too large to compare"),
        Some(content) => match heads.read(content, READ) {
            Ok(text) => text,
            Err(Heads::NONE) => return None,
            Err(_) => return unknown("what the model was told is not there any more"),
        },
    };
    Some(compare(&content, &printed))
}
