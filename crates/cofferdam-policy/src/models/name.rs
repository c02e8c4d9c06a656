//! Patterns of names: of models, their providers and their tools.

/// Whether a name is of this pattern, in which `*` stands for anything, nothing too. Letters are compared without case.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The earliest place leaves the most for what follows.
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

/// What a model becomes by a route: `to` with what the star of `from` stands for in the place of its own; `None` where the
/// route does not take it. Both have at most one star.
pub fn routed(from: &str, to: &str, model: &str) -> Option<String> {
    if !matches(from, model) {
        return None;
    }
    let Some((before, after)) = from.split_once('*') else { return Some(to.to_owned()) };
    // In bytes as long as what they matched: letters differ in case alone.
    let star = model.get(before.len()..model.len().checked_sub(after.len())?)?;
    Some(to.replacen('*', star, 1))
}

#[cfg(test)]
mod tests {
    use super::{matches, routed};

    #[test]
    fn a_route_keeps_what_its_star_stands_for() {
        let to = |from, to, model| routed(from, to, model);
        assert_eq!(to("claude-opus-*", "claude-sonnet-*", "claude-opus-4-5").as_deref(), Some("claude-sonnet-4-5"));
        assert_eq!(to("Claude-opus-*", "x", "claude-Opus-4").as_deref(), Some("x"));
        assert_eq!(to("*-pro", "*-mini", "gpt-5-PRO").as_deref(), Some("gpt-5-mini"));
        assert_eq!(to("a", "b", "a").as_deref(), Some("b"));
        assert_eq!(to("a*", "b*", "a").as_deref(), Some("b"));
        assert_eq!(to("claude-opus-*", "x", "gpt-5"), None);
        assert_eq!(to("ab*ba", "*", "aba"), None, "the two ends do not overlap");
        assert_eq!(to("a*", "b*", "aé").as_deref(), Some("bé"));
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name) in [
            ("a", "a"),
            ("A-*", "a-"),
            ("claude-opus-*", "Claude-Opus-4-5"),
            ("*opus*", "us.anthropic.claude-opus-4-v1:0"),
            ("*a*b*b", "xaybzb"),
            ("*", ""),
            ("a**c", "abc"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a*", "ba"), ("*ab*b", "ab"), ("a*a", "a"), ("", "a"), ("*b", "bc")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(40), &format!("{}b", "a".repeat(4096))), "in time that does not explode");
    }
}
