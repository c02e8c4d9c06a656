//! The digests of executed programs, each file read once.
//!
//! A small program is read before the next event, a large one by a thread of its own. A file is known by device, inode,
//! size and times; digests of files that no enclosure can write are kept for the next run.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use cofferdam_core::change::Digest;
use cofferdam_core::{Timestamp, event::Executable};
use rustix::event::EventfdFlags;
use rustix::fs::{Stat, StatVfsMountFlags, fstat, fstatfs, fstatvfs};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Programs up to this size are read at once.
const INLINE: u64 = 8 << 20;
/// Programs above this size are not read: a sparse file could keep the reader busy for hours.
const MOST: u64 = 2 << 30;
/// Most large programs that wait to be read, each with its file open.
const QUEUE: usize = 32;
/// Most execs that one `process.image` each is written for.
const WAITING: usize = 64;
/// Most digests held, and kept for the next run.
const HELD: usize = 4096;
/// A file that changed later than this before it was read may change again without another time: its digest is not held.
const SETTLED: Duration = Duration::from_secs(2);
/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;

/// What a file is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key {
    device: u64,
    inode: u64,
    size: u64,
    modified: Timestamp,
    changed: Timestamp,
}

impl Key {
    fn of(stat: &Stat) -> Key {
        let time = |s: i64, ns: u64| Timestamp::from_parts(s, i64::try_from(ns).unwrap_or(0));
        Key {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size.unsigned_abs(),
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// What is known of a program at its exec.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its digest.
    Digest(Digest),
    /// It is being read; to be named in [`Images::awaited`].
    Later(Ticket),
    /// It cannot be read, or changed meanwhile.
    Nothing,
}

/// A program that is being read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ticket(Key);

/// A large program that has been read.
#[derive(Debug)]
pub(super) struct Image {
    /// The execs that wait for it.
    pub(super) execs: Vec<(u64, Executable)>,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Its digest, where it could be read.
    pub(super) digest: Option<Digest>,
    key: Key,
}

impl Image {
    /// Whether it is the one that was waited for.
    pub(super) fn is(&self, Ticket(key): &Ticket) -> bool {
        self.key == *key
    }
}

/// What came of reading a large program.
#[derive(Debug)]
struct Reading {
    key: Key,
    digest: Option<Digest>,
    /// Whether no enclosure can have written it.
    lasting: bool,
}

#[derive(Debug)]
struct Worker {
    jobs: Sender<(Key, File)>,
    done: Receiver<Reading>,
    news: OwnedFd,
}

/// The digests of one run.
#[derive(Debug)]
pub(super) struct Images {
    /// Where digests are kept for the next run.
    store: PathBuf,
    loaded: bool,
    held: HashMap<Key, Digest>,
    kept: HashMap<Key, Digest>,
    fresh: bool,
    worker: Option<Worker>,
    waiting: HashMap<Key, Vec<(u64, Executable)>>,
    dropped: u64,
}

impl Images {
    /// With the digests kept in this file, which need not exist.
    pub(super) fn new(store: PathBuf) -> Images {
        Images {
            store,
            loaded: false,
            held: HashMap::new(),
            kept: HashMap::new(),
            fresh: false,
            worker: None,
            waiting: HashMap::new(),
            dropped: 0,
        }
    }

    /// The digest of an open program.
    ///
    /// # Errors
    /// Where no thread can be had for a large one.
    pub(super) fn find(&mut self, file: File) -> io::Result<Found> {
        if !std::mem::replace(&mut self.loaded, true) {
            self.kept = load(&self.store);
        }
        let Ok(stat) = fstat(&file) else { return Ok(Found::Nothing) };
        let key = Key::of(&stat);
        if let Some(digest) = self.held.get(&key).or_else(|| self.kept.get(&key)) {
            return Ok(Found::Digest(*digest));
        }
        if self.waiting.contains_key(&key) {
            return Ok(Found::Later(Ticket(key)));
        }
        if key.size > INLINE {
            return self.enqueue(key, file);
        }
        let lasting = is_out_of_reach(&file);
        match hash(&file, key) {
            Some(digest) => {
                self.hold(key, digest, lasting);
                Ok(Found::Digest(digest))
            }
            None => Ok(Found::Nothing),
        }
    }

    fn enqueue(&mut self, key: Key, file: File) -> io::Result<Found> {
        if key.size > MOST || self.waiting.len() >= QUEUE {
            self.dropped += 1;
            return Ok(Found::Nothing);
        }
        let worker = match &mut self.worker {
            Some(worker) => worker,
            none => none.insert(start()?),
        };
        if worker.jobs.send((key, file)).is_err() {
            return Err(io::Error::other("the thread that reads programs has ended"));
        }
        self.waiting.insert(key, Vec::new());
        Ok(Found::Later(Ticket(key)))
    }

    /// The exec `seq` waits for a program.
    pub(super) fn awaited(&mut self, Ticket(key): Ticket, seq: u64, executable: Executable) {
        if let Some(execs) = self.waiting.get_mut(&key)
            && execs.len() < WAITING
        {
            execs.push((seq, executable));
        }
    }

    /// Becomes readable when there is something for [`Images::read`].
    pub(super) fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.worker.as_ref().map(|worker| worker.news.as_fd())
    }

    /// A large program that has been read meanwhile.
    pub(super) fn read(&mut self) -> Option<Image> {
        let worker = self.worker.as_ref()?;
        // An empty counter is no failure: another call was faster than its news.
        let _ = rustix::io::read(&worker.news, &mut [0u8; 8]);
        let reading = worker.done.try_recv().ok()?;
        Some(self.came(reading))
    }

    /// The next large program that is still being read, waiting for it until `deadline`.
    pub(super) fn await_next(&mut self, deadline: Instant) -> Option<Image> {
        if self.waiting.is_empty() {
            return None;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let reading = self.worker.as_ref()?.done.recv_timeout(left).ok()?;
        Some(self.came(reading))
    }

    fn came(&mut self, Reading { key, digest, lasting }: Reading) -> Image {
        let mut execs = self.waiting.remove(&key).unwrap_or_default();
        match digest {
            Some(digest) => self.hold(key, digest, lasting),
            None => self.dropped += 1,
        }
        for (_, executable) in &mut execs {
            executable.digest = digest;
        }
        Image { execs, size: key.size, digest, key }
    }

    /// Programs whose digest is missing although they could be opened.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped + self.waiting.len() as u64
    }

    fn hold(&mut self, key: Key, digest: Digest, lasting: bool) {
        if !is_settled(&key) {
            return;
        }
        let map = if lasting { &mut self.kept } else { &mut self.held };
        if map.len() >= HELD {
            map.clear();
        }
        map.insert(key, digest);
        self.fresh |= lasting;
    }

    /// Keeps for the next run what was read in this one.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub(super) fn keep(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.fresh) {
            return Ok(());
        }
        // What a run beside this one has written meanwhile stays.
        let mut all = load(&self.store);
        all.extend(&self.kept);
        let all: Vec<(&Key, &Digest)> = all.iter().take(HELD).collect();
        let new = self.store.with_extension(format!("{}.new", std::process::id()));
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(&all)?)?;
        std::fs::rename(&new, &self.store)
    }
}

/// What was kept. A file that cannot be read costs time, nothing else.
fn load(store: &PathBuf) -> HashMap<Key, Digest> {
    let text = std::fs::read(store).unwrap_or_default();
    serde_json::from_slice::<Vec<(Key, Digest)>>(&text).unwrap_or_default().into_iter().collect()
}

fn is_settled(key: &Key) -> bool {
    let last = key.changed.max(key.modified).parts();
    let now = Timestamp::now().parts();
    now.0.saturating_sub(last.0) > SETTLED.as_secs().cast_signed()
}

/// Whether no enclosure can have written a file, nor hold a mapping that writes to it unseen: it is executed from a mount
/// that is read-only there, or is root's and nobody else's to write; and no overlay lies between.
fn is_out_of_reach(file: &File) -> bool {
    let fixed = fstatvfs(file).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
    let of_root = || fstat(file).is_ok_and(|stat| stat.st_uid == 0 && stat.st_mode & 0o022 == 0);
    fstatfs(file).is_ok_and(|fs| fs.f_type != OVERLAYFS) && (fixed || of_root())
}

/// The digest of a file that is, before and after, what `key` says.
fn hash(mut file: &File, key: Key) -> Option<Digest> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0u8; 64 * 1024];
    let mut left = key.size;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        match file.read(&mut chunk[..room]) {
            Ok(0) => return None,
            Ok(got) => {
                hasher.update(&chunk[..got]);
                left -= got as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    let after = fstat(file).ok()?;
    (Key::of(&after) == key).then(|| Digest(hasher.finalize().into()))
}

fn start() -> io::Result<Worker> {
    let news = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let bell = news.try_clone()?;
    let (jobs, todo) = mpsc::channel::<(Key, File)>();
    let (tell, done) = mpsc::channel();
    std::thread::Builder::new().name("images".to_owned()).stack_size(256 * 1024).spawn(move || {
        cofferdam_sys::signals::block_all();
        for (key, file) in todo {
            // Fails where the monitor is gone, which is the end of this thread.
            let reading = Reading { key, digest: hash(&file, key), lasting: is_out_of_reach(&file) };
            if tell.send(reading).is_err() || rustix::io::write(&bell, &1u64.to_ne_bytes()).is_err() {
                return;
            }
        }
    })?;
    Ok(Worker { jobs, done, news })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(dir: &tempfile::TempDir) -> Images {
        Images::new(dir.path().join("executables.json"))
    }

    #[test]
    fn a_small_program_is_read_at_once_and_a_large_one_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut images = images(&dir);
        let (small, large) = (dir.path().join("small"), dir.path().join("large"));
        std::fs::write(&small, b"abc").unwrap();
        std::fs::write(&large, vec![7u8; usize::try_from(INLINE).unwrap() + 1]).unwrap();
        let digest = Digest(Sha256::digest(b"abc").into());
        assert_eq!(images.find(File::open(&small).unwrap()).unwrap(), Found::Digest(digest));
        for seq in [3, 4] {
            let Found::Later(ticket) = images.find(File::open(&large).unwrap()).unwrap() else {
                panic!("read at once")
            };
            images.awaited(ticket, seq, Executable::default());
        }
        let image = images.await_next(Instant::now() + Duration::from_secs(20)).unwrap();
        assert_eq!(image.execs.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3, 4]);
        let expected = Digest(Sha256::digest(vec![7u8; usize::try_from(INLINE).unwrap() + 1]).into());
        assert!(image.execs.iter().all(|(_, e)| e.digest == Some(expected)));
        assert_eq!(images.dropped(), 0);
        assert!(images.await_next(Instant::now()).is_none());
    }

    #[test]
    fn a_file_that_has_just_changed_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut images = images(&dir);
        let path = dir.path().join("program");
        for content in [b"one", b"two"] {
            std::fs::write(&path, content).unwrap();
            let expected = Digest(Sha256::digest(content).into());
            assert_eq!(images.find(File::open(&path).unwrap()).unwrap(), Found::Digest(expected));
        }
        assert!(images.held.is_empty());
        assert!(!images.fresh, "the person's own file is not kept for the next run");
    }

    #[test]
    fn a_program_of_the_system_is_kept_for_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = images(&dir);
        let Found::Digest(digest) = first.find(File::open("/bin/true").unwrap()).unwrap() else { panic!("unread") };
        if !first.fresh {
            return; // this host's root is an overlay itself
        }
        first.keep().unwrap();
        let mut second = images(&dir);
        assert_eq!(second.find(File::open("/bin/true").unwrap()).unwrap(), Found::Digest(digest));
        assert!(second.held.is_empty() && !second.fresh && second.kept.len() == 1, "it was not read again");
    }

    #[test]
    fn an_endless_program_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut images = images(&dir);
        let file = File::create(dir.path().join("sparse")).unwrap();
        file.set_len(MOST + 1).unwrap();
        assert_eq!(images.find(File::open(dir.path().join("sparse")).unwrap()).unwrap(), Found::Nothing);
        assert_eq!(images.dropped(), 1);
    }
}
