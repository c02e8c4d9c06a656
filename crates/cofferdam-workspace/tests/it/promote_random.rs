//! Random trees, random runs, a person who works on meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cofferdam_core::Bytes;
use cofferdam_core::change::FileKind;
use cofferdam_workspace::promote::{ConflictStyle, Decision, PromoteError, Selection, apply, no_fault, pending, stage};
use fastrand::Rng;

use crate::promote_world::{Seen, World, age, assert_same, chmod, link, same, timeless, tree, write};

const NAMES: [&str; 5] = ["a", "b", "c.txt", "d e", "f\u{fc}"];

fn path(random: &mut Rng) -> String {
    let depth = random.usize(1..4);
    (0..depth).map(|_| NAMES[random.usize(..NAMES.len())]).collect::<Vec<_>>().join("/")
}

fn text(random: &mut Rng) -> Vec<u8> {
    let mut out: Vec<u8> =
        (0..random.usize(..12)).flat_map(|at| format!("line {at} {}\n", random.u8(..3)).into_bytes()).collect();
    if random.u8(..10) == 0 {
        out.extend_from_slice(b"\0binary\xff");
    }
    out
}

/// Puts something at a path, if the way there is free.
fn put(root: &Path, random: &mut Rng) {
    let path = path(random);
    let mut at = PathBuf::new();
    for part in Path::new(&path).parent().unwrap() {
        at.push(part);
        if fs::symlink_metadata(root.join(&at)).is_ok_and(|m| !m.is_dir()) {
            return;
        }
    }
    if fs::symlink_metadata(root.join(&path)).is_ok() {
        return;
    }
    match random.u8(..10) {
        0 => link(root, &path, ["a", "../b", "/nonexistent"][random.usize(..3)]),
        1 => fs::create_dir_all(root.join(&path)).unwrap(),
        _ => {
            write(root, &path, text(random));
            if random.u8(..4) == 0 {
                chmod(root, &path, [0o755, 0o600, 0o444][random.usize(..3)]);
            }
        }
    }
}

/// One thing that an agent, or a person, does.
fn act(root: &Path, random: &mut Rng) {
    let all: Vec<(PathBuf, Seen)> = tree(root).into_iter().filter(|(p, _)| !p.as_os_str().is_empty()).collect();
    if all.is_empty() || random.u8(..3) == 0 {
        return put(root, random);
    }
    let (path, seen) = &all[random.usize(..all.len())];
    let full = root.join(path);
    match (random.u8(..5), seen.kind) {
        (0, FileKind::Directory) => fs::remove_dir_all(&full).unwrap(),
        (0, _) => fs::remove_file(&full).unwrap(),
        (1, FileKind::File) => {
            let mode = if seen.mode & 0o100 == 0 { 0o755 } else { 0o644 };
            fs::set_permissions(&full, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        }
        (2, FileKind::File) => {
            // The other kind of save: a new file renamed over the old one.
            let temporary = root.join(".save");
            fs::write(&temporary, edited(&seen.content, random)).unwrap();
            fs::rename(&temporary, &full).unwrap();
        }
        (3, _) => {
            // Something of another kind.
            match seen.kind {
                FileKind::Directory => fs::remove_dir_all(&full).unwrap(),
                _ => fs::remove_file(&full).unwrap(),
            }
            match (random.u8(..3), seen.kind) {
                (0, _) => link(root, path.to_str().unwrap(), "turned"),
                (1, FileKind::File) => write(root, &format!("{}/in", path.display()), "in\n"),
                _ => write(root, path.to_str().unwrap(), "turned\n"),
            }
        }
        (_, FileKind::File) => {
            fs::set_permissions(&full, std::os::unix::fs::PermissionsExt::from_mode(seen.mode | 0o200)).unwrap();
            fs::write(&full, edited(&seen.content, random)).unwrap();
            fs::set_permissions(&full, std::os::unix::fs::PermissionsExt::from_mode(seen.mode)).unwrap();
        }
        _ => put(root, random),
    }
}

fn edited(content: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = content.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let at = random.usize(..=lines.len());
    match random.u8(..3) {
        0 if at < lines.len() => drop(lines.remove(at)),
        1 if at < lines.len() => lines[at] = format!("edited {}\n", random.u32(..)).into_bytes(),
        _ => lines.insert(at, format!("new {}\n", random.u32(..)).into_bytes()),
    }
    lines.concat()
}

/// A file long enough for both sides to edit it at different places.
const SHARED: &str = "shared";

fn edit_shared(root: &Path, random: &mut Rng) {
    // The run may have made something else of it.
    let Ok(text) = fs::read_to_string(root.join(SHARED)) else { return };
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    if lines.len() > 10 {
        let at = random.usize(..lines.len());
        lines[at] = "edited\n";
        fs::write(root.join(SHARED), lines.concat()).unwrap();
    }
}

fn start(random: &mut Rng) -> World {
    // Most in memory, where syncing costs nothing; the rest where the temporary directory is.
    let world = if random.u8(..6) == 0 { World::new() } else { World::in_memory() };
    for _ in 0..random.usize(..16) {
        put(&world.real(), random);
    }
    let lines: Vec<String> = (0..20).map(|n| format!("shared {n}\n")).collect();
    write(&world.real(), SHARED, lines.concat());
    if random.u8(..4) != 0 {
        age(&world.real());
    }
    world.begin();
    for _ in 0..random.usize(1..8) {
        act(&world.new_tree(), random);
    }
    world
}

#[test]
fn a_promotion_makes_the_real_tree_what_the_workspace_is_and_an_undo_what_it_was() {
    let mut promoted = 0;
    for seed in 0..220 {
        let mut random = Rng::with_seed(seed);
        let world = start(&mut random);
        let (before, wanted) = (world.tree(), tree(&world.new_tree()));
        let plan = world.plan(&Selection::default());
        assert!(plan.paths.iter().all(|p| matches!(p.decision, Decision::Take)), "seed {seed}: {plan:#?}");
        let outcome = match world.promote(&plan) {
            Err(PromoteError::NothingToDo) => continue,
            other => other.unwrap_or_else(|e| panic!("seed {seed}: {e}")),
        };
        promoted += 1;
        assert_same(&timeless(wanted), &timeless(world.tree()), &format!("seed {seed}"));
        assert!(outcome.stayed.is_empty() && outcome.kept.is_empty() && outcome.left == 0);
        let after = world.tree();
        let undone = world.undo(outcome.number).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(undone.refused, [], "seed {seed}");
        assert_same(&before, &world.tree(), &format!("seed {seed}, undone"));
        world.undo(outcome.number + 1).unwrap();
        assert_same(&after, &world.tree(), &format!("seed {seed}, undone twice"));
    }
    assert!(promoted > 180);
}

/// With a person at work all the time: before the plan, between plan and staging, between staging and application.
#[test]
fn nothing_of_the_person_s_is_lost_or_changed_beyond_the_plan() {
    let (mut clean, mut conflicting, mut overtaken, mut merged) = (0, 0, 0, 0);
    for seed in 0..260 {
        let mut random = Rng::with_seed(10_000 + seed);
        let world = start(&mut random);
        let real = world.real();
        if random.bool() {
            edit_shared(&world.new_tree(), &mut random);
            edit_shared(&real, &mut random);
        }
        for _ in 0..random.usize(..4) {
            act(&real, &mut random);
        }
        let markers = random.u8(..4) == 0;
        let mut selection = Selection::default();
        if markers {
            selection.conflicts = ConflictStyle::Markers { label: "run k7m2".to_owned() };
        }
        let mut plan = world.plan(&selection);
        let refused: Vec<Bytes> = plan.conflicts().map(|p| p.path.clone()).collect();
        if !refused.is_empty() {
            conflicting += 1;
            let before = world.tree();
            let error = world.promote(&plan).unwrap_err();
            assert!(matches!(error, PromoteError::Conflicts { .. }), "seed {seed}: {error}");
            assert_same(&before, &world.tree(), "a plan with conflicts changes nothing");
            // Without a path goes everything below it, which the plan made for a directory that now does not come.
            selection.exclude = refused;
            plan = world.plan(&selection);
            loop {
                let more: Vec<Bytes> = plan.conflicts().map(|p| p.path.clone()).collect();
                if more.is_empty() {
                    break;
                }
                selection.exclude.extend(more);
                plan = world.plan(&selection);
            }
        }
        merged += plan.paths.iter().filter(|p| matches!(p.decision, Decision::Merge)).count();
        if random.u8(..3) == 0 {
            act(&real, &mut random);
        }
        let staged = match stage(&plan, &world.root(), &world, world.options(&world.run()), &mut no_fault) {
            Ok(staged) => staged,
            Err(PromoteError::NothingToDo) => continue,
            Err(PromoteError::Overtaken { .. } | PromoteError::Io { .. }) => {
                overtaken += 1;
                assert!(!real.join(".cofferdam-promotion").exists());
                continue;
            }
            Err(e) => panic!("seed {seed}: {e}"),
        };
        if random.u8(..3) == 0 {
            act_beside_staging(&real, &mut random);
        }
        let mut before = tree(&real);
        before.retain(|path, _| !path.starts_with(".cofferdam-promotion"));
        let taken: BTreeSet<PathBuf> = plan
            .taken()
            .map(|p| p.path.as_path().to_owned())
            .chain(plan.parents.iter().map(|p| p.path.as_path().to_owned()))
            .collect();
        match apply(staged, &mut no_fault) {
            Ok(outcome) => {
                clean += 1;
                let after = world.tree();
                for path in before.keys().chain(after.keys()).filter(|p| !taken.contains(*p)) {
                    assert!(same(before.get(path), after.get(path)), "seed {seed}: {} changed", path.display());
                }
                for planned in plan.taken().filter(|p| matches!(p.decision, Decision::Take)) {
                    if outcome.stayed.contains(&planned.path) {
                        continue;
                    }
                    let path = planned.path.as_path();
                    let new = tree(&world.new_tree());
                    let (got, wanted) = (after.get(path), new.get(path));
                    let content = |s: Option<&Seen>| s.map(|s| (s.kind, s.content.clone()));
                    // Where the run changed the mode alone, the content is the person's.
                    if !matches!(planned.step, Some(cofferdam_workspace::promote::Step::Mode { .. })) {
                        assert_eq!(content(got), content(wanted), "seed {seed}: {}", path.display());
                    }
                }
                let undone = world.undo(outcome.number).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                assert_eq!(undone.refused, [], "seed {seed}");
                let root_touched = |mut t: crate::promote_world::Tree| {
                    // The person came and went in directories between staging and application.
                    t.values_mut().filter(|s| s.kind == FileKind::Directory).for_each(|s| s.mtime = 0);
                    t
                };
                assert_same(&root_touched(before), &root_touched(world.tree()), &format!("seed {seed}, undone"));
            }
            Err(PromoteError::RolledBack { source, kept }) => {
                overtaken += 1;
                assert!(matches!(*source, PromoteError::Overtaken { .. }), "seed {seed}: {source}");
                assert_eq!(kept, [], "seed {seed}");
                let without_dirs = |mut t: crate::promote_world::Tree| {
                    t.values_mut().filter(|s| s.kind == FileKind::Directory).for_each(|s| s.mtime = 0);
                    t
                };
                assert_same(&without_dirs(before), &without_dirs(world.tree()), &format!("seed {seed}, rolled back"));
            }
            Err(e) => panic!("seed {seed}: {e}"),
        }
        assert_eq!(pending(&world.run()).unwrap(), None, "seed {seed}");
    }
    assert!(
        clean > 80 && conflicting > 40 && overtaken > 15 && merged > 5,
        "{clean} {conflicting} {overtaken} {merged}"
    );
}

/// As [`act`], on anything but our own staging directory.
fn act_beside_staging(real: &Path, random: &mut Rng) {
    let staging = real.join(".cofferdam-promotion");
    let aside = real.parent().unwrap().join("aside");
    let inode = |p: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(p).unwrap());
    let number = inode(&staging);
    fs::rename(&staging, &aside).unwrap();
    act(real, random);
    fs::rename(&aside, &staging).unwrap();
    assert_eq!(inode(&staging), number);
}
