//! `go test`, plain, with `-v` and with `-json` (`go help test`, `go doc test2json`).
//!
//! Plain output lists failing tests only: then a package that passed counts as one, and so does one that failed without
//! naming a test (it did not build, or died). With `-v` and `-json` tests and subtests count, as in the events of
//! `-json`.

use std::collections::HashSet;

use cofferdam_core::event::TestResult;
use serde::Deserialize;

use super::lines::Lines;
use super::numbers::{plus, seconds};

pub(super) fn recognise(text: &Lines) -> Option<TestResult> {
    json(text).or_else(|| plain(text))
}

/// The tests of the package whose line has not come yet.
#[derive(Default)]
struct Package<'a> {
    running: HashSet<&'a str>,
    verbose: bool,
    passed: u64,
    failed: u64,
    skipped: u64,
    failing: Vec<&'a str>,
}

fn plain(text: &Lines) -> Option<TestResult> {
    let mut total = super::result("go-test");
    let mut found = false;
    let mut package = Package::default();
    for (after_gap, line) in text.marked() {
        if after_gap {
            package = Package::default();
        }
        package.line(line);
        let Some((passed, name, time)) = package_line(line) else { continue };
        found = true;
        let mut done = std::mem::take(&mut package);
        match passed {
            Some(true) if !done.verbose => done.passed += 1,
            Some(false) if done.failed == 0 => {
                done.failed = 1;
                done.failing.push(name);
            }
            _ => {}
        }
        total.passed += done.passed;
        total.failed += done.failed;
        total.skipped += done.skipped;
        total.milliseconds = plus(total.milliseconds, time);
        done.failing.iter().for_each(|name| super::name(&mut total.failing, name));
    }
    total.partial = text.has_gap();
    found.then_some(total)
}

impl<'a> Package<'a> {
    fn line(&mut self, line: &'a str) {
        if let Some(name) = line.strip_prefix("=== RUN   ") {
            self.verbose = true;
            self.running.insert(name);
            return;
        }
        let Some((verdict, rest)) = line.trim_start_matches(' ').strip_prefix("--- ").and_then(|l| l.split_once(": "))
        else {
            return;
        };
        let Some(name) = rest.strip_suffix("s)").and_then(|r| r.rsplit_once(" (")).map(|(name, _)| name) else {
            return;
        };
        // With -v a test that ends has begun; without, only failures are said.
        if self.verbose && !self.running.remove(name) {
            return;
        }
        match verdict {
            "PASS" if self.verbose => self.passed += 1,
            "SKIP" if self.verbose => self.skipped += 1,
            "FAIL" => {
                self.failed += 1;
                if self.failing.len() < super::MOST_NAMES {
                    self.failing.push(name);
                }
            }
            _ => {}
        }
    }
}

/// A package's line, its fields apart by tabulators: `ok`, name, time or `(cached)`; `FAIL`, name, time, or the reason behind
/// the name; `?`, name, `[no test files]`. Whether it passed, of what had tests; the package; its time.
fn package_line(line: &str) -> Option<(Option<bool>, &str, Option<u64>)> {
    let mut fields = line.split('\t');
    let (verdict, name) = (fields.next()?, fields.next()?);
    let rest = fields.next();
    let time = |t: &str| seconds(t.strip_suffix('s')?);
    match (verdict, rest) {
        ("?   ", Some("[no test files]")) => Some((None, name, None)),
        ("ok  ", Some("(cached)")) => Some((Some(true), name, None)),
        ("ok  ", Some(rest)) => {
            let time = time(rest.split(' ').next()?)?;
            // `[no tests to run]`: nothing ran that could pass.
            let ran = !line.ends_with("[no tests to run]");
            Some((ran.then_some(true), name, Some(time)))
        }
        ("FAIL", Some(rest)) => Some((Some(false), name, Some(time(rest)?))),
        ("FAIL", None) => {
            let (name, why) = name.split_once(" [")?;
            matches!(why, "build failed]" | "setup failed]").then_some((Some(false), name, None))
        }
        _ => None,
    }
}

/// An event of `-json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    package: String,
    #[serde(default)]
    test: Option<String>,
    #[serde(default)]
    elapsed: Option<f64>,
}

fn json(text: &Lines) -> Option<TestResult> {
    let mut total = super::result("go-test");
    let mut running: HashSet<(String, String)> = HashSet::new();
    let mut failed_in: HashSet<String> = HashSet::new();
    let mut found = false;
    for line in text.all().filter(|l| l.starts_with("{\"")) {
        let Ok(event) = serde_json::from_str::<Event>(line) else { continue };
        let Event { action, package, test, elapsed } = event;
        let Some(test) = test else {
            // The end of a package.
            found |= matches!(action.as_str(), "pass" | "fail" | "skip");
            if action == "fail" && !failed_in.contains(&package) {
                total.failed += 1;
                super::name(&mut total.failing, &package);
            }
            let took = elapsed.and_then(|s| seconds(&format!("{s:.3}")));
            total.milliseconds = plus(total.milliseconds, took);
            continue;
        };
        let key = (package, test);
        if action == "run" {
            running.insert(key);
        } else if matches!(action.as_str(), "pass" | "fail" | "skip") && (running.remove(&key) || text.has_gap()) {
            match action.as_str() {
                "pass" => total.passed += 1,
                "skip" => total.skipped += 1,
                _ => {
                    total.failed += 1;
                    super::name(&mut total.failing, &key.1);
                    failed_in.insert(key.0);
                }
            }
        }
    }
    total.partial = text.has_gap();
    found.then_some(total)
}
