//! Text of an enclosure's, for formats that know nothing but Unicode, and for the eye.

use cofferdam_core::Bytes;
use cofferdam_workspace::diff::is_hidden;

use crate::text::quoted;

/// Bytes as text that says each of them: what is no UTF-8 is written `\xNN`.
pub(super) fn text(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Text for the eye: control characters as `^X`, bidirectional and invisible ones as `<U+202E>`, bytes that are no UTF-8
/// as `<FF>`, the same forms as in `coffer diff`. Tabs and newlines stay; carriage returns before a newline go.
pub(super) fn visible(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        let mut rest = chunk.valid().chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\r' if rest.peek() == Some(&'\n') => {}
                '\0'..='\x1f' | '\x7f' if is_hidden(c) => {
                    out.push('^');
                    // The control character's column in ASCII plus 64.
                    out.push(char::from((c as u8) ^ 64));
                }
                c if is_hidden(c) => out.push_str(&format!("<U+{:04X}>", u32::from(c))),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("<{byte:02X}>"));
        }
    }
    out
}

/// A command as a shell would read it, on one line, in `most` bytes or little more.
pub(super) fn command_line(argv: &[Bytes], most: usize) -> String {
    let mut out = String::new();
    for word in argv {
        if !out.is_empty() {
            out.push(' ');
        }
        if out.len() + word.0.len() > most {
            out.push_str(&quoted(&word.0[..most.saturating_sub(out.len()).min(word.0.len())]));
            out.push('\u{2026}');
            return out;
        }
        out.push_str(&quoted(&word.0));
    }
    out
}

/// A file's name without its directories.
pub(super) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_or_hides_is_written_out() {
        assert_eq!(
            visible("a\x1b[1m\u{202e}\u{e0041}\r\nb\rc\u{9b}".as_bytes()),
            "a^[[1m<U+202E><U+E0041>\nb^Mc<U+009B>"
        );
        assert_eq!(visible(b"f\xff\x7f\t"), "f<FF>^?\t");
        assert_eq!(text(b"f\xff\xc3\xa9"), "f\\xff\u{e9}");
    }

    #[test]
    fn commands_are_quoted_and_cut() {
        let argv: Vec<Bytes> = [&b"sh"[..], b"-c", b"echo 'a b'\nls", b""].map(Bytes::from).to_vec();
        assert_eq!(command_line(&argv, 1000), r"sh -c $'echo \'a b\'\nls' ''");
        let long = command_line(&vec![Bytes::from("x".repeat(50).as_str()); 5], 100);
        assert_eq!(long, format!("{} {}\u{2026}", "x".repeat(50), "x".repeat(49)));
        assert_eq!(base_name(b"a/b/c"), b"c");
    }
}
