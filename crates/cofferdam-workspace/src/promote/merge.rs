//! Three-way merge of text and of permission bits.

use std::fs::File;
use std::io::{self, Read};

use threeway_merge::{MergeOptions, merge_strings};

use super::plan::Conflict;

/// The largest file, in bytes, that is read into memory to be merged.
pub(super) const MERGE_LIMIT: u64 = 32 << 20;

/// The label of the real tree's side in conflict markers.
const REAL_LABEL: &str = "real tree";

/// What became of a text merge.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// Both sides' changes, at different places.
    Clean(Vec<u8>),
    /// The text with conflict markers.
    Marked(Vec<u8>),
}

/// Merges as `git merge-file` does: the crate is git's own xdiff, which is the only one of those tried (diffy 0.5,
/// gix-merge 0.23) that gave git's answer in each of thousands of random cases.
///
/// # Errors
/// [`Conflict::Binary`] where a side is not UTF-8 text or holds a NUL byte, [`Conflict::TooLarge`] where the engine
/// refuses the size.
pub(super) fn merge_text(base: &[u8], real: &[u8], new: &[u8], label: &str) -> Result<Merged, Conflict> {
    let text = |bytes| match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(Conflict::Binary),
    };
    let (base, real, new) = (text(base)?, text(real)?, text(new)?);
    let options = MergeOptions {
        ours_label: Some(REAL_LABEL.to_owned()),
        theirs_label: Some(label.to_owned()),
        ..MergeOptions::default()
    };
    let result = merge_strings(base, real, new, &options).map_err(|_| Conflict::TooLarge)?;
    let content = result.content.into_bytes();
    Ok(if result.conflicts == 0 { Merged::Clean(content) } else { Merged::Marked(content) })
}

/// The permission bits (`07777` of the real file, `0777` of the others) that both sides' changes lead to; `None` where
/// they contradict each other.
pub(super) fn merge_modes(base: u32, real: u32, new: u32) -> Option<u32> {
    let special = real & 0o7000;
    let (base, real, new) = (base & 0o777, real & 0o777, new & 0o777);
    let merged = if new == base || new == real {
        real
    } else if real == base {
        new
    } else {
        return None;
    };
    Some(special | merged)
}

/// Reads a file that is to be merged; `None` where it is larger than [`MERGE_LIMIT`].
pub(super) fn read_limited(file: File) -> io::Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    file.take(MERGE_LIMIT + 1).read_to_end(&mut out)?;
    Ok((out.len() as u64 <= MERGE_LIMIT).then_some(out))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn permission_bits_follow_the_side_that_changed_them() {
        assert_eq!(merge_modes(0o644, 0o644, 0o755), Some(0o755));
        assert_eq!(merge_modes(0o644, 0o600, 0o644), Some(0o600));
        assert_eq!(merge_modes(0o644, 0o755, 0o755), Some(0o755));
        assert_eq!(merge_modes(0o644, 0o600, 0o755), None);
        assert_eq!(merge_modes(0o755, 0o4755, 0o700), Some(0o4700), "the real file's own set-id bit is not ours");
        assert_eq!(merge_modes(0o755, 0o755, 0o6755), Some(0o755), "a set-id bit of the run is never taken");
    }

    #[test]
    fn bytes_that_are_no_text_are_not_merged() {
        assert_eq!(merge_text(b"a\n", b"a\xff\n", b"b\n", "run"), Err(Conflict::Binary));
        assert_eq!(merge_text(b"a\n", b"a\n", b"b\0\n", "run"), Err(Conflict::Binary));
    }

    fn line(random: &mut fastrand::Rng, words: usize) -> String {
        match random.usize(..words) {
            0 => "}\n".to_owned(),
            1 => "\n".to_owned(),
            word => format!("    line {word};\n"),
        }
    }

    fn edited(random: &mut fastrand::Rng, base: &[String], words: usize) -> Vec<String> {
        let mut lines = base.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..=lines.len());
            match random.u8(..3) {
                0 => lines.insert(at, line(random, words)),
                1 if at < lines.len() => drop(lines.remove(at)),
                _ if at < lines.len() => lines[at] = line(random, words),
                _ => {}
            }
        }
        lines
    }

    #[test]
    fn merges_are_git_s_own() {
        let dir = tempfile::tempdir().unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let (mut clean, mut marked) = (0, 0);
        for case in 0..300 {
            let words = [6, 20, 1000][case % 3];
            let base: Vec<String> = (0..random.usize(..30)).map(|_| line(&mut random, words)).collect();
            let real = edited(&mut random, &base, words);
            let new = edited(&mut random, &base, words);
            let texts = [base, real, new].map(|lines| {
                let mut text = lines.concat();
                if random.u8(..6) == 0 {
                    text.pop();
                }
                if random.u8(..10) == 0 {
                    text = text.replace('\n', "\r\n");
                }
                text
            });
            for (name, text) in ["base", "real", "new"].iter().zip(&texts) {
                std::fs::write(dir.path().join(name), text).unwrap();
            }
            let git = Command::new("git")
                .args([
                    "merge-file",
                    "-p",
                    "-q",
                    "-L",
                    REAL_LABEL,
                    "-L",
                    "base",
                    "-L",
                    "run k7m2",
                    "real",
                    "base",
                    "new",
                ])
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .current_dir(dir.path())
                .output()
                .unwrap();
            let ours = merge_text(texts[0].as_bytes(), texts[1].as_bytes(), texts[2].as_bytes(), "run k7m2").unwrap();
            let theirs = match git.status.code() {
                Some(0) => Merged::Clean(git.stdout),
                Some(1..=127) => Merged::Marked(git.stdout),
                other => panic!("git merge-file: {other:?} {}", String::from_utf8_lossy(&git.stderr)),
            };
            match theirs {
                Merged::Clean(_) => clean += 1,
                Merged::Marked(_) => marked += 1,
            }
            assert_eq!(ours, theirs, "case {case}");
        }
        assert!(clean > 50 && marked > 50, "{clean} clean, {marked} marked: the cases are one-sided");
    }
}
