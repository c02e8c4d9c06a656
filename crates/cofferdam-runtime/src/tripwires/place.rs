//! Placing decoys in a home, and finding those that stand there.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use cofferdam_core::Timestamp;

use super::ground::{Found, Ground};
use super::table::{Entry, table};
use super::{Decoy, Decoys, content};
use crate::store::{StoreError, doing};

/// Beside the home, what is known of its decoys.
const RECORD: &str = "decoys.json";
/// Most tokens of earlier decoys that are remembered; the oldest are forgotten first.
const MOST_SPENT: usize = 64;
/// A decoy says that it was written so many days ago at least, and before so many at the most.
const DAYS: std::ops::Range<u64> = 20..400;
const DAY: u64 = 86_400;

/// Makes the decoys of a persistent home stand: those that do stay as they are, missing ones are made, and what a run has put in
/// their place is left to it. The home is locked.
pub(crate) fn place(home: &Path) -> Result<Decoys, StoreError> {
    let record = home.with_file_name(RECORD);
    let mut decoys = read(&record);
    let was = decoys.clone();
    let at = |e: rustix::io::Errno| doing("placing decoys in", home)(e.into());
    let ground = Ground::open(home).map_err(at)?;
    let mut made = Vec::new();
    for entry in entries(&record)? {
        let known = decoys.standing.iter().position(|decoy| decoy.path == entry.path);
        let found = ground.look(&entry.path).map_err(at)?;
        if let (Some(known), Found::Something(stat)) = (known, &found)
            && decoys.standing[known].is(stat)
        {
            continue;
        }
        if let Some(known) = known {
            // It was changed or removed; what it held may be kept somewhere.
            let Decoy { name, tokens, .. } = decoys.standing.remove(known);
            decoys.spent.extend(tokens.into_iter().map(|token| (name.clone(), token)));
        }
        if matches!(found, Found::Nothing | Found::Placeholder) {
            made.push(new(entry).map_err(at)?);
        }
    }
    let excess = decoys.spent.len().saturating_sub(MOST_SPENT);
    decoys.spent.drain(..excess);
    // Remembered before they stand: a decoy that nobody knows would be taken for the run's own file for ever.
    decoys.standing.extend(made.iter().map(|(decoy, _)| decoy.clone()));
    if decoys != was {
        write(&record, &decoys)?;
    }
    for (decoy, text) in made {
        if !ground.make(&decoy.path, &text, decoy.mtime).map_err(at)? {
            decoys.standing.retain(|known| known.path != decoy.path);
        }
    }
    Ok(decoys)
}

/// Makes decoys stand in the upper layer of a view of a home that is another run's. `below` are the layers under it, the
/// home last; where any of them has a file of a run's own, none is made. What is watched has to lie in the upper layer: a
/// hard link copies a file up, and the copy is not watched.
pub(crate) fn place_above(upper: &Path, below: &[&Path]) -> Result<Decoys, StoreError> {
    let at = |e: rustix::io::Errno| doing("placing decoys in", upper)(e.into());
    let Some((home, between)) = below.split_last() else { return Ok(Decoys::default()) };
    let record = home.with_file_name(RECORD);
    let standing = read(&record);
    let (ground, home) = (Ground::open(upper).map_err(at)?, Ground::open(home).map_err(at)?);
    let between = between.iter().copied().map(Ground::open).collect::<Result<Vec<_>, _>>().map_err(at)?;
    let mut decoys = Decoys::default();
    for entry in entries(&record)? {
        let free = match home.look(&entry.path).map_err(at)? {
            Found::Nothing | Found::Placeholder => true,
            Found::Something(stat) => standing.standing.iter().any(|d| d.path == entry.path && d.is(&stat)),
            Found::InTheWay => false,
        };
        let mut covered = !free;
        for layer in &between {
            covered |= !matches!(layer.look(&entry.path).map_err(at)?, Found::Nothing);
        }
        if covered {
            continue;
        }
        let (decoy, text) = new(entry).map_err(at)?;
        if ground.make(&decoy.path, &text, decoy.mtime).map_err(at)? {
            decoys.standing.push(decoy);
        }
    }
    // What stands in the home itself shows through nowhere, and may have been copied by the other run.
    let tokens = |d: &Decoy| d.tokens.iter().map(|token| (d.name.clone(), token.clone())).collect::<Vec<_>>();
    decoys.spent = standing.standing.iter().flat_map(tokens).chain(standing.spent.iter().cloned()).collect();
    Ok(decoys)
}

fn entries(record: &Path) -> Result<&'static [Entry], StoreError> {
    table().map_err(|e| doing("reading the table of decoys for", record)(e.into()))
}

fn new(entry: &Entry) -> rustix::io::Result<(Decoy, String)> {
    let made = content::make(entry.content.trim_start())?;
    let age = DAYS.start * DAY + content::below((DAYS.end - DAYS.start) * DAY)?;
    let decoy = Decoy {
        name: entry.name.clone(),
        path: entry.path.clone(),
        size: made.text.len() as u64,
        mtime: Timestamp::now().parts().0 - age.cast_signed(),
        tokens: made.tokens,
    };
    Ok((decoy, made.text))
}

/// What is remembered; where that does not read, decoys that stand are taken for files of the home's own.
fn read(record: &Path) -> Decoys {
    let known = std::fs::read(record).ok().and_then(|text| serde_json::from_slice(&text).ok());
    known.unwrap_or_default()
}

fn write(record: &Path, decoys: &Decoys) -> Result<(), StoreError> {
    let new = record.with_extension("new");
    let text = serde_json::to_vec(decoys).map_err(|e| doing("writing", record)(e.into()))?;
    let open = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new);
    open.and_then(|mut file| file.write_all(&text))
        .and_then(|()| std::fs::rename(&new, record))
        .map_err(doing("writing", record))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn home() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        (dir, home)
    }

    fn names(decoys: &Decoys) -> Vec<&str> {
        decoys.standing().iter().map(|decoy| decoy.name.as_str()).collect()
    }

    #[test]
    fn decoys_stay_and_what_is_changed_or_put_there_is_left_alone() {
        let (_dir, home) = home();
        let placeholder = |name: &str, directory: bool| {
            let at = home.join(name);
            if directory { std::fs::create_dir(&at) } else { std::fs::write(&at, "") }.unwrap();
            std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o0)).unwrap();
        };
        placeholder(".ssh", true);
        placeholder(".pypirc", false);
        std::fs::write(home.join(".git-credentials"), "the run's own").unwrap();
        let first = place(&home).unwrap();
        assert_eq!(names(&first), ["ssh-key", "aws-credentials", "pypi-token", "vault-token"]);
        assert_eq!(place(&home).unwrap(), first, "they stay");
        assert_eq!(std::fs::read(home.join(".git-credentials")).unwrap(), b"the run's own");

        std::fs::write(home.join(".vault-token"), "changed").unwrap();
        std::fs::remove_file(home.join(".pypirc")).unwrap();
        let second = place(&home).unwrap();
        assert_eq!(names(&second), ["ssh-key", "aws-credentials", "pypi-token"]);
        assert_eq!(std::fs::read(home.join(".vault-token")).unwrap(), b"changed");
        let mut secrets = cofferdam_evidence::Secrets::default();
        second.add_to(&mut secrets).unwrap();
        let count = |name: &str| secrets.names().filter(|known| *known == format!("decoy-{name}")).count();
        assert_eq!(count("vault-token"), first.standing()[3].tokens.len(), "what it held is still known");
        assert_eq!(count("pypi-token"), 2 * first.standing()[2].tokens.len(), "the new one and the one before it");
    }

    #[test]
    fn what_earlier_decoys_held_is_remembered_within_a_bound() {
        let (_dir, home) = home();
        for _ in 0..20 {
            place(&home).unwrap();
            std::fs::remove_file(home.join(".vault-token")).unwrap();
        }
        assert_eq!(place(&home).unwrap().spent.len(), MOST_SPENT);
    }

    #[test]
    fn above_a_home_of_another_run_nothing_of_its_own_is_covered() {
        let (dir, home) = home();
        place(&home).unwrap();
        std::fs::remove_dir_all(home.join(".ssh")).unwrap();
        symlink("/nowhere", home.join(".ssh")).unwrap();
        std::fs::write(home.join(".vault-token"), "its own").unwrap();
        let (upper, between) = (dir.path().join("upper"), dir.path().join("between"));
        std::fs::create_dir(&upper).unwrap();
        std::fs::create_dir(&between).unwrap();
        std::fs::write(between.join(".pypirc"), "an earlier run's").unwrap();
        let decoys = place_above(&upper, &[&between, &home]).unwrap();
        assert_eq!(names(&decoys), ["aws-credentials", "git-credentials"]);
        let mut made: Vec<_> = upper.read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        made.sort();
        assert_eq!(made, [".aws", ".git-credentials"]);
        assert!(!decoys.spent.is_empty(), "what stands in the home itself is known as well");
    }
}
