//! Configuration of toolchains: what of it comes in, and where a credential in it would be seen.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use cofferdam_enclosure::open_regular;

/// Largest configuration file that is looked at, in bytes. A larger one stays outside.
const LARGEST: u64 = 1 << 20;

/// Most entries of a directory that a `*` of a pattern is tried on.
const MOST_ENTRIES: usize = 1000;

/// Where a package of any kind keeps configuration that may hold a credential: npm's of an installation prefix (npmrc(5)),
/// git's of a clone (git-config(1)), conda's.
pub(super) const OF_PACKAGES: &[&str] = &["etc/npmrc", "lib/node_modules/npm/npmrc", ".git/config", ".condarc"];

/// What of a file comes in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// All of it, the file itself.
    Whole,
    /// These bytes in its place; `dropped` names what they lack.
    Part { content: Vec<u8>, dropped: Vec<String> },
    /// Nothing, for this reason.
    Nothing(&'static str),
}

/// Decides about one file. `keep` names what of TOML comes in, a top-level key or a key of a top-level table; empty: the whole
/// file does.
pub(super) fn share(text: &[u8], keep: &[String]) -> Share {
    if keep.is_empty() {
        return if holds_secret(text) { Share::Nothing("it holds a token") } else { Share::Whole };
    }
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let Some(table) = parsed else { return Share::Nothing("it does not read as TOML") };
    let mut kept = toml::Table::new();
    for path in keep {
        match path.split_once('.') {
            None => kept.extend(table.get_key_value(path).map(|(key, value)| (key.clone(), value.clone()))),
            Some((outer, inner)) => {
                if let Some(value) = table.get(outer).and_then(|t| t.get(inner)) {
                    let entry = kept.entry(outer).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                    entry.as_table_mut().into_iter().for_each(|t| drop(t.insert(inner.to_owned(), value.clone())));
                }
            }
        }
    }
    let dropped: Vec<String> = table.iter().filter(|(k, v)| kept.get(*k) != Some(v)).map(|(k, _)| k.clone()).collect();
    if dropped.is_empty() && !holds_secret(text) {
        return Share::Whole;
    }
    match toml::to_string(&kept) {
        Ok(content) if holds_secret(content.as_bytes()) => Share::Nothing("it holds a token"),
        Ok(content) => Share::Part { content: content.into_bytes(), dropped },
        Err(_) => Share::Nothing("it cannot be written as TOML again"),
    }
}

/// A regular file's content; `None` where it is something else, too large, or cannot be read.
pub(in crate::plan) fn read(path: &Path) -> Option<Vec<u8>> {
    read_up_to(path, LARGEST)
}

/// As [`read`], a file of up to `most` bytes.
pub(in crate::plan) fn read_up_to(path: &Path, most: u64) -> Option<Vec<u8>> {
    let file = open_regular(path).ok()?;
    let mut content = Vec::new();
    file.take(most + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= most).then_some(content)
}

/// The files below `base` that match a pattern, in which `*` stands for one whole name.
pub(super) fn matching(base: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![base.to_owned()];
    for component in Path::new(pattern).components() {
        let Component::Normal(name) = component else { continue };
        found = if name == "*" {
            let entries = found.iter().filter_map(|dir| dir.read_dir().ok()).flatten().take(MOST_ENTRIES);
            entries.filter_map(|entry| entry.ok().map(|e| e.path())).collect()
        } else {
            found.into_iter().map(|dir| dir.join(name)).collect()
        };
    }
    found.retain(|path| path.is_file());
    found
}

/// Whether a variable's name fits a pattern, in which one `*` stands for anything.
pub(super) fn fits(name: &[u8], pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern.as_bytes(),
        Some((head, tail)) => name
            .strip_prefix(head.as_bytes())
            .and_then(|rest| rest.strip_suffix(tail.as_bytes()))
            .is_some_and(|middle| !middle.is_empty()),
    }
}

/// Whether configuration carries a credential: a key that names one, or a URL with a password.
pub(super) fn holds_secret(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let named =
        ["token", "password", "passwd", "secret", "_auth", "authorization"].iter().any(|word| text.contains(word));
    let in_url = text
        .split("://")
        .skip(1)
        .any(|rest| rest.split(['/', '"', '\'', ' ', '\n']).next().is_some_and(|authority| authority.contains('@')));
    named || in_url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_with_a_credential_stays_outside() {
        for (text, secret) in [
            ("[registry]\ntoken = 'x'\n", true),
            ("registry = 'sparse+https://user:pw@host/index'\n", true),
            ("[http]\n\textraheader = AUTHORIZATION: basic eDp5\n", true),
            ("[build]\njobs = 2\n[source.x]\nregistry = 'https://host/a@b'\n", false),
        ] {
            assert_eq!(holds_secret(text.as_bytes()), secret, "{text}");
            let expected = if secret { Share::Nothing("it holds a token") } else { Share::Whole };
            assert_eq!(share(text.as_bytes(), &[]), expected);
        }
    }

    #[test]
    fn of_a_reduced_file_only_the_kept_tables_come_in() {
        let keep = ["tools", "min_version", "settings.ok"].map(str::to_owned);
        let whole = b"min_version = '2024.1'\n[tools]\nnode = '22'\n";
        assert_eq!(share(whole, &keep), Share::Whole);
        let Share::Part { content, dropped } = share(
            b"min_version = '2024.1'\n[tools]\nnode = '22'\n[env]\nA = 'canary'\n[settings]\nok = 1\nkey = 'canary'\n",
            &keep,
        ) else {
            panic!("not reduced")
        };
        let content = String::from_utf8(content).unwrap();
        assert!(
            content.contains("node = \"22\"") && content.contains("ok = 1") && !content.contains("canary"),
            "{content}"
        );
        assert_eq!(dropped, ["env", "settings"]);
        let inner = b"[tools]\n'http:x' = { version = '1', url = 'https://me:pw@host/x' }\n[env]\nA = '1'\n";
        assert_eq!(share(inner, &keep), Share::Nothing("it holds a token"));
        assert_eq!(share(b"[tools\n", &keep), Share::Nothing("it does not read as TOML"));
    }

    #[test]
    fn patterns_match_whole_names() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["versions/node/v1/etc/npmrc", "versions/node/v2/etc/npmrc", "versions/node/v2/etc/other"] {
            std::fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let mut found = matching(dir.path(), "versions/node/*/etc/npmrc");
        found.sort();
        assert_eq!(found, ["v1", "v2"].map(|v| dir.path().join(format!("versions/node/{v}/etc/npmrc"))));
        assert!(fits(b"ASDF_NODEJS_VERSION", "ASDF_*_VERSION") && fits(b"NVM_DIR", "NVM_DIR"));
        assert!(!fits(b"ASDF_VERSION", "ASDF_*_VERSION") && !fits(b"XNVM_DIR", "NVM_DIR"));
    }
}
