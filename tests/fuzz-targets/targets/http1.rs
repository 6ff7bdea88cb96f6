//! HTTP/1.1: a real listener gets these bytes and nothing more.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::talk(bytes));
