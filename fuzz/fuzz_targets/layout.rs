#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ocisite_fuzz::layout::layout(bytes));
