//! The key that signs checkpoints, in the text forms of [C2SP signed-note](https://c2sp.org/signed-note).

use std::fmt;
use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::SigningKey;
use rustix::fs::{AtFlags, OFlags, fstat, linkat, unlinkat};
use signed_note::{Note, Signer, StandardSigner, StandardVerifier, VerifierList};
use zeroize::Zeroizing;

use crate::files::{Directory, is_not_found, read_bounded, unique_name};
use crate::{Error, Result};

/// The key name in every signature line. One name for all runs, so that a person's key has one text.
pub const KEY_NAME: &str = "cofferdam.dev/recorder";

const FILE: &str = "recorder.key";
/// The signature algorithm byte of Ed25519 in signed-note.
const ED25519: u8 = 1;
/// Most bytes of a key's text.
pub(crate) const MAX_KEY: u64 = 1024;

/// The private key of a person's recorder.
#[derive(Clone)]
pub struct RecorderKey {
    signer: StandardSigner,
    vkey: String,
}

impl fmt::Debug for RecorderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecorderKey").field("vkey", &self.vkey).finish_non_exhaustive()
    }
}

impl RecorderKey {
    /// Reads `dir/recorder.key`, and makes it (0600, in a directory of 0700) where it is missing.
    ///
    /// The file holds one line, `PRIVATE+KEY+<name>+<key id>+<base64(0x01 ‖ seed)>`: the encoding of Go's
    /// `golang.org/x/mod/sumdb/note`. It appears whole or not at all: of two processes that make it at once, both
    /// get the same key.
    ///
    /// # Errors
    /// [`Error::KeyMode`] or [`Error::KeyOwner`] where others can reach the key, [`Error::KeyFormat`] where the file
    /// is no key, [`Error::Io`] and [`Error::Random`].
    pub fn load_or_create(dir: &Path) -> Result<Self> {
        let dir = Directory::create(dir)?;
        private(&dir.fd, &dir.path, 0o700)?;
        match load(&dir) {
            Err(e) if is_not_found(&e) => {}
            other => return other,
        }
        let text = generate()?;
        let temporary = unique_name(".recorder.key-")?;
        let path = dir.path.join(&temporary);
        let mut file = dir.create_file(&temporary)?;
        // A key lost to a power failure would leave runs that nobody can go on with, so this one file is synced.
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| match linkat(&dir.fd, &temporary, &dir.fd, FILE, AtFlags::empty()) {
                // Another process was first: its key is the key.
                Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(rustix::fs::fsync(&dir.fd)?),
                Err(e) => Err(e.into()),
            })
            .map_err(Error::io("write", &path));
        unlinkat(&dir.fd, &temporary, AtFlags::empty()).map_err(|e| Error::io("remove", &path)(e.into()))?;
        written?;
        load(&dir)
    }

    /// A key in memory alone.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn generate() -> Result<Self> {
        Self::parse(&generate()?, "the new key")
    }

    /// The public key as a note verifier key: `<name>+<key id>+<base64(0x01 ‖ public key)>`.
    pub fn vkey(&self) -> &str {
        &self.vkey
    }

    /// Signs a note's text.
    pub(crate) fn sign(&self, text: &str) -> Result<Vec<u8>> {
        let mut note = Note::new(text.as_bytes(), &[]).map_err(|e| Error::Sign(e.to_string()))?;
        note.add_sigs(&[&self.signer]).map_err(|e| Error::Sign(e.to_string()))?;
        Ok(note.to_bytes())
    }

    /// The Ed25519 signature of some bytes. Whoever calls it makes sure that they cannot be read as a note's text.
    pub(crate) fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.signer.sign(message).map_err(|e| Error::Sign(e.to_string()))
    }

    fn parse(text: &str, place: &str) -> Result<Self> {
        let wrong = |detail: String| Error::KeyFormat { place: place.to_owned(), detail };
        let text = text.strip_suffix('\n').unwrap_or(text);
        let signer = StandardSigner::new(text).map_err(|e| wrong(e.to_string()))?;
        // The name may not hold a `+`, the base64 may: so the key is what follows the fourth.
        let encoded = text.splitn(5, '+').nth(4).unwrap_or_default();
        let raw = Zeroizing::new(BASE64_STANDARD.decode(encoded).map_err(|e| wrong(e.to_string()))?);
        let seed: &[u8; 32] =
            raw.get(1..).and_then(|s| s.try_into().ok()).ok_or_else(|| wrong("the seed is not of 32 bytes".into()))?;
        let public = SigningKey::from_bytes(seed).verifying_key();
        let name = text.split('+').nth(2).unwrap_or_default();
        Ok(RecorderKey { signer, vkey: signed_note::new_ed25519_verifier_key(name, &public) })
    }
}

fn generate() -> Result<Zeroizing<String>> {
    let mut raw = Zeroizing::new([0u8; 33]);
    raw[0] = ED25519;
    crate::files::fill_random(&mut raw[1..])?;
    let mut seed = Zeroizing::new([0u8; 32]);
    seed.copy_from_slice(&raw[1..]);
    let public = SigningKey::from_bytes(&seed).verifying_key();
    let id = signed_note::key_id(KEY_NAME, &[&[ED25519], public.as_bytes().as_slice()].concat());
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(raw.as_slice()));
    Ok(Zeroizing::new(format!("PRIVATE+KEY+{KEY_NAME}+{id:08x}+{}\n", encoded.as_str())))
}

fn load(dir: &Directory) -> Result<RecorderKey> {
    let path = dir.path.join(FILE);
    let file = dir.open_file(FILE, OFlags::RDONLY)?;
    private(&file, &path, 0o600)?;
    let raw = Zeroizing::new(read_bounded(file, &path, MAX_KEY)?);
    let place = format!("`{}`", path.display());
    let text = std::str::from_utf8(&raw)
        .map_err(|_| Error::KeyFormat { place: place.clone(), detail: "it is not text".into() })?;
    RecorderKey::parse(text, &place)
}

fn private(file: impl std::os::fd::AsFd, path: &Path, wanted: u32) -> Result<()> {
    let stat = fstat(file).map_err(|e| Error::io("stat", path)(e.into()))?;
    let user = rustix::process::geteuid().as_raw();
    if stat.st_uid != user {
        return Err(Error::KeyOwner { path: path.to_owned(), owner: stat.st_uid, user });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::KeyMode { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

/// A public key that checkpoints are verified with.
pub struct VerifierKey {
    text: String,
    material: Vec<u8>,
    known: VerifierList,
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifierKey").field(&self.text).finish()
    }
}

impl VerifierKey {
    /// Reads a note verifier key; `place` says in messages where it came from.
    ///
    /// # Errors
    /// [`Error::KeyFormat`].
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let wrong = |detail: String| Error::KeyFormat { place: place.to_owned(), detail };
        let text = text.trim_end_matches('\n');
        let verifier = StandardVerifier::new(text).map_err(|e| wrong(e.to_string()))?;
        let encoded = text.splitn(3, '+').nth(2).unwrap_or_default();
        let material = BASE64_STANDARD.decode(encoded).map_err(|e| wrong(e.to_string()))?;
        Ok(VerifierKey { text: text.to_owned(), material, known: VerifierList::new(vec![Box::new(verifier)]) })
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether both are the same public key.
    pub fn same_key(&self, other: &VerifierKey) -> bool {
        self.material == other.material
    }

    /// Whether this key signed the note; otherwise why not.
    pub(crate) fn check(&self, note: &Note) -> std::result::Result<(), String> {
        note.verify(&self.known).map(drop).map_err(|e| e.to_string())
    }
}
