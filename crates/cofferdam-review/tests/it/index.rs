//! The index of all runs.

use std::path::{Path, PathBuf};

use cofferdam_core::RunId;
use cofferdam_core::event::Stream;
use cofferdam_evidence::RecorderKey;
use cofferdam_review::index::{Index, Indexed, Updated};
use cofferdam_workspace::diff::is_hidden;

use crate::session::{HOSTILE, Session, by_shell};

fn no_progress(_: u64, _: u64) {}

struct Store {
    dir: tempfile::TempDir,
    runs: Vec<Indexed>,
}

impl Store {
    fn new() -> Store {
        Store { dir: tempfile::tempdir().unwrap(), runs: Vec::new() }
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A run in which one command prints one text.
    fn run(&mut self, seed: u8, command: &str, printed: &[u8]) -> RunId {
        let run = RunId::from_random([seed; 12]);
        let evidence: PathBuf = self.root().join(run.as_str());
        let mut s = Session::named(run.clone(), &["claude", "-p", "x"], Some(&evidence));
        let agent = s.exec(None, &["claude", "-p", "x"]);
        s.prompt("please fix the zebra");
        let c = by_shell(&mut s, agent, command);
        s.output(c, Stream::Stdout, printed);
        s.file("src/giraffe.rs", Some(b"x"), &[c.seq]);
        s.tests(c, "pytest", 3, &["test_elephant"]);
        s.reach(c, 7);
        s.exit(c, 0);
        s.end(0);
        s.write(&evidence, RecorderKey::generate().unwrap());
        self.runs.push(Indexed { run: run.clone(), evidence });
        run
    }

    fn open(&self) -> (Index, Updated) {
        let mut index = Index::open(self.root()).unwrap();
        let updated = index.update(&self.runs, &mut no_progress).unwrap();
        (index, updated)
    }
}

#[test]
fn everything_of_a_story_is_found_and_said_where() {
    let mut store = Store::new();
    let run = store.run(1, "cargo build --frobnicate", b"error: lion not found\n");
    store.run(2, "ls", b"nothing\n");
    let (index, updated) = store.open();
    assert_eq!((updated.read, updated.unread.len()), (2, 0));
    for (text, what) in [
        ("frobnicate", "command"),
        ("lion found", "output"),
        ("LION", "output"),
        ("frob", "command"),
        ("src/giraffe.rs lion", ""),
    ] {
        let hits = index.search(text, 10).unwrap();
        if what.is_empty() {
            assert!(hits.is_empty(), "{text}: {hits:?}");
            continue;
        }
        assert_eq!(hits.len(), 1, "{text}: {hits:?}");
        assert_eq!((&hits[0].run, hits[0].what.as_str()), (&run, what));
        assert_eq!(hits[0].command, "cargo build --frobnicate");
        assert!(hits[0].around.len() >= 3, "{hits:?}");
    }
    for (text, what) in
        [("zebra", "prompt"), ("giraffe.rs", "files"), ("elephant", "tests"), ("test_elephant", "tests")]
    {
        let hits = index.search(text, 10).unwrap();
        assert_eq!(hits.iter().map(|h| h.what.as_str()).collect::<Vec<_>>(), [what, what], "{text}");
    }
}

#[test]
fn the_network_is_found_by_host_path_and_purpose_and_its_uses_are_counted() {
    let mut store = Store::new();
    let run = store.run(1, "npm install", b"");
    let (index, _) = store.open();
    for (text, count) in
        [("api.example", 3), ("fetch packages", 3), ("api 7 1", 1), ("denied no-rule", 1), ("registry", 0)]
    {
        let hits = index.search(text, 10).unwrap();
        let hits: Vec<_> = hits.iter().filter(|hit| hit.what == "network").collect();
        assert_eq!(hits.len(), count, "{text}");
        assert!(hits.iter().all(|hit| hit.command == "npm install" && hit.run == run), "{hits:?}");
        assert!(hits.iter().flat_map(|h| &h.around).all(|part| !part.chars().any(|c| c.is_control() || is_hidden(c))));
    }
    let uses = index.uses(&run).unwrap();
    let told: Vec<_> = uses.iter().map(|(u, t)| (u.method.as_str(), u.reason.as_str(), t.count)).collect();
    assert_eq!(told, [("", "no-rule", 1), ("GET", "", 3)]);
    let (used, _) = &uses[1];
    assert_eq!((used.host.as_str(), used.port, used.scheme.as_str()), ("api.example", 443, "https"));
    assert_eq!((used.program.as_str(), used.purpose.as_str()), ("npm install", "fetch packages"));
    assert_eq!(used.rule.as_ref().unwrap().line, 3);
    drop(index);
    let mut anew = Index::anew(store.root()).unwrap();
    assert!(anew.uses(&run).unwrap().is_empty());
    anew.update(&store.runs, &mut no_progress).unwrap();
    assert_eq!(anew.uses(&run).unwrap(), uses);
    store.runs.clear();
    anew.update(&store.runs, &mut no_progress).unwrap();
    assert!(anew.uses(&run).unwrap().is_empty(), "what is gone is forgotten");
}

#[test]
fn it_reads_only_what_has_changed_and_forgets_what_is_gone() {
    let mut store = Store::new();
    store.run(1, "one", b"");
    assert_eq!(store.open().1.read, 1);
    assert_eq!(store.open().1.read, 0);
    store.run(2, "two", b"");
    assert_eq!(store.open().1.read, 1);
    // A run that goes on.
    use std::io::Write;
    let log = store.runs[0].evidence.join("log.jsonl");
    std::fs::File::options().append(true).open(log).unwrap().write_all(b"{}\n").unwrap();
    let (index, updated) = store.open();
    assert_eq!(updated.read, 1);
    assert_eq!(index.search("one", 10).unwrap().len(), 1, "nothing is there twice");
    store.runs.remove(0);
    let (index, updated) = store.open();
    assert_eq!((updated.read, updated.gone), (0, 1));
    assert!(index.search("one", 10).unwrap().is_empty());
    assert_eq!(index.search("two", 10).unwrap().len(), 1);
}

#[test]
fn a_damaged_foreign_or_older_index_is_made_anew() {
    let mut store = Store::new();
    for n in 0..20 {
        store.run(n, "cargo doc --lion", &b"text ".repeat(400));
    }
    let path = Index::path(store.root());
    let whole = |why: &str| {
        let (index, updated) = store.open();
        assert_eq!(index.search("lion", 100).unwrap().len(), 20, "{why}");
        (index.remade().map(str::to_owned), updated.read)
    };
    assert_eq!(whole("new"), (None, 20));
    assert_eq!(whole("kept"), (None, 0));
    std::fs::write(&path, b"no database at all, but long enough to look like one to nobody").unwrap();
    assert!(whole("garbage").0.unwrap().contains("damaged"));
    // Half of it overwritten, the header whole.
    let mut raw = std::fs::read(&path).unwrap();
    let from = 4096.min(raw.len() / 2);
    raw[from..].fill(0xa5);
    std::fs::write(&path, raw).unwrap();
    for tail in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{tail}", path.display()));
    }
    assert!(whole("half").0.is_some());
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 0").unwrap();
    assert!(whole("older").0.unwrap().contains("version 0"));
    std::fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    assert!(whole("foreign").0.unwrap().contains("no index"));
    std::fs::write(&path, b"").unwrap();
    assert_eq!(whole("empty").1, 20);
}

#[test]
fn hostile_text_is_data_in_queries_and_in_hits() {
    let mut store = Store::new();
    let printed: Vec<u8> =
        HOSTILE.iter().flat_map(|text| [text.as_bytes(), b" needle \x01\x02 \xff\n"].concat()).collect();
    store.run(1, "printf '\"; DROP TABLE runs; --'", &printed);
    let (index, _) = store.open();
    for text in [
        "needle\" OR text:*",
        "'; DROP TABLE runs; --",
        "needle NOT needle",
        "text:needle",
        "^needle",
        "(needle",
        "a\0b",
    ] {
        // Whatever it finds, it is a search and no error.
        index.search(text, 10).unwrap();
    }
    let hits = index.search("needle", 10).unwrap();
    assert_eq!(hits.len(), 1);
    for part in &hits[0].around {
        assert!(!part.chars().any(|c| c.is_control() || is_hidden(c)), "{part:?}");
    }
    assert_eq!(index.search("drop table", 10).unwrap().len(), 1);
}

#[test]
fn several_at_once_do_not_disturb_each_other() {
    let mut store = Store::new();
    for n in 0..12 {
        store.run(n, "cargo doc --lion", b"text\n");
    }
    let store = &store;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for _ in 0..3 {
                    let (index, _) = store.open();
                    assert_eq!(index.search("lion", 100).unwrap().len(), 12);
                }
            });
        }
    });
}

#[test]
fn it_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let mut store = Store::new();
    store.run(1, "one", b"");
    let _index = store.open();
    for entry in std::fs::read_dir(store.root()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("index.db") {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        }
    }
}
