//! Proving that one event is in a signed log, without the rest of it.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cofferdam_core::change::Digest;
use ct_merkle::{InclusionProof, RootHash, indices_for_inclusion_proof};
use rustix::fs::OFlags;
use sha2::Sha256;

use crate::checkpoint_file::{CheckpointFile, NextNote, Signed};
use crate::files::Directory;
use crate::lines::{Lines, Next};
use crate::log::{CHECKPOINTS, LOG};
use crate::read::MAX_LINE;
use crate::skeleton::Skeleton;
use crate::tree::{Frontier, leaf_hash};
use crate::{Checkpoint, Error, Result, VerifierKey};

pub(crate) const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Larger trees are refused, so that index arithmetic cannot overflow. 2^48 events are 14 PB of the shortest lines.
const MAX_SIZE: u64 = 1 << 48;

/// A proof as in [C2SP tlog-proof](https://c2sp.org/tlog-proof): its text form is `Display` and `FromStr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The event's place.
    pub seq: u64,
    /// The audit path of RFC 6962 §2.1.1, from the leaf to the root.
    pub path: Vec<Digest>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

/// The line of an event and its proof under the last checkpoint of an evidence directory.
///
/// Reads the log once, in bounded memory.
///
/// # Errors
/// [`Error::NotSigned`], [`Error::Contradiction`] where the log is not what the checkpoint signs, [`Error::Io`].
pub fn prove(dir: &Path, seq: u64) -> Result<(Vec<u8>, Proof)> {
    let dir = Directory::open(dir)?;
    let path = dir.path.join(LOG);
    let log = dir.open_file(LOG, OFlags::RDONLY)?;
    let signed = last_checkpoint(&dir)?;
    let size = signed.as_ref().map_or(0, |signed| signed.checkpoint.size);
    let contradiction = |detail: String| Error::Contradiction { path: path.clone(), detail };
    let signed = match signed {
        Some(signed) if seq < size => signed,
        _ => return Err(Error::NotSigned { seq, signed: size, path }),
    };
    if size > MAX_SIZE {
        return Err(contradiction(format!("a checkpoint claims {size} events")));
    }

    let mut siblings: Vec<(Range<u64>, Frontier)> = indices_for_inclusion_proof(size, seq)
        .into_iter()
        .map(|index| (leaves_below(index, size), Frontier::default()))
        .collect();
    let mut lines = Lines::new(log, MAX_LINE);
    let (mut line, mut proven, mut tree) = (Vec::new(), Vec::new(), Frontier::default());
    while tree.size() < size {
        if lines.next(&mut line).map_err(Error::io("read", &path))? != Next::Line {
            return Err(contradiction(format!("it ends after {} of {size} events", tree.size())));
        }
        let (index, leaf) = (tree.size(), leaf_hash(&line));
        if index == seq {
            proven.clone_from(&line);
        }
        for (_, frontier) in siblings.iter_mut().filter(|(range, _)| range.contains(&index)) {
            frontier.push(leaf);
        }
        tree.push(leaf);
    }
    if tree.root() != signed.checkpoint.root {
        return Err(contradiction(format!("its first {size} events have another root than the last checkpoint")));
    }
    let hashes = siblings.iter().map(|(_, frontier)| frontier.root()).collect();
    let checkpoint = String::from_utf8(signed.raw).map_err(|e| contradiction(e.to_string()))?;
    Ok((proven, Proof { seq, path: hashes, checkpoint }))
}

/// Verifies that a line is an event of the log whose checkpoint the proof carries, and that the key signed that.
///
/// # Errors
/// [`Error::Proof`] says what does not hold.
pub fn verify_proof(line: &[u8], proof: &Proof, key: &VerifierKey) -> Result<Checkpoint> {
    let mut notes = CheckpointFile::new(proof.checkpoint.as_bytes());
    let NextNote::Signed(signed) = notes.next().map_err(|e| Error::Proof(e.to_string()))? else {
        return Err(Error::Proof("it carries no whole checkpoint".into()));
    };
    if signed.raw.len() != proof.checkpoint.len() {
        return Err(Error::Proof("something follows the checkpoint".into()));
    }
    key.check(&signed.note).map_err(|why| Error::Proof(format!("not signed by {}: {why}", key.as_str())))?;
    let checkpoint = signed.checkpoint;
    if proof.seq >= checkpoint.size || checkpoint.size > MAX_SIZE {
        return Err(Error::Proof(format!("event {} is not among {}", proof.seq, checkpoint.size)));
    }
    let event = Skeleton::parse(line).map_err(Error::Proof)?;
    if event.seq != proof.seq {
        return Err(Error::Proof(format!("the event has the number {}, the proof is of {}", event.seq, proof.seq)));
    }
    let path = proof.path.iter().flat_map(|digest| digest.0).collect();
    let path = InclusionProof::<Sha256>::try_from_bytes(path).map_err(|e| Error::Proof(format!("{e:?}")))?;
    RootHash::<Sha256>::new(checkpoint.root.0.into(), checkpoint.size)
        .verify_inclusion(&line, proof.seq, &path)
        .map_err(|_| Error::Proof(format!("the event is not leaf {} of the signed tree", proof.seq)))?;
    Ok(checkpoint)
}

fn last_checkpoint(dir: &Directory) -> Result<Option<Signed>> {
    let path = dir.path.join(CHECKPOINTS);
    let mut notes = CheckpointFile::new(dir.open_file(CHECKPOINTS, OFlags::RDONLY)?);
    let mut last = None;
    loop {
        match notes.next().map_err(Error::io("read", &path))? {
            NextNote::Signed(signed) => last = Some(*signed),
            NextNote::Torn(_) | NextNote::End => return Ok(last),
            NextNote::Malformed(place, detail) => {
                return Err(Error::Contradiction { path, detail: format!("{detail}, at byte {}", place.start) });
            }
        }
    }
}

/// The leaves below a node of ct-merkle's in-order numbering: leaf i is node 2i, and a node's height is the number of
/// ones at the end of its index.
fn leaves_below(index: u64, size: u64) -> Range<u64> {
    let height = index.trailing_ones();
    let first = (index + 1 - (1 << height)) / 2;
    first..(first + (1 << height)).min(size)
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}\nindex {}", self.seq)?;
        for digest in &self.path {
            writeln!(f, "{}", BASE64_STANDARD.encode(digest.0))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for Proof {
    type Err = Error;

    /// Reads a proof's text; an `extra` line is passed over.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |what: &str| Error::Proof(format!("it does not read as {HEADER}: {what}"));
        let (head, checkpoint) = text.split_once("\n\n").ok_or_else(|| wrong("no empty line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(wrong("another first line"));
        }
        lines.next_if(|line| line.starts_with("extra "));
        let seq = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(|digits| digits.parse::<u64>().ok().filter(|n| n.to_string() == digits))
            .ok_or_else(|| wrong("no index"))?;
        let path = lines
            .map(|line| BASE64_STANDARD.decode(line).ok()?.try_into().ok().map(Digest))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| wrong("a hash is not base64 of 32 bytes"))?;
        Ok(Proof { seq, path, checkpoint: checkpoint.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_that_of_c2sp() {
        let proof = Proof { seq: 5, path: vec![Digest([7; 32])], checkpoint: "o\n6\nx\n\n\u{2014} k a\n".into() };
        let hash = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        let text = format!("c2sp.org/tlog-proof@v1\nindex 5\n{hash}\n\no\n6\nx\n\n\u{2014} k a\n");
        assert_eq!(proof.to_string(), text);
        assert_eq!(text.parse::<Proof>().unwrap(), proof);
        let extra = text.replace("index 5", "extra AAAA\nindex 5");
        assert_eq!(extra.parse::<Proof>().unwrap(), proof);
        for bad in [text.replace("index 5", "index 05"), text.replace("v1", "v2"), text.replace(hash, "BwcH")] {
            assert!(bad.parse::<Proof>().is_err(), "{bad}");
        }
    }
}
