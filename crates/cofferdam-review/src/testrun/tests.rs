//! Real outputs (tests/fixtures), forged ones, and anything at all.

use std::time::{Duration, Instant};

use super::*;

/// A real output: framework, passed, failed, skipped, the exit code of the command that printed it, failing names.
type Real = (&'static str, &'static str, u64, u64, u64, i32, &'static [&'static str]);

const CARGO: &[&str] = &["tests::is_wrong", "also_wrong"];
const NEXTEST: &[&str] = &["sums tests::is_wrong", "sums::whole also_wrong"];
const PYTEST: &[&str] = &[
    "test_sums.py::test_wrong",
    "test_sums.py::TestThings::test_other",
    "test_sums.py::test_forger",
    "test_sums.py::test_setup",
];
const PYTEST_REVERSED: &[&str] = &[PYTEST[3], PYTEST[0], PYTEST[1], PYTEST[2]];
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

const REAL: &[Real] = &[
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

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn of(words: &[&str], output: &[u8]) -> Vec<TestResult> {
    recognise(&words.iter().map(|w| Bytes::from(*w)).collect::<Vec<_>>(), output, b"")
}

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
        ("pytest-xdist.txt", Some(470)),
        ("unittest-failing.txt", Some(1)),
        ("jest-broken.txt", Some(1614)),
        ("vitest-broken.txt", Some(1060)),
        ("node-tap-passing.txt", Some(313)),
        ("go-plain.txt", Some(6)),
        ("go-passing.txt", None),
        ("ctest-passing.txt", Some(10)),
        ("nextest-passing.txt", Some(13)),
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
fn what_is_no_report_or_a_trap_is_none() {
    let suite = "<testsuite><testcase name='a'/></testsuite>";
    let whole = report(&"r".into(), format!("\u{feff} <?xml version='1.0'?><!-- x -->{suite}").as_bytes()).unwrap();
    assert_eq!((whole.passed, whole.failed), (1, 0));
    let named = br#"<testsuite><testcase classname="c" name="a &lt;b&gt; &#x263a;"><failure/></testcase></testsuite>"#;
    assert_eq!(report(&"r".into(), named).unwrap().failing, ["c.a <b> \u{263a}"]);
    let bomb = format!("<!DOCTYPE x [<!ENTITY a \"{}\">]>{suite}", "x".repeat(1000));
    let entity = "<testsuite><testcase name='&xxe;'/></testsuite>";
    let deep = format!("<testsuite>{}", "<testsuite>".repeat(100));
    let nested = "<html><testsuite><testcase name='a'/></testsuite></html>";
    let twice = format!("{suite}{suite}");
    for trap in [&bomb, entity, &deep, nested, &twice, "", "{}", "<", "<testsuite><testcase>", "<testsuite></testcase>"]
    {
        assert_eq!(report(&"r".into(), trap.as_bytes()), None, "{trap:.60}");
    }
    // Only the elements count, wherever the text says otherwise; only a case's own failure is its failure.
    let claims = "<testsuite tests='1000' failures='0'><testcase name='a'><properties><failure/></properties></testcase>\
                  <testcase name='b'><error/><system-out>&lt;testcase/&gt;<![CDATA[<testcase/>]]></system-out></testcase>\
                  </testsuite>";
    let got = report(&"r".into(), claims.as_bytes()).unwrap();
    assert_eq!((got.passed, got.failed, got.skipped), (1, 1, 0));
}

#[test]
fn quoted_outputs_are_not_test_runs() {
    for (file, ..) in REAL {
        let output = fixture(file);
        for words in [&["cat", "log"][..], &["sh", "-c", "grep -v x log | head -100"], &["git", "show", "HEAD:log"]] {
            assert_eq!(of(words, &output), [], "{words:?} {file}");
        }
        // Cited in a text, as a log in Markdown or a diff.
        for prefix in ["> ", "+", "    ", "12: "] {
            let cited: Vec<u8> =
                output.split(|b| *b == b'\n').flat_map(|l| [prefix.as_bytes(), l, b"\n"].concat()).collect();
            let got = of(&["./tool"], &cited);
            assert_eq!(got, [], "{prefix:?} {file}");
        }
    }
}

#[test]
fn a_bare_summary_is_no_test_run() {
    for forged in [
        "test result: ok. 1000 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        "running 3 tests\ntest result: ok. 1000 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        "running 3 tests\ntest result: ok. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        "running 3 tests\n test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        "running 3 tests of many\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        "     Summary [   0.480s] 6 tests run: 6 passed, 0 skipped\n",
        "    Starting 6 tests across 2 binaries\n────────────\n     Summary [   0.480s] 6 tests run: 5 passed, 0 skipped\n",
        "=== 1000 passed in 0.01s ===\n",
        "1000 passed in 0.01s\n",
        "Ran 5 tests in 0.001s\n\nOK\n",
        "OK\n",
        "Tests:       1000 passed, 1000 total\n",
        "Test Suites: 1 passed, 1 total\nTests:       1000 passed, 7 total\nSnapshots:   0 total\nTime:        0.5 s\n",
        "      Tests  1000 passed (1000)\n",
        " Test Files  1 passed (1)\n      Tests  1000 passed (7)\n   Duration  1s\n",
        "a line\n  1000 passing (1ms)\n",
        "# tests 1\n# suites 0\n# pass 1\n# fail 0\n# cancelled 0\n# skipped 0\n# todo 0\n# duration_ms 1\n",
        "ℹ tests 9\nℹ suites 0\nℹ pass 1\nℹ fail 0\nℹ cancelled 0\nℹ skipped 0\nℹ todo 0\nℹ duration_ms 1\n",
        "ℹ pass 1000\n",
        "--- PASS: TestX (0.00s)\nPASS\nok\n",
        "ok      example.org/p   0.002s\n",
        "{\"Action\":\"pass\",\"Package\":\"p\",\"Test\":\"T\"}\n",
        "100% tests passed, 0 tests failed out of 1000\n",
        "Test project /x\n100% tests passed, 4 tests failed out of 7\n",
        "Test project /x\n90% tests passed, 4 tests failed out of 7\n",
    ] {
        assert_eq!(of(&["./tool"], forged.as_bytes()), [], "{forged}");
    }
}

#[test]
fn the_forged_summary_of_a_failing_test_does_not_replace_the_real_one() {
    let result = "test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.25s\n";
    let forged = "running 1000 tests\ntest result: ok. 1000 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; \
                  finished in 0.00s\n";
    let output = format!(
        "running 5 tests\ntest a ... FAILED\n\nfailures:\n\n---- a stdout ----\n{forged}\nfailures:\n    a\n\n{result}"
    );
    let got = &of(&["cargo", "test"], output.as_bytes())[0];
    assert_eq!((got.passed, got.failed, &got.failing[..]), (4, 1, &["a".to_owned()][..]));
}

#[test]
fn what_a_gap_hides_is_said() {
    let head = "running 2 tests\n..\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in \
                0.01s\n\nrunning 9000 tests\n......";
    let tail = "....\ntest result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s\n";
    let got = &recognise(&["cargo".into()], head.as_bytes(), tail.as_bytes())[0];
    assert_eq!((got.passed, got.partial), (9, true));
    // A summary at the end is whole.
    let got = &recognise(&["pytest".into()], b"=", b"cut\n==== 1 failed, 3 passed in 75.01s (0:01:15) ====\n");
    assert_eq!(got[..], [], "bars of an unknown length belong to a header that is not there");
    let quiet = &recognise(&["pytest".into()], b"...", b"cut\n1 failed, 3 passed, 1 warning in 75.01s (0:01:15)\n")[0];
    assert_eq!((quiet.passed, quiet.failed, quiet.milliseconds, quiet.partial), (3, 1, Some(75_010), false));
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

#[test]
fn names_are_bounded() {
    let names: String = (0..5000).map(|n| format!("    {}{n}\n", "é".repeat(300))).collect();
    let short: String = (0..5000).map(|n| format!("    t{n}\n")).collect();
    for (names, expected, length) in [(names, 1, 200), (short, 100, 2)] {
        let output = format!(
            "running 5000 tests\n\nfailures:\n{names}\ntest result: FAILED. 0 passed; 5000 failed; 0 ignored; 0 measured; 0 \
             filtered out; finished in 1.00s\n"
        );
        let got = &of(&["x"], output.as_bytes())[0];
        assert_eq!((got.failed, got.failing.len(), got.failing[0].chars().count()), (5000, expected, length));
    }
}

/// Fragments that make recognisers look twice.
const FRAGMENTS: &[&str] = &[
    "\n",
    "\r",
    "\t",
    "\x1b[31m",
    "\x1b]",
    "\x1b",
    " ",
    "  ",
    "(",
    ")",
    "[",
    "]",
    "=",
    "────",
    "⎯",
    "running 5 tests\n",
    "failures:\n",
    "    name\n",
    "test result: FAILED. ",
    "1 passed; ",
    "=== 1 failed in 1s ===\n",
    "FAILED a - b\n",
    "FAIL: a (b)\n",
    "Ran 5 tests in 1s\n",
    "  ● x › y\n",
    "Tests: ",
    " FAIL  a > b\n",
    " Test Files  1 passed (1)\n",
    "      Tests  1 passed (1)\n",
    "  1) x\n",
    "       y\n",
    "  1 passing (1ms)\n",
    "  1 failing\n",
    "not ok 1 - x\n",
    "...\n",
    "✖ failing tests:\n",
    "✖ x (1ms)\n",
    "ℹ tests 1\n",
    "# tests 1\n",
    "=== RUN   T\n",
    "--- FAIL: T (0.00s)\n",
    "ok  \tp\t1s\n",
    "{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"t\"}\n",
    "Test project /\n",
    "\t  3 - bad (Failed)\n",
    "TAP version 13\n",
    "<testsuite>",
    "<testcase name='x'>",
    "</testcase>",
    "<failure/>",
    "&amp;",
    "&x;",
    "<![CDATA[",
    "]]>",
    "<!--",
    "<!DOCTYPE",
];

#[test]
fn anything_at_all_takes_linear_time() {
    const SIZE: usize = 1 << 20;
    const REPEATED: usize = SIZE / 8;
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let mut inputs: Vec<Vec<u8>> = FRAGMENTS.iter().map(|f| f.as_bytes().repeat(REPEATED / f.len())).collect();
    for _ in 0..3 {
        let mut mixed = Vec::with_capacity(SIZE + 64);
        while mixed.len() < SIZE {
            match random.u8(..) {
                0..16 => mixed.push(random.u8(..)),
                _ => mixed.extend_from_slice(FRAGMENTS[random.usize(..FRAGMENTS.len())].as_bytes()),
            }
        }
        inputs.push(mixed);
    }
    inputs.push((0..SIZE).map(|_| random.u8(..)).collect());
    for input in inputs {
        let begun = Instant::now();
        let (head, tail) = input.split_at(input.len() / 2);
        let results = [recognise(&["x".into()], head, tail), of(&["x"], &input)].concat();
        let reported = report(&"r".into(), &input);
        let took = begun.elapsed();
        let shown = String::from_utf8_lossy(&input[..40]).into_owned();
        // Unoptimised, on a busy machine; quadratic would be an hour.
        assert!(took < Duration::from_secs(20), "{shown:?} took {took:?}");
        for result in results.iter().chain(&reported) {
            assert!(
                result.failing.len() <= 100 && result.failing.iter().all(|n| n.chars().count() <= 200),
                "{shown:?}"
            );
        }
    }
}
