//! The case that has most to lose: root runs the enclosure, so that uid 1000 inside is uid 0 outside.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::attack::judge_all;
use crate::support::{Attack, Needs, Scene};

#[test]
fn files_that_only_root_reads_stay_closed() {
    let scene = Scene::new();
    judge_all(
        &scene,
        [
            Attack::new(&["read", "/etc/shadow"]).needs(Needs::Root).canary("root:"),
            Attack::new(&["closed-files", "/etc", "/opt", "/usr/local", "/var/lib/dpkg"]).needs(Needs::Root),
            Attack::new(&["read", "/etc/security/opasswd"]).needs(Needs::Unless("lost")),
            Attack::new(&["read", "/root"]).needs(Needs::Root),
            Attack::new(&["read", "/var/log"]).needs(Needs::Nothing),
            Attack::new(&["read", "/boot"]).needs(Needs::Unless("lost")),
        ],
    );
}

#[test]
fn kernel_settings_cannot_be_opened_for_writing() {
    let scene = Scene::new();
    judge_all(
        &scene,
        [
            Attack::new(&["write-kernel-settings", "/proc/sys", "/proc/irq", "/proc", "/sys/devices"])
                .needs(Needs::Root),
            Attack::new(&["open-for-writing", "/proc/sys/kernel/core_pattern"]).needs(Needs::Root),
            Attack::new(&["open-for-writing", "/proc/sysrq-trigger"]).needs(Needs::Unless("No such file")),
            Attack::new(&["closed-files", "/proc"]).needs(Needs::Root),
        ]
        .into_iter()
        .filter(|a| crate::support::is_root() || a.needs != Needs::Unless("No such file")),
    );
}

/// /dev/null and its like are the host's own nodes: using them is the point, changing them is not.
#[test]
fn the_hosts_device_nodes_keep_their_modes_and_times() {
    let scene = Scene::new();
    for node in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"] {
        let changed = || fs::metadata(node).map(|m| (m.ctime(), m.ctime_nsec(), m.mode())).unwrap();
        let before = changed();
        for way in ["touch-mode", "touch-time"] {
            Attack::new(&[way, node]).judge_inside(&scene).unwrap();
        }
        assert_eq!(changed(), before, "{node}");
    }
    // Last, so that the outside halves of it do not disturb the comparison: setting the mode that it has is harmless.
    judge_all(&scene, [Attack::new(&["touch-mode", "/dev/full"]).needs(Needs::Root)]);
    assert!(scene.script("echo x > /dev/null && head -c3 /dev/zero | wc -c && : >> /dev/null").status.success());
}

#[test]
fn the_systems_files_keep_their_modes_and_times() {
    let scene = Scene::new();
    for file in ["/etc/passwd", "/usr/bin/env", "/etc", "/usr", "/sys/devices/system/cpu", "/run/coffer/bin/coffer"] {
        let real = if file.starts_with("/run") { env!("CARGO_BIN_EXE_coffer") } else { file };
        let state = || fs::metadata(real).map(|m| (m.ctime(), m.ctime_nsec(), m.mode())).unwrap();
        let before = state();
        for way in ["touch-mode", "touch-time"] {
            Attack::new(&[way, file]).judge_inside(&scene).unwrap();
        }
        assert_eq!(state(), before, "{file}");
    }
    // Where the system's own files would be the proof, one of ours does as well: its owner may.
    assert!(scene.attack_outside(&["touch-mode", "kept.txt"]).status.success());
    assert!(scene.attack_outside(&["touch-time", "kept.txt"]).status.success());
}

/// The modes of /proc's files are one for all instances of it.
#[test]
fn the_modes_of_kernel_files_stay() {
    let scene = Scene::new();
    for file in ["/proc/kmsg", "/proc/kallsyms", "/proc/version", "/proc/sys/kernel/core_pattern", "/proc/sys"] {
        let before = fs::metadata(file).map(|m| m.mode()).unwrap();
        let way = ["touch-mode", file];
        if matches!(file, "/proc/sys" | "/proc/sys/kernel/core_pattern") {
            // Not even root may, outside.
            Attack::new(&way).judge_inside(&scene).unwrap();
        } else {
            judge_all(&scene, [Attack::new(&way).needs(Needs::Root)]);
        }
        assert_eq!(fs::metadata(file).unwrap().mode(), before);
    }
}

#[test]
fn inside_nobody_is_root() {
    let scene = Scene::new();
    let got = scene.script("id -u; grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; cat /proc/self/uid_map");
    let out = got.out();
    assert!(out.lines().next().is_some_and(|uid| uid != "0"), "{out}");
    for line in
        ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        assert!(out.contains(line), "{line}: {out}");
    }
    assert!(out.contains("Seccomp:\t2"), "{out}");
}

/// What the command is called, and where its home is, is one answer whoever is asked.
#[test]
fn inside_one_has_a_name_of_ones_own() {
    let scene = Scene::new();
    let script = "\
import getpass, grp, os, pwd, subprocess
me = pwd.getpwuid(os.getuid())
del os.environ['HOME']
print(me.pw_name, getpass.getuser(), grp.getgrgid(os.getgid()).gr_name, me.pw_uid, sep='\\n')
print(os.path.expanduser('~'), os.path.expanduser('~' + me.pw_name), sep='\\n')
print(sum(p.pw_uid == me.pw_uid for p in pwd.getpwall()), pwd.getpwnam('root').pw_uid)";
    let got = scene.script(&format!("whoami; id -un; id -gn; echo $USER; python3 -c \"{script}\""));
    assert!(got.status.success(), "{}", got.all());
    let out = got.out();
    let home = scene.home.to_str().unwrap();
    if crate::support::is_root() {
        let expected = format!("agent\nagent\nagent\nagent\nagent\nagent\nagent\n1000\n{home}\n{home}\n1 0\n");
        assert_eq!(out, expected);
        let file = "/etc/passwd";
        let before = fs::read(file).unwrap();
        let got = scene.script("echo x:x:0:0::/:/bin/sh >> /etc/passwd; rm -f /etc/passwd; mv /etc/passwd /etc/x");
        assert!(!got.status.success(), "{}", got.all());
        assert_eq!(fs::read(file).unwrap(), before);
    } else {
        let told = std::process::Command::new("whoami").output().unwrap();
        let name = String::from_utf8(told.stdout).unwrap();
        assert_eq!(out.lines().next(), Some(name.trim_end()), "the person's own name");
        eprintln!("not proven as an ordinary user: the name of root's uid inside");
    }
}

/// Without any identity of git's, a commit has the agent's name; ssh and its like ask for the account.
#[test]
fn programs_that_ask_for_the_account_find_one() {
    let scene = Scene::new();
    if [("ssh", "-V"), ("git", "--version")].iter().any(|(p, word)| scene.program(p).arg(word).output().is_err()) {
        eprintln!("not proven on this machine: ssh or git is not installed");
        return;
    }
    let script = "ssh -V 2>&1 | grep -c OpenSSH; git init -q g && cd g && echo x > f && git add f && \
                  git -c user.email=a@example.org commit -qm x && git log -1 --format=%an";
    let got = scene.script(script);
    if crate::support::is_root() {
        assert_eq!(got.out(), "1\nagent\n", "{}", got.all());
    } else {
        assert!(got.out().starts_with("1\n"), "{}", got.all());
    }
}
