//! The prices of models: the person's table, where there is one, or the one that is shipped.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cofferdam_enclosure::open_regular;
use cofferdam_models::Prices;

/// Most bytes of a table.
const MOST: u64 = 1 << 20;

/// The prices that count, read outside with this process's environment, which is the person's.
///
/// # Errors
/// Where the person's table cannot be read, in words: costs would be others than they think.
pub(super) fn prices() -> Result<Prices, String> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    match base.map(|base| base.join("cofferdam/prices.toml")) {
        Some(path) => read(&path),
        None => shipped(),
    }
}

fn shipped() -> Result<Prices, String> {
    Prices::shipped().map_err(|e| format!("the table of prices shipped with the program does not read: {e}"))
}

fn read(path: &Path) -> Result<Prices, String> {
    let say = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return shipped(),
        Err(e) => return Err(say(&e)),
    };
    let mut text = String::new();
    file.take(MOST + 1).read_to_string(&mut text).map_err(|e| say(&e))?;
    if text.len() as u64 > MOST {
        return Err(say(&"it is larger than 1 MiB"));
    }
    Prices::parse(&text).map_err(|e| say(&e))
}

#[cfg(test)]
mod tests {
    use cofferdam_core::event::Usage;

    use super::*;

    #[test]
    fn a_persons_table_replaces_the_shipped_one_or_says_why_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prices.toml");
        assert_eq!(read(&path).unwrap(), Prices::shipped().unwrap());
        std::fs::write(&path, "day = \"2026-01-01\"\n[[model]]\nnames = [\"mine\"]\ninput = \"1\"\noutput = \"2\"\n")
            .unwrap();
        let usage = Usage { input: 2, output: 1, ..Usage::default() };
        let prices = read(&path).unwrap();
        assert_eq!(prices.cost("mine", &usage).unwrap().micro_usd, 4);
        assert_eq!(prices.cost("claude-sonnet-4-5", &usage), None, "all of the shipped one is gone");
        std::fs::write(&path, "day = 1\n").unwrap();
        assert!(read(&path).unwrap_err().contains("prices.toml: "));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(read(&path).is_err());
    }
}
