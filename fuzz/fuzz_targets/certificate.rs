#![no_main]

#[allow(dead_code)]
#[path = "../../tests/fuzz/org.rs"]
mod org;
#[path = "../../tests/fuzz/certificate.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    target::run(data);
});
