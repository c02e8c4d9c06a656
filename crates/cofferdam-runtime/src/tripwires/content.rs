//! What stands in a decoy: text of the table, with random parts of the right shape.

use cofferdam_core::Bytes;
use rustix::rand::{GetRandomFlags, getrandom};

use super::ssh_key;

const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE62: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes of a token: longer random parts become several that overlap, so that one is whole wherever base64(1) breaks
/// the lines of the file (after 57 or 48 bytes of it), and a part of the content is known as well.
pub(super) const TOKEN: usize = 16;
/// From the beginning of one token to that of the next.
const STEP: usize = 8;

/// A made-up content.
pub(super) struct Content {
    pub(super) text: String,
    pub(super) tokens: Vec<Bytes>,
}

/// Fills the random parts of a template.
pub(super) fn make(template: &str) -> rustix::io::Result<Content> {
    let mut content = Content { text: String::new(), tokens: Vec::new() };
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('<') {
        content.text.push_str(before);
        let (part, after) = after.split_once('>').ok_or(rustix::io::Errno::INVAL)?;
        let (kind, length) = part.split_once(':').unwrap_or((part, ""));
        let length = length.parse().unwrap_or(0);
        let made = match kind {
            "base32" => letters(BASE32, length)?,
            "base62" => letters(BASE62, length)?,
            "base64" => letters(BASE64, length)?,
            "ssh-key" => {
                let key = ssh_key::make()?;
                key.secret_parts().for_each(|line| tokens(line, &mut content.tokens));
                content.text.push_str(key.text());
                rest = after;
                continue;
            }
            _ => return Err(rustix::io::Errno::INVAL),
        };
        tokens(&made, &mut content.tokens);
        content.text.push_str(&made);
        rest = after;
    }
    content.text.push_str(rest);
    Ok(content)
}

fn tokens(random: &str, tokens: &mut Vec<Bytes>) {
    let random = random.as_bytes();
    if random.len() <= TOKEN {
        return tokens.push(random.into());
    }
    let last = random.len() - TOKEN;
    tokens.extend((0..last).step_by(STEP).chain([last]).map(|at| Bytes::from(&random[at..at + TOKEN])));
}

/// Random letters of an alphabet of at most 64, each as likely as the other.
fn letters(alphabet: &[u8], length: usize) -> rustix::io::Result<String> {
    let mut text = String::with_capacity(length);
    let mut random = [0; 64];
    while text.len() < length {
        fill(&mut random)?;
        let usable = random.iter().filter_map(|byte| alphabet.get(usize::from(byte & 63)));
        text.extend(usable.take(length - text.len()).map(|byte| char::from(*byte)));
    }
    Ok(text)
}

/// Fills at most 256 bytes: so many always come at once (getrandom(2)).
pub(super) fn fill(random: &mut [u8]) -> rustix::io::Result<()> {
    getrandom(random, GetRandomFlags::empty()).map(drop)
}

/// A number below `most`, nearly evenly.
pub(super) fn below(most: u64) -> rustix::io::Result<u64> {
    let mut random = [0; 8];
    fill(&mut random)?;
    Ok(u64::from_ne_bytes(random) % most)
}

#[cfg(test)]
mod tests {
    use cofferdam_evidence::{Secrets, Striker};

    use super::super::table::table;
    use super::*;

    #[test]
    fn each_content_is_new_and_known_however_base64_cuts_it() {
        for entry in table().unwrap() {
            let content = make(entry.content.trim_start()).unwrap();
            assert_ne!(content.text, make(entry.content.trim_start()).unwrap().text, "{}", entry.name);
            assert!(!content.text.contains(['<', '>']), "{}", content.text);
            let mut secrets = Secrets::default();
            for token in &content.tokens {
                secrets.add("decoy", &token.0).unwrap();
            }
            let known = Striker::new(&secrets).unwrap();
            assert!(known.find(content.text.as_bytes()).is_some());
            for shift in 0..80 {
                let shifted = format!("{}{}", "x".repeat(shift), content.text);
                let base64 = {
                    use base64::Engine;
                    base64::prelude::BASE64_STANDARD.encode(shifted)
                };
                for width in [64, 76] {
                    let lines: Vec<&str> =
                        base64.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
                    assert!(known.find(lines.join("\n").as_bytes()).is_some(), "{} at {shift}", entry.name);
                }
            }
            let other = make(entry.content.trim_start()).unwrap().text;
            assert!(known.find(other.as_bytes()).is_none(), "{}", entry.name);
        }
    }

    #[test]
    fn broken_templates_are_refused() {
        assert!(make("<what:3>").is_err());
        assert!(make("<base62:3").is_err());
    }
}
