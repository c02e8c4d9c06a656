//! A story laid out for a terminal.

use std::collections::HashMap;

use super::Story;
use super::entry::Entry;
use super::fold::{Choice, Detail, Row};
use super::items::{self, Item};
use super::lines::{self, Line, Style};
use super::{detail, rank};
use crate::heads::Heads;
use crate::text::{columns, counted, fit, one_line};

/// Most columns that facts get where the text wants them too.
const FACTS: usize = 52;
/// Most bytes read of a prompt.
const PROMPT: u64 = 4096;

/// How a story is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// The run, as a person would type it.
    pub run: &'a str,
    /// Most lines in all; without a number nothing is folded.
    pub lines: Option<usize>,
    /// Columns.
    pub width: usize,
    /// Colours.
    pub theme: Option<Theme>,
    /// The run goes on.
    pub live: bool,
}

/// Starts of styles (`ECMA-48` SGR sequences).
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Prompts.
    pub asked: &'static str,
    /// What matters less.
    pub dim: &'static str,
    /// What works now.
    pub good: &'static str,
    /// What failed.
    pub bad: &'static str,
    /// What hides failures.
    pub warning: &'static str,
    /// The end of each.
    pub reset: &'static str,
}

impl Story {
    /// Lays the story out: a header, a line or more for what matters most, counted lines for the rest, and how to open
    /// them. The text is safe for a terminal; without a theme it has no control characters but newlines.
    pub fn render(&self, heads: &Heads, layout: &Layout<'_>) -> String {
        let mut out = lines::header(self, layout.run, layout.live);
        let (body, folded) = self.body(heads, layout);
        let foot = self.foot(layout, folded);
        let blank = Line::default();
        if !body.is_empty() {
            out.push(blank.clone());
            out.extend(body);
        }
        if !foot.is_empty() {
            out.push(blank);
            out.extend(foot);
        }
        print(&out, self.digits(), layout)
    }

    fn digits(&self) -> usize {
        self.entries.last().map_or(1, |entry| entry.seq().to_string().len()).max(2)
    }

    fn body(&self, heads: &Heads, layout: &Layout<'_>) -> (Vec<Line>, bool) {
        let fold = layout.lines.is_some();
        let items = items::items(&self.entries, fold);
        let lights = items::lights(&self.entries);
        let prompts = Texts::new(&self.entries, heads);
        let main = |at: usize| {
            let item = &items[at];
            let prompt = prompts.of(item.shown(&self.entries));
            let first = prompt.first().map_or("(no text)", String::as_str);
            lines::main(item, &self.entries, &lights, first, layout.live)
        };
        let width = layout.width.saturating_sub(self.digits() + 8).max(20);
        let plain =
            |at: usize| detail::plain(at, &items[at], &self.entries, width, prompts.of(items[at].shown(&self.entries)));
        let excerpt = |at: usize| {
            let item = &items[at];
            let command = self.entries[item.shown(&self.entries)].command()?;
            (item.kind != items::Kind::Looks).then(|| detail::excerpt(at, command, heads)).flatten()
        };
        let Some(most) = layout.lines else {
            let mut out = Vec::new();
            for at in 0..items.len() {
                out.push(main(at));
                let mut details = plain(at);
                details.extend(excerpt(at));
                details.sort_by_key(|d| d.priority);
                out.extend(details.into_iter().flat_map(|d| d.lines));
            }
            return (out, false);
        };
        // Header and foot, with a blank line each.
        let header = lines::header(self, layout.run, layout.live).len();
        let most = most.saturating_sub(header + 1 + 1 + self.foot(layout, true).len());
        let mut scores: Vec<u32> = items.iter().map(|item| rank::score(item, &self.entries, &lights)).collect();
        for outer in rank::outer(&self.entries).into_iter().flatten() {
            if let Ok(at) = items.binary_search_by_key(&outer, |item| *item.entries.start()) {
                scores[at] = rank::OUTER;
            }
        }
        let mut choice = Choice::new(items.len(), most);
        choice.take(&scores, most * 6 / 10);
        let details = detailed(&items, &scores, &mut choice, plain, excerpt);
        choice.take_rest(&scores);
        let (mut out, mut folded) = (Vec::new(), false);
        for row in choice.rows() {
            match row {
                Row::Shown(at) => {
                    folded |= items[at].entries.clone().count() > 1;
                    out.push(main(at));
                    out.extend(details.get(&at).into_iter().flatten().cloned());
                }
                Row::Folded(range) => {
                    folded = true;
                    let last = &items[range.end - 1];
                    out.push(lines::folded(&self.entries, *items[range.start].entries.start()..=*last.entries.end()));
                }
            }
        }
        (out, folded)
    }

    fn foot(&self, layout: &Layout<'_>, folded: bool) -> Vec<Line> {
        let mut out = Vec::new();
        let mut say = |text: String, style| out.push(Line { text: format!("  {text}"), style, ..Line::default() });
        if self.beyond.total > 0 {
            let tally = lines::below(&self.beyond, 0);
            say(
                format!("{tally}: more commands than are told one by one; --kind process.exec lists them"),
                Style::Warning,
            );
        }
        if self.earlier > 0 {
            say(
                format!("{} before that time", counted(self.earlier, "entry").replace("entrys", "entries")),
                Style::Dim,
            );
        }
        if self.unread > 0 {
            say(
                format!("{} of the log: not an event that this coffer knows", counted(self.unread, "line")),
                Style::Warning,
            );
        }
        if self.torn > 0 && !layout.live {
            say(format!("the log ends in half a line ({})", counted(self.torn, "byte")), Style::Warning);
        }
        if folded {
            let run = layout.run;
            let text =
                format!("all of it: coffer log {run} --all · one command: coffer log {run} --command N [--output]");
            say(text, Style::Dim);
        }
        out
    }
}

/// Gives lines to details, the most needed first: what failed before what changed, outputs then.
fn detailed(
    items: &[Item],
    scores: &[u32],
    choice: &mut Choice,
    plain: impl Fn(usize) -> Vec<Detail<Line>>,
    excerpt: impl Fn(usize) -> Option<Detail<Line>>,
) -> HashMap<usize, Vec<Line>> {
    let chosen: Vec<usize> =
        rank::order(scores).into_iter().filter(|at| choice.is_chosen(*at) && scores[*at] > rank::PLAIN / 2).collect();
    // Nothing is read for an item that gets no line.
    let mut wanted: Vec<Detail<Line>> =
        chosen.iter().filter(|at| **at < items.len()).flat_map(|at| plain(*at)).collect();
    wanted.extend(chosen.iter().take(choice.left()).filter_map(|at| excerpt(*at)));
    wanted.sort_by_key(|d| d.priority);
    let mut given: HashMap<usize, Vec<(u8, Line)>> = HashMap::new();
    for mut detail in wanted {
        detail.lines.truncate(choice.left());
        choice.spend(detail.lines.len());
        let lines = detail.lines.into_iter().map(|line| (detail.priority, line));
        given.entry(detail.item).or_default().extend(lines);
    }
    given.into_iter().map(|(at, lines)| (at, lines.into_iter().map(|(_, line)| line).collect())).collect()
}

/// The texts of prompts and answers, by the place of their entry.
struct Texts(HashMap<usize, Vec<String>>);

impl Texts {
    /// Most of them that are read.
    const MOST: usize = 4000;

    fn new(entries: &[Entry], heads: &Heads) -> Texts {
        let mut texts = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            let text = match entry {
                Entry::Prompt(said) => &said.text,
                Entry::Answer(answer) => match &answer.text {
                    Some(text) => text,
                    None => continue,
                },
                _ => continue,
            };
            if texts.len() == Self::MOST {
                break;
            }
            let rows = match heads.read(text, PROMPT) {
                Err(why) => vec![format!("(its text is {why})")],
                Ok(text) => {
                    let rows = text.split(|b| *b == b'\n').filter(|row| !row.trim_ascii().is_empty());
                    rows.map(|row| one_line(row.trim_ascii())).collect()
                }
            };
            texts.insert(at, rows);
        }
        Texts(texts)
    }

    fn of(&self, at: usize) -> &[String] {
        self.0.get(&at).map_or(&[], Vec::as_slice)
    }
}

fn print(lines: &[Line], digits: usize, layout: &Layout<'_>) -> String {
    let indent = |line: &Line| digits + 2 + 2 * line.depth;
    // The facts stand in one column, as far right as the longest text wants and the longest facts allow.
    let facts = lines.iter().map(|l| columns(&l.facts)).max().unwrap_or(0).min(FACTS);
    let room = layout.width.saturating_sub(facts + 2).max(30);
    let wanted = lines.iter().filter(|l| !l.facts.is_empty()).map(|l| indent(l) + columns(&l.text)).max();
    let column = wanted.unwrap_or(0).min(room);
    let mut out = String::new();
    for line in lines {
        let mut text = String::new();
        if !line.mark.is_empty() || line.depth > 0 || line.text.starts_with(['»', '«']) {
            text = format!("{:>digits$}  {}", line.mark, "  ".repeat(line.depth));
        }
        let start = columns(&text);
        if line.facts.is_empty() {
            text.push_str(&fit(&line.text, layout.width.saturating_sub(start)));
        } else {
            text.push_str(&fit(&line.text, column.saturating_sub(start)));
            let pad = column.saturating_sub(columns(&text)) + 2;
            text.push_str(&" ".repeat(pad));
            let left = layout.width.saturating_sub(columns(&text));
            text.push_str(&fit(&line.facts, left));
        }
        let style = layout.theme.map(|theme| match line.style {
            Style::Plain => ("", ""),
            Style::Asked => (theme.asked, theme.reset),
            Style::Dim => (theme.dim, theme.reset),
            Style::Good => (theme.good, theme.reset),
            Style::Bad => (theme.bad, theme.reset),
            Style::Warning => (theme.warning, theme.reset),
        });
        let (start, end) = style.unwrap_or(("", ""));
        out.push_str(start);
        out.push_str(text.trim_end());
        out.push_str(end);
        out.push('\n');
    }
    out
}
