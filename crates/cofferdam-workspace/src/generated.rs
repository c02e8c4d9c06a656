//! What a tool made and can make again, whether or not git ignores it.

use std::collections::HashMap;

/// Directories that hold only what a package manager or an interpreter made.
const NAMES: &[&[u8]] = &[b"node_modules", b"__pycache__"];

/// The beginning of a `CACHEDIR.TAG` (<https://bford.info/cachedir/>): cargo's target directory has one, and many others.
const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Remembers which directories are generated.
#[derive(Debug, Default)]
pub(crate) struct Generated {
    known: HashMap<Vec<u8>, bool>,
}

impl Generated {
    /// Whether a path lies in a generated directory. `read` gives the workspace's files.
    pub fn holds(&mut self, path: &[u8], read: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends {
            let directory = &path[..end];
            let known = match self.known.get(directory) {
                Some(known) => *known,
                None => {
                    let name = directory.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                    let generated = NAMES.contains(&name)
                        || read(&[directory, b"/CACHEDIR.TAG"].concat()).is_some_and(|tag| tag.starts_with(TAG));
                    self.known.insert(directory.to_vec(), generated);
                    generated
                }
            };
            if known {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tagged_and_named_directories_hold_what_is_generated() {
        let mut read = |path: &[u8]| match path {
            b"out/CACHEDIR.TAG" => Some([TAG, b"\n# made by a build"].concat()),
            b"forged/CACHEDIR.TAG" => Some(b"something else".to_vec()),
            _ => None,
        };
        let mut generated = Generated::default();
        for (path, expected) in [
            (&b"out/debug/x"[..], true),
            (b"out/CACHEDIR.TAG", true),
            (b"web/node_modules/a/b.js", true),
            (b"pkg/__pycache__/m.pyc", true),
            (b"forged/x", false),
            (b"src/main.rs", false),
            (b"node_modules", false),
        ] {
            assert_eq!(generated.holds(path, &mut read), expected, "{}", path.escape_ascii());
        }
    }
}
