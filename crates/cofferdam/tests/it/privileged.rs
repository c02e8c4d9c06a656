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
