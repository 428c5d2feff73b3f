//! A short run of the fuzzers in `fuzz/`: each target runs over its corpus, and over a fixed number of
//! mutations of it that are the same every time.

#[path = "../fuzz/certificate.rs"]
mod certificate;
#[path = "../fuzz/config_yaml.rs"]
mod config_yaml;
#[path = "../fuzz/conn_message.rs"]
mod conn_message;
#[path = "../fuzz/core_yaml.rs"]
mod core_yaml;
#[path = "../fuzz/envelope.rs"]
mod envelope;
#[cfg(feature = "http2")]
#[path = "../fuzz/http2_session.rs"]
mod http2_session;
#[path = "../fuzz/msp_folder.rs"]
mod msp_folder;

use fabric_gossip::internals::random::{Random, SeededRandom};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::path::Path;

/// Inputs of this size reach everything.
const MAX_INPUT: usize = 16 << 10;

#[test]
fn envelopes() {
    smoke("envelope", 60_000, envelope::run);
}

#[test]
fn conn_messages() {
    smoke("conn_message", 6_000, conn_message::run);
}

#[test]
fn certificates() {
    smoke("certificate", 6_000, certificate::run);
}

#[test]
fn msp_folders() {
    smoke("msp_folder", 3_000, msp_folder::run);
}

#[test]
fn config_yamls() {
    smoke("config_yaml", 20_000, config_yaml::run);
}

#[test]
fn core_yamls() {
    smoke("core_yaml", 20_000, core_yaml::run);
}

#[cfg(feature = "http2")]
#[test]
fn http2_sessions() {
    smoke("http2_session", 20_000, http2_session::run);
}

fn smoke(target: &str, mutations: u32, run: fn(&[u8]) -> bool) {
    let corpus = corpus(target);
    let run = |what: &dyn std::fmt::Display, input: &[u8]| {
        catch_unwind(AssertUnwindSafe(|| run(input))).unwrap_or_else(|panic| {
            let hex: String = input.iter().map(|b| format!("{b:02x}")).collect();
            println!("{target}: {what} fails: {hex}");
            resume_unwind(panic)
        })
    };
    let accepted = corpus.iter().filter(|(name, input)| run(name, input)).count();
    assert!(accepted > 0 && accepted < corpus.len(), "{accepted} of {} accepted tell little", corpus.len());
    let mut random = SeededRandom::new(4);
    for i in 0..mutations {
        run(&format_args!("mutation {i}"), &mutate(&corpus, &mut random));
    }
    println!("{target}: {} inputs, {accepted} accepted, {mutations} mutations of them", corpus.len());
}

/// Name and content of each input that is kept, in the order of the names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "nothing in {}", dir.display());
    paths.iter().map(|path| (path.display().to_string(), std::fs::read(path).expect("a file"))).collect()
}

/// An input of the corpus with up to four changes.
fn mutate(corpus: &[(String, Vec<u8>)], random: &mut SeededRandom) -> Vec<u8> {
    const TELLING: [u8; 10] = [0x00, 0x01, 0x7f, 0x80, 0x81, 0xff, 0x30, 0x0a, 0x12, b'\n'];
    let mut below = |bound: usize| random.below(bound as u64) as usize;
    let mut input = corpus[below(corpus.len())].1.clone();
    for _ in 0..1 + below(4) {
        let at = below(input.len() + 1);
        let to = (at + 1 + below(16)).min(input.len());
        match below(7) {
            0 if at < input.len() => input[at] ^= 1 << below(8),
            1 if at < input.len() => input[at] = TELLING[below(TELLING.len())],
            2 if at < input.len() => input[at] = input[at].wrapping_add(below(5) as u8).wrapping_sub(2),
            3 => drop(input.drain(at..to)),
            4 => {
                let again = input[at..to].to_vec();
                input.splice(at..at, again);
            }
            5 => input.insert(at, TELLING[below(TELLING.len())]),
            _ => {
                let other = &corpus[below(corpus.len())].1;
                let from = below(other.len() + 1);
                let len = below(other.len() - from + 1);
                input.splice(at..to, other[from..from + len].iter().copied());
            }
        }
    }
    input.truncate(MAX_INPUT);
    input
}
