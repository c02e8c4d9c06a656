//! Others at work in the real tree while it is promoted to.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cofferdam_workspace::promote::{
    PromoteError, Selection, StageOptions, abort, no_fault, pending, plan, stage, undo,
};

use crate::promote_world::{Tree, World, age, assert_same, tree, write};

/// Ends whatever is unfinished, however often the race makes that fail.
fn end(world: &World) {
    let patience = Instant::now() + Duration::from_secs(20);
    while pending(&world.run()).unwrap().is_some() {
        assert!(Instant::now() < patience, "it cannot be ended");
        match abort(&world.run(), &world.root(), &mut no_fault) {
            Ok(_) | Err(PromoteError::Overtaken { .. }) => {}
            Err(PromoteError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn a_directory_swapped_for_a_link_never_leads_outside() {
    let world = World::in_memory();
    let (real, new) = (world.real(), world.new_tree());
    let outside = world.dir.path().join("outside");
    for name in ["changed", "removed"] {
        write(&outside, name, "canary\n");
        write(&real, &format!("d/{name}"), "canary\n");
    }
    write(&outside, "sub/inner", "canary\n");
    write(&real, "d/sub/inner", "canary\n");
    age(&outside);
    world.begin();
    write(&new, "d/changed", "from the run\n");
    write(&new, "d/added", "from the run\n");
    write(&new, "d/newdir/added", "from the run\n");
    write(&new, "d/sub/inner", "from the run\n");
    fs::remove_file(new.join("d/removed")).unwrap();
    let changes = world.changes();
    let canary: Tree = tree(&outside);

    let stop = Arc::new(AtomicBool::new(false));
    let swaps = Arc::new(AtomicU64::new(0));
    let swapper = std::thread::spawn({
        let (stop, swaps) = (Arc::clone(&stop), Arc::clone(&swaps));
        let (d, aside) = (real.join("d"), world.dir.path().join("aside"));
        symlink(&outside, &aside).unwrap();
        move || {
            // The directory and the link change places in one step, so that the name is always taken.
            let swap = || {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &d, rustix::fs::CWD, &aside, flags).unwrap();
            };
            while !stop.load(Ordering::Relaxed) {
                swap();
                swaps.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(20));
                swap();
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    });
    let started = Instant::now();
    let (mut applied, mut stopped, mut rounds) = (0, 0, 0);
    while rounds < 3000 && started.elapsed() < Duration::from_secs(8) {
        rounds += 1;
        let root = world.root();
        let Ok(plan) = plan(&root, &world, &changes, &Selection::default()) else { continue };
        let staged = stage(&plan, &root, &world, StageOptions { run_dir: &world.run(), umask: 0o022 }, &mut no_fault);
        let outcome = staged.and_then(|s| cofferdam_workspace::promote::apply(s, &mut no_fault));
        match outcome {
            Ok(outcome) => {
                applied += 1;
                while let Err(e) = undo(&world.run(), outcome.number, &root, &mut no_fault) {
                    assert!(!matches!(e, PromoteError::AlreadyUndone { .. }), "{e}");
                    end(&world);
                }
            }
            Err(_) => stopped += 1,
        }
        end(&world);
        if world.run().join("promotions").exists() {
            fs::remove_dir_all(world.run().join("promotions")).unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    let outside = world.dir.path().join("outside");
    assert_same(&canary, &tree(&outside), "nothing outside the root was changed");
    assert!(
        swaps.load(Ordering::Relaxed) > 500 && applied > 20 && stopped > 200,
        "{applied} applied, {stopped} stopped in {rounds}"
    );
}

/// Every version that lies anywhere in the tree or among the old versions.
fn versions(world: &World) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo: Vec<PathBuf> = vec![world.real(), world.run()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if let Ok(text) = fs::read_to_string(&path)
                && text.starts_with("version")
            {
                found.insert(text);
            }
        }
    }
    found
}

fn rename_save(real: &Path, text: &str) {
    let temporary = real.parent().unwrap().join("save");
    fs::write(&temporary, text).unwrap();
    fs::rename(&temporary, real).unwrap();
}

fn save_in_place(path: &Path, text: &str) {
    // As an editor that keeps the inode: whatever stands at the path by now gets the text.
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(path) {
        file.write_all(text.as_bytes()).unwrap();
    }
}

/// The person saves once at a random instant of each promotion. The version that was saved must be there afterwards, and so
/// must the version that stood there when the promotion took it away.
fn never_loses(save: fn(&Path, &str), in_place: bool) {
    let mut random = fastrand::Rng::with_seed(5);
    let (mut applied, mut refused) = (0, 0);
    let world = World::new();
    let (real, new) = (world.real(), world.new_tree());
    write(&real, "zfile", "version 0\n");
    for other in 0..4 {
        write(&real, &format!("other{other}"), "other\n");
    }
    world.begin();
    for other in 0..4 {
        write(&new, &format!("other{other}"), "from the run\n");
    }
    write(&new, "zfile", "from the run\n");
    for round in 0..300_u32 {
        world_reset(&world, round);
        let before = format!("version {round} before\n");
        let saved = format!("version {round} saved\n");
        let plan = world.plan(&Selection::default());
        let staged = stage(&plan, &world.root(), &world, world.options(&world.run()), &mut no_fault).unwrap();
        let number = staged.number();
        let path = real.join("zfile");
        let wait = Duration::from_micros(random.u64(..2500));
        let mut pauses = fastrand::Rng::with_seed(u64::from(round));
        let begun = Arc::new(AtomicBool::new(false));
        let editor = std::thread::spawn({
            let (saved, begun) = (saved.clone(), Arc::clone(&begun));
            move || {
                while !begun.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                let until = Instant::now() + wait;
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                save(&path, &saved);
            }
        });
        let mut hook = |_: &'static str, _| {
            begun.store(true, Ordering::Release);
            // Machines with few cores run the two threads one after the other unless the steps take their time.
            std::thread::sleep(Duration::from_micros(pauses.u64(..150)));
            Ok(())
        };
        let outcome = cofferdam_workspace::promote::apply(staged, &mut hook);
        editor.join().unwrap();
        let found = versions(&world);
        assert!(found.contains(&saved), "round {round}: the save is lost ({outcome:?}), found {found:?}");
        match outcome {
            Ok(_) => {
                applied += 1;
                // An editor that writes in place may have changed the very inode that was taken away.
                assert!(in_place || found.contains(&before), "round {round}: what was replaced is lost, {found:?}");
            }
            Err(PromoteError::RolledBack { .. }) => {
                refused += 1;
                assert_eq!(fs::read_to_string(real.join("zfile")).unwrap(), saved, "round {round}");
                assert_eq!(fs::read_to_string(real.join("other0")).unwrap(), "other\n", "round {round}");
            }
            Err(e) => panic!("round {round}: {e}"),
        }
        assert!(pending(&world.run()).unwrap().is_none());
        fs::remove_dir_all(world.run().join("promotions").join(number.to_string())).unwrap();
    }
    assert!(applied > 20 && refused > 20, "{applied} applied, {refused} refused: the save never came in between");
}

/// The real tree as it was when the run began, with this round's text in the file.
fn world_reset(world: &World, round: u32) {
    let text = format!("version {round} before\n");
    for root in [world.real(), world.dir.path().join("base")] {
        write(&root, "zfile", &text);
        for other in 0..4 {
            write(&root, &format!("other{other}"), "other\n");
        }
    }
    let base = tree(&world.dir.path().join("base"));
    for (path, seen) in base {
        crate::promote_world::set_mtime(&world.real().join(path), seen.mtime);
    }
}

#[test]
fn a_save_by_rename_is_never_lost() {
    never_loses(rename_save, false);
}

#[test]
fn a_save_in_place_is_never_lost() {
    never_loses(save_in_place, true);
}

/// The same without a race: the save comes at each step in turn, once and on two steps in a row.
#[test]
fn a_save_at_any_step_is_never_lost() {
    for save in [rename_save, save_in_place] {
        let (mut applied, mut refused) = (0, 0);
        for at in 0..200 {
            let world = World::new();
            write(&world.real(), "zfile", "version before\n");
            write(&world.real(), "gone", "version gone\n");
            age(&world.real());
            world.begin();
            write(&world.new_tree(), "zfile", "from the run\n");
            fs::remove_file(world.new_tree().join("gone")).unwrap();
            let plan = world.plan(&Selection::default());
            let (file, gone) = (world.real().join("zfile"), world.real().join("gone"));
            let mut steps = 0;
            let mut hook = |_: &'static str, _| {
                if (at..at + 2).contains(&steps) {
                    save(&file, &format!("version saved {}\n", steps - at));
                    if gone.exists() {
                        save(&gone, "version gone saved\n");
                    }
                }
                steps += 1;
                Ok(())
            };
            let outcome = world.promote_with(&plan, &mut hook);
            if steps <= at + 1 {
                break;
            }
            let found = versions(&world);
            let in_tree = fs::read_to_string(&file).unwrap();
            assert!(found.contains("version saved 1\n"), "step {at}: {outcome:?} {found:?}");
            match outcome {
                Ok(_) => applied += 1,
                Err(PromoteError::RolledBack { .. } | PromoteError::Overtaken { .. }) => {
                    refused += 1;
                    assert_eq!(in_tree, "version saved 1\n", "step {at}");
                    assert!(gone.exists(), "step {at}");
                }
                Err(e) => panic!("step {at}: {e}"),
            }
            assert!(pending(&world.run()).unwrap().is_none(), "step {at}");
            assert!(!world.real().join(".cofferdam-promotion").exists(), "step {at}");
        }
        assert!(applied > 3 && refused > 5, "{applied} applied, {refused} refused");
    }
}

#[test]
fn a_second_promotion_waits_for_nobody_and_is_refused() {
    let world = World::new();
    write(&world.real(), "a", "a\n");
    world.begin();
    write(&world.new_tree(), "a", "b\n");
    let plan = world.plan(&Selection::default());
    let staged = stage(&plan, &world.root(), &world, world.options(&world.run()), &mut no_fault).unwrap();
    let busy = world.promote(&plan).unwrap_err();
    assert!(matches!(busy, PromoteError::Busy { .. }), "{busy}");
    let elsewhere = world.dir.path().join("another-run");
    let busy = stage(&plan, &world.root(), &world, world.options(&elsewhere), &mut no_fault).unwrap_err();
    assert!(matches!(busy, PromoteError::Busy { .. }), "{busy}");
    drop(staged);
    let unfinished = world.promote(&plan).unwrap_err();
    assert!(matches!(unfinished, PromoteError::Unfinished { .. }), "{unfinished}");
    let unfinished = stage(&plan, &world.root(), &world, world.options(&elsewhere), &mut no_fault).unwrap_err();
    assert!(unfinished.to_string().contains("run/promotions/1"), "it says whose: {unfinished}");
    abort(&world.run(), &world.root(), &mut no_fault).unwrap();
    world.promote(&plan).unwrap();
}
