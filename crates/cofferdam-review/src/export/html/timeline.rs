//! The timeline: prompts and commands, nested by what caused them.

use cofferdam_core::event::{CommandOutput, ProcessExec, ProcessExit, Prompt, PromptSource, Stream, TestResult};
use cofferdam_core::{Bytes, Timestamp};
use maud::{Markup, html};

use super::super::text::{command_line, visible};
use super::super::{Content, Record, Result, Summary};
use super::budget::Budget;
use super::nodes::{Command, Gathered, Node, What};
use crate::argv::of_exec;
use crate::text::{counted, duration, one_line, size};

/// Most bytes of one output's head, and of its tail, and of the page for each.
const HEAD: usize = 6_000;
const TAIL: usize = 4_000;
/// Most bytes of page for a prompt.
const PROMPT: usize = 20_000;
/// Most bytes of a command in what is folded.
const WHOLE: usize = 4_000;
/// Commands that a folded command may have below it to stand open.
const FEW: u64 = 12;

pub(super) fn section(record: &Record, summary: &Summary, gathered: &Gathered, budget: &mut Budget) -> Result<Markup> {
    let mut page = Page { record, gathered, began: summary.began, budget };
    let items = page.items(&gathered.roots, 0)?;
    Ok(html! {
        section #timeline {
            h2 { "Timeline" }
            @if gathered.nodes.is_empty() { p .note { "No commands are recorded." } }
            (items)
            @if gathered.omitted > 0 { p .note { (gathered.omitted) " more notices and test runs are not on this page." } }
        }
    })
}

struct Page<'a> {
    record: &'a Record,
    gathered: &'a Gathered,
    began: Timestamp,
    budget: &'a mut Budget,
}

impl Page<'_> {
    fn items(&mut self, nodes: &[usize], level: u8) -> Result<Markup> {
        let mut all = Vec::with_capacity(nodes.len());
        for at in nodes {
            let node = &self.gathered.nodes[*at];
            all.push(match &node.what {
                What::Prompt(prompt) => self.prompt(node, prompt, level)?,
                What::Command(command) => self.command(node, command, level)?,
                What::Notice { text, grave } => html! {
                    div .item {
                        div .row {
                            (self.at(node))
                            span .what .warn[*grave] .dim[!*grave] { (one_line(text.as_bytes())) }
                        }
                    }
                },
            });
        }
        Ok(html! { @for item in &all { (item) } })
    }

    fn at(&self, node: &Node) -> Markup {
        let since = node.time.0.saturating_sub(self.began.0).max(0).unsigned_abs() / 1000;
        html! { span .at title=(node.time) { "+" (duration(since)) } }
    }

    fn prompt(&mut self, node: &Node, prompt: &Prompt, level: u8) -> Result<Markup> {
        let text = match self.record.content(&prompt.text, PROMPT as u64)? {
            Content::Kept { bytes, .. } => visible(&bytes),
            Content::Gone(why) => format!("[the text of this prompt {why}]"),
        };
        let how = match prompt.source {
            PromptSource::Argument => "as an argument",
            PromptSource::Stdin => "on standard input",
            PromptSource::Message => "in an editor's message",
            PromptSource::Typed => "typed",
            PromptSource::Model => "in a request to a model",
        };
        let (shown, left) = self.budget.take(&text, PROMPT);
        let mut line = one_line(shown.lines().next().unwrap_or_default().as_bytes());
        if shown.lines().count() > 1 {
            line.push_str(" \u{2026}");
        }
        let below = self.items(&node.children, level)?;
        Ok(html! {
            details #{ "e" (node.seq) } .item .prompt open {
                summary { (self.at(node)) span .what { "\u{201c}" (line) "\u{201d}" } span .end { "asked " (how) } }
                div .body {
                    @if shown.lines().count() > 1 { pre { (shown) } }
                    @if left > 0 || prompt.bytes > prompt.text.size { p .note { "The prompt goes on; its rest is not on this page." } }
                    (below)
                }
            }
        })
    }

    fn command(&mut self, node: &Node, command: &Command, level: u8) -> Result<Markup> {
        let argv = &command.exec.argv;
        let (line, short) = (command_line(argv, WHOLE), of_exec(&command.exec).text);
        let mut outputs = Vec::new();
        for output in &command.outputs {
            outputs.push(self.output(output, node.below == 0)?);
        }
        let below = self.items(&node.children, level.saturating_add(1))?;
        let open = level == 0 || (node.below > 0 && node.below <= FEW && node.failed > 0);
        Ok(html! {
            details #{ "e" (node.seq) } .item open[open] {
                summary {
                    (self.at(node))
                    span .what {
                        code { (short) }
                        @for test in &command.tests { " " (counts(test)) }
                        @if command.requests > 0 { " " span .tag { (counted(command.requests, "request")) } }
                        @if command.denied > 0 { " " span .tag .bad { (command.denied) " denied" } }
                    }
                    span .end {
                        (ending(command))
                        @if node.below > 0 {
                            " \u{b7} " (node.below) " inside"
                            @if node.failed > 0 { ", " span .bad { (node.failed) " failed" } }
                        }
                    }
                }
                div .body {
                    @if short != line { pre { (line) } }
                    @if let Some(script) = script(argv) { pre { (script) } }
                    (facts(node, command))
                    @for output in &outputs { (output) }
                    (below)
                    @if node.hidden > 0 { p .note { (node.hidden) " more commands inside are not on this page." } }
                }
            }
        })
    }

    /// Head and tail of an output, folded where there is more to see than that.
    fn output(&mut self, output: &CommandOutput, open: bool) -> Result<Markup> {
        let name = match output.stream {
            Stream::Stdout => "standard output",
            Stream::Stderr => "standard error",
            Stream::Both | Stream::Terminal => "output",
        };
        if self.budget.is_spent() {
            return Ok(html! { p .note { (name) ", " (size(output.bytes)) ": there is no room for it on this page" } });
        }
        let kept = usize::try_from(output.head).unwrap_or(usize::MAX);
        let most = if output.dropped > 0 { HEAD.min(kept) } else { HEAD };
        let ends = match self.record.ends(&output.blob, most, TAIL)? {
            Ok(ends) => ends,
            Err(why) => return Ok(html! { p .note { (name) ", " (size(output.bytes)) ": its content " (why) } }),
        };
        let whole = ends.between == 0 && output.dropped == 0;
        let (head, tail) = if whole {
            (visible(&[ends.head, ends.tail].concat()), String::new())
        } else {
            (visible(whole_start(&ends.head)), visible(whole_end(&ends.tail)))
        };
        let (head, cut) = self.budget.take(&head, HEAD + if whole { TAIL } else { 0 });
        let (tail, tail_cut) = self.budget.take(&tail, TAIL);
        Ok(html! {
            details .out open[open] {
                summary {
                    (name) ", " (size(output.bytes))
                    @if output.dropped > 0 { "; " (size(output.dropped)) " in the middle were not recorded" }
                    @if !whole || cut + tail_cut > 0 { "; only parts of it are on this page" }
                }
                @if !head.is_empty() { pre { (head) } }
                @if !whole || cut > 0 { p .note { "\u{2026}" } }
                @if !tail.is_empty() { pre { (tail) } }
            }
        })
    }
}

/// What is worth a line below a command.
fn facts(node: &Node, command: &Command) -> Markup {
    let ProcessExec { pid, executable, cwd, unconfirmed, .. } = &command.exec;
    html! {
        p .note {
            "event " (node.seq) ", process " (pid) ", " code { (one_line(&executable.path.0)) }
            " in " code { (one_line(&cwd.0)) }
            @if let Some(memory) = command.exit.as_ref().and_then(|exit| exit.memory) {
                ", at most " (size(memory.saturating_mul(1024))) " of memory"
            }
            @if *unconfirmed { ", " span .warn { "arguments not confirmed" } }
        }
        @if !command.files.is_empty() {
            p .note {
                "while it ran, changed: "
                @for (n, path) in command.files.iter().enumerate() {
                    @if n > 0 { ", " }
                    code { (one_line(&path.0)) }
                }
                @if command.more_files > 0 { " and " (command.more_files) " more" }
            }
        }
        @for (said, bad) in &command.asked {
            p .note { span .bad[*bad] { (said) } }
        }
        @for (said, denied) in &command.network {
            p .note { span .bad[*denied] { (said) } }
        }
        @if command.more_network > 0 {
            p .note { (command.more_network) " more requests, connections and denials of it are not on this page." }
        }
        @for test in &command.tests {
            @if !test.failing.is_empty() {
                p .note { span .bad { "failing: " } (one_line(test.failing.join(", ").as_bytes())) }
            }
        }
    }
}

fn ending(command: &Command) -> Markup {
    let Some(ProcessExit { code, signal, microseconds, .. }) = &command.exit else {
        return html! { @if command.replaced { "became another" } @else { span .warn { "no end recorded" } } };
    };
    html! {
        @match (code, signal) {
            (_, Some(signal)) => span .bad { "signal " (signal) },
            (Some(0), _) => "exit 0",
            (Some(code), _) => span .bad { "exit " (code) },
            (None, None) => span .warn { "ended" },
        }
        ", " (duration(*microseconds))
    }
}

/// A test run in a few words.
pub(super) fn counts(test: &TestResult) -> Markup {
    let style = if test.failed > 0 { "bad" } else { "good" };
    html! {
        span .tag .(style) {
            (one_line(test.framework.as_bytes())) ": " (test.passed) " passed"
            @if test.failed > 0 { ", " (test.failed) " failed" }
        }
    }
}

/// Without a last character that was cut.
fn whole_start(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(e) if e.error_len().is_none() => &bytes[..e.valid_up_to()],
        _ => bytes,
    }
}

/// From the first line, or at least the first character, that was not cut.
fn whole_end(bytes: &[u8]) -> &[u8] {
    let line = bytes.iter().position(|b| *b == b'\n').filter(|at| at + 1 < bytes.len());
    let start = line.map_or_else(|| bytes.iter().take_while(|b| **b & 0xc0 == 0x80).count(), |at| at + 1);
    &bytes[start..]
}

/// The first argument of several lines, as it reads.
fn script(argv: &[Bytes]) -> Option<String> {
    let script = &argv.iter().find(|word| word.0.trim_ascii_end().contains(&b'\n'))?.0;
    Some(visible(whole_start(&script[..script.len().min(WHOLE)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_characters_and_lines_go() {
        assert_eq!(whole_start(b"ab\xc3"), b"ab");
        assert_eq!(whole_start(b"ab\xff"), b"ab\xff", "what never was text is shown as what it is");
        assert_eq!(whole_end(b"\xa9cd\nef\n"), b"ef\n");
        assert_eq!(whole_end(b"\xa9cd\n"), b"cd\n");
        assert_eq!(script(&["sh".into(), "-c".into(), "a\n\tb".into()]).unwrap(), "a\n\tb");
        assert_eq!(script(&["echo".into(), "a\n".into()]), None);
    }
}
