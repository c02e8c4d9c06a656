//! Forms that no fixture shows.

use super::{of, report};

/// Forms that are documented and not among the fixtures.
#[test]
fn documented_forms_are_recognised() {
    let forms: &[(&str, &str, [u64; 3], &[&str])] = &[
        (
            "    Starting 9 tests across 2 binaries (run ID: x, nextest profile: ci)\n────────────\n     Summary [  61.000s] 9 \
             tests run: 5 passed (1 slow, 2 flaky), 1 failed, 1 exec failed, 2 timed out, 3 skipped\n   FLAKY 2/3 [   0.1s] a e\n  TRY 3 FAIL [   0.1s] a \
             b\n     TIMEOUT [  60.0s] a c\n     SIGSEGV [   0.1s] a d\n",
            "nextest",
            [5, 4, 3],
            &["a b", "a c", "a d"],
        ),
        (
            "ok  \tp/a\t0.010s\tcoverage: 50.0% of statements\nok  \tp/b\t0.001s [no tests to run]\n",
            "go-test",
            [1, 0, 0],
            &[],
        ),
        ("FAIL\tp/a [setup failed]\nFAIL\n", "go-test", [0, 1, 0], &["p/a"]),
        ("{\"Action\":\"fail\",\"Package\":\"p/a\",\"Elapsed\":0.1}\n", "go-test", [0, 1, 0], &["p/a"]),
        ("....  [100%]\n3 passed, 1 skipped, 4 deselected, 2 warnings in 0.12s\n", "pytest", [3, 0, 1], &[]),
        ("....  [ 4/4]\n4 passed in 3661.20s (1:01:01)\n", "pytest", [4, 0, 0], &[]),
        (
            "----------------------------------------------------------------------\nRan 0 tests in 0.000s\n\nNO TESTS RAN\n",
            "unittest",
            [0, 0, 0],
            &[],
        ),
        (
            "Test Suites: 1 passed, 1 total\nTests:       2 todo, 2 total\nSnapshots:   0 total\nTime:        2 s\n",
            "jest",
            [0, 0, 2],
            &[],
        ),
        ("\n  3 passing (2m)\n  1 failing\n\n  1) a \"b\" c:\n     Error\n", "mocha", [3, 1, 0], &["a \"b\" c"]),
        (
            "ℹ tests 2\nℹ pass 1\nℹ fail 0\nℹ cancelled 1\nℹ skipped 0\nℹ todo 0\nℹ duration_ms 5\n",
            "node-test",
            [1, 1, 0],
            &[],
        ),
        (
            "Test project /b\n99% tests passed, 1 tests failed out of 1000\n\nThe following tests FAILED:\n\t  3 - bad (Failed)   \
             slow unit\n",
            "ctest",
            [999, 1, 0],
            &["bad"],
        ),
    ];
    for (output, framework, [passed, failed, skipped], failing) in forms {
        let all = of(&["make"], output.as_bytes());
        let [got] = &all[..] else { panic!("{output}: {all:?}") };
        assert_eq!(
            (got.framework.as_str(), got.passed, got.failed, got.skipped),
            (*framework, *passed, *failed, *skipped),
            "{output}"
        );
        assert_eq!(got.failing, *failing, "{output}");
    }
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
