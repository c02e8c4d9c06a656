//! What is noted of a body: its length, its digest, and what of it is kept.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;

use cofferdam_core::change::Digest;
use cofferdam_core::event;
use cofferdam_policy::rule::Record;
use rustix::fs::{MemfdFlags, SealFlags};
use sha2::{Digest as _, Sha256};

use crate::wire::MOST_KEPT;

/// What `record = "head"` keeps of a body, in bytes.
const HEAD: usize = 64 * 1024;

/// Of one body.
#[derive(Debug)]
pub(crate) struct Meter {
    bytes: Cell<u64>,
    digest: RefCell<Sha256>,
    whole: Cell<bool>,
    most: usize,
    kept: RefCell<Option<OwnedFd>>,
}

impl Meter {
    /// Keeps as much as a rule says.
    pub(crate) fn new(record: Record) -> Meter {
        let most = match record {
            Record::Digest => 0,
            Record::Head => HEAD,
            Record::Full => MOST_KEPT,
        };
        let digest = RefCell::new(Sha256::new());
        Meter { bytes: Cell::new(0), digest, whole: Cell::new(false), most, kept: RefCell::new(None) }
    }

    /// A piece of it.
    ///
    /// # Errors
    /// Where what is to be kept cannot be.
    pub(crate) fn piece(&self, bytes: &[u8]) -> io::Result<()> {
        let before = self.bytes.replace(self.bytes.get() + bytes.len() as u64);
        self.digest.borrow_mut().update(bytes);
        let room = usize::try_from(before).map_or(0, |before| self.most.saturating_sub(before));
        let mut rest = &bytes[..bytes.len().min(room)];
        if rest.is_empty() {
            return Ok(());
        }
        let mut kept = self.kept.borrow_mut();
        if kept.is_none() {
            *kept = Some(create()?);
        }
        while let (Some(file), false) = (&*kept, rest.is_empty()) {
            rest = &rest[rustix::io::write(file, rest)?..];
        }
        Ok(())
    }

    /// Bytes that are counted only, of a connection that became something else.
    pub(crate) fn count(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// All of it was seen.
    pub(crate) fn end(&self) {
        self.whole.set(true);
    }

    /// Whether all of it was seen.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.get()
    }

    /// For the event.
    pub(crate) fn body(&self) -> event::Body {
        let digest = self.whole.get().then(|| Digest(self.digest.borrow().clone().finalize().into()));
        event::Body { bytes: self.bytes.get(), digest, kept: None }
    }

    /// What is kept, sealed.
    ///
    /// # Errors
    /// Those of sealing it.
    pub(crate) fn kept(&self) -> io::Result<Option<OwnedFd>> {
        let Some(file) = self.kept.borrow_mut().take() else { return Ok(None) };
        seal(&file)?;
        Ok(Some(file))
    }
}

/// A text as a sealed memory file.
///
/// # Errors
/// Those of making, writing and sealing it.
pub(crate) fn memory(mut text: &[u8]) -> io::Result<OwnedFd> {
    let file = create()?;
    while !text.is_empty() {
        text = &text[rustix::io::write(&file, text)?..];
    }
    seal(&file)?;
    Ok(file)
}

fn create() -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create("coffer-body", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

fn seal(file: &OwnedFd) -> io::Result<()> {
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    Ok(rustix::fs::fcntl_add_seals(file, seals)?)
}
