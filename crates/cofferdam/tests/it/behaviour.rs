//! An ordinary command notices nothing of the enclosure.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::scene::{copy_program, finish, wait};
use crate::support::{Scene, eventually, processes, unique};

#[test]
fn bytes_pass_unchanged_in_both_directions() {
    let scene = Scene::new();
    let mut random = vec![0u8; 1 << 20];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    let mut command = scene.coffer();
    command.args(["run", "--", "cat"]);
    let got = finish(command, &random);
    assert!(got.stdout == random, "{} of {} bytes came back", got.stdout.len(), random.len());
    assert!(got.status.success());
    assert!(got.stderr.is_empty(), "{}", got.all());

    let got = scene.script("echo to-error >&2; echo to-output");
    assert_eq!((got.out().as_str(), got.stderr.as_slice()), ("to-output\n", &b"to-error\n"[..]));
}

#[test]
fn a_file_as_input_and_output_is_used_from_where_it_stands() {
    let scene = Scene::new();
    let (from, to) = (scene.root().join("from"), scene.root().join("to"));
    fs::write(&from, "one\ntwo\n").unwrap();
    fs::write(&to, "before\n").unwrap();
    let mut command = scene.coffer();
    let output = fs::File::options().append(true).open(&to).unwrap();
    let status =
        command.args(["run", "--", "cat"]).stdin(fs::File::open(&from).unwrap()).stdout(output).status().unwrap();
    assert!(status.success());
    assert_eq!(fs::read_to_string(&to).unwrap(), "before\none\ntwo\n");
}

/// `> log 2>&1`: both streams are one open file, and so is what the caller writes there afterwards.
#[test]
fn two_streams_into_one_file_do_not_write_over_each_other() {
    let scene = Scene::new();
    let log = scene.root().join("log");
    let file = fs::File::create(&log).unwrap();
    let script = "echo 1; sleep .1; echo 2 >&2; sleep .1; echo 3; sleep .1; echo 4 >&2";
    let mut command = scene.coffer();
    command.args(["run", "--", "sh", "-c", script]).stdin(Stdio::null());
    let status = command.stdout(file.try_clone().unwrap()).stderr(file.try_clone().unwrap()).status().unwrap();
    assert!(status.success());
    std::io::Write::write_all(&mut &file, b"5\n").unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "1\n2\n3\n4\n5\n");
}

#[test]
fn a_reader_that_goes_away_ends_an_endless_writer() {
    let scene = Scene::new();
    let begun = Instant::now();
    let line = format!("{} run -- yes | head -1; echo ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_coffer"));
    let mut command = scene.program("bash");
    command.args(["-c", &line]);
    let got = finish(command, b"");
    assert_eq!(got.out(), "y\n141\n", "{}", got.all());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

/// A reader that stands still holds the writer up instead of filling memory.
#[test]
fn a_slow_reader_holds_the_writer_up() {
    let scene = Scene::new();
    let mut child = scene
        .coffer()
        .args(["run", "--", "sh", "-c", "head -c 64M /dev/zero && touch finished"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().cast_signed();
    assert!(eventually(10, || processes::chain(pid).len() == 4));
    std::thread::sleep(Duration::from_millis(500));
    for process in processes::chain(pid) {
        let kib: u64 = processes::status(process, "VmRSS").unwrap().trim_end_matches(" kB").trim().parse().unwrap();
        assert!(kib < 40_000, "process {process} has grown to {kib} KiB");
    }
    let mut all = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 64 << 20);
    assert!(wait(&mut child, Duration::from_secs(10)).success());
}

#[test]
fn exit_codes_are_the_commands_own() {
    let scene = Scene::new();
    fs::write(scene.project.join("no-program"), "text").unwrap();
    let code = |script: &str| scene.script(script).code();
    assert_eq!(code("exit 0"), Some(0));
    assert_eq!(code("exit 3"), Some(3));
    assert_eq!(code("exit 255"), Some(255));
    assert_eq!(scene.run(&["./no-program"]).code(), Some(126));
    assert_eq!(scene.run(&["./dir"]).code(), Some(126));
    assert_eq!(scene.run(&["there-is-no-such-program"]).code(), Some(127));
    assert_eq!(scene.run(&["./nor-this"]).code(), Some(127));
    assert_eq!(code("kill -9 $$"), Some(137));
    assert_eq!(code("kill -15 $$"), Some(143));
    assert_eq!(code("kill -6 $$"), Some(134));
    let mut nonsense = scene.coffer();
    nonsense.arg("there-is-no-such-subcommand");
    assert_eq!(finish(nonsense, b"").code(), Some(125));
}

#[test]
fn signals_reach_the_command() {
    let scene = Scene::new();
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1"), (Signal::INT, "INT")] {
        let marker = unique("SIGNAL");
        let script =
            format!("trap 'echo got {name}; exit 7' {name}; echo up > up-{marker}; while :; do sleep 0.05; done");
        let mut child = scene
            .coffer()
            .args(["run", "--", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let runs = scene.state.join("cofferdam/runs");
        let up = || {
            fs::read_dir(&runs)
                .into_iter()
                .flatten()
                .flatten()
                .any(|r| r.path().join(format!("layers/upper/up-{marker}")).exists())
        };
        assert!(eventually(10, up));
        processes::signal(child.id().cast_signed(), signal);
        let status = wait(&mut child, Duration::from_secs(10));
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!((out.as_str(), status.code()), (&*format!("got {name}\n"), Some(7)));
    }
    // A command without a handler dies of it, as it would without us.
    let mut child = scene.coffer().args(["run", "--", "sleep", "30"]).stdin(Stdio::null()).spawn().unwrap();
    let pid = child.id().cast_signed();
    assert!(eventually(10, || {
        let chain = processes::chain(pid);
        chain.len() == 4 && fs::read(format!("/proc/{}/cmdline", chain[3])).is_ok_and(|c| c.starts_with(b"sleep"))
    }));
    processes::signal(pid, Signal::TERM);
    let status = wait(&mut child, Duration::from_secs(10));
    assert!(status.code() == Some(143) || status.signal() == Some(15), "{status:?}");
}

#[test]
fn closed_streams_are_no_riddle() {
    let scene = Scene::new();
    let shell = |line: String| {
        let mut command = scene.program("sh");
        command.args(["-c", &line]);
        finish(command, b"input")
    };
    let coffer = env!("CARGO_BIN_EXE_coffer");
    let got = shell(format!("{coffer} run -- sh -c 'cat; echo after' <&-"));
    assert_eq!((got.out().as_str(), got.code()), ("after\n", Some(0)), "{}", got.all());
    let got = shell(format!("{coffer} run -- sh -c 'echo lost; exit 4' >&-"));
    assert_eq!((got.out().as_str(), got.code()), ("", Some(4)), "{}", got.all());
    let got = shell(format!("{coffer} run -- sh -c 'cat; exit 5' <&- >&- 2>&-"));
    assert_eq!(got.code(), Some(5), "{}", got.all());
    let got = shell(format!("{coffer} run -- sh -c 'cat; echo x' < /dev/null > /dev/null"));
    assert_eq!((got.out().as_str(), got.code()), ("", Some(0)), "{}", got.all());
}

#[test]
fn loopback_works_inside() {
    let scene = Scene::new();
    let got = scene.script(
        "./hostile serve 127.0.0.1:5001 & ./hostile serve '[::1]:5002' & \
                            for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; \
                            ./hostile tcp 127.0.0.1:5001 x && ./hostile tcp '[::1]:5002' x && exit 0; done; exit 1",
    );
    assert!(got.status.success(), "{}", got.all());
}

fn installed(program: &str) -> bool {
    ["/usr/bin", "/bin", "/usr/local/bin"].iter().any(|d| std::path::Path::new(d).join(program).is_file())
}

#[test]
fn debuggers_work_on_the_runs_own_processes() {
    let scene = Scene::new();
    if installed("strace") {
        let got =
            scene.script("strace -f -o trace.txt sh -c 'cat kept.txt' && grep -q kept.txt trace.txt && echo traced");
        assert!(got.out().contains("traced"), "{}", got.all());
    } else {
        eprintln!("not proven on this machine: strace is not installed");
    }
    if installed("gdb") {
        let got = scene.script("gdb -nx -batch -ex run -ex 'info inferiors' --args /bin/true 2>&1");
        assert!(got.out().contains("exited normally"), "{}", got.all());
        let got = scene.script("sleep 20 & gdb -nx -batch -p $! -ex detach 2>&1; kill $!");
        assert!(got.out().contains("Detaching") || got.out().contains("detached"), "{}", got.all());
    } else {
        eprintln!("not proven on this machine: gdb is not installed");
    }
}

/// An interpreter in the home, as uv and pyenv place them, found by the link that a virtual environment keeps to it.
#[test]
fn a_virtual_environment_finds_its_interpreter_in_the_home() {
    let scene = Scene::new();
    let Some(python) = ["/usr/bin/python3", "/usr/local/bin/python3"].iter().find(|p| std::path::Path::new(p).exists())
    else {
        eprintln!("not proven on this machine: the system has no python3");
        return;
    };
    let installed = scene.home.join(".local/share/pythons/cpython-3");
    fs::create_dir_all(installed.join("bin")).unwrap();
    fs::create_dir_all(installed.join("lib/python3")).unwrap();
    copy_program(&fs::canonicalize(python).unwrap(), &installed.join("bin/python3"));
    fs::set_permissions(installed.join("bin/python3"), fs::Permissions::from_mode(0o755)).unwrap();
    let venv = scene.project.join(".venv");
    fs::create_dir_all(venv.join("bin")).unwrap();
    symlink(installed.join("bin/python3"), venv.join("bin/python")).unwrap();
    fs::write(venv.join("pyvenv.cfg"), format!("home = {}\n", installed.join("bin").display())).unwrap();
    let got = scene.run(&[".venv/bin/python", "-c", "import os, sys; print(os.path.realpath(sys.executable), 6 * 7)"]);
    assert!(got.out().contains("42") && got.out().contains("cpython-3"), "{}", got.all());
}

#[test]
fn git_commits_in_the_persons_name_and_asks_no_helper() {
    let scene = Scene::new();
    if !installed("git") {
        eprintln!("not proven on this machine: git is not installed");
        return;
    }
    fs::write(
        scene.home.join(".gitconfig"),
        "[user]\n\tname = Ada Person\n\temail = ada@example.com\n[credential]\n\thelper = store\n\
         [core]\n\thooksPath = /nowhere\n[url \"ssh://secret@host/\"]\n\tinsteadOf = x:\n",
    )
    .unwrap();
    let git = |args: &[&str]| {
        let mut command = scene.program("git");
        command.args(args);
        assert!(finish(command, b"").status.success());
    };
    git(&["init", "-q"]);
    git(&["add", "kept.txt"]);
    git(&["commit", "-q", "-m", "first"]);
    let before = scene.tree();
    let got = scene.script(
        "echo more >> kept.txt && git commit -qam second && git log -1 --format='%an <%ae> %s' && \
         git config --get-all credential.helper; git config --list | grep -c -e secret@host -e nowhere",
    );
    assert_eq!(got.out(), "Ada Person <ada@example.com> second\n0\n", "{}", got.all());
    assert!(scene.tree() == before, "the real repository changed");
}

#[test]
fn the_hosts_coffer_is_not_needed_in_path_nor_a_tty() {
    let scene = Scene::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_coffer"));
    command.env_clear().env("HOME", &scene.home).env("XDG_STATE_HOME", &scene.state).current_dir(&scene.project);
    command.args(["run", "cat", "kept.txt"]);
    assert_eq!(finish(command, b"").out(), "kept\n");
}

/// In-place writes, saves by rename, hard links, locks, mappings, sockets, FIFOs, sparse files, links, odd names: first on the plain
/// file system, then inside, where the real tree keeps every byte, mode and time.
#[test]
fn the_workspace_is_like_a_plain_disk() {
    let scene = Scene::new();
    let before = scene.tree();
    let inside = scene.attack_inside(&["plain-disk"]);
    assert!(inside.out().starts_with("won plain-disk"), "{}", inside.all());
    assert_eq!(scene.tree(), before, "the real tree changed");
    let outside = scene.attack_outside(&["plain-disk"]);
    assert!(outside.out().starts_with("won plain-disk"), "{}", outside.all());
}
