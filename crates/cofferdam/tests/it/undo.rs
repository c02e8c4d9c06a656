//! `coffer undo`: back to the byte, the mode and the moment.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::Repo;

const EDITS: &str = r#"
sed -i 's/^line 7$/line seven/' a.txt
rm b.txt
rm -r src
mkdir -p deep/er && echo added > deep/er/new.txt
chmod 700 tool.sh && chmod 750 docs
ln -sfn b.txt link
rm data.bin && mkdir data.bin && echo in > data.bin/in
rm -r docs/old && echo file > docs/old
"#;

fn repo() -> Repo {
    let repo = Repo::new();
    repo.write("docs/old/page.md", "# page\n");
    repo.write("docs/index.md", "# index\n");
    fs::set_permissions(repo.path("docs/old"), fs::Permissions::from_mode(0o711)).unwrap();
    repo.commit();
    repo
}

#[test]
fn everything_is_as_it_was() {
    let repo = repo();
    // Promoted files must not have the old time by chance.
    let before = repo.whole();
    repo.edit(EDITS);
    assert_eq!(repo.whole(), before, "a run changes nothing");
    let promoted = repo.expect(0, &["promote", "--yes"]);
    let after = repo.whole();
    assert_ne!(after, before);
    assert_eq!(repo.read("docs/old"), "file\n", "{promoted}");
    let facts = repo.json(0, &["undo", "--json"]);
    assert_eq!((&facts["promotion"], facts["refused"].as_array().unwrap().len()), (&1.into(), 0), "{facts}");
    assert_eq!(repo.whole(), before);
    assert!(!repo.staging());
    // It can be promoted again, and taken back again; but for what went with its whole directory, whose base nobody could
    // capture: that a file which undo brought back is the one the run saw cannot be told.
    repo.expect(0, &["promote", "--yes", "--exclude", "src", "--exclude", "docs/old"]);
    assert!(repo.read("a.txt").contains("line seven\n") && repo.path("src/main.rs").exists());
    repo.expect(0, &["undo"]);
    assert_eq!(repo.whole(), before);
    let said = repo.expect(125, &["undo"]);
    assert!(said.contains("was promoted"), "{said}");
    assert!(repo.expect(0, &["verify"]).contains("verified"));
}

#[test]
fn promotions_are_taken_back_one_by_one_the_latest_first() {
    let repo = repo();
    let first = repo.whole();
    repo.edit(EDITS);
    repo.expect(0, &["promote", "a.txt"]);
    let second = repo.whole();
    repo.expect(0, &["promote", "--yes"]);
    assert!(repo.expect(0, &["undo"]).contains("took back promotion 2"));
    assert_eq!(repo.whole(), second);
    assert!(repo.expect(0, &["undo"]).contains("took back promotion 1"));
    assert_eq!(repo.whole(), first);
}

#[test]
fn what_changed_since_stays_and_is_named() {
    let repo = repo();
    let run = repo.edit(EDITS);
    let before = repo.read("src/main.rs");
    repo.expect(0, &["promote", "--yes"]);
    repo.write("a.txt", "mine now\n");
    repo.write("deep/er/mine.txt", "mine, too\n");
    let said = repo.expect(1, &["undo", &run]);
    assert!(said.contains("stays a.txt  its content changed since"), "{said}");
    assert_eq!((repo.read("a.txt"), repo.read("deep/er/mine.txt")), ("mine now\n".into(), "mine, too\n".into()));
    assert!(!repo.path("deep/er/new.txt").exists());
    assert_eq!(repo.read("src/main.rs"), before);
    // Where every path changed there is nothing to do, and nothing is done.
    let repo = Repo::new();
    repo.edit("echo run > only.txt");
    repo.expect(0, &["promote"]);
    repo.write("only.txt", "mine\n");
    let tree = repo.whole();
    let said = repo.expect(1, &["undo"]);
    assert!(said.contains("nothing was undone"), "{said}");
    assert_eq!(repo.whole(), tree);
}

#[test]
fn it_works_after_the_layers_are_gone() {
    let repo = repo();
    let before = repo.whole();
    repo.edit(EDITS);
    repo.expect(0, &["promote", "--yes"]);
    repo.expect(0, &["discard", "--yes"]);
    assert!(!repo.upper(&repo.latest()).exists());
    repo.expect(0, &["undo"]);
    assert_eq!(repo.whole(), before);
    for command in ["diff", "promote"] {
        let said = repo.expect(125, &[command]);
        assert!(said.contains("was discarded"), "{said}");
    }
    assert!(repo.expect(0, &["verify"]).contains("verified"));
}
