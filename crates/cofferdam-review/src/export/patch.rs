//! The final diff as a patch.

use std::io::{self, Write};

use cofferdam_core::change::Digest;
use cofferdam_workspace::diff::{Diff, PatchStyle};
use sha2::{Digest as _, Sha256};

/// Writes the patch: byte for byte what `coffer diff` prints into a file.
///
/// # Errors
/// Where `out` cannot be written.
pub fn write(diff: &Diff, out: &mut impl Write) -> io::Result<()> {
    diff.patch(&PatchStyle::default(), out)?;
    out.flush()
}

/// The SHA-256 of the patch.
///
/// # Errors
/// None that a digest could cause; the type is the writer's.
pub fn digest(diff: &Diff) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    write(diff, &mut hash)?;
    Ok(Digest(hash.finalize().into()))
}

/// How many files the patch only names, because they are binary or too large: it does not carry their content.
pub fn named_only(diff: &Diff) -> usize {
    diff.files.iter().filter(|file| file.binary || file.note.is_some()).count()
}
