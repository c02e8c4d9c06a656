//! Names that a directory rename leaves where it was cut off: the enclosure makes them, review and promotion know them.

/// How the names of the rename helper's temporary directories begin.
///
/// One is left in an upper layer only where the whole enclosure was killed in the middle of a rename, or where an undo
/// failed. It holds part of the directory named by its attribute `user.coffer.n`, beside which it stands.
pub const LEFTOVER_PREFIX: &str = ".coffer-mv.";

/// Whether a name in an upper layer is one of the helper's temporary directories. Such a layer is no finished change
/// set: part of a directory is missing from its place. Both name and attributes are the command's to forge, so that
/// they prove nothing: what is put back from outside is moved within the layer only, and never over anything.
pub fn is_leftover(name: &[u8]) -> bool {
    name.starts_with(LEFTOVER_PREFIX.as_bytes())
}

/// The directory beside whose entries a leftover lies, where a component of `path` is one; empty for the root.
pub fn leftover_in(path: &[u8]) -> Option<&[u8]> {
    let mut start = 0;
    for name in path.split(|b| *b == b'/') {
        if is_leftover(name) {
            return Some(&path[..start.max(1) - 1]);
        }
        start += name.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_known_by_their_name() {
        assert!(is_leftover(b".coffer-mv.12.0"));
        assert!(!is_leftover(b".coffer-mv"));
        assert!(!is_leftover(b"x.coffer-mv.12.0"));
    }

    #[test]
    fn a_path_through_a_leftover_names_the_directory_it_lies_in() {
        assert_eq!(leftover_in(b".coffer-mv.1.0/a/b"), Some(&b""[..]));
        assert_eq!(leftover_in(b"src/deep/.coffer-mv.1.0"), Some(&b"src/deep"[..]));
        assert_eq!(leftover_in(b"src/deep/x.coffer-mv.1.0"), None);
    }
}
