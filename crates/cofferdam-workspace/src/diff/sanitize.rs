//! Making content safe to look at on a terminal.

/// Appends text with everything that would act on the terminal, or hide from the eye, written out: control characters
/// as `^X`, bidirectional and invisible characters as `<U+202E>`, bytes that are not UTF-8 as `<FF>`. Tabs and
/// newlines stay.
pub fn push_visible(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(is_hidden) {
            let (plain, hidden) = rest.split_at(at);
            out.extend_from_slice(plain.as_bytes());
            let mut chars = hidden.chars();
            if let Some(c) = chars.next() {
                push_escaped(out, c);
            }
            rest = chars.as_str();
        }
        out.extend_from_slice(rest.as_bytes());
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("<{byte:02X}>").as_bytes());
        }
    }
}

fn push_escaped(out: &mut Vec<u8>, c: char) {
    match u32::from(c) {
        // Caret notation: the control character's column in ASCII plus 64.
        code @ (0..32 | 127) => {
            out.push(b'^');
            out.push(code.to_le_bytes()[0] ^ 64);
        }
        code => out.extend_from_slice(format!("<U+{code:04X}>").as_bytes()),
    }
}

/// Whether a character acts on a terminal or hides from the eye: control characters but tab and newline, Unicode's
/// format characters (bidirectional controls, joiners, tags), other separators, fillers that print as nothing, and
/// variation selectors.
pub fn is_hidden(c: char) -> bool {
    match c {
        '\t' | '\n' => false,
        c if c.is_control() => true,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => true,
        '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' => true,
        '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}' => true,
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_or_hides_is_written_out_and_the_rest_stays() {
        for (raw, seen) in [
            (&b"plain\ttext\n"[..], "plain\ttext\n"),
            ("caf\u{e9} \u{4f60}\n".as_bytes(), "caf\u{e9} \u{4f60}\n"),
            (b"\x1b[2J\r\x7f\0", "^[[2J^M^?^@"),
            ("a\u{202e}b\u{200b}\u{feff}\u{e0041}".as_bytes(), "a<U+202E>b<U+200B><U+FEFF><U+E0041>"),
            ("\u{9b}31m".as_bytes(), "<U+009B>31m"),
            (b"x\xff\xfe", "x<FF><FE>"),
        ] {
            let mut out = Vec::new();
            push_visible(&mut out, raw);
            assert_eq!(String::from_utf8(out).unwrap(), seen);
        }
    }
}
