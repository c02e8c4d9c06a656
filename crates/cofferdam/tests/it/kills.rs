//! Sudden deaths: client, monitor, init or command killed at a random instant, again and again.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::scene::wait;
use crate::support::{Scene, eventually, processes, unique};

/// Rounds in total, over all threads.
const ROUNDS: u64 = 200;
const THREADS: u64 = 4;

/// The seed of a round: what `COFFER_KILL_SEED` says, so that a failure can be run again.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// `splitmix64` (Steele, Lea, Flood 2014): enough for choosing instants.
pub(crate) fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The mounts of this namespace that have to do with us.
fn mounts(scene: &Scene) -> Vec<String> {
    let root = scene.root().display().to_string();
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter(|l| l.contains(&root) || l.contains("coffer"))
        .map(str::to_owned)
        .collect()
}

/// One run, one victim, one instant.
fn round(scene: &Scene, number: u64, seed: &mut u64) {
    let marker = unique("KILL");
    let _cleared = processes::Cleared(marker.clone());
    let mut client = scene
        .coffer()
        .args(["run", "--", "./hostile", "hive-and-work", &marker])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = client.id().cast_signed();
    // A third of the kills during start-up, the others while the hive works.
    let most = if random(seed).is_multiple_of(3) { 15_000 } else { 130_000 };
    std::thread::sleep(Duration::from_micros(random(seed) % most));
    let chain = processes::chain(pid);
    let which = usize::try_from(random(seed) % 4).unwrap();
    let victim = chain[which.min(chain.len() - 1)];
    processes::signal(victim, Signal::KILL);
    let mut seen = chain.clone();
    wait(&mut client, Duration::from_secs(10));
    // A client that died at once has left a monitor, which may just have had a child.
    seen.extend(chain.iter().flat_map(|p| processes::children(*p)));
    let left = || -> Vec<i32> {
        seen.iter().copied().filter(|p| *p != pid && processes::alive(*p)).chain(processes::with(&marker)).collect()
    };
    assert!(
        eventually(5, || left().is_empty()),
        "round {number}: {which} of {chain:?} was killed and {:?} live on: {:?}",
        left(),
        left().iter().map(|p| fs::read_to_string(format!("/proc/{p}/stat"))).collect::<Vec<_>>()
    );
}

#[test]
fn a_sudden_death_leaves_no_process_no_mount_and_the_real_tree() {
    let rounds = setting("COFFER_KILL_ROUNDS", ROUNDS);
    let first = setting("COFFER_KILL_SEED", 20_261_124);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            std::thread::spawn(move || {
                let scene = Scene::new();
                let (tree, before) = (scene.tree(), mounts(&scene));
                let mut seed = first.wrapping_add(thread);
                for number in 0..rounds.div_ceil(THREADS) {
                    round(&scene, number, &mut seed);
                    if number % 10 == 9 {
                        let next = scene.run(&["cat", "kept.txt"]);
                        assert!(
                            next.status.success() && next.out() == "kept\n",
                            "after round {number}: {}",
                            next.all()
                        );
                    }
                }
                assert!(scene.tree() == tree, "the real tree changed");
                assert_eq!(mounts(&scene), before);
                let next = scene.run(&["cat", "kept.txt"]);
                assert!(next.status.success() && next.out() == "kept\n", "{}", next.all());
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
