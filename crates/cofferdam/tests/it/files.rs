//! Reading what is the person's, and changing what is not the run's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::attack::judge_all;
use crate::support::scene::{SECRETS, finish};
use crate::support::{Attack, Needs, Scene, unique};

#[test]
fn keys_and_sessions_are_not_readable_by_any_path() {
    let scene = Scene::new();
    let canary = scene.canary.clone();
    let paths: Vec<String> = SECRETS.iter().map(|s| scene.home.join(s).display().to_string()).collect();
    for path in &paths {
        judge_all(&scene, [Attack::new(&["read", path]).canary(&canary)]);
    }
    for way in ["read-by-parents", "read-by-processes", "read-by-link", "read-by-swapped-link"] {
        judge_all(&scene, [Attack::new(&[way, &paths[0]]).canary(&canary)]);
    }
}

#[test]
fn nothing_that_is_visible_holds_a_planted_secret() {
    let scene = Scene::new();
    let beside = scene.root().join("beside");
    scene.plant(&beside.join("file"));
    // Where the state of runs lies: what another run wrote is a secret too.
    assert!(
        scene.script(&format!("echo {} > left-by-a-run; echo {0} > ~/left-in-home", scene.canary)).status.success()
    );
    let store = scene.state.join("cofferdam").display().to_string();
    let root = scene.root().display().to_string();
    let mut roots = vec!["hunt", &*scene.canary, &*root, &*store, "/tmp", "/run", "/var", "/dev/shm", "/mnt", "/srv"];
    roots.extend(["/home", "/root", "/media"]);
    judge_all(&scene, [Attack::new(&["hunt", &scene.canary, &store])]);
    Attack::new(&[]).inside(&roots).judge_inside(&scene).unwrap();
}

#[test]
fn links_in_a_project_lead_nowhere() {
    let scene = Scene::new();
    let secret = scene.home.join(".ssh/id_ed25519");
    for place in [&scene.project, &scene.outside] {
        symlink(&secret, place.join("absolute")).unwrap();
        symlink(scene.home.join(".ssh"), place.join("directory")).unwrap();
        symlink("/proc/self/root", place.join("by-proc")).unwrap();
    }
    symlink("../../.ssh/id_ed25519", scene.project.join("relative")).unwrap();
    symlink("../home/me/.ssh/id_ed25519", scene.outside.join("relative")).unwrap();
    let by_proc = format!("by-proc{}", secret.display());
    judge_all(
        &scene,
        [&["read", "absolute"], &["read", "relative"], &["read", "directory/id_ed25519"], &["read", &by_proc]]
            .map(|words| Attack::new(words).canary(&scene.canary)),
    );
}

/// A repository may carry `.venv/bin/python` as a link to anywhere: an interpreter is brought in, other things are not.
#[test]
fn a_virtual_environment_in_a_project_brings_in_no_other_directory() {
    let scene = Scene::new();
    let other = scene.home.join("src/other");
    for (name, target) in [("bin/tool", "#!/bin/sh\n"), ("bin/python3", "#!/bin/sh\n"), ("notes", "x")] {
        fs::create_dir_all(other.join(name).parent().unwrap()).unwrap();
        fs::write(other.join(name), target).unwrap();
        fs::set_permissions(other.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let secret = other.join(".env").display().to_string();
    fs::create_dir_all(scene.project.join(".venv/bin")).unwrap();
    for target in ["../../../other/bin/tool", "../../../other/bin/python3", "../../../other/notes", "../../../other"] {
        let link = scene.project.join(".venv/bin/python");
        let _ = fs::remove_file(&link);
        symlink(target, &link).unwrap();
        judge_all(&scene, [Attack::new(&["read", &secret]).canary(&scene.canary)]);
    }
    // A script for an interpreter, whose line names a neighbour of the secret.
    let link = scene.project.join(".venv/bin/python");
    fs::remove_file(&link).unwrap();
    fs::write(&link, format!("#!{}/bin/tool\n", other.display())).unwrap();
    judge_all(&scene, [Attack::new(&["read", &secret]).canary(&scene.canary)]);
}

/// A link in PATH to a script of another project is everyday: the script comes in, the project does not.
#[test]
fn a_program_of_another_project_brings_in_no_neighbour() {
    let scene = Scene::new();
    let other = scene.home.join("src/other");
    let bin = scene.home.join(".local/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(other.join(".git")).unwrap();
    fs::create_dir_all(other.join("bin")).unwrap();
    for name in ["tool", "bin/packaged"] {
        fs::write(other.join(name), "#!/bin/sh\necho it runs\n").unwrap();
        fs::set_permissions(other.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        symlink(other.join(name), bin.join(Path::new(name).file_name().unwrap())).unwrap();
    }
    let secret = other.join(".env").display().to_string();
    let inside = |words: &[&str]| {
        let mut command = scene.coffer();
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).args(["run", "--"]).args(words);
        finish(command, b"")
    };
    for name in ["tool", "packaged"] {
        assert_eq!(inside(&[name]).out(), "it runs\n");
    }
    let got = inside(&["./hostile", "read", &secret]);
    assert!(got.out().contains("lost read") && !got.out().contains(&scene.canary), "{}", got.all());
    assert!(scene.attack_outside(&["read", &secret]).out().contains(&scene.canary));
}

#[test]
fn descriptors_of_the_caller_do_not_come_in() {
    let scene = Scene::new();
    let secret = scene.home.join(".ssh/id_ed25519");
    let open: String = (3..=20).map(|n| format!("exec {n}<{}; ", secret.display())).collect();
    // dash knows descriptors up to 9 only; bash knows all.
    let with_descriptors = |program: &Path, rest: &[&str]| {
        let mut command = scene.program("bash");
        command.arg("-c").arg(format!("{open} exec \"$@\"")).arg("bash").arg(program).args(rest);
        finish(command, b"")
    };
    let outside = with_descriptors(&scene.outside.join("hostile"), &["read-descriptors"]);
    assert_eq!(outside.out().matches(&scene.canary).count(), 18, "{}", outside.all());
    let inside =
        with_descriptors(Path::new(env!("CARGO_BIN_EXE_coffer")), &["run", "--", "./hostile", "read-descriptors"]);
    assert!(inside.out().contains("lost read-descriptors"), "{}", inside.all());
    assert!(!inside.out().contains(&scene.canary));
}

#[test]
fn a_hard_link_out_of_the_view_cannot_be_made() {
    let scene = Scene::new();
    let secret = scene.home.join("notes.txt").display().to_string();
    judge_all(&scene, [Attack::new(&["read-by-hard-link", &secret]).canary(&scene.canary)]);
}

#[test]
fn a_hard_link_from_before_shares_no_writes() {
    let scene = Scene::new();
    let outside_of_project = scene.home.join("linked.txt");
    fs::write(&outside_of_project, "first\n").unwrap();
    fs::hard_link(&outside_of_project, scene.project.join("linked.txt")).unwrap();
    assert!(scene.script("echo hostile > linked.txt; chmod 777 linked.txt").status.success());
    assert_eq!(fs::read_to_string(&outside_of_project).unwrap(), "first\n");
    let same = scene.attack_outside(&["append", &outside_of_project.display().to_string()]);
    assert!(same.status.success());
    assert!(fs::read_to_string(scene.project.join("linked.txt")).unwrap().contains("hostile"), "outside it does");
}

#[test]
fn the_real_tree_keeps_every_byte() {
    let scene = Scene::new();
    symlink("kept.txt", scene.project.join("link")).unwrap();
    let before = scene.tree();
    let destruction = "echo x >> kept.txt; rm doomed.txt; chmod 700 dir; touch -d 2001-01-01 dir/inner.txt; \
                       mv dir moved; mkdir dir; echo y > dir/inner.txt; ln -sf /etc/passwd link; rm -rf ./.[!.]*; \
                       truncate -s 1M hostile; mkfifo pipe; ls; test -e moved/inner.txt -o -e dir/inner.txt";
    let got = scene.script(destruction);
    assert!(got.status.success(), "{}", got.all());
    assert!(scene.tree() == before, "the real tree changed");
}

#[test]
fn nothing_outside_is_changed() {
    let scene = Scene::new();
    let victim = scene.home.join("notes.txt").display().to_string();
    let fresh = scene.home.join("fresh").display().to_string();
    judge_all(
        &scene,
        [Attack::new(&["append", &victim]), Attack::new(&["overwrite", &victim]), Attack::new(&["remove", &victim])],
    );
    // The home inside is another one: creating works there, and must not show outside.
    assert!(scene.attack_inside(&["create", &fresh]).status.success());
    assert!(!Path::new(&fresh).exists());
    assert!(scene.attack_outside(&["create", &fresh]).status.success());
    for place in
        ["/usr/hostile", "/etc/hostile", "/hostile", "/bin/hostile", "/opt/hostile", "/sys/hostile", "/var/hostile"]
    {
        let needs = if place.starts_with("/sys") { Needs::Unless("lost") } else { Needs::Root };
        // As root it would succeed outside; leaving files there is not this test's to do, so only the inside half runs.
        Attack::new(&["create", place]).needs(needs).judge_inside(&scene).unwrap();
        assert!(!Path::new(place).exists(), "{place}");
    }
    for file in ["/etc/passwd", "/usr/bin/env", "/run/coffer/README", "/run/coffer/bin/coffer", "/dev/mem", "/dev/vda"]
    {
        for way in ["append", "overwrite"] {
            Attack::new(&[way, file]).judge_inside(&scene).unwrap();
        }
    }
}

#[test]
fn a_core_dump_leaves_nothing_and_starts_no_handler_of_the_host() {
    let scene = Scene::new();
    judge_all(
        &scene,
        [
            Attack::new(&["lower-core-limit"]),
            // Where dumps are off, or a handler takes them, the outside half may fail.
            Attack::new(&["dump-core", &scene.canary]).needs(Needs::Unless("lost dump-core")),
        ],
    );
    let limit = scene.script("ulimit -c 0; ulimit -Sc; ulimit -Hc; grep core /proc/self/limits");
    assert!(limit.out().contains("core file size        1 "), "{}", limit.all());
}

#[test]
fn device_nodes_cannot_be_made() {
    let scene = Scene::new();
    for at in ["node", "/tmp/node", "/dev/node", "/dev/shm/node"] {
        let outside = ["make-device", "node"];
        judge_all(&scene, [Attack::new(&outside).inside(&["make-device", at]).needs(Needs::Root)]);
        let _ = fs::remove_file(scene.outside.join("node"));
    }
}

#[test]
fn two_runs_do_not_see_each_others_layers() {
    let scene = Scene::new();
    let word = unique("LEFT");
    assert!(
        scene
            .script(&format!("echo {word} > layered.txt; echo {word} > /tmp/t; echo {word} > /dev/shm/s"))
            .status
            .success()
    );
    let store = scene.state.join("cofferdam").display().to_string();
    judge_all(
        &scene,
        [Attack::new(&["hunt", &word, &store]).inside(&["hunt", &word, &store, ".", "/tmp", "/dev/shm", "/run"])],
    );
}

/// What an earlier run left in the persistent home must not bend where the next run's mounts go.
#[test]
fn a_home_with_planted_links_redirects_nothing() {
    let scene = Scene::new();
    let toolchain = scene.home.join(".pyenv/bin");
    fs::create_dir_all(&toolchain).unwrap();
    fs::write(toolchain.join("tool"), "#!/bin/sh\necho tool\n").unwrap();
    fs::set_permissions(toolchain.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let victim = scene.root().join("victim");
    fs::create_dir_all(&victim).unwrap();
    // The same agent name, `sh`, has the same home. A mount point cannot be moved; what lies above one can.
    let plant = format!(
        "cd ~ && mv src elsewhere; ln -s {v} src; ln -s {v} .cargo; ln -s / .npm; ln -s /proc/1/root .cache; ls -la",
        v = victim.display()
    );
    assert!(scene.script(&plant).status.success());
    let before = scene.tree();
    let after = scene.script("cat ~/.ssh/id_ed25519; echo changed > kept.txt; cat kept.txt");
    assert!(!after.out().contains(&scene.canary), "{}", after.all());
    assert!(fs::read_dir(&victim).unwrap().next().is_none(), "something was written outside");
    assert!(scene.tree() == before, "the real tree changed");
    assert!(after.out().contains("changed"), "the next run does not work: {}", after.all());
}

#[test]
fn the_environment_of_the_person_does_not_come_in() {
    let scene = Scene::new();
    let outside = finish(scene.program("env"), b"");
    assert!(outside.out().contains(&scene.canary));
    let inside = scene.run(&["env"]);
    assert!(inside.out().contains("COFFER_RUN="), "{}", inside.all());
    assert!(!inside.out().contains(&scene.canary), "{}", inside.all());
    assert!(!inside.out().contains("GITHUB_TOKEN"));
}
