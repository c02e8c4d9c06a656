#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cofferdam_gateway::fuzz::first_bytes(bytes));
