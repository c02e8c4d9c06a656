//! Names as git prints them (`core.quotePath=true`).

/// Appends a name, in double quotes with C escapes where a byte of it is a control character, a quote, a backslash or
/// not ASCII (git's `quote_c_style`).
pub(crate) fn push_name(out: &mut Vec<u8>, prefix: &[u8], name: &[u8]) {
    if !needs_quotes(name) {
        out.extend_from_slice(prefix);
        out.extend_from_slice(name);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(prefix);
    for &byte in name {
        let short = match byte {
            7 => b'a',
            8 => b'b',
            9 => b't',
            10 => b'n',
            11 => b'v',
            12 => b'f',
            13 => b'r',
            b'"' | b'\\' => byte,
            0..32 | 127.. => {
                out.extend_from_slice(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]);
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.push(b'"');
}

/// The name alone, as [`push_name`] writes it.
pub(crate) fn name(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    push_name(&mut out, b"", name);
    out
}

fn needs_quotes(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, 0..32 | 127.. | b'"' | b'\\'))
}

/// A rename in one line: `dir/{old => new}/file` (git's `pprint_rename`).
pub(crate) fn rename(old: &[u8], new: &[u8]) -> Vec<u8> {
    if needs_quotes(old) || needs_quotes(new) {
        return [name(old), name(new)].join(&b" => "[..]);
    }
    let prefix = old
        .iter()
        .zip(new)
        .enumerate()
        .take_while(|(_, (a, b))| a == b)
        .filter(|(_, (a, _))| **a == b'/')
        .last()
        .map_or(0, |(slash, _)| slash + 1);
    // The suffix may begin with the very slash that ends the prefix.
    let floor = prefix.saturating_sub(1);
    let longest = (old.len() - floor).min(new.len() - floor);
    let suffix = (1..=longest)
        .take_while(|n| old[old.len() - n] == new[new.len() - n])
        .filter(|n| old[old.len() - n] == b'/')
        .last()
        .unwrap_or(0);
    let middle =
        |path: &[u8]| path[prefix..].get(..(path.len() - prefix).saturating_sub(suffix)).unwrap_or(b"").to_vec();
    let mut out = Vec::new();
    let braces = prefix + suffix > 0;
    if braces {
        out.extend_from_slice(&old[..prefix]);
        out.push(b'{');
    }
    out.extend_from_slice(&middle(old));
    out.extend_from_slice(b" => ");
    out.extend_from_slice(&middle(new));
    if braces {
        out.push(b'}');
        out.extend_from_slice(&old[old.len() - suffix..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_git_does() {
        for (raw, quoted) in [
            (&b"a b"[..], &b"a b"[..]),
            (b"a\tb", b"\"a\\tb\""),
            (b"a\"\\", b"\"a\\\"\\\\\""),
            (b"caf\xc3\xa9", b"\"caf\\303\\251\""),
            (b"\x01\x7f", b"\"\\001\\177\""),
        ] {
            assert_eq!(name(raw), quoted);
        }
    }

    #[test]
    fn renames_are_shortened_as_git_does() {
        for (old, new, line) in [
            ("a", "b", "a => b"),
            ("d/a", "d/b", "d/{a => b}"),
            ("a/f", "b/f", "{a => b}/f"),
            ("a/b/c", "a/c", "a/{b => }/c"),
            ("a/c", "a/b/c", "a/{ => b}/c"),
            ("x/a/y", "x/b/y", "x/{a => b}/y"),
            ("f", "d/f", "f => d/f"),
            ("a b", "a\tb", "a b => \"a\\tb\""),
        ] {
            assert_eq!(String::from_utf8(rename(old.as_bytes(), new.as_bytes())).unwrap(), line);
        }
    }
}
