//! Verifying the evidence of a run.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use rustix::fs::OFlags;

use crate::audit::{Audit, Sources};
use crate::blob::Presence;
use crate::files::{Directory, is_not_found};
use crate::key::MAX_KEY;
use crate::log::{CHECKPOINTS, KEY, LOG};
use crate::skeleton::Skeleton;
use crate::{BlobCount, BlobStore, Check, Error, Fault, Options, Report, Result, SignedBy, State, VerifierKey};

/// Verifies an evidence directory, or the one that holds the given log file.
///
/// Checks the tree against every checkpoint, the signatures, the order of the events, and the blobs that they name.
/// The first fault ends it; it is in [`Report::state`].
///
/// # Errors
/// [`Error::Io`] and [`Error::NotRegular`] where something cannot be read at all.
pub fn verify(path: &Path, options: &Options<'_>) -> Result<Report> {
    let metadata = std::fs::metadata(path).map_err(Error::io("stat", path))?;
    let dir = match path.parent() {
        Some(parent) if !metadata.is_dir() => {
            if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            }
        }
        _ => path,
    };
    let blobs = BlobStore::open(dir)?;
    let dir = Directory::open(dir)?;
    let log = dir.open_file(LOG, OFlags::RDONLY)?;
    let length = log.metadata().map_err(Error::io("stat", dir.path.join(LOG)))?.len();

    let claimed = claimed_key(&dir)?;
    let (key, signed_by) = match (options.trusted, &claimed) {
        (Some(trusted), Ok(claimed)) if !trusted.same_key(claimed) => {
            let detail = format!("the run claims the key {}, and {} is trusted", claimed.as_str(), trusted.as_str());
            let signed_by = SignedBy::Claimed(claimed.as_str().to_owned());
            return Ok(unreadable(signed_by, Check::Key, length, detail));
        }
        (Some(trusted), Ok(_)) => (trusted, SignedBy::Trusted(trusted.as_str().to_owned())),
        (None, Ok(claimed)) => (claimed, SignedBy::Claimed(claimed.as_str().to_owned())),
        (_, Err(detail)) => return Ok(unreadable(SignedBy::Nobody, Check::Key, length, detail.clone())),
    };
    let checkpoints = match dir.open_file(CHECKPOINTS, OFlags::RDONLY) {
        Ok(file) => file,
        Err(e) if is_not_found(&e) => {
            return Ok(unreadable(signed_by, Check::Unsigned, length, "there is no file `checkpoints`".into()));
        }
        Err(e) => return Err(e),
    };

    let mut examination = Examination { store: &blobs, options, seen: HashSet::new(), count: BlobCount::default() };
    let sources = Sources {
        log: &log,
        log_path: &dir.path.join(LOG),
        checkpoints: &checkpoints,
        checkpoints_path: &dir.path.join(CHECKPOINTS),
    };
    let audit = Audit::run(&sources, key, options.witness, &mut |event, at| examination.event(event, at))?;
    Ok(report(audit, signed_by, examination.count))
}

/// The blobs and the identity of the run, event by event.
struct Examination<'a> {
    store: &'a BlobStore,
    options: &'a Options<'a>,
    seen: HashSet<cofferdam_core::event::BlobRef>,
    count: BlobCount,
}

impl Examination<'_> {
    fn event(&mut self, event: &Skeleton<'_>, at: Range<u64>) -> Result<Option<Fault>> {
        let fault = |check, detail| Some(Fault { check, range: at.clone(), seq: Some(event.seq), detail });
        if event.seq == 0
            && let Some(expected) = self.options.run
            && event.run().as_deref() != Ok(expected.as_str())
        {
            return Ok(fault(Check::Origin, format!("the evidence is of another run than {expected}")));
        }
        let named = match event.blobs() {
            Ok(named) => named,
            Err(detail) => return Ok(fault(Check::Line, format!("event {}: {detail}", event.seq))),
        };
        for blob in named {
            if !self.seen.insert(blob.clone()) {
                continue;
            }
            match self.store.examine(&blob, self.options.blobs)? {
                Presence::Present => self.count.present += 1,
                Presence::Removed => self.count.removed.push(blob),
                Presence::Missing => self.count.missing.push(blob),
                Presence::Altered(detail) => {
                    return Ok(fault(Check::Blob, format!("event {} names a blob: {detail}", event.seq)));
                }
            }
        }
        Ok(None)
    }
}

/// The key that stands in the run; the inner error says why there is none to use.
fn claimed_key(dir: &Directory) -> Result<std::result::Result<VerifierKey, String>> {
    let raw = match dir.read_small(KEY, MAX_KEY) {
        Ok(raw) => raw,
        Err(e) if is_not_found(&e) => return Ok(Err("there is no file `key`".into())),
        Err(e @ Error::TooLarge { .. }) => return Ok(Err(e.to_string())),
        Err(e) => return Err(e),
    };
    let Ok(text) = std::str::from_utf8(&raw) else { return Ok(Err("the file `key` is not text".into())) };
    Ok(VerifierKey::parse(text, "the file `key`").map_err(|e| e.to_string()))
}

/// A report of evidence that nothing could be checked of.
fn unreadable(signed_by: SignedBy, check: Check, length: u64, detail: String) -> Report {
    let fault = Fault { check, range: 0..length, seq: None, detail };
    report(Audit { fault: Some(fault), ..Audit::default() }, signed_by, BlobCount::default())
}

fn report(audit: Audit, signed_by: SignedBy, blobs: BlobCount) -> Report {
    let signed = audit.signed.map_or(0, |commitment| commitment.size);
    let ended = audit.ended.is_some_and(|seq| seq < signed);
    let whole = ended && signed == audit.tree.size() && audit.torn == 0 && audit.torn_note == 0;
    Report {
        state: match audit.fault {
            Some(fault) => State::Tampered(fault),
            None if whole => State::Verified,
            None => State::Cut,
        },
        signed_by,
        run: audit.run,
        events: audit.tree.size(),
        signed,
        commitment: audit.signed,
        checkpoints: audit.checkpoints,
        ended,
        torn: audit.torn,
        torn_checkpoint: audit.torn_note,
        statement: audit.statement,
        clock: audit.clock,
        blobs,
    }
}
