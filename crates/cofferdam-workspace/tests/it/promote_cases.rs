//! The rules of planning and promoting, one by one.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use cofferdam_core::Bytes;
use cofferdam_core::change::{BaseState, Change, Class};
use cofferdam_workspace::promote::{
    Conflict, ConflictStyle, Decision, Left, Plan, Planned, PromoteError, Selection, Step, no_fault, pending, stage,
};

use crate::promote_world::{World, age, assert_same, chmod, link, timeless, write};

fn named(paths: &[&str]) -> Selection {
    Selection { paths: Some(paths.iter().map(|p| Bytes::from(*p)).collect()), ..Selection::default() }
}

#[track_caller]
fn of<'p>(plan: &'p Plan, path: &str) -> &'p Planned {
    plan.paths.iter().find(|p| p.path == path.into()).unwrap_or_else(|| panic!("no {path} in {plan:#?}"))
}

#[track_caller]
fn conflict(plan: &Plan, path: &str) -> Conflict {
    match &of(plan, path).decision {
        Decision::Conflict { why, .. } => why.clone(),
        other => panic!("{path}: {other:?}"),
    }
}

/// One file, with what the real tree and the run make of it.
fn one(base: Option<&str>, real: Option<&str>, new: Option<&str>) -> World {
    let world = World::new();
    write(&world.real(), "beside", "beside\n");
    if let Some(base) = base {
        write(&world.real(), "f", base);
    }
    age(&world.real());
    world.begin();
    for (root, text, old) in [(world.real(), real, base), (world.new_tree(), new, base)] {
        match text {
            Some(text) if Some(text) != old => write(&root, "f", text),
            None if old.is_some() => fs::remove_file(root.join("f")).unwrap(),
            _ => {}
        }
    }
    world
}

#[test]
fn sides_that_contradict_each_other_are_conflicts_and_nothing_is_promoted() {
    for (base, real, new, expected) in [
        (Some("a\n"), Some("b\n"), Some("c\n"), Conflict::SameLines),
        (Some("a\n"), Some("b\n"), None, Conflict::DeletedHere),
        (Some("a\n"), None, Some("c\n"), Conflict::DeletedThere),
        (None, Some("b\n"), Some("c\n"), Conflict::BothAdded),
        (Some("a\n"), Some("b\0\n"), Some("c\n"), Conflict::Binary),
    ] {
        let world = one(base, real, new);
        write(&world.new_tree(), "other", "other\n");
        let plan = world.plan(&Selection::default());
        assert_eq!(conflict(&plan, "f"), expected);
        let before = world.tree();
        assert!(matches!(world.promote(&plan), Err(PromoteError::Conflicts { count: 1, .. })));
        assert_same(&before, &world.tree(), "nothing is promoted");
        let without = Selection { exclude: vec!["f".into()], ..Selection::default() };
        let outcome = world.promote(&world.plan(&without)).unwrap();
        assert_eq!(outcome.left, 1);
        assert!(world.real().join("other").exists(), "the rest can be promoted");
    }
}

#[test]
fn both_sides_with_the_same_result_are_already_there() {
    for (base, real, new) in
        [(Some("a\n"), Some("b\n"), Some("b\n")), (None, Some("b\n"), Some("b\n")), (Some("a\n"), None, None)]
    {
        let plan = one(base, real, new).plan(&Selection::default());
        assert_eq!(of(&plan, "f").decision, Decision::AlreadyThere);
    }
}

#[test]
fn conflict_markers_name_both_sides() {
    let world = one(Some("a\nb\nc\n"), Some("a\nreal\nc\n"), Some("a\nrun\nc\n"));
    let style = ConflictStyle::Markers { label: "run k7m2".to_owned() };
    let plan = world.plan(&Selection { conflicts: style, ..Selection::default() });
    assert!(matches!(of(&plan, "f").decision, Decision::Conflict { markers: true, .. }));
    world.promote(&plan).unwrap();
    let text = fs::read_to_string(world.real().join("f")).unwrap();
    assert_eq!(text, "a\n<<<<<<< real tree\nreal\n=======\nrun\n>>>>>>> run k7m2\nc\n");
}

#[test]
fn an_unknown_base_is_a_conflict_unless_both_sides_agree() {
    for (real, agrees) in [("b\n", false), ("c\n", true)] {
        let world = one(Some("a\n"), Some(real), Some("c\n"));
        let mut changes = world.changes();
        changes[0].base = BaseState::Unknown;
        let plan = world.plan_of(&changes, &Selection::default()).unwrap();
        match agrees {
            true => assert_eq!(of(&plan, "f").decision, Decision::AlreadyThere),
            false => assert_eq!(conflict(&plan, "f"), Conflict::BaseUnknown),
        }
    }
}

#[test]
fn a_change_set_that_is_older_than_the_real_tree_is_a_conflict() {
    let world = one(Some("a\n"), Some("a\n"), Some("c\n"));
    let changes = world.changes();
    assert_eq!(changes[0].base, BaseState::Unchanged);
    write(&world.real(), "f", "b\n");
    assert_eq!(conflict(&world.plan_of(&changes, &Selection::default()).unwrap(), "f"), Conflict::Stale);
}

#[test]
fn a_mode_of_one_side_and_the_content_of_the_other_are_both_taken() {
    let world = one(Some("a\n"), Some("a\n"), Some("c\n"));
    chmod(&world.real(), "f", 0o700);
    world.promote(&world.plan(&Selection::default())).unwrap();
    assert_eq!(fs::metadata(world.real().join("f")).unwrap().mode() & 0o7777, 0o700);

    let world = one(Some("a\n"), Some("b\n"), Some("a\n"));
    chmod(&world.new_tree(), "f", 0o755);
    world.promote(&world.plan(&Selection::default())).unwrap();
    assert_eq!(fs::metadata(world.real().join("f")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_to_string(world.real().join("f")).unwrap(), "b\n");

    let world = one(Some("a\n"), Some("a\n"), Some("a\n"));
    chmod(&world.real(), "f", 0o600);
    chmod(&world.new_tree(), "f", 0o755);
    assert_eq!(conflict(&world.plan(&Selection::default()), "f"), Conflict::Modes);
}

#[test]
fn set_id_bits_are_masked_and_need_confirmation() {
    let world = one(None, None, Some("#!/bin/sh\n"));
    chmod(&world.new_tree(), "f", 0o6755);
    assert!(matches!(of(&world.plan(&Selection::default()), "f").decision, Decision::NeedsConfirmation { .. }));
    let plan = world.plan(&Selection { confirmed: true, ..Selection::default() });
    assert!(of(&plan, "f").notes[0].contains("not taken"), "{plan:?}");
    world.promote(&plan).unwrap();
    assert_eq!(fs::metadata(world.real().join("f")).unwrap().mode() & 0o7777, 0o755);
}

fn classed(world: &World, class: Class) -> Vec<Change> {
    let mut changes = world.changes();
    changes.iter_mut().for_each(|c| c.class = class);
    changes
}

#[test]
fn what_needs_a_person_stays_behind_without_one() {
    let world = World::new();
    write(&world.new_tree(), "d/f", "new\n");
    let changes = |class| {
        let mut changes = classed(&world, class);
        changes.retain(|c| c.path == "d/f".into());
        changes
    };
    let decide =
        |class, selection: &Selection| of(&world.plan_of(&changes(class), selection).unwrap(), "d/f").decision.clone();
    let yes = |s: Selection| Selection { confirmed: true, ..s };
    let left = |why| Decision::Left { why };
    let all = Selection::default;
    assert_eq!(decide(Class::Ordinary, &all()), Decision::Take);
    assert_eq!(decide(Class::Ordinary, &named(&["e"])), left(Left::NotNamed));
    assert_eq!(decide(Class::Ordinary, &named(&["d/"])), Decision::Take);
    assert_eq!(decide(Class::Ordinary, &named(&["d/f"])), Decision::Take);
    assert_eq!(decide(Class::Ordinary, &named(&["d/ff", "d/f/g", "dd"])), left(Left::NotNamed));
    assert_eq!(decide(Class::Ignored, &yes(all())), left(Left::Ignored));
    assert_eq!(decide(Class::Ignored, &named(&["d"])), Decision::Take);
    assert_eq!(decide(Class::GitMetadata, &yes(all())), left(Left::GitMetadata));
    assert!(matches!(decide(Class::GitMetadata, &named(&["d"])), Decision::NeedsConfirmation { .. }));
    assert_eq!(decide(Class::GitMetadata, &yes(named(&["d"]))), Decision::Take);
    assert!(matches!(decide(Class::HostExecution, &all()), Decision::NeedsConfirmation { .. }));
    assert_eq!(decide(Class::HostExecution, &named(&["d/f"])), Decision::Take);
    assert_eq!(decide(Class::HostExecution, &yes(all())), Decision::Take);
    assert_eq!(decide(Class::Unpromotable, &yes(named(&["d/f"]))), left(Left::Unpromotable));
}

#[test]
fn a_parent_that_is_a_symbolic_link_is_a_conflict() {
    let world = World::new();
    write(&world.real(), "elsewhere/f", "f\n");
    write(&world.real(), "d/f", "f\n");
    world.begin();
    write(&world.new_tree(), "d/f", "new\n");
    fs::remove_dir_all(world.real().join("d")).unwrap();
    symlink("elsewhere", world.real().join("d")).unwrap();
    let why = conflict(&world.plan(&Selection::default()), "d/f");
    assert_eq!(why.to_string(), "the real tree has a symbolic link at \"d\"");
}

#[test]
fn a_path_that_climbs_is_refused() {
    let world = one(None, None, Some("new\n"));
    for path in ["../f", "/f", "a//f", "a/./f", "", "f/"] {
        let mut changes = world.changes();
        changes[0].path = path.into();
        let error = world.plan_of(&changes, &Selection::default()).unwrap_err();
        assert!(matches!(error, PromoteError::BadPath { .. }), "{path}: {error}");
    }
    let mut changes = world.changes();
    changes[0].path = ".cofferdam-promotion/f".into();
    let plan = world.plan_of(&changes, &Selection::default()).unwrap();
    assert_eq!(plan.paths[0].decision, Decision::Left { why: Left::Unpromotable });
}

#[test]
fn a_deleted_directory_with_other_people_s_files_stays() {
    let world = World::new();
    write(&world.real(), "d/known", "known\n");
    write(&world.real(), "e/known", "known\n");
    world.begin();
    fs::remove_dir_all(world.new_tree().join("d")).unwrap();
    fs::remove_dir_all(world.new_tree().join("e")).unwrap();
    write(&world.real(), "d/unknown", "unknown\n");
    let plan = world.plan(&Selection::default());
    assert_eq!(of(&plan, "d").decision, Decision::Left { why: Left::NotEmpty { entries: 1, first: "unknown".into() } });
    let staged = stage(&plan, &world.root(), &world, world.options(&world.run()), &mut no_fault).unwrap();
    write(&world.real(), "e/late", "late\n");
    let outcome = cofferdam_workspace::promote::apply(staged, &mut no_fault).unwrap();
    assert_eq!(outcome.stayed, ["e".into()]);
    let left: Vec<_> = world.tree().into_keys().filter(|p| p.components().count() > 1).collect();
    assert_eq!(left, [std::path::PathBuf::from("d/unknown"), "e/late".into()]);
}

#[test]
fn missing_parents_take_the_workspace_s_modes() {
    let world = World::new();
    write(&world.new_tree(), "a/b/c", "c\n");
    chmod(&world.new_tree(), "a", 0o700);
    chmod(&world.new_tree(), "a/b", 0o711);
    let mut changes = world.changes();
    // A change set does not speak of a directory with something in it.
    changes.retain(|c| c.path == "a/b/c".into());
    let plan = world.plan_of(&changes, &named(&["a/b/c"])).unwrap();
    world.promote(&plan).unwrap();
    let mode = |p: &str| fs::metadata(world.real().join(p)).unwrap().mode() & 0o777;
    assert_eq!((mode("a"), mode("a/b")), (0o700, 0o711));
}

#[test]
fn names_that_are_no_text_and_long_links_come_through() {
    let world = World::new();
    let odd = std::ffi::OsStr::from_bytes(b"\xff\n\x1b[31m");
    fs::write(world.new_tree().join(odd), "odd\n").unwrap();
    link(&world.new_tree(), "long", &"x/".repeat(2000));
    world.promote(&world.plan(&Selection::default())).unwrap();
    assert_same(&timeless(crate::promote_world::tree(&world.new_tree())), &timeless(world.tree()), "all is there");
    world.undo(1).unwrap();
    assert_eq!(world.tree().len(), 1);
}

#[test]
fn attributes_of_a_replaced_file_are_kept_and_hard_links_are_said() {
    let world = one(Some("a\n"), Some("a\n"), Some("c\n"));
    let f = world.real().join("f");
    match rustix::fs::setxattr(&f, "user.note", b"mine", rustix::fs::XattrFlags::empty()) {
        Err(rustix::io::Errno::NOTSUP) => panic!("the file system of the temporary directory has no user attributes"),
        other => other.unwrap(),
    }
    fs::hard_link(&f, world.real().join("g")).unwrap();
    let plan = world.plan(&Selection::default());
    assert!(of(&plan, "f").notes[0].contains("hard-linked 1 more"), "{plan:?}");
    world.promote(&plan).unwrap();
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(&f, "user.note", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"mine");
    assert_eq!(fs::read_to_string(world.real().join("g")).unwrap(), "a\n");
    world.undo(1).unwrap();
    assert_eq!(rustix::fs::getxattr(&f, "user.note", &mut value[..]).unwrap(), 4);
}

#[test]
fn an_undo_refuses_what_changed_since_and_undoes_the_rest() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        write(&world.real(), name, "old\n");
    }
    world.begin();
    for name in ["a", "b", "c", "new"] {
        write(&world.new_tree(), name, "run\n");
    }
    fs::remove_file(world.new_tree().join("c")).unwrap();
    world.promote(&world.plan(&Selection::default())).unwrap();
    write(&world.real(), "a", "mine\n");
    write(&world.real(), "c", "again\n");
    let undone = world.undo(1).unwrap();
    let refused: Vec<_> = undone.refused.iter().map(|r| r.path.clone()).collect();
    assert_eq!(refused, ["a".into(), "c".into()]);
    let read = |name: &str| fs::read_to_string(world.real().join(name)).ok();
    assert_eq!(read("a").as_deref(), Some("mine\n"));
    assert_eq!(read("b").as_deref(), Some("old\n"));
    assert_eq!(read("c").as_deref(), Some("again\n"));
    assert_eq!(read("new"), None);
}

#[test]
fn a_workspace_that_changes_under_the_plan_is_noticed_and_nothing_is_left() {
    let world = one(Some("a\n"), Some("a\n"), Some("c\n"));
    let plan = world.plan(&Selection::default());
    let before = world.tree();
    write(&world.new_tree(), "f", "something longer\n");
    let error = world.promote(&plan).unwrap_err();
    assert!(matches!(error, PromoteError::WorkspaceChanged { .. }), "{error}");
    assert_same(&before, &world.tree(), "nothing is left");
    assert_eq!(pending(&world.run()).unwrap(), None);
}

#[test]
fn two_names_that_the_file_system_takes_for_one_roll_everything_back() {
    // What a case-folding directory does is done here by somebody quicker: the name is taken when its turn comes.
    let world = World::new();
    write(&world.new_tree(), "A", "first\n");
    write(&world.new_tree(), "a", "second\n");
    let plan = world.plan(&Selection::default());
    let taken = world.real().join("a");
    let mut hook = |step: &'static str, number: u64| {
        if step == "apply" && number == 1 {
            fs::write(&taken, "theirs\n").unwrap();
        }
        Ok(())
    };
    let error = world.promote_with(&plan, &mut hook).unwrap_err();
    assert!(error.to_string().contains("something of that name"), "{error}");
    assert!(!world.real().join("A").exists());
    assert_eq!(fs::read_to_string(taken).unwrap(), "theirs\n");
}

#[test]
fn a_directory_that_cannot_be_written_half_way_rolls_everything_back() {
    if rustix::process::geteuid().is_root() {
        // Permission bits do not bind root; an immutable-like refusal does: a directory that became another's mount cannot
        // be made here, so the directory goes away instead.
        return half_way(|dir| fs::rename(dir, dir.with_extension("aside")).unwrap());
    }
    half_way(|dir| fs::set_permissions(dir, fs::Permissions::from_mode(0o555)).unwrap());
}

fn half_way(obstruct: impl Fn(&std::path::Path)) {
    let world = World::new();
    write(&world.real(), "a/f", "old\n");
    write(&world.real(), "z/f", "old\n");
    world.begin();
    write(&world.new_tree(), "a/f", "new\n");
    write(&world.new_tree(), "z/f", "new\n");
    let plan = world.plan(&Selection::default());
    let z = world.real().join("z");
    let mut hook = |step: &'static str, number: u64| {
        if step == "apply" && number == 1 {
            obstruct(&z);
        }
        Ok(())
    };
    let error = world.promote_with(&plan, &mut hook).unwrap_err();
    assert!(matches!(&error, PromoteError::RolledBack { .. }), "{error}");
    assert_eq!(fs::read_to_string(world.real().join("a/f")).unwrap(), "old\n");
    assert!(!world.real().join(".cofferdam-promotion").exists());
    assert_eq!(pending(&world.run()).unwrap(), None);
}

#[test]
fn a_store_on_another_file_system_keeps_old_versions_as_copies() {
    let store = tempfile::tempdir_in("/dev/shm").unwrap();
    let world = World::new();
    assert_ne!(fs::metadata(store.path()).unwrap().dev(), fs::metadata(world.real()).unwrap().dev());
    write(&world.real(), "d/f", "old\n");
    write(&world.real(), "dead/g", "old\n");
    chmod(&world.real(), "d/f", 0o640);
    age(&world.real());
    world.begin();
    write(&world.new_tree(), "d/f", "new\n");
    fs::remove_dir_all(world.new_tree().join("dead")).unwrap();
    let before = world.tree();
    let plan = world.plan(&Selection::default());
    let (options, root) = (world.options(store.path()), world.root());
    let staged = stage(&plan, &root, &world, options, &mut no_fault).unwrap();
    cofferdam_workspace::promote::apply(staged, &mut no_fault).unwrap();
    assert!(!world.real().join("dead").exists());
    let undone = cofferdam_workspace::promote::undo(store.path(), 1, &root, &mut no_fault).unwrap();
    assert_eq!(undone.refused, []);
    assert_same(&before, &world.tree(), "undone from copies");
}

/// Runs one ignored test of this binary where it may mount.
fn in_own_mounts(name: &str) {
    let own = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(own)
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn mount_tmpfs(at: &std::path::Path, options: &str) {
    fs::create_dir_all(at).unwrap();
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_full_disk_leaves_nothing() {
    in_own_mounts("promote_cases::full_disk_in_own_mounts");
}

#[test]
#[ignore = "run by a_full_disk_leaves_nothing in a mount namespace of its own"]
fn full_disk_in_own_mounts() {
    let world = World::new();
    mount_tmpfs(&world.real(), "size=1m");
    write(&world.real(), "a", "old\n");
    age(&world.real());
    world.begin();
    write(&world.new_tree(), "a", "new\n");
    write(&world.new_tree(), "b", vec![b'x'; 2 << 20]);
    let before = world.tree();
    let error = world.promote(&world.plan(&Selection::default())).unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
    assert_same(&before, &world.tree(), "nothing is left");
    assert_eq!(pending(&world.run()).unwrap(), None);
}

#[test]
fn a_file_system_mounted_within_the_tree_gets_its_own_staging() {
    in_own_mounts("promote_cases::mounted_within_in_own_mounts");
}

#[test]
#[ignore = "run by a_file_system_mounted_within_the_tree_gets_its_own_staging in a mount namespace of its own"]
fn mounted_within_in_own_mounts() {
    let world = World::new();
    mount_tmpfs(&world.real().join("m"), "size=4m");
    write(&world.real(), "m/d/f", "old\n");
    write(&world.real(), "g", "old\n");
    age(&world.real());
    world.begin();
    write(&world.new_tree(), "m/d/f", "new\n");
    write(&world.new_tree(), "m/e/h", "new\n");
    write(&world.new_tree(), "g", "new\n");
    let before = world.tree();
    let wanted = timeless(crate::promote_world::tree(&world.new_tree()));
    let mut changes = world.changes();
    changes.retain(|c| c.path != "m".into());
    world.promote(&world.plan_of(&changes, &Selection::default()).unwrap()).unwrap();
    let unmoded = |mut t: crate::promote_world::Tree| {
        t.remove(std::path::Path::new("m"));
        t
    };
    assert_same(&unmoded(wanted), &unmoded(timeless(world.tree())), "both file systems are promoted to");
    assert_eq!(world.undo(1).unwrap().refused, []);
    assert_same(&before, &world.tree(), "undone");
}

#[test]
fn a_staging_name_that_is_taken_is_refused() {
    let world = one(Some("a\n"), Some("a\n"), Some("c\n"));
    let plan = world.plan(&Selection::default());
    write(&world.real(), ".cofferdam-promotion", "not ours\n");
    let before = world.tree();
    let error = world.promote(&plan).unwrap_err();
    assert!(matches!(error, PromoteError::ForeignStaging { .. }), "{error}");
    assert_same(&before, &world.tree(), "nothing is changed");
    assert_eq!(pending(&world.run()).unwrap(), None);
}

#[test]
fn a_fifo_that_takes_the_place_of_a_file_stops_nothing() {
    let world = one(Some("a\n"), Some("a\n"), Some("c\n"));
    let changes = world.changes();
    let plan = world.plan_of(&changes, &Selection::default()).unwrap();
    let f = world.real().join("f");
    fs::remove_file(&f).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &f, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert_eq!(conflict(&world.plan_of(&changes, &Selection::default()).unwrap(), "f"), Conflict::Kinds);
    world.promote(&plan).unwrap_err();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&fs::symlink_metadata(&f).unwrap().file_type()));
}

#[test]
fn a_plan_says_what_it_does_as_plain_data() {
    let world = one(Some("a\n"), Some("a\n"), Some("c\n"));
    let plan = world.plan(&Selection::default());
    assert!(matches!(of(&plan, "f").step, Some(Step::Write { .. })));
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

/// Prints how long 10,000 changed small files take: `cargo test --release -- --ignored ten_thousand --nocapture`.
#[test]
#[ignore = "a measurement, to be run in release"]
fn ten_thousand_small_files() {
    let world = World::new();
    for n in 0..10_000 {
        write(&world.real(), &format!("d{}/f{n}", n % 200), format!("old {n}\n"));
    }
    age(&world.real());
    world.begin();
    for n in 0..10_000 {
        write(&world.new_tree(), &format!("d{}/f{n}", n % 200), format!("new {n} {}\n", "x".repeat(500)));
    }
    let changes = world.changes();
    let root = world.root();
    let run = world.run();
    rustix::fs::sync();
    let started = std::time::Instant::now();
    let plan = cofferdam_workspace::promote::plan(&root, &world, &changes, &Selection::default()).unwrap();
    let planned = started.elapsed();
    let staged = stage(&plan, &root, &world, world.options(&run), &mut no_fault).unwrap();
    let staged_after = started.elapsed();
    let outcome = cofferdam_workspace::promote::apply(staged, &mut no_fault).unwrap();
    let applied = started.elapsed();
    assert_eq!(outcome.changed.len(), 10_000);
    let undone = cofferdam_workspace::promote::undo(&run, 1, &root, &mut no_fault).unwrap();
    assert_eq!(undone.restored.len(), 10_000);
    let all = started.elapsed();
    println!("plan {planned:?}, staged {staged_after:?}, applied {applied:?}, undone {:?}", all - applied);
}
