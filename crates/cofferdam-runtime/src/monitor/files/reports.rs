//! Test reports where they mostly lie: in directories that git ignores, whose files are not looked at otherwise.

use std::collections::BTreeMap;

use cofferdam_core::Bytes;
use cofferdam_core::event::TestResult;
use cofferdam_review::testrun;
use cofferdam_workspace::{Live, Stamp};

/// Largest report that is read, in bytes.
const LARGEST: u64 = 4 << 20;
/// Most reports whose last look is remembered; beyond it, none is read.
const MOST: usize = 10_000;
/// Directories of other people's projects: a report in one is a fixture.
const FOREIGN: &[&[u8]] = &[b"node_modules", b"site-packages", b"vendor", b".git", b".cargo", b".venv", b"venv"];
/// Directories that build tools keep reports in.
const OF_REPORTS: &[&[u8]] =
    &[b"test-results", b"test_results", b"test-reports", b"surefire-reports", b"failsafe-reports", b"reports"];
/// Names that people give to reports.
const NAMES: &[&[u8]] =
    &[b"report.xml", b"results.xml", b"test.xml", b"tests.xml", b"test-results.xml", b"test-report.xml"];

/// The reports of a run that were read.
#[derive(Debug, Default)]
pub(super) struct Reports(BTreeMap<Bytes, Stamp>);

impl Reports {
    /// What an ignored file says of tests, where its name is a report's and nobody has read it as it is.
    pub(super) fn look(&mut self, live: &mut Live, path: &Bytes) -> Option<TestResult> {
        if !is_report(&path.0) || self.0.len() >= MOST && !self.0.contains_key(path) {
            return None;
        }
        let (stamp, content) = live.hidden_text(path, LARGEST)?;
        if self.0.get(path) == Some(&stamp) {
            return None;
        }
        let result = testrun::report(path, &content)?;
        self.0.insert(path.clone(), stamp);
        Some(result)
    }
}

/// Whether a path is one that test reports have, by convention.
pub(super) fn is_report(path: &[u8]) -> bool {
    if !path.ends_with(b".xml") {
        return false;
    }
    let mut parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    let name = parts.pop().unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    !parts.iter().any(|part| FOREIGN.contains(part))
        && (name.starts_with(b"TEST-")
            || memchr::memmem::find(&lower, b"junit").is_some()
            || NAMES.contains(&&lower[..])
            || parts.iter().any(|part| OF_REPORTS.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_by_their_conventions() {
        for path in [
            "target/nextest/ci/junit.xml",
            "build/test-results/test/TEST-a.B.xml",
            "target/surefire-reports/TEST-x.xml",
            "out/TEST-x.xml",
            "coverage/jest-junit.xml",
            "build/JUnit.xml",
            "tmp/report.xml",
            "build/reports/pytest.xml",
        ] {
            assert!(is_report(path.as_bytes()), "{path}");
        }
        for path in ["build/pom.xml", "node_modules/jest-junit/fixtures/junit.xml", "target/x.json", "reports/a.html"] {
            assert!(!is_report(path.as_bytes()), "{path}");
        }
    }
}
