//! Searches for bytes that break [`alys_fuzz::role_message`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alys_fuzz::role_message(data));
