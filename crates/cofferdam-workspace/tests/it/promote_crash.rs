//! A crash at every step, followed by either way of recovery, which may crash as well.

use std::fs;

use cofferdam_core::Bytes;
use cofferdam_workspace::promote::{
    End, Killed, Outcome, PromoteError, Selection, abort, continue_, no_fault, pending, undo,
};

use crate::promote_world::{Tree, World, age, assert_same, chmod, link, timeless, write};

/// A world with every kind of change in it.
fn world() -> World {
    fill(World::new())
}

fn fill(world: World) -> World {
    let real = world.real();
    write(&real, "src/lib.rs", "one\ntwo\nthree\nfour\n");
    write(&real, "src/gone.rs", "gone\n");
    write(&real, "tool", "#!/bin/sh\n");
    write(&real, "dead/inner/file", "dead\n");
    write(&real, "dead/other", "dead too\n");
    write(&real, "becomes-dir", "a file\n");
    write(&real, "becomes-file/in", "in\n");
    link(&real, "link", "src/lib.rs");
    link(&real, "link-goes", "nowhere");
    write(&real, "kept/untouched", "untouched\n");
    chmod(&real, "src/gone.rs", 0o600);
    fs::create_dir(real.join("moded")).unwrap();
    age(&real);
    world.begin();
    let new = world.new_tree();
    write(&new, "src/lib.rs", "one\ntwo\nthree\nFOUR\n");
    fs::remove_file(new.join("src/gone.rs")).unwrap();
    chmod(&new, "tool", 0o755);
    chmod(&new, "moded", 0o700);
    fs::remove_dir_all(new.join("dead")).unwrap();
    fs::remove_file(new.join("becomes-dir")).unwrap();
    write(&new, "becomes-dir/deep/er", "deep\n");
    fs::remove_dir_all(new.join("becomes-file")).unwrap();
    write(&new, "becomes-file", "now a file\n");
    fs::remove_file(new.join("link")).unwrap();
    link(&new, "link", "tool");
    fs::remove_file(new.join("link-goes")).unwrap();
    write(&new, "added/a", "a\n");
    write(&new, "added/b/c", "c\n");
    chmod(&new, "added/b", 0o500);
    link(&new, "added/l", "../src");
    // The real tree moves on meanwhile, at another place of the same file.
    write(&real, "src/lib.rs", "ONE\ntwo\nthree\nfour\n");
    world
}

fn promote(
    world: &World,
    fault: &mut dyn FnMut(&'static str, u64) -> Result<(), Killed>,
) -> Result<Outcome, PromoteError> {
    let plan = world.plan(&Selection::default());
    assert_eq!(plan.conflicts().count(), 0, "{:?}", plan.conflicts().collect::<Vec<_>>());
    world.promote_with(&plan, fault)
}

/// A hook that stops at the step with this index.
fn killer(at: usize) -> impl FnMut(&'static str, u64) -> Result<(), Killed> {
    let mut seen = 0;
    move |_, _| {
        seen += 1;
        if seen > at { Err(Killed) } else { Ok(()) }
    }
}

fn count(run: impl FnOnce(&mut dyn FnMut(&'static str, u64) -> Result<(), Killed>)) -> usize {
    let mut steps = 0;
    run(&mut |_, _| {
        steps += 1;
        Ok(())
    });
    steps
}

/// Modification times of what promotion writes are of the moment; all others are as they were.
fn before_and_after() -> (Tree, usize) {
    let world = world();
    let before = world.tree();
    let steps = count(|fault| {
        promote(&world, fault).unwrap();
    });
    let after = world.tree();
    assert_eq!(
        after.get(std::path::Path::new("src/lib.rs")).unwrap().content,
        b"ONE\ntwo\nthree\nFOUR\n",
        "both sides' lines are there"
    );
    assert_eq!(after.get(std::path::Path::new("added/b")).unwrap().mode, 0o500);
    let undone = world.undo(1).unwrap();
    assert!(undone.refused.is_empty(), "{:?}", undone.refused);
    assert_same(&before, &world.tree(), "promotion and undo leave the tree as it was");
    (timeless(after), steps)
}

fn assert_clean(world: &World) {
    assert!(!world.real().join(".cofferdam-promotion").exists(), "the staging directory is gone");
    assert_eq!(pending(&world.run()).unwrap(), None);
}

#[test]
fn a_crash_of_a_promotion_leads_to_one_of_two_states() {
    let (after, steps) = before_and_after();
    assert!(steps > 60, "only {steps} steps: the hook is not everywhere");
    let (mut forward, mut back) = (0, 0);
    for at in 0..steps {
        for go_on in [true, false] {
            let world = if at % 3 == 0 { world() } else { fill(World::in_memory()) };
            let before = world.tree();
            let killed = promote(&world, &mut killer(at)).unwrap_err();
            let PromoteError::Killed { step, number } = killed else { panic!("step {at}: {killed}") };
            let label = format!("killed before {step} {number} (step {at})");
            if pending(&world.run()).unwrap().is_none() {
                assert!(matches!(step, "begin"), "{label}: nothing is pending");
                continue;
            }
            let recover = if go_on { continue_ } else { abort };
            let outcome =
                recover(&world.run(), &world.root(), &mut no_fault).unwrap_or_else(|e| panic!("{label}: {e}"));
            assert_eq!(outcome.kept, [], "{label}");
            assert_clean(&world);
            match outcome.end {
                End::Applied => {
                    assert!(go_on);
                    forward += 1;
                    assert_same(&after, &timeless(world.tree()), &format!("{label}, continued"));
                    let undone = world.undo(outcome.number).unwrap();
                    assert!(undone.refused.is_empty());
                    assert_same(&before, &world.tree(), &format!("{label}, continued and undone"));
                }
                End::RolledBack => {
                    back += 1;
                    assert_same(&before, &world.tree(), &format!("{label}, taken back"));
                    let outcome = promote(&world, &mut no_fault).unwrap();
                    assert_eq!(outcome.number, 2, "{label}");
                    assert_same(&after, &timeless(world.tree()), &format!("{label}, promoted again"));
                }
            }
        }
    }
    assert!(forward > 40 && back > 60, "{forward} forward, {back} back");
}

#[test]
fn a_crash_of_a_recovery_leads_to_one_of_two_states() {
    let (after, steps) = before_and_after();
    let mut random = fastrand::Rng::with_seed(11);
    let mut killed_again = 0;
    for at in (0..steps).step_by(3) {
        for first_on in [true, false] {
            let mut again = 0;
            loop {
                // In memory, where syncing costs nothing: the combinations are many.
                let world = fill(World::in_memory());
                let before = world.tree();
                promote(&world, &mut killer(at)).unwrap_err();
                if pending(&world.run()).unwrap().is_none() {
                    break;
                }
                let first = if first_on { continue_ } else { abort };
                let killed = match first(&world.run(), &world.root(), &mut killer(again)) {
                    Err(PromoteError::Killed { .. }) => true,
                    Err(e) => panic!("step {at}, recovery step {again}: {e}"),
                    Ok(_) => false,
                };
                if !killed {
                    break;
                }
                killed_again += 1;
                let label = format!("step {at}, first way {first_on}, killed again at {again}");
                if pending(&world.run()).unwrap().is_none() {
                    assert_clean(&world);
                } else {
                    let go_on = random.bool();
                    let second = if go_on { continue_ } else { abort };
                    let outcome = second(&world.run(), &world.root(), &mut no_fault)
                        .unwrap_or_else(|e| panic!("{label}, second way {go_on}: {e}"));
                    assert_eq!(outcome.kept, [], "{label}");
                    assert_clean(&world);
                    match outcome.end {
                        End::Applied => {
                            assert!(go_on);
                            assert_same(&after, &timeless(world.tree()), &label);
                            world.undo(outcome.number).unwrap();
                            assert_same(&before, &world.tree(), &format!("{label}, undone"));
                        }
                        End::RolledBack => assert_same(&before, &world.tree(), &label),
                    }
                }
                again += 1 + random.usize(..5);
            }
        }
    }
    assert!(killed_again > 200, "only {killed_again} recoveries were killed");
}

#[test]
fn a_crash_of_an_undo_leads_to_one_of_two_states() {
    let steps = {
        let world = world();
        promote(&world, &mut no_fault).unwrap();
        count(|fault| {
            undo(&world.run(), 1, &world.root(), fault).unwrap();
        })
    };
    assert!(steps > 60);
    for at in 0..steps {
        for go_on in [true, false] {
            // Every third where the temporary directory is, the others in memory: the combinations are many.
            let world = if at % 3 == 0 { world() } else { fill(World::in_memory()) };
            let before = world.tree();
            promote(&world, &mut no_fault).unwrap();
            let after = world.tree();
            let killed = undo(&world.run(), 1, &world.root(), &mut killer(at)).unwrap_err();
            let PromoteError::Killed { step, number } = killed else { panic!("step {at}: {killed}") };
            let label = format!("undo killed before {step} {number} (step {at})");
            if pending(&world.run()).unwrap().is_none() {
                assert!(matches!(step, "begin" | "forget" | "stage"), "{label}: nothing is pending");
                continue;
            }
            let recover = if go_on { continue_ } else { abort };
            let outcome =
                recover(&world.run(), &world.root(), &mut no_fault).unwrap_or_else(|e| panic!("{label}: {e}"));
            assert_clean(&world);
            match outcome.end {
                End::Applied => {
                    assert_same(&before, &world.tree(), &format!("{label}, continued"));
                    world.undo(outcome.number).unwrap();
                    assert_same(&after, &world.tree(), &format!("{label}, continued, and the undo undone"));
                }
                End::RolledBack => {
                    assert_same(&after, &world.tree(), &format!("{label}, taken back"));
                    assert_eq!(world.undo(1).unwrap().refused, []);
                    assert_same(&before, &world.tree(), &format!("{label}, taken back, undone again"));
                }
            }
        }
    }
}

#[test]
fn an_undo_of_an_undo_brings_the_promotion_back() {
    let world = world();
    let before = world.tree();
    promote(&world, &mut no_fault).unwrap();
    let after = world.tree();
    for round in 0..3 {
        let number = 1 + 2 * round;
        assert!(world.undo(number).unwrap().refused.is_empty());
        assert_same(&before, &world.tree(), "undone");
        assert!(matches!(world.undo(number), Err(PromoteError::AlreadyUndone { by, .. }) if by == number + 1));
        assert!(world.undo(number + 1).unwrap().refused.is_empty());
        assert_same(&after, &world.tree(), "undone twice");
    }
}

#[test]
fn an_outcome_names_each_path_once() {
    let world = world();
    let outcome = promote(&world, &mut no_fault).unwrap();
    let paths: Vec<_> = outcome.changed.iter().map(|c| c.path.clone()).collect();
    let changed: Vec<Bytes> = world.changes().iter().map(|c| c.path.clone()).collect();
    assert_eq!(paths, changed);
    let turned = outcome.changed.iter().find(|c| c.path == "becomes-dir".into()).unwrap();
    assert!(turned.before.is_some() && turned.after.is_some());
}

#[test]
fn a_crash_of_a_big_promotion_leads_to_one_of_two_states() {
    // Enough for files staged by several threads and a file system synced whole.
    const FILES: usize = 160;
    let big = |world: World| {
        for n in 0..FILES {
            write(&world.real(), &format!("d{}/f{n}", n % 7), format!("old {n}\n"));
        }
        age(&world.real());
        world.begin();
        for n in 0..FILES {
            let path = format!("d{}/f{n}", n % 7);
            if n % 10 == 0 {
                fs::remove_file(world.new_tree().join(path)).unwrap();
            } else {
                write(&world.new_tree(), &path, format!("new {n}\n"));
            }
        }
        world
    };
    let world = big(World::new());
    let mut steps = Vec::new();
    promote(&world, &mut |step, number| {
        steps.push((step, number));
        Ok(())
    })
    .unwrap();
    let after = timeless(world.tree());
    assert!(steps.contains(&("keep-together", 0)), "the old versions are kept by one rename");
    assert!(!steps.iter().any(|(step, _)| *step == "keep"), "and not each by one of its own");
    // The first, the last and one in the middle of each kind of step.
    let mut chosen = Vec::new();
    for (step, number) in &steps {
        let of_kind: Vec<u64> = steps.iter().filter(|(s, _)| s == step).map(|(_, n)| *n).collect();
        if [of_kind[0], of_kind[of_kind.len() / 2], of_kind[of_kind.len() - 1]].contains(number) {
            chosen.push((*step, *number));
        }
    }
    for killed_at in chosen {
        for go_on in [true, false] {
            let world = big(World::in_memory());
            let before = world.tree();
            let mut kill = |step, number| if (step, number) == killed_at { Err(Killed) } else { Ok(()) };
            promote(&world, &mut kill).unwrap_err();
            let label = format!("killed before {killed_at:?}, continued {go_on}");
            if pending(&world.run()).unwrap().is_none() {
                assert_eq!(killed_at.0, "begin", "{label}: nothing is pending");
                continue;
            }
            let recover = if go_on { continue_ } else { abort };
            let outcome =
                recover(&world.run(), &world.root(), &mut no_fault).unwrap_or_else(|e| panic!("{label}: {e}"));
            assert_eq!(outcome.kept, [], "{label}");
            assert_clean(&world);
            match outcome.end {
                End::Applied => {
                    assert_same(&after, &timeless(world.tree()), &label);
                    assert!(world.undo(1).unwrap().refused.is_empty(), "{label}");
                    assert_same(&before, &world.tree(), &format!("{label}, undone"));
                }
                End::RolledBack => assert_same(&before, &world.tree(), &label),
            }
        }
    }
}
