//! The forms in which a value commonly turns up: what is searched for.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use cofferdam_core::bytes::hex;

use crate::secrets::is_plain;

/// Where base64(1) and openssl(1) break their lines.
const WRAPS: [usize; 2] = [76, 64];
/// Values longer than this (private keys) are searched for in fewer forms.
const LONG: usize = 256;
/// Fewest bytes of a line or piece of a value that is searched for by itself.
const MIN_PIECE: usize = 16;

/// All forms of a value: itself, its longer lines, in JSON strings, percent-encoded, in base64 wherever it begins within
/// a group of three bytes, in hexadecimal digits, and each of these in a JSON string. Of long values: themselves, their
/// lines, in a JSON string, in the standard base64, and in lower-case hexadecimal digits.
pub(crate) fn forms(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    forms.insert(value.to_vec());
    let lines = value.split(|b| *b == b'\n' || *b == b'\r');
    // The frame of a PEM file is the same for everybody.
    let secret_line = |line: &&[u8]| line.len() >= MIN_PIECE && !line.starts_with(b"-----") && !is_plain(line);
    forms.extend(lines.filter(secret_line).map(<[u8]>::to_vec));
    forms.insert(hex(value).into_bytes());
    if value.len() > LONG {
        base64(value, &[BASE64_STANDARD_NO_PAD], &mut forms);
        forms.extend(
            std::str::from_utf8(value).ok().and_then(|text| json(text).into_iter().next()).map(String::into_bytes),
        );
        return forms;
    }
    base64(value, &[BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD], &mut forms);
    percent(value, &mut forms);
    forms.insert(hex(value).to_ascii_uppercase().into_bytes());
    let plain: Vec<Vec<u8>> = forms.iter().cloned().collect();
    for form in plain.iter().filter_map(|form| std::str::from_utf8(form).ok()) {
        // Twice: a command's argument is often JSON, which the log holds in a JSON string.
        for once in json(form) {
            forms.extend(json(&once).into_iter().map(String::into_bytes));
            forms.insert(once.into_bytes());
        }
    }
    forms
}

/// How a text stands within a JSON string: with the fewest escapes, in ASCII alone, and with `/` escaped.
fn json(text: &str) -> Vec<String> {
    let Ok(quoted) = serde_json::to_string(text) else { return Vec::new() };
    let shortest = quoted[1..quoted.len() - 1].to_owned();
    let mut ascii = String::with_capacity(shortest.len());
    for c in shortest.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    let slashed = shortest.replace('/', "\\/");
    vec![shortest, ascii, slashed]
}

/// Percent-encoded (RFC 3986 §2.1) as a component, as JavaScript's `encodeURIComponent` and `encodeURI` do, and as a
/// form's field, with the digits in capitals and not.
fn percent(value: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    for (spared, plus) in [("-_.~", false), ("-_.!~*'()", false), ("-_.!~*'();/?:@&=+$,#", false), ("-_.*", true)] {
        for capitals in [true, false] {
            let mut form = Vec::with_capacity(value.len());
            for &byte in value {
                if byte.is_ascii_alphanumeric() || spared.as_bytes().contains(&byte) {
                    form.push(byte);
                } else if plus && byte == b' ' {
                    form.push(b'+');
                } else if capitals {
                    form.extend_from_slice(format!("%{byte:02X}").as_bytes());
                } else {
                    form.extend_from_slice(format!("%{byte:02x}").as_bytes());
                }
            }
            forms.insert(form);
        }
    }
}

/// base64 (RFC 4648 §4 and §5) with none, one and two bytes of something else before the value in its first group:
/// the characters that the value alone decides. Also the lines of a value that begins a wrapped text.
fn base64(value: &[u8], alphabets: &[GeneralPurpose], forms: &mut BTreeSet<Vec<u8>>) {
    for before in 0..3usize {
        let shifted = [&[0; 2][..before], value].concat();
        // A character holds six bits: those that share some with a neighbour are not the value's alone.
        let (first, last) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
        for encoded in alphabets.iter().map(|alphabet| alphabet.encode(&shifted)) {
            let own = &encoded.as_bytes()[first..last];
            forms.insert(own.to_vec());
            if before == 0 {
                for wrap in WRAPS.into_iter().filter(|wrap| own.len() > *wrap) {
                    forms.extend(own.chunks(wrap).filter(|piece| piece.len() >= MIN_PIECE).map(<[u8]>::to_vec));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "s3cr\u{e9}t/+\"key\\\t!";

    fn holds(text: &str) -> bool {
        forms(VALUE.as_bytes()).iter().any(|form| memchr::memmem::find(text.as_bytes(), form).is_some())
    }

    #[test]
    fn base64_is_found_at_every_alignment() {
        for before in 0..9 {
            for after in 0..4 {
                let text = [&b"abcdefghi"[..before], VALUE.as_bytes(), &b"zyxw"[..after]].concat();
                assert!(holds(&BASE64_STANDARD_NO_PAD.encode(&text)), "{before} {after}");
                assert!(holds(&BASE64_URL_SAFE_NO_PAD.encode(&text)), "{before} {after}");
            }
        }
        assert!(!holds(&BASE64_STANDARD_NO_PAD.encode("something else altogether")));
    }

    #[test]
    fn other_encodings_are_found() {
        for text in [
            "s3cr%C3%A9t%2F%2B%22key%5C%09%21",
            "s3cr%c3%a9t%2f%2b%22key%5c%09%21",
            "s3cr%C3%A9t%2F%2B%22key%5C%09!",
            "s3cr%C3%A9t/+%22key%5C%09!",
            r#"s3cr\u00e9t/+\"key\\\t!"#,
            r#"s3crét\/+\"key\\\t!"#,
            r#"s3crét/+\\\"key\\\\\\t!"#,
            "73336372c3a9742f2b226b65795c0921",
            "73336372C3A9742F2B226B65795C0921",
        ] {
            assert!(holds(text), "{text}");
        }
    }

    #[test]
    fn lines_of_a_key_are_found_by_themselves_and_its_frame_is_not() {
        let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ";
        let key = format!("-----BEGIN PRIVATE KEY-----\n{line}\n{line}Z\n-----END PRIVATE KEY-----\n");
        let forms = super::forms(key.as_bytes());
        assert!(forms.contains(line.as_bytes()));
        assert!(!forms.contains(&b"-----BEGIN PRIVATE KEY-----"[..]));
        let long = format!("{key}{key}{key}{key}");
        assert!(long.len() > LONG && super::forms(long.as_bytes()).contains(long.replace('\n', "\\n").as_bytes()));
        let wrapped = BASE64_STANDARD_NO_PAD.encode(&key);
        assert!(forms.contains(&wrapped.as_bytes()[76..152]));
    }
}
