//! Searches for bytes that break [`alys_fuzz::peg_proof`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alys_fuzz::peg_proof(data));
