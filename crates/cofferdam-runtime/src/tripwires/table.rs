//! The table of decoys.

use std::sync::OnceLock;

use serde::Deserialize;

/// `data/decoys.toml`, as build.rs translates it.
const TABLE: &str = include_str!(concat!(env!("OUT_DIR"), "/decoys.json"));

/// One entry of the table. The file says what the fields mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) content: String,
}

#[derive(Debug, Deserialize)]
struct Table {
    decoy: Vec<Entry>,
}

/// The table, read once.
pub(super) fn table() -> Result<&'static [Entry], serde_json::Error> {
    static READ: OnceLock<Table> = OnceLock::new();
    let read = match READ.get() {
        Some(table) => table,
        None => serde_json::from_str(TABLE).map(|table| READ.get_or_init(|| table))?,
    };
    Ok(&read.decoy)
}

/// Where decoys are to stand, below the home.
///
/// # Errors
/// Where the table shipped with the program is broken.
pub(crate) fn paths() -> Result<impl Iterator<Item = &'static str>, serde_json::Error> {
    Ok(table()?.iter().map(|entry| entry.path.as_str()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Component, Path};

    use super::*;

    #[test]
    fn each_decoy_has_a_name_and_a_place_of_its_own_in_one_directory_at_the_most() {
        let table = table().unwrap();
        assert!(!table.is_empty());
        assert_eq!(table.iter().map(|e| &e.name).collect::<BTreeSet<_>>().len(), table.len());
        assert_eq!(table.iter().map(|e| &e.path).collect::<BTreeSet<_>>().len(), table.len());
        for entry in table {
            let parts: Vec<Component<'_>> = Path::new(&entry.path).components().collect();
            assert!(parts.len() <= 2 && parts.iter().all(|p| matches!(p, Component::Normal(_))), "{}", entry.path);
        }
    }
}
