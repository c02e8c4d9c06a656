//! What a run leaves behind to trap the person who looks at it: shown to do harm where nothing stands in its way, and to do
//! none through `coffer`.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::Repo;
use crate::support::pty::Session;
use crate::support::scene::{Finished, finish};

/// Every command that looks at a run or takes it.
const LOOKING: &[&[&str]] = &[
    &["list"],
    &["diff"],
    &["diff", "--stat"],
    &["diff", "--git", "--ignored"],
    &["diff", "--json"],
    &["promote", "--dry-run"],
    &["verify"],
    &["discard", "--dry-run"],
];

/// Long enough for a busy machine, and far from what hangs or reads it all.
const SOON: Duration = Duration::from_secs(25);

/// What acts on a terminal or hides from the eye, other than the colours and line ends that are coffer's own.
fn acts(screen: &str) -> Option<String> {
    let mut rest = screen;
    while let Some(at) = rest.find(|c: char| {
        (c.is_control() && !matches!(c, '\r' | '\n' | '\t'))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    }) {
        rest = &rest[at..];
        let own = rest.strip_prefix("\u{1b}[").and_then(|sgr| {
            let end = sgr.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            // The planted sequences are none of these: bright colours, and everything that is no SGR.
            (sgr[end..].starts_with('m') && !sgr[..end].starts_with('9')).then(|| &sgr[end + 1..])
        });
        match own {
            Some(after) => rest = after,
            None => return Some(rest.chars().take(40).collect::<String>().escape_debug().to_string()),
        }
    }
    None
}

fn shown(mut session: Session, context: &str) -> String {
    session.wait();
    // What was written last may still be on its way.
    std::thread::sleep(Duration::from_millis(50));
    let screen = session.screen();
    assert_eq!(acts(&screen), None, "{context}: {}", screen.escape_debug());
    screen
}

#[test]
fn nothing_a_run_wrote_reaches_the_terminal_raw() {
    let repo = Repo::new();
    // A title, bright red, an erasure, a clipboard write, a reversal of direction, a C1 control; an attribute file so that
    // the names show up among what executes later, too.
    let evil = "title\\033]0;pwned\\007 red\\033[91m erase\\033[2J clip\\033]52;c;cHduZWQ=\\007 \\342\\200\\256 \\302\\233 91m";
    let name = "n\\033[91m\\033]0;x\\007\\342\\200\\256\\n\\r.txt";
    let script = format!(
        "printf '{evil}\\n' > evil.txt; sed -i \"s/^line 9$/$(printf '{evil}')/\" a.txt; printf x > \"$(printf '{name}')\"; \
        mkdir -p \"$(printf '{name}')d/.claude\"; echo x > \"$(printf '{name}')d/.claude/x\"; \
        ln -sf \"$(printf '{evil}')\" link; mkfifo \"$(printf 'p\\033[91m')\"; printf x > \"$(printf 'b\\033[91m\\377')\""
    );
    // The run itself on a terminal: its summary names what it changed.
    let mut session = repo.on_terminal(&["run", "--", "sh", "-c", &script]);
    session.expect("ended after");
    assert_eq!(session.wait().code(), Some(0), "{}", session.screen());
    assert_eq!(acts(&session.screen()), None, "summary: {}", session.screen().escape_debug());
    // Without safeguards it is harmful: cat emits it.
    let upper = repo.upper(&repo.latest());
    let mut cat = repo.scene.program("cat");
    cat.arg(upper.join("evil.txt"));
    assert!(finish(cat, b"").out().contains("\u{1b}]0;pwned\u{7}"));
    assert!(acts("a\u{1b}[2J").is_some() && acts("\u{202e}").is_some() && acts("\u{1b}[91m").is_some());
    for words in LOOKING {
        let screen = shown(repo.on_terminal(words), &format!("{words:?}"));
        if words.first() == Some(&"diff") && words.len() == 1 {
            assert!(screen.contains("+title^[]0;pwned^G"), "{}", screen.escape_debug());
        }
    }
    let mut session = repo.on_terminal(&["promote"]);
    session.expect("take them too? [y/N]");
    session.type_in("y\n");
    let screen = shown(session, "promote");
    assert!(screen.contains("promoted"), "{}", screen.escape_debug());
    fs::write(repo.path("evil.txt"), "mine\n").unwrap();
    let screen = shown(repo.on_terminal(&["undo"]), "undo");
    assert!(screen.contains("took back"), "{}", screen.escape_debug());
}

#[test]
fn nothing_in_a_runs_git_directory_executes() {
    let repo = Repo::new();
    let canary = repo.scene.outside.join("executed");
    let program = repo.scene.outside.join("canary");
    fs::write(&program, format!("#!/bin/sh\necho \"$0\" >> {}\n", canary.display())).unwrap();
    assert!(std::process::Command::new("chmod").arg("755").arg(&program).status().unwrap().success());
    let call = program.display();
    let script = format!(
        r#"printf '[core]\n\tfsmonitor = "{call}"\n\thooksPath = evil\n\tpager = "{call}"\n\teditor = "{call}"\n\tsshCommand = "{call}"\n[alias]\n\tdiff = "!{call}"\n\tstatus = "!{call}"\n[diff "evil"]\n\ttextconv = "{call}"\n\tcommand = "{call}"\n[diff]\n\texternal = "{call}"\n[filter "evil"]\n\tclean = "{call}"\n\tsmudge = "{call}"\n\tprocess = "{call}"\n\trequired = true\n[merge "evil"]\n\tdriver = "{call}"\n[gpg]\n\tprogram = "{call}"\n' >> .git/config
        printf '* diff=evil filter=evil merge=evil\n' > .gitattributes
        mkdir evil; for h in pre-commit post-checkout post-index-change fsmonitor-watchman; do
            printf '#!/bin/sh\n{call}\n' > evil/$h; cp evil/$h .git/hooks/$h; chmod 755 evil/$h .git/hooks/$h; done
        sed -i 's/line 7/line seven/' a.txt"#
    );
    let run = repo.edit(&script);
    // git itself, looking at the same files, runs it.
    let copy = repo.scene.outside.join("victim");
    assert!(std::process::Command::new("cp").arg("-a").arg(&repo.scene.project).arg(&copy).status().unwrap().success());
    let upper = format!("{}/.", repo.upper(&run).display());
    assert!(std::process::Command::new("cp").args(["-a", &upper]).arg(&copy).status().unwrap().success());
    repo.git(&copy, &["status"]);
    assert!(canary.exists(), "the traps do not work, so this proves nothing");
    fs::remove_file(&canary).unwrap();
    // The real tree moves on, so that promotion has to merge.
    repo.write("a.txt", &repo.read("a.txt").replace("line 30\n", "line thirty\n"));
    for words in
        LOOKING.iter().chain(&[&["promote", "--yes"][..], &["undo"], &["promote", "a.txt"], &["discard", "--yes"]])
    {
        repo.expect(0, words);
        assert!(!canary.exists(), "{words:?} ran {}", fs::read_to_string(&canary).unwrap());
    }
    assert!(repo.read("a.txt").contains("line seven\n") && repo.read("a.txt").contains("line thirty\n"));
    assert!(!repo.read(".git/config").contains("fsmonitor"));
}

#[test]
fn no_link_leads_a_promotion_out_of_the_tree() {
    let repo = Repo::new();
    let outside = repo.scene.outside.join("precious");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("main.rs"), "precious\n").unwrap();
    let target = outside.display();
    // In the workspace: the parent becomes a link, and what is written through it is the enclosure's own affair.
    repo.edit(&format!("rm -r src; ln -s {target} src; ln -s / root; ln -s {target}/main.rs direct"));
    repo.expect(0, &["promote", "--yes"]);
    assert_eq!(fs::read_link(repo.path("src")).unwrap(), outside);
    assert_eq!(fs::read_to_string(outside.join("main.rs")).unwrap(), "precious\n");
    repo.expect(0, &["undo"]);
    assert!(repo.path("src/main.rs").is_file() && !repo.path("src").is_symlink());
    // In the real tree: a link is planted where the run saw a directory.
    let run = repo.edit("echo evil > src/main.rs; echo evil > src/added.rs; rm src/old.rs; echo fine > fine.txt");
    fs::rename(repo.path("src"), repo.path("src.away")).unwrap();
    symlink(&outside, repo.path("src")).unwrap();
    fs::write(outside.join("old.rs"), "precious, too\n").unwrap();
    // A copy that follows it does harm.
    let naive = repo.path("src").join("added.rs");
    fs::copy(repo.upper(&run).join("src/added.rs"), &naive).unwrap();
    assert!(outside.join("added.rs").exists());
    fs::remove_file(naive).unwrap();
    repo.expect(0, &["diff"]);
    repo.expect(1, &["promote", "--dry-run"]);
    let said = repo.expect(1, &["promote", "--yes"]);
    assert!(said.contains("src") && said.contains("symbolic link"), "{said}");
    assert!(!repo.path("fine.txt").exists(), "nothing half-applied");
    repo.expect(0, &["promote", "--yes", "--exclude", "src"]);
    let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(fs::read_to_string(outside.join("main.rs")).unwrap(), "precious\n");
    assert_eq!(fs::read_to_string(outside.join("old.rs")).unwrap(), "precious, too\n");
}

/// Ends well and soon.
fn soon(repo: &Repo, code: i32, words: &[&str]) -> Finished {
    let begun = Instant::now();
    let got = repo.coffer(words);
    assert_eq!(got.code(), Some(code), "{words:?}: {}", got.all());
    assert!(begun.elapsed() < SOON, "{words:?} took {:?}", begun.elapsed());
    got
}

#[test]
fn neither_fifo_nor_socket_where_a_file_was_holds_anything_up() {
    let repo = Repo::new();
    let run = repo.edit(
        "rm a.txt b.txt; mkfifo a.txt; rm .gitignore; mkfifo .gitignore; mkfifo .git/info/exclude2 package.json; \
        mv .git/info/exclude .git/info/x; mkfifo .git/info/exclude; echo fine > fine.txt; \
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"b.txt\")' || mkfifo b.txt",
    );
    // Whoever opens it waits for ever.
    let fifo = repo.upper(&run).join("a.txt");
    assert!(fifo.symlink_metadata().unwrap().file_type().is_fifo());
    let mut cat = repo.scene.program("timeout");
    cat.arg("0.2").arg("cat").arg(&fifo);
    assert_eq!(finish(cat, b"").code(), Some(124), "cat hangs");
    for words in LOOKING {
        soon(&repo, 0, words);
    }
    let text = repo.read("a.txt");
    let said = soon(&repo, 0, &["promote", "--yes"]).all();
    assert!(said.contains("left  a.txt  no file that can be promoted"), "{said}");
    assert_eq!((repo.read("a.txt"), repo.read("fine.txt")), (text, "fine\n".into()));
    // The same in the real tree: a FIFO where the run changed a file.
    repo.edit("echo more >> b.txt; echo more >> a.txt; echo more >> tool.sh");
    for name in ["b.txt", ".gitignore"] {
        fs::remove_file(repo.path(name)).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(repo.path(name)).status().unwrap().success());
    }
    for words in LOOKING {
        // A promotion that would be refused says so when it is only tried.
        soon(&repo, i32::from(words.starts_with(&["promote"])), words);
    }
    let said = soon(&repo, 1, &["promote", "--yes"]).all();
    assert!(said.contains("C b.txt"), "{said}");
    soon(&repo, 0, &["promote", "--yes", "--exclude", "b.txt"]);
    soon(&repo, 0, &["undo"]);
    soon(&repo, 0, &["discard", "--yes"]);
}

#[test]
fn a_huge_sparse_file_costs_neither_memory_nor_disk() {
    let repo = Repo::new();
    let begun = Instant::now();
    repo.edit("truncate -s 10G huge; printf end >> huge; truncate -s 2T absurd; echo fine > fine.txt");
    assert!(begun.elapsed() < SOON, "the run's end took {:?}", begun.elapsed());
    for words in LOOKING {
        // 512 MiB of address space for everything, the program included.
        let mut command = repo.scene.program("sh");
        command.args(["-c", "ulimit -v 524288; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_coffer")]).args(*words);
        let begun = Instant::now();
        let got = finish(command, b"");
        assert_eq!(got.code(), Some(0), "{words:?}: {}", got.all());
        assert!(begun.elapsed() < SOON, "{words:?} took {:?}", begun.elapsed());
    }
    soon(&repo, 0, &["promote", "--exclude", "absurd", "--exclude", "huge"]);
    assert_eq!(repo.read("fine.txt"), "fine\n");
    // A quarter of a gigabyte is enough to see that holes stay holes.
    let repo = Repo::new();
    repo.edit("truncate -s 256M big; printf end >> big; printf begin | dd of=big conv=notrunc 2>/dev/null");
    soon(&repo, 0, &["promote"]);
    let meta = fs::metadata(repo.path("big")).unwrap();
    assert_eq!(meta.len(), (1 << 28) + 3);
    assert!(meta.blocks() * 512 < 4 << 20, "{} bytes on disk", meta.blocks() * 512);
    let (mut head, mut tail) = ([0; 6], [0; 4]);
    use std::os::unix::fs::FileExt;
    let file = fs::File::open(repo.path("big")).unwrap();
    file.read_exact_at(&mut head, 0).unwrap();
    file.read_exact_at(&mut tail, (1 << 28) - 1).unwrap();
    assert_eq!((&head, &tail), (b"begin\0", b"\0end"));
    soon(&repo, 0, &["undo"]);
    assert!(!repo.path("big").exists());
}

#[test]
fn no_hand_made_layer_leads_out_of_the_tree() {
    let repo = Repo::new();
    let run = repo.edit("mkdir sub; echo x > sub/x.txt; echo y > y.txt");
    let upper = repo.upper(&run);
    let outside = repo.scene.outside.join("precious");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x.txt"), "precious\n").unwrap();
    // overlayfs cannot make these; whoever writes the layer by hand can.
    fs::remove_dir_all(upper.join("sub")).unwrap();
    symlink(&outside, upper.join("sub")).unwrap();
    for name in ["..evil", "...", "a\\..\\..\\b", "-rf", "--yes", " ", "\n"] {
        fs::write(upper.join(name), "odd\n").unwrap();
    }
    fs::create_dir_all(upper.join(".cofferdam-promotion/x")).unwrap();
    fs::write(upper.join(".cofferdam-promotion/promotion"), "forged\n").unwrap();
    let said = repo.expect(0, &["promote", "--yes"]);
    assert_eq!(fs::read_link(repo.path("sub")).unwrap(), outside, "{said}");
    assert_eq!(fs::read_to_string(outside.join("x.txt")).unwrap(), "precious\n");
    for name in ["..evil", "...", "a\\..\\..\\b", "-rf", "--yes", " ", "\n"] {
        assert_eq!(repo.read(name), "odd\n", "{name:?}");
    }
    assert!(!repo.staging() && said.contains("promotion's own"), "{said}");
    assert_eq!(fs::read_dir(repo.scene.project.parent().unwrap()).unwrap().count(), 2, "app and the planted `other`");
    // An index of bases and a journal that lie about paths.
    let repo = Repo::new();
    let run = repo.edit("sed -i 's/line 7/line seven/' a.txt");
    let index = repo.run_dir(&run).join("base/index.jsonl");
    let lied = fs::read_to_string(&index).unwrap().replace("\"path\":\"a.txt\"", "\"path\":\"../../notes.txt\"");
    assert!(lied.contains("../../notes.txt"), "{lied}");
    fs::write(&index, lied).unwrap();
    let secret = fs::read_to_string(repo.scene.home.join("notes.txt")).unwrap();
    let said = repo.expect(0, &["diff"]);
    assert!(!said.contains(&repo.scene.canary), "{said}");
    repo.expect(0, &["promote", "a.txt"]);
    let journal = repo.run_dir(&run).join("promotions/1/journal.jsonl");
    let lied = fs::read_to_string(&journal).unwrap().replace("\"path\":\"a.txt\"", "\"path\":\"../../notes.txt\"");
    assert!(lied.contains("../../notes.txt"), "{lied}");
    fs::write(&journal, lied).unwrap();
    let got = repo.coffer(&["undo"]);
    assert!(!got.status.success() && !got.all().contains("panicked"), "{}", got.all());
    assert_eq!(fs::read_to_string(repo.scene.home.join("notes.txt")).unwrap(), secret);
}

#[test]
fn depth_is_no_way_to_be_passed_over_or_to_stop_anything() {
    let repo = Repo::new();
    // Deeper than PATH_MAX takes: a thousand directories, 6 kB of path.
    let deep = "import os\nfor n in range(1000):\n os.mkdir('depth'); os.chdir('depth')\nopen('bottom.txt', 'w').write('deep\\n')\n";
    let run = repo.edit(&format!("echo fine > fine.txt; python3 -c \"{deep}\""));
    let said = repo.expect(0, &["diff", "--name-only"]);
    assert!(said.contains("depth/depth/bottom.txt"), "{}", &said[..200.min(said.len())]);
    repo.expect(0, &["promote", "--exclude", "depth"]);
    assert_eq!(repo.read("fine.txt"), "fine\n");
    let said = repo.expect(0, &["promote"]);
    assert!(said.contains("promoted"), "{}", &said[..200.min(said.len())]);
    let find = |at: PathBuf| {
        let mut find = repo.scene.program("find");
        find.arg(at).args(["-name", "bottom.txt", "-printf", "%d\n"]);
        finish(find, b"").out()
    };
    assert_eq!(find(repo.path("depth")), "1000\n");
    repo.expect(0, &["undo"]);
    assert!(!repo.path("depth").exists());
    repo.expect(0, &["discard", "--yes"]);
    assert!(!repo.run_dir(&run).join("layers").exists());
}

#[test]
fn what_executes_later_waits_however_it_is_spelt() {
    let repo = Repo::new();
    let names = [
        ".GIT/hooks/pre-commit",
        "sub/.Git/config",
        "git~1/hooks/pre-commit",
        ".g\u{200c}it/hooks/x",
        "CLAUDE.md",
        "claude.MD",
        "sub/AGENTS.md",
        ".Claude/settings.json",
        "cofferdam.toml",
        "COFFERDAM.TOML",
        ".VSCode/tasks.json",
        ".husky/pre-push",
        ".github/workflows/x.yml",
        ".envrc",
        "sub/.mcp.json",
    ];
    let script: String = names.iter().map(|n| format!("mkdir -p \"$(dirname '{n}')\"; echo evil > '{n}'\n")).collect();
    repo.edit(&format!("{script}echo fine > fine.txt"));
    let said = repo.expect(0, &["promote"]);
    assert_eq!(repo.read("fine.txt"), "fine\n");
    assert!(said.contains("4 paths inside .git"), "{said}");
    for (at, name) in names.iter().enumerate() {
        assert!(!repo.path(name).exists(), "{name}: {said}");
        let called_out = said.lines().any(|l| l.starts_with(&format!("  left  {name}  ")));
        assert!(at < 4 || called_out, "{name} is not called out: {said}");
    }
    // Not even --yes takes what is some git directory's, without its name.
    repo.expect(0, &["promote", "--yes"]);
    for name in &names[..4] {
        assert!(!repo.path(name).exists(), "{name}");
    }
    assert_eq!(repo.read("cofferdam.toml"), "evil\n");
}

#[test]
fn what_a_cut_off_rename_left_is_never_taken_and_deletes_nothing() {
    let repo = Repo::new();
    repo.write("lib/one.rs", "one\n");
    repo.write("lib/two.rs", "two\n");
    repo.write("elsewhere.txt", "elsewhere\n");
    repo.commit();
    // As the enclosure's death in the middle leaves it: part of `lib` lies in the temporary directory beside it.
    let run = repo
        .edit("mkdir lib/.coffer-mv.7.0; mv lib/one.rs lib/.coffer-mv.7.0/; rm elsewhere.txt; echo fine > lib/new.rs");
    let said = repo.expect(0, &["diff", "--name-status"]);
    assert!(said.contains("the rename of a directory was cut off here"), "{said}");
    let before = repo.whole();
    let said = repo.expect(1, &["promote", "--yes"]);
    assert!(said.contains("C lib/one.rs  the rename of a directory was cut off beside it"), "{said}");
    assert_eq!(repo.whole(), before);
    let said = repo.expect(0, &["promote", &run, "--exclude", "lib/one.rs"]);
    assert!(said.contains("left  lib/.coffer-mv.7.0/one.rs  of a directory whose rename was cut off"), "{said}");
    assert_eq!((repo.read("lib/one.rs"), repo.read("lib/new.rs")), ("one\n".into(), "fine\n".into()));
    assert!(!repo.path("lib/.coffer-mv.7.0").exists() && !repo.path("elsewhere.txt").exists());
    let names = fs::read_dir(repo.path("lib")).unwrap().map(|e| e.unwrap().file_name());
    assert!(names.into_iter().all(|n| !n.as_bytes().starts_with(b".coffer")));
}
