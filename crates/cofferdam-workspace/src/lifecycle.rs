//! Whether a change of `package.json` changes what package managers and hook managers run.

use cofferdam_core::Bytes;
use serde_json::Value;

use crate::ignored::read_bounded;
use crate::layers::Layers;
use std::io::Read;

/// Fields whose content is run, or chooses what is run: lifecycle scripts and commands put on PATH (npm's
/// package.json(5)), native builds, the package manager itself (corepack), and the hook managers' settings.
const FIELDS: &[&str] = &[
    "scripts",
    "bin",
    "directories",
    "gypfile",
    "packageManager",
    "trustedDependencies",
    "pnpm",
    "husky",
    "lint-staged",
    "simple-git-hooks",
    "pre-commit",
    "pre-push",
    "nodemonConfig",
    "wireit",
    "volta",
];

/// Largest `package.json` that is parsed, in bytes; a larger one counts as changing.
const LARGEST: u64 = 1 << 20;

pub(crate) const CLAUSE: &str = "npm and its like run its scripts when installing, testing or publishing";

/// Whether what runs differs. What cannot be read or parsed counts as differing.
pub(crate) fn changes(layers: &Layers, path: &Bytes) -> bool {
    let new = read_bounded(layers.upper_fd(), &path.0).and_then(|text| parse(&text));
    let old = match layers.open_base(path) {
        Ok(Some(file)) => {
            let mut text = Vec::new();
            match file.take(LARGEST + 1).read_to_end(&mut text) {
                Ok(n) if n as u64 <= LARGEST => parse(&text),
                _ => None,
            }
        }
        // A package.json that was not there ran nothing.
        Ok(None) => Some(Value::Object(serde_json::Map::new())),
        Err(_) => None,
    };
    match (old, new) {
        (Some(old), Some(new)) => FIELDS.iter().any(|field| old.get(field) != new.get(field)),
        _ => true,
    }
}

fn parse(text: &[u8]) -> Option<Value> {
    serde_json::from_slice::<Value>(text).ok().filter(Value::is_object)
}
