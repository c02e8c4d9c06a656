//! The same answers and the same trees as on a plain file system.

use super::bench::Bench;

/// Cases: old, new, flags (1 NOREPLACE, 2 EXCHANGE), each in a tree of its own. `@` is that tree's absolute path.
const TABLE: &str = r#"
CASES = [("a", "new", 0), ("a", "empty", 0), ("a", "full", 0), ("a", "file", 0), ("a", "ldir", 0), ("a", "a/sub/x", 0),
  ("a/sub", "a", 0), ("a", "new", 1), ("a", "empty", 1), ("a", "file", 1), ("a", "full", 2), ("a", "file", 2), ("file", "a", 2),
  ("a", "new", 2), ("a", "a/sub", 2), ("a/sub", "a", 2), ("a", "ldir", 2), ("a", "full", 3), ("a", "new", 8), ("a", "full", 6),
  ("a/", "new", 0), ("a", "new/", 0), ("a///", "new//", 0), ("a", "file/", 0), ("a", "file/", 2), ("a/.", "new", 0),
  ("a/..", "new", 0), ("a", "empty/.", 0), ("a", "..", 0), ("", "new", 0), ("a", "", 0), ("ldir", "new", 0),
  ("ldir/", "new", 0), ("ldir/sub", "new", 0), ("a", "nope/new", 0), ("a", "file/new", 0), ("nope", "new", 0), ("a", "a", 0),
  ("a", "x" * 256, 0), ("a", "y" * 255, 0), ("file", "a", 0), ("rop/a", "new", 0), ("a", "rop/n", 0), ("a", "rop/full", 0),
  ("rop/a", "full", 0), ("d555", "new", 0), ("d555", "empty/n", 0), ("d000", "new", 0), ("d000", "empty/n", 0),
  ("h000", "new", 0), ("@a", "@new", 0), ("empty/../a", "./new", 0), ("full", "empty/n", 0)]
def build():
    for i in range(len(CASES)):
        b = f"c{i}/"
        for d in ("a/sub", "empty", "full", "rop/a", "rop/full/x", "d555", "d000", "h000/z"): os.makedirs(b + d)
        for f in ("a/f", "a/sub/g", "full/h", "file", "rop/a/f", "d555/f", "d000/f", "h000/z/f"): open(b + f, "w").write(f)
        os.symlink("a", b + "ldir")
        for d, m in (("d555", 0o555), ("d000", 0), ("h000/z", 0), ("rop", 0o555)): os.chmod(b + d, m)
"#;

#[test]
fn errors_and_trees_are_those_of_a_plain_file_system() {
    let bench = Bench::new();
    bench.outside(&format!("{TABLE}\nbuild()"));
    let out = bench.inside(&format!(
        r#"{TABLE}
def go(top):
    results = []
    for i, (old, new, flags) in enumerate(CASES):
        b = f"{{top}}/c{{i}}"; os.chdir(b)
        answer = rename(old.replace("@", b + "/"), new.replace("@", b + "/"), flags)
        tree = sorted((p[len(b):], sorted(ds), sorted(fs), oct(os.lstat(p).st_mode)) for p, ds, fs in os.walk(b))
        results.append((answer, tree))
    return results
project = os.getcwd(); over = go(project)
os.makedirs("/tmp/plain"); os.chdir("/tmp/plain"); build(); plain = go("/tmp/plain")
for case, ours, theirs in zip(CASES, over, plain): assert ours == theirs, (case, ours, theirs)
os.chdir(project); assert not leftovers()
answers = [a for a, _ in over]
assert os.makedirs(project + "/fresh") is None and rename(project + "/fresh", "/tmp/fresh") == "EXDEV"
assert rename(project + "/c0", "/tmp/c0") == "EXDEV" and rename("/tmp/plain", project + "/p") == "EXDEV"
print(len(over), answers.count("ok"), answers.count("ENOTEMPTY"), answers.count("EXDEV"))
"#
    ));
    // The counts keep the comparison honest: every kind of answer was there, EXDEV never.
    let counts: Vec<usize> = out.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert!(counts[0] == 53 && counts[1] >= 20 && counts[2] >= 2 && counts[3] == 0, "{out}");
}
