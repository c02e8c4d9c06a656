//! Other processes: those of the host, and init, which was cloned from the person's `coffer`.

use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::support::attack::judge_all;
use crate::support::scene::wait;
use crate::support::{Attack, Needs, Scene, eventually, is_root, processes, unique};

/// A process of the person's, with the canary in its environment.
struct Victim(Child);

impl Victim {
    fn new(scene: &Scene) -> Victim {
        Victim(scene.program("sleep").arg("60").spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Killed by the attack already, or now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn neither_the_hosts_processes_nor_init_can_be_read_or_traced() {
    let scene = Scene::new();
    let victim = Victim::new(&scene);
    let pid = victim.pid();
    let canary = scene.canary.as_str();
    for way in ["memory-file", "memory-call"] {
        judge_all(&scene, [Attack::new(&[way, &pid, canary]).inside(&[way, "1", canary])]);
        Attack::new(&[way, &pid, canary]).judge_inside(&scene).unwrap();
    }
    let own = scene.attack_outside(&["write-memory", &pid]);
    assert!(own.status.success(), "{}", own.all());
    Attack::new(&["write-memory", "1"]).judge_inside(&scene).unwrap();
    Attack::new(&["open-for-writing", "/proc/1/mem"]).judge_inside(&scene).unwrap();
    for way in ["trace", "take-descriptor", "read-mappings"] {
        judge_all(&scene, [Attack::new(&[way, &pid]).inside(&[way, "1"])]);
        Attack::new(&[way, &pid]).judge_inside(&scene).unwrap();
    }
    judge_all(&scene, [Attack::new(&["hunt-processes", canary])]);
    for file in ["environ", "mem", "maps", "root", "cwd", "fd/0", "fd/3", "fd/4", "auxv", "exe", "task/1/mem"] {
        Attack::new(&["read", &format!("/proc/1/{file}")]).judge_inside(&scene).unwrap();
    }
}

#[test]
fn signals_stay_inside() {
    let scene = Scene::new();
    let mut victim = Victim::new(&scene);
    let pid = victim.pid();
    Attack::new(&["kill", &pid]).judge_inside(&scene).unwrap();
    // To everything that it can see: nothing but itself and init, which are no victims here.
    let _whatever = scene.attack_inside(&["kill-everything"]);
    Attack::new(&["kill", "1"]).judge_inside(&scene).unwrap();
    assert!(victim.0.try_wait().unwrap().is_none(), "the victim died");
    assert!(scene.attack_outside(&["kill", &pid]).status.success());
    assert!(eventually(2, || victim.0.try_wait().unwrap().is_some()));
}

/// What the person's environment and arguments hold is searched for in init's whole memory, from outside, as root.
#[test]
fn inits_memory_holds_nothing_of_the_person() {
    let scene = Scene::new();
    let word = unique("ARGUMENT");
    let mut client = scene
        .coffer()
        .args(["run", "--env", &format!("SECRET_OPTION={word}"), "--", "sh", "-c", "echo up; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = client.id().cast_signed();
    assert!(eventually(10, || processes::chain(pid).len() == 4), "{:?}", processes::chain(pid));
    assert!(eventually(10, || {
        let chain = processes::chain(pid);
        chain.len() == 4 && std::fs::read(format!("/proc/{}/cmdline", chain[3])).is_ok_and(|c| c.starts_with(b"sh\0"))
    }));
    let chain = processes::chain(pid);
    let (client_pid, init) = (chain[0].to_string(), chain[2].to_string());
    let cmdline = std::fs::read(format!("/proc/{init}/cmdline")).unwrap();
    assert!(cmdline.iter().all(|b| *b == 0), "{}", String::from_utf8_lossy(&cmdline));
    // The search finds it in the client's memory, so it would find it in init's.
    let found = scene.attack_outside(&["memory-file", &client_pid, &scene.canary]);
    assert!(found.status.success(), "{}", found.all());
    let searched = scene.attack_outside(&["memory-file", &init, &scene.canary]);
    if is_root() {
        assert!(searched.out().contains("the needle: nothing"), "{}", searched.all());
    } else {
        // Not even its owner may look.
        assert!(searched.out().contains("Permission denied"), "{}", searched.all());
    }
    drop(client.stdin.take());
    wait(&mut client, std::time::Duration::from_secs(10));
}

#[test]
fn a_killed_client_takes_nothing_of_others_along() {
    let scene = Scene::new();
    let mut victim = Victim::new(&scene);
    let mut client =
        scene.coffer().args(["run", "--", "sleep", "50"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let pid = client.id().cast_signed();
    assert!(eventually(10, || processes::chain(pid).len() == 4));
    let chain = processes::chain(pid);
    processes::signal(pid, Signal::KILL);
    client.wait().unwrap();
    assert!(eventually(5, || !chain.iter().any(|p| processes::alive(*p))), "{chain:?}");
    assert!(victim.0.try_wait().unwrap().is_none());
}

#[test]
fn oom_and_limits_of_the_host_are_out_of_reach() {
    let scene = Scene::new();
    for file in
        ["/proc/1/oom_score_adj", "/proc/1/coredump_filter", "/proc/1/uid_map", "/proc/1/setgroups", "/proc/1/comm"]
    {
        let needs = Needs::Nothing;
        Attack::new(&["overwrite", file]).needs(needs).judge_inside(&scene).unwrap();
    }
}
