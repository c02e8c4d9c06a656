//! Outputs and reports of real runs (tests/fixtures).

use super::{fixture, of, report};

/// A real output: framework, passed, failed, skipped, the exit code of the command that printed it, failing names.
pub(super) type Real = (&'static str, &'static str, u64, u64, u64, i32, &'static [&'static str]);

const CARGO: &[&str] = &["tests::is_wrong", "also_wrong"];
const NEXTEST: &[&str] = &["sums tests::is_wrong", "sums::whole also_wrong"];
const PYTEST: &[&str] = &[
    "test_sums.py::test_wrong",
    "test_sums.py::TestThings::test_other",
    "test_sums.py::test_forger",
    "test_sums.py::test_setup",
];
const PYTEST_REVERSED: &[&str] = &[PYTEST[3], PYTEST[0], PYTEST[1], PYTEST[2]];
const PYTEST_SUBTESTS: &[&str] = &["[case] (i=1) test_sub.py::test_many", "test_sub.py::test_many"];
const UNITTEST: &[&str] = &[
    "test_error (test_sums.Sums.test_error)",
    "test_sub (test_sums.Sums.test_sub) (i=1)",
    "test_wrong (test_sums.Sums.test_wrong)",
    "test_surprise (test_sums.Sums.test_surprise)",
];
const JEST: &[&str] = &["sums › is wrong", "sums › deep › wrong › too"];
const VITEST: &[&str] = &["vitest/sums.test.js > sums > is wrong", "vitest/sums.test.js > sums > deep > wrong > too"];
const MOCHA: &[&str] = &["sums is wrong", "sums deep wrong too"];
const NODE: &[&str] = &["is wrong", "wrong too", "top wrong"];
const CTEST: &[&str] = &["bad", "crash", "slow", "missing"];
const GO: &[&str] = &["TestWrong", "TestTable", "TestTable/n=2"];

pub(super) const REAL: &[Real] = &[
    ("cargo-failing.txt", "cargo-test", 6, 2, 2, 101, CARGO),
    ("cargo-quiet.txt", "cargo-test", 6, 2, 2, 101, CARGO),
    ("cargo-filtered.txt", "cargo-test", 2, 0, 0, 0, &[]),
    ("nextest-failing.txt", "nextest", 4, 2, 1, 100, NEXTEST),
    ("nextest-colour.txt", "nextest", 2, 1, 1, 100, &[NEXTEST[0]]),
    ("nextest-passing.txt", "nextest", 2, 0, 5, 0, &[]),
    ("pytest-failing.txt", "pytest", 5, 4, 2, 1, PYTEST),
    ("pytest-quiet.txt", "pytest", 5, 4, 2, 1, PYTEST),
    ("pytest-verbose.txt", "pytest", 5, 4, 2, 1, PYTEST_REVERSED),
    ("pytest-xdist.txt", "pytest", 5, 4, 2, 1, PYTEST),
    ("pytest-no-summary.txt", "pytest", 5, 4, 2, 1, &[]),
    ("pytest-passing.txt", "pytest", 2, 0, 0, 0, &[]),
    ("pytest-passing-quiet.txt", "pytest", 2, 0, 0, 0, &[]),
    ("pytest-none.txt", "pytest", 0, 0, 0, 5, &[]),
    ("pytest-collect.txt", "pytest", 0, 1, 0, 2, &["test_c.py"]),
    ("pytest-subtests.txt", "pytest", 1, 2, 0, 1, PYTEST_SUBTESTS),
    ("unittest-failing.txt", "unittest", 1, 4, 2, 1, UNITTEST),
    ("unittest-verbose.txt", "unittest", 1, 4, 2, 1, UNITTEST),
    ("unittest-passing.txt", "unittest", 1, 0, 1, 0, &[]),
    ("unittest-none.txt", "unittest", 0, 0, 0, 0, &[]),
    ("jest-failing.txt", "jest", 3, 2, 2, 1, JEST),
    ("jest-verbose.txt", "jest", 3, 2, 2, 1, JEST),
    ("jest-passing.txt", "jest", 2, 0, 0, 0, &[]),
    ("jest-one.txt", "jest", 1, 0, 6, 0, &[]),
    ("jest-broken.txt", "jest", 2, 1, 0, 1, &["jestbroken/broken.test.js"]),
    ("vitest-failing.txt", "vitest", 3, 2, 2, 1, VITEST),
    ("vitest-colour.txt", "vitest", 3, 2, 2, 1, VITEST),
    ("vitest-passing.txt", "vitest", 2, 0, 0, 0, &[]),
    ("vitest-broken.txt", "vitest", 2, 1, 0, 1, &["vitestbroken/broken.test.js"]),
    ("mocha-failing.txt", "mocha", 1, 2, 2, 2, MOCHA),
    ("mocha-dot.txt", "mocha", 1, 2, 2, 2, MOCHA),
    ("mocha-colour.txt", "mocha", 1, 2, 2, 2, MOCHA),
    ("mocha-passing.txt", "mocha", 2, 0, 0, 0, &[]),
    ("node-tap-failing.txt", "node-test", 1, 3, 2, 1, NODE),
    ("node-spec-failing.txt", "node-test", 1, 3, 2, 1, NODE),
    ("node-spec-passing.txt", "node-test", 2, 0, 0, 0, &[]),
    ("node-tap-passing.txt", "node-test", 2, 0, 0, 0, &[]),
    ("go-plain.txt", "go-test", 1, 3, 0, 1, GO),
    ("go-verbose.txt", "go-test", 4, 3, 2, 1, GO),
    ("go-json.txt", "go-test", 4, 3, 2, 1, &["TestWrong", "TestTable/n=2", "TestTable"]),
    ("go-broken.txt", "go-test", 1, 2, 0, 2, &["example.org/p/broken", "TestP"]),
    ("go-passing.txt", "go-test", 1, 0, 0, 0, &[]),
    ("go-passing-verbose.txt", "go-test", 1, 0, 1, 0, &[]),
    ("ctest-failing.txt", "ctest", 2, 4, 2, 8, CTEST),
    ("ctest-verbose.txt", "ctest", 2, 4, 2, 8, CTEST),
    ("ctest-passing.txt", "ctest", 2, 0, 0, 0, &[]),
];

#[test]
fn real_outputs_say_what_their_frameworks_meant() {
    let mut wrong = Vec::new();
    for (file, framework, passed, failed, skipped, exit, failing) in REAL {
        let all = of(&["make", "check"], &fixture(file));
        let [got] = &all[..] else {
            wrong.push(format!("{file}: {all:?}"));
            continue;
        };
        let counts = (got.framework.as_str(), got.passed, got.failed, got.skipped);
        if counts != (*framework, *passed, *failed, *skipped) || got.failing != *failing || got.partial {
            wrong.push(format!("{file}: {got:?}"));
        }
        // The framework's own verdict; nothing to run is an error for pytest only.
        if (*exit != 0) != (got.failed > 0) && *file != "pytest-none.txt" {
            wrong.push(format!("{file}: exit {exit}, {} failed", got.failed));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_real_output_is_in_the_table() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = REAL.iter().any(|r| r.0 == name) || name.ends_with(".xml") || name == "pytest-qq.txt";
        assert!(known, "{name}");
    }
    // Twice quiet, pytest prints no numbers.
    assert_eq!(of(&["pytest", "-qq"], &fixture("pytest-qq.txt")), []);
}

#[test]
fn times_are_the_frameworks_own() {
    for (file, milliseconds) in [
        ("pytest-xdist.txt", Some(1_370)),
        ("unittest-failing.txt", Some(1)),
        ("jest-broken.txt", Some(1_187)),
        ("vitest-broken.txt", Some(1_970)),
        ("node-tap-passing.txt", Some(701)),
        ("go-plain.txt", Some(9)),
        ("go-passing.txt", None),
        ("ctest-passing.txt", Some(30)),
        ("nextest-passing.txt", Some(23)),
    ] {
        assert_eq!(of(&["x"], &fixture(file))[0].milliseconds, milliseconds, "{file}");
    }
}

#[test]
fn reports_agree_with_the_outputs_of_the_same_runs() {
    for (file, output) in [
        ("junit-pytest.xml", "pytest-failing.txt"),
        ("junit-vitest.xml", "vitest-failing.txt"),
        ("junit-mocha.xml", "mocha-failing.txt"),
        ("junit-node.xml", "node-tap-failing.txt"),
    ] {
        let got = report(&"out/report".into(), &fixture(file)).unwrap();
        let printed = &of(&["x"], &fixture(output))[0];
        assert_eq!(
            (got.passed, got.failed, got.skipped),
            (printed.passed, printed.failed, printed.skipped),
            "{file}: {got:?}"
        );
        assert_eq!((got.framework.as_str(), got.report), ("junit", Some("out/report".into())), "{file}");
        assert!(got.milliseconds.is_some() && got.failing.len() as u64 == got.failed, "{file}");
    }
    // ctest's report calls what could not start skipped, its output failed.
    let ctest = report(&"r".into(), &fixture("junit-ctest.xml")).unwrap();
    assert_eq!((ctest.passed, ctest.failed, ctest.skipped), (2, 3, 3));
    assert_eq!(ctest.failing, ["bad", "crash", "slow"]);
}

#[test]
fn several_frameworks_and_runs_in_one_output() {
    let all = [fixture("cargo-filtered.txt"), fixture("cargo-failing.txt"), fixture("pytest-failing.txt")].concat();
    let got = of(&["make", "check"], &all);
    assert_eq!(got.len(), 2, "{got:?}");
    assert_eq!((got[0].passed, got[0].failed, got[0].skipped), (8, 2, 2));
    assert_eq!((got[1].passed, got[1].failed), (5, 4));
    // As a terminal shows it.
    let crlf = String::from_utf8(fixture("cargo-failing.txt")).unwrap().replace('\n', "\r\n");
    assert_eq!(of(&["make"], crlf.as_bytes())[0].passed, 6);
}
