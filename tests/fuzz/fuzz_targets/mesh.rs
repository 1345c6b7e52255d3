//! Searches for bytes that break [`alys_fuzz::mesh`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alys_fuzz::mesh(data));
