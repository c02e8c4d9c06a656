//! Quoted and forged outputs, gaps, and anything at all.

use std::time::{Duration, Instant};

use super::real::REAL;
use super::{fixture, of, recognise, report};

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
    const REPEATED: usize = SIZE / 16;
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let mut inputs: Vec<Vec<u8>> = FRAGMENTS.iter().map(|f| f.as_bytes().repeat(REPEATED / f.len())).collect();
    for _ in 0..2 {
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
