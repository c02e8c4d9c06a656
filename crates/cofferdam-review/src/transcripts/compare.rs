//! Calls and results by id, messages by their text.

use std::collections::{HashMap, HashSet};

use cofferdam_core::event::BlobRef;

use super::find::{Found, Transcript};
use super::read::Arguments;
use super::{Compared, Difference, Disagreement, Item};
use crate::Heads;
use crate::story::Story;
use crate::testrun::plain;
use crate::text::{fit, one_line};

/// Most differences named.
const NAMED: usize = 200;
/// Most bytes read of a text.
const READ: u64 = 4 << 20;
/// Most columns shown of one.
const SHOWN: usize = 160;

pub(super) fn compare(story: &Story, heads: &Heads, found: Found) -> Compared {
    let known: HashSet<&str> = story.calls.iter().map(|call| call.id.as_str()).collect();
    let wire = Wire::read(story, heads);
    let is_of_run = |transcript: &Transcript| {
        transcript.items.iter().any(|item| match item {
            Item::Call { id, .. } | Item::Result { id, .. } => known.contains(id.as_str()),
            Item::Said(text) => wire.said.contains_key(text.trim()),
        })
    };
    let mut compared = Compared { unread: found.unread, ..Compared::default() };
    // Without exchanges nothing can be told of whose run a file is: the newest is taken.
    let blind = story.answers.is_empty();
    let count = found.files.len();
    let mut items = Vec::new();
    for (at, transcript) in found.files.into_iter().enumerate() {
        if is_of_run(&transcript) || (blind && at + 1 == count) {
            compared.files.push(transcript.name);
            items.extend(transcript.items);
        } else {
            compared.others += 1;
        }
    }
    compared.last = items.iter().rev().find_map(|item| match item {
        Item::Said(text) if !text.trim().is_empty() => Some(text.clone().into_bytes()),
        _ => None,
    });
    if !blind && !compared.files.is_empty() {
        wire.against(&items, &mut compared);
    }
    compared
}

/// What passed the gateway.
struct Wire {
    calls: Vec<WireCall>,
    /// Messages by text: the event, and whether the agent's own errands.
    said: HashMap<String, u64>,
}

struct WireCall {
    seq: u64,
    id: String,
    arguments: Option<String>,
    told: Option<(u64, String)>,
}

impl Wire {
    fn read(story: &Story, heads: &Heads) -> Wire {
        let text = |blob: &BlobRef| {
            let text = heads.read(blob, READ).ok().filter(|_| blob.size <= READ)?;
            Some(String::from_utf8_lossy(&text).into_owned())
        };
        let calls = story.calls.iter().map(|call| WireCall {
            seq: call.seq,
            id: call.id.clone(),
            arguments: call.arguments.as_ref().and_then(text),
            told: call
                .told
                .as_ref()
                .and_then(|told| Some((told.seq, told.content.as_ref().map_or(Some(String::new()), text)?))),
        });
        let talks = story.answers.iter().any(|answer| answer.tools);
        let said = story.answers.iter().filter(|answer| answer.tools || !talks);
        let said = said.filter_map(|answer| Some((text(answer.text.as_ref()?)?.trim().to_owned(), answer.seq)));
        Wire { calls: calls.collect(), said: said.filter(|(text, _)| !text.is_empty()).collect() }
    }

    fn against(&self, items: &[Item], compared: &mut Compared) {
        let (mut calls, mut results, mut said) = (HashMap::new(), HashMap::new(), Vec::new());
        for item in items {
            match item {
                Item::Call { id, name, arguments } => drop(calls.insert(shown_id(id), (name, arguments))),
                Item::Result { id, text } => drop(results.insert(shown_id(id), text)),
                Item::Said(text) if !text.trim().is_empty() => said.push(text.trim()),
                Item::Said(_) => {}
            }
        }
        for call in &self.calls {
            let wire = call.arguments.as_deref();
            match calls.remove(&call.id) {
                None => compared.differ(
                    Disagreement::Missing,
                    "call",
                    Some(call.seq),
                    &call.id,
                    wire.unwrap_or_default(),
                    "",
                ),
                Some((_, arguments)) if wire.is_some_and(|wire| Arguments::parse(wire) != *arguments) => {
                    let there = arguments.text();
                    compared.differ(
                        Disagreement::Altered,
                        "call",
                        Some(call.seq),
                        &call.id,
                        wire.unwrap_or_default(),
                        &there,
                    );
                }
                Some(_) => compared.alike += 1,
            }
            let Some((seq, wire)) = &call.told else { continue };
            match results.remove(&call.id) {
                None => compared.differ(Disagreement::Missing, "result", Some(*seq), &call.id, wire, ""),
                Some(text) if normal(text) != normal(wire) => {
                    let (wire, there) = apart(wire, text);
                    compared.differ(Disagreement::Altered, "result", Some(*seq), &call.id, &wire, &there);
                }
                Some(_) => compared.alike += 1,
            }
        }
        let mut rest: Vec<(String, &str, String)> = calls
            .into_iter()
            .map(|(id, (name, arguments))| (id, "call", format!("{name} {}", arguments.text())))
            .collect();
        rest.extend(results.into_iter().map(|(id, text)| (id, "result", text.clone())));
        rest.sort();
        for (id, what, text) in rest {
            let what = if what == "call" { "call" } else { "result" };
            compared.differ(Disagreement::Only, what, None, &id, "", &text);
        }
        self.messages(&said, compared);
    }

    /// A message may stand in several pieces in a transcript: each must be a part of what passed, and all that passed
    /// must have a piece.
    fn messages(&self, said: &[&str], compared: &mut Compared) {
        let mut met: HashSet<u64> = HashSet::new();
        let mut wire: Vec<(&String, &u64)> = self.said.iter().collect();
        wire.sort_by_key(|(_, seq)| **seq);
        for text in said {
            if let Some(seq) = self.said.get(*text) {
                met.insert(*seq);
                compared.alike += 1;
                continue;
            }
            match wire.iter().take(4000).find(|(whole, _)| whole.contains(*text)) {
                Some((_, seq)) => {
                    met.insert(**seq);
                    compared.alike += 1;
                }
                None => compared.differ(Disagreement::Only, "message", None, "", "", text),
            }
        }
        for (text, seq) in wire.into_iter().filter(|(_, seq)| !met.contains(seq)) {
            compared.differ(Disagreement::Missing, "message", Some(*seq), "", text, "");
        }
    }
}

/// As calls of the story have theirs.
fn shown_id(id: &str) -> String {
    fit(&one_line(id.as_bytes()), 120)
}

fn normal(text: &str) -> String {
    plain(text.as_bytes()).lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// The first lines that are not alike.
fn apart(wire: &str, there: &str) -> (String, String) {
    let (wire, there) = (normal(wire), normal(there));
    let (mut a, mut b) = (wire.lines(), there.lines());
    loop {
        match (a.next(), b.next()) {
            (Some(a), Some(b)) if a == b => {}
            (a, b) => return (a.unwrap_or_default().to_owned(), b.unwrap_or_default().to_owned()),
        }
    }
}

impl Compared {
    fn differ(&mut self, how: Disagreement, what: &'static str, event: Option<u64>, id: &str, wire: &str, there: &str) {
        if self.differences.len() == NAMED {
            self.more += 1;
            return;
        }
        let shown = |text: &str| fit(&one_line(&text.as_bytes()[..text.floor_char_boundary(4096)]), SHOWN);
        let (wire, transcript) = (shown(wire), shown(there));
        self.differences.push(Difference { how, what, event, id: id.to_owned(), wire, transcript });
    }
}
