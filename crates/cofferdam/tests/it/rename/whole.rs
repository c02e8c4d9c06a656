//! What a renamed directory keeps.

use std::process::Command;

use super::bench::{Bench, printed};

#[test]
fn git_mv_of_a_tracked_directory() {
    let bench = Bench::new();
    bench.files(["src/a", "src/deep/er/b", "other"].map(String::from));
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        bench.surround(command.args(["-c", "user.name=n", "-c", "user.email=e@example.com"]).args(args));
        printed(command.output().unwrap());
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "base"]);
    let before = bench.picture();
    let mut command = Command::new(env!("CARGO_BIN_EXE_coffer"));
    bench.surround(command.args(["run", "--quiet", "--", "sh", "-ec", "git mv src dst; git status --porcelain"]));
    assert_eq!(printed(command.output().unwrap()), "R  src/a -> dst/a\nR  src/deep/er/b -> dst/deep/er/b\n");
    assert_eq!(bench.picture(), before, "the real tree");
    assert!(bench.leftovers().is_empty());
}

#[test]
fn everything_that_a_directory_holds_comes_along() {
    let bench = Bench::new();
    bench.outside(
        r#"
for d in ("s/deep/er", "s/setgid", "s/m000/in", "s/m555/in", "s/empty"): os.makedirs(d)
for f in ("a", "deep/b", "deep/er/c", "setgid/d", "m000/e", "m555/in/f", "ro", "exe"): open("s/" + f, "w").write(f * 100)
open(b"s/bad\xff\xfe\x01name", "w").write("n")
os.symlink("a", "s/sym"); os.symlink("/nonexistent/x", "s/dangling"); os.mkfifo("s/fifo")
socket.socket(socket.AF_UNIX).bind("s/sock")
os.setxattr("s/a", "user.k", b"v1"); os.setxattr("s/deep", "user.dk", b"v2")
for f, m in (("ro", 0o444), ("exe", 0o4755), ("setgid", 0o2775), ("m555", 0o555), ("m000", 0)): os.chmod("s/" + f, m)
for p, ds, fs in os.walk("s", topdown=False):
    for x in fs + ds: os.utime(os.path.join(p, x), ns=(10**18 + 7, 10**18 + len(x) * 1000003), follow_symlinks=False)
os.utime("s", ns=(10**18, 10**18 + 99))
"#,
    );
    let before = bench.picture();
    let out = bench.inside(
        r#"
def picture(top):
    seen = {}
    def go(path, rel):
        s = os.lstat(path); link = stat.S_ISLNK(s.st_mode); directory = stat.S_ISDIR(s.st_mode)
        attributes = {} if link or s.st_mode & 0o444 == 0 else {k: os.getxattr(path, k) for k in os.listxattr(path)}
        content = open(path, "rb").read() if stat.S_ISREG(s.st_mode) else os.readlink(path) if link else None
        seen[rel] = (oct(s.st_mode), s.st_uid, s.st_gid, s.st_mtime_ns, attributes, content)
        if directory and s.st_mode & 0o700:
            for e in sorted(os.listdir(path)): go(path + b"/" + e, rel + b"/" + e)
    go(os.fsencode(top), b"")
    return seen
before = picture("s"); inode = os.stat("s/deep/b").st_ino
writer = open("s/deep/b", "r+"); reader = open("s/deep/er/c")
os.rename("s", "t")
after = picture("t")
for k in before.keys() | after.keys(): assert before.get(k) == after.get(k), (k, before.get(k), after.get(k))
assert len(after) >= 18 and not os.path.exists("s") and not leftovers()
writer.seek(0); writer.write("WRITTEN"); writer.flush()
assert open("t/deep/b").read(7) == "WRITTEN" and reader.read(4) == "deep" and os.stat("t/deep/b").st_ino == inode
os.chmod("t/m000", 0o700); assert sorted(os.listdir("t/m000")) == ["e", "in"]
os.makedirs("x/y"); assert rename("t/deep", "x/y/deep") == "ok" and open("x/y/deep/er/c").read(4) == "deep"
assert rename("x", "t/x") == "ok" and os.path.exists("t/x/y/deep/er/c")
print("kept")
"#,
    );
    assert_eq!(out, "kept\n");
    assert_eq!(bench.picture(), before, "the real tree");
}
