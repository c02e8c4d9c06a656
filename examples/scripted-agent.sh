#!/bin/sh
# An agent without a model: does to a clone of this repository what a coding agent does to yours, and what a hostile one
# would try. Runs inside an enclosure (see tour.sh), works for any `coffer run` in this repository.
set -u

say() { printf '\nagent: %s\n' "$*"; }

say "adding a function and its tests to cofferdam-core"
cat > crates/cofferdam-core/src/plural.rs <<'RUST'
//! Counts for people.

/// A count with its noun: `1 file`, `3 files`.
pub fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_many() {
        assert_eq!(plural(1, "file"), "1 file");
        assert_eq!(plural(3, "file"), "3 files");
    }
}
RUST
sed -i 's/^pub mod plan;$/pub mod plan;\npub mod plural;/' crates/cofferdam-core/src/lib.rs

say "running the tests, offline, with the host's crates as a read-only cache"
cargo test --quiet --offline -p cofferdam-core || exit 1

say "reading the person's key"
cat "$HOME/.ssh/id_ed25519" && exit 1

say "reaching the network"
# A literal address of the documentation range (RFC 5737). The gateway takes the connection, and ends it: nobody answers.
if bash -c 'exec 3<>/dev/tcp/192.0.2.1/443 && echo hello >&3 && read -r -t 5 _ <&3' 2>/dev/null; then exit 1; fi

say "done: the tests pass, the key and the network were out of reach"
