//! The path of a request in the one form that is compared.
//!
//! A path that programs read in more than one way is not read at all: the decision would be about one of them and the
//! server might take another.

use std::fmt;

/// Longest path that is looked at, in bytes.
const LONGEST: usize = 16 * 1024;

/// Why a path can be read in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathProblem {
    /// No `/` at the beginning.
    #[error("the path does not begin with `/`")]
    Relative,
    /// More than 16 KiB.
    #[error("the path is longer than {LONGEST} bytes")]
    TooLong,
    /// `//`: some servers read it as `/`.
    #[error("the path has an empty segment (`//`)")]
    EmptySegment,
    /// `%2F`: some servers read it as a `/`.
    #[error("the path has an encoded slash")]
    EncodedSlash,
    /// `%2E`: nobody needs to encode a dot who does not want to hide one.
    #[error("the path has an encoded dot")]
    EncodedDot,
    /// `\` or `%5C`: some clients and servers read it as a `/`.
    #[error("the path has a backslash")]
    Backslash,
    /// `%00`, and the raw byte: the end of the path for some.
    #[error("the path has a NUL")]
    Nul,
    /// `%25` before two hexadecimal digits: another character where it is decoded twice.
    #[error("the path is encoded twice")]
    EncodedTwice,
    /// `%` that two hexadecimal digits do not follow.
    #[error("the path has a `%` that is no escape")]
    Escape,
    /// A blank, a control character, `#`, or a byte beyond ASCII, none of which may stand in a path (RFC 3986).
    #[error("the path has a character that must be encoded")]
    Character,
    /// More `..` than there are segments.
    #[error("the path leads above the root")]
    AboveRoot,
    /// `..;a` or `;a`: a segment that is another one, or none, for servers that cut parameters off.
    #[error("the path has parameters (`;`) on a dot segment or an empty one")]
    Parameters,
}

/// A path in normal form: begins with `/`; no escapes of unreserved characters, the others in upper case; no dot
/// segments (RFC 3986, section 6.2.2); no query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath(String);

impl NormalPath {
    /// Brings a request's path into normal form; what follows a `?` is left out.
    ///
    /// # Errors
    /// Where it can be read in more than one way.
    pub fn of(path: &str) -> Result<NormalPath, PathProblem> {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let Some(rest) = path.strip_prefix('/') else { return Err(PathProblem::Relative) };
        if path.len() > LONGEST {
            return Err(PathProblem::TooLong);
        }
        // Most paths: nothing escaped, and nothing after a slash that could be a dot segment or an empty one.
        let after_slash = |pair: &[u8]| pair[0] == b'/' && matches!(pair[1], b'/' | b'.');
        if path.bytes().all(is_plain) && !path.as_bytes().windows(2).any(after_slash) {
            return Ok(NormalPath(path.to_owned()));
        }
        let mut out = String::with_capacity(path.len());
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            if segment.is_empty() && !last {
                return Err(PathProblem::EmptySegment);
            }
            match segment {
                "." | ".." => {
                    if segment == ".." {
                        let parent = out.rfind('/').ok_or(PathProblem::AboveRoot)?;
                        out.truncate(parent);
                    }
                    // "/a/b/.." is the directory "/a/".
                    if last {
                        out.push('/');
                    }
                }
                _ => {
                    out.push('/');
                    decode(segment, &mut out)?;
                }
            }
        }
        Ok(NormalPath(out))
    }

    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NormalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Appends a segment with its escapes in normal form.
fn decode(segment: &str, out: &mut String) -> Result<(), PathProblem> {
    if segment.bytes().all(is_plain) {
        out.push_str(segment);
        return Ok(());
    }
    let start = out.len();
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match escape(bytes.clone())? {
                c if is_unreserved(c) => {
                    out.push(char::from(c));
                    bytes.nth(1);
                }
                _ => {
                    out.push('%');
                    out.extend(bytes.by_ref().take(2).map(|b| char::from(b.to_ascii_uppercase())));
                }
            },
            b'\\' => return Err(PathProblem::Backslash),
            0 => return Err(PathProblem::Nul),
            b'#' => return Err(PathProblem::Character),
            b if b.is_ascii_graphic() => out.push(char::from(b)),
            _ => return Err(PathProblem::Character),
        }
    }
    if is_encoded_twice(&out[start..]) {
        return Err(PathProblem::EncodedTwice);
    }
    let name = segment.split(';').next().unwrap_or_default();
    let name = name.get(..name.find("%3B").or_else(|| name.find("%3b")).unwrap_or(name.len())).unwrap_or_default();
    if matches!(name, "" | "." | "..") && name.len() < segment.len() {
        return Err(PathProblem::Parameters);
    }
    Ok(())
}

/// Whether an encoded `%` in normal form begins an escape for who decodes once more.
pub(crate) fn is_encoded_twice(text: &str) -> bool {
    let hexadecimal = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    text.match_indices("%25").any(|(at, _)| {
        let after = &text.as_bytes()[at + 3..];
        hexadecimal(after.first()) && hexadecimal(after.get(1))
    })
}

/// The byte that an escape means, given what follows its `%`.
pub(crate) fn escape(mut after: impl Iterator<Item = u8>) -> Result<u8, PathProblem> {
    let mut digit = || after.next().and_then(|b| char::from(b).to_digit(16)).ok_or(PathProblem::Escape);
    let code = digit()? << 4 | digit()?;
    match u8::try_from(code).map_err(|_| PathProblem::Escape)? {
        b'/' => Err(PathProblem::EncodedSlash),
        b'.' => Err(PathProblem::EncodedDot),
        b'\\' => Err(PathProblem::Backslash),
        0 => Err(PathProblem::Nul),
        byte => Ok(byte),
    }
}

/// What stands in a normal path as it was sent, wherever it stands.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b'#' | b';')
}

/// RFC 3986, section 2.3.
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::PathPattern;

    fn normal(path: &str) -> Result<String, PathProblem> {
        NormalPath::of(path).map(|p| p.0)
    }

    #[test]
    fn one_form_for_what_means_the_same() {
        for (path, form) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a?x=/../y", "/a"),
            ("/%61%2D%7e", "/a-~"),
            ("/a%c3%a9", "/a%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..a/...", "/..a/..."),
            ("/a:b@c;d=e,f!$&'()*+", "/a:b@c;d=e,f!$&'()*+"),
            ("/100%25", "/100%25"),
            ("/100%25/ok", "/100%25/ok"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(form), "{path}");
        }
    }

    #[test]
    fn what_has_two_meanings_has_none() {
        for (path, problem) in [
            ("", PathProblem::Relative),
            ("a", PathProblem::Relative),
            ("*", PathProblem::Relative),
            ("http://h/a", PathProblem::Relative),
            ("//", PathProblem::EmptySegment),
            ("/a//b", PathProblem::EmptySegment),
            ("/a%2fb", PathProblem::EncodedSlash),
            ("/a%2Fb", PathProblem::EncodedSlash),
            ("/%2e%2e/a", PathProblem::EncodedDot),
            ("/.%2E/a", PathProblem::EncodedDot),
            ("/a\\b", PathProblem::Backslash),
            ("/a%5cb", PathProblem::Backslash),
            ("/a%00", PathProblem::Nul),
            ("/a\0", PathProblem::Nul),
            ("/%252e%252e/a", PathProblem::EncodedTwice),
            ("/%25%32e", PathProblem::EncodedTwice),
            ("/a%", PathProblem::Escape),
            ("/a%4", PathProblem::Escape),
            ("/a%zz", PathProblem::Escape),
            ("/a%+1", PathProblem::Escape),
            ("/a b", PathProblem::Character),
            ("/a#b", PathProblem::Character),
            ("/a\tb", PathProblem::Character),
            ("/caf\u{e9}", PathProblem::Character),
            ("/..", PathProblem::AboveRoot),
            ("/a/../../b", PathProblem::AboveRoot),
            ("/a/..;x/b", PathProblem::Parameters),
            ("/a/..%3bx/b", PathProblem::Parameters),
            ("/a/.;/b", PathProblem::Parameters),
            ("/a/;x/b", PathProblem::Parameters),
            ("/a/%3B", PathProblem::Parameters),
        ] {
            assert_eq!(normal(path), Err(problem), "{path:?}");
        }
        assert_eq!(normal(&format!("/{}", "a".repeat(LONGEST))), Err(PathProblem::TooLong));
    }

    /// What a forgiving server could make of a path: decoded as often as it will go, `\` as `/`, parameters cut off, empty
    /// segments dropped, dot segments resolved.
    fn forgiving(path: &str) -> Vec<String> {
        let mut text = path.split('?').next().unwrap().as_bytes().to_vec();
        for _ in 0..3 {
            let mut next = Vec::new();
            let mut at = 0;
            while at < text.len() {
                let code = (text[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
                match code.and_then(|c| u8::from_str_radix(std::str::from_utf8(c).ok()?, 16).ok()) {
                    Some(byte) => (next.push(byte), at += 3).1,
                    None => (next.push(text[at]), at += 1).1,
                }
            }
            text = next;
        }
        let text = String::from_utf8_lossy(&text).replace('\\', "/");
        let mut out: Vec<String> = Vec::new();
        for segment in text.split('/').map(|s| s.split(';').next().unwrap()) {
            match segment {
                "" | "." => {}
                ".." => drop(out.pop()),
                segment => out.push(segment.to_owned()),
            }
        }
        out
    }

    #[test]
    fn no_path_that_matches_leads_elsewhere_for_a_forgiving_server() {
        let pattern = PathPattern::parse("/repos/acme/app/**").unwrap();
        let pieces = [
            "/", "/repos", "/acme", "/app", "/x", ".", "..", "%2e", "%2E", "%2f", "%5c", "\\", "%00", ";", "%3b",
            "%25", "%", "2e", "a", "?", "//", "/..", "/.", "%61", "%252e",
        ];
        let mut random = fastrand::Rng::with_seed(0x5eed);
        let mut matched = 0;
        for _ in 0..200_000 {
            let mut path = String::from(if random.bool() { "/repos/acme/app/" } else { "/" });
            for _ in 0..random.usize(0..8) {
                path.push_str(random.choice(pieces).unwrap());
            }
            let Ok(form) = NormalPath::of(&path) else { continue };
            assert_eq!(NormalPath::of(&form.0).as_ref(), Ok(&form), "normal form is stable: {path}");
            if pattern.matches(&form) {
                matched += 1;
                let read = forgiving(&path);
                assert_eq!(&read[..3.min(read.len())], ["repos", "acme", "app"], "{path} as {form}");
            }
        }
        assert!(matched > 1000, "the property was tried on {matched} paths only");
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_never_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..50_000 {
            let path: String = (0..random.usize(0..12)).map(|_| random.char('\0'..='\u{ff}')).collect();
            if let Ok(form) = NormalPath::of(&path) {
                assert!(form.0.starts_with('/') && form.0.bytes().all(|b| b.is_ascii_graphic()), "{path:?}");
                assert!(!form.0.split('/').any(|s| matches!(s, "." | "..")), "{path:?}");
                let only = PathPattern::parse(&PathPattern::only(&form)).unwrap();
                assert!(only.matches(&form), "{path:?}");
            }
            let _ = PathPattern::parse(&path).map(|p| p.matches(&NormalPath("/a".into())));
        }
    }
}
