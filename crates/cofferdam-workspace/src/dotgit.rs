//! Names that are `.git`, or become it on another file system.

/// Whether one path component is a git directory's name, here or where a teammate checks out: any case; with code
/// points that HFS+ ignores; with the endings and the short name that NTFS takes for it (git's own `is_hfs_dotgit` and
/// `is_ntfs_dotgit`, CVE-2014-9390).
pub(crate) fn is_dot_git(name: &[u8]) -> bool {
    // NTFS takes a backslash for a separator.
    name.split(|b| *b == b'\\').any(|part| is_ntfs(part) || is_hfs(part))
}

/// Whether any component of a path is one.
pub(crate) fn has_dot_git(path: &[u8]) -> bool {
    path.split(|b| *b == b'/').any(is_dot_git)
}

fn is_ntfs(name: &[u8]) -> bool {
    let stream = name.split(|b| *b == b':').next().unwrap_or(name);
    let end = stream.iter().rposition(|b| !matches!(b, b' ' | b'.')).map_or(0, |last| last + 1);
    let bare = &stream[..end];
    bare.eq_ignore_ascii_case(b".git") || bare.eq_ignore_ascii_case(b"git~1")
}

fn is_hfs(name: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(name) else { return false };
    let mut rest = ".git".chars();
    for c in text.chars().filter(|c| !is_ignored_by_hfs(*c)) {
        if rest.next() != Some(c.to_ascii_lowercase()) {
            return false;
        }
    }
    rest.next().is_none()
}

fn is_ignored_by_hfs(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disguises_are_seen_through_and_ordinary_names_are_left_alone() {
        for name in [
            ".git",
            ".GIT",
            ".Git",
            ".git ",
            ".git. .",
            "git~1",
            "GIT~1",
            ".git::$INDEX_ALLOCATION",
            ".g\u{200c}it",
            "\u{feff}.GI\u{202e}T",
            "a\\.git",
        ] {
            assert!(is_dot_git(name.as_bytes()), "{name:?}");
        }
        for name in [".gitignore", "git", "git~2", ".gita", "x.git", ".gi", "", ".", ".github", ".g\u{200b}it"] {
            assert!(!is_dot_git(name.as_bytes()), "{name:?}");
        }
        assert!(has_dot_git(b"sub/.git/hooks/pre-commit") && !has_dot_git(b"sub/.github/x"));
    }
}
