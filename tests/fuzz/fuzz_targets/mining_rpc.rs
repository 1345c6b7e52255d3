//! Searches for bytes that break [`alys_fuzz::mining_rpc`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alys_fuzz::mining_rpc(data));
