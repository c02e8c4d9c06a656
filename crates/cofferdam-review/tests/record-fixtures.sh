#!/bin/sh
# Records tests/fixtures anew: outputs and reports of real test frameworks, run on tiny projects in /tmp/p.
#
#   record-fixtures.sh DIRECTORY
#
# Needs cargo, cargo-nextest, python3 with pytest and pytest-xdist, node with npm (installs jest, vitest and mocha below
# /tmp/p), go, cmake. Prints each command's exit code: those of the table in src/testrun/tests/real.rs, where the times
# change with the fixtures.
set -eu
out=$(realpath "$1")
mkdir -p "$out"
rm -rf /tmp/p
mkdir /tmp/p
cd /tmp/p
export RUST_BACKTRACE=0

# write PATH: standard input into a new file.
write() { mkdir -p "$(dirname "$1")"; cat >"$1"; }
# record DIRECTORY NAME COMMAND...: both streams of a command as one fixture.
record() {
    directory=$1 name=$2
    shift 2
    (cd "$directory" && "$@") >"$out/$name" 2>&1 && code=0 || code=$?
    echo "$name exit $code"
}

write cargo/Cargo.toml <<'END'
[package]
name = "sums"
version = "0.1.0"
edition = "2021"
[workspace]
END
write cargo/src/lib.rs <<'END'
/// Adds.
///
/// ```
/// assert_eq!(sums::add(1, 2), 3);
/// ```
///
/// ```should_panic
/// panic!("yes");
/// ```
///
/// ```ignore
/// nothing
/// ```
pub fn add(a: i32, b: i32) -> i32 { a + b }
#[cfg(test)]
mod tests {
    use super::*;
    #[test] fn adds() { assert_eq!(add(1, 2), 3); }
    #[test] fn adds_negative() { assert_eq!(add(-1, 2), 1); }
    #[test] #[should_panic] fn panics() { panic!("as wanted"); }
    #[test] #[ignore] fn slow() {}
    #[test] fn is_wrong() { println!("test result: ok. 1000 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"); assert_eq!(add(1, 1), 3); }
}
END
write cargo/tests/whole.rs <<'END'
#[test] fn whole() { assert_eq!(sums::add(2, 2), 4); }
#[test] fn also_wrong() { assert_eq!(sums::add(2, 2), 5, "arithmetic"); }
END
write py/test_sums.py <<'END'
import pytest
@pytest.mark.parametrize("a", [1, 2, 3])
def test_adds(a): assert a + 1 > a
def test_wrong(): assert 1 + 1 == 3
class TestThings:
    def test_other(self): assert "a - b" == "c"
    def test_good(self): pass
@pytest.mark.skip(reason="later")
def test_later(): pass
@pytest.mark.xfail
def test_known(): assert False
@pytest.mark.xfail
def test_surprise(): assert True
@pytest.fixture
def broken(): raise RuntimeError("no")
def test_setup(broken): pass
def test_forger():
    print("=== 1000 passed in 0.01s ===")
    assert False
END
write pyok/test_ok.py <<'END'
def test_a(): pass
def test_b(): pass
END
write pycollect/test_c.py <<'END'
import nope
END
write pycollect/test_d.py <<'END'
def test_a(): pass
END
write pysub/test_sub.py <<'END'
def test_many(subtests):
    for i in range(3):
        with subtests.test(msg="case", i=i):
            assert i != 1
def test_fine(subtests):
    for i in range(2):
        with subtests.test(i=i):
            pass
END
write unit/test_sums.py <<'END'
import unittest
class Sums(unittest.TestCase):
    def test_adds(self): self.assertEqual(1 + 1, 2)
    def test_wrong(self):
        """Says a thing."""
        self.assertEqual(1 + 1, 3)
    def test_error(self): raise RuntimeError("no")
    @unittest.skip("later")
    def test_later(self): pass
    @unittest.expectedFailure
    def test_known(self): self.fail()
    @unittest.expectedFailure
    def test_surprise(self): pass
    def test_sub(self):
        for i in range(3):
            with self.subTest(i=i): self.assertEqual(i % 2, 0)
END
write unitok/test_ok.py <<'END'
import unittest
class Fine(unittest.TestCase):
    def test_a(self): pass
    @unittest.skip("x")
    def test_b(self): pass
END
write js/jest.config.js <<'END'
module.exports = {roots: ["<rootDir>/jest"]};
END
write js/jest/sums.test.js <<'END'
describe("sums", () => {
  test("adds", () => { expect(1 + 1).toBe(2); });
  test("is wrong", () => { console.log("Tests:       1000 passed, 1000 total"); expect(1 + 1).toBe(3); });
  test.skip("later", () => {});
  test.todo("one day");
  describe("deep", () => { test("wrong › too", () => { throw new Error("no"); }); });
});
END
write js/jest/fine.test.js <<'END'
test("fine", () => {}); test("also", () => {});
END
write js/jestok/fine.test.js <<'END'
test("fine", () => {}); test("also", () => {});
END
write js/jestbroken/broken.test.js <<'END'
require("./nowhere"); test("a", () => {});
END
write js/jestbroken/fine.test.js <<'END'
test("fine", () => {}); test("also", () => {});
END
write js/vitest/sums.test.js <<'END'
import { describe, test, expect } from "vitest";
describe("sums", () => {
  test("adds", () => { expect(1 + 1).toBe(2); });
  test("is wrong", () => { console.log("      Tests  1000 passed (1000)"); expect(1 + 1).toBe(3); });
  test.skip("later", () => {});
  test.todo("one day");
  describe("deep", () => { test("wrong > too", () => { throw new Error("no"); }); });
});
END
write js/vitest/fine.test.js <<'END'
import { test } from "vitest"; test("fine", () => {}); test("also", () => {});
END
write js/vitestok/fine.test.js <<'END'
import { test } from "vitest"; test("fine", () => {}); test("also", () => {});
END
write js/vitestbroken/broken.test.js <<'END'
import "./nowhere"; import {test} from "vitest"; test("a", () => {});
END
write js/vitestbroken/fine.test.js <<'END'
import { test } from "vitest"; test("fine", () => {}); test("also", () => {});
END
write js/mocha/sums.js <<'END'
const assert = require("assert");
describe("sums", () => {
  it("adds", () => assert.equal(1 + 1, 2));
  it("is wrong", () => { console.log("  1000 passing (1ms)"); assert.equal(1 + 1, 3); });
  it.skip("later", () => {});
  it("one day");
  describe("deep", () => { it("wrong too", () => { throw new Error("no"); }); });
});
END
write js/mochaok/fine.js <<'END'
describe("fine", () => { it("a", () => {}); it("b", () => {}); });
END
write js/node/sums.test.js <<'END'
const { test, describe, it } = require("node:test");
const assert = require("assert");
describe("sums", () => {
  it("adds", () => assert.equal(1 + 1, 2));
  it("is wrong", () => { console.log("# pass 1000"); assert.equal(1 + 1, 3); });
  it.skip("later", () => {});
  it.todo("one day");
  describe("deep", () => { it("wrong too", () => { throw new Error("no"); }); });
});
test("top wrong", () => { assert.ok(false); });
END
write js/nodeok/fine.test.js <<'END'
const { test } = require("node:test"); test("a", () => {}); test("b", () => {});
END
write go/go.mod <<'END'
module example.org/p
go 1.19
END
write go/sums/sums.go <<'END'
package sums
func Add(a, b int) int { return a + b }
END
write go/sums/sums_test.go <<'END'
package sums
import ("testing"; "fmt")
func TestAdd(t *testing.T) { if Add(1,2) != 3 { t.Fatal("no") } }
func TestWrong(t *testing.T) { t.Errorf("got %d", Add(1,1)) }
func TestTable(t *testing.T) {
	for _, n := range []int{1,2} { t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) { if n == 2 { t.Error("two") } }) }
}
func TestLater(t *testing.T) { t.Skip("later") }
func TestForged(t *testing.T) { fmt.Println("PASS"); fmt.Println("--- PASS: TestNever (0.00s)") }
END
write go/fine/f.go <<'END'
package fine
func F() {}
END
write go/fine/f_test.go <<'END'
package fine
import "testing"
func TestFine(t *testing.T) { F() }
func TestSkipped(t *testing.T) { t.Skip("x") }
END
write go/none/n.go <<'END'
package none
END
write go/broken/b.go <<'END'
package broken
func F() int { return "x" }
END
write go/broken/b_test.go <<'END'
package broken
import "testing"
func TestB(t *testing.T) {}
END
write go/panics/p_test.go <<'END'
package panics
import "testing"
func TestP(t *testing.T) { panic("no") }
END
write ctest/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.16)
project(p NONE)
enable_testing()
add_test(NAME good COMMAND true)
add_test(NAME good_too COMMAND true)
add_test(NAME bad COMMAND false)
add_test(NAME crash COMMAND sh -c "kill -SEGV $$")
add_test(NAME slow COMMAND sleep 5)
set_tests_properties(slow PROPERTIES TIMEOUT 1)
add_test(NAME missing COMMAND nowhere-to-be-found)
add_test(NAME skipped COMMAND sh -c "exit 77")
set_tests_properties(skipped PROPERTIES SKIP_RETURN_CODE 77)
add_test(NAME off COMMAND true)
set_tests_properties(off PROPERTIES DISABLED TRUE)
END

record cargo cargo-failing.txt cargo test --no-fail-fast
record cargo cargo-quiet.txt cargo test -q --no-fail-fast
record cargo cargo-filtered.txt cargo test adds
record cargo nextest-failing.txt cargo nextest run --no-fail-fast
record cargo nextest-passing.txt cargo nextest run adds
record cargo nextest-colour.txt cargo nextest run -j 1 --color always

mkdir pyempty
record py pytest-failing.txt pytest -p no:cacheprovider
record py pytest-quiet.txt pytest -q -p no:cacheprovider
record py pytest-qq.txt pytest -qq -p no:cacheprovider
record py pytest-verbose.txt pytest -v -p no:cacheprovider --color=yes -rA
record py pytest-no-summary.txt pytest -rN -p no:cacheprovider
record py pytest-xdist.txt pytest -n 1 -p no:cacheprovider
record pyok pytest-passing.txt pytest -p no:cacheprovider
record pyok pytest-passing-quiet.txt pytest -q -p no:cacheprovider
record pyempty pytest-none.txt pytest -p no:cacheprovider
record pycollect pytest-collect.txt pytest -p no:cacheprovider
record pysub pytest-subtests.txt pytest -v -p no:cacheprovider
record unit unittest-failing.txt python3 -m unittest
record unit unittest-verbose.txt python3 -m unittest -v
record unitok unittest-passing.txt python3 -m unittest
record pyempty unittest-none.txt python3 -m unittest
(cd py && pytest -q -p no:cacheprovider --junitxml="$out/junit-pytest.xml" >/dev/null) || true

(cd js && npm init -y >/dev/null && npm install jest vitest mocha >/dev/null 2>&1)
record js jest-failing.txt npx jest
record js jest-verbose.txt npx jest --verbose --colors
record js jest-passing.txt npx jest --roots /tmp/p/js/jestok
record js jest-one.txt npx jest --roots /tmp/p/js/jest -t adds
record js jest-broken.txt npx jest --roots /tmp/p/js/jestbroken
record js vitest-failing.txt npx vitest run --dir vitest
record js vitest-colour.txt env FORCE_COLOR=1 npx vitest run --dir vitest --reporter verbose
record js vitest-passing.txt npx vitest run --dir vitestok
record js vitest-broken.txt npx vitest run --dir vitestbroken
record js mocha-failing.txt npx mocha mocha
record js mocha-dot.txt npx mocha -R dot mocha
record js mocha-colour.txt npx mocha --colors mocha
record js mocha-passing.txt npx mocha mochaok
record js node-tap-failing.txt node --test --test-reporter tap node
record js node-tap-passing.txt node --test --test-reporter tap nodeok
record js node-spec-failing.txt node --test --test-reporter spec node
record js node-spec-passing.txt node --test --test-reporter spec nodeok
(cd js && npx vitest run --dir vitest --reporter junit --outputFile "$out/junit-vitest.xml" >/dev/null 2>&1) || true
(cd js && npx mocha mocha -R xunit --reporter-option output="$out/junit-mocha.xml" >/dev/null) || true
(cd js && node --test --test-reporter junit node >"$out/junit-node.xml") || true

record go go-plain.txt go test ./fine ./none ./sums
record go go-verbose.txt go test -v ./fine ./none ./sums
record go go-json.txt go test -json ./fine ./none ./sums
record go go-passing.txt go test ./fine
record go go-passing-verbose.txt go test -v ./fine
record go go-broken.txt go test ./fine ./broken ./panics

(cd ctest && cmake -S . -B build >/dev/null)
record ctest ctest-failing.txt ctest --test-dir build
record ctest ctest-verbose.txt ctest --test-dir build -V
record ctest ctest-passing.txt ctest --test-dir build -R good
(cd ctest && ctest --test-dir build --output-junit "$out/junit-ctest.xml" >/dev/null 2>&1) || true

# No names of this machine.
sed -i "s#$(python3 -c 'import sys; print(sys.base_prefix)')/lib#/usr/lib#; s#hostname=\"$(hostname)\"#hostname=\"host\"#" "$out"/*
