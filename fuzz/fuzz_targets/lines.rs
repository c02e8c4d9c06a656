#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cofferdam_review::fuzz::lines(bytes));
