//! A placeholder within a field's value.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem::find;

/// Programs write the padding or leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The value with `by` wherever the placeholder stands, in the user and password of Basic authentication too (RFC 7617);
/// `None` where it stands nowhere.
pub(crate) fn replaced(value: &[u8], placeholder: &str, by: &[u8]) -> Option<Vec<u8>> {
    if let Some(new) = plain(value, placeholder.as_bytes(), by) {
        return Some(new);
    }
    let (scheme, encoded) = value.split_at_checked("basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = BASE64.decode(encoded.trim_ascii()).ok()?;
    let pair = plain(&pair, placeholder.as_bytes(), by)?;
    Some([scheme, BASE64.encode(pair).as_bytes()].concat())
}

fn plain(text: &[u8], what: &[u8], by: &[u8]) -> Option<Vec<u8>> {
    let mut at = find(text, what)?;
    let (mut out, mut rest) = (Vec::with_capacity(text.len() + by.len()), text);
    loop {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(by);
        rest = &rest[at + what.len()..];
        match find(rest, what) {
            Some(next) => at = next,
            None => break,
        }
    }
    out.extend_from_slice(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_wherever_programs_put_it() {
        let with = |value: &str| replaced(value.as_bytes(), "PLACE", b"v4lue").map(|v| String::from_utf8(v).unwrap());
        for (value, new) in [
            ("Bearer PLACE", Some("Bearer v4lue")),
            ("PLACE", Some("v4lue")),
            ("token=PLACE; again=PLACE", Some("token=v4lue; again=v4lue")),
            ("Basic bWU6UExBQ0U=", Some("Basic bWU6djRsdWU=")),
            ("basic bWU6UExBQ0U", Some("basic bWU6djRsdWU=")),
            ("Basic bWU6b3RoZXI=", None),
            ("Basic !", None),
            ("Bearer place", None),
            ("", None),
        ] {
            assert_eq!(with(value).as_deref(), new, "{value}");
        }
    }
}
