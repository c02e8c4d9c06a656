//! Commands: every exec and every end is in the log, exactly, whatever the programs do.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::evidence::Evidence;
use crate::support::pty::Session;
use crate::support::scene::{copy_program, finish, hostile, wait};
use crate::support::{Scene, eventually, is_root, processes, unique};

/// The attack program inside, which must succeed, and what the log says.
fn record(words: &[&str]) -> (String, Evidence) {
    record_in(&Scene::new(), words)
}

fn record_in(scene: &Scene, words: &[&str]) -> (String, Evidence) {
    let got = scene.attack_inside(words);
    assert!(got.status.success(), "{}", got.all());
    let evidence = Evidence::of(scene);
    evidence.is_complete();
    (got.out(), evidence)
}

#[test]
fn a_command_is_told_from_its_start_to_its_end() {
    let scene = Scene::new();
    let got = scene.script("/bin/echo one; sh -c 'exit 7'; kill -9 $$");
    assert_eq!(got.code(), Some(137), "{}", got.all());
    let evidence = Evidence::of(&scene);
    evidence.is_complete();
    let shell = evidence.exec(&["sh", "-c", "/bin/echo one; sh -c 'exit 7'; kill -9 $$"]);
    assert_eq!((shell["cause"].as_u64(), shell["link"].as_str()), (Some(0), Some("parent")));
    assert_eq!(shell["data"]["cwd"].as_str(), scene.project.to_str());
    let echo = evidence.exec(&["/bin/echo", "one"]);
    assert_eq!(echo["cause"], shell["seq"]);
    assert_eq!(echo["data"]["parent"], shell["data"]["pid"]);
    let real = std::fs::canonicalize("/bin/echo").unwrap();
    assert_eq!(echo["data"]["executable"]["path"].as_str(), real.to_str());
    let digest = std::process::Command::new("sha256sum").arg(&real).output().unwrap().stdout;
    assert_eq!(echo["data"]["executable"]["digest"].as_str().unwrap().as_bytes(), &digest[..64]);
    assert_eq!(echo["data"]["streams"][1], "pipe");
    assert_eq!(evidence.exit(echo)["data"]["code"], 0);
    let inner = evidence.exec(&["sh", "-c", "exit 7"]);
    let end = evidence.exit(inner);
    assert_eq!((end["data"]["code"].as_u64(), end["link"].as_str()), (Some(7), Some("process")));
    assert_eq!(evidence.exit(shell)["data"]["signal"], 9);
    assert!(evidence.of_kind("process.exec").iter().all(|e| e["data"].get("unconfirmed").is_none()));
    let ended = evidence.of_kind("run.ended")[0];
    assert_eq!(ended["data"]["execs"].as_u64().unwrap(), evidence.of_kind("process.exec").len() as u64);
}

#[test]
fn arguments_that_a_thread_rewrites_are_those_that_ran() {
    let (printed, evidence) = record(&["exec-forge", "200"]);
    let ran: Vec<&str> = printed.lines().filter(|l| !l.starts_with("won")).collect();
    assert_eq!(ran.len(), 200);
    let recorded = evidence.of_kind("process.exec");
    let recorded: Vec<_> = recorded.iter().filter(|e| e["data"]["argv"][0] == "/bin/echo").collect();
    assert_eq!(recorded.len(), 200);
    for (ran, recorded) in ran.iter().zip(recorded) {
        // A word caught in the middle of being written is no text, and what was printed is what ran.
        assert_eq!(recorded["data"]["argv"][1].as_str(), Some(*ran));
        assert!(recorded["data"].get("unconfirmed").is_none(), "{recorded}");
    }
    assert!(ran.contains(&"evil4242") || ran.contains(&"innocent"), "{ran:?}");
}

#[test]
fn threads_that_execute_at_once_hang_nobody_and_one_of_them_is_recorded() {
    let scene = Scene::new();
    let mut child = scene.coffer();
    child.args(["run", "--", "./hostile", "exec-race", "1000"]).stdin(Stdio::null());
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let status = wait(&mut child, Duration::from_secs(120));
    assert!(status.success(), "{status}");
    let evidence = Evidence::of(&scene);
    evidence.is_complete();
    let odd = evidence
        .events
        .iter()
        .filter(|e| e["kind"] == "evidence.gap" || e["kind"] == "process.exec" && e["data"]["argv"][0] != "/bin/true");
    let odd: Vec<_> = odd.skip(1).collect();
    assert_eq!(evidence.argv_count("/bin/true"), 1000, "{odd:?} {}", evidence.statement);
}

#[test]
fn every_way_to_execute_is_seen() {
    let (printed, evidence) = record(&["exec-ways"]);
    assert!(printed.contains("won exec-ways true 0 0 0 Some(5) 0"), "{printed}");
    for word in ["spawned", "threaded", "leaderless"] {
        let exec = evidence.exec(&["/bin/echo", word]);
        assert!(exec["data"].get("unconfirmed").is_none(), "{exec}");
        assert_eq!(evidence.exit(exec)["data"]["code"], 0, "{word}");
    }
    let described = evidence.exec(&["by-descriptor", "described"]);
    let real = std::fs::canonicalize("/bin/echo").unwrap();
    assert_eq!(described["data"]["executable"]["path"].as_str(), real.to_str());
    let remembered = evidence.exec(&["by-descriptor", "remembered"]);
    assert_eq!(remembered["data"]["executable"]["path"], "/memfd:kept-nowhere (deleted)");
    assert_eq!(remembered["data"]["executable"]["digest"], described["data"]["executable"]["digest"]);
    assert!(remembered["data"]["environment"]["removed"].as_array().unwrap().contains(&"PATH".into()));
    let script = evidence.exec(&["/bin/sh", "-e", "./script", "scripted"]);
    assert_eq!(script["data"]["given"], "./script");
    assert_eq!(evidence.exit(script)["data"]["code"], 5);
}

#[test]
fn a_failed_exec_fails_as_ever_and_is_no_event() {
    let (printed, evidence) = record(&["exec-fails"]);
    assert!(printed.contains("[2, 13, 8, 2, 7] slept=true traceme=0"), "{printed}");
    assert_eq!(evidence.of_kind("process.exec").len(), 1);
}

#[test]
fn a_search_by_path_is_one_event() {
    let (printed, evidence) = record(&["exec-search"]);
    assert!(printed.contains("sought"), "{printed}");
    assert_eq!(evidence.argv_count("echo"), 1);
    assert_eq!(evidence.exec(&["echo", "sought"])["link"], "process");
}

#[test]
fn a_filter_of_its_own_changes_nothing() {
    let (printed, evidence) = record(&["exec-filtered"]);
    assert!(printed.contains("listener=-1 Device or resource busy"), "{printed}");
    assert!(evidence.exec(&["/bin/echo", "filtered"])["data"].get("unconfirmed").is_none());
}

#[test]
fn arguments_that_are_no_text_are_kept_to_the_byte() {
    let (_, evidence) = record(&["exec-odd"]);
    let argv = &evidence.of_kind("process.exec")[1]["data"]["argv"];
    assert_eq!(argv[1]["hex"], "fffe0a22");
    assert_eq!((argv[2].as_str(), argv[3].as_str()), (Some(""), Some("{\"seq\":0}")));
    assert_eq!(evidence.of_kind("process.exec").len(), 3);
}

#[test]
fn a_million_bytes_of_arguments_are_kept_beside_the_event() {
    let scene = Scene::new();
    let (_, evidence) = record_in(&scene, &["exec-large"]);
    let exec = evidence.of_kind("process.exec")[1];
    assert_eq!(exec["data"]["arguments"]["size"], "/bin/true".len() as u64 + 1 + 10 * 100_001);
    let argv = exec["data"]["argv"].as_array().unwrap();
    assert!(argv.iter().map(|a| a.as_str().unwrap().len()).sum::<usize>() <= 64 << 10);
    let blob = evidence.blob(&exec["data"]["arguments"]);
    let expected: String = (0..10).map(|n| format!("{n}").repeat(100_000) + "\0").collect();
    assert_eq!(blob, format!("/bin/true\0{expected}").into_bytes());
}

#[test]
fn ten_thousand_execs_are_ten_thousand_events() {
    let scene = Scene::new();
    let mut child = scene.coffer();
    child.args(["run", "--", "sh", "-c", "for i in 1 2 3 4; do ./hostile exec-storm 2500 x & done; wait"]);
    let mut child = child.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let monitor = processes::children(child.id().cast_signed());
    let status = wait(&mut child, Duration::from_secs(300));
    assert!(status.success(), "{status} {monitor:?}");
    let evidence = Evidence::of(&scene);
    evidence.is_complete();
    assert_eq!(evidence.argv_count("/bin/true"), 10_000);
    let exits = evidence.of_kind("process.exit");
    assert_eq!(exits.len(), 10_005);
    assert!(exits.iter().all(|e| e["data"]["code"] == 0), "each end is known");
}

#[test]
fn a_process_that_replaces_itself_is_one_process() {
    let (_, evidence) = record(&["exec-chain", "300"]);
    let execs = evidence.of_kind("process.exec");
    assert_eq!(execs.len(), 301);
    assert!(execs.windows(2).all(|w| w[1]["cause"] == w[0]["seq"] && w[1]["link"] == "process"));
    assert_eq!(evidence.of_kind("process.exit").len(), 1);
}

#[test]
fn stops_and_continuations_around_an_exec_are_as_ever() {
    let (printed, _) = record(&["exec-stops", "300"]);
    assert!(printed.contains("odd=0"), "{printed}");
}

#[test]
fn an_orphan_has_its_cause_where_the_kernel_tells_of_births() {
    let (_, evidence) = record(&["exec-orphan"]);
    let orphan = evidence.exec(&["/bin/echo", "orphan"]);
    let expected = match evidence.statement["execs"].get("counted") {
        Some(_) => evidence.of_kind("process.exec")[0]["seq"].as_u64(),
        None => Some(0),
    };
    assert_eq!(orphan["cause"].as_u64(), expected);
}

/// A program that may not be read closes its process: it runs, and what it executes is refused. Root's monitor reads
/// everything, and a person's own files are readable to their monitor: it takes a third user.
#[test]
fn a_program_without_read_permission_cannot_execute_in_the_dark() {
    const PERSON: u32 = 65_534;
    let scene = Scene::new();
    let program = scene.home.join(".cargo/bin/opaque");
    std::fs::create_dir(scene.home.join(".cargo/bin")).unwrap();
    copy_program(&hostile(), &program);
    std::fs::set_permissions(&program, Permissions::from_mode(0o111)).unwrap();
    let words = ["run", "--", "sh", "-c", "~/.cargo/bin/opaque exec-storm 3 x; ~/.cargo/bin/opaque exec-storm 3 x"];
    // The build may lie in a directory of root's alone.
    let own = scene.root().join("coffer");
    copy_program(Path::new(env!("CARGO_BIN_EXE_coffer")), &own);
    let mut coffer = scene.program(&own);
    coffer.env("PATH", format!("{}:/usr/bin:/bin", program.parent().unwrap().display())).args(words);
    if is_root() {
        assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(scene.root()).status().unwrap().success());
        std::os::unix::fs::chown(&program, Some(PERSON - 1), None).unwrap();
        coffer.uid(PERSON).gid(PERSON);
    }
    let got = finish(coffer, b"");
    let evidence = Evidence::of(&scene);
    evidence.is_complete();
    let opaque = evidence.of_kind("process.exec");
    let opaque = opaque.iter().filter(|e| e["data"]["argv"][1] == "exec-storm").count();
    assert_eq!(opaque, 2, "{}", got.all());
    let gaps: Vec<_> = evidence.of_kind("evidence.gap").into_iter().map(|gap| &gap["data"]["count"]).collect();
    if is_root() {
        assert_eq!(got.out().matches("Permission denied").count(), 2, "{}", got.all());
        assert_eq!((evidence.argv_count("/bin/true"), gaps), (0, vec![&1.into(), &1.into()]));
    } else {
        eprintln!("not proven as an ordinary user: execs of a program without read permission are refused");
        assert_eq!((evidence.argv_count("/bin/true"), gaps.len()), (6, 0), "{}", got.all());
    }
}

#[test]
fn memory_and_duration_of_a_process_are_told() {
    let (_, evidence) = record(&["exec-idle"]);
    let end = evidence.exit(evidence.of_kind("process.exec")[0]);
    let took = end["data"]["microseconds"].as_u64().unwrap();
    assert!((600_000..30_000_000).contains(&took), "{took}");
    assert!(end["data"]["memory"].as_u64().unwrap() > 100, "{end}");
    assert!(evidence.of_kind("run.ended")[0]["data"]["memory"].as_u64().unwrap() > 100);
}

#[test]
fn what_is_killed_with_the_run_ends_with_it() {
    let scene = Scene::new();
    let got = scene.script("sleep 100 & (setsid sleep 101 &) ; while ! pidof sleep >/dev/null; do :; done; sleep 0.2");
    assert!(got.status.success(), "{}", got.all());
    let evidence = Evidence::of(&scene);
    evidence.is_complete();
    for seconds in ["100", "101"] {
        let end = evidence.exit(evidence.exec(&["sleep", seconds]));
        assert_eq!((end["data"]["signal"].as_u64(), end["data"]["source"].as_str()), (Some(9), Some("run-end")));
    }
}

#[test]
fn the_death_of_the_monitor_in_a_storm_ends_everything() {
    for round in 0..8u64 {
        let scene = Scene::new();
        let marker = unique("STORM");
        let _cleared = processes::Cleared(marker.clone());
        let mut command = scene.coffer();
        command.args(["run", "--", "./hostile", "exec-storm", "1000000", &marker]);
        let mut client = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert!(eventually(20, || !processes::inside(&marker).is_empty()), "the storm begins");
        std::thread::sleep(Duration::from_millis(40 + 13 * round));
        let chain = processes::chain(client.id().cast_signed());
        processes::signal(chain[1], Signal::KILL);
        wait(&mut client, Duration::from_secs(10));
        let left = || processes::inside(&marker);
        assert!(eventually(5, || left().is_empty()), "round {round}: {:?}", left());
    }
}

/// No run reads the system's programs again that an earlier one has read.
#[test]
fn digests_of_the_systems_programs_last() {
    let scene = Scene::new();
    let mut digests: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for _ in 0..2 {
        assert!(scene.script("/bin/echo again").status.success());
        for exec in Evidence::of(&scene).of_kind("process.exec") {
            let executable = &exec["data"]["executable"];
            digests.entry(executable["path"].to_string()).or_default().push(executable["digest"].clone());
        }
    }
    assert!(digests.values().all(|d| d.len() == 2 && d[0] == d[1] && d[0].is_string()), "{digests:?}");
}

/// Its first call is the end of it, whatever it would be; the person hears why.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_program_is_recorded_ended_and_named() {
    // ELF32 for i386 (elf(5)): one loaded segment; `mov eax, 1; mov ebx, 7; int 0x80`, which is exit(7).
    let code = [0xb8, 1, 0, 0, 0, 0xbb, 7, 0, 0, 0, 0xcd, 0x80];
    let (base, headers) = (0x0804_8000u32, 52 + 32u32);
    let size = headers + u32::try_from(code.len()).unwrap();
    let mut program = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |value: u16| value.to_le_bytes();
    let word = |value: u32| value.to_le_bytes();
    program.extend([half(2), half(3)].concat());
    program.extend([word(1), word(base + headers), word(52), word(0), word(0)].concat());
    program.extend([half(52), half(32), half(1), half(0), half(0), half(0)].concat());
    program.extend([word(1), word(0), word(base), word(base), word(size), word(size), word(5), word(0x1000)].concat());
    program.extend(code);
    let scene = Scene::new();
    let path = scene.project.join("old");
    std::fs::write(&path, &program).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    // A shell: what cannot be executed at all is its error, not this test's.
    if Command::new("sh").args(["-c", "\"$0\"; test $? = 7"]).arg(&path).status().unwrap().code() != Some(0) {
        eprintln!("not proven: this kernel runs no 32-bit programs");
        return;
    }
    let mut session = Session::start(&scene, &["./old"]);
    session.expect("/old is a program of another architecture");
    assert_eq!(session.wait().code(), Some(128 + 31), "{}", session.screen());
    let evidence = Evidence::of(&scene);
    evidence.is_complete();
    let exec = evidence.exec(&["./old"]);
    assert_eq!(evidence.exit(exec)["data"]["signal"], 31);
}
