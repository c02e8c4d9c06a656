//! `coffer diff`: what git itself says of the same edits, byte for byte.

use std::os::unix::fs::symlink;

use crate::support::Repo;

/// Edits of every kind that git can show.
const EDITS: &str = r#"
sed -i 's/^line 7$/line seven/; s/^line 33$/line thirty-three/' a.txt
printf 'no newline at the end' > c.txt
printf 'dos\r\nlines\r\n' > 'with space.txt'
: > empty.txt
rm b.txt
mv src/old.rs src/renamed.rs && sed -i 's/^old 20$/changed/' src/renamed.rs
mkdir -p moved/deep && mv src/main.rs moved/deep/main.rs
chmod 755 tool.sh
printf 'x\0y\0w' > data.bin
ln -sfn b.txt link
ln -s /etc/passwd absolute
printf 'raw\n' > "$(printf 'f\377\351.txt')"
printf 'tab\n' > "$(printf 'tab\there\\and"quote".txt')"
mkdir -p target && echo built > target/out && echo noise > x.log
"#;

#[test]
fn it_is_gits_byte_for_byte_in_every_form() {
    let repo = Repo::new();
    repo.edit(EDITS);
    let reference = repo.reference(EDITS);
    for flags in [
        &[][..],
        &["--stat"],
        &["--numstat"],
        &["--name-only"],
        &["--name-status"],
        &["-U0"],
        &["-U7"],
        &["-M90"],
        &["--no-renames"],
        &["--no-renames", "--name-status"],
        &["--full-index"],
    ] {
        let ours = repo.coffer(&[&["diff"][..], flags].concat());
        assert_eq!(ours.code(), Some(0), "{}", ours.all());
        let theirs = repo.git(&reference, &[&["diff", "--cached"][..], flags].concat());
        assert!(theirs.stdout.len() > 60, "{}", theirs.all());
        assert_eq!(
            ours.stdout.escape_ascii().to_string().replace("\\n", "\n"),
            theirs.stdout.escape_ascii().to_string().replace("\\n", "\n"),
            "{flags:?}"
        );
        assert!(ours.stderr.is_empty(), "{}", ours.all());
    }
}

#[test]
fn paths_limit_it_as_they_limit_gits_from_any_directory() {
    let repo = Repo::new();
    let run = repo.edit(EDITS);
    let reference = repo.reference(EDITS);
    let src = repo.path("src");
    for (from, ours, theirs) in [
        (&repo.scene.project, &["src"][..], &["src"][..]),
        (&repo.scene.project, &["@", "a.txt", "moved"], &["a.txt", "moved"]),
        (&repo.scene.project, &[&run[..6], "./src/../a.txt"], &["a.txt"]),
        (&src, &["renamed.rs"], &["src/renamed.rs"]),
        (&src, &["../tool.sh", "."], &["tool.sh", "src"]),
    ] {
        let got = repo.coffer_in(from, &[&["diff"][..], ours].concat());
        assert_eq!(got.code(), Some(0), "{ours:?}: {}", got.all());
        let wanted = repo.git(&reference, &[&["diff", "--cached", "--"][..], theirs].concat());
        assert!(!wanted.stdout.is_empty());
        assert_eq!(got.stdout.escape_ascii().to_string(), wanted.stdout.escape_ascii().to_string(), "{ours:?}");
    }
    // Whoever names what git ignores sees it.
    assert!(repo.expect(0, &["diff", "target"]).contains("+built"));
    assert!(repo.expect(0, &["diff", "--ignored", "--name-only"]).contains("x.log"));
    assert!(!repo.expect(0, &["diff", "--name-only"]).contains("x.log"));
}

#[test]
fn git_apply_takes_it() {
    // Without binary data, of which git's own default form is no patch either.
    let edits = EDITS.replace("printf 'x\\0y\\0w' > data.bin", "");
    assert_ne!(edits, EDITS);
    let repo = Repo::new();
    repo.edit(&edits);
    let reference = repo.reference(&edits);
    let clone = repo.scene.outside.join("clone");
    let (from, to) = (repo.scene.project.to_str().unwrap(), clone.to_str().unwrap());
    assert!(repo.git(&repo.scene.outside, &["clone", "-q", from, to]).status.success());
    let patch = repo.scene.outside.join("run.patch");
    std::fs::write(&patch, repo.coffer(&["diff"]).stdout).unwrap();
    let got = repo.git(&clone, &["apply", "--index", patch.to_str().unwrap()]);
    assert!(got.status.success(), "{}", got.all());
    let tree = |at| repo.git(at, &["write-tree"]).out();
    assert_eq!(tree(&clone), tree(&reference));
    assert_eq!(tree(&clone).trim().len(), 40);
}

#[test]
fn the_json_form_says_the_same() {
    let repo = Repo::new();
    let run = repo.edit(EDITS);
    let facts = repo.json(0, &["diff", "--json"]);
    assert_eq!(facts["run"], run.as_str());
    let files = facts["files"].as_array().unwrap();
    let name = |v: &serde_json::Value| match v.as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => {
            let hex = v["hex"].as_str().unwrap();
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        }
    };
    let reference = repo.reference(EDITS);
    let raw = repo.git(&reference, &["diff", "--cached", "-z", "--raw", "--abbrev=40"]).stdout;
    let mut words = raw.split(|b| *b == 0);
    let mut seen = 0;
    while let Some(head) = words.next().filter(|w| !w.is_empty()) {
        let head = String::from_utf8(head.to_vec()).unwrap();
        let fields: Vec<&str> = head.trim_start_matches(':').split(' ').collect();
        let old = words.next().unwrap().to_vec();
        let new = if fields[4].starts_with('R') { words.next().unwrap().to_vec() } else { old.clone() };
        let file = files.iter().find(|f| name(&f["new-path"]) == new).unwrap_or_else(|| panic!("{head} is missing"));
        assert_eq!(name(&file["old-path"]), old);
        let side = |which: &str, mode: &str, id: &str| match &file[which] {
            serde_json::Value::Null => assert_eq!(mode, "000000", "{file}"),
            side => assert_eq!((side["mode"].as_str(), side["id"].as_str()), (Some(mode), Some(id)), "{file}"),
        };
        side("old", fields[0], fields[2]);
        side("new", fields[1], fields[3]);
        if let Some(percent) = fields[4].strip_prefix('R') {
            assert_eq!(file["similarity"].as_u64(), percent.parse().ok(), "{file}");
        }
        seen += 1;
    }
    assert_eq!(seen, files.len());
    let numbers = |f: &serde_json::Value| (f["added"].as_u64().unwrap(), f["deleted"].as_u64().unwrap());
    let sum = files.iter().map(numbers).fold((0, 0), |(a, d), (x, y)| (a + x, d + y));
    let shortstat = repo.git(&reference, &["diff", "--cached", "--shortstat"]).out();
    assert!(shortstat.contains(&format!("{} insertion", sum.0)) && shortstat.contains(&format!("{} deletion", sum.1)));
}

#[test]
fn a_run_is_named_by_id_prefix_or_at_and_never_guessed() {
    let repo = Repo::new();
    let first = repo.edit("echo first > first.txt");
    let second = repo.edit("echo second > second.txt");
    for (name, file) in
        [(first.as_str(), "first.txt"), (&first[..8], "first.txt"), ("@", "second.txt"), (&second, "second.txt")]
    {
        assert_eq!(repo.coffer(&["diff", name, "--name-only"]).out(), format!("{file}\n"), "{name}");
    }
    // Two runs whose ids begin alike.
    let twin = format!("{}{}", &first[..6], if first.ends_with("000000") { "111111" } else { "000000" });
    std::fs::rename(repo.run_dir(&second), repo.run_dir(&twin)).unwrap();
    let record = repo.run_dir(&twin).join("run.json");
    let text = std::fs::read_to_string(&record).unwrap().replace(&second, &twin);
    std::fs::write(&record, text).unwrap();
    for command in ["diff", "promote", "discard", "verify", "undo"] {
        let said = repo.expect(125, &[command, &first[..6]]);
        assert!(said.contains(&first) && said.contains(&twin) && said.contains("type more of it"), "{command}: {said}");
    }
    for command in ["diff", "promote", "discard", "verify", "undo"] {
        let said = repo.expect(125, &[command, "nosuchthing"]);
        assert!(said.contains("nosuchthing") && said.contains("coffer list"), "{command}: {said}");
    }
    assert_eq!(repo.coffer(&["diff", &twin, "--name-only"]).out(), "second.txt\n");
}

#[test]
fn a_path_that_is_called_like_a_run_is_the_path() {
    let repo = Repo::new();
    let first = repo.edit("echo first > first.txt");
    let name = &first[..4];
    repo.edit(&format!("echo second > {name}; ln -s nowhere dangling"));
    assert_eq!(repo.coffer(&["diff", name, "--name-only"]).out(), format!("{name}\n"));
    repo.expect(0, &["promote", name]);
    assert_eq!(repo.read(name), "second\n");
    assert!(!repo.path("first.txt").exists(), "another run was promoted than the one meant");
    symlink("nowhere", repo.path(&first[..5])).unwrap();
    assert_eq!(repo.coffer(&["diff", &first[..5], "--name-only"]).out(), "", "a dangling link is a path, too");
    // From anywhere else a run can be named all the same.
    let got = repo.coffer_in(&repo.scene.home, &["diff", &first, "--name-only"]);
    assert_eq!(got.out(), "first.txt\n", "{}", got.all());
}
