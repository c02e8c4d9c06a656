//! Patterns of names of models.

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

#[cfg(test)]
mod tests {
    use super::matches;

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
