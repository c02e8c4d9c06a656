//! Renames of directories of the real tree.

mod attack;
mod bench;
mod death;
mod plain;
mod restored;
mod whole;
