//! `[packages]`.

use toml::de::{DeTable, DeValue};

use super::walk::Walk;
use crate::packages::Ecosystem;

/// Whose registries may be reached while a run resolves, each once, in the order of the file.
pub(super) fn registries(walk: &mut Walk<'_>, table: &DeTable<'_>) -> Vec<Ecosystem> {
    let Some((packages, _)) = walk.table(table, "packages") else { return Vec::new() };
    walk.known(packages, &["registries"], "`[packages]`");
    // None at all is a choice.
    if matches!(packages.get("registries").map(toml::Spanned::get_ref), Some(DeValue::Array(none)) if none.is_empty()) {
        return Vec::new();
    }
    let mut registries = Vec::new();
    for (text, span) in walk.texts(packages, "registries").unwrap_or_default() {
        match Ecosystem::ALL.iter().find(|(word, _)| *word == text) {
            Some((_, ecosystem)) if registries.contains(ecosystem) => {}
            Some((_, ecosystem)) => registries.push(*ecosystem),
            None => {
                let words: Vec<&str> = Ecosystem::ALL.iter().map(|(word, _)| *word).collect();
                walk.unknown_value("registries", text, span, &words);
            }
        }
    }
    registries
}
