#![no_main]

#[path = "../../tests/fuzz/http2_session.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    target::run(data);
});
