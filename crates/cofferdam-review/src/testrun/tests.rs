//! Tests of all recognisers together.

mod forms;
mod hostile;
mod real;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn of(words: &[&str], output: &[u8]) -> Vec<TestResult> {
    recognise(&words.iter().map(|w| Bytes::from(*w)).collect::<Vec<_>>(), output, b"")
}
