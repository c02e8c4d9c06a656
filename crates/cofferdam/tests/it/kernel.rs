//! System calls that an enclosure has no business with.

use crate::support::attack::judge_all;
use crate::support::scene::finish;
use crate::support::{Attack, Needs, Scene, eventually, is_root, pty::Session};

#[test]
fn no_namespaces_and_no_mounts() {
    let scene = Scene::new();
    let nothing = [&["unshare-user"][..], &["clone-user"], &["clone3-user"], &["clone3-all"]];
    judge_all(&scene, nothing.map(Attack::new));
    let capable = [
        &["unshare-mounts"][..],
        &["unshare-network"],
        &["mount"],
        &["mount-bind"],
        &["chroot"],
        &["fsopen"],
        &["open-tree"],
        &["set-hostname"],
        &["pivot-root"],
        &["enter-namespace", "/proc/self/ns/uts"],
    ];
    judge_all(&scene, capable.map(|words| Attack::new(words).needs(Needs::Capability)));
    for words in [
        &["remount"][..],
        &["unmount", "/proc/sys"],
        &["unmount", "/etc/shadow"],
        &["unmount", "/tmp"],
        &["unmount", "."],
    ] {
        Attack::new(words).judge_inside(&scene).unwrap();
    }
    // Not even for programs that are told to.
    let scene_before = scene.tree();
    let got = scene.script("unshare -Ur true || unshare -m true || nsenter -t 1 -m true || echo refused");
    assert!(got.out().contains("refused"), "{}", got.all());
    assert!(scene.tree() == scene_before);
}

#[test]
fn no_keyrings_programs_in_the_kernel_or_ways_around_the_filter() {
    let scene = Scene::new();
    let root_or = |error| if is_root() { Needs::Unless("Function not implemented") } else { Needs::Unless(error) };
    judge_all(
        &scene,
        [
            Attack::new(&["keyring"]).needs(Needs::Unless("Function not implemented")),
            Attack::new(&["keyctl"]).needs(Needs::Unless("Function not implemented")),
            Attack::new(&["request-key"]).needs(Needs::Unless("Function not implemented")),
            Attack::new(&["bpf"]).needs(root_or("Operation not permitted")),
            Attack::new(&["perf"]).needs(root_or("Permission denied")),
            Attack::new(&["userfaultfd"]).needs(root_or("Operation not permitted")),
            Attack::new(&["io-uring"]).needs(Needs::Unless("Operation not permitted")),
            Attack::new(&["fanotify"]).needs(Needs::Unless("Function not implemented")),
            Attack::new(&["kernel-log"]).needs(root_or("Operation not permitted")),
            Attack::new(&["adjtimex"]),
            Attack::new(&["read-implies-exec"]),
            Attack::new(&["open-by-handle", "kept.txt"]).needs(Needs::Root),
        ],
    );
    #[cfg(target_arch = "x86_64")]
    judge_all(
        &scene,
        [
            Attack::new(&["segments"]).needs(Needs::Unless("Function not implemented")),
            Attack::new(&["ports"]).needs(Needs::Unless("lost")),
            Attack::new(&["other-architecture"]).needs(Needs::Unless("lost")),
            Attack::new(&["x32"]).needs(Needs::Unless("lost")),
        ],
    );
}

/// The program that builds enclosures lies inside, too.
#[test]
fn an_enclosure_in_an_enclosure_is_refused_and_harms_neither() {
    let scene = Scene::new();
    let before = scene.tree();
    let nested = "/run/coffer/bin/coffer run -- sh -c 'echo hostile > kept.txt'; echo code $?; cat kept.txt";
    let got = scene.script(nested);
    assert!(got.out().contains("code 125") && got.out().contains("kept"), "{}", got.all());
    assert!(scene.tree() == before);
}

/// `passwd -S` reads /etc/shadow with the rights of its set-id bit.
#[test]
fn set_id_programs_gain_nothing() {
    let scene = Scene::new();
    judge_all(&scene, [Attack::new(&["become-root"]).needs(Needs::Unless("does not exist"))]);
}

#[test]
fn a_program_from_memory_is_confined_like_any_other() {
    let scene = Scene::new();
    let secret = scene.home.join(".ssh/id_ed25519").display().to_string();
    judge_all(&scene, [Attack::new(&["from-memory", "read", &secret]).canary(&scene.canary)]);
    // It does run: what is inside it reads.
    let got = scene.attack_inside(&["from-memory", "read", "kept.txt"]);
    assert!(got.status.success() && got.out().contains("kept"), "{}", got.all());
}

/// A character pushed into a terminal is read by the shell that comes after the run.
#[test]
fn nothing_is_typed_into_a_terminal() {
    let scene = Scene::new();
    for (attack, proven) in
        [(&["type-into-terminal", "x"][..], true), (&["line-discipline"], true), (&["console-selection"], false)]
    {
        let mut command = scene.program(scene.outside.join("hostile"));
        command.args(["on-terminal", "./hostile"]).args(attack);
        let mut outside = Session::of(command);
        outside.wait();
        eventually(5, || outside.screen().contains(attack[0]));
        let won = outside.screen().contains(&format!("won {}", attack[0]));
        // A kernel may have TIOCSTI switched off, and TIOCLINUX is for virtual consoles, which a test has not.
        if proven && !won {
            eprintln!("not proven on this kernel: {attack:?}: {}", outside.screen());
        }
        let mut inside = Session::start(&scene, &[&["./hostile"], attack].concat());
        inside.expect(&format!("lost {}: Operation not permitted", attack[0]));
        assert_eq!(inside.wait().code(), Some(1));
    }
    // Without a terminal of its own the command has none at all.
    let mut command = scene.coffer();
    command.args(["run", "--", "sh", "-c", "(exec 3<>/dev/tty) 2>/dev/null || echo none"]);
    assert!(finish(command, b"").out().contains("none"));
}
