//! The Merkle tree of RFC 6962 §2.1, as a frontier: the roots of the complete subtrees, at most 64 hashes.

use cofferdam_core::change::Digest;
use sha2::{Digest as _, Sha256};

/// `SHA-256(0x00 ‖ leaf)`.
pub(crate) fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(leaf).finalize().into())
}

/// `SHA-256(0x01 ‖ left ‖ right)`.
pub(crate) fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// A tree that grows at its right edge, in O(log n) memory.
///
/// Holds one hash for each bit set in `size`, the largest subtree first (RFC 6962 splits at the largest power of two
/// smaller than n, so those subtrees never change again).
#[derive(Clone, Debug, Default)]
pub(crate) struct Frontier {
    size: u64,
    subtrees: Vec<Digest>,
}

impl Frontier {
    /// Leaves so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash.
    pub(crate) fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.subtrees.pop() else { break };
            hash = node_hash(&left, &hash);
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    /// The root; of the empty tree the hash of nothing.
    pub(crate) fn root(&self) -> Digest {
        let mut from_right = self.subtrees.iter().rev();
        match from_right.next() {
            None => Digest(Sha256::digest([]).into()),
            Some(last) => from_right.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;

    /// RFC 6962 §2.1 word for word.
    fn mth(leaves: &[Vec<u8>]) -> Digest {
        match leaves {
            [] => Digest(Sha256::digest([]).into()),
            [one] => leaf_hash(one),
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
            }
        }
    }

    #[test]
    fn every_size_has_the_root_of_the_rfc_and_of_ct_merkle() {
        let mut frontier = Frontier::default();
        let mut reference = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        let mut leaves: Vec<Vec<u8>> = Vec::new();
        for n in 0u32..=300 {
            assert_eq!(frontier.root(), mth(&leaves), "{n}");
            if n > 0 {
                assert_eq!(frontier.root().0[..], reference.root().as_bytes()[..], "{n}");
            }
            assert_eq!(frontier.size(), u64::from(n));
            assert_eq!(frontier.subtrees.len(), n.count_ones() as usize);
            let leaf: Vec<u8> = n.to_le_bytes().iter().cycle().take((n % 7) as usize * 11).copied().collect();
            frontier.push(leaf_hash(&leaf));
            reference.push(leaf.clone());
            leaves.push(leaf);
        }
    }

    #[test]
    fn known_answers() {
        // The empty tree, and the tree of one empty leaf, as in certificate-transparency's test vectors.
        let mut tree = Frontier::default();
        assert_eq!(tree.root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        tree.push(leaf_hash(b""));
        assert_eq!(tree.root().to_string(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        tree.push(leaf_hash(b"\0"));
        assert_eq!(tree.root().to_string(), "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
    }
}
