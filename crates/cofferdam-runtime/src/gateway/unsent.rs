//! The files whose content does not go to models, read from the real tree before anything can leave.

use std::io::Read;
use std::path::Path;

use cofferdam_enclosure::open_regular;
use cofferdam_models::budget::never_send::Unsent;
use cofferdam_policy::models::ModelPolicy;
use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Most entries of a project that are looked at.
const ENTRIES: usize = 400_000;
/// Most files, most bytes of one, and of all.
const FILES: usize = 4096;
const FILE: u64 = 1 << 20;
const ALL: usize = 4 << 20;

/// Reads them. Links are not followed; what is no text is left out, for a request to a model is text.
///
/// # Errors
/// Where they cannot all be read, in words: then nothing may leave.
pub(super) fn unsent(policy: &ModelPolicy, project: &Path) -> Result<Vec<Unsent>, String> {
    let mut unsent: Vec<Unsent> = Vec::new();
    for said in policy.never_send() {
        let matcher = matcher(project, &said.value)?;
        let mut walk = WalkBuilder::new(project);
        walk.standard_filters(false).follow_links(false);
        walk.filter_entry(|entry| entry.depth() != 1 || entry.file_name() != ".git");
        for (number, entry) in walk.build().enumerate() {
            if number == ENTRIES {
                return Err(format!("never-send: the project has more than {ENTRIES} files"));
            }
            let entry = entry.map_err(|e| format!("never-send: {e}"))?;
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let Ok(below) = entry.path().strip_prefix(project) else { continue };
            if !matcher.matched_path_or_any_parents(below, false).is_ignore() {
                continue;
            }
            let path = below.display().to_string();
            if unsent.iter().any(|known| known.path == path) {
                continue;
            }
            if let Some(text) = text(entry.path()).map_err(|e| format!("never-send: {path}: {e}"))? {
                unsent.push(Unsent { path, text, id: said.id.clone() });
            }
            let all: usize = unsent.iter().map(|file| file.text.len()).sum();
            if unsent.len() > FILES || all > ALL {
                return Err(format!("never-send names more than {FILES} files, or more than {} MiB", ALL >> 20));
            }
        }
    }
    Ok(unsent)
}

fn matcher(project: &Path, patterns: &[String]) -> Result<Gitignore, String> {
    let mut builder = GitignoreBuilder::new(project);
    for pattern in patterns {
        builder.add_line(None, pattern).map_err(|e| format!("never-send: {e}"))?;
    }
    builder.build().map_err(|e| format!("never-send: {e}"))
}

fn text(path: &Path) -> Result<Option<String>, String> {
    let file = match open_regular(path) {
        Ok(file) => file,
        // Gone since.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(FILE + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > FILE {
        return Err(format!("it is larger than {} MiB", FILE >> 20));
    }
    Ok(match bytes.contains(&0) {
        true => None,
        false => Some(String::from_utf8_lossy(&bytes).into_owned()),
    })
}

#[cfg(test)]
mod tests {
    use cofferdam_policy::{LayerKind, Source, parse};

    use super::*;

    #[test]
    fn files_are_found_as_gitignore_finds_them_and_nothing_else_is_read() {
        let project = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &[u8]| {
            let path = project.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("secrets/a/key.pem", b"one");
        put(".env.local", b"two");
        put("app/.env", b"three");
        put("src/secrets/x", b"not this one");
        put(".git/secrets", b"nor this");
        put("secrets/blob", b"\0\0");
        std::os::unix::fs::symlink("/etc/passwd", project.path().join("secrets/link")).unwrap();
        let text = "version = 1\n[models]\nnever-send = [\"/secrets/**\", \".env*\"]\n";
        let parsed = parse(&Source::new("/policy.toml", text), LayerKind::Person);
        let policy = ModelPolicy(vec![parsed.models]);
        let mut found: Vec<String> =
            unsent(&policy, project.path()).unwrap().into_iter().map(|file| file.path).collect();
        found.sort();
        assert_eq!(found, [".env.local", "app/.env", "secrets/a/key.pem"]);
        put("secrets/large", &vec![b'x'; 2 << 20]);
        assert!(unsent(&policy, project.path()).unwrap_err().contains("secrets/large"));
    }
}
