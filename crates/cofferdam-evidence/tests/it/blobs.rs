use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use cofferdam_core::change::Digest;
use cofferdam_core::event::BlobRef;
use cofferdam_evidence::{BlobStore, Error};
use sha2::{Digest as _, Sha256};

fn store() -> (tempfile::TempDir, BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    (dir, store)
}

fn content(store: &BlobStore, blob: &BlobRef) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    store.get(blob).unwrap().read_to_end(&mut out)?;
    Ok(out)
}

/// Where the salt of a blob is documented to be: at the start of its own file, or behind its digest and length in a pack.
fn salt(evidence: &Path, blob: &BlobRef) -> [u8; 32] {
    let name = blob.digest.to_string();
    let file = fs::read(evidence.join("blobs").join(&name[..2]).join(&name)).unwrap_or_else(|_| {
        let packs = fs::read_dir(evidence.join("blobs")).unwrap().map(|entry| entry.unwrap().path());
        let pack = packs.filter(|path| path.is_file()).map(|path| fs::read(path).unwrap()).next().unwrap();
        let at = pack.windows(32).position(|digest| digest == blob.digest.0).unwrap();
        pack[at + 36..].to_vec()
    });
    file[..32].try_into().unwrap()
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(step).collect()
}

#[test]
fn contents_of_every_size_come_back() {
    let (dir, store) = store();
    for len in [0, 1, 31, 32, 33, 65_536, 131_072, 300_001] {
        for content_in in [noise(len), vec![b'a'; len]] {
            let blob = store.put(&content_in[..]).unwrap();
            assert_eq!(blob.size, len as u64);
            assert_eq!(content(&store, &blob).unwrap(), content_in);
            store.sync(&blob).unwrap();
            let documented = Sha256::new().chain_update(salt(dir.path(), &blob)).chain_update(&content_in).finalize();
            assert_eq!(blob.digest, Digest(documented.into()));
        }
    }
    let (one, two) = (store.put(&b"same"[..]).unwrap(), store.put(&b"same"[..]).unwrap());
    assert_ne!(one.digest, two.digest, "the salt keeps equal contents apart");
}

#[test]
fn a_blob_never_gives_more_than_its_size() {
    let (dir, store) = store();
    let blob = store.put(std::io::repeat(0).take(50 << 20)).unwrap();
    let name = blob.digest.to_string();
    let path = dir.path().join("blobs").join(&name[..2]).join(&name);
    assert!(fs::metadata(path).unwrap().len() < 1 << 20, "a small file that grows large");
    for claimed in [0, 10, 4096] {
        let mut out = Vec::new();
        let e = store.get(&BlobRef { size: claimed, ..blob.clone() }).unwrap().read_to_end(&mut out).unwrap_err();
        assert_eq!(e.kind(), std::io::ErrorKind::InvalidData);
        assert!(out.len() as u64 <= claimed, "{claimed}: {}", out.len());
    }
    assert!(content(&store, &BlobRef { size: (50 << 20) + 1, ..blob }).is_err(), "and never less without an error");
}

#[test]
fn a_missing_blob_is_told_from_a_removed_one() {
    let (_dir, store) = store();
    let never = BlobRef { digest: Digest([1; 32]), size: 1 };
    assert!(matches!(store.get(&never), Err(Error::BlobMissing { removed: false, .. })));
    assert!(matches!(store.remove(&never, "no"), Err(Error::BlobMissing { .. })));
    let blob = store.put(&b"secret"[..]).unwrap();
    store.remove(&blob, "held a secret").unwrap();
    assert!(matches!(store.get(&blob), Err(Error::BlobMissing { removed: true, .. })));
}

#[test]
fn short_blobs_share_a_file_that_readers_follow() {
    let (dir, store) = store();
    let reader = BlobStore::open(dir.path()).unwrap();
    for n in 0..1000 {
        let text = format!("output {n}");
        let blob = store.put(text.as_bytes()).unwrap();
        assert_eq!(content(&reader, &blob).unwrap(), text.as_bytes(), "a reader of a run that goes on");
    }
    assert_eq!(fs::read_dir(dir.path().join("blobs")).unwrap().count(), 1);
}

#[test]
fn what_a_dead_writer_left_is_salvaged() {
    let (dir, store) = store();
    let mut live = store.writer().unwrap();
    live.write_all(b"still going on").unwrap();
    live.flush().unwrap();
    let mut dead = store.writer().unwrap();
    dead.write_all(b"flushed before the end, ").unwrap();
    dead.flush().unwrap();
    dead.write_all(b"lost in memory").unwrap();
    // A killed process closes its descriptors and writes nothing more: the encoder is dropped unfinished.
    drop(dead);
    drop(store.writer().unwrap());

    let salvaged = store.salvage().unwrap();
    assert_eq!(salvaged.len(), 1, "{salvaged:?}");
    assert!(!salvaged[0].complete);
    assert_eq!(content(&store, &salvaged[0].blob).unwrap(), b"flushed before the end, ");
    assert_eq!(store.salvage().unwrap(), []);
    let blob = live.finish().unwrap();
    assert_eq!(content(&store, &blob).unwrap(), b"still going on");
    let partial = |e: &fs::DirEntry| e.file_name().to_string_lossy().starts_with("partial-");
    assert_eq!(fs::read_dir(dir.path().join("blobs")).unwrap().filter(|e| partial(e.as_ref().unwrap())).count(), 0);
}
