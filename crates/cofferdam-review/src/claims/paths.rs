//! Paths that a sentence names.

use super::sentences::has_words;

/// Endings of names by which a word without a slash is a file.
const ENDINGS: &[&str] = &[
    "rs", "py", "pyi", "js", "mjs", "cjs", "ts", "tsx", "jsx", "go", "c", "h", "cc", "cpp", "cxx", "hpp", "java", "kt",
    "rb", "php", "cs", "swift", "scala", "md", "rst", "txt", "toml", "json", "yaml", "yml", "lock", "sh", "bash",
    "html", "css", "scss", "sql", "xml", "ini", "cfg", "conf", "env", "proto", "vue", "svelte", "lua", "pl", "ex",
    "exs", "zig", "nix", "tf", "csv", "svg", "mod", "sum", "gradle", "cmake", "mk", "log", "snap", "patch",
];
/// Files without an ending.
const NAMES: &[&str] =
    &["Makefile", "Dockerfile", "README", "LICENSE", "CHANGELOG", "Cargo.toml", "Gemfile", "justfile", ".gitignore"];

/// A path, and where in the sentence it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub path: String,
    pub at: usize,
}

/// The paths in a sentence.
pub(super) fn named(text: &str) -> Vec<Named> {
    let mut all = Vec::new();
    let mut at = 0;
    for word in text.split_inclusive(|c: char| c.is_whitespace() || matches!(c, '`' | ',' | '(' | ')' | '"' | '\'')) {
        let start = at;
        at += word.len();
        let word = word.trim_matches(|c: char| c.is_whitespace() || "`,()\"':;!?*[]".contains(c)).trim_end_matches('.');
        // `src/a.rs:12` names a line, too.
        let word = word
            .split_once(':')
            .map_or(word, |(path, line)| if line.starts_with(|c: char| c.is_ascii_digit()) { path } else { word });
        if is_path(word) {
            all.push(Named { path: word.trim_start_matches("./").to_owned(), at: start });
        }
    }
    all
}

fn is_path(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_alphanumeric() || "_-./@+~".contains(c));
    if !plain || word.is_empty() || word.len() > 400 || word.contains("//") || word.starts_with('-') {
        return false;
    }
    let base = word.rsplit('/').next().unwrap_or(word);
    if NAMES.contains(&base) {
        return true;
    }
    match base.rsplit_once('.') {
        Some((stem, ending)) => {
            ENDINGS.contains(&ending) && (!stem.is_empty() || word.contains('/') || ending == "env")
        }
        // `and/or`, `read/write` are no paths.
        None => word.starts_with('/') && word.matches('/').count() > 1,
    }
}

/// The last of some words before a place, with where it ends; the longest where several end there.
pub(super) fn last_before<'w>(low: &str, at: usize, words: &[&'w str]) -> Option<(usize, &'w str)> {
    let before = &low[..low.floor_char_boundary(at)];
    let end = |word: &&'w str| {
        let found = before.rmatch_indices(*word).find(|(start, _)| {
            let around = &before[..start + word.len()];
            has_words(&around[around.floor_char_boundary(start.saturating_sub(4))..], word)
                && before[start + word.len()..].chars().next().is_none_or(|c| !c.is_alphanumeric())
        })?;
        Some((found.0 + word.len(), *word))
    };
    words.iter().filter_map(end).max_by_key(|(end, word)| (*end, word.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_path_and_what_is_none() {
        let text = "I changed `src/a.rs`, lib/b.py:12 (and README) with Vec.new, and/or 1.2.3, https://x.example/a.rs, v1.0 e.g. ./run.sh.";
        let got: Vec<String> = named(text).into_iter().map(|named| named.path).collect();
        assert_eq!(got, ["src/a.rs", "lib/b.py", "README", "run.sh"]);
        assert!(named(&"a/".repeat(1 << 16)).is_empty());
    }

    #[test]
    fn the_nearest_word_before() {
        let low = "i updated a.rs and deleted b.rs";
        let words = ["updated", "deleted"];
        assert_eq!(last_before(low, low.find("a.rs").unwrap(), &words).unwrap().1, "updated");
        assert_eq!(last_before(low, low.find("b.rs").unwrap(), &words).unwrap().1, "deleted");
        assert_eq!(last_before("undeleted b.rs", 10, &words), None);
    }
}
