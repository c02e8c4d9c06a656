//! Commands beside an independent tracer, and debuggers that trace inside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::evidence::Evidence;
use crate::support::scene::{finish, wait};
use crate::support::{Scene, has};

/// A C project of a hundred files.
fn project(at: &Path) {
    let names: Vec<String> = (0..100).map(|n| format!("part{n}")).collect();
    for name in &names {
        std::fs::write(at.join(format!("{name}.c")), format!("int {name}(int x) {{ return x * 3 + 1; }}\n")).unwrap();
    }
    let calls: String = names.iter().map(|n| format!("int {n}(int); ")).collect();
    std::fs::write(at.join("main.c"), format!("{calls}\nint main(void) {{ return part7(0) == 1 ? 0 : 1; }}\n"))
        .unwrap();
    let makefile = "OBJ := $(patsubst %.c,%.o,$(wildcard *.c))\nall: program\n\t./program\nprogram: $(OBJ)\n\tcc -o $@ $(OBJ)\n\
                    %.o: %.c\n\tcc -O0 -c $< -o $@ && true\n";
    std::fs::write(at.join("Makefile"), makefile).unwrap();
}

/// The names of a compiler's temporary files differ from run to run.
fn plain(word: &str) -> String {
    match word.find("/tmp/cc") {
        Some(at) if word.len() >= at + 13 => format!("{}/tmp/ccXXXXXX{}", &word[..at], plain(&word[at + 13..])),
        _ => word.to_owned(),
    }
}

/// The arguments of successful execs by what strace wrote, each as one string, with how often they came.
fn traced(text: &str) -> BTreeMap<String, u32> {
    let mut open: BTreeMap<&str, &str> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let Some((pid, what)) = line.trim_start().split_once(char::is_whitespace) else { continue };
        let what = what.trim_start();
        let call = if what.starts_with("execve(") || what.starts_with("execveat(") {
            if what.ends_with("<unfinished ...>") {
                open.insert(pid, what);
                continue;
            }
            what
        } else if what.starts_with("<... execve") {
            let Some(begun) = open.remove(pid) else { continue };
            if !what.ends_with("= 0") {
                continue;
            }
            *all.entry(arguments(begun)).or_insert(0) += 1;
            continue;
        } else {
            continue;
        };
        if call.ends_with("= 0") {
            *all.entry(arguments(call)).or_insert(0) += 1;
        }
    }
    all
}

/// `["cc", "-c"]` of a line of strace; no argument of this build has a quote or an escape.
fn arguments(call: &str) -> String {
    let (from, to) = (call.find('[').unwrap(), call.rfind(']').unwrap());
    let words = call[from + 1..to].split(", ").map(|w| plain(w.trim_matches('"')));
    words.collect::<Vec<_>>().join("\u{1f}")
}

#[test]
fn a_build_is_recorded_as_an_independent_tracer_saw_it() {
    if !["strace", "make", "cc"].into_iter().all(has) {
        return;
    }
    let scene = Scene::new();
    project(&scene.project);
    let outside: PathBuf = scene.outside.join("build");
    std::fs::create_dir(&outside).unwrap();
    project(&outside);
    let mut tracer = scene.program("strace");
    tracer.current_dir(&outside).args(["-f", "-s", "1000000", "-e", "trace=execve,execveat", "-e", "signal=none"]);
    tracer.args(["-o", "../trace", "make", "-j2", "all"]).stdin(Stdio::null()).stdout(Stdio::null());
    assert!(wait(&mut tracer.spawn().unwrap(), Duration::from_secs(300)).success());
    let mut coffer = scene.coffer();
    coffer.args(["run", "--", "make", "-j2", "all"]).stdin(Stdio::null()).stdout(Stdio::null());
    assert!(wait(&mut coffer.spawn().unwrap(), Duration::from_secs(300)).success());

    let expected = traced(&std::fs::read_to_string(scene.outside.join("trace")).unwrap());
    let evidence = Evidence::of(&scene);
    evidence.is_complete();
    let mut recorded = BTreeMap::new();
    for exec in evidence.of_kind("process.exec") {
        let words = exec["data"]["argv"].as_array().unwrap().iter().map(|w| plain(w.as_str().unwrap()));
        *recorded.entry(words.collect::<Vec<_>>().join("\u{1f}")).or_insert(0) += 1;
    }
    assert!(expected.values().sum::<u32>() > 300, "{}", expected.len());
    assert_eq!(recorded, expected);
    assert!(evidence.of_kind("process.exit").iter().all(|e| e["data"]["code"] == 0));
}

#[test]
fn a_tracer_inside_works_and_what_it_traces_is_marked() {
    if !has("strace") {
        return;
    }
    let scene = Scene::new();
    let got = scene.run(&["strace", "-f", "-o", "trace", "sh", "-c", "/bin/echo traced; exec /bin/echo replaced"]);
    assert!(got.status.success() && got.out().contains("traced\nreplaced"), "{}", got.all());
    let evidence = Evidence::of(&scene);
    evidence.is_complete();
    for word in ["traced", "replaced"] {
        let exec = evidence.exec(&["/bin/echo", word]);
        assert_eq!(exec["data"]["unconfirmed"], true, "{exec}");
        assert_eq!(evidence.exit(exec)["data"]["code"], 0);
    }
    assert_eq!(evidence.exec(&["/bin/echo", "replaced"])["link"], "process");
}

#[test]
fn a_debugger_inside_works() {
    if !has("gdb") {
        return;
    }
    let scene = Scene::new();
    let got = scene.run(&["gdb", "-q", "-batch", "-nx", "-ex", "run", "--args", "/bin/echo", "debugged"]);
    assert!(got.out().contains("debugged") && got.out().contains("exited normally"), "{}", got.all());
    let evidence = Evidence::of(&scene);
    evidence.is_complete();
    // By whatever path gdb found it, and after the shell that it starts programs with.
    let echo = evidence.of_kind("process.exec").into_iter().rfind(|e| e["data"]["argv"][1] == "debugged").unwrap();
    assert_eq!((&echo["data"]["unconfirmed"], &echo["link"]), (&true.into(), &"process".into()));
    assert_eq!(evidence.exit(echo)["data"]["code"], 0);
}

/// The same arguments, the same addresses, the same program, under a tracer: the fresh random bytes tell the execs apart.
#[test]
fn a_traced_program_that_replaces_itself_by_itself_is_seen() {
    if !has("strace") {
        return;
    }
    let scene = Scene::new();
    let script = "strace -f -o /dev/null setarch -R sh -c 'exec ./again' && cat count";
    std::fs::write(
        scene.project.join("again"),
        "#!/bin/sh\necho x >> count\nif [ $(wc -l < count) -lt 5 ]; then exec ./again; fi\n",
    )
    .unwrap();
    assert!(Command::new("chmod").arg("755").arg(scene.project.join("again")).status().unwrap().success());
    let mut command = scene.coffer();
    command.args(["run", "--", "sh", "-c", script]);
    let got = finish(command, b"");
    assert!(got.status.success(), "{}", got.all());
    let evidence = Evidence::of(&scene);
    evidence.is_complete();
    let again = evidence.of_kind("process.exec");
    let again = again.iter().filter(|e| e["data"]["given"] == "./again").count();
    assert_eq!(again, 5);
}
