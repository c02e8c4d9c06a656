//! The patterns that rules have for paths.

use std::fmt;
use std::sync::OnceLock;

use globset::{Glob, GlobBuilder, GlobMatcher};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::path::{NormalPath, PathProblem, escape, is_encoded_twice, is_unreserved};

/// Longest pattern, in bytes.
const LONGEST_PATTERN: usize = 512;
/// Most alternatives in braces: nested ones become nested groups of a regular expression, which has a limit.
const MOST_BRACES: usize = 16;

/// Why a text is no pattern for paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternProblem {
    /// No path in normal form could match it.
    #[error("no request could match: {0}")]
    NeverMatches(PathProblem),
    /// A dot segment, which a path in normal form never has.
    #[error("no request could match: `.` and `..` are resolved before paths are compared")]
    DotSegment,
    /// An escape that is written otherwise in normal form.
    #[error("no request could match: write `{0}`, as paths are compared in normal form")]
    Escape(String),
    /// Too long, or too many braces.
    #[error("the pattern is too long: at most {LONGEST_PATTERN} bytes and {MOST_BRACES} braces")]
    TooLong,
    /// A class of all characters but some: `/` would be among them.
    #[error("a class in brackets cannot be negated: it would match `/` too")]
    Negated,
    /// Not a glob.
    #[error("{0}")]
    Glob(String),
}

/// A pattern of a rule: `*` is anything in a segment, `?` one character of it, `**` as a whole segment any number of
/// segments, `{a,b}` one of several, `[ab]` one character of several.
#[derive(Clone)]
pub struct PathPattern {
    glob: Glob,
    // Compiled when a request first comes so far: of thousands of rules few are ever asked.
    matcher: OnceLock<GlobMatcher>,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Where it is none, or where no request could ever match it.
    pub fn parse(text: &str) -> Result<PathPattern, PatternProblem> {
        if text.len() > LONGEST_PATTERN || text.bytes().filter(|b| *b == b'{').count() > MOST_BRACES {
            return Err(PatternProblem::TooLong);
        }
        check(text)?;
        let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(false).build();
        let glob = glob.map_err(|e| PatternProblem::Glob(e.kind().to_string()))?;
        Ok(PathPattern { glob, matcher: OnceLock::new() })
    }

    /// Whether a path matches.
    pub fn matches(&self, path: &NormalPath) -> bool {
        self.matcher.get_or_init(|| self.glob.compile_matcher()).is_match(path.as_str())
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        self.glob.glob()
    }

    /// The pattern that matches this path only.
    pub fn only(path: &NormalPath) -> String {
        PathPattern::escape(path.as_str())
    }

    /// A text of a path in normal form as part of a pattern.
    pub fn escape(text: &str) -> String {
        globset::escape(text)
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Serialize for PathPattern {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        PathPattern::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.glob == other.glob
    }
}

/// Refuses a pattern that no path in normal form can match, or whose classes cross segments.
fn check(text: &str) -> Result<(), PatternProblem> {
    let Some(rest) = text.strip_prefix('/') else { return Err(PatternProblem::NeverMatches(PathProblem::Relative)) };
    let never = |problem| Err(PatternProblem::NeverMatches(problem));
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return never(PathProblem::EmptySegment);
        }
        if matches!(segment, "." | "..") {
            return Err(PatternProblem::DotSegment);
        }
        if is_encoded_twice(segment) {
            return never(PathProblem::EncodedTwice);
        }
        for (at, byte) in segment.bytes().enumerate() {
            match byte {
                b'%' => written(&segment[at..])?,
                b'\\' => return never(PathProblem::Backslash),
                b'#' => return never(PathProblem::Character),
                b if !b.is_ascii_graphic() => return never(PathProblem::Character),
                _ => {}
            }
        }
    }
    // A negated class of globset matches `/` too, in spite of `literal_separator`.
    let mut rest = text;
    while let Some((_, class)) = rest.split_once('[') {
        if class.starts_with(['!', '^']) {
            return Err(PatternProblem::Negated);
        }
        // The first character is of the class even where it is a bracket.
        let after = class.char_indices().nth(1).map_or("", |(at, _)| &class[at..]);
        rest = after.split_once(']').map_or("", |(_, rest)| rest);
    }
    Ok(())
}

/// Whether the escape at the beginning of a text is in normal form.
fn written(text: &str) -> Result<(), PatternProblem> {
    let byte = escape(text.bytes().skip(1)).map_err(PatternProblem::NeverMatches)?;
    let digits = text.get(..3).unwrap_or_default();
    if is_unreserved(byte) {
        return Err(PatternProblem::Escape(char::from(byte).to_string()));
    }
    match digits.to_ascii_uppercase() {
        upper if upper == digits => Ok(()),
        upper => Err(PatternProblem::Escape(upper)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_in_their_segments() {
        for (pattern, path, matches) in [
            ("/repos/acme/app/**", "/repos/acme/app/issues/1", true),
            ("/repos/acme/app/**", "/repos/acme/app/", true),
            ("/repos/acme/app/**", "/repos/acme/app", false),
            ("/repos/acme/app/**", "/repos/acme/application", false),
            ("/repos/*/app", "/repos/acme/app", true),
            ("/repos/*/app", "/repos/a/b/app", false),
            ("/repos/*", "/repos/", true),
            ("/**/x", "/a/b/x", true),
            ("/**/x", "/x", true),
            ("/a?c", "/abc", true),
            ("/a?c", "/a/c", false),
            ("/{a,b}/c", "/b/c", true),
            ("/[ab]", "/b", true),
            ("/a[+-9]b", "/a/b", false),
            ("/a[[:punct:]]b", "/a/b", false),
            ("/a*", "/a/b", false),
            ("/A", "/a", false),
        ] {
            let path = NormalPath::of(path).unwrap();
            assert_eq!(PathPattern::parse(pattern).unwrap().matches(&path), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_that_could_never_match_or_too_much_is_refused() {
        for bad in [
            "",
            "a",
            "**",
            "/a//b",
            "/a/../b",
            "/./a",
            "/a\\b",
            "/a b",
            "/caf\u{e9}",
            "/%2f",
            "/%61",
            "/%c3",
            "/%",
            "/a#b",
            "/[",
            "/{a",
            "/[!a]",
            "/[^a]",
            "/x[a][!b]",
            "/a}",
        ] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
        let nested = format!("/{}a{}", "{".repeat(200), "}".repeat(200));
        assert_eq!(PathPattern::parse(&nested), Err(PatternProblem::TooLong));
        let deep = format!("/{}a{}", "{".repeat(MOST_BRACES), "}".repeat(MOST_BRACES));
        assert!(PathPattern::parse(&deep).unwrap().matches(&NormalPath::of("/a").unwrap()));
    }
}
