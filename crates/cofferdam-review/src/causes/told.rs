//! Whether what a model was told of a command is what the command printed.
//!
//! Agents trim, shorten, put the exit code before or behind, name the streams. All of that is known by its form and is no
//! difference; what is neither printed nor of such a form is.

use serde::Serialize;
use serde_json::Value;

use crate::testrun::plain;
use crate::text::{fit, one_line};

/// Most columns shown of a differing line.
const LINE: usize = 160;
/// Most lines of an output that one line is looked for in.
const AHEAD: usize = 20_000;

/// How what the model was told compares with what was printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "compared", rename_all = "kebab-case")]
pub enum Comparison {
    /// It is the same.
    Same,
    /// Everything told was printed, and more was printed than told.
    Shortened {
        /// Lines that were left out; empty ones do not count.
        left_out: u64,
    },
    /// It was told something that was not printed, or not there.
    Differs {
        /// The first line that is not what was printed, safe for a terminal, shortened.
        told: String,
        /// What stands there instead, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        printed: Option<String>,
    },
    /// It cannot be said.
    Unknown {
        /// Why.
        why: &'static str,
    },
}

/// What a command printed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Printed {
    /// Each stream's bytes.
    pub streams: Vec<Vec<u8>>,
    /// Part of it was not kept.
    pub gap: bool,
    /// Its exit code.
    pub code: Option<i32>,
}

/// Lines that an agent puts around an output, with a value that is no part of it.
const FRAMES: &[&str] = &[
    "wall time",
    "command:",
    "directory:",
    "signal:",
    "background pids:",
    "process group pgid:",
    "total output lines:",
    "chunk id:",
    "original token count:",
    "process running with session id",
    "error: (none)",
    "stdout: (empty)",
    "stderr: (empty)",
    "<exited with",
    "shell cwd was reset to",
];
/// Lines that are nothing else.
const WORDS: &[&str] = &[
    "(no output)",
    "(empty)",
    "(none)",
    "no output",
    "(bash completed with no output)",
    "tool ran without output or errors",
    "command executed successfully.",
    "output:",
    "stdout:",
    "stderr:",
    "error:",
    "<stdout>",
    "</stdout>",
    "<stderr>",
    "</stderr>",
    "<bash_metadata>",
    "</bash_metadata>",
    "<shell_metadata>",
    "</shell_metadata>",
];
/// What stands before the first line of an output on the same line.
const BEFORE: &[&str] = &["Output: ", "Stdout: ", "Stderr: ", "Error: ", "<stdout>", "<stderr>"];
/// What says an exit code.
const CODES: &[&str] = &[
    "exit code: ",
    "exit code ",
    "exited with code ",
    "process exited with code ",
    "exited with exit code ",
    "command failed with exit code ",
    "<exit_code>",
];

/// Compares them.
pub(crate) fn compare(told: &[u8], printed: &Printed) -> Comparison {
    let told = unwrapped(told);
    let streams: Vec<String> = printed.streams.iter().map(|stream| plain(stream)).collect();
    let streams: Vec<Vec<&str>> = streams.iter().map(|stream| lines(stream)).collect();
    let told = lines(&told);
    let mut reader = Reader { at: vec![0; streams.len()], streams: &streams, left_out: 0 };
    let mut after_gap = true;
    for (n, line) in told.iter().enumerate() {
        let before_gap = told.get(n + 1).is_none_or(|next| is_marker(next));
        if reader.takes(line, after_gap, before_gap) {
            after_gap = false;
            continue;
        }
        if is_marker(line) {
            after_gap = true;
            continue;
        }
        match of_frame(line) {
            Frame::Code(code) if printed.code.is_none_or(|real| real == code) => continue,
            Frame::Code(_) => {
                let real = printed.code.map(|real| format!("exit code {real}"));
                return Comparison::Differs { told: shown(line), printed: real };
            }
            Frame::Is => continue,
            Frame::No => {}
        }
        let inner = BEFORE.iter().find_map(|word| line.strip_prefix(word)).map(str::trim);
        if inner.is_some_and(|inner| {
            inner.is_empty() || of_frame(inner) == Frame::Is || reader.takes(inner, true, before_gap)
        }) {
            after_gap = false;
            continue;
        }
        if printed.gap {
            return Comparison::Unknown { why: "part of what it printed was not kept" };
        }
        return Comparison::Differs { told: shown(line), printed: reader.next().map(shown) };
    }
    match reader.finish() {
        0 if !printed.gap => Comparison::Same,
        left_out => Comparison::Shortened { left_out },
    }
}

/// The text in the JSON that Codex wraps an output into.
fn unwrapped(told: &[u8]) -> String {
    let text = plain(told);
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str::<Value>(text.trim())
        && let Some(Value::String(output)) = value.get("output")
    {
        let code = value.get("metadata").and_then(|m| m.get("exit_code")).and_then(Value::as_i64);
        let code = code.map(|code| format!("exit code: {code}\n")).unwrap_or_default();
        return format!("{code}{}", plain(output.as_bytes()));
    }
    text
}

/// Without what no agent hands on unchanged: blanks around lines, and empty lines.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// The printed lines that are still to come, of each stream: how two streams mix is not known.
struct Reader<'a> {
    streams: &'a [Vec<&'a str>],
    at: Vec<usize>,
    left_out: u64,
}

impl<'a> Reader<'a> {
    /// Whether a line comes next, or later. `cut_before`, `cut_behind`: it may be a part of one.
    fn takes(&mut self, line: &str, cut_before: bool, cut_behind: bool) -> bool {
        let fits = |printed: &&str| {
            *printed == line
                || (cut_behind && line.len() >= 8 && printed.starts_with(line.trim_end_matches(['…', '.'])))
                || (cut_before && line.len() >= 8 && printed.ends_with(line))
                || (is_cut(line) && is_of(line, printed))
        };
        let find = |(stream, at): (&Vec<&str>, &usize)| stream.get(*at..)?.iter().take(AHEAD).position(fits);
        let found = self.streams.iter().zip(&self.at).enumerate();
        let nearest = found.filter_map(|(n, place)| Some((find(place)?, n))).min();
        let Some((ahead, stream)) = nearest else { return false };
        self.left_out += ahead as u64;
        self.at[stream] += ahead + 1;
        true
    }

    fn next(&self) -> Option<&'a str> {
        self.streams.iter().zip(&self.at).find_map(|(stream, at)| stream.get(*at).copied())
    }

    /// Lines that were passed over.
    fn finish(&self) -> u64 {
        let rest = self.streams.iter().zip(&self.at).map(|(stream, at)| (stream.len() - at) as u64);
        self.left_out + rest.sum::<u64>()
    }
}

/// A line that an agent cut in its middle: `begin…123 chars truncated…end`.
fn is_cut(line: &str) -> bool {
    line.contains("truncated") && line.matches('…').count() == 2
}

fn is_of(line: &str, printed: &str) -> bool {
    let (Some((begin, _)), Some((_, end))) = (line.split_once('…'), line.rsplit_once('…')) else { return false };
    printed.starts_with(begin) || (!end.is_empty() && printed.ends_with(end))
}

/// A line that says that something was left out.
fn is_marker(line: &str) -> bool {
    let low = line.to_ascii_lowercase();
    let opens = low.starts_with(['[', '(', '<', '…', '.', '-', '*']);
    let says = ["truncated", "omitted", "left out", "lines]", "lines)", "more lines", "output too large", "+"]
        .iter()
        .any(|word| low.contains(word));
    opens && says && low.bytes().any(|b| b.is_ascii_digit()) || (opens && low.contains("truncated")) || is_cut(line)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    No,
    Is,
    /// It says that the command ended so.
    Code(i32),
}

fn of_frame(line: &str) -> Frame {
    let low = line.to_ascii_lowercase();
    let code = CODES.iter().find_map(|word| low.strip_prefix(word));
    if let Some(code) = code.map(|rest| rest.trim_end_matches("</exit_code>").trim_end_matches('.').trim()) {
        match code.parse() {
            Ok(code) => return Frame::Code(code),
            Err(_) if code == "(none)" => return Frame::Is,
            Err(_) => {}
        }
    }
    let is = WORDS.contains(&low.as_str()) || FRAMES.iter().any(|frame| low.starts_with(frame));
    if is { Frame::Is } else { Frame::No }
}

fn shown(line: &str) -> String {
    fit(&one_line(line.as_bytes()), LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(told: &str, stdout: &str, stderr: &str, code: i32) -> Comparison {
        let streams = vec![stdout.as_bytes().to_vec(), stderr.as_bytes().to_vec()];
        compare(told.as_bytes(), &Printed { streams, gap: false, code: Some(code) })
    }

    fn differs(told: &str, printed: Option<&str>) -> Comparison {
        Comparison::Differs { told: told.into(), printed: printed.map(str::to_owned) }
    }

    #[test]
    fn what_agents_put_around_an_output_is_no_difference() {
        for (told, stdout, stderr, code) in [
            ("a\nb", "a\nb\n", "", 0),
            ("", "", "", 0),
            ("(no output)", "", "", 0),
            ("Exit code 1\na\nwarn", "a\n", "warn\n", 1),
            ("warn\na", "a\n", "warn\n", 0),
            ("Exit code: 0\nWall time: 0.1 seconds\nOutput:\n\x1b[1ma\x1b[0m\n", "\x1b[1ma\x1b[0m\n", "", 0),
            (
                "Command: x\nDirectory: (root)\nStdout: a\nb\nStderr: (empty)\nError: (none)\nExit Code: 0\nSignal: (none)",
                "a\nb\n",
                "",
                0,
            ),
            (r#"{"output":"a\nb\n","metadata":{"exit_code":2,"duration_seconds":0.1}}"#, "a\nb\n", "", 2),
            ("  a", "\n\n   a   \r\n", "", 0),
            ("100%", "1%\r50%\r100%\n", "", 0),
        ] {
            let got = of(told, stdout, stderr, code);
            let same = got == Comparison::Same || (told == "100%" && got == Comparison::Shortened { left_out: 2 });
            assert!(same, "{told:?} {got:?}");
        }
    }

    #[test]
    fn less_than_all_is_shortened() {
        let long: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let told = "line 0\nline 1\n... [96 lines truncated] ...\nline 98\nline 99";
        assert_eq!(of(told, &long, "", 0), Comparison::Shortened { left_out: 96 });
        assert_eq!(of("line 0\nline 1\n… +98 lines", &long, "", 0), Comparison::Shortened { left_out: 98 });
        let cut = "a long line that is cu";
        assert_eq!(of(cut, "a long line that is cut here\n", "", 0), Comparison::Same);
        let inside = "begin of it…17 chars truncated…end of it";
        assert_eq!(of(inside, "begin of it, the middle of it, end of it\n", "", 0), Comparison::Same);
    }

    #[test]
    fn what_was_not_printed_is_named() {
        assert_eq!(
            of("test result: ok. 3 passed", "test result: FAILED. 1 failed\n", "", 101),
            differs("test result: ok. 3 passed", Some("test result: FAILED. 1 failed"))
        );
        assert_eq!(of("Exit code: 0\na", "a\n", "", 101), differs("Exit code: 0", Some("exit code 101")));
        assert_eq!(of("a\nb\nc", "a\nc\nb\n", "", 0), differs("c", None));
        assert_eq!(of("Output: all good", "", "", 0), differs("Output: all good", None));
        assert_eq!(of("a\x1b]0;x\x07\u{202e}b", "", "", 0), differs("a\\u{202e}b", None));
    }

    #[test]
    fn a_gap_in_the_record_is_no_accusation() {
        let printed = Printed { streams: vec![b"a\nz\n".to_vec()], gap: true, code: Some(0) };
        assert_eq!(compare(b"a\nm\nz", &printed), Comparison::Unknown { why: "part of what it printed was not kept" });
        assert!(matches!(compare(b"a\nz", &printed), Comparison::Shortened { .. }));
    }
}
