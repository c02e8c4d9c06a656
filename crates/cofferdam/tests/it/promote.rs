//! `coffer promote`: what it takes, what it leaves, and that it does nothing by halves.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::Repo;
use crate::support::repo::{timeless, tree};

const EDITS: &str = r#"
sed -i 's/^line 7$/line seven/' a.txt
rm b.txt
mkdir -p deep/er && echo added > deep/er/new.txt
mv src/old.rs src/renamed.rs
chmod 700 tool.sh
ln -sfn b.txt link
printf 'x\0w' > data.bin
printf 'raw\n' > "$(printf 'f\377.txt')"
"#;

#[test]
fn all_that_is_ordinary_is_taken_and_the_rest_waits_to_be_named() {
    let repo = Repo::new();
    let held_back = "mkdir -p target .claude; echo built > target/out; echo 'all:' > Makefile; echo x > CLAUDE.md; \
        echo evil > .git/hooks/pre-commit; mkfifo pipe; echo v > cofferdam.toml";
    repo.edit(&format!("{EDITS}\n{held_back}"));
    let reference = repo.reference(EDITS);
    let said = repo.expect(0, &["promote"]);
    for (path, how) in [
        ("Makefile", "make and other task runners run it: name it, or --yes"),
        ("CLAUDE.md", "name it, or --yes"),
        ("cofferdam.toml", "name it, or --yes"),
        ("pipe", "no file that can be promoted"),
        ("1 path ignored or generated", "coffer promote"),
        ("1 path inside .git", "coffer promote"),
    ] {
        assert!(said.lines().any(|l| l.contains("left") && l.contains(path) && l.contains(how)), "{path}: {said}");
    }
    fs::create_dir(reference.join(".claude")).unwrap();
    assert_eq!(timeless(repo.tree()), timeless(tree(&reference)));
    assert!(!repo.path(".git/hooks/pre-commit").exists());
    // Naming takes; the second time nothing is left of it.
    repo.expect(0, &["promote", "target", "Makefile"]);
    assert_eq!((repo.read("target/out"), repo.read("Makefile")), ("built\n".into(), "all:\n".into()));
    assert!(!repo.path("CLAUDE.md").exists());
    repo.expect(0, &["promote", "--yes"]);
    assert_eq!((repo.read("CLAUDE.md"), repo.read("cofferdam.toml")), ("x\n".into(), "v\n".into()));
    assert!(!repo.path(".git/hooks/pre-commit").exists(), "--yes alone does not name what lies in .git");
    let said = repo.expect(0, &["promote", ".git/hooks/pre-commit"]);
    assert!(said.contains("--yes takes it") && !repo.path(".git/hooks/pre-commit").exists(), "{said}");
    repo.expect(0, &["promote", "--yes", ".git/hooks/pre-commit"]);
    assert_eq!(repo.read(".git/hooks/pre-commit"), "evil\n");
    assert!(repo.expect(0, &["promote"]).contains("nothing to promote"));
    assert!(repo.expect(0, &["verify"]).contains("verified"));
}

#[test]
fn paths_and_exclusions_are_those_of_the_directory_one_stands_in() {
    let repo = Repo::new();
    repo.edit("echo 1 > src/one.rs; echo 2 > src/two.rs; echo 3 > three.rs; echo 4 > four.rs");
    let src = repo.path("src");
    let got = repo.coffer_in(&src, &["promote", ".", "../three.rs", "--exclude", "two.rs"]);
    assert_eq!(got.code(), Some(0), "{}", got.all());
    let there = |name: &str| repo.path(name).exists();
    assert!(there("src/one.rs") && there("three.rs") && !there("src/two.rs") && !there("four.rs"), "{}", got.all());
    let before = repo.whole();
    for words in [&["promote", "src/tow.rs"][..], &["promote", "-x", "src/tow.rs"], &["promote", "/etc/passwd"]] {
        let said = repo.expect(125, words);
        assert!(said.contains(words[words.len() - 1]), "{said}");
    }
    repo.expect(125, &["diff", "src/tow.rs"]);
    assert_eq!(repo.whole(), before, "a misspelt path changes nothing");
}

#[test]
fn a_dry_run_says_it_all_and_does_nothing() {
    let repo = Repo::new();
    repo.edit(&format!("{EDITS}\necho 'all:' > Makefile"));
    repo.write("a.txt", &repo.read("a.txt").replace("line 30\n", "line thirty\n"));
    let before = repo.whole();
    let said = repo.expect(0, &["promote", "--dry-run"]);
    for line in ["merge a.txt", "D     b.txt", "take  deep/er/new.txt", "left  Makefile", "take  f\\xff.txt"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let plan = repo.json(0, &["promote", "--dry-run", "--json"]);
    let decision = |path: &str| {
        let paths = plan["paths"].as_array().unwrap();
        paths.iter().find(|p| p["path"] == path).unwrap()["decision"]["decision"].clone()
    };
    assert_eq!(decision("a.txt"), "merge");
    assert_eq!(decision("b.txt"), "take");
    assert_eq!(decision("Makefile"), "needs-confirmation");
    assert_eq!(repo.whole(), before);
    assert!(!repo.staging());
    let done = repo.json(0, &["promote", "--json"]);
    assert_eq!((&done["applied"], &done["promotion"], &done["left"]), (&true.into(), &1.into(), &1.into()), "{done}");
    let changed: Vec<_> = done["changed"].as_array().unwrap().iter().map(|c| c["path"].clone()).collect();
    assert!(changed.contains(&"deep/er/new.txt".into()) && changed.contains(&"src/renamed.rs".into()), "{done}");
}

#[test]
fn a_conflict_stops_everything_and_can_be_left_or_marked() {
    let repo = Repo::new();
    let run = repo
        .edit("sed -i 's/^line 7$/line by the run/' a.txt; echo fine > fine.txt; rm b.txt; printf 'run\\0' > data.bin");
    repo.write("a.txt", &repo.read("a.txt").replace("line 7\n", "line by me\n"));
    repo.write("b.txt", "I still need this\n");
    let before = repo.whole();
    let said = repo.expect(1, &["promote"]);
    for line in [
        "C a.txt  the run and the real tree changed the same lines",
        "C b.txt  the run deleted it",
        "nothing was changed",
        "--markers",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(repo.whole(), before, "nothing half-applied");
    let plan = repo.json(1, &["promote", "--json"]);
    assert_eq!(plan["paths"].as_array().unwrap().iter().filter(|p| p["decision"]["decision"] == "conflict").count(), 2);
    // Markers do for text, not for a deletion.
    repo.expect(1, &["promote", "--markers"]);
    assert_eq!(repo.whole(), before);
    repo.expect(0, &["promote", "--markers", "--exclude", "b.txt"]);
    let marked = repo.read("a.txt");
    let wanted = format!("line by me\n=======\nline by the run\n>>>>>>> run {}\n", &run[..4]);
    assert!(marked.contains("<<<<<<< ") && marked.contains(&wanted), "{marked}");
    assert_eq!((repo.read("fine.txt"), repo.read("b.txt")), ("fine\n".into(), "I still need this\n".into()));
    repo.expect(0, &["undo"]);
    assert!(repo.read("a.txt").contains("line by me\n") && !repo.read("a.txt").contains("<<<"));
}

#[test]
fn what_moved_on_is_merged_as_git_merges_it() {
    let repo = Repo::new();
    repo.edit("sed -i 's/^line 7$/line by the run/' a.txt; echo end >> src/main.rs");
    let base = repo.read("a.txt");
    repo.write("a.txt", &base.replace("line 30\n", "line by me\nand one more\n"));
    repo.expect(0, &["promote"]);
    let outside = &repo.scene.outside;
    fs::write(outside.join("base"), &base).unwrap();
    fs::write(outside.join("mine"), base.replace("line 30\n", "line by me\nand one more\n")).unwrap();
    fs::write(outside.join("runs"), base.replace("line 7\n", "line by the run\n")).unwrap();
    let merged = repo.git(outside, &["merge-file", "-p", "mine", "base", "runs"]);
    assert_eq!(merged.code(), Some(0));
    assert_eq!(repo.read("a.txt"), merged.out());
    assert!(merged.out().contains("line by me\n") && merged.out().contains("line by the run\n"));
}

#[test]
fn who_is_asked_decides() {
    for (answer, taken) in [("y\n", true), ("n\n", false), ("\n", false), ("\u{4}", false)] {
        let repo = Repo::new();
        repo.edit("echo 'all:' > Makefile; echo plain > plain.txt");
        let mut session = repo.on_terminal(&["promote"]);
        session.expect("take them too? [y/N]");
        assert!(session.screen().contains("Makefile  make and other task runners run it"), "{}", session.screen());
        assert!(!repo.path("plain.txt").exists(), "nothing before the answer");
        session.type_in(answer);
        assert_eq!(session.wait().code(), Some(0), "{}", session.screen());
        assert_eq!(repo.path("Makefile").exists(), taken, "{answer:?}: {}", session.screen());
        assert_eq!(repo.read("plain.txt"), "plain\n");
    }
}

#[test]
fn modes_are_the_runs_and_never_set_id() {
    let repo = Repo::new();
    repo.edit(
        "umask 0; echo r > rw.txt; chmod 666 rw.txt; echo x > x.sh; chmod 751 x.sh; mkdir d; chmod 2711 d; \
        mkdir -p priv/open; echo k > priv/open/key; chmod 700 priv; chmod 770 priv/open; \
        echo s > suid; chmod 4755 suid; chmod 6755 tool.sh; chmod 600 a.txt",
    );
    // The bit is really there in the workspace: where it was promoted it would work.
    let upper = repo.upper(&repo.latest());
    let mode = |path: std::path::PathBuf| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(upper.join("suid")), mode(upper.join("tool.sh"))), (0o4755, 0o6755));
    let said = repo.expect(0, &["promote"]);
    assert!(said.contains("left  suid") && said.contains("left  tool.sh"), "{said}");
    assert!(!repo.path("suid").exists());
    let said = repo.expect(0, &["promote", "--yes"]);
    assert!(said.contains("bit is not taken"), "{said}");
    for (name, wanted) in [
        ("suid", 0o755),
        ("tool.sh", 0o755),
        ("rw.txt", 0o666),
        ("x.sh", 0o751),
        ("d", 0o711),
        ("a.txt", 0o600),
        ("priv", 0o700),
        ("priv/open", 0o770),
    ] {
        assert_eq!(mode(repo.path(name)), wanted, "{name}");
    }
}
