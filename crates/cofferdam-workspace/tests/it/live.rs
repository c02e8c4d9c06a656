//! Single paths of a run that goes on: the answers must be those of a change set of the same moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cofferdam_core::change::{Change, Class, Entry, FileKind};
use cofferdam_core::event::is_same;
use cofferdam_core::{Bytes, Timestamp};
use cofferdam_workspace::{Capture, ChangeOptions, LARGEST_READ, Live, Look, Seen, change_set};
use rustix::fs::{CWD, FileType, Mode, RenameFlags};

use crate::support::{Node, Random, Tree, Workspace, content, opaque, tick, whiteout, write_tree, write_upper};

/// A run that begins on the real tree as it is.
fn begin(workspace: &Workspace) -> (Capture, Live) {
    workspace.begin();
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let layers = workspace.layers();
    let capture = Capture::start(&layers, Timestamp::from_parts(clock.tv_sec, clock.tv_nsec)).unwrap();
    tick();
    (capture, Live::new(&layers).unwrap())
}

fn look(live: &mut Live, path: &str) -> Look {
    live.begin_turn();
    live.look(&path.into(), None).unwrap()
}

fn seen(live: &mut Live, path: &str) -> Seen {
    match look(live, path) {
        Look::Seen(seen) => seen,
        other => panic!("{path}: {other:?}"),
    }
}

/// What a change set lists of a path, from a look at it: base and present, where they differ.
fn listed(live: &mut Live, path: &Bytes) -> Option<(Option<Entry>, Option<Entry>)> {
    let look = live.look(path, None).unwrap();
    let base = live.base(path).unwrap();
    let now = match look {
        Look::Hidden | Look::Base => return None,
        Look::Same | Look::Moving => panic!("{path:?}: {look:?}"),
        Look::Nothing if is_directory(base.as_ref()) && !live.shows(path, true) => return None,
        Look::Nothing => None,
        Look::Seen(seen) if base.is_none() && seen.entry.kind == FileKind::Directory && !seen.empty => None,
        Look::Seen(seen) => Some(seen.entry),
    };
    (!is_same(base.as_ref(), now.as_ref())).then_some((base, now))
}

fn is_directory(entry: Option<&Entry>) -> bool {
    entry.is_some_and(|entry| entry.kind == FileKind::Directory)
}

/// All paths below a directory, itself left out.
fn all_below(top: &Path) -> BTreeSet<Bytes> {
    let mut all = BTreeSet::new();
    let mut stack = vec![top.to_owned()];
    while let Some(path) = stack.pop() {
        if path != top {
            all.insert(Bytes::from(path.strip_prefix(top).unwrap()));
        }
        if path.symlink_metadata().unwrap().is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|found| found.unwrap().path()));
        }
    }
    all
}

fn tree(random: &mut Random) -> Tree {
    let names: &[&[u8]] = &[b"a", b"b", b"d", b"x.log", b"target", b"caf\xff"];
    let mut tree = Tree::new();
    for _ in 0..3 + random.below(25) {
        let depth = 1 + random.below(4);
        let path: Vec<&[u8]> = (0..depth).map(|_| *random.pick(names)).collect();
        let path = path.join(&b'/');
        let clash = (1..path.len()).filter(|at| path[*at] == b'/').any(|at| tree.contains_key(&path[..at]));
        if clash || tree.keys().any(|other| other.starts_with(&[&path[..], b"/"].concat())) {
            continue;
        }
        let node = match random.below(6) {
            0 => Node::Link(content(random).into_iter().filter(|b| *b != 0).take(40).chain([b'x']).collect()),
            _ => Node::File { content: content(random), executable: random.one_in(5) },
        };
        tree.insert(path, node);
    }
    tree.insert(
        b".gitignore".to_vec(),
        Node::File { content: b"*.log\ntarget/\n!/b/target/\n".to_vec(), executable: false },
    );
    tree
}

#[test]
fn looks_at_all_paths_amount_to_the_change_set() {
    let (mut compared, mut found) = (0, BTreeMap::<char, usize>::new());
    for seed in 1..=50 {
        let mut random = Random::new(seed);
        let (old, mut new) = (tree(&mut random), tree(&mut random));
        for (path, node) in &old {
            let clash = new.keys().any(|other| {
                other.starts_with(&[&path[..], b"/"].concat()) || path.starts_with(&[&other[..], b"/"].concat())
            });
            if random.below(3) > 0 && !clash {
                new.insert(path.clone(), node.clone());
            }
        }
        let workspace = Workspace::new();
        write_tree(&workspace.real(), &old);
        let (mut capture, mut live) = begin(&workspace);
        write_upper(&workspace.upper(), &old, &new, &mut random);
        live.take(&mut capture.rescan().unwrap());
        capture.finish().unwrap();

        let set = change_set(&workspace.layers(), &ChangeOptions { digests: true, excludes: None }).unwrap();
        assert_eq!(set.problems, []);
        let shown = |change: &&Change| !matches!(change.class, Class::Ignored | Class::GitMetadata);
        let expected: BTreeMap<_, _> = set
            .changes
            .iter()
            .filter(shown)
            .inspect(|change| *found.entry(change.status()).or_default() += 1)
            .map(|change| (change.path.clone(), (change.old.clone(), change.new.clone())))
            .collect();
        let mut paths = all_below(&workspace.real());
        paths.extend(all_below(&workspace.upper()));
        compared += paths.len();
        live.begin_turn();
        let got: BTreeMap<_, _> =
            paths.into_iter().filter_map(|path| listed(&mut live, &path).map(|sides| (path, sides))).collect();
        assert_eq!(got, expected, "seed {seed}");
    }
    assert!(compared > 500 && found.len() == 4, "{compared} paths, {found:?}");
}

#[test]
fn each_kind_of_entry_is_seen_for_what_it_is() {
    let workspace = Workspace::new();
    fs::write(workspace.real().join("f"), "base\n").unwrap();
    fs::write(workspace.real().join("gone"), "x").unwrap();
    let (mut capture, mut live) = begin(&workspace);
    let upper = workspace.upper();
    fs::write(upper.join("f"), "text\n").unwrap();
    fs::write(upper.join("binary"), b"a\0b").unwrap();
    fs::write(upper.join("late-nul"), [vec![b'x'; 9000], vec![0]].concat()).unwrap();
    fs::write(upper.join("long"), vec![b'x'; (256 << 10) + 1]).unwrap();
    fs::File::create(upper.join("huge")).unwrap().set_len(LARGEST_READ + 1).unwrap();
    symlink("/etc/passwd", upper.join("link")).unwrap();
    rustix::fs::mknodat(CWD, upper.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(upper.join("socket")).unwrap();
    fs::create_dir_all(upper.join("new/empty")).unwrap();
    fs::create_dir_all(upper.join(".git")).unwrap();
    fs::write(upper.join(".git/index"), "x").unwrap();
    whiteout(&upper.join("gone"));
    live.take(&mut capture.rescan().unwrap());

    let f = seen(&mut live, "f");
    assert_eq!(f.text.as_deref(), Some(&b"text\n"[..]));
    assert!(f.stable && f.entry.size == 5);
    assert_eq!(live.base(&"f".into()).unwrap().unwrap().size, 5);
    assert_eq!((seen(&mut live, "binary").text, seen(&mut live, "binary").entry.digest.is_some()), (None, true));
    assert!(seen(&mut live, "late-nul").text.is_some(), "git's bound");
    assert_eq!((seen(&mut live, "long").text, seen(&mut live, "long").entry.digest.is_some()), (None, true));
    assert_eq!((seen(&mut live, "huge").text, seen(&mut live, "huge").entry.digest), (None, None));
    let link = seen(&mut live, "link");
    assert_eq!((link.entry.kind, link.entry.size, link.text), (FileKind::Symlink, 11, None));
    assert_eq!(seen(&mut live, "fifo").entry.kind, FileKind::Fifo);
    assert_eq!(seen(&mut live, "socket").entry.kind, FileKind::Socket);
    assert!(!seen(&mut live, "new").empty && seen(&mut live, "new/empty").empty);
    assert_eq!(look(&mut live, "gone"), Look::Nothing);
    assert_eq!(look(&mut live, "never/was"), Look::Base);
    assert_eq!(look(&mut live, "fifo/below"), Look::Nothing);
    assert_eq!(look(&mut live, ".git/index"), Look::Hidden);
    assert_eq!(look(&mut live, "../outside"), Look::Hidden);
}

#[test]
fn a_stamp_spares_reading_and_never_hides_a_change() {
    let workspace = Workspace::new();
    let (mut capture, mut live) = begin(&workspace);
    let path = workspace.upper().join("f");
    for round in 0..200 {
        fs::write(&path, format!("{round:04}")).unwrap();
        live.take(&mut capture.rescan().unwrap());
        let one = seen(&mut live, "f");
        fs::write(&path, format!("{:04}", round + 5000)).unwrap();
        live.begin_turn();
        let other = live.look(&"f".into(), one.stamp).unwrap();
        assert!(matches!(other, Look::Seen(seen) if seen.text == Some(format!("{:04}", round + 5000).into())));
    }
    std::thread::sleep(Duration::from_millis(60));
    let rested = seen(&mut live, "f");
    assert!(rested.stamp.is_some());
    live.begin_turn();
    assert_eq!(live.look(&"f".into(), rested.stamp).unwrap(), Look::Same);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    live.begin_turn();
    assert!(matches!(live.look(&"f".into(), rested.stamp).unwrap(), Look::Seen(_)));
}

#[test]
fn rules_follow_the_files_that_make_them() {
    let workspace = Workspace::new();
    fs::write(workspace.real().join(".gitignore"), "*.log\n").unwrap();
    let (mut capture, mut live) = begin(&workspace);
    let upper = workspace.upper();
    fs::create_dir_all(upper.join("node_modules/m")).unwrap();
    for name in ["a.log", "b.tmp", "node_modules/m/i.js"] {
        fs::write(upper.join(name), "x").unwrap();
    }
    live.take(&mut capture.rescan().unwrap());
    assert_eq!(look(&mut live, "a.log"), Look::Hidden);
    assert_eq!(look(&mut live, "node_modules/m/i.js"), Look::Hidden);
    seen(&mut live, "b.tmp");
    fs::write(upper.join(".gitignore"), "*.tmp\n").unwrap();
    live.take(&mut capture.rescan().unwrap());
    seen(&mut live, "a.log");
    assert_eq!(look(&mut live, "b.tmp"), Look::Hidden);
    whiteout_over(&upper.join(".gitignore"));
    live.take(&mut capture.rescan().unwrap());
    seen(&mut live, "b.tmp");
}

fn whiteout_over(path: &Path) {
    fs::remove_file(path).unwrap();
    whiteout(path);
}

#[test]
fn what_goes_with_a_directory_is_named_without_what_does_not_count() {
    let workspace = Workspace::new();
    let real = workspace.real();
    fs::create_dir_all(real.join("d/e")).unwrap();
    fs::create_dir_all(real.join("d/node_modules/m")).unwrap();
    for name in ["d/f", "d/e/g", "d/e/h.log", "d/node_modules/m/x", ".gitignore"] {
        fs::write(real.join(name), "*.log\n").unwrap();
    }
    let (mut capture, mut live) = begin(&workspace);
    opaque(&workspace.upper().join("d"));
    live.take(&mut capture.rescan().unwrap());
    assert!(seen(&mut live, "d").hides);
    let below = |live: &mut Live, most| live.below(&"d".into(), most).into_iter().collect::<BTreeSet<_>>();
    let expected: BTreeSet<Bytes> = ["d/e", "d/e/g", "d/f", "d/node_modules"].map(Bytes::from).into();
    assert_eq!(below(&mut live, 100), expected);
    assert_eq!(below(&mut live, 2).len(), 2);
}

#[test]
fn directories_that_swap_with_links_never_lead_outside() {
    let workspace = Workspace::new();
    let outside = workspace.directory.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("f"), "canary\n").unwrap();
    fs::write(outside.join(".gitignore"), "canary\n").unwrap();
    let (mut capture, mut live) = begin(&workspace);
    let upper = workspace.upper();
    fs::create_dir_all(upper.join("top/kept")).unwrap();
    fs::write(upper.join("top/kept/f"), "inside\n").unwrap();
    symlink(&outside, upper.join("top/link")).unwrap();
    live.take(&mut capture.rescan().unwrap());
    let done = AtomicBool::new(false);
    let (mut inside, mut refused, mut strange) = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (one, other) = (upper.join("top/kept"), upper.join("top/link"));
                rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..20_000 {
            for path in ["top/kept/f", "top/link/f", "top/kept", "top/link"] {
                live.begin_turn();
                match live.look(&path.into(), None) {
                    Ok(Look::Seen(seen)) if path.ends_with('f') => {
                        inside += 1;
                        strange += u32::from(seen.text.as_deref() != Some(&b"inside\n"[..]));
                    }
                    Ok(Look::Seen(seen)) => strange += u32::from(seen.entry.kind == FileKind::File),
                    Ok(_) | Err(_) => refused += 1,
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(strange, 0, "of {inside} that were found");
    assert!(inside > 0 && refused > 0, "the race never ran: {inside} inside, {refused} refused");
}

#[test]
fn a_file_that_grows_all_the_time_is_answered_at_once() {
    let workspace = Workspace::new();
    let (mut capture, mut live) = begin(&workspace);
    let path = workspace.upper().join("grows");
    fs::write(&path, "x").unwrap();
    live.take(&mut capture.rescan().unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::Write;
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            while !done.load(Ordering::Relaxed) {
                file.write_all(&[b'y'; 4096]).unwrap();
                if file.metadata().unwrap().len() > 4 << 20 {
                    file.set_len(0).unwrap();
                }
            }
        });
        // What a failed look says is asserted when the writer has ended: it would be waited for otherwise.
        let (mut looks, mut longest, began) = (Vec::new(), Duration::ZERO, Instant::now());
        while looks.iter().filter(|seen: &&Option<Seen>| seen.as_ref().is_some_and(|s| !s.stable)).count() < 20
            && began.elapsed() < Duration::from_secs(20)
        {
            let begun = Instant::now();
            live.begin_turn();
            looks.push(match live.look(&"grows".into(), None) {
                Ok(Look::Seen(seen)) => Some(seen),
                _ => None,
            });
            longest = longest.max(begun.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        assert!(longest < Duration::from_secs(5), "{longest:?}");
        assert!(looks.iter().all(Option::is_some), "a look found nothing");
        let unstable: Vec<Seen> = looks.into_iter().flatten().filter(|seen| !seen.stable).collect();
        assert!(!unstable.is_empty(), "it never grew");
        assert!(unstable.iter().all(|seen| seen.stamp.is_none()));
    });
}
