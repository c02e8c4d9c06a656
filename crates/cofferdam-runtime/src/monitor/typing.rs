//! Keystrokes as lines: what a person typed up to Enter, edited as a terminal's line discipline would.
//!
//! Keys that move the cursor or call something back are not followed: a line is what was typed, not what the program's own
//! line editor made of it.

use vte::{Params, Parser, Perform};

/// Most bytes of a line that are kept.
pub(super) const MOST: usize = 64 * 1024;

/// A line that was ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Its beginning.
    pub(super) text: String,
    /// Bytes of all of it.
    pub(super) bytes: u64,
}

/// What is being typed.
#[derive(Default)]
pub(super) struct Typing {
    parser: Parser,
    /// The last key was the escape key or begins a sequence.
    escaped: bool,
    editor: Editor,
}

impl Typing {
    /// Takes what came from the keyboard at once; the lines that it ends.
    pub(super) fn keys(&mut self, keys: &[u8]) -> Vec<Line> {
        if std::mem::take(&mut self.escaped) {
            // A sequence comes as a whole: this was the key itself.
            self.parser = Parser::new();
        }
        for key in keys {
            match (self.escaped, key) {
                // Alt with Enter and with backspace.
                (true, b'\r' | b'\n') => self.alone(|editor| editor.push('\n')),
                (true, 0x7f | 0x08) => self.alone(Editor::rub_word),
                _ => self.parser.advance(&mut self.editor, &[*key]),
            }
            self.escaped = *key == 0x1b;
        }
        std::mem::take(&mut self.editor.ended)
    }

    fn alone(&mut self, act: impl FnOnce(&mut Editor)) {
        self.parser = Parser::new();
        act(&mut self.editor);
    }

    /// Takes keys that the terminal does not show: of the lines that they end or belong to nothing is kept.
    pub(super) fn unseen_keys(&mut self, keys: &[u8]) {
        self.keys(keys);
        if self.editor.line.bytes > 0 {
            self.editor.line = Line::default();
            self.editor.secret = true;
        }
    }
}

/// The line under way.
#[derive(Default)]
struct Editor {
    line: Line,
    /// Part of it was typed unseen: none of it is kept.
    secret: bool,
    pasting: bool,
    /// Characters to come that belong to a sequence which the parser takes for complete.
    skip: u8,
    ended: Vec<Line>,
}

impl Editor {
    fn push(&mut self, c: char) {
        self.line.bytes += c.len_utf8() as u64;
        if self.line.text.len() + c.len_utf8() <= MOST {
            self.line.text.push(c);
        }
    }

    fn rub(&mut self) -> Option<char> {
        // Of a line that is cut the end is not there to be taken back.
        if self.line.bytes == self.line.text.len() as u64 {
            let gone = self.line.text.pop();
            self.line.bytes = self.line.text.len() as u64;
            gone
        } else {
            self.line.bytes -= 1;
            None
        }
    }

    /// As the line discipline's WERASE: blanks, then what is before them (`termios(3)`).
    fn rub_word(&mut self) {
        let kept = self
            .line
            .text
            .trim_end()
            .rfind(char::is_whitespace)
            .map_or(0, |at| at + self.line.text[at..].chars().next().map_or(1, char::len_utf8));
        self.line.text.truncate(kept);
        self.line.bytes = kept as u64;
    }

    fn end(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !std::mem::take(&mut self.secret) && !line.text.trim().is_empty() {
            self.ended.push(line);
        }
    }
}

impl Perform for Editor {
    fn print(&mut self, c: char) {
        match c {
            _ if self.skip > 0 => self.skip -= 1,
            '\u{7f}' => drop(self.rub()),
            c => self.push(c),
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\r' | b'\n' if self.pasting => self.push('\n'),
            b'\r' | b'\n' => self.end(),
            b'\t' => self.push('\t'),
            0x08 => drop(self.rub()),
            // ^U and ^C throw the line away, ^W its last word.
            0x15 | 0x03 => self.line = Line::default(),
            0x17 => self.rub_word(),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _ignore: bool, action: char) {
        let mut params = params.iter();
        let first = params.next().and_then(|p| p.first().copied()).unwrap_or(0);
        match action {
            // Bracketed paste (https://invisible-island.net/xterm/ctlseqs/ctlseqs.html).
            '~' if first == 200 => self.pasting = true,
            '~' if first == 201 => self.pasting = false,
            // Enter in the kitty keyboard protocol, alone or with a modifier.
            'u' if first == 13 => match params.next().and_then(|p| p.first().copied()) {
                None | Some(0 | 1) => self.end(),
                Some(_) => self.push('\n'),
            },
            // The oldest mouse report: button, column and row follow as characters.
            'M' if intermediates.is_empty() && first == 0 => self.skip = 3,
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _ignore: bool, byte: u8) {
        // SS3: the key follows as a character.
        if byte == b'O' && intermediates.is_empty() {
            self.skip = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(batches: &[&str]) -> Vec<String> {
        let mut typing = Typing::default();
        batches.iter().flat_map(|b| typing.keys(b.as_bytes())).map(|l| l.text).collect()
    }

    #[test]
    fn a_line_is_what_was_typed_up_to_enter() {
        for (batches, expected) in [
            (&["hello\r"][..], &["hello"][..]),
            (&["h", "e", "y", "\n"], &["hey"]),
            (&["one\rtwo\rthree"], &["one", "two"]),
            (&["\r", "  \r", "x\r"], &["x"]),
            (&["abc\u{7f}\u{7f}d\r", "é\u{8}e\r"], &["ad", "e"]),
            (&["\u{7f}\u{7f}a\r"], &["a"]),
            (&["one two  \u{17}three\r"], &["one three"]),
            (&["naïve\u{a0}é \u{17}x\r"], &["naïve\u{a0}x"]),
            (&["wrong\u{15}right\r", "no\u{3}yes\r"], &["right", "yes"]),
            (&["a\x1b[D\x1b[3~\x1b[1;5Cb\x1bOAc\r"], &["abc"]),
            (&["\x1b[200~one\rtwo\n\x1b[201~!\r"], &["one\ntwo\n!"]),
            (&["a\x1b\rb\r", "a b\x1b\u{7f}c\r"], &["a\nb", "a c"]),
            (&["a\x1b[13;2ub\x1b[13u"], &["a\nb"]),
            (&["\x1b", "hi\r"], &["hi"]),
            (&["\x1b[M !!x\x1b[<0;1;1Mz\r"], &["xz"]),
            (
                &["\x1b]11;rgb:0000/0000/0000\x1b\\x\r", "\x1bP1$r0m\x1b\\y\r", "\x1b]52;c;aGk=\u{7}z\r"],
                &["x", "y", "z"],
            ),
            (&["col1\tcol2\r"], &["col1\tcol2"]),
        ] {
            assert_eq!(lines(batches), expected, "{batches:?}");
        }
    }

    #[test]
    fn characters_may_come_in_pieces_and_bytes_may_be_none() {
        let mut typing = Typing::default();
        assert_eq!(typing.keys(b"\xc3"), []);
        assert_eq!(typing.keys(b"\xa9\r")[0].text, "é");
        assert_eq!(typing.keys(b"a\xffb\r")[0].text, "a\u{fffd}b");
    }

    #[test]
    fn a_long_line_is_cut_and_counted() {
        let mut typing = Typing::default();
        typing.keys(&vec![b'x'; MOST + 100]);
        typing.keys(b"\x7f\x7f");
        let line = &typing.keys(b"\r")[0];
        assert_eq!((line.text.len(), line.bytes), (MOST, MOST as u64 + 98));
        // An escape sequence without an end holds no memory either.
        typing.keys(b"\x1b]");
        typing.keys(&vec![b'x'; 1 << 20]);
        assert_eq!(typing.keys(b"\x07ok\r")[0].text, "ok");
    }

    #[test]
    fn of_a_line_that_was_secret_for_a_moment_nothing_is_kept() {
        let mut typing = Typing::default();
        for (unseen, seen) in [("ter2\r", ""), ("t", "er2\r"), ("ter2\rother", " half\r"), ("a\rb\rc\r", "")] {
            typing.keys(b"hun");
            typing.unseen_keys(unseen.as_bytes());
            assert_eq!(typing.keys(seen.as_bytes()), [], "{unseen:?}");
            assert_eq!(typing.keys(b"next\r")[0].text, "next");
        }
    }
}
