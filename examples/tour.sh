#!/bin/sh
# The whole loop on real input: a clone of this repository, changed and tested by an agent in an enclosure, looked at,
# promoted and taken back. Needs the Rust toolchain and a build (`cargo build --release`); touches nothing of yours.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'chmod -R u+rwX "$work" && rm -rf "$work"' EXIT
PATH="$here/target/tour:$PATH"
mkdir -p "$here/target/tour"
ln -sf "$(ls -t "$here"/target/*/release/coffer "$here"/target/release/coffer 2>/dev/null | head -n 1)" "$here/target/tour/coffer"

# A home of its own with a key in it; your toolchain stays where it is.
export CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}"
export HOME="$work/home"
mkdir -p "$HOME/.ssh" && echo "a planted key: nothing inside may read it" > "$HOME/.ssh/id_ed25519"
git clone --quiet "$here" "$work/project"
cd "$work/project"

step() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

step coffer run -- sh examples/scripted-agent.sh
step git status --short # the real tree: untouched
step coffer list
step coffer log
step coffer diff --stat
step coffer diff
step coffer promote --yes
step git status --short # the real tree: what was promoted, and nothing else
step coffer verify
step coffer undo
step git status --short
