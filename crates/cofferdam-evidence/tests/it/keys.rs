use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Barrier;

use cofferdam_evidence::{Error, KEY_NAME, RecorderKey, VerifierKey};

#[test]
fn a_key_is_made_once_and_private() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("keys");
    let key = RecorderKey::load_or_create(&dir).unwrap();
    assert_eq!(RecorderKey::load_or_create(&dir).unwrap().vkey(), key.vkey());
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(dir.join("recorder.key")).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "no temporary file stays");
    let text = fs::read_to_string(dir.join("recorder.key")).unwrap();
    assert!(text.starts_with(&format!("PRIVATE+KEY+{KEY_NAME}+")), "the documented form");
    assert!(!format!("{key:?}").contains(text.trim().splitn(5, '+').last().unwrap()), "no secret in messages");
    assert!(key.vkey().starts_with(&format!("{KEY_NAME}+")));
}

#[test]
fn two_at_once_get_the_same_key() {
    for _ in 0..20 {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("keys");
        let barrier = Barrier::new(4);
        let keys: Vec<String> = std::thread::scope(|scope| {
            let make = || {
                barrier.wait();
                RecorderKey::load_or_create(&dir).unwrap().vkey().to_owned()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|k| *k == keys[0]), "{keys:?}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }
}

#[test]
fn a_key_that_others_can_reach_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("keys");
    RecorderKey::load_or_create(&dir).unwrap();
    let file = dir.join("recorder.key");
    for (path, mode, good) in [(&file, 0o640, 0o600), (&file, 0o604, 0o600), (&dir, 0o750, 0o700), (&dir, 0o701, 0o700)]
    {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        match RecorderKey::load_or_create(&dir) {
            Err(Error::KeyMode { path: named, mode: found, wanted }) => {
                assert_eq!((&named, found, wanted), (path, mode, good));
            }
            other => panic!("{other:?}"),
        }
        fs::set_permissions(path, fs::Permissions::from_mode(good)).unwrap();
    }
    RecorderKey::load_or_create(&dir).unwrap();
}

#[test]
fn what_is_no_key_is_refused_and_kept() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("keys");
    RecorderKey::load_or_create(&dir).unwrap();
    let file = dir.join("recorder.key");
    let good = fs::read_to_string(&file).unwrap();
    for bad in [String::new(), "secret\n".into(), good.replace("recorder+", "other+"), good[..good.len() - 8].into()] {
        fs::write(&file, &bad).unwrap();
        assert!(matches!(RecorderKey::load_or_create(&dir), Err(Error::KeyFormat { .. })), "{bad}");
        assert_eq!(fs::read_to_string(&file).unwrap(), bad, "never replaced by itself");
    }
    fs::write(&file, "x".repeat(5000)).unwrap();
    assert!(matches!(RecorderKey::load_or_create(&dir), Err(Error::TooLarge { .. })));
    fs::remove_file(&file).unwrap();
    fs::write(temporary.path().join("elsewhere"), &good).unwrap();
    symlink(temporary.path().join("elsewhere"), &file).unwrap();
    assert!(RecorderKey::load_or_create(&dir).is_err(), "a link is not followed");
}

#[test]
fn verifier_keys_read_or_not() {
    let key = RecorderKey::generate().unwrap();
    let parsed = VerifierKey::parse(&format!("{}\n", key.vkey()), "test").unwrap();
    assert!(parsed.same_key(&VerifierKey::parse(key.vkey(), "test").unwrap()));
    assert!(!parsed.same_key(&VerifierKey::parse(RecorderKey::generate().unwrap().vkey(), "test").unwrap()));
    for bad in ["", "a+b+c", &key.vkey()[1..], &key.vkey().replace("recorder", "recorded")] {
        assert!(matches!(VerifierKey::parse(bad, "test"), Err(Error::KeyFormat { .. })), "{bad}");
    }
}
