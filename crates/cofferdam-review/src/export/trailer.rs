//! The lines that bind a commit to the evidence of the run it came from.

use cofferdam_core::RunId;
use cofferdam_core::event::EventKind;
use cofferdam_evidence::Commitment;

use super::{Record, Result};

/// Git trailers with the run, the log's size and its root: whoever has the commit can tell whether the log is still the
/// one that it came from (`coffer verify RUN --witness SIZE:ROOT`). Two lines, each with its newline, and a third with the
/// known agent that did the work.
pub fn trailer(run: &RunId, commitment: &Commitment, agent: Option<&str>) -> String {
    let agent = agent.map(|agent| format!("Cofferdam-Agent: {agent}\n")).unwrap_or_default();
    format!("Cofferdam-Run: {run}\nCofferdam-Log: {} {}\n{agent}", commitment.size, commitment.root)
}

/// Paths in a git directory that promotions of this run put into the real tree and that were not undone.
///
/// # Errors
/// Where the log cannot be read.
pub fn promoted_git_metadata(record: &Record) -> Result<Vec<cofferdam_core::Bytes>> {
    let mut standing = std::collections::BTreeMap::new();
    for event in record.events()? {
        match event?.what {
            EventKind::PromotionApplied(promotion) => {
                let paths = promotion.paths.into_iter().map(|change| change.path);
                standing.insert(promotion.number, paths.filter(in_git).collect::<Vec<_>>());
            }
            EventKind::PromotionUndone(promotion) => {
                // An undo has a number of its own; what it restored says which paths are as before.
                for paths in standing.values_mut() {
                    paths.retain(|path| !promotion.paths.iter().any(|change| change.path == *path));
                }
            }
            _ => {}
        }
    }
    Ok(standing.into_values().flatten().collect())
}

/// Whether git could take a path for part of its own directory, on a file system that does not tell cases apart, too.
fn in_git(path: &cofferdam_core::Bytes) -> bool {
    path.0.split(|b| *b == b'/').any(|part| part.eq_ignore_ascii_case(b".git"))
}

#[cfg(test)]
mod tests {
    use cofferdam_core::change::Digest;
    use cofferdam_core::event::{FileChanged, Promotion};

    use super::*;
    use crate::export::samples::Sample;

    #[test]
    fn git_can_parse_the_lines() {
        let run = "0123456789ab".parse().unwrap();
        let commitment = Commitment { size: 42, root: Digest([7; 32]) };
        let lines = format!("Cofferdam-Run: 0123456789ab\nCofferdam-Log: 42 {}\n", "07".repeat(32));
        assert_eq!(trailer(&run, &commitment, None), lines);
        assert_eq!(trailer(&run, &commitment, Some("claude 2.1.0")), lines + "Cofferdam-Agent: claude 2.1.0\n");
    }

    #[test]
    fn promoted_hooks_are_seen_until_they_are_undone() {
        let promotion = |number, paths: &[&str]| Promotion {
            number,
            paths: paths.iter().map(|p| FileChanged::new((*p).into(), None, None)).collect(),
            left: 0,
            uid: 0,
        };
        let applied = EventKind::PromotionApplied(promotion(1, &["a.txt", ".git/hooks/pre-commit", "sub/.GIT/config"]));
        let record = Sample::with(vec![applied.clone()]);
        let found = promoted_git_metadata(&record.record()).unwrap();
        assert_eq!(found, [".git/hooks/pre-commit".into(), "sub/.GIT/config".into()]);
        let undone = EventKind::PromotionUndone(promotion(2, &["a.txt", ".git/hooks/pre-commit", "sub/.GIT/config"]));
        assert!(promoted_git_metadata(&Sample::with(vec![applied, undone]).record()).unwrap().is_empty());
        let plain = EventKind::PromotionApplied(promotion(1, &["a.git/x", ".gitignore"]));
        assert!(promoted_git_metadata(&Sample::with(vec![plain]).record()).unwrap().is_empty());
    }
}
