//! `coffer promote` and `coffer undo` killed at random instants: the real tree is brought to one of the two states.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kills::{random, setting};
use crate::support::repo::{Facts, timeless};
use crate::support::scene::wait;
use crate::support::{Repo, processes};

/// Rounds in total, over all threads.
const ROUNDS: u64 = 60;
const THREADS: u64 = 4;
const FILES: usize = 300;

type Tree = BTreeMap<OsString, Facts>;

/// A project of about [`FILES`] files.
fn world() -> Repo {
    let repo = Repo::new();
    for n in 0..FILES {
        repo.write(&format!("many/{}/{n}.txt", n % 7), &format!("file {n}\n"));
    }
    std::fs::set_permissions(repo.path("many/3"), std::fs::Permissions::from_mode(0o711)).unwrap();
    repo
}

/// Changes, adds, moves and deletes most of them.
const EDITS: &str = "cd many; for n in $(seq 0 90); do echo changed >> $((n % 7))/$n.txt; done; rm -r 5; chmod 600 6/*; chmod 750 2; \
    mkdir -p fresh/deep; for n in $(seq 90); do echo new > fresh/deep/$n.txt; done; mv 4 four; rm 1/1.txt; mkdir 1/1.txt; \
    ln -s 1.txt 1/link; echo in > 1/1.txt/in";

/// When a command is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after its start.
    Started(Duration),
    /// So long after it began to stage beside the tree: planning takes most of the time and touches nothing.
    Staging(Duration),
}

/// Kills `coffer WORDS…`, if it is still at work then.
fn killed(repo: &Repo, words: &[&str], when: Moment) {
    let mut child = repo
        .scene
        .coffer()
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let delay = match when {
        Moment::Started(delay) => delay,
        Moment::Staging(delay) => {
            while !repo.staging() && child.try_wait().unwrap().is_none() {
                std::hint::spin_loop();
            }
            delay
        }
    };
    std::thread::sleep(delay);
    processes::signal(child.id().cast_signed(), Signal::KILL);
    let status = wait(&mut child, Duration::from_secs(20));
    assert!(status.success() || status.code().is_none(), "{words:?}: {status:?}");
}

struct Counts {
    pending: u64,
    continued: u64,
    aborted: u64,
}

/// One promotion or undo killed, and brought to an end. `forward` chooses how.
fn round(repo: &Repo, states: (&Tree, &Tree), words: &[&str], when: Moment, forward: bool, counts: &mut Counts) {
    let (before, after) = states;
    let context = format!("{words:?} killed at {when:?}, {}", if forward { "--continue" } else { "--abort" });
    killed(repo, words, when);
    let got = repo.coffer(&["promote", if forward { "--continue" } else { "--abort" }]);
    match got.code() {
        Some(0) => {
            counts.pending += 1;
            if !forward || got.all().contains("was taken back") {
                counts.aborted += 1;
                assert!(got.all().contains("was taken back"), "{context}: {}", got.all());
                assert!(repo.tree() == *before, "{context}: not as before: {}", differing(&repo.tree(), before));
            } else {
                counts.continued += 1;
                assert!(same(&repo.tree(), after), "{context}: not whole: {}", differing(&repo.tree(), after));
            }
        }
        // It had not begun, or was through.
        Some(125) if got.all().contains("no promotion is unfinished") => {
            let tree = repo.tree();
            assert!(tree == *before || same(&tree, after), "{context}: {}", differing(&tree, before));
        }
        _ => panic!("{context}: {}", got.all()),
    }
    assert!(!repo.staging(), "{context}");
}

fn same(a: &Tree, b: &Tree) -> bool {
    timeless(a.clone()) == timeless(b.clone())
}

fn differing(a: &Tree, b: &Tree) -> String {
    let paths = a.keys().chain(b.keys()).filter(|p| a.get(*p) != b.get(*p));
    format!("{:?}", paths.take(10).map(|p| (p, a.get(p), b.get(p))).collect::<Vec<_>>())
}

#[test]
fn a_killed_promotion_or_undo_ends_as_one_of_two_trees() {
    let seed = setting("COFFER_KILL_SEED", 20_261_124);
    let rounds = setting("COFFER_KILL_ROUNDS", ROUNDS).div_ceil(THREADS);
    let (mut pending, mut continued, mut aborted) = (0, 0, 0);
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || rounds_of(rounds, seed + thread))).collect();
        for thread in threads {
            let counts = thread.join().unwrap();
            pending += counts.pending;
            continued += counts.continued;
            aborted += counts.aborted;
        }
    });
    // Enough rounds must have hit a promotion half way for this to have shown anything.
    let all = rounds * THREADS;
    if all >= ROUNDS {
        assert!(pending >= all / 5, "only {pending} of {all} were half way");
        assert!(continued > 0 && aborted > 0, "one way only: {continued} continued, {aborted} aborted");
    }
}

fn rounds_of(rounds: u64, mut seed: u64) -> Counts {
    let first = seed;
    let repo = world();
    let before = repo.tree();
    repo.edit(EDITS);
    let begun = Instant::now();
    repo.expect(0, &["promote", "--yes"]);
    let took = begun.elapsed();
    let after = repo.tree();
    assert!(!same(&before, &after));
    repo.expect(0, &["undo"]);
    assert!(repo.tree() == before, "{}", differing(&repo.tree(), &before));
    let mut counts = Counts { pending: 0, continued: 0, aborted: 0 };
    // On a busy machine the moments may all fall into the same phase: then later ones are tried, for a while.
    let enough = |counts: &Counts| counts.continued > 0 && counts.aborted > 0;
    for number in 0..rounds * 3 {
        if number >= rounds && (rounds < ROUNDS / THREADS || enough(&counts)) {
            break;
        }
        let part = (random(&mut seed) % 1000) as f64 / 1000.0;
        let when = if number % 8 < 3 {
            Moment::Started(took.mul_f64(part))
        } else {
            Moment::Staging(took.mul_f64(part * if number < rounds { 0.6 } else { 1.5 }))
        };
        let forward = number % 2 == 0;
        // What an undo brought back of deleted directories is not what the earlier run saw: a run of its own each time.
        repo.edit(EDITS);
        // Every other pair of rounds kills an undo.
        if number % 4 < 2 {
            round(&repo, (&before, &after), &["promote", "--yes"], when, forward, &mut counts);
        } else {
            repo.expect(0, &["promote", "--yes"]);
            let promoted = repo.tree();
            round(&repo, (&promoted, &before), &["undo"], when, forward, &mut counts);
        }
        // The next command works, and brings back what was there at first, times and all.
        if repo.tree() != before {
            repo.expect(0, &["undo"]);
        }
        let now = repo.tree();
        assert!(now == before, "seed {first}, round {number}: {}", differing(&now, &before));
    }
    assert!(repo.expect(0, &["verify"]).contains("verified"));
    counts
}
