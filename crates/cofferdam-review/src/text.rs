//! Text from an enclosure, made safe to show on one line, and fitted to a width.

use cofferdam_workspace::diff::is_hidden;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// One line: what acts on a terminal or hides from the eye is written out as an escape, line ends too.
pub fn one_line(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || is_hidden(c) {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Columns that a terminal needs for it.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// The text where it fits into some columns, else its beginning with `…`.
pub fn fit(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let (mut out, mut used) = (String::new(), 0);
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width + 1 > most {
            break;
        }
        used += width;
        out.push(c);
    }
    if most > 0 {
        out.push('…');
    }
    out
}

/// An argument as a shell would have to read it. One that holds what must not reach a terminal is written in the
/// `$'…'` form of POSIX.1-2024 (section 2.2.4), so that it is exact and harmless.
pub fn quoted(argument: &[u8]) -> String {
    let plain = std::str::from_utf8(argument).ok().filter(|text| !text.chars().any(|c| c.is_control() || is_hidden(c)));
    if let Some(Ok(text)) = plain.map(shlex::try_quote) {
        return text.into_owned();
    }
    let mut out = String::from("$'");
    for chunk in argument.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' | '\'' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\x1b' => out.push_str("\\e"),
                c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if c.is_control() || is_hidden(c) => out.push_str(&match u32::from(c) {
                    code @ ..=0xffff => format!("\\u{code:04x}"),
                    code => format!("\\U{code:08x}"),
                }),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('\'');
    out
}

/// A count with its noun: `1 file`, `1,204 files`.
pub fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// A number with its thousands apart.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How long something took: `12 ms`, `4.2 s`, `2m14s`, `3h02m`.
pub fn duration(microseconds: u64) -> String {
    let (milliseconds, seconds) = (microseconds / 1000, microseconds / 1_000_000);
    match seconds {
        0 if milliseconds < 1000 => format!("{milliseconds} ms"),
        0..60 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Bytes: `312 B`, `4.2 MB`.
pub fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    let units = ["B", "kB", "MB", "GB", "TB"];
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_gets_through() {
        let hostile = "a\x1b[31m\r\n\u{9b}2J\u{202e}\u{e0041}é".as_bytes();
        assert_eq!(one_line(hostile), "a\\u{1b}[31m\\r\\n\\u{9b}2J\\u{202e}\\u{e0041}é");
        assert_eq!(one_line(b"f\xff"), "f\\xff");
    }

    #[test]
    fn arguments_are_quoted_so_that_a_shell_reads_them_back() {
        for (raw, shown) in [
            (&b"plain-1.txt"[..], "plain-1.txt"),
            (b"", "''"),
            (b"two words", "'two words'"),
            (b"$(x)", "'$(x)'"),
            (b"a\nb'\\", "$'a\\nb\\'\\\\'"),
            (b"\x1b]0;\xff", "$'\\e]0;\\xff'"),
            ("\u{202e}\u{e0041}".as_bytes(), "$'\\u202e\\U000e0041'"),
        ] {
            assert_eq!(quoted(raw), shown);
        }
    }

    #[test]
    fn what_is_too_wide_is_cut_by_columns() {
        assert_eq!(fit("short", 5), "short");
        assert_eq!(fit("longer", 5), "long…");
        assert_eq!(fit("你好吗", 5), "你好…");
        assert_eq!(columns(&fit("你好吗", 4)), 3);
        assert_eq!(fit("x", 0), "");
    }

    #[test]
    fn figures_for_people() {
        assert_eq!((duration(12_345).as_str(), duration(4_250_000).as_str()), ("12 ms", "4.2 s"));
        assert_eq!((duration(134_000_000).as_str(), size(4_200_000).as_str()), ("2m14s", "4.2 MB"));
        assert_eq!((counted(1, "file"), counted(1_204_000, "file")), ("1 file".into(), "1,204,000 files".into()));
    }
}
